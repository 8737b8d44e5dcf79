-- Named sets of scopes, which users have.
CREATE TABLE roles (
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    -- Space-delimited, as in a token: read whole at each login, never searched.
    scopes      TEXT NOT NULL,
    -- Whether a scope that is made later is added to it (`admin`).
    every_scope INTEGER NOT NULL,
    built_in    INTEGER NOT NULL,
    created_at  TEXT NOT NULL,
    CONSTRAINT roles_pkey PRIMARY KEY (name)
) STRICT;
