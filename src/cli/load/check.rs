//! The verdict: everything that was said must be in each node's log and on each member's socket
//! exactly once, in one order, as it was said, and every unread count must equal a recount.
//! Pure: records and testimonies in, findings out. A flaw is counted, and the first few of each
//! kind are told with the least that shows them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::evidence::{Counts, Testimony};
use super::record::{Fate, Record, Scene, Seen, What};
use crate::model::position::Position;

/// How many flaws of a kind are told in words.
const WITNESSES_MAX: u64 = 3;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// A message is not where it must be.
    Missing,
    /// A message is there twice.
    Doubled,
    /// Two places tell another order, or another position.
    OutOfOrder,
    /// A message that nobody of the run said like that.
    Foreign,
    /// A message was refused or never settled, or was stored elsewhere than its sender was told.
    Receipt,
    /// An unread count is not the recount.
    Unread,
    /// The server broke the protocol.
    Protocol,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Doubled => "doubled",
            Self::OutOfOrder => "out of order",
            Self::Foreign => "foreign",
            Self::Receipt => "receipt",
            Self::Unread => "unread",
            Self::Protocol => "protocol",
        })
    }
}

/// What the check found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    counts: BTreeMap<Flaw, u64>,
    witnesses: Vec<String>,
    undelivered: u64,
    lost: u64,
}

impl Findings {
    /// How often a flaw was found.
    pub fn count(&self, flaw: Flaw) -> u64 {
        self.counts.get(&flaw).copied().unwrap_or(0)
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// The first few flaws of each kind, in words.
    pub fn witnesses(&self) -> &[String] {
        &self.witnesses
    }

    /// Pairs of a message and a member whose socket never saw it.
    pub const fn undelivered(&self) -> u64 {
        self.undelivered
    }

    /// Messages that are shown as lost, where that may be.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    fn add(&mut self, flaw: Flaw, witness: impl FnOnce() -> String) {
        let count = self.counts.entry(flaw).or_default();
        *count += 1;
        if *count <= WITNESSES_MAX {
            self.witnesses.push(format!("{flaw}: {}", witness()));
        }
    }
}

/// All that the verdict rests on.
#[derive(Debug)]
pub struct Case<'a> {
    /// The plan and who is who.
    pub scene: &'a Scene,
    /// What each client knows, by the index of its user.
    pub records: &'a [Record],
    /// What each node says.
    pub testimonies: &'a [Testimony],
    /// A store was put back to an older state: what is stored may be shown as lost, and what is left
    /// may stand at the same seq in a newer epoch.
    pub may_lose: bool,
}

/// The messages of one log or feed: number → where it stands.
type Places = BTreeMap<usize, Position>;

/// Compares everything with everything.
pub fn check(case: &Case<'_>) -> Findings {
    let mut findings = Findings::default();
    let fates = fates(case.records);
    for group in 0..case.scene.groups.len() {
        check_group(case, group, &fates, &mut findings);
    }
    check_receipts(case, &fates, &mut findings);
    check_pushes(case, &mut findings);
    for testimony in case.testimonies {
        check_counts(case, testimony, &mut findings);
    }
    findings
}

fn fates(records: &[Record]) -> BTreeMap<usize, &Fate> {
    records
        .iter()
        .flat_map(|record| record.fates.iter().map(|(k, fate)| (*k, fate)))
        .collect()
}

/// The log of one group on every node, then the feed of every member.
fn check_group(
    case: &Case<'_>,
    group: usize,
    fates: &BTreeMap<usize, &Fate>,
    findings: &mut Findings,
) {
    let Some(first) = case.testimonies.first() else {
        return;
    };
    let of_group = |k: usize| {
        case.scene
            .plan
            .sayings()
            .get(k)
            .is_some_and(|s| s.group == group)
    };
    let kept = |fate: &Fate| !matches!(fate, Fate::Refused(_) | Fate::Open);
    let wanted = fates.iter().filter(|(k, fate)| of_group(**k) && kept(fate));
    let mut wanted: BTreeSet<usize> = wanted.map(|(k, _)| *k).collect();
    if case.may_lose {
        forgive(first, group, &mut wanted, findings);
    }
    for testimony in case.testimonies {
        let place = format!("the log of group {group} on {}", testimony.node);
        let log = testimony
            .logs
            .get(group)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let places = places(log, &place, findings);
        check_complete(case.scene, &wanted, &places, &place, findings);
        check_same(&reference(first, group), &places, &place, findings);
    }
    let reference = reference(first, group);
    wanted.extend(reference.keys());
    for user in case.scene.plan.members(group) {
        check_feed(case, group, *user, &wanted, &reference, findings);
    }
}

