"""Kills and restarts servers behind nginx under load. `run` calls it."""

import atexit
import os
import re
import shutil
import subprocess
import time

from checking import check, equal, finish
from cluster import WORK, Load, Postgres, Server, call, eventually, free_port, login, verify

# How long servers are killed, and how often each is restarted.
SECONDS = 15
RESTARTS = 3


def nginx(ports):
    """Starts nginx with the server of deploy/nginx.conf that is in front of grantd, and returns its URL."""
    port = free_port()
    with open(os.environ["CONFIGURATION"]) as file:
        text = file.read()
    upstream = re.search(r"upstream grantd \{.*?\n\}", text, re.S)[0]
    line = re.search(r" *server 127\.0\.0\.1:8080[^\n]*", upstream)[0]
    servers = "\n".join(line.replace("8080", str(one)) for one in ports)
    server = re.search(r"\nserver \{\n    listen 127\.0\.0\.1:8001.*?\n\}", text, re.S)[0]
    server = re.sub(r" *listen \[::1\][^\n]*\n", "", server).replace("127.0.0.1:8001", f"127.0.0.1:{port}")
    user = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    paths = "".join(f"{kind}_temp_path tmp/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    os.makedirs("tmp", exist_ok=True)
    with open("nginx.conf", "w") as file:
        file.write(f"user {user} root;\n" if os.getuid() == 0 else "")
        file.write("daemon off;\npid nginx.pid;\nevents {}\nhttp {\naccess_log off;\n" + paths)
        file.write(upstream.replace(line, servers) + server + "\n}\n")
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    with open("nginx.log", "w") as log:
        process = subprocess.Popen([program, "-p", WORK, "-c", "nginx.conf", "-e", "stderr"], stderr=log)
    atexit.register(lambda: (process.terminate(), process.wait()))
    url = f"http://127.0.0.1:{port}"
    eventually("nginx is up", lambda: call(url, "GET", "/readyz").status == 200)
    return url


postgres = Postgres("postgres").create()
servers = [Server(f"server-{number}", postgres.url(), GRANTD_TRUSTED_PROXIES="127.0.0.1").start() for number in (1, 2)]
for server in servers:
    server.ready()
url = nginx([server.port for server in servers])
admin = login(url).body["access_token"]

kills = []
with Load([url], admin, repeats=True) as load:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        # Most of the time no server is away, and nothing may fail.
        time.sleep(1.5)
        killed = time.monotonic()
        servers[1].kill()
        kills.append((killed - 0.05, time.monotonic() + 0.2))
        servers[1].start().ready()
print(f"        killed {len(kills)} times; answers: {load.counts}")
at_a_kill = [one for one in load.unanswered if any(begin <= one[0] <= end for begin, end in kills)]
check("killed: no request fails but those on a killed connection", lambda: equal(load.unanswered, at_a_kill))
check("killed: fewer requests fail than connections were killed", lambda: equal(len(load.unanswered) <= 6 * len(kills), True))
check("killed: nothing is lost", lambda: verify(load, *(server.url for server in servers)))

codes = []
with Load([url], admin) as load:
    for _ in range(RESTARTS):
        for server in servers:
            codes.append(server.terminate())
            server.start().ready()
print(f"        restarted {len(codes)} times; answers: {load.counts}")
for server in servers if load.unanswered else []:
    with open(f"{server.name}.log") as log:
        print("".join(line for line in log if '"status":503' in line or "unavailable" in line))
check("rolling restart: each server ends with 0", lambda: equal(codes, [0] * len(codes)))
check("rolling restart: no request fails", lambda: equal(load.unanswered, []))
check("rolling restart: nothing is lost", lambda: verify(load, *(server.url for server in servers)))
finish()
