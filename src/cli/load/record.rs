//! What one client saw and was told, kept for the check. A [`Recorder`] turns the notes of the
//! state machine into a [`Record`] and counts them in the shared [`Meter`].

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::client::Note;
use super::meter::Meter;
use super::plan::Plan;
use super::text::Reading;
use super::wire::Event;
use crate::model::id::{GroupId, UserId};
use crate::model::position::{Position, Seq};

/// An event as the check needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it stood.
    pub pos: Position,
    /// What it was.
    pub what: What,
}

/// What an event was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Exactly this message of the plan, in its group, by its sender.
    Message(usize),
    /// A message, but none that was said here: its text.
    Strange(Box<str>),
    /// No message.
    Notice,
    /// What stands in for an event that is lost.
    Lost,
}

/// What became of a message, as its sender knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Durable at a position.
    Stored(Position),
    /// Refused for good.
    Refused(String),
    /// Said, and not settled when the run ended.
    Open,
}

/// All that one client knows at the end. Groups by their index in the plan.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The events applied, in order.
    pub feeds: BTreeMap<usize, Vec<Seen>>,
    /// The own messages that were said.
    pub fates: BTreeMap<usize, Fate>,
    /// The read cursors that the server answered.
    pub cursors: BTreeMap<usize, Position>,
    /// Positions pushed twice.
    pub doubled: Vec<(usize, Position)>,
    /// Positions pushed after a higher one.
    pub out_of_order: Vec<(usize, Position)>,
    /// How the server broke the protocol.
    pub faults: Vec<String>,
}

/// The run as a client or a page of a log is read in its light.
#[derive(Debug)]
pub struct Scene {
    /// What is said.
    pub plan: Plan,
    /// The ids of the groups of the plan.
    pub groups: Vec<GroupId>,
    /// The ids of the users of the plan.
    pub users: Vec<UserId>,
    index: HashMap<GroupId, usize>,
}

impl Scene {
    /// The scene of this plan with these groups and users.
    pub fn new(plan: Plan, groups: Vec<GroupId>, users: Vec<UserId>) -> Self {
        let index = groups
            .iter()
            .enumerate()
            .map(|(index, group)| (*group, index))
            .collect();
        Self {
            plan,
            groups,
            users,
            index,
        }
    }

    /// The index of a group; `None` if it is none of this run.
    pub fn group(&self, group: GroupId) -> Option<usize> {
        self.index.get(&group).copied()
    }

    /// What an event of the group with this index is.
    pub fn see(&self, group: usize, event: &Event) -> Seen {
        Seen {
            pos: event.pos,
            what: self.what(group, event),
        }
    }

    fn what(&self, group: usize, event: &Event) -> What {
        if event.kind == "lost" {
            return What::Lost;
        }
        if event.kind != "message" {
            return What::Notice;
        }
        let text = event
            .body
            .as_ref()
            .map(|body| body.text.as_str())
            .unwrap_or_default();
        match self.plan.texts().read(text) {
            Reading::Exact(k) if self.was_said(k, group, event.sender) => What::Message(k),
            Reading::Exact(_) | Reading::Changed(_) | Reading::Foreign => {
                What::Strange(text.into())
            }
        }
    }

    fn was_said(&self, k: usize, group: usize, sender: Option<UserId>) -> bool {
        self.plan.sayings().get(k).is_some_and(|saying| {
            saying.group == group && self.users.get(saying.sender).copied() == sender
        })
    }
}

/// Writes the record of one client.
#[derive(Debug, Default)]
pub struct Recorder {
    record: Record,
    /// When a message was accepted; one that is accepted again after a loss is not counted again.
    accepted: BTreeMap<usize, Duration>,
}

impl Recorder {
    /// Takes a note at `now`, a moment since the first message was due.
    pub fn note(&mut self, note: Note, scene: &Scene, meter: &Meter, now: Duration) {
        match note {
            Note::Accepted(k) => self.accepted(k, scene, meter, now),
            Note::Stored(k, pos) => self.stored(k, pos, scene, meter, now),
            Note::Refused(k, code) => self.refused(k, code, scene, meter),
            Note::Applied(group, event) => self.applied(group, &event, scene, meter, now),
            Note::Dropped(group, start) => self.dropped(group, start, scene, meter),
            Note::Doubled(group, pos) => {
                self.record
                    .doubled
                    .extend(scene.group(group).map(|group| (group, pos)));
            }
            Note::OutOfOrder(group, pos) => {
                self.record
                    .out_of_order
                    .extend(scene.group(group).map(|group| (group, pos)));
            }
            Note::Hole => meter.holes.add_one(),
            Note::Again => meter.again.add_one(),
            Note::Reconnected => meter.reconnects.add_one(),
            Note::EpochTold => meter.epochs.add_one(),
            Note::Goaway => meter.goaways.add_one(),
            Note::Resync => meter.resyncs.add_one(),
            Note::Pulled => meter.pulls.add_one(),
            Note::Fault(what) => self.record.faults.push(what),
            Note::Ended(reason) => {
                meter.ended.add_one();
                self.record.faults.push(reason);
            }
        }
    }

