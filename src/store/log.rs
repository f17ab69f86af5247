//! The groups' live logs: one for each group, appended to by commands, read by tails and
//! consumers (dataflow.md).
//!
//! Promises, each a case in `tests/it/contract/log.rs`:
//! - Positions of a group are dense: an append gives the seq after the head, in the named epoch.
//! - An append is atomic: event, totals, head and memory of the `client_id` together or not at all.
//! - Appends that are called in order from one task for one group take effect in that order.
//! - The same `client_id` of the same sender with the same digest is answered with the first
//!   position, id and time; with another digest it is a conflict; nothing is written either way.
//! - History, epoch and rights are checked before the `client_id`; a refused append writes nothing.
//! - After a refused or unavailable append the same request may be sent again.
//! - Dropping the future of an append leaves its outcome unknown, never half done.

use async_trait::async_trait;

use super::Result;
use super::witness::Witness;
use crate::model::client_id::ClientId;
use crate::model::epoch::EpochTable;
use crate::model::event::{Draft, Entry};
use crate::model::id::{GroupId, MessageId, Partition, UserId};
use crate::model::position::{Epoch, Position, Seq};
use crate::model::time::Time;
use crate::model::trace::Trace;

/// Which copy of the log served: Redis' `master_replid`. It changes with a restart and with a
/// promotion (epochs.md, "Words"). At most 64 bytes.
pub type HistoryId = String;

/// What a log says of a group's newest state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The last event; `(epoch, start − 1)` after an opening until its first append.
    pub pos: Position,
    /// Messages so far (C).
    pub count: u64,
    /// The last event that took rights away or changed them (mv).
    pub rights: Position,
    /// The time of the last event.
    pub at: Time,
    /// Everything valid up to here is stored (w).
    pub stored: Position,
}

/// What to do when the log's memory does not hold the `client_id` (epochs.md rule 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMiss {
    /// Append: it is a first attempt under an epoch the sender was told, or the message store
    /// was asked under this epoch.
    Append,
    /// Append if the memory reaches down to this position, of the named epoch; else answer
    /// [`Outcome::AskStore`].
    AppendIfRemembered(Position),
    /// Answer [`Outcome::AskStore`].
    AskStore,
}

/// One append.
#[derive(Debug, Clone)]
pub struct Append {
    /// What is appended.
    pub draft: Draft,
    /// The history the caller believes in (epochs.md rule 1).
    pub history: HistoryId,
    /// The epoch the caller believes in (epochs.md rule 2).
    pub epoch: Epoch,
    /// The rights the caller's permit was made under: refused if the log knows a later change.
    /// `None` for events that a directory transaction already decided.
    pub rights: Option<Position>,
    /// What an unknown `client_id` means.
    pub on_miss: OnMiss,
    /// A remembered position that is known to be dead: if it is still what is remembered, it
    /// counts as a miss, so that `on_miss` decides, and an append replaces it.
    pub replace: Option<Position>,
    /// What it belongs to: kept with the entry for whoever handles it, if the log has a place
    /// for it, and never part of the event.
    pub trace: Option<Trace>,
}

/// Where an append stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The position of the event.
    pub pos: Position,
    /// The message's id, for a message.
    pub message: Option<MessageId>,
    /// The event's time.
    pub at: Time,
    /// Messages in the group up to and with the event (C). For a repeat 0, unless the log knows.
    pub count: u64,
    /// Everything valid up to here is stored.
    pub stored: Position,
}

/// How an append ended. Only `Appended` wrote something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A new event.
    Appended(Receipt),
    /// The same was appended before; this is its receipt. The caller checks that the position
    /// is valid (epochs.md rule 9).
    Repeated(Receipt),
    /// Another message was appended under this `client_id`, at this position. The caller checks
    /// that it is valid; a dead one is replaced.
    Conflict(Position),
    /// The log is another history than the caller believes: this one.
    OtherHistory(HistoryId),
    /// The named epoch is over: read the fence again.
    StaleEpoch,
    /// The group's log is not open in the named epoch: re-open it.
    NotOpen,
    /// Rights changed at this position, after the permit was made: ask the directory again.
    RightsChanged(Position),
    /// The log has no room for a new message until the consumers have caught up: come back later.
    Full,
    /// The `client_id` is not in the memory: ask the message store, then append with
    /// [`OnMiss::Append`].
    AskStore,
}

/// A watermark: everything of a group up to a position is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The group.
    pub group: GroupId,
    /// The highest position below which nothing is missing.
    pub pos: Position,
    /// The number of a confirmation of the fence that came after the last of it was stored.
    pub confirmed: u64,
}

/// The answer to [`Log::prepare`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// From now on nothing of a lower epoch is taken. The log's last entry id, if there is a log.
    Ready {
        /// The last id, also of an emptied log.
        top: Option<Position>,
        /// Whether head, own totals and the memory of `client_id`s are all there.
        remembers: bool,
    },
    /// The log is another history: this one.
    OtherHistory(HistoryId),
    /// A higher epoch was already announced.
    StaleEpoch,
}

