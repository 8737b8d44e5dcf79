"""Checks OAuth libraries against grantd, the services of docs/guard.md and examples/, and the commands of README.md and docs/.

`run` calls it in a directory that it has prepared. Prints one line per check.
"""

import base64
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import flask
import jwt
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_oauth2 import ResourceProtector
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from checking import check, count, equal, finish
from joserfc.jwk import KeySet
from key_fetches import check_key_fetches
from oauthlib.oauth2 import BackendApplicationClient, InvalidGrantError, LegacyApplicationClient
from requests_oauthlib import OAuth2Session

ISSUER = os.environ["ISSUER"]
TOKEN = f"{ISSUER}/token"
USER = {"username": "admin", "password": os.environ["PASSWORD"]}
# The confidential client of docs/administration.md.
CLIENT = {"client_id": "back-office", "client_secret": os.environ["CLIENT_SECRET"]}
# A confidential client whose tokens have another audience.
REPORTS = {"client_id": "reports", "client_secret": os.environ["REPORTS_SECRET"]}
# The secret of a confidential client with every grant.
ROBOT_SECRET = os.environ["ROBOT_SECRET"]
SERVICES = {
    "FastAPI": os.environ["FASTAPI_URL"],
    "Express": os.environ["EXPRESS_URL"],
    "examples/express": os.environ["EXPRESS_EXAMPLE_URL"],
    "examples/go": os.environ["GO_EXAMPLE_URL"],
    "examples/java": os.environ["JAVA_EXAMPLE_URL"],
    "examples/flask": os.environ["FLASK_EXAMPLE_URL"],
    "examples/django": os.environ["DJANGO_EXAMPLE_URL"],
}
FASTAPI_EXAMPLE = os.environ["FASTAPI_EXAMPLE_URL"]
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def raises(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


def get(url, token=None, data=None):
    """Returns status, `WWW-Authenticate` and JSON of a response."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if data is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(data).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as answer:
            return answer.status, None, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["WWW-Authenticate"], None


# -- clients


def requests_oauthlib(scope=None, client_id="default", user=USER, **options):
    session = OAuth2Session(client=LegacyApplicationClient(client_id, scope=scope))
    return session, session.fetch_token(TOKEN, **user, **options)


def authlib(client_id="default", client_secret=None, scope=None, method=None, user=USER):
    session = AuthlibSession(client_id, client_secret, scope=scope, token_endpoint_auth_method=method)
    return session, session.fetch_token(TOKEN, grant_type="password", **user)


def calls_users_me(session, token):
    assert token["token_type"] == "Bearer" and token["expires_in"] > 0
    answer = session.get(f"{ISSUER}/users/me")
    equal((answer.status_code, answer.json()["username"]), (200, "admin"))


def scopes_are_as_asked(session, token):
    found = token["scope"].split() if isinstance(token["scope"], str) else list(token["scope"])
    equal(found, ["account", "items:read"])


WRONG = {"username": "admin", "password": "not the password"}
ASKED = ["items:read", "account"]

check("requests-oauthlib: a public client", lambda: calls_users_me(*requests_oauthlib()))
check(
    "requests-oauthlib: a public client, named in the form",
    lambda: calls_users_me(*requests_oauthlib(include_client_id=True)),
)
check(
    "requests-oauthlib: a secret by Basic",
    lambda: requests_oauthlib(client_id=CLIENT["client_id"], client_secret=CLIENT["client_secret"]),
)
check("requests-oauthlib: a secret in the form", lambda: requests_oauthlib(**CLIENT, include_client_id=True))
check("requests-oauthlib: chosen scopes", lambda: scopes_are_as_asked(*requests_oauthlib(ASKED)))
check("requests-oauthlib: a wrong password", lambda: raises(InvalidGrantError, lambda: requests_oauthlib(user=WRONG)))
check("Authlib: a public client", lambda: calls_users_me(*authlib()))
check("Authlib: a secret by Basic", lambda: authlib(**CLIENT, method="client_secret_basic"))
check("Authlib: a secret in the form", lambda: authlib(**CLIENT, method="client_secret_post"))
check("Authlib: chosen scopes", lambda: scopes_are_as_asked(*authlib(scope=ASKED)))


def authlib_names_the_error():
    try:
        authlib(user=WRONG)
    except OAuthError as error:
        equal(error.error, "invalid_grant")
    else:
        raise AssertionError("no error")


check("Authlib: a wrong password", authlib_names_the_error)


def metadata_is_valid():
    _, _, metadata = get(f"{ISSUER}/.well-known/oauth-authorization-server")
    equal((metadata["issuer"], metadata["token_endpoint"]), (ISSUER, TOKEN))
    # The library requires https, which a server on loopback does not have. And the RFC requires response types, but no empty
    # list: a server without an authorization endpoint has no valid value.
    secure = json.loads(json.dumps(metadata).replace("http://", "https://"))
    secure["response_types_supported"] = metadata.get("response_types_supported") or ["none"]
    AuthorizationServerMetadata(secure).validate()


check("Authlib: the metadata (RFC 8414)", metadata_is_valid)

# -- client credentials, introspection and revocation


def requests_oauthlib_credentials(**options):
    session = OAuth2Session(client=BackendApplicationClient("robot", scope=["items:read"]))
    token = session.fetch_token(TOKEN, client_secret=ROBOT_SECRET, **options)
    equal((list(token["scope"]), "refresh_token" in token), (["items:read"], False))


def authlib_credentials(method):
    session = AuthlibSession("robot", ROBOT_SECRET, scope="items:read", token_endpoint_auth_method=method)
    token = session.fetch_token(TOKEN, grant_type="client_credentials")
    equal((token["scope"], "refresh_token" in token), ("items:read", False))
    introspect = lambda: session.introspect_token(f"{ISSUER}/introspect", token=token["access_token"]).json()
    equal(introspect()["sub"], "robot")
    equal(session.revoke_token(f"{ISSUER}/revoke", token=token["access_token"]).status_code, 200)
    equal(introspect(), {"active": False})


check("requests-oauthlib: client credentials", requests_oauthlib_credentials)
check(
    "requests-oauthlib: client credentials, a secret in the form",
    lambda: requests_oauthlib_credentials(include_client_id=True),
)
for method in ["client_secret_basic", "client_secret_post"]:
    check(f"Authlib: {method}: a token, introspected and revoked", lambda: authlib_credentials(method))


def javascript(script):
    """Counts the checks of a script in JavaScript, which prints them as `check` does."""
    done = subprocess.run([os.environ["NODE"], script], check=False, capture_output=True, text=True, timeout=60)
    count(done.stdout)
    check(f"{script}: runs to its end", lambda: equal((done.returncode, done.stderr), (0, "")))


javascript("oauth4webapi.mjs")
javascript("openid-client.mjs")

# -- verifiers


@functools.cache
def token(**options):
    """A token, one for all checks with the same options."""
    return authlib(**options)[1]["access_token"]


def forged(header=None, claims=None, good=None):
    """Returns a token with other contents and the signature of a valid one."""
    part = lambda text: json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    join = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    head, body, signature = (good or token()).split(".")
    return ".".join([join(part(head) | (header or {})), join(part(body) | (claims or {})), signature])


def without_signature():
    return forged(header={"alg": "none"}).rpartition(".")[0] + "."


def pyjwt(token, audience=ISSUER):
    key = jwt.PyJWKClient(f"{ISSUER}/.well-known/jwks.json").get_signing_key_from_jwt(token)
    return jwt.decode_complete(token, key, algorithms=[key.algorithm_name], audience=audience, issuer=ISSUER)


def jose(token, audience=ISSUER):
    script = [os.environ["NODE"], "jose.mjs", token, audience]
    done = subprocess.run(script, check=False, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return json.loads(done.stdout)


CLAIMS = set("iss sub aud exp iat jti client_id scope sid username roles auth_time".split())


def is_as_rfc_9068(verify):
    found = verify(token(scope="account items:read"))
    header, claims = found["header"], found["payload"]
    equal(header["typ"], "at+jwt")
    equal(CLAIMS - claims.keys(), set())
    equal((claims["iss"], claims["aud"], claims["scope"]), (ISSUER, ISSUER, "account items:read"))


for name, verify in {"PyJWT": pyjwt, "jose": jose}.items():
    check(f"{name}: verifies a token (RFC 9068)", lambda: is_as_rfc_9068(verify))
    check(f"{name}: verifies one for other audiences", lambda: verify(token(**REPORTS), "https://reports.example.com"))
    check(f"{name}: refuses another audience", lambda: raises(Exception, lambda: verify(token(**REPORTS))))
    check(f"{name}: refuses changed claims", lambda: raises(Exception, lambda: verify(forged(claims={"sub": "other"}))))


def authlib_protects():
    """A service with Authlib's own validator of RFC 9068."""

    class Validator(JWTBearerTokenValidator):
        def get_jwks(self):
            return KeySet.import_key_set(get(f"{ISSUER}/.well-known/jwks.json")[2])

    protect = ResourceProtector()
    protect.register_token_validator(Validator(ISSUER, ISSUER))
    app = flask.Flask("shop")
    app.get("/items")(protect("items:read")(lambda: [{"name": "lamp"}]))
    ask = lambda token: app.test_client().get("/items", headers={"Authorization": f"Bearer {token}"}).status_code
    found = [ask(token(scope="items:read")), ask(token(scope="account")), ask(token(**REPORTS)), ask("something-else")]
    equal(found, [200, 403, 401, 401])


check("Authlib: its resource protector (RFC 9068)", authlib_protects)

# -- the services of docs/guard.md, and examples/


def answers(url, status, token=None, data=None, challenge=None):
    found, header, body = get(url, token, data)
    equal(found, status)
    if status in (401, 403):
        assert header and header.startswith("Bearer"), f"WWW-Authenticate: {header}"
    if challenge:
        assert challenge in header, f"WWW-Authenticate: {header}"
    return body


def greets(url):
    equal(answers(url, 200, token()), {"message": "Hello, admin! You are authenticated."})


for name, url in SERVICES.items():
    items, item, bad = f"{url}/items", {"name": "lamp", "price": 9.5}, 'error="invalid_token"'
    check(f"{name}: 200 with a token", lambda: greets(f"{url}/protected"))
    check(f"{name}: 200 with the scope", lambda: answers(items, 200, token(scope="items:read")))
    check(f"{name}: 200 with the scope to write", lambda: answers(items, 200, token(scope="items:write"), item))
    check(f"{name}: 200 with a token of the client of docs/", lambda: answers(items, 200, token(**CLIENT)))
    check(f"{name}: 401 without a token", lambda: answers(items, 401))
    check(f"{name}: 401 with something else", lambda: answers(items, 401, "something-else", challenge=bad))
    check(
        f"{name}: 401 with a changed token", lambda: answers(items, 401, forged(claims={"sub": "other"}), challenge=bad)
    )
    check(f"{name}: 401 with an unsigned token", lambda: answers(items, 401, without_signature(), challenge=bad))
    check(
        f"{name}: 401 with an unknown key",
        lambda: answers(items, 401, forged(header={"kid": "unknown"}), challenge=bad),
    )
    check(f"{name}: 401 with a token for others", lambda: answers(items, 401, token(**REPORTS), challenge=bad))
    check(
        f"{name}: 403 without the scope",
        lambda: answers(items, 403, token(scope="account"), challenge='error="insufficient_scope"'),
    )
    check(f"{name}: 403 without the scope to write", lambda: answers(items, 403, token(scope="items:read"), item))

for name, url in SERVICES.items():
    check_key_fetches(name, f"{url}/items")
check_key_fetches("examples/fastapi", f"{FASTAPI_EXAMPLE}/status/")

url, mine, bad = FASTAPI_EXAMPLE, f"{FASTAPI_EXAMPLE}/users/me/items/", 'error="invalid_token"'
check(
    "examples/fastapi: 200 with the scopes",
    lambda: equal(answers(mine, 200, token(scope="me items")), [{"item_id": "Foo", "owner": "admin"}]),
)
check(
    "examples/fastapi: 200 with the user's scope",
    lambda: equal(answers(f"{url}/users/me/", 200, token(scope="me")), {"username": "admin"}),
)
check("examples/fastapi: 200 with any token", lambda: answers(f"{url}/status/", 200, token()))
check("examples/fastapi: 401 without a token", lambda: answers(mine, 401))
check("examples/fastapi: 401 with something else", lambda: answers(mine, 401, "something-else", challenge=bad))
check(
    "examples/fastapi: 401 with a changed token",
    lambda: answers(mine, 401, forged(claims={"sub": "other"}), challenge=bad),
)
check(
    "examples/fastapi: 401 with an unknown key", lambda: answers(mine, 401, forged(header={"kid": "?"}), challenge=bad)
)
check("examples/fastapi: 401 with a token for others", lambda: answers(mine, 401, token(**REPORTS), challenge=bad))
check(
    "examples/fastapi: 403 without the scope",
    lambda: answers(mine, 403, token(scope="me"), challenge='error="insufficient_scope", scope="items me"'),
)


def docs_log_in_at_grantd():
    flows = get(f"{url}/openapi.json")[2]["components"]["securitySchemes"]["OAuth2PasswordBearer"]["flows"]
    equal(flows["password"]["tokenUrl"], TOKEN)
    # The preflight of Swagger UI's request, from the origin that this server was started with.
    origin = "http://127.0.0.1:8000"
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-requested-with"}
    request = urllib.request.Request(TOKEN, None, {"Origin": origin} | asked, method="OPTIONS")
    with urllib.request.urlopen(request, timeout=10) as answer:
        equal(answer.headers["Access-Control-Allow-Origin"], origin)


check("examples/fastapi: its /docs log in at grantd", docs_log_in_at_grantd)


def difference_is_true():
    """`tutorial.diff` can be reverted from main.py."""
    folder = EXAMPLES / "fastapi"
    undo = ["git", "apply", "--check", "--reverse", "-p0", folder / "tutorial.diff"]
    done = subprocess.run(undo, cwd=folder, check=False, capture_output=True, text=True)
    equal((done.returncode, done.stderr), (0, ""))


check("examples/fastapi: tutorial.diff leads to main.py", difference_is_true)


def shell():
    done = subprocess.run(
        ["sh", EXAMPLES / "shell/session.sh", USER["username"]],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        input=USER["password"] + "\n",
        env=os.environ | {"GRANTD": ISSUER},
    )
    codes = [line.rpartition(" ")[2] for line in done.stdout.splitlines()]
    equal((codes, done.stderr), (["in", "200", "200", "401"], ""))


check("examples/shell: log in, call, refresh, log out", shell)

# -- the commands of README.md and docs/


def curl():
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "curl.sh"], check=False, capture_output=True, text=True, timeout=30
    )
    equal(done.returncode, 0)
    equal(json.loads(done.stdout)["username"], "admin")


