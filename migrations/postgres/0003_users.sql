-- Resource owners.
CREATE TABLE users (
    id            UUID NOT NULL,
    -- ASCII. A username with "@" equals the user's email, so that a login name never matches two users.
    username      TEXT COLLATE "C" NOT NULL,
    email         TEXT COLLATE "C",
    display_name  TEXT,
    -- A PHC string, with its algorithm, parameters and salt.
    password_hash TEXT NOT NULL,
    disabled      BOOLEAN NOT NULL,
    created_at    TIMESTAMPTZ NOT NULL,
    updated_at    TIMESTAMPTZ NOT NULL,
    last_login_at TIMESTAMPTZ,
    -- Device tokens that were issued up to this time are invalid: somebody else changed the password. NULL: none are.
    devices_since TIMESTAMPTZ,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);

-- Unique and searched case-insensitively (ASCII letters only).
CREATE UNIQUE INDEX users_username_key ON users (lower(username));
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
-- For pages of the disabled or of the enabled users.
CREATE INDEX users_disabled_idx ON users (disabled, id);
