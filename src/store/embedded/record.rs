//! What the `unread` consumer learnt from a batch, as one write: one statement for each kind of
//! row, however many rows there are, since appends wait meanwhile.

use async_trait::async_trait;

use super::batch::Batch;
use super::database::store_error;
use super::rows::{hex, int, json_list};
use super::writer::Write;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::Totals;
use crate::store::Result;
use crate::store::unread::Learnt;

/// The rows of each kind, as JSON lists.
pub(super) struct Record {
    joined: String,
    mentions: String,
    mentions_all: String,
}

const EMPTY: &str = "[]";

impl Record {
    pub(super) fn new(learnt: &Learnt) -> Self {
        let group = |group: &GroupId| hex(group.as_bytes());
        let user = |user: &UserId| hex(user.as_bytes());
        let joined = learnt.joined.iter().map(|(of, member, mark)| {
            let (epoch, seq) = parts(mark.pos);
            let Totals { count, own } = mark.totals;
            (group(of), epoch, seq, user(member), int(count), int(own))
        });
        let mentions = learnt.mentions.iter().map(|(of, who, pos, mention)| {
            let (epoch, seq) = parts(*pos);
            let at = mention.at.as_millis();
            (group(of), epoch, seq, user(who), user(&mention.by), at)
        });
        let mentions_all = learnt.mentions_all.iter().map(|(of, pos, by)| {
            let (epoch, seq) = parts(*pos);
            (group(of), epoch, seq, user(by))
        });
        Self {
            joined: json_list(joined),
            mentions: json_list(mentions),
            mentions_all: json_list(mentions_all),
        }
    }
}

fn parts(pos: Position) -> (i64, i64) {
    (int(pos.epoch), int(pos.seq))
}

#[async_trait]
impl Write for Record {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<()> {
        for (statement, rows) in [
            (JOINED, &self.joined),
            (MENTIONS, &self.mentions),
            (MENTIONS_ALL, &self.mentions_all),
        ] {
            if rows != EMPTY {
                let done = sqlx::query(statement)
                    .bind(rows)
                    .execute(batch.connection().await?);
                done.await.map_err(store_error)?;
            }
        }
        Ok(())
    }
}

const JOINED: &str = "
    INSERT INTO read_marks (group_id, epoch, seq, user_id, count, own)
    SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5
    FROM json_each(?1) WHERE true ON CONFLICT (user_id, group_id) DO UPDATE
    SET epoch = excluded.epoch, seq = excluded.seq, count = excluded.count, own = excluded.own
    WHERE (epoch, seq) < (excluded.epoch, excluded.seq)";

const MENTIONS: &str = "
    INSERT INTO mentions (group_id, epoch, seq, user_id, by_id, at)
    SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3), unhex(value ->> 4),
        value ->> 5
    FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING";

const MENTIONS_ALL: &str = "
    INSERT INTO mentions_all (group_id, epoch, seq, by_id)
    SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3)
    FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING";
