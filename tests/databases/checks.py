"""Checks PgBouncer, and failovers of Postgres under load. `run` calls it."""

import atexit
import os
import shutil
import subprocess
import time

from checking import check, equal, finish
from cluster import PASSWORD, WORK, Forwarder, Load, Postgres, Server, as_user, call, eventually, free_port, login, refresh
from cluster import revoke, unprivileged, verify

# For GRANTD_DATABASE_TIMEOUT.
TIMEOUT = 2


# --- PgBouncer ---


def pgbouncer(postgres):
    """Starts PgBouncer in front of a server, with the configuration of docs/postgres.md, and returns its port."""
    port, directory = free_port(), f"{WORK}/pgbouncer"
    os.mkdir(directory)
    with open(f"{directory}/users.txt", "w") as users:
        users.write('"postgres" ""\n')
    with open(f"{directory}/pgbouncer.ini", "w") as configuration:
        configuration.write(f"""
[databases]
* = host=127.0.0.1 port={postgres.port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {directory}/users.txt
logfile = {directory}/log
pool_mode = session
ignore_startup_parameters = extra_float_digits
default_pool_size = 40
""")
    user = unprivileged()
    for path in (directory, *(f"{directory}/{name}" for name in os.listdir(directory))):
        shutil.chown(path, user)
    bouncer = subprocess.Popen(
        [shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin"), f"{directory}/pgbouncer.ini"],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user(user)
    )  # fmt: skip
    atexit.register(lambda: (bouncer.terminate(), bouncer.wait()))
    return port


def timeouts_are_set(postgres, since, statement):
    """The log of Postgres has the statement that sets the timeouts, on each connection; it applies to this session."""
    log = postgres.log()[since:]
    expected = f"SET statement_timeout = {statement}; SET idle_in_transaction_session_timeout = {2 * TIMEOUT * 1000};"
    assert expected in log, f"the log has no {expected!r}"


def statements_are_cancelled(postgres, server, database):
    """A statement that waits for a lock is answered with 503, and cancelled by Postgres itself."""
    token, since = login(server.url).body["access_token"], len(postgres.log())
    lock = ["psql", "-X", "-q", postgres.url(database), "-c", "BEGIN; LOCK TABLE users; SELECT pg_sleep(6); COMMIT"]
    with subprocess.Popen(lock, stdout=subprocess.DEVNULL) as locked:
        eventually("the table is locked", lambda: postgres.sql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'") > "0")
        equal(call(server.url, "GET", "/users/me", token=token).status, 503)
        eventually("it is cancelled", lambda: "canceling statement due to statement timeout" in postgres.log()[since:], 3)
        postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK%'")
    eventually("the server recovers", lambda: login(server.url).status == 200)


def idle_transactions_are_ended(postgres, server, database):
    """A server that stops in the middle of a transaction loses it, and with it its locks."""
    since = len(postgres.log())
    token = login(server.url).body["access_token"]
    with Load([server.url], token, 8):
        # Until one of the logins was caught between two of its statements.
        for _ in range(30):
            time.sleep(0.1)
            server.process.send_signal(19)
            try:
                idle = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND application_name = 'grantd'"
                if int(postgres.sql(idle)) > 0:
                    eventually("it is ended", lambda: "due to idle-in-transaction timeout" in postgres.log()[since:], 3 * TIMEOUT)
                    break
            finally:
                server.process.send_signal(18)
        else:
            raise AssertionError("no transaction was caught")
    eventually("the server recovers", lambda: login(server.url).status == 200)


def smoke(first, second):
    """Logs in at both, refreshes across, and revokes at one."""
    one = login(first.url)
    equal(one.status, 200)
    two = refresh(second.url, one.body["refresh_token"])
    equal(two.status, 200)
    equal(call(first.url, "GET", "/users/me", token=two.body["access_token"]).status, 200)
    equal(revoke(first.url, two.body["refresh_token"]).status, 200)
    equal(refresh(second.url, two.body["refresh_token"]).status, 400)


def of_pgbouncer():
    postgres = Postgres("bounced").create()
    bouncer = pgbouncer(postgres)
    for name, port in [("directly", postgres.port), ("through PgBouncer", bouncer)]:
        database = name.split()[0]
        postgres.sql(f"CREATE DATABASE {database}")
        since = len(postgres.log())
        url = postgres.url(database, port)
        # Both at once, so that one waits for the migration of the other.
        servers = [Server(f"{database}-{number}", url, GRANTD_DATABASE_TIMEOUT=f"{TIMEOUT}s").start() for number in (1, 2)]
        check(f"{name}: two servers start at once, and one migrates", lambda: [server.ready() for server in servers])
        check(f"{name}: login, refresh, revocation", lambda: smoke(*servers))
        check(f"{name}: the timeouts are set", lambda: timeouts_are_set(postgres, since, TIMEOUT * 1000))
        check(f"{name}: the migration has no timeout of a statement", lambda: timeouts_are_set(postgres, since, 0))
        check(f"{name}: Postgres cancels statements", lambda: statements_are_cancelled(postgres, servers[0], database))
        check(f"{name}: Postgres ends idle transactions", lambda: idle_transactions_are_ended(postgres, servers[0], database))
        for server in servers:
            check(f"{name}: {server.name} ends", lambda: equal(server.terminate(), 0))


# --- Failover ---


def replicated(primary, standby):
    """Waits until the standby follows synchronously."""
    state = "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'standby'"
    eventually("the standby is synchronous", lambda: primary.sql(state) == "sync")


def fail_over(forwarder, primary, standby):
    """The primary dies, and the standby takes its place and its name."""
    primary.stop()
    time.sleep(0.5)
    standby.promote()
    forwarder.move(standby.port)


def of_failover():
    first = Postgres("first").create()
    second = Postgres("second").follow(first)
    first.set(synchronous_standby_names="*", synchronous_commit="remote_apply")
    replicated(first, second)
    forwarder = Forwarder(first.port)
    url = first.url("postgres", forwarder.port)
    servers = [Server(f"server-{number}", url, GRANTD_DATABASE_TIMEOUT=f"{TIMEOUT}s").start().ready() for number in (1, 2)]
    urls = [server.url for server in servers]
    admin = login(urls[0]).body["access_token"]

    with Load(urls, admin) as load:
        time.sleep(4)
        fail_over(forwarder, first, second)
        moved = time.monotonic()
        eventually("both servers recover by themselves", lambda: all(login(url).status == 200 for url in urls))
        recovered = time.monotonic() - moved
        time.sleep(4)
    print(f"        answers: {load.counts}; recovered {recovered:.1f} s after the promotion")
    check("synchronous: the failover was under load", lambda: equal(load.counts.get(503, 0) > 0, True))
    check("synchronous: no answer of success is lost", lambda: verify(load, *urls))
    check("synchronous: no 500", lambda: equal(load.counts.get(500, 0), 0))
    check("synchronous: nobody is taken for a thief", lambda: equal(thefts(second), "0"))
    check("the servers were not restarted", lambda: equal([server.process.poll() for server in servers], [None, None]))
    check("a name that leads to a standby is down, not wrong", lambda: of_standby(forwarder, second, servers))
    check("a primary that becomes read-only is down, and recovers", lambda: of_read_only(second, servers))
    check("asynchronous: a token that is ahead of its row is no theft", lambda: of_lost_rotation(forwarder, servers, second))


def thefts(postgres):
    return postgres.sql("SELECT count(*) FROM audit_events WHERE kind = 'refresh_token.reused'")


def of_standby(forwarder, primary, servers):
    """While the name leads to a standby, whose rows may be old, requests are answered with 503."""
    standby = Postgres("third").follow(primary)
    session = login(servers[0].url).body
    forwarder.move(standby.port)
    for server in servers:
        for answer in (
            login(server.url),
            refresh(server.url, session["refresh_token"]),
            call(server.url, "GET", "/users/me", token=session["access_token"]),
            call(server.url, "GET", "/readyz"),
        ):
            equal(answer.status, 503)
    forwarder.move(primary.port)
    eventually("the servers recover", lambda: all(login(server.url).status == 200 for server in servers))
    equal(refresh(servers[1].url, session["refresh_token"]).status, 200)
    standby.stop()


def of_read_only(primary, servers):
    """Open connections to a primary that is demoted without closing them: SQLSTATE 25006."""
    session = login(servers[0].url).body
    primary.set(default_transaction_read_only="on")
    for server in servers:
        eventually("writes are refused", lambda: login(server.url).status == 503)
        equal(refresh(server.url, session["refresh_token"]).status, 503)
        # Reads need no open connection either: the refused ones were dropped.
        equal(call(server.url, "GET", "/readyz").status, 503)
    primary.set(default_transaction_read_only="off")
    eventually("the servers recover", lambda: all(login(server.url).status == 200 for server in servers))
    equal(refresh(servers[0].url, session["refresh_token"]).status, 200)


def of_lost_rotation(forwarder, servers, primary):
    """The standby has not heard of the last refreshes when it is promoted."""
    standby = Postgres("fourth").follow(primary)
    url = servers[0].url
    first = login(url).body["refresh_token"]
    second = refresh(url, first).body["refresh_token"]
    applied = f"SELECT pg_last_wal_replay_lsn() >= '{primary.sql('SELECT pg_current_wal_lsn()')}'"
    eventually("the standby has the login", lambda: standby.sql(applied) == "t")
    # The standby loses its primary.
    standby.set(primary_conninfo="host=127.0.0.1 port=1")
    eventually("the standby is alone", lambda: primary.sql("SELECT count(*) FROM pg_stat_replication") == "0")
    third = refresh(url, second).body["refresh_token"]
    fail_over(forwarder, primary, standby)
    eventually("the servers recover", lambda: all(login(server.url).status == 200 for server in servers))
    ahead = refresh(url, third)
    equal((ahead.status, ahead.body["error"]), (400, "invalid_grant"))
    equal(thefts(standby), "0")
    # The session is as it was before the refresh that was lost, and its next token is the one that was lost.
    again = refresh(url, second)
    equal((again.status, again.body["refresh_token"]), (200, third))
    equal(refresh(url, third).status, 200)
    equal(thefts(standby), "0")


of_pgbouncer()
of_failover()
finish()
