-- One row, which every server polls several times a second, to sync what it caches.
CREATE TABLE changes (
    id              BIGINT NOT NULL,
    -- Number and mark of the last revocation.
    revocations     BIGINT NOT NULL,
    revocation_mark TEXT NOT NULL,
    -- Random numbers, replaced when signing keys, clients, or roles and scopes change. (Not counters: after a restored
    -- backup, a counter may repeat a value that a server has seen.)
    signing_keys    BIGINT NOT NULL,
    clients         BIGINT NOT NULL,
    roles           BIGINT NOT NULL,
    CONSTRAINT changes_pkey PRIMARY KEY (id),
    CONSTRAINT changes_id_check CHECK (id = 1)
);

INSERT INTO changes (id, revocations, revocation_mark, signing_keys, clients, roles) VALUES (1, 0, 'start', 0, 0, 0);