/// No longer wants what is nowhere, as far as the log shows as many places as lost.
fn forgive(first: &Testimony, group: usize, wanted: &mut BTreeSet<usize>, findings: &mut Findings) {
    let log = first.logs.get(group).map(Vec::as_slice).unwrap_or_default();
    let lost = log.iter().filter(|seen| seen.what == What::Lost).count();
    let reference = reference(first, group);
    let gone = wanted.iter().filter(|k| !reference.contains_key(k)).count();
    if gone <= lost {
        wanted.retain(|k| reference.contains_key(k));
        findings.lost += gone as u64;
    }
}

fn reference(first: &Testimony, group: usize) -> Places {
    let log = first.logs.get(group).map(Vec::as_slice).unwrap_or_default();
    places(log, "", &mut Findings::default())
}

fn check_feed(
    case: &Case<'_>,
    group: usize,
    user: usize,
    wanted: &BTreeSet<usize>,
    reference: &Places,
    findings: &mut Findings,
) {
    let place = format!("the socket of user {user} in group {group}");
    let feed = case
        .records
        .get(user)
        .and_then(|record| record.feeds.get(&group));
    let feed = feed.map(Vec::as_slice).unwrap_or_default();
    let places = places(feed, &place, findings);
    check_dense(feed, &place, findings);
    let missing = check_complete(case.scene, wanted, &places, &place, findings);
    findings.undelivered += missing;
    check_same(reference, &places, &place, findings);
}

/// Where each message stands; what rises not, is doubled or foreign is found on the way.
fn places(events: &[Seen], place: &str, findings: &mut Findings) -> Places {
    let mut places = Places::new();
    let mut last = Position::START;
    for Seen { pos, what } in events {
        if *pos <= last || pos.seq <= last.seq {
            findings.add(Flaw::OutOfOrder, || {
                format!("{pos} follows {last} in {place}")
            });
        }
        last = *pos;
        match what {
            What::Message(k) => {
                if let Some(before) = places.insert(*k, *pos) {
                    let said = || format!("message {k} at {before} and at {pos} in {place}");
                    findings.add(Flaw::Doubled, said);
                }
            }
            What::Strange(text) => {
                findings.add(Flaw::Foreign, || format!("{pos} in {place} says {text:?}"));
            }
            What::Notice | What::Lost => {}
        }
    }
    places
}

/// A feed has no holes: every event of the log takes the next seq.
fn check_dense(feed: &[Seen], place: &str, findings: &mut Findings) {
    for pair in feed.windows(2) {
        let (one, next) = (pair[0].pos, pair[1].pos);
        if next.seq > one.seq + 1 {
            findings.add(Flaw::Missing, || {
                format!("a hole from {one} to {next} in {place}")
            });
        }
    }
}

/// Everything wanted is there. Answers how much is not.
fn check_complete(
    scene: &Scene,
    wanted: &BTreeSet<usize>,
    places: &Places,
    place: &str,
    findings: &mut Findings,
) -> u64 {
    let missing = wanted.iter().filter(|k| !places.contains_key(k));
    let mut count = 0;
    for k in missing {
        count += 1;
        findings.add(Flaw::Missing, || {
            let text = scene.plan.texts().text(*k);
            format!("message {k} ({text:?}) is not in {place}")
        });
    }
    count
}

/// Messages stand where the reference has them, and none stands only here.
fn check_same(reference: &Places, places: &Places, place: &str, findings: &mut Findings) {
    for (k, pos) in places {
        match reference.get(k) {
            Some(there) if there != pos => findings.add(Flaw::OutOfOrder, || {
                format!("message {k} stands at {pos} in {place}, at {there} in the log")
            }),
            Some(_) => {}
            None => findings.add(Flaw::Foreign, || {
                format!("message {k} stands at {pos} in {place}, and not in the log")
            }),
        }
    }
}

