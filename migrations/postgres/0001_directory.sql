-- People, merchants, groups and members. Ids are the 16 bytes of a UUIDv7, times are
-- milliseconds since the Unix epoch, roles are the codes of model/role.rs, and a position is two
-- integers that are NULL together until its event stands in the log.

CREATE TABLE users (
    id            BYTEA  NOT NULL PRIMARY KEY,
    name          TEXT   NOT NULL UNIQUE,
    display_name  TEXT   NOT NULL,
    password_hash TEXT   NOT NULL,
    created_at    BIGINT NOT NULL
);

CREATE TABLE merchants (
    id         BYTEA  NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

-- At most one row, made together with the first account: of many that race, one makes it.
CREATE TABLE founding (
    id          SMALLINT NOT NULL PRIMARY KEY CHECK (id = 1),
    merchant_id BYTEA    NOT NULL REFERENCES merchants (id) DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE staff (
    merchant_id BYTEA    NOT NULL REFERENCES merchants (id),
    user_id     BYTEA    NOT NULL REFERENCES users (id),
    role        SMALLINT NOT NULL,
    PRIMARY KEY (merchant_id, user_id)
);

CREATE INDEX staff_by_user ON staff (user_id);

CREATE TABLE sessions (
    id           BYTEA  NOT NULL PRIMARY KEY,
    user_id      BYTEA  NOT NULL REFERENCES users (id),
    device       TEXT   NOT NULL,
    generation   BIGINT NOT NULL,
    refreshed_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL
);

CREATE INDEX sessions_by_user ON sessions (user_id);

-- `revision` is raised before a change is decided: that holds off the next one until this one has
-- ended. `members` counts those whose `joined` event stands in the log.
CREATE TABLE groups (
    merchant_id BYTEA  NOT NULL REFERENCES merchants (id),
    id          BYTEA  NOT NULL UNIQUE,
    name        TEXT   NOT NULL,
    members     BIGINT NOT NULL,
    revision    BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (merchant_id, id)
);

-- `joined_by` is the outbox row of the `joined` event: who is added again after a removal has
-- another one, so that a late note about the first cannot touch the second.
CREATE TABLE members (
    merchant_id  BYTEA    NOT NULL,
    group_id     BYTEA    NOT NULL,
    user_id      BYTEA    NOT NULL REFERENCES users (id),
    role         SMALLINT NOT NULL,
    joined_by    BYTEA    NOT NULL UNIQUE,
    joined_epoch BIGINT   ,
    joined_seq   BIGINT   ,
    PRIMARY KEY (merchant_id, group_id, user_id),
    FOREIGN KEY (merchant_id, group_id) REFERENCES groups (merchant_id, id),
    CHECK ((joined_epoch IS NULL) = (joined_seq IS NULL))
);

CREATE INDEX members_by_user ON members (user_id);

-- Events that were decided here, in the order of decision; `id` is their idempotency key in the log.
CREATE TABLE outbox (
    decision    BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          BYTEA  NOT NULL UNIQUE,
    merchant_id BYTEA  NOT NULL,
    group_id    BYTEA  NOT NULL,
    actor_id    BYTEA  NOT NULL,
    content     TEXT   NOT NULL,
    decided_at  BIGINT NOT NULL,
    epoch       BIGINT ,
    seq         BIGINT ,
    FOREIGN KEY (merchant_id, group_id) REFERENCES groups (merchant_id, id),
    CHECK ((epoch IS NULL) = (seq IS NULL))
);

CREATE INDEX outbox_due ON outbox (merchant_id, group_id, decision) WHERE epoch IS NULL;
