-- The permissions that tokens can have. Names are scope-tokens (RFC 6749 section 3.3) without "/".
CREATE TABLE scopes (
    name        TEXT COLLATE "C" NOT NULL,
    description TEXT NOT NULL,
    -- Created by grantd itself; cannot be deleted.
    built_in    BOOLEAN NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    CONSTRAINT scopes_pkey PRIMARY KEY (name)
);
