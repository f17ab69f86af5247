-- The ends of sessions, in the order of commits: whoever ends some raises the number first, which
-- holds off the next one until this one has committed. Nodes read what is above the last number
-- they know, once a second.

ALTER TABLE users ADD COLUMN is_disabled INTEGER NOT NULL DEFAULT 0;

CREATE TABLE revocation_number (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL
) STRICT;

INSERT INTO revocation_number (id, number) VALUES (1, 0);

CREATE TABLE revocations (
    number     INTEGER NOT NULL,
    session_id BLOB    NOT NULL,
    user_id    BLOB    NOT NULL,
    ended_at   INTEGER NOT NULL,
    PRIMARY KEY (number, session_id)
) STRICT, WITHOUT ROWID;

-- Of a ticket only the hash is kept.
CREATE TABLE tickets (
    hash       BLOB    NOT NULL PRIMARY KEY,
    session_id BLOB    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tickets_by_session ON tickets (session_id);
