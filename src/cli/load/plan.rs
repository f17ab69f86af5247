//! What the run will do, decided before it begins: who is in which group, and who says what at
//! which moment. Pure: the same shape and seed give the same plan.
//!
//! The schedule is open loop: message k is due k/rate seconds after the start, whatever the
//! server does, and latencies count from there. A server that stalls is charged for everything
//! that had to wait.

use std::time::Duration;

use super::random::{Random, mix};
use super::text::Texts;

use crate::model::client_id::ClientId;

/// How many groups a user is in, unless there are fewer.
const GROUPS_PER_USER: usize = 4;

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Clients, one socket each.
    pub users: usize,
    /// Groups.
    pub groups: usize,
    /// Messages a second, all clients together.
    pub rate: f64,
    /// How long messages are sent.
    pub length: Duration,
    /// Where all random choices come from.
    pub seed: u64,
}

/// One message of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saying {
    /// The index of the group.
    pub group: usize,
    /// The index of the user.
    pub sender: usize,
}

/// Who says what where and when.
#[derive(Debug, Clone)]
pub struct Plan {
    members: Vec<Vec<usize>>,
    sayings: Vec<Saying>,
    rate: f64,
    seed: u64,
    texts: Texts,
}

impl Plan {
    /// The plan of this shape.
    pub fn new(shape: Shape, texts: Texts) -> Self {
        let mut random = Random::new(shape.seed);
        let members = mix_members(shape, &mut random);
        let open: Vec<usize> = (0..members.len())
            .filter(|g| !members[*g].is_empty())
            .collect();
        let saying = |_| {
            let group = *random.pick(&open)?;
            let sender = *random.pick(&members[group])?;
            Some(Saying { group, sender })
        };
        let sayings = (0..shape.messages()).map_while(saying).collect();
        Self {
            members,
            sayings,
            rate: shape.rate,
            seed: shape.seed,
            texts,
        }
    }

    /// The users in the group with this index.
    pub fn members(&self, group: usize) -> &[usize] {
        &self.members[group]
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.members.len()
    }

    /// Every message, the earliest first.
    pub fn sayings(&self) -> &[Saying] {
        &self.sayings
    }

    /// The numbers of the messages of one user, the earliest first.
    pub fn said_by(&self, user: usize) -> Vec<usize> {
        let own = self
            .sayings
            .iter()
            .enumerate()
            .filter(|(_, saying)| saying.sender == user);
        own.map(|(k, _)| k).collect()
    }

    /// When the `k`-th message is due, from the start of sending.
    pub fn due(&self, k: usize) -> Duration {
        Duration::try_from_secs_f64(u32::try_from(k).map_or(f64::MAX, f64::from) / self.rate)
            .unwrap_or(Duration::MAX)
    }

    /// When the last message was due.
    pub fn end(&self) -> Duration {
        self.due(self.sayings.len())
    }

    /// How many pairs of a message and a member there are.
    pub fn pairs(&self) -> u64 {
        let members = |saying: &Saying| self.members[saying.group].len() as u64;
        self.sayings.iter().map(members).sum()
    }

    /// The idempotency key of the `k`-th message.
    pub fn client_id(&self, k: usize) -> ClientId {
        ClientId::from_bytes(Random::new(mix(self.seed) ^ mix(k as u64)).bytes())
    }

    /// The texts of the run.
    pub const fn texts(&self) -> &Texts {
        &self.texts
    }
}

impl Shape {
    /// How many messages are due: the last one just before the end.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float to integer cast saturates, and the product is not negative"
    )]
    fn messages(self) -> usize {
        (self.rate * self.length.as_secs_f64()).ceil().max(0.0) as usize
    }
}

/// Every user joins a few groups at random; a group that nobody chose gets two.
fn mix_members(shape: Shape, random: &mut Random) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); shape.groups];
    for user in 0..shape.users {
        for group in random.sample(shape.groups, GROUPS_PER_USER) {
            members[group].push(user);
        }
    }
    for lonely in members.iter_mut().filter(|members| members.is_empty()) {
        lonely.extend(random.sample(shape.users, 2));
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let shape = Shape {
            users: 30,
            groups: 9,
            rate: 50.0,
            length: Duration::from_secs(4),
            seed: 11,
        };
        Plan::new(shape, Texts::new([], "r1", 11))
    }

    #[test]
    fn the_schedule_is_open_loop() {
        let plan = plan();
        assert_eq!(plan.sayings().len(), 200);
        assert_eq!(plan.due(0), Duration::ZERO);
        assert_eq!(plan.due(150), Duration::from_secs(3));
    }

    #[test]
    fn every_user_is_in_several_groups_and_no_group_is_empty() {
        let plan = plan();
        assert!((0..plan.groups()).all(|group| !plan.members(group).is_empty()));
        let groups_of = |user: usize| (0..9).filter(|g| plan.members(*g).contains(&user)).count();
        assert!((0..30).all(|user| groups_of(user) >= GROUPS_PER_USER));
    }

    #[test]
    fn only_members_speak_and_all_is_said_once() {
        let plan = plan();
        assert!(
            plan.sayings()
                .iter()
                .all(|s| plan.members(s.group).contains(&s.sender))
        );
        let said: usize = (0..30).map(|user| plan.said_by(user).len()).sum();
        assert_eq!(said, 200);
    }

    #[test]
    fn the_keys_of_two_messages_differ() {
        let plan = plan();
        let keys: std::collections::HashSet<_> = (0..200).map(|k| plan.client_id(k)).collect();
        assert_eq!(keys.len(), 200);
    }
}
