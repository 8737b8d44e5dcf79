-- One row, which every server looks at several times a second: whether anything has changed that it keeps in memory.
CREATE TABLE changes (
    id              INTEGER NOT NULL,
    -- The number and the mark of the last revocation.
    revocations     INTEGER NOT NULL,
    revocation_mark TEXT NOT NULL,
    -- How often the signing keys, the clients, and what roles give, were changed.
    signing_keys    INTEGER NOT NULL,
    clients         INTEGER NOT NULL,
    roles           INTEGER NOT NULL,
    CONSTRAINT changes_pkey PRIMARY KEY (id),
    CONSTRAINT changes_id_check CHECK (id = 1)
) STRICT;

INSERT INTO changes (id, revocations, revocation_mark, signing_keys, clients, roles) VALUES (1, 0, 'start', 0, 0, 0);
