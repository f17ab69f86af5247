-- The log and everything that follows from it. An event's row is at once its entry in the live
-- log and its message: what is accepted is stored. Ids are 16 bytes, times milliseconds since
-- the Unix epoch, positions two integers that compare as the row value (epoch, seq).

-- Which copy of the log this is: made once, with the file.
CREATE TABLE log_history (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    id TEXT NOT NULL
) STRICT;
INSERT INTO log_history (only_row, id) VALUES (1, lower(hex(randomblob(20))));

-- Clustered by position, so that a page of a group is one range. Holds dead positions too.
CREATE TABLE events (
    group_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    sender_id BLOB NOT NULL,
    client_id BLOB NOT NULL,
    digest BLOB NOT NULL,
    count INTEGER NOT NULL,
    sender_count INTEGER NOT NULL,
    at INTEGER NOT NULL,
    fixed BLOB NOT NULL,
    PRIMARY KEY (group_id, epoch, seq)
) STRICT, WITHOUT ROWID;

-- The memory of client_ids: complete, so that a miss is always authoritative. Not unique, since
-- a send whose first position is dead is appended again.
CREATE INDEX events_by_client_id ON events (group_id, sender_id, client_id, epoch, seq);

-- The messages of one sender in order (kind 1 is the message).
CREATE INDEX events_by_sender ON events (group_id, sender_id, epoch, seq, sender_count)
    WHERE kind = 1;

-- The heads of open logs.
CREATE TABLE log_heads (
    group_id BLOB NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    rights_epoch INTEGER NOT NULL,
    rights_seq INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Messages of each sender up to the head of an open log.
CREATE TABLE own_totals (
    group_id BLOB NOT NULL,
    sender_id BLOB NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (group_id, sender_id)
) STRICT, WITHOUT ROWID;

-- The highest epoch announced to each partition; nothing lower is appended to it.
CREATE TABLE log_announced (
    partition INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT;

CREATE TABLE fences (
    partition INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    history TEXT NOT NULL
) STRICT;

CREATE TABLE epochs (
    group_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    start INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (group_id, epoch)
) STRICT, WITHOUT ROWID;

-- Every event up to the offset was handled by the consumer.
CREATE TABLE consumer_offsets (
    consumer TEXT NOT NULL,
    group_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (consumer, group_id)
) STRICT, WITHOUT ROWID;

-- What was handled above an offset, while something between is not. Mostly empty.
CREATE TABLE consumer_acks (
    consumer TEXT NOT NULL,
    group_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (consumer, group_id, epoch, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
    consumer TEXT NOT NULL,
    group_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    payload BLOB NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (consumer, group_id, epoch, seq)
) STRICT, WITHOUT ROWID;

-- One row for each member who read or wrote. Without a read mark read_epoch and the columns
-- after it are null.
CREATE TABLE read_cursors (
    user_id BLOB NOT NULL,
    group_id BLOB NOT NULL,
    read_epoch INTEGER,
    read_seq INTEGER,
    read_count INTEGER,
    read_own INTEGER,
    own_epoch INTEGER NOT NULL DEFAULT 0,
    own_seq INTEGER NOT NULL DEFAULT 0,
    own_count INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, group_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE durable_heads (
    group_id BLOB NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE mentions (
    user_id BLOB NOT NULL,
    group_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    by_id BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (user_id, group_id, epoch, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE mentions_all (
    group_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    by_id BLOB NOT NULL,
    PRIMARY KEY (group_id, epoch, seq)
) STRICT, WITHOUT ROWID;
