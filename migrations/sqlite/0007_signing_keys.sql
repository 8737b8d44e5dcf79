-- The key pairs that sign access tokens.
CREATE TABLE signing_keys (
    -- The RFC 7638 thumbprint of the public key.
    kid         TEXT NOT NULL,
    algorithm   TEXT NOT NULL,
    -- As it is published.
    public_jwk  TEXT NOT NULL,
    -- PKCS #8, sealed under the master key with the kid as associated data.
    private_key BLOB NOT NULL,
    -- `next` is published and does not sign yet; `active` signs, and is the only one that does; `retired` is published until
    -- what it signed has expired.
    state       TEXT NOT NULL,
    created_at  TEXT NOT NULL,
    -- When it begins, or began, to sign.
    not_before  TEXT NOT NULL,
    -- When the last token that it signed has expired; NULL while it signs.
    expires_at  TEXT,
    -- The longest lifetime, in seconds, that a token may have got that it signed: what ends a token must be known for that
    -- long, also when lifetimes have become shorter since.
    longest_ttl INTEGER NOT NULL,
    -- The same for tokens of clients without a lifetime of their own.
    default_ttl INTEGER NOT NULL,
    CONSTRAINT signing_keys_pkey PRIMARY KEY (kid),
    CONSTRAINT signing_keys_state_check CHECK (state IN ('next', 'active', 'retired'))
) STRICT;

-- Replicas that start together make one active key between them.
CREATE UNIQUE INDEX signing_keys_active_key ON signing_keys (state) WHERE state = 'active';
-- And one next. (An expression, since SQLite names only such an index in its errors.)
CREATE UNIQUE INDEX signing_keys_next_key ON signing_keys (lower(state)) WHERE state = 'next';
