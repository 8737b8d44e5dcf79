"""A Django service that accepts grantd's tokens: it verifies them offline, and guards views by scope.

pip install -r requirements.txt; python app.py runserver 8001

In a project of your own, copy `require_scope` and what is above it, and decorate your views.
"""

import json
import os
from functools import wraps

import jwt
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8080")
AUDIENCE = os.environ.get("AUDIENCE", ISSUER)
CLAIMS = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"]

# Fetched when needed, then cached. Tokens with unknown key ids lead to one fetch in 10 seconds, not to one each.
keys = jwt.PyJWKClient(f"{ISSUER}/.well-known/jwks.json", cooldown_duration=10, timeout=5)


def refused(status, challenge):
    return JsonResponse({"detail": challenge}, status=status, headers={"WWW-Authenticate": f"Bearer {challenge}"})


def require_scope(*needed):
    """Requires a valid access token (RFC 9068) with all these scopes. Its claims are in `request.claims`."""

    def decorate(view):
        @wraps(view)
        def guarded(request, *args, **kwargs):
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
                return HttpResponse(status=503)
            except jwt.PyJWTError:
                return refused(401, 'error="invalid_token"')
            if checked["header"].get("typ") != "at+jwt":
                return refused(401, 'error="invalid_token"')
            request.claims = checked["payload"]
            if not set(needed) <= set(request.claims.get("scope", "").split()):
                return refused(403, f'error="insufficient_scope", scope="{" ".join(needed)}"')
            return view(request, *args, **kwargs)

        return guarded

    return decorate


@require_GET
@require_scope()
def protected(request):
    name = request.claims.get("username", request.claims["sub"])
    return JsonResponse({"message": f"Hello, {name}! You are authenticated."})


# CSRF tokens protect cookies, which browsers send by themselves. They do not send a bearer token by themselves.
@method_decorator(csrf_exempt, name="dispatch")
class Items(View):
    @method_decorator(require_scope("items:read"))
    def get(self, request):
        return JsonResponse([{"name": "lamp", "price": 9.5}], safe=False)

    @method_decorator(require_scope("items:write"))
    def post(self, request):
        try:
            return JsonResponse(json.loads(request.body), safe=False)
        except ValueError:
            return JsonResponse({"detail": "malformed JSON"}, status=400)


urlpatterns = [path("protected", protected), path("items", Items.as_view())]

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
)
application = get_wsgi_application()  # For a WSGI server: `gunicorn app`.

if __name__ == "__main__":
    execute_from_command_line()
