-- The key pairs that sign access tokens.
CREATE TABLE signing_keys (
    -- The RFC 7638 thumbprint of the public key.
    kid         TEXT COLLATE "C" NOT NULL,
    algorithm   TEXT NOT NULL,
    -- As published in the JWK set.
    public_jwk  TEXT NOT NULL,
    -- PKCS #8, encrypted with the master key, with the kid as associated data.
    private_key BYTEA NOT NULL,
    -- `next`: published, does not sign yet. `active`: the only key that signs. `retired`: published until the tokens that it
    -- signed have expired.
    state       TEXT NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    -- When it begins to sign.
    not_before  TIMESTAMPTZ NOT NULL,
    -- When the last token that it signed expires. NULL: it is not retired.
    expires_at  TIMESTAMPTZ,
    -- The longest lifetime, in seconds, of tokens that it signed: revocations must be kept for that long, even if lifetimes
    -- were shortened since.
    longest_ttl BIGINT NOT NULL,
    -- The same for tokens of clients without a lifetime of their own.
    default_ttl BIGINT NOT NULL,
    CONSTRAINT signing_keys_pkey PRIMARY KEY (kid),
    CONSTRAINT signing_keys_state_check CHECK (state IN ('next', 'active', 'retired'))
);

-- At most one active key, even if replicas start together.
CREATE UNIQUE INDEX signing_keys_active_key ON signing_keys (state) WHERE state = 'active';
-- At most one next key. (On an expression, since SQLite names only such an index in its errors.)
CREATE UNIQUE INDEX signing_keys_next_key ON signing_keys (lower(state)) WHERE state = 'next';
