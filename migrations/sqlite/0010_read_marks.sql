-- Own totals are those of the log, or of the newest stored message: what is left is the read marks.
CREATE TABLE read_marks (
    user_id BLOB NOT NULL,
    group_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    own INTEGER NOT NULL,
    PRIMARY KEY (user_id, group_id)
) STRICT, WITHOUT ROWID;

INSERT INTO read_marks (user_id, group_id, epoch, seq, count, own)
SELECT user_id, group_id, read_epoch, read_seq, read_count, read_own
FROM read_cursors WHERE read_epoch IS NOT NULL;

DROP TABLE read_cursors;
