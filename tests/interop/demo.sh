# Sourced by `run`: the sample services accept the token of alice, a user of `grantd serve --demo`, without further set-up. Each
# gets ISSUER, since the demo listens on a free port here.
(cd "$root" && cargo build --quiet --locked -p grantd-guard --example items --example items_axum)

# Starts a demo that signs with an algorithm; sets `demo`, its URL, and `alice`, her token.
start_demo() {
    GRANTD_SIGNING_ALGORITHM=$1 "$GRANTD" serve --demo --listen 127.0.0.1:0 >"demo.$1.out.log" 2>"demo.$1.log" &
    started+=($!)
    wait_for grep -q 'listening on' "demo.$1.out.log"
    demo=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' "demo.$1.out.log" | head -n 1)
    alice=$(echo wonderland | XDG_CACHE_HOME=$work/cache "$GRANTD" token get --url "$demo" --username alice --password-stdin)
}

expect_200() {
    local status
    wait_for curl --silent "$1"
    status=$(curl --silent --output demo.answer.log --write-out '%{http_code}' "$@" --header "Authorization: Bearer $alice")
    [ "$status" = 200 ] || { echo "$1 answered $status to the demo's alice, and not 200" >&2; return 1; }
}

start_demo ES256
for example in items items_axum; do
    port=$(free_port)
    ISSUER=$demo LISTEN=127.0.0.1:$port "$target/debug/examples/$example" >"demo.$example.log" 2>&1 &
    started+=($!)
    expect_200 "http://127.0.0.1:$port/items"
done
port=$(free_port)
ISSUER=$demo venv/bin/uvicorn --app-dir . --port "$port" shop:app >demo.fastapi.log 2>&1 &
started+=($!)
expect_200 "http://127.0.0.1:$port/items"
port=$(free_port)
ISSUER=$demo PORT=$port node shop.mjs >demo.express.log 2>&1 &
started+=($!)
expect_200 "http://127.0.0.1:$port/items"
port=$(free_port)
ISSUER=$demo venv/bin/uvicorn --app-dir "$root/examples/fastapi" --port "$port" main:app >demo.tutorial.log 2>&1 &
started+=($!)
expect_200 "http://127.0.0.1:$port/users/me/items/"
port=$(free_port)
ISSUER=$demo venv/bin/python "$root/examples/django/app.py" runserver --noreload "$port" >demo.django.log 2>&1 &
started+=($!)
expect_200 "http://127.0.0.1:$port/items"

# The Java sample takes the algorithm from the key: it verifies every algorithm that grantd signs with.
for algorithm in EdDSA RS256; do
    start_demo "$algorithm"
    port=$(free_port)
    ISSUER=$demo PORT=$port java -cp 'java-example:/usr/share/java/*' Main >"demo.java.$algorithm.log" 2>&1 &
    started+=($!)
    expect_200 "http://127.0.0.1:$port/items"
done
