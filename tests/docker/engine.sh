# A Docker engine of its own for tests/docker/run and tests/systemd/run, and a minimal Debian. Sourcing it starts the engine, and stops
# it on exit. Needs root and Debian: engine and debootstrap come from apt-get. `tools` lists what else is needed, as COMMAND:PACKAGE.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo 'This test needs root: it starts a Docker engine.' >&2; exit 1; }

# What is large stays between two runs.
cache=${CACHE:-/var/tmp/grantd-docker}
mkdir -p "$cache"
work=$(mktemp -d)
export DOCKER_HOST=unix://$work/docker.sock DOCKER_BUILDKIT=1
engine=
finish() {
    local code=$?
    trap - EXIT
    set +e
    [ $code = 0 ] || { for log in "$work"/*.log; do printf -- '-- %s\n' "$(basename "$log")"; tail -n 20 "$log"; done >&2; }
    [ -z "$engine" ] || {
        docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes >/dev/null
        kill "$engine"
        wait "$engine"
    } 2>/dev/null
    rm -rf "$work"
    exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

# Installs packages without starting their services.
install() {
    local policy=/usr/sbin/policy-rc.d ours=''
    [ -e $policy ] || { ours=yes; printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; }
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
        </dev/null >"$work/install.log" 2>&1 || { [ -z "$ours" ] || rm -f $policy; return 1; }
    [ -z "$ours" ] || rm -f $policy
}
for tool in dockerd:docker.io debootstrap:debootstrap iptables:iptables curl:curl ${tools:-}; do
    PATH=/usr/bin:/usr/sbin:$PATH command -v "${tool%%:*}" >/dev/null || install "${tool##*:}"
done
# The client of the engine's own version, before another one on this machine.
PATH=/usr/bin:/usr/sbin:$PATH

# Builds take a while, and leave the machine to others.
nice dockerd --host "$DOCKER_HOST" --data-root "$cache/engine" --exec-root "$work/exec" --pidfile "$work/dockerd.pid" \
    ${DOCKERD_FLAGS:-} >"$work/dockerd.log" 2>&1 &
engine=$!
for _ in $(seq 100); do docker info >/dev/null 2>&1 && break; sleep 0.1; done
docker info --format 'Docker {{.ServerVersion}}, {{.Driver}}'

passed=0 failed=0
check() {
    local what=$1
    shift
    if "$@" >>"$work/checks.log" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $what"; fi
}
eventually() {
    for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
    return 1
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# A minimal Debian. The certificates of this machine go with it: some networks have one of their own for what they inspect.
debian() {
    [ -e "$cache/debian.tar" ] || {
        echo 'Making a minimal Debian with debootstrap …'
        debootstrap --variant=minbase --include=ca-certificates bookworm "$work/debian" >"$work/debootstrap.log" 2>&1
        rm -rf "$work"/debian/var/cache/apt/*.bin "$work"/debian/var/lib/apt/lists/*
        tar -C "$work/debian" -cf "$cache/debian.tar.new" .
        mv "$cache/debian.tar.new" "$cache/debian.tar"
        rm -rf "$work/debian"
    }
    has_image stand-in/debian || docker import "$cache/debian.tar" stand-in/debian >/dev/null
}
