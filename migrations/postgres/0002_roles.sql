-- Named sets of scopes, which users have.
CREATE TABLE roles (
    name        TEXT COLLATE "C" NOT NULL,
    description TEXT NOT NULL,
    -- Space-delimited, as in a token: read whole at each login, never searched.
    scopes      TEXT NOT NULL,
    -- Whether a scope that is made later is added to it (`admin`).
    every_scope BOOLEAN NOT NULL,
    built_in    BOOLEAN NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    CONSTRAINT roles_pkey PRIMARY KEY (name)
);
