"""Fills databases and prints the sizes of their tables. `run` calls it."""

import hashlib
import os
import sqlite3
import sys

from cluster import PASSWORD, WORK, Postgres, Server, call, login

ROWS = int(sys.argv[1])
TABLES = ["users", "user_roles", "sessions", "api_keys", "audit_events"]
# Milliseconds since 1970, of the first copy.
START = 0x01900000_0000


def id_of(kind, number):
    """A UUIDv7: ids of a table are in the order of time."""
    digest = hashlib.md5(f"{kind} {number}".encode()).hexdigest()
    return f"{START + number:012x}7{digest[:3]}8{digest[4:19]}"


def set_up(server):
    """Creates a user with a session, an API key and the audit event of a login."""
    admin = login(server.url).body["access_token"]
    user = {"username": "user-of-some-name", "email": "user-of-some-name@mail.example.com", "password": PASSWORD}
    user = call(server.url, "POST", "/admin/users", token=admin, body=user).body
    session = call(
        server.url, "POST", "/token",
        form={"grant_type": "password", "username": user["username"], "password": PASSWORD},
    ).body  # fmt: skip
    key = {"name": "Deployment", "scopes": ["account"]}
    assert call(server.url, "POST", "/users/me/api-keys", token=session["access_token"], body=key).status == 201
    return user["id"]


def fill_postgres(postgres, user):
    """Inserts copies with one statement for each table."""

    def new(kind):
        """A UUIDv7 as of `id_of`."""
        digest = f"md5('{kind} ' || n)"
        return f"(lpad(to_hex({START} + n), 12, '0') || '7' || left({digest}, 3) || '8' || substr({digest}, 5, 15))::uuid"

    copies = {
        "users": {"id": new("user"), "username": "'user-of-name-' || n", "email": "'user-of-name-' || n || '@mail.example.com'"},
        "user_roles": {"user_id": new("user")},
        "sessions": {"id": new("session"), "user_id": new("user"), "secret": "sha256(n::text::bytea)"},
        "api_keys": {"id": new("key"), "user_id": new("user"), "hash": "sha256(n::text::bytea)"},
        "audit_events": {
            "id": new("event"),
            "actor": new("user") + "::text",
            "subject": new("session") + "::text",
            "request_id": new("request") + "::text",
        },
    }
    where = {
        "users": f"id = '{user}'",
        "user_roles": f"user_id = '{user}'",
        "sessions": f"user_id = '{user}'",
        "api_keys": f"user_id = '{user}'",
        "audit_events": f"kind = 'login' AND actor = '{user}'",
    }
    for table, changes in copies.items():
        columns = postgres.sql(
            f"SELECT string_agg(column_name, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = '{table}'"
        ).split(",")
        values = ", ".join(changes.get(column, f"r.{column}") for column in columns)
        postgres.sql(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM generate_series(1, {ROWS}) n, "
            f"(SELECT * FROM {table} WHERE {where[table]} LIMIT 1) r"
        )
    postgres.sql("VACUUM ANALYZE")
    return {
        table: (
            int(postgres.sql(f"SELECT pg_table_size('{table}')")),
            int(postgres.sql(f"SELECT pg_indexes_size('{table}')")),
        )
        for table in TABLES
    }


def fill_sqlite(path, user):
    database = sqlite3.connect(path)
    database.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000")
    own = bytes.fromhex(user.replace("-", ""))

    def text(kind, number):
        plain = id_of(kind, number)
        return "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))

    def blob(kind, number):
        return bytes.fromhex(id_of(kind, number))

    copies = {
        "users": lambda n: {"id": blob("user", n), "username": f"user-of-name-{n}", "email": f"user-of-name-{n}@mail.example.com"},
        "user_roles": lambda n: {"user_id": blob("user", n)},
        "sessions": lambda n: {
            "id": blob("session", n), "user_id": blob("user", n), "secret": hashlib.sha256(str(n).encode()).digest(),
        },
        "api_keys": lambda n: {
            "id": blob("key", n), "user_id": blob("user", n), "hash": hashlib.sha256(str(n).encode()).digest(),
        },
        "audit_events": lambda n: {
            "id": blob("event", n), "actor": text("user", n), "subject": text("session", n),
            "request_id": text("request", n),
        },
    }  # fmt: skip
    owner = {"users": "id", "audit_events": "actor"}
    for table, change in copies.items():
        key = user if table == "audit_events" else own
        found = database.execute(f"SELECT * FROM {table} WHERE {owner.get(table, 'user_id')} = ? LIMIT 1", (key,))
        columns = [column[0] for column in found.description]
        row = found.fetchone()
        if table == "audit_events":
            row = database.execute("SELECT * FROM audit_events WHERE kind = 'login' AND actor = ? LIMIT 1", (user,)).fetchone()
        places = [columns.index(column) for column in change(1)]

        def rows():
            for number in range(1, ROWS + 1):
                values = list(row)
                for place, value in zip(places, change(number).values()):
                    values[place] = value
                yield values

        database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows())
        database.commit()
    sizes = {}
    for table in TABLES:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE tbl_name = ? AND type = 'index'", (table,))]
        size = "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name = ?"
        of = lambda name: database.execute(size, (name,)).fetchone()[0]  # noqa: E731
        sizes[table] = (of(table), sum(of(name) for name in names))
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return sizes


def show(engine, sizes, whole):
    print(f"{engine}: {ROWS:,} rows of each table")
    print(f"{'table':<14}{'table MiB':>12}{'indexes MiB':>13}{'bytes a row':>13}")
    for table, (rows, indexes) in sizes.items():
        print(f"{table:<14}{rows / 2**20:>12,.0f}{indexes / 2**20:>13,.0f}{(rows + indexes) / ROWS:>13,.0f}")
    print(f"{'database':<14}{whole / 2**20:>12,.0f}\n")


postgres = Postgres("postgres").create()
postgres.set(log_statement="none", max_wal_size="8GB")
server = Server("postgres-server", postgres.url()).start().ready()
user = set_up(server)
server.terminate()
show("Postgres", fill_postgres(postgres, user), int(postgres.sql("SELECT pg_database_size('postgres')")))
postgres.stop()

server = Server("sqlite-server", f"sqlite://{WORK}/grantd.db").start().ready()
user = set_up(server)
server.terminate()
sizes = fill_sqlite(f"{WORK}/grantd.db", user)
show("SQLite", sizes, os.path.getsize(f"{WORK}/grantd.db"))
