-- Audit events: logins and changes. Inserted, never updated, and deleted after the retention. No foreign keys: an event outlives
-- its subject.
CREATE TABLE audit_events (
    -- UUIDv7, so ordered by time.
    id         UUID NOT NULL,
    at         TIMESTAMPTZ NOT NULL,
    kind       TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    -- The actor (NULL: unknown, or the command line) and the subject: the id of a user, session or client, or a name.
    actor      TEXT,
    subject    TEXT,
    client_id  TEXT,
    address    TEXT,
    request_id TEXT,
    -- A JSON object. Never a secret.
    details    TEXT NOT NULL,
    CONSTRAINT audit_events_pkey PRIMARY KEY (id)
);
-- For the filters of the list, newest first.
CREATE INDEX audit_events_actor_idx ON audit_events (actor, id);
CREATE INDEX audit_events_subject_idx ON audit_events (subject, id);
CREATE INDEX audit_events_kind_idx ON audit_events (kind, id);
