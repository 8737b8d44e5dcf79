-- Seals of the audit log: each covers a span of events. The oldest row is the anchor of the chain, and its events are gone.
CREATE TABLE audit_seals (
    -- Consecutive, from 0: the anchor of a new chain, which covers no events.
    number    BIGINT NOT NULL,
    -- The span ends with this id, and begins after that of the seal before. No event is added to it from then on.
    last_id   UUID NOT NULL,
    -- The rest is NULL until the span is sealed, which is once no open transaction can add to it. The number of its events, and the
    -- SHA-256 over them:
    events    BIGINT,
    digest    BYTEA,
    -- The MAC of the seal before, and that of this one, over all other columns:
    previous  BYTEA,
    mac       BYTEA,
    sealed_at TIMESTAMPTZ,
    CONSTRAINT audit_seals_pkey PRIMARY KEY (number)
);
