-- Revocations of tokens that have not expired: the feed that services follow if they verify tokens themselves.
CREATE TABLE revocations (
    -- In the order of commits: taken from `changes`, whose row is locked until the transaction ends.
    number     INTEGER NOT NULL,
    -- Random: identifies cursors of another history, as after a restored backup.
    mark       TEXT NOT NULL,
    -- The revoked tokens: all of a `session`, `user` or `client`, or a single `token`; and the id of that.
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    revoked_at TEXT NOT NULL,
    -- When all these tokens have expired.
    expires_at TEXT NOT NULL,
    CONSTRAINT revocations_pkey PRIMARY KEY (number),
    CONSTRAINT revocations_kind_check CHECK (kind IN ('session', 'user', 'client', 'token'))
) STRICT;

CREATE INDEX revocations_expires_at_idx ON revocations (expires_at);
