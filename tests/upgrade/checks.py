"""Runs the previous binary and the new one on one database. `run` calls it."""

import os

from checking import check, equal, finish
from cluster import PASSWORD, WORK, Postgres, Server, call, eventually, login, refresh, revoke

PREVIOUS = os.environ["PREVIOUS"]


def client(server):
    """Creates a client that introspects tokens, and returns its id and secret."""
    admin = login(server.url).body["access_token"]
    scopes = {"type": "confidential", "grant_types": ["client_credentials"], "scopes": ["tokens:introspect"]}
    created = call(server.url, "POST", "/admin/clients", token=admin, body={"client_id": "watcher", "name": "Watcher"} | scopes)
    equal(created.status, 201)
    return "watcher", created.body["client_secret"]


def is_active(server, watcher, token):
    answer = call(server.url, "POST", "/introspect", basic=watcher, form={"token": token})
    equal(answer.status, 200)
    return answer.body["active"]


def smoke(watcher, here, there):
    """A session from its login at one server to its end, across both."""
    first = login(here.url)
    equal(first.status, 200)
    second = refresh(there.url, first.body["refresh_token"])
    equal(second.status, 200)
    third = refresh(here.url, second.body["refresh_token"])
    equal(third.status, 200)
    for server in (here, there):
        for token in (first.body["access_token"], third.body["access_token"], third.body["refresh_token"]):
            equal(is_active(server, watcher, token), True)
        equal(call(server.url, "GET", "/users/me", token=second.body["access_token"]).status, 200)
    equal(revoke(there.url, third.body["refresh_token"]).status, 200)
    for server in (here, there):
        equal(refresh(server.url, third.body["refresh_token"]).status, 400)
        eventually("the access token is refused", lambda: not is_active(server, watcher, third.body["access_token"]), 5)


def create_user(server, name):
    admin = login(server.url).body["access_token"]
    equal(call(server.url, "POST", "/admin/users", token=admin, body={"username": name, "password": PASSWORD}).status, 201)


def users(here, there):
    """Accounts that one creates, the other accepts, disables and deletes."""
    name = f"maria-{here.name}"
    create_user(here, name)
    session = login(there.url, name)
    equal(session.status, 200)
    admin = login(there.url).body["access_token"]
    path = f"/admin/users/{call(here.url, 'GET', f'/admin/users?q={name}', token=admin).body['items'][0]['id']}"
    equal(call(there.url, "PATCH", path, token=admin, body={"disabled": True}).status, 200)
    equal(login(here.url, name).status, 400)
    equal(refresh(here.url, session.body["refresh_token"]).status, 400)
    equal(call(here.url, "DELETE", path, token=admin).status, 204)
    equal(login(there.url, name).status, 400)


def of_postgres():
    postgres = Postgres("postgres").create()
    old = Server("old", postgres.url(), PREVIOUS).start().ready()
    watcher = client(old)
    session = login(old.url).body
    schema = postgres.sql("SELECT max(version) FROM _sqlx_migrations")
    # Migrates while the old one runs.
    new = Server("new", postgres.url()).start().ready()
    print(f"        schema: {schema} before, {postgres.sql('SELECT max(version) FROM _sqlx_migrations')} after")
    check("Postgres: a session from before the migration", lambda: equal(refresh(new.url, session["refresh_token"]).status, 200))
    check("Postgres: login at the old, refresh and logout at the new", lambda: smoke(watcher, old, new))
    check("Postgres: login at the new, refresh and logout at the old", lambda: smoke(watcher, new, old))
    check("Postgres: accounts of the old at the new", lambda: users(old, new))
    check("Postgres: accounts of the new at the old", lambda: users(new, old))
    check("Postgres: the old one is ready", lambda: equal(call(old.url, "GET", "/readyz").status, 200))
    check("Postgres: the old one ends", lambda: equal(old.terminate(), 0))
    check("Postgres: the new one alone", lambda: smoke(watcher, new, new))
    check("Postgres: the audit log is intact", lambda: new.command("audit", "verify"))


def of_sqlite():
    database = f"sqlite://{WORK}/grantd.db"
    old = Server("old-sqlite", database, PREVIOUS).start().ready()
    watcher = client(old)
    check("SQLite: the old one", lambda: smoke(watcher, old, old))
    session = login(old.url).body
    create_user(old, "maria")
    equal(old.terminate(), 0)
    new = Server("new-sqlite", database).start().ready()
    check("SQLite: a session of the old one", lambda: equal(refresh(new.url, session["refresh_token"]).status, 200))
    check("SQLite: an access token of the old one", lambda: equal(is_active(new, watcher, session["access_token"]), True))
    check("SQLite: an account of the old one", lambda: equal(login(new.url, "maria").status, 200))
    check("SQLite: the new one", lambda: smoke(watcher, new, new))
    check("SQLite: the audit log is intact", lambda: new.command("audit", "verify"))
    check("SQLite: the new one ends", lambda: equal(new.terminate(), 0))


of_postgres()
of_sqlite()
finish()
