-- What happened: logins and changes. The server only ever adds to it. No foreign keys: an event outlives what it is about.
CREATE TABLE audit_events (
    -- UUIDv7: in the order of time.
    id         BLOB NOT NULL,
    at         TEXT NOT NULL,
    kind       TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    -- Who did it (NULL: nobody known, or the command line) and on whom: a user's or session's id, a client's, a name.
    actor      TEXT,
    subject    TEXT,
    client_id  TEXT,
    address    TEXT,
    request_id TEXT,
    -- A JSON object. Never a secret.
    details    TEXT NOT NULL,
    CONSTRAINT audit_events_pkey PRIMARY KEY (id)
) STRICT;
