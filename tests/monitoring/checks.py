"""Checks metrics, rules and dashboard with a real Prometheus. `run` calls it once that is running."""

import json
import os
import re
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from checking import check, equal, finish

DEPLOY = Path(__file__).parents[2] / "deploy"
ISSUER, METRICS, OTHER, PROMETHEUS = (os.environ[name] for name in ["ISSUER", "METRICS", "OTHER", "PROMETHEUS"])
TLS = ssl.create_default_context(cafile="tls/cert.pem")


def call(url, token=None, form=None):
    """Returns status and body of a response."""
    request = urllib.request.Request(url, urllib.parse.urlencode(form).encode() if form else None)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10, context=TLS if url.startswith("https") else None) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def prometheus(path, **parameters):
    status, body = call(f"{PROMETHEUS}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
    answer = json.loads(body)
    equal((status, answer["status"]), (200, "success"))
    return answer["data"]


def query(expression):
    return prometheus("query", query=expression)["result"]


def eventually(condition):
    for _ in range(150):
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError("gave up waiting")


def tool(*arguments, given=None):
    done = subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def traffic():
    """Logins, right and wrong, a refresh, and requests with and without a token."""
    login = {"grant_type": "password", "username": "admin", "password": os.environ["PASSWORD"]}
    tokens = json.loads(call(f"{ISSUER}/token", form=login)[1])
    equal(call(f"{ISSUER}/token", form=login | {"password": "wrong"})[0], 400)
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    equal(call(f"{ISSUER}/token", form=refresh)[0], 200)
    for token, status in [(tokens["access_token"], 200), (None, 401)]:
        equal(call(f"{ISSUER}/users/me", token)[0], status)
    equal(call(f"{ISSUER}/nothing")[0], 404)
    # It is not on the main address as well.
    equal(call(f"{ISSUER}/metrics", tokens["access_token"])[0], 404)


def both_are_scraped():
    eventually(lambda: len(query("up == 1")) == 2)
    equal({series["metric"]["job"] for series in query("grantd_build_info")}, {"grantd", "grantd-by-key"})


def without_a_key():
    equal(call(f"{OTHER}/metrics")[0], 401)


def text_format():
    """promtool knows the older text format only: there, the name of a counter has `_total` everywhere, and there are no units."""
    body = call(METRICS)[1]
    counters = re.findall(r"^# TYPE (\w+) counter$", body, re.M)
    for name in counters:
        body = re.sub(rf"^# (HELP|TYPE) {name} ", rf"# \1 {name}_total ", body, flags=re.M)
    body = re.sub(r"^# (UNIT .*|EOF)\n", "", body, flags=re.M)
    body = body.replace("# TYPE grantd_build info", "# TYPE grantd_build_info gauge")
    body = body.replace("# HELP grantd_build ", "# HELP grantd_build_info ")
    tool("check", "metrics", given=body)


def panels():
    dashboard = json.loads((DEPLOY / "grafana/grantd.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "10s").replace("$instance", ".*")
            assert "$" not in expression, expression
            yield panel["title"], expression


def has_data(expression):
    result = query(expression)
    assert result, f"no data: {expression}"


def rules():
    groups = prometheus("rules")["groups"]
    return [rule for group in groups for rule in group["rules"]]


def healthy(rule):
    equal((rule["health"], rule.get("lastError", "")), ("ok", ""))
    # A healthy installation has no alert.
    equal((rule["state"], query(rule["query"])), ("inactive", []))


check("promtool check rules", lambda: tool("check", "rules", "grantd.rules.yml"))
check("promtool test rules", lambda: tool("test", "rules", "rules.test.yml"))
check("promtool check config", lambda: tool("check", "config", "prometheus.yml"))
check("promtool check metrics", text_format)
check("metrics need a credential without an address of their own", without_a_key)
traffic()
check("Prometheus scrapes both ways", both_are_scraped)
# A rate needs two scrapes after the requests.
for _ in range(3):
    traffic()
    time.sleep(1)
eventually(lambda: query("sum(increase(grantd_http_requests_total{job='grantd'}[10s])) > 0"))
for title, expression in list(panels()):
    check(f"panel {title}", lambda expression=expression: has_data(expression))
eventually(lambda: len(rules()) == 14 and all(rule["health"] != "unknown" for rule in rules()))
for rule in rules():
    check(f"rule {rule['name']}", lambda rule=rule: healthy(rule))
finish()
