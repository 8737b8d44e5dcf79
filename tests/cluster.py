"""Servers, databases and a load for the checks in tests/databases, tests/replicas and tests/upgrade."""

import atexit
import base64
import glob
import http.client
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse

WORK = os.getcwd()
PASSWORD = "correct-horse-battery"
MASTER_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
ISSUER = "http://grantd.test"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(what, test, seconds=30):
    """Waits until a test returns something true, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := test():
                return found
        except (OSError, subprocess.CalledProcessError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"gave up waiting: {what}")


def unprivileged():
    """Returns the user that runs Postgres, which refuses to run as root."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def as_user(user):
    group = pwd.getpwnam(user).pw_gid
    return {"user": user, "group": group, "extra_groups": []} if os.getuid() == 0 else {}


class Postgres:
    """A Postgres server of this test."""

    PROGRAMS = (sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4])) or [""])[-1]

    def __init__(self, name):
        self.directory, self.port, self.user = f"{WORK}/{name}", free_port(), unprivileged()
        os.mkdir(self.directory)
        shutil.chown(self.directory, self.user)
        self.data = f"{self.directory}/data"
        atexit.register(self.stop)

    def create(self):
        self.run("initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
        return self.start()

    def follow(self, primary):
        """Becomes a streaming standby of another server."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name=standby"
        self.run("pg_basebackup", "-D", self.data, "-d", source, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync")
        return self.start()

    def start(self):
        # The machine does not fail here: what was written survives the end of a process without a sync.
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "log_statement=all"]
        options = " ".join(f"-c {setting}" for setting in settings)
        self.run("pg_ctl", "-D", self.data, "-l", f"{self.directory}/log", "-w", "-o", f"-p {self.port} {options}", "start")
        return self

    def stop(self, mode="immediate"):
        if os.path.exists(f"{self.data}/postmaster.pid"):
            self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def promote(self):
        self.run("pg_ctl", "-D", self.data, "-w", "promote")

    def set(self, **settings):
        """Changes settings of the running server."""
        for name, value in settings.items():
            self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self.sql("SELECT pg_reload_conf()")

    def sql(self, statement, database="postgres"):
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.url(database), "-c", statement]
        # Works on a server that is read-only by default.
        environment = os.environ | {"PGOPTIONS": "-c default_transaction_read_only=off -c synchronous_commit=local"}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    def url(self, database="postgres", port=None):
        return f"postgres://postgres@127.0.0.1:{port or self.port}/{database}?sslmode=disable"

    def log(self):
        with open(f"{self.directory}/log") as log:
            return log.read()

    def run(self, program, *args):
        command = [f"{self.PROGRAMS}/{program}", *args]
        with open(f"{self.directory}.run.log", "a") as log:
            subprocess.run(
                command, check=True, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **as_user(self.user)
            )


class Forwarder:
    """A TCP forwarder: one name for whichever database is the primary."""

    def __init__(self, target):
        self.target, self.ends, self.listener = target, [], socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self.ends += [client, server]
            for pair in [(client, server), (server, client)]:
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    @staticmethod
    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def move(self, target):
        """Forwards new connections to another server, and closes the old ones."""
        self.target, ends, self.ends = target, self.ends, []
        for end in ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Server:
    """A process of grantd."""

    def __init__(self, name, database, binary=None, **settings):
        self.name, self.binary, self.port = name, binary or os.environ["GRANTD"], free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # Cheap hashes, and no limits for a load from one address.
        self.settings = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database,
            "GRANTD_MASTER_KEY": MASTER_KEY,
            "GRANTD_LISTEN": f"127.0.0.1:{self.port}",
            "GRANTD_ISSUER": ISSUER,
            "GRANTD_ADMIN_PASSWORD": PASSWORD,
            "GRANTD_HASH_MEMORY": "8KiB",
            "GRANTD_HASH_ITERATIONS": "1",
            "GRANTD_HASH_THREADS": "1",
            "GRANTD_RATE_LIMIT": "off",
            "GRANTD_REFRESH_LEEWAY": "1h",
        } | settings
        self.process = None
        atexit.register(self.kill)

    def start(self):
        with open(f"{WORK}/{self.name}.log", "a") as log:
            self.process = subprocess.Popen(
                [self.binary], env=self.settings, cwd=WORK, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def ready(self):
        eventually(f"{self.name} is ready", lambda: self.process.poll() is None and call(self.url, "GET", "/readyz").status == 200)
        return self

    def command(self, *args, binary=None, input=None):
        """Runs a command with the settings of the server."""
        return subprocess.run(
            [binary or self.binary, *args], env=self.settings, cwd=WORK, check=True, capture_output=True, text=True, input=input
        ).stdout

    def terminate(self):
        """Sends SIGTERM, waits for the end, and returns the exit code."""
        self.process.terminate()
        return self.process.wait(30)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()


class Answer:
    def __init__(self, status, body):
        self.status, self.body = status, body


# Answers that tell nothing about the state. 0: none, as after a connection that was closed.
UNAVAILABLE = (0, 502, 503, 504)


def call(url, method, path, token=None, form=None, body=None, basic=None):
    """Sends a request on a connection of its own."""
    headers = {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if basic:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
    data = None
    if form:
        data, headers["Content-Type"] = urllib.parse.urlencode(form), "application/x-www-form-urlencoded"
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body), "application/json"
    connection = http.client.HTTPConnection(re.sub("^http://", "", url), timeout=20)
    try:
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
        try:
            return Answer(answer.status, json.loads(text) if text else {})
        except ValueError:
            return Answer(answer.status, {})
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, {"error": repr(error)})
    finally:
        connection.close()


def login(url, username="admin", password=PASSWORD):
    return call(url, "POST", "/token", form={"grant_type": "password", "username": username, "password": password})


def refresh(url, token):
    return call(url, "POST", "/token", form={"grant_type": "refresh_token", "refresh_token": token})


def revoke(url, token):
    return call(url, "POST", "/revoke", form={"token": token})


class Load:
    """Threads that log in, refresh, log out, read and create users, and note what they were told."""

    runs = 0

    def __init__(self, urls, admin, threads=6, repeats=False):
        """`repeats`: a proxy may repeat a request, so that a new name may be taken by the first attempt."""
        self.urls, self.admin, self.repeats, self.stopping = urls, admin, repeats, threading.Event()
        self.counts, self.unanswered, self.wrong = {}, [], []
        self.name = Load.runs = Load.runs + 1
        self.created, self.revoked, self.sessions = [], [], []
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True) for number in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def ask(self, number, count, what, *args, **options):
        """Calls one of the servers, in turn, and notes the answer."""
        answer = what(self.urls[(number + count) % len(self.urls)], *args, **options)
        self.counts[answer.status] = self.counts.get(answer.status, 0) + 1
        if answer.status in (500, *UNAVAILABLE):
            self.unanswered.append((time.monotonic(), answer.status, what.__name__, args))
        return answer

    def expect(self, answer, allowed, what):
        if answer.status not in (*allowed, *UNAVAILABLE):
            self.wrong.append(f"{what}: {answer.status} {answer.body}")
        return answer.status in allowed

    def run(self, number):
        count, session = 0, None
        while not self.stopping.is_set():
            count += 1
            if session is None:
                answer = self.ask(number, count, login)
                if self.expect(answer, [200], "login"):
                    session = answer.body
            elif count % 10 == 0:
                answer = self.create(number, count)
            elif count % 15 == 0:
                answer = self.ask(number, count, revoke, session["refresh_token"])
                if self.expect(answer, [200], "logout"):
                    self.revoked.append(session)
                    session = None
            elif count % 3 == 0:
                answer = self.ask(number, count, call, "GET", "/users/me", token=session["access_token"])
                self.expect(answer, [200], "an access token")
            else:
                # A refresh without an answer is repeated with the same token.
                answer = self.ask(number, count, refresh, session["refresh_token"])
                if self.expect(answer, [200], "a refresh token"):
                    session = answer.body
            if answer.status in UNAVAILABLE:
                # A server that is down would be asked thousands of times a second.
                time.sleep(0.02)
        if session:
            self.sessions.append(session)

    def create(self, number, count):
        """Creates a user; repeated until there is an answer, so that the name may be taken by an attempt without one."""
        body = {"username": f"user-{self.name}-{number}-{count}", "password": PASSWORD}
        allowed = [201, 409] if self.repeats else [201]
        while True:
            answer = self.ask(number, count, call, "POST", "/admin/users", token=self.admin, body=body)
            if self.expect(answer, allowed, f"a new user {body['username']}"):
                self.created.append(body["username"])
            if answer.status not in UNAVAILABLE or self.stopping.is_set():
                return answer
            count, allowed = count + 1, [201, 409]
            time.sleep(0.02)


def verify(load, url, *others):
    """Checks that everything that the load was told is true, on each server."""
    assert not load.wrong, load.wrong[:3]
    assert load.created and load.revoked and load.sessions, (len(load.created), len(load.revoked), len(load.sessions))
    for name in load.created:
        found = call(url, "GET", f"/admin/users?q={name}", token=load.admin).body["items"]
        assert any(user["username"] == name for user in found), f"the user {name} is lost"
    for server in (url, *others):
        for session in load.revoked:
            answer = refresh(server, session["refresh_token"])
            assert answer.status == 400, f"a revoked session: {answer.status} {answer.body}"
    for session in load.sessions:
        answer = refresh(url, session["refresh_token"])
        assert answer.status == 200, f"a session is lost: {answer.status} {answer.body}"
