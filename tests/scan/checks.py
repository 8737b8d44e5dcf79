"""Compares the findings of testssl.sh and nmap with those that are expected."""

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

from checking import check, equal, finish

PORT = os.environ["PORT"]
FINDINGS = {finding["id"]: finding for finding in json.loads(Path("testssl.json").read_text())}

# Findings above "low" that are about the certificate of the test, which is self-signed, cannot be revoked and has a local name, or
# about the OpenSSL that testssl.sh found on this machine.
NOT_OF_GRANTD = {
    "engine_problem",
    "cert_caIssuers",
    "cert_chain_of_trust",
    "cert_crlDistributionPoints",
    "cert_ocspURL",
    "cert_revocation",
    "cert_validityPeriod",
    "cert_extlifeSpan",
    "cert_trust",
    "DNS_CAArecord",
    "intermediate_cert_badOCSP",
}


def of(name):
    return FINDINGS[name]["finding"]


def severe():
    serious = {"MEDIUM", "HIGH", "CRITICAL", "FATAL", "WARN"}
    found = [finding for finding in FINDINGS.values() if finding["severity"] in serious]
    found = [f"{f['id']}: {f['severity']}: {f['finding']}" for f in found if f["id"] not in NOT_OF_GRANTD]
    equal(found, [])


check("testssl.sh: nothing above low, but for the certificate", severe)
for old in ["SSLv2", "SSLv3", "TLS1", "TLS1_1"]:
    check(f"testssl.sh: {old} is not offered", lambda old=old: equal(of(old).startswith("not offered"), True))
for new in ["TLS1_2", "TLS1_3"]:
    check(f"testssl.sh: {new} is offered", lambda new=new: equal(of(new).startswith("offered"), True))
check("testssl.sh: the server chooses the cipher", lambda: equal(FINDINGS["cipher_order"]["severity"], "OK"))
check("testssl.sh: HTTP/2 is offered", lambda: equal("h2" in of("ALPN_HTTP2"), True))
check("testssl.sh: HSTS for a year", lambda: equal(FINDINGS["HSTS_time"]["severity"], "OK"))
check("testssl.sh: no banner", lambda: equal(of("banner_server").lower().startswith("no server banner"), True))
check("curl: HTTP/2", lambda: equal(Path("curl.out").read_text().split(), ["2", "200"]))


def one_port():
    """Other processes of this machine have ports too: those of grantd are the listening sockets among its files."""
    ours = set(Path("sockets").read_text().split())
    listening = set()
    for table in ["/proc/net/tcp", "/proc/net/tcp6"]:
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in ours:
                listening.add(str(int(fields[1].rsplit(":", 1)[1], 16)))
    equal(listening, {PORT})


def service():
    """nmap sees the port, and no program with a version behind it."""
    found = ET.parse("nmap.xml").find(f".//port[@portid='{PORT}']/service")
    equal(found is not None and (found.get("product"), found.get("version")), (None, None))


check("grantd: one open port", one_port)
check("nmap: no product and no version", service)
finish()
