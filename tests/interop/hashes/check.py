"""Checks that hashes of other libraries log in. Reads JSON lines of `{library, hash, password}` from files, stores the hashes in
the SQLite file of a running grantd, and logs in over HTTP. Prints one line per check."""

import json
import os
import sqlite3
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

from checking import check, equal, finish

DATABASE = os.environ["DATABASE_URL"].removeprefix("sqlite://")
OWN = "$argon2id$v=19$m=19456,t=2,p=1$"


def database(sql, *values):
    """Runs one statement in a transaction of its own; gives the first value, if there is one."""
    connection = sqlite3.connect(DATABASE, timeout=10)
    try:
        with connection:
            row = connection.execute(sql, values).fetchone()
    finally:
        connection.close()
    return row and row[0]


def create_user(username, password_hash):
    user = uuid.uuid4().bytes
    database(
        "INSERT INTO users (id, username, password_hash, disabled, created_at, updated_at)"
        " SELECT ?, ?, ?, disabled, created_at, updated_at FROM users WHERE username = 'admin'",
        user,
        username,
        password_hash,
    )
    database("INSERT INTO user_roles (user_id, role) VALUES (?, 'member')", user)


def login(username, password):
    """Status and `error` of a login."""
    form = {"grant_type": "password", "client_id": "default", "username": username, "password": password}
    request = urllib.request.Request(f"{os.environ['ISSUER']}/token", urllib.parse.urlencode(form).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


def logs_in(username, made):
    def stored():
        return database("SELECT password_hash FROM users WHERE username = ?", username)

    create_user(username, made["hash"])
    equal(login(username, made["password"] + "!"), (400, "invalid_grant"))
    equal(stored(), made["hash"])
    equal(login(username, made["password"]), (200, None))
    equal(stored()[: len(OWN)], OWN)
    equal(login(username, made["password"]), (200, None))
    equal(login(username, made["password"] + "!"), (400, "invalid_grant"))


lines = [line for name in sys.argv[1:] for line in Path(name).read_text().splitlines()]
for number, made in enumerate(map(json.loads, lines)):
    password = ascii(made["password"])
    check(f"{made['library']}: {password} logs in, and Argon2id replaces the hash", lambda: logs_in(f"hash-{number}", made))
finish()
