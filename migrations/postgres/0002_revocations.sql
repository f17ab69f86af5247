-- The ends of sessions, in the order of commits: whoever ends some raises the number first, which
-- holds off the next one until this one has committed. Nodes read what is above the last number
-- they know, once a second.

ALTER TABLE users ADD COLUMN is_disabled BIGINT NOT NULL DEFAULT 0;

CREATE TABLE revocation_number (
    id     SMALLINT NOT NULL PRIMARY KEY CHECK (id = 1),
    number BIGINT NOT NULL
);

INSERT INTO revocation_number (id, number) VALUES (1, 0);

CREATE TABLE revocations (
    number     BIGINT NOT NULL,
    session_id BYTEA   NOT NULL,
    user_id    BYTEA   NOT NULL,
    ended_at   BIGINT NOT NULL,
    PRIMARY KEY (number, session_id)
);

-- Of a ticket only the hash is kept.
CREATE TABLE tickets (
    hash       BYTEA   NOT NULL PRIMARY KEY,
    session_id BYTEA   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL
);

CREATE INDEX tickets_by_session ON tickets (session_id);
