-- Resource owners.
CREATE TABLE users (
    id            UUID NOT NULL,
    -- ASCII. One with "@" is the user's own e-mail, so that a name and an address never mean two people.
    username      TEXT COLLATE "C" NOT NULL,
    email         TEXT COLLATE "C",
    display_name  TEXT,
    -- A PHC string: algorithm, parameters and salt are its own.
    password_hash TEXT NOT NULL,
    disabled      BOOLEAN NOT NULL,
    created_at    TIMESTAMPTZ NOT NULL,
    updated_at    TIMESTAMPTZ NOT NULL,
    last_login_at TIMESTAMPTZ,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);

-- Unique, and searched, without regard to the case of ASCII letters.
CREATE UNIQUE INDEX users_username_key ON users (lower(username));
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
-- Pages of those who are disabled, and of those who are not.
CREATE INDEX users_disabled_idx ON users (disabled, id);
