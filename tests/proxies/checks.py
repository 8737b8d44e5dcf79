"""Checks which requests and headers pass the proxies of deploy/. `run` calls it once they are running."""

import http.client
import json
import os
import signal
import time
import urllib.error
import urllib.parse
import urllib.request

from checking import check, equal, finish

ISSUER = os.environ["ISSUER"]
PROXIES = {"nginx": os.environ["NGINX_URL"], "Caddy": os.environ["CADDY_URL"]}
GRANTD = {"nginx": os.environ["NGINX_GRANTD_URL"], "Caddy": os.environ["CADDY_GRANTD_URL"]}
SECRETS = dict(zip(["robot", "idle-robot", "for-others", "backend"], os.environ["SECRETS"].split()))
NAMES = ["subject", "username", "client", "scope", "session"]
# Headers of a client that impersonates a user; CGI and WSGI treat `_` as `-`.
FORGED = {f"X-Auth-{name}": "forged" for name in NAMES}
FORGED |= {f"{prefix}{name}": "forged" for prefix in ("X_Auth_", "X-Auth_", "X_Auth-") for name in NAMES}


def call(url, token=None, headers=None, data=None):
    """Returns status, headers and body of a response."""
    headers = (headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def post(path, **form):
    status, _, body = call(f"{ISSUER}{path}", data=urllib.parse.urlencode(form).encode())
    equal(status, 200)
    return json.loads(body) if body else None


def token(**form):
    return post("/token", **form)["access_token"]


def user_token(**form):
    return token(grant_type="password", username="admin", password=os.environ["PASSWORD"], **form)


def client_token(client):
    return token(grant_type="client_credentials", client_id=client, client_secret=SECRETS[client])


def me(token):
    return json.loads(call(f"{ISSUER}/users/me", token)[2])


def refused(url, status, token=None, challenge=None, **options):
    found, headers, body = call(url, token, **options)
    equal(found, status)
    assert b'"length"' not in body, "the service was reached"
    # The first challenge has the reason. Without credentials a second one offers Basic, which not every proxy hands on.
    if challenge:
        first, *others = headers.get_all("WWW-Authenticate") or [""]
        basic = ['Basic realm="grantd", charset="UTF-8"']
        assert challenge in first and others in ([], basic), f"WWW-Authenticate: {first}, {others}"


def seen(url, token, **options):
    """Returns the X-Auth-… headers that reach the service, in any spelling."""
    status, _, body = call(url, token, **options)
    equal(status, 200)
    headers = [(name.lower().replace("_", "-"), value) for name, value in json.loads(body)["headers"]]
    found = [(name, value) for name, value in headers if name.startswith("x-auth")]
    equal(len(found), len(dict(found)))
    return dict(found)


def user_arrives(url, **options):
    token = user_token(scope="account items:read")
    found = seen(url, token, **options)
    assert len(found.pop("x-auth-session")) == 36
    expected = {"username": "admin", "subject": me(token)["id"], "client": "default", "scope": "account items:read"}
    equal(found, {f"x-auth-{name}": value for name, value in expected.items()})


def client_arrives(url):
    expected = {"x-auth-subject": "robot", "x-auth-client": "robot", "x-auth-scope": "items:read"}
    equal(seen(url, client_token("robot"), headers=FORGED), expected)


def body_passes(url):
    status, _, body = call(url, user_token(), data=b"x" * 100_000)
    equal((status, json.loads(body)["length"]), (200, 100_000))


def revoked_is_refused(url, token, **client):
    seen(url, token)
    post("/revoke", token=token, **client)
    refused(url, 401, token, 'error="invalid_token"')


def own_error_passes(url):
    status, _, body = call(url, user_token())
    equal((status, b'"length"' in body), (500, True))


def hop_by_hop(url):
    """A proxy removes headers that `Connection` lists; it must not remove those from grantd."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    headers = {"Authorization": f"Bearer {user_token()}", "Connection": "close, X-Auth-Username"}
    connection.request("GET", "/items", headers=headers)
    with connection.getresponse() as answer:
        assert answer.status == 400 or b"x-auth-username" in answer.read().lower(), f"{answer.status} without the name"


def verified_from(address):
    """Returns the number of calls of /verify from an address in grantd's log."""
    with open("grantd.log", encoding="utf-8") as log:
        calls = [json.loads(line) for line in log if '"/verify"' in line and line.endswith("\n")]
    return sum(call.get("fields", call)["address"] == address for call in calls)


def address_arrives(url, **headers):
    """grantd's log has the address of the connection to the proxy, whatever headers the client sends."""
    address = "127.0.0.2"
    before = verified_from(address)
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10, source_address=(address, 0))
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", "/items", headers={"Authorization": f"Bearer {user_token()}"} | headers)
    with connection.getresponse() as answer:
        equal(answer.status, 200)
    for _ in range(50):
        if verified_from(address) > before:
            break
        time.sleep(0.1)
    equal(verified_from(address), before + 1)


def login(url, source, password, headers, form):
    """Logs in through a proxy from this address, and returns status and body."""
    proxy = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=10, source_address=(source, 0))
    form = {"grant_type": "password", "username": "admin", "password": password} | form
    headers = {"Content-Type": "application/x-www-form-urlencoded"} | headers
    connection.request("POST", "/token", urllib.parse.urlencode(form), headers)
    with connection.getresponse() as answer:
        return answer.status, json.loads(answer.read())


def newest(kind):
    """Returns the address of the newest audit event of a kind."""
    status, _, body = call(f"{ISSUER}/admin/audit-events?limit=1&kind={kind}", administrator)
    equal(status, 200)
    return json.loads(body)["items"][0]["address"]


