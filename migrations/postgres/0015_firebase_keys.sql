-- Keys of Firebase projects whose users were imported. Password hashes name them until the first right password replaces the
-- hash.
CREATE TABLE firebase_keys (
    -- The start of a SHA-256 of the key: the same key has the same id in each import.
    id     TEXT COLLATE "C" NOT NULL,
    -- Salt separator and signer key, sealed under the master key with the name of the table and the id as associated data.
    sealed BYTEA NOT NULL,
    CONSTRAINT firebase_keys_pkey PRIMARY KEY (id)
);
