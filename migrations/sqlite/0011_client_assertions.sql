-- Client assertions that were used (RFC 7523): each is accepted once.
CREATE TABLE client_assertions (
    client_id  TEXT NOT NULL,
    -- SHA-256 of the `jti`.
    jti_hash   BLOB NOT NULL,
    -- From then on it is refused as expired.
    expires_at TEXT NOT NULL,
    CONSTRAINT client_assertions_pkey PRIMARY KEY (client_id, jti_hash)
) STRICT;

CREATE INDEX client_assertions_expires_at_idx ON client_assertions (expires_at);
