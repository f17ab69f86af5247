-- People, merchants, groups and members. Ids are the 16 bytes of a UUIDv7, times are
-- milliseconds since the Unix epoch, roles are the codes of model/role.rs, and a position is two
-- integers that are NULL together until its event stands in the log.

CREATE TABLE users (
    id            BLOB    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    display_name  TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE merchants (
    id         BLOB    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- At most one row, made together with the first account: of many that race, one makes it.
CREATE TABLE founding (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    merchant_id BLOB    NOT NULL REFERENCES merchants (id) DEFERRABLE INITIALLY DEFERRED
) STRICT;

CREATE TABLE staff (
    merchant_id BLOB    NOT NULL REFERENCES merchants (id),
    user_id     BLOB    NOT NULL REFERENCES users (id),
    role        INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX staff_by_user ON staff (user_id);

CREATE TABLE sessions (
    id           BLOB    NOT NULL PRIMARY KEY,
    user_id      BLOB    NOT NULL REFERENCES users (id),
    device       TEXT    NOT NULL,
    generation   INTEGER NOT NULL,
    refreshed_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_user ON sessions (user_id);

-- `revision` is raised before a change is decided: that holds off the next one until this one has
-- ended. `members` counts those whose `joined` event stands in the log.
CREATE TABLE groups (
    merchant_id BLOB    NOT NULL REFERENCES merchants (id),
    id          BLOB    NOT NULL UNIQUE,
    name        TEXT    NOT NULL,
    members     INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, id)
) STRICT, WITHOUT ROWID;

-- `joined_by` is the outbox row of the `joined` event: who is added again after a removal has
-- another one, so that a late note about the first cannot touch the second.
CREATE TABLE members (
    merchant_id  BLOB    NOT NULL,
    group_id     BLOB    NOT NULL,
    user_id      BLOB    NOT NULL REFERENCES users (id),
    role         INTEGER NOT NULL,
    joined_by    BLOB    NOT NULL UNIQUE,
    joined_epoch INTEGER ,
    joined_seq   INTEGER ,
    PRIMARY KEY (merchant_id, group_id, user_id),
    FOREIGN KEY (merchant_id, group_id) REFERENCES groups (merchant_id, id),
    CHECK ((joined_epoch IS NULL) = (joined_seq IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX members_by_user ON members (user_id);

-- Events that were decided here, in the order of decision; `id` is their idempotency key in the log.
CREATE TABLE outbox (
    decision    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id          BLOB    NOT NULL UNIQUE,
    merchant_id BLOB    NOT NULL,
    group_id    BLOB    NOT NULL,
    actor_id    BLOB    NOT NULL,
    content     TEXT    NOT NULL,
    decided_at  INTEGER NOT NULL,
    epoch       INTEGER ,
    seq         INTEGER ,
    FOREIGN KEY (merchant_id, group_id) REFERENCES groups (merchant_id, id),
    CHECK ((epoch IS NULL) = (seq IS NULL))
) STRICT;

CREATE INDEX outbox_due ON outbox (merchant_id, group_id, decision) WHERE epoch IS NULL;
