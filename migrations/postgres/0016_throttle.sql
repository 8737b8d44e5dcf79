-- Failed attempts to log in, and those under way, by budget. Times are microseconds since 1970: unlike other tables, a
-- statement computes with them.
--
-- Unlogged: a crash of the database empties it, which gives guessers a few more attempts, and a login need not wait for the disk
-- another two times.
CREATE UNLOGGED TABLE throttle (
    -- MAC over what is counted: an account (a user or an unknown name), an account and a network, a device, a network.
    budget          BYTEA NOT NULL,
    -- The user of an account, a network of a user, or a device. NULL: a network or an unknown name.
    user_id         UUID,
    -- Attempts that failed or are under way.
    failures        BIGINT NOT NULL,
    -- The last of them, and the one before, which is the last again if the attempt is given back.
    failed_at       BIGINT NOT NULL,
    previous_at     BIGINT NOT NULL,
    -- When the user last logged in from the network, to the day. NULL: not a network of a user.
    known_at        BIGINT,
    CONSTRAINT throttle_pkey PRIMARY KEY (budget)
);

CREATE INDEX throttle_user_id_idx ON throttle (user_id) WHERE user_id IS NOT NULL;
-- For the deletion of old rows.
CREATE INDEX throttle_failed_at_idx ON throttle (failed_at) WHERE known_at IS NULL;
CREATE INDEX throttle_known_at_idx ON throttle (known_at) WHERE known_at IS NOT NULL;
