-- What happened: logins and changes. The server adds to it, and removes what is old. No foreign keys: an event outlives what it is about.
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
-- To find what somebody did, what was done to somebody, and what happened, newest first.
CREATE INDEX audit_events_actor_idx ON audit_events (actor, id);
CREATE INDEX audit_events_subject_idx ON audit_events (subject, id);
CREATE INDEX audit_events_kind_idx ON audit_events (kind, id);
