-- Resource owners.
CREATE TABLE users (
    id            BLOB NOT NULL,
    -- ASCII. One with "@" is the user's own e-mail, so that a name and an address never mean two people.
    username      TEXT NOT NULL,
    email         TEXT,
    display_name  TEXT,
    -- A PHC string: algorithm, parameters and salt are its own.
    password_hash TEXT NOT NULL,
    disabled      INTEGER NOT NULL,
    created_at    TEXT NOT NULL,
    updated_at    TEXT NOT NULL,
    last_login_at TEXT,
    CONSTRAINT users_pkey PRIMARY KEY (id)
) STRICT;

-- Unique, and searched, without regard to the case of ASCII letters.
CREATE UNIQUE INDEX users_username_key ON users (lower(username));
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
-- Pages of those who are disabled, and of those who are not.
CREATE INDEX users_disabled_idx ON users (disabled, id);
