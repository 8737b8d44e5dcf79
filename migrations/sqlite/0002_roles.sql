-- Named sets of scopes, granted to users.
CREATE TABLE roles (
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    -- Space-delimited, as in a token: read as a whole at each login, never filtered by.
    scopes      TEXT NOT NULL,
    -- Whether new scopes are added to it (`admin`).
    every_scope INTEGER NOT NULL,
    built_in    INTEGER NOT NULL,
    created_at  TEXT NOT NULL,
    CONSTRAINT roles_pkey PRIMARY KEY (name)
) STRICT;
