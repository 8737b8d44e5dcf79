-- Named sets of scopes, granted to users.
CREATE TABLE roles (
    name        TEXT COLLATE "C" NOT NULL,
    description TEXT NOT NULL,
    -- Space-delimited, as in a token: read as a whole at each login, never filtered by.
    scopes      TEXT NOT NULL,
    -- Whether new scopes are added to it (`admin`).
    every_scope BOOLEAN NOT NULL,
    built_in    BOOLEAN NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    CONSTRAINT roles_pkey PRIMARY KEY (name)
);
