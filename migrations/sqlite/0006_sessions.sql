-- Login sessions: one login of one user at one client, with its refresh token. A refresh updates one row and adds none. The
-- columns that it updates have no index, so that Postgres can use heap-only tuples.
CREATE TABLE sessions (
    id              BLOB NOT NULL,
    user_id         BLOB NOT NULL,
    client_id       TEXT NOT NULL,
    -- The requested scope of the login, unchanged. NULL: none was requested, which means all.
    scope           TEXT,
    -- The requested resources (RFC 8707), space-delimited. NULL: none.
    resource        TEXT,
    -- 32 random bytes in the MAC of the refresh token, so that the server's key alone cannot forge one.
    secret          BLOB NOT NULL,
    -- The number of rotations, which is part of the current refresh token.
    counter         INTEGER NOT NULL,
    -- The time of the last rotation, for the leeway of the previous token. NULL: never.
    rotated_at      TEXT,
    -- The time of the login.
    created_at      TEXT NOT NULL,
    last_used_at    TEXT NOT NULL,
    -- The idle expiry, which each use extends, and the fixed end of the maximum lifetime.
    idle_expires_at TEXT NOT NULL,
    expires_at      TEXT NOT NULL,
    -- When its last access token expires: a revocation is kept until then.
    access_expires_at TEXT NOT NULL,
    -- Set if the session was ended before it expired.
    ended_at        TEXT,
    -- Address and user agent of the last use.
    address         TEXT,
    user_agent      TEXT,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT sessions_client_id_fkey FOREIGN KEY (client_id) REFERENCES clients (client_id) ON DELETE CASCADE
) STRICT;

CREATE INDEX sessions_user_id_idx ON sessions (user_id, id);
CREATE INDEX sessions_client_id_idx ON sessions (client_id);
