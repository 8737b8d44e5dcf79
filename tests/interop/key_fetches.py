"""Checks that a service does not fetch the keys for each token with an unknown key id: everybody can make such tokens."""

import base64
import json
import os
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from checking import check, equal

ISSUER = os.environ["ISSUER"]


def made_up_token():
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    header = {"alg": "ES256", "typ": "at+jwt", "kid": str(uuid.uuid4())}
    return ".".join([part(header), part({"iss": ISSUER}), "A" * 86])


def fetches():
    """How many requests for the keys the server's log has. The log is written in the background: waits for a request of its own."""
    mark = str(uuid.uuid4())
    urllib.request.urlopen(urllib.request.Request(f"{ISSUER}/healthz", headers={"X-Request-Id": mark}), timeout=10).close()
    for _ in range(1000):
        log = Path("grantd.log").read_text()
        if mark in log:
            return log.count('"path":"/.well-known/jwks.json"')
    raise AssertionError("the log has no line for a request")


def check_key_fetches(name, url):
    def test():
        before = fetches()
        for _ in range(5):
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {made_up_token()}"})
            try:
                urllib.request.urlopen(request, timeout=10).close()
                raise AssertionError("accepted")
            except urllib.error.HTTPError as error:
                with error:
                    equal(error.code, 401)
        found = fetches() - before
        assert found <= 1, f"{found} fetches for 5 tokens"

    check(f"{name}: at most one fetch for tokens with unknown keys", test)
