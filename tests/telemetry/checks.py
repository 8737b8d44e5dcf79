"""Checks the spans that a real collector got. `run` calls it with them in spans.ndjson."""

import base64
import json
import os

from checking import check, equal, finish

TRACE, PARENT, PASSWORD = os.environ["TRACE"], os.environ["PARENT"], os.environ["PASSWORD"]

text = open("spans.ndjson").read()
exported = [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def find(value, name):
    """Yields the members of this name, at any depth: the collector's format is of no interest here."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == name:
                yield inner
            yield from find(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from find(inner, name)


def hexadecimal(identifier):
    """JSON made from protobuf has bytes in base64."""
    return identifier if len(identifier) in (16, 32) and identifier == identifier.lower() else base64.b64decode(identifier).hex()


def attributes(span):
    return {one["key"]: next(iter(one["value"].values())) for one in span.get("attributes", [])}


# A line is a span, or has several.
spans = [span for line in exported for found in find(line, "spans") for span in found]
spans = spans or [line for line in exported if "traceId" in line] or [span for line in exported for span in find(line, "span")]
login = [span for span in spans if span["name"] == "POST /token"]


def the_trace_is_continued():
    equal(len(login), 1)
    equal((hexadecimal(login[0]["traceId"]), hexadecimal(login[0]["parentSpanId"])), (TRACE, PARENT))
    equal(attributes(login[0])["http.route"], "/token")
    equal(str(attributes(login[0])["http.response.status_code"]), "200")


def its_parts_are_there():
    parts = {span["name"] for span in spans if span.get("parentSpanId") == login[0]["spanId"]}
    assert parts >= {"password hash", "users::LOGIN_BY_USERNAME", "throttle::RESERVE", "sessions::INSERT", "COMMIT"}, parts


def statements_have_no_values():
    for span in spans:
        if "db.system.name" in attributes(span):
            equal(set(attributes(span)), {"db.system.name", "db.operation.name"})


def there_are_no_secrets():
    tokens = json.load(open("token.json"))
    for secret in [PASSWORD, tokens["access_token"], tokens["refresh_token"], tokens["device_token"]]:
        assert secret not in text, secret


check("the trace of the caller is continued", the_trace_is_continued)
check("statements and the hash are parts of the request", its_parts_are_there)
check("statements have no values", statements_have_no_values)
check("no span has a secret", there_are_no_secrets)
finish()
