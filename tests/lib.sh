# Helpers of the bash scripts under tests/. Sourcing it creates a working directory, changes to it, and sets a trap that stops
# everything in `started` and removes the directory on exit. GRANTD is the binary to test, by default that of `cargo build`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

target=${CARGO_TARGET_DIR:-$root/target}
export GRANTD=${GRANTD:-$target/debug/grantd}
[ -x "$GRANTD" ] || (cd "$root" && cargo build --locked)

# For checking.py, without compiled files in the checkout.
export PYTHONPATH=$root/tests PYTHONDONTWRITEBYTECODE=1

work=$(mktemp -d)
started=()
finish() {
    local code=$?
    trap - EXIT
    [ ${#started[@]} = 0 ] || kill "${started[@]}" 2>/dev/null || true
    wait
    if [ $code != 0 ]; then
        for log in "$work"/*.log; do
            printf -- '-- %s\n' "$(basename "$log")"
            tail -n 20 "$log"
        done >&2
    fi
    rm -rf "$work"
    exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM
cd "$work"

# Waits until a command succeeds.
wait_for() {
    for _ in $(seq 150); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "gave up waiting for: $*" >&2
    return 1
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts the server on a free port and a new SQLite file; sets ISSUER, PASSWORD (of `admin`) and grantd_pid. From then on
# `grantd` is the command line of that server.
start_grantd() {
    export DATABASE_URL=sqlite://$work/data/grantd.db GRANTD_LISTEN=127.0.0.1:0
    "$GRANTD" >grantd.out.log 2>grantd.log &
    grantd_pid=$!
    started+=("$grantd_pid")
    wait_for grep -q 'listening on' grantd.out.log
    ISSUER=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' grantd.out.log | head -n 1)
    PASSWORD=$(sed -n 's/.*password: *\([^ ]*\).*/\1/p' grantd.out.log | head -n 1)
    export ISSUER PASSWORD
    mkdir bin
    ln -s "$GRANTD" bin/grantd
    PATH=$work/bin:$PATH
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
