-- What tokens can be good for. Names are scope-tokens (RFC 6749 section 3.3) without "/".
CREATE TABLE scopes (
    name        TEXT COLLATE "C" NOT NULL,
    description TEXT NOT NULL,
    -- Made by grantd itself; never deleted.
    built_in    BOOLEAN NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    CONSTRAINT scopes_pkey PRIMARY KEY (name)
);
