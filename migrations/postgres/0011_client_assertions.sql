-- Client assertions that were used (RFC 7523): each is accepted once.
CREATE TABLE client_assertions (
    client_id  TEXT COLLATE "C" NOT NULL,
    -- SHA-256 of the `jti`.
    jti_hash   BYTEA NOT NULL,
    -- From then on it is refused as expired.
    expires_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT client_assertions_pkey PRIMARY KEY (client_id, jti_hash)
);

CREATE INDEX client_assertions_expires_at_idx ON client_assertions (expires_at);
