"""A Flask service that accepts grantd's tokens: it verifies them offline, and guards routes by scope.

pip install -r requirements.txt; flask run --port 5000
"""

import os
from functools import wraps

import jwt
from flask import Flask, g, jsonify, request
from werkzeug.exceptions import ServiceUnavailable

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8080")
AUDIENCE = os.environ.get("AUDIENCE", ISSUER)
CLAIMS = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"]

# Fetched when needed, then cached. Tokens with unknown key ids lead to one fetch in 10 seconds, not to one each.
keys = jwt.PyJWKClient(f"{ISSUER}/.well-known/jwks.json", cooldown_duration=10, timeout=5)
app = Flask(__name__)


def refused(status, challenge):
    return jsonify(detail=challenge), status, {"WWW-Authenticate": f"Bearer {challenge}"}


def guard(*needed):
    """Requires a valid access token (RFC 9068) with all the scopes that are named. Its claims are in `g.claims`."""

    def decorate(view):
        @wraps(view)
        def guarded(*args, **kwargs):
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                return refused(401, 'realm="shop"')
            try:
                key = keys.get_signing_key_from_jwt(token.strip())
                checked = jwt.decode_complete(
                    token.strip(),
                    key,
                    algorithms=["ES256"],
                    issuer=ISSUER,
                    audience=AUDIENCE,
                    leeway=30,
                    options={"require": CLAIMS},
                )
            except jwt.PyJWKClientConnectionError:
                raise ServiceUnavailable from None
            except jwt.PyJWTError:
                return refused(401, 'error="invalid_token"')
            if checked["header"].get("typ") != "at+jwt":
                return refused(401, 'error="invalid_token"')
            g.claims = checked["payload"]
            if not set(needed) <= set(g.claims.get("scope", "").split()):
                return refused(403, f'error="insufficient_scope", scope="{" ".join(needed)}"')
            return view(*args, **kwargs)

        return guarded

    return decorate


@app.get("/protected")
@guard()
def protected():
    return jsonify(message=f"Hello, {g.claims.get('username', g.claims['sub'])}! You are authenticated.")


@app.get("/items")
@guard("items:read")
def items():
    return jsonify([{"name": "lamp", "price": 9.5}])


@app.post("/items")
@guard("items:write")
def add_item():
    return jsonify(request.get_json())