/// The opening of a group's log under an epoch (epochs.md rule 4e).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The log.
    pub group: GroupId,
    /// The history that was prepared.
    pub history: HistoryId,
    /// The epoch that begins.
    pub epoch: Epoch,
    /// Its first seq.
    pub start: Seq,
    /// Messages before `start` (C).
    pub count: u64,
    /// The time of the last event before `start`.
    pub at: Time,
    /// The stored watermark.
    pub stored: Position,
    /// The own total (O) before `start` of everyone who ever sent, when the log cannot know them:
    /// they replace what it holds, and its memory of `client_id`s is made anew from the entries
    /// it still has. `None` keeps both as they are: only if [`Prepared::Ready`] said that it
    /// remembers, its last id is valid and `start` is the next seq.
    pub own: Option<Vec<(UserId, u64)>>,
    /// The last id as [`Log::prepare`] answered it; another one refuses the opening.
    pub expected_top: Option<Position>,
    /// The group's epoch table with the row of this opening.
    pub table: EpochTable,
}

/// The answer to [`Log::open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// The log takes appends under the epoch.
    Yes,
    /// History, announced epoch or last id are not as expected, or there is nothing to keep
    /// although `own` is `None`; nothing was written.
    No,
}

/// A group's live log: append, read, open.
#[async_trait]
pub trait Log: Witness + Send + Sync {
    /// Appends one event, or says why not.
    ///
    /// # Errors
    /// `Unavailable`: the outcome is unknown; the same request may be sent again, with
    /// [`OnMiss::AppendIfRemembered`].
    async fn append(&self, append: Append) -> Result<Outcome>;

    /// The history that serves the partition now.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn history(&self, partition: Partition) -> Result<HistoryId>;

    /// The epoch tables of `groups` as of their openings, in their order; `None` where the log does
    /// not keep them. Asked after [`Log::heads`], a table knows the epoch of the head.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn tables(&self, groups: &[GroupId]) -> Result<Vec<Option<EpochTable>>>;

    /// The heads of `groups`, in their order; `None` for a group without a live log. With
    /// `member`, each with that member's own total (O), if the log remembers it.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn heads(
        &self,
        groups: &[GroupId],
        member: Option<UserId>,
    ) -> Result<Vec<Option<(Head, Option<u64>)>>>;

    /// The head of one group, if it has a live log.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn head(&self, group: GroupId) -> Result<Option<Head>> {
        let heads = self.heads(&[group], None).await?;
        Ok(heads.into_iter().next().flatten().map(|(head, _)| head))
    }

    /// Entries of one group with `after < pos`, and `pos ≤ upto` if given, ascending, at most
    /// `limit`. The answer may begin above `after` where the live log was trimmed, and holds
    /// dead positions too: the caller checks both (see [`super::history`]).
    ///
    /// # Errors
    /// `Unavailable`; `Corrupt` for an entry that cannot be read.
    async fn range(
        &self,
        group: GroupId,
        after: Position,
        upto: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>>;

    /// Like [`Log::range`] from the other end: entries below `before` (all if `None`), the
    /// highest `limit` of them, ascending.
    ///
    /// # Errors
    /// As [`Log::range`].
    async fn range_back(
        &self,
        group: GroupId,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>>;

    /// Step a of a re-opening: announces `epoch` to the partition (epochs.md rule 4a).
    ///
    /// # Errors
    /// `Unavailable`: nothing may be concluded.
    async fn prepare(&self, group: GroupId, history: &str, epoch: Epoch) -> Result<Prepared>;

    /// Step e of a re-opening. Sent exactly once, never again after an unknown outcome.
    ///
    /// # Errors
    /// `Unavailable`: the outcome is unknown; raise the fence instead of trying again.
    async fn open(&self, open: Open) -> Result<Opened>;

    /// Moves stored watermarks forward; lower positions change nothing. With each the number of its
    /// confirmation is told, as by [`Witness::tell`], in one step. Answers the partitions in which it
    /// was refused; watermarks of other groups there may have moved.
    ///
    /// # Errors
    /// `Unavailable`: some may have moved.
    async fn set_stored(&self, marks: &[Stored]) -> Result<Vec<Partition>>;

    /// A new tail of this process.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn tail(&self) -> Result<Box<dyn Tail>>;
}

/// What a tail saw of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tailed {
    /// The group.
    pub group: GroupId,
    /// Its new entries, ascending, above the cursor. They may begin with a hole, where the live
    /// log was trimmed, and hold dead positions: the caller checks both.
    pub entries: Vec<Entry>,
    /// The head, when the tail compared it and found nothing to read although the head is above
    /// the cursor: the caller fills the gap from the store.
    pub head_above: Option<Head>,
}

/// Follows the logs of the groups that someone here listens to. A doorbell, not a data pipe: a
/// lost ring only delays, since every reconnect reads all cursors again, and a sweep every 5 s
/// compares them with the heads.
#[async_trait]
pub trait Tail: Send {
    /// Begins to follow a group from above `after`, or moves its cursor there.
    fn watch(&mut self, group: GroupId, after: Position);

    /// Stops following a group.
    fn unwatch(&mut self, group: GroupId);

    /// Waits for entries above the cursors, and moves the cursors to the last it returns.
    /// Cancel safe: what was not returned is returned by the next call.
    ///
    /// # Errors
    /// `Unavailable`; the tail stays usable and reconnects by itself at the next call.
    async fn next(&mut self) -> Result<Vec<Tailed>>;
}

/// The key under which a log remembers a send: the scope of a `client_id` is (group, sender).
pub type SendKey = (UserId, ClientId);
