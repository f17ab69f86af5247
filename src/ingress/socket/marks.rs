//! Read marks of one socket at the pace that is kept for them: one a second for each group, and
//! no more than the user may set. A mark that comes too early waits; a later one of its group
//! takes its place and answers for both. So marking often is never an error, and never lost.

use std::collections::HashMap;
use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::commands::Asked;
use crate::model::id::GroupId;
use crate::protocol::client::{ClientFrame, Read};

/// How soon the next mark of a group is carried out.
const PACE: Duration = Duration::from_secs(1);

/// Answers that are owed for marks that wait; with more nothing is read from the client.
const OWED_MAX: usize = 32;

/// Groups that are remembered before those whose second is over are forgotten.
const GROUPS_KEPT: usize = 16;

/// The marks of one socket.
#[derive(Default)]
pub(super) struct Marks {
    groups: HashMap<GroupId, Mark>,
}

/// The marks of one group.
struct Mark {
    /// When the next may be carried out.
    free_at: Instant,
    waiting: Option<Waiting>,
}

struct Waiting {
    mark: Read,
    /// Ids of earlier marks that this one answers too.
    also: Vec<u64>,
}

impl Marks {
    /// Whether another mark may be added.
    pub(super) fn has_room(&self) -> bool {
        let waiting = self
            .groups
            .values()
            .filter_map(|mark| mark.waiting.as_ref());
        waiting.map(|waiting| 1 + waiting.also.len()).sum::<usize>() < OWED_MAX
    }

    /// Adds a mark; answers it if it may be carried out at once. `spend` takes it from the user's
    /// budget, or says how long to wait.
    pub(super) fn add(
        &mut self,
        mark: Read,
        now: Instant,
        spend: impl FnOnce() -> Result<(), Duration>,
    ) -> Option<Asked> {
        if self.groups.len() >= GROUPS_KEPT {
            self.groups
                .retain(|_, mark| mark.waiting.is_some() || mark.free_at > now);
        }
        let group = self.groups.entry(mark.group).or_insert(Mark {
            free_at: now,
            waiting: None,
        });
        if group.waiting.is_none() && group.free_at <= now {
            match spend() {
                Ok(()) => {
                    group.free_at = now + PACE;
                    return Some(Asked::read(mark, Vec::new()));
                }
                Err(wait) => group.free_at = now + wait,
            }
        }
        group.wait(mark);
        None
    }

    /// Waits until a mark may be carried out; for ever if none waits. Cancel safe.
    pub(super) async fn due(&self) {
        let waiting = self.groups.values().filter(|mark| mark.waiting.is_some());
        match waiting.map(|mark| mark.free_at).min() {
            // Boxed, for almost no socket has a timer almost ever.
            Some(at) => Box::pin(sleep_until(at)).await,
            None => pending().await,
        }
    }

    /// Takes a mark whose time has come.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        spend: impl FnOnce() -> Result<(), Duration>,
    ) -> Option<Asked> {
        let mut marks = self.groups.values_mut();
        let due = marks.find(|mark| mark.waiting.is_some() && mark.free_at <= now)?;
        if let Err(wait) = spend() {
            due.free_at = now + wait;
            return None;
        }
        due.free_at = now + PACE;
        due.waiting.take().map(Waiting::asked)
    }

    /// Takes all marks that wait, at the end of a socket.
    pub(super) fn take_all(&mut self) -> Vec<Asked> {
        let marks = std::mem::take(&mut self.groups).into_values();
        marks
            .filter_map(|mark| mark.waiting.map(Waiting::asked))
            .collect()
    }
}

impl Mark {
    /// The higher of two marks stands; the later id comes last.
    fn wait(&mut self, mark: Read) {
        let Some(waiting) = &mut self.waiting else {
            self.waiting = Some(Waiting {
                mark,
                also: Vec::new(),
            });
            return;
        };
        let pos = waiting.mark.pos.max(mark.pos);
        let earlier = std::mem::replace(&mut waiting.mark, mark);
        waiting.mark.pos = pos;
        match waiting.mark.id {
            Some(_) => waiting.also.extend(earlier.id),
            None => waiting.mark.id = earlier.id,
        }
    }
}

impl Waiting {
    fn asked(self) -> Asked {
        Asked::read(self.mark, self.also)
    }
}

impl Asked {
    fn read(mark: Read, also: Vec<u64>) -> Self {
        Self {
            frame: ClientFrame::Read(mark),
            told: None,
            also,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(group: u8, seq: u64, id: Option<u64>) -> Read {
        let text = format!(
            r#"{{"type":"read","group":"g_{group:032}","pos":[1,{seq}]{}}}"#,
            id.map_or(String::new(), |id| format!(r#","id":{id}"#))
        );
        match ClientFrame::parse(&text) {
            Ok(ClientFrame::Read(read)) => read,
            _ => panic!("{text}"),
        }
    }

    fn seq(asked: &Asked) -> u64 {
        match &asked.frame {
            ClientFrame::Read(read) => read.pos.seq,
            _ => panic!("no mark"),
        }
    }

    const FREE: fn() -> Result<(), Duration> = || Ok(());

    #[tokio::test(start_paused = true)]
    async fn marks_within_a_second_become_the_highest_one_and_all_are_answered() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        assert!(marks.add(mark(1, 1, Some(1)), now, FREE).is_some());
        for (at, id) in [(5, Some(2)), (9, None), (7, Some(3))] {
            assert!(marks.add(mark(1, at, id), now, FREE).is_none());
        }
        assert!(marks.add(mark(2, 1, None), now, FREE).is_some());
        assert!(marks.take_due(now, FREE).is_none());
        marks.due().await;
        let due = marks.take_due(Instant::now(), FREE).unwrap();
        assert_eq!(Instant::now().duration_since(now), PACE);
        assert_eq!((seq(&due), &due.also[..]), (9, &[2][..]));
        assert!(matches!(
            due.frame,
            ClientFrame::Read(Read { id: Some(3), .. })
        ));
        assert!(marks.take_due(Instant::now() + PACE, FREE).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_over_the_users_budget_waits_for_it() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        let spent = || Err(Duration::from_secs(5));
        assert!(marks.add(mark(1, 1, None), now, spent).is_none());
        marks.due().await;
        assert_eq!(Instant::now().duration_since(now), Duration::from_secs(5));
        assert!(marks.take_due(Instant::now(), FREE).is_some());
    }

    #[test]
    fn answers_that_are_owed_are_bounded_and_idle_groups_forgotten() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        for id in 0..=u64::try_from(OWED_MAX).unwrap() {
            assert!(marks.has_room());
            drop(marks.add(mark(1, id + 1, Some(id)), now, FREE));
        }
        assert!(!marks.has_room());
        assert_eq!(marks.take_all().len(), 1);
        for group in 0..100 {
            let later = now + PACE * u32::from(group);
            drop(marks.add(mark(group, 1, None), later, FREE));
        }
        assert!(marks.groups.len() <= GROUPS_KEPT);
    }
}
