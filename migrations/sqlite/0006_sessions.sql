-- One login of one user at one client: what a refresh token belongs to. A refresh changes one row and adds none. What it
-- changes has no index, so that Postgres need not write one (a heap-only tuple).
CREATE TABLE sessions (
    id              BLOB NOT NULL,
    user_id         BLOB NOT NULL,
    client_id       TEXT NOT NULL,
    -- What was asked for at login, as it was asked; NULL: nothing, which means all.
    scope           TEXT,
    -- The RFC 8707 resources that were asked for, space-delimited; NULL: none.
    resource        TEXT,
    -- 32 random bytes that go into the MAC of the refresh token, so that the server's key alone makes none.
    secret          BLOB NOT NULL,
    -- How often the refresh token was rotated: the current token carries this number.
    counter         INTEGER NOT NULL,
    -- When it was last rotated: how long the token before still counts. NULL: never.
    rotated_at      TEXT,
    -- When the password was given.
    created_at      TEXT NOT NULL,
    last_used_at    TEXT NOT NULL,
    -- The end that each use moves, and the one that nothing moves.
    idle_expires_at TEXT NOT NULL,
    expires_at      TEXT NOT NULL,
    -- When its last access token expires: its revocation is kept for that long.
    access_expires_at TEXT NOT NULL,
    -- Set when it was ended before its time.
    ended_at        TEXT,
    -- From where it was last used.
    address         TEXT,
    user_agent      TEXT,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT sessions_client_id_fkey FOREIGN KEY (client_id) REFERENCES clients (client_id) ON DELETE CASCADE
) STRICT;

CREATE INDEX sessions_user_id_idx ON sessions (user_id, id);
CREATE INDEX sessions_client_id_idx ON sessions (client_id);