check("curl: a token, and a call with it", curl)

Path("users.csv").write_text("ann@example.com,t,f\nbo@example.com,f,f\ncy@example.com,1,1\n")


def runs(script):
    script = script.replace("http://127.0.0.1:8080", ISSUER).replace("PASSWORD", USER["password"])
    script = script.replace("cargo run -- ", "grantd ").replace("cargo run -q -- ", "grantd ")
    # No password can be typed: the session of `token get` below is used.
    script = script.replace("token get --username admin --login", "token get --username admin")
    command = ["bash", "-euo", "pipefail", "-c", script]
    # The address that `grantd token get` has without --url.
    environment = os.environ | {"GRANTD_ISSUER": ISSUER}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr


# The session for `token get` in README.md, where no password can be typed.
subprocess.run(
    ["grantd", "token", "get", "--username", "admin", "--url", ISSUER, "--password-stdin"],
    input=USER["password"], text=True, check=True, stdout=subprocess.DEVNULL, timeout=30,
)  # fmt: skip

# The blocks after `<!-- run -->`, and those after `<!-- run: PROGRAM -->` where PROGRAM is installed.
for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
    for found in re.finditer(r"^<!-- run(?:: (\S+))? -->\n```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        program, script = found.groups()
        if program and not shutil.which(program):
            print(f"skipped, {program} is missing: {page.name}: {script.splitlines()[-1]}")
            continue
        check(f"{page.name}: {script.splitlines()[0]}", lambda: runs(script))


def recognizes_secrets():
    block = re.search(r"^<!-- python -->\n```python\n(.*?)^```$", (ROOT / "docs/api-keys.md").read_text(), re.DOTALL | re.MULTILINE)
    names = {}
    exec(block[1], names)
    secret = os.environ["CLIENT_SECRET"]
    equal(names["is_secret"](secret), True)
    equal(names["is_secret"](secret[:-1] + ("0" if secret[-1] != "0" else "1")), False)
    equal(names["is_secret"](authlib()[1]["refresh_token"]), True)


check("api-keys.md: a scanner recognizes secrets by form and checksum", recognizes_secrets)


def sets_a_password():
    new = ["grantd", "client", "secret", "password-reset"]
    secret = re.search(r"grs_[\w-]+", subprocess.run(new, check=True, capture_output=True, text=True).stdout)[0]
    script = 'from set_password import set_password; set_password("ann@example.com", "correct horse battery")'
    environment = os.environ | {"PASSWORD_RESET_SECRET": secret}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=30)
    authlib(user={"username": "ann@example.com", "password": "correct horse battery"})


check("from-fastapi-users.md: a password is set with the admin API", sets_a_password)

# Printed by hashes/check.py, with its own count in the last line.
hashes = Path("hashes.out").read_text().splitlines(keepends=True)
count("".join(hashes[:-1]))
check("password hashes: all were tried", lambda: equal(hashes[-1].endswith(" failed\n"), True))

check("the server's log contains no password", lambda: equal(USER["password"] in Path("grantd.log").read_text(), False))

finish()
