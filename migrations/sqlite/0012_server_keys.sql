-- Symmetric keys of the server itself, never published.
CREATE TABLE server_keys (
    -- Its purpose.
    name   TEXT NOT NULL,
    -- 32 bytes, encrypted with the master key, with the name as associated data.
    sealed BLOB NOT NULL,
    CONSTRAINT server_keys_pkey PRIMARY KEY (name)
) STRICT;