    fn accepted(&mut self, k: usize, scene: &Scene, meter: &Meter, now: Duration) {
        self.accepted.entry(k).or_insert_with(|| {
            meter.accepted.add_one();
            meter.accept.record(now.saturating_sub(scene.plan.due(k)));
            now
        });
    }

    fn stored(&mut self, k: usize, pos: Position, scene: &Scene, meter: &Meter, now: Duration) {
        self.record.fates.insert(k, Fate::Stored(pos));
        meter.stored.add_one();
        meter.store.record(now.saturating_sub(scene.plan.due(k)));
        if let Some(accepted) = self.accepted.get(&k) {
            meter.archive.record(now.saturating_sub(*accepted));
        }
    }

    fn refused(&mut self, k: usize, code: String, scene: &Scene, meter: &Meter) {
        self.record.fates.insert(k, Fate::Refused(code));
        meter.refused.add_one();
        let group = scene.plan.sayings().get(k).map(|saying| saying.group);
        let members = group.map_or(0, |group| scene.plan.members(group).len());
        meter.void.add(members as u64);
    }

    fn applied(
        &mut self,
        group: GroupId,
        event: &Event,
        scene: &Scene,
        meter: &Meter,
        now: Duration,
    ) {
        let Some(group) = scene.group(group) else {
            return;
        };
        let seen = scene.see(group, event);
        if let What::Message(k) = seen.what {
            meter.delivered.add_one();
            meter.delivery.record(now.saturating_sub(scene.plan.due(k)));
        }
        self.record.feeds.entry(group).or_default().push(seen);
    }

    /// What never happened is no longer held, nor counted.
    fn dropped(&mut self, group: GroupId, start: Seq, scene: &Scene, meter: &Meter) {
        let feed = scene
            .group(group)
            .and_then(|group| self.record.feeds.get_mut(&group));
        let Some(feed) = feed else { return };
        let kept = feed.partition_point(|seen| seen.pos.seq < start);
        let messages = |seen: &Seen| matches!(seen.what, What::Message(_));
        let dropped = feed.drain(kept..).filter(messages).count();
        meter.delivered.take(dropped as u64);
    }

    /// A message was said; until it is settled its fate is open.
    pub fn said(&mut self, k: usize) {
        self.record.fates.insert(k, Fate::Open);
    }

    /// The positions of a group that were applied.
    pub fn held(&self, group: usize) -> &[Seen] {
        self.record
            .feeds
            .get(&group)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// The groups of which anything was applied.
    pub fn heard_groups(&self) -> Vec<usize> {
        self.record.feeds.keys().copied().collect()
    }

    /// The record, with the read cursors that the client had answered.
    pub fn finish(
        mut self,
        scene: &Scene,
        cursors: impl Iterator<Item = (GroupId, Position)>,
    ) -> Record {
        let known = cursors.filter_map(|(group, pos)| Some((scene.group(group)?, pos)));
        self.record.cursors = known.collect();
        self.record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::plan::Shape;
    use crate::cli::load::text::Texts;

    #[test]
    fn stored_counts_from_the_first_accepted() {
        let shape = Shape {
            users: 2,
            groups: 1,
            rate: 1.0,
            length: Duration::from_secs(1),
            seed: 1,
        };
        let scene = Scene::new(Plan::new(shape, Texts::new([], "r1", 1)), vec![], vec![]);
        let (mut recorder, meter) = (Recorder::default(), Meter::default());
        let mut note = |note, ms| recorder.note(note, &scene, &meter, Duration::from_millis(ms));
        note(Note::Accepted(0), 40);
        note(Note::Accepted(0), 60);
        note(Note::Stored(0, Position::new(1, 1)), 100);
        assert_eq!(meter.archive.at(1.0).unwrap().as_millis(), 60);
        assert_eq!(meter.store.at(1.0).unwrap().as_millis(), 100);
        assert_eq!(meter.archive.count(), 1);
    }
}
