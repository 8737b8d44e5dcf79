-- Symmetric keys of the server itself, which no one else ever sees.
CREATE TABLE server_keys (
    -- What it is for.
    name   TEXT NOT NULL,
    -- 32 bytes, sealed under the master key with the name as associated data.
    sealed BLOB NOT NULL,
    CONSTRAINT server_keys_pkey PRIMARY KEY (name)
) STRICT;