/// What the senders were told is what the log holds.
fn check_receipts(case: &Case<'_>, fates: &BTreeMap<usize, &Fate>, findings: &mut Findings) {
    let Some(first) = case.testimonies.first() else {
        return;
    };
    let logs: Vec<_> = (0..case.scene.groups.len())
        .map(|group| reference(first, group))
        .collect();
    for (k, fate) in fates {
        let group = case.scene.plan.sayings().get(*k).map(|saying| saying.group);
        let there = group.and_then(|group| logs.get(group)?.get(k)).copied();
        match (fate, there) {
            (Fate::Stored(pos), Some(there))
                if case.may_lose && pos.seq == there.seq && pos.epoch < there.epoch => {}
            (Fate::Stored(pos), Some(there)) if *pos != there => findings
                .add(Flaw::Receipt, || {
                    format!("message {k} was stored at {pos} and stands at {there}")
                }),
            (Fate::Stored(_), _) => {}
            (Fate::Refused(code), Some(there)) => findings.add(Flaw::Receipt, || {
                format!("message {k} was refused ({code}) and stands at {there}")
            }),
            (Fate::Refused(code), None) => {
                findings.add(Flaw::Receipt, || format!("message {k} was refused: {code}"));
            }
            (Fate::Open, _) => {
                findings.add(Flaw::Receipt, || {
                    format!("message {k} was never said to be stored")
                });
            }
        }
    }
}

/// What the state machines objected to.
fn check_pushes(case: &Case<'_>, findings: &mut Findings) {
    for (user, record) in case.records.iter().enumerate() {
        for (group, pos) in &record.doubled {
            findings.add(Flaw::Doubled, || {
                format!("{pos} of group {group} twice to user {user}")
            });
        }
        for (group, pos) in &record.out_of_order {
            let said = || format!("{pos} of group {group} to user {user} after a higher one");
            findings.add(Flaw::OutOfOrder, said);
        }
        for fault in &record.faults {
            findings.add(Flaw::Protocol, || format!("user {user}: {fault}"));
        }
    }
}

/// The counts of every user on one node.
fn check_counts(case: &Case<'_>, testimony: &Testimony, findings: &mut Findings) {
    let none = Counts::default();
    for (user, record) in case.records.iter().enumerate() {
        let told = testimony.counts.get(user).unwrap_or(&none);
        let recount = recount(case.scene, testimony, user, record);
        for (group, count) in &recount {
            let cursor = record.cursors.get(group).copied().unwrap_or_default();
            check_count(testimony, (user, cursor), (*group, *count), told, findings);
        }
        let total: u64 = recount.values().sum();
        if told.total != total {
            let (node, said) = (&testimony.node, told.total);
            findings.add(Flaw::Unread, || {
                format!("user {user} has {total}, {node} says {said}")
            });
        }
    }
}

fn check_count(
    testimony: &Testimony,
    (user, cursor): (usize, Position),
    (group, count): (usize, u64),
    told: &Counts,
    findings: &mut Findings,
) {
    let node = &testimony.node;
    for (from, counts) in [("unread", &told.unread), ("the list", &told.listed)] {
        let said = counts.get(&group).copied().unwrap_or(0);
        if said != count {
            findings.add(Flaw::Unread, || {
                format!(
                    "user {user} has {count} above {cursor} in group {group}, {from} of {node} \
                     says {said}"
                )
            });
        }
    }
}

/// The unread of a user by group, counted from the log: messages of others above the cursor.
pub fn recount(
    scene: &Scene,
    testimony: &Testimony,
    user: usize,
    record: &Record,
) -> BTreeMap<usize, u64> {
    let groups = (0..scene.groups.len()).filter(|group| scene.plan.members(*group).contains(&user));
    let count = |group: usize| {
        let cursor = record.cursors.get(&group).copied().unwrap_or_default();
        let log = testimony
            .logs
            .get(group)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let above = log.iter().filter(|seen| seen.pos.seq > cursor.seq);
        above.filter(|seen| is_of_others(scene, user, seen)).count() as u64
    };
    groups.map(|group| (group, count(group))).collect()
}

fn is_of_others(scene: &Scene, user: usize, seen: &Seen) -> bool {
    match &seen.what {
        What::Message(k) => scene
            .plan
            .sayings()
            .get(*k)
            .is_some_and(|s| s.sender != user),
        What::Strange(_) => true,
        What::Notice | What::Lost => false,
    }
}