def login_from(url, source, expected, headers=None, **form):
    """A login through a proxy has this address in its session and in the audit log, and a failed one in the audit log."""
    status, body = login(url, source, os.environ["PASSWORD"], headers or {}, form)
    equal(status, 200)
    in_log = newest("login")
    sessions = json.loads(call(f"{ISSUER}/users/me/sessions?limit=200", body["access_token"])[2])["items"]
    in_session = [session["address"] for session in sessions if session["current"]]
    status, _ = login(url, source, "wrong", headers or {}, form)
    equal(status, 400)
    equal((in_log, in_session, newest("login.failed")), (expected, [expected], expected))


administrator = user_token()

for name, url in GRANTD.items():
    client, user = "127.0.0.2", "203.0.113.7"
    backend = {"client_id": "backend", "client_secret": SECRETS["backend"]}
    report = {"Grantd-User-Address": user}
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "Forwarded": "for=6.6.6.6", "True-Client-IP": "6.6.6.6"}
    hop = {"Connection": "close, X-Forwarded-For"}
    check(f"{name}: a login has the client's address", lambda: login_from(url, client, client))
    for header, value in forged.items():
        check(f"{name}: not one in {header}", lambda: login_from(url, client, client, {header: value}))
    check(f"{name}: nor with all of them", lambda: login_from(url, client, client, forged | hop))
    check(f"{name}: nor one in Grantd-User-Address", lambda: login_from(url, client, client, report))
    check(f"{name}: unless the client may send it", lambda: login_from(url, client, user, report, **backend))
    check(f"{name}: which needs no proxy header", lambda: login_from(url, client, user, report | forged, **backend))
    if os.environ["IPV6"] != "no":
        over_ipv6 = url.replace("127.0.0.1", "[::1]")
        check(f"{name}: an IPv6 address", lambda: login_from(over_ipv6, "::1", "::1"))
        forged["X-Forwarded-For"] = "2001:db8::6"
        check(f"{name}: not a forged IPv6 address", lambda: login_from(over_ipv6, "::1", "::1", forged))

for name, url in PROXIES.items():
    items = f"{url}/items"
    bad = 'error="invalid_token"'
    lacking = 'error="insufficient_scope"'
    robot = {"client_id": "robot", "client_secret": SECRETS["robot"]}
    check(f"{name}: 401 without a token", lambda: refused(url, 401, challenge='Bearer realm="grantd"'))
    check(f"{name}: 401 with something else", lambda: refused(url, 401, "something-else", bad))
    check(f"{name}: 401 with forged headers alone", lambda: refused(items, 401, challenge="Bearer", headers=FORGED))
    check(f"{name}: a user arrives", lambda: user_arrives(url))
    check(f"{name}: a user with the scope arrives", lambda: user_arrives(items))
    check(f"{name}: a user arrives in place of forged headers", lambda: user_arrives(items, headers=FORGED))
    check(f"{name}: a client arrives, without a username", lambda: client_arrives(items))
    check(f"{name}: the same where no scope is needed", lambda: client_arrives(url))
    check(f"{name}: 403 without the scope", lambda: refused(items, 403, user_token(scope="account"), lacking))
    check(f"{name}: the same for a client", lambda: refused(items, 403, client_token("idle-robot"), lacking))
    check(f"{name}: 401 with a token for others", lambda: refused(url, 401, client_token("for-others"), bad))
    query = "?audience=https://reports.example.com&scope="
    check(f"{name}: the query changes nothing", lambda: refused(f"{url}/{query}", 401, client_token("for-others"), bad))
    check(f"{name}: nor the needed scope", lambda: refused(items + query, 403, client_token("idle-robot"), lacking))
    check(f"{name}: a body passes", lambda: body_passes(items))
    check(f"{name}: the service's own 500 passes", lambda: own_error_passes(f"{url}/broken"))
    check(f"{name}: 401 after the user's logout", lambda: revoked_is_refused(items, user_token()))
    check(f"{name}: 401 after a client's revocation", lambda: revoked_is_refused(items, client_token("robot"), **robot))
    check(f"{name}: 400 with a broken header", lambda: refused(url, 400, headers={"Authorization": "Bearer a b"}))
    check(f"{name}: big cookies do not matter", lambda: user_arrives(items, headers={"Cookie": "a=" + "b" * 7000}))

    check(f"{name}: Connection removes no header of grantd", lambda: hop_by_hop(url))

    check(f"{name}: the client's address arrives", lambda: address_arrives(url))
    check(f"{name}: not one that it sends", lambda: address_arrives(url, X_Forwarded_For="6.6.6.6"))
    check(f"{name}: nor one in Forwarded", lambda: address_arrives(url, Forwarded="for=6.6.6.6"))
    check(f"{name}: nor one that is not ASCII", lambda: address_arrives(url, X_Forwarded_For=b"\xff"))
    check(f"{name}: Connection does not remove it", lambda: address_arrives(url, Connection="close, X-Forwarded-For"))

good = user_token()
os.kill(int(os.environ["GRANTD_PID"]), signal.SIGTERM)
for _ in range(150):
    try:
        call(f"{ISSUER}/healthz")
    except OSError:
        break
    time.sleep(0.1)
for name, url in PROXIES.items():
    away = 503 if name == "nginx" else 502
    check(f"{name}: {away} without grantd", lambda: refused(f"{url}/items", away, good))
    check(f"{name}: the same where no scope is needed", lambda: refused(url, away, good))

finish()
