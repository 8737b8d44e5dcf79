-- API keys: credentials of users for scripts.
CREATE TABLE api_keys (
    id              UUID NOT NULL,
    -- The owner.
    user_id         UUID NOT NULL,
    name            TEXT NOT NULL,
    -- SHA-256 of the key.
    hash            BYTEA NOT NULL,
    -- Scopes of the key, space-delimited. It can use those that its owner has, too.
    scopes          TEXT NOT NULL,
    -- Audiences of the key, space-delimited. Empty: the server's default audience.
    audiences       TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    -- NULL: never expires.
    expires_at      TIMESTAMPTZ,
    -- Written at most once a minute. NULL: never used.
    last_used_at    TIMESTAMPTZ,
    -- When an access token was last issued for the key, and when the last of these tokens expires: the revocation of the
    -- key covers them. NULL: none was issued.
    exchanged_at    TIMESTAMPTZ,
    access_expires_at TIMESTAMPTZ,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_hash_key UNIQUE (hash),
    CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE INDEX api_keys_user_id_idx ON api_keys (user_id, id);
CREATE INDEX api_keys_expires_at_idx ON api_keys (expires_at);
