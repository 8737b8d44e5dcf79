-- Applications that ask for tokens. All belong to who runs this server (RFC 9700 section 2.4).
CREATE TABLE clients (
    client_id        TEXT NOT NULL,
    name             TEXT NOT NULL,
    -- SHA-256 of the secret of a confidential client; NULL says that the client is public. The secret has 256 random
    -- bits, which no slow hash could make safer.
    secret_hash      BLOB,
    -- The secret before, for as long as it lives on beside the new one.
    old_secret_hash  BLOB,
    old_secret_until TEXT,
    -- A JWK set: the public keys that prove the client by `private_key_jwt` (RFC 7523). NULL: it has none.
    jwks             TEXT,
    -- Space-delimited lists, read whole.
    grant_types      TEXT NOT NULL,
    scopes           TEXT NOT NULL,
    audiences        TEXT NOT NULL,
    -- Whether a scope that is made later is added to it (`default`).
    every_scope      INTEGER NOT NULL,
    -- Seconds; NULL: as set for the server.
    access_token_ttl INTEGER,
    -- Seconds: the longest `access_token_ttl` that it ever had. Its revocation is kept for that long. NULL: it never had one.
    longest_ttl      INTEGER,
    -- When its last revocation took effect: its sessions that began until then have ended, and stay ended when it is
    -- enabled again. (One statement ends them, however many there are.)
    sessions_ended_at TEXT,
    disabled         INTEGER NOT NULL,
    created_at       TEXT NOT NULL,
    updated_at       TEXT NOT NULL,
    CONSTRAINT clients_pkey PRIMARY KEY (client_id)
) STRICT;
