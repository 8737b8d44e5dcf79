-- API keys: credentials of users for scripts.
CREATE TABLE api_keys (
    id              BLOB NOT NULL,
    -- The owner.
    user_id         BLOB NOT NULL,
    name            TEXT NOT NULL,
    -- SHA-256 of the key.
    hash            BLOB NOT NULL,
    -- Scopes of the key, space-delimited. It can use those that its owner has, too.
    scopes          TEXT NOT NULL,
    -- Audiences of the key, space-delimited. Empty: the server's default audience.
    audiences       TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    -- NULL: never expires.
    expires_at      TEXT,
    -- Written at most once a minute. NULL: never used.
    last_used_at    TEXT,
    -- When an access token was last issued for the key, and when the last of these tokens expires: the revocation of the
    -- key covers them. NULL: none was issued.
    exchanged_at    TEXT,
    access_expires_at TEXT,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_hash_key UNIQUE (hash),
    CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) STRICT;

CREATE INDEX api_keys_user_id_idx ON api_keys (user_id, id);
CREATE INDEX api_keys_expires_at_idx ON api_keys (expires_at);
