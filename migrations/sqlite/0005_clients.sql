-- Applications that request tokens. All are operated by the operator of this server (RFC 9700 section 2.4).
CREATE TABLE clients (
    client_id        TEXT NOT NULL,
    name             TEXT NOT NULL,
    -- SHA-256 of the secret of a confidential client; NULL: the client is public. The secret has 256 random bits, so a
    -- slow hash would add no security.
    secret_hash      BLOB,
    -- The previous secret, and the end of its overlap with the new one.
    old_secret_hash  BLOB,
    old_secret_until TEXT,
    -- A JWK set: the public keys of the client for `private_key_jwt` (RFC 7523). NULL: none.
    jwks             TEXT,
    -- Space-delimited lists, read as a whole.
    grant_types      TEXT NOT NULL,
    scopes           TEXT NOT NULL,
    audiences        TEXT NOT NULL,
    -- Whether new scopes are added to it (`default`).
    every_scope      INTEGER NOT NULL,
    -- In seconds. NULL: the setting of the server.
    access_token_ttl INTEGER,
    -- In seconds: the longest `access_token_ttl` so far, for which a revocation is kept. NULL: it never had one.
    longest_ttl      INTEGER,
    -- When its last revocation took effect: sessions that began until then have ended, and stay ended when the client is
    -- enabled again. (So one statement ends any number of sessions.)
    sessions_ended_at TEXT,
    -- Whether it may report the address of its user (`Grantd-User-Address`). Only a confidential client may.
    forwards_address INTEGER NOT NULL,
    disabled         INTEGER NOT NULL,
    created_at       TEXT NOT NULL,
    updated_at       TEXT NOT NULL,
    CONSTRAINT clients_pkey PRIMARY KEY (client_id)
) STRICT;
