"""What other OAuth libraries make of grantd, and what the services of README.md answer to its tokens.

`run` calls it in a directory that it has prepared. Prints one line per check.
"""

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import jwt
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from oauthlib.oauth2 import InvalidGrantError, LegacyApplicationClient
from requests_oauthlib import OAuth2Session

ISSUER = os.environ["ISSUER"]
TOKEN = f"{ISSUER}/token"
USER = {"username": "admin", "password": os.environ["PASSWORD"]}
# A confidential client whose tokens are for other services.
CLIENT = {"client_id": "back-office", "client_secret": os.environ["CLIENT_SECRET"]}
SERVICES = {"FastAPI": os.environ["FASTAPI_URL"], "Express": os.environ["EXPRESS_URL"]}

passed = failed = 0


def check(name, test):
    """Runs a test, which fails with an exception."""
    global passed, failed
    try:
        test()
    except Exception as error:
        failed += 1
        print(f"FAILED  {name}: {type(error).__name__}: {error}")
    else:
        passed += 1
        print(f"ok      {name}")


def equal(found, expected):
    assert found == expected, f"found {found!r} instead of {expected!r}"


def raises(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


def get(url, token=None, data=None):
    """Status, `WWW-Authenticate` and JSON of an answer."""
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
    # The library wants https, which a server on loopback does not have. And the RFC wants response types, but no empty
    # list: what a server without an authorization endpoint says is wrong either way.
    secure = json.loads(json.dumps(metadata).replace("http://", "https://"))
    secure["response_types_supported"] = metadata.get("response_types_supported") or ["none"]
    AuthorizationServerMetadata(secure).validate()


check("Authlib: the metadata (RFC 8414)", metadata_is_valid)

# -- verifiers


def token(**options):
    return authlib(**options)[1]["access_token"]


def forged(header=None, claims=None, good=None):
    """A token with other words under the signature of a good one."""
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
    check(f"{name}: verifies one for other audiences", lambda: verify(token(**CLIENT), "https://reports.example.com"))
    check(f"{name}: refuses another audience", lambda: raises(Exception, lambda: verify(token(**CLIENT))))
    check(f"{name}: refuses changed claims", lambda: raises(Exception, lambda: verify(forged(claims={"sub": "other"}))))

# -- the services of README.md


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
    check(f"{name}: 401 with a token for others", lambda: answers(items, 401, token(**CLIENT), challenge=bad))
    check(
        f"{name}: 403 without the scope",
        lambda: answers(items, 403, token(scope="account"), challenge='error="insufficient_scope"'),
    )
    check(f"{name}: 403 without the scope to write", lambda: answers(items, 403, token(scope="items:read"), item))

# -- the commands of README.md


def curl():
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "curl.sh"], check=False, capture_output=True, text=True, timeout=30
    )
    equal(done.returncode, 0)
    equal(json.loads(done.stdout)["username"], "admin")


check("curl: a token, and a call with it", curl)
check("the server's log names no password", lambda: equal(USER["password"] in Path("grantd.log").read_text(), False))

print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
