-- What was revoked before its time and may still be live: the feed that services follow which check tokens by themselves.
CREATE TABLE revocations (
    -- In the order of the commits: `changes` gives it, and holds its row until the transaction is over.
    number     BIGINT NOT NULL,
    -- Random: tells a cursor of this history from one of another, as after a restored backup.
    mark       TEXT NOT NULL,
    -- Which tokens: those of a `session`, of a `user`, of a `client`, or one `token`; and the id of that.
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    revoked_at TIMESTAMPTZ NOT NULL,
    -- From when on no such token can live.
    expires_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT revocations_pkey PRIMARY KEY (number),
    CONSTRAINT revocations_kind_check CHECK (kind IN ('session', 'user', 'client', 'token'))
);

CREATE INDEX revocations_expires_at_idx ON revocations (expires_at);
