//! The checker is checked: a clean case is clean, and each kind of damage turns it red.

use std::time::Duration;

use super::{Case, Findings, Flaw, check, recount};
use crate::cli::load::evidence::{Counts, Testimony};
use crate::cli::load::plan::{Plan, Shape};
use crate::cli::load::record::{Fate, Record, Scene, Seen, What};
use crate::cli::load::text::Texts;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::time::Time;

/// A whole run on paper: 6 users, 3 groups, 60 messages, 2 nodes, nothing wrong.
struct Paper {
    scene: Scene,
    records: Vec<Record>,
    testimonies: Vec<Testimony>,
    may_lose: bool,
}

impl Paper {
    fn clean() -> Self {
        let scene = scene();
        let logs: Vec<_> = (0..scene.groups.len())
            .map(|group| log(&scene, group))
            .collect();
        let records: Vec<_> = (0..scene.users.len())
            .map(|u| record(&scene, &logs, u))
            .collect();
        let testimony = |node: &str| {
            let mut told = Testimony {
                node: node.to_owned(),
                logs: logs.clone(),
                counts: Vec::new(),
            };
            let count = |(user, record)| counts(&scene, &told, user, record);
            told.counts = records.iter().enumerate().map(count).collect();
            told
        };
        let testimonies = vec![testimony("a"), testimony("b")];
        Self {
            scene,
            records,
            testimonies,
            may_lose: false,
        }
    }

    fn check(&self) -> Findings {
        check(&Case {
            scene: &self.scene,
            records: &self.records,
            testimonies: &self.testimonies,
            may_lose: self.may_lose,
        })
    }

    /// The feed of the first member of the first group, and the index of that member.
    fn feed(&mut self) -> (usize, &mut Vec<Seen>) {
        let user = self.scene.plan.members(0)[0];
        (user, self.records[user].feeds.get_mut(&0).unwrap())
    }

    /// Damages the log of the first group on the second node.
    fn damage_log(mut self, damage: impl FnOnce(&mut Vec<Seen>)) -> Findings {
        damage(&mut self.testimonies[1].logs[0]);
        self.check()
    }

    fn damage_feed(mut self, damage: impl FnOnce(&mut Vec<Seen>)) -> Findings {
        damage(self.feed().1);
        self.check()
    }

    /// One message's sender was told this of it.
    fn with_fate(mut self, fate: Fate) -> Findings {
        let mut fates = self
            .records
            .iter_mut()
            .flat_map(|one| one.fates.values_mut());
        *fates.next().unwrap() = fate;
        drop(fates);
        self.check()
    }
}

fn scene() -> Scene {
    let shape = Shape {
        users: 6,
        groups: 3,
        rate: 10.0,
        length: Duration::from_secs(6),
        seed: 5,
    };
    let at = Time::from_millis(1_764_000_000_000);
    let groups = (0..3).map(|_| GroupId::generate(at)).collect();
    let users = (0..6).map(|_| UserId::generate(at)).collect();
    Scene::new(Plan::new(shape, Texts::new([], "r1", 5)), groups, users)
}

fn log(scene: &Scene, group: usize) -> Vec<Seen> {
    let joined = Seen {
        pos: Position::new(1, 1),
        what: What::Notice,
    };
    let sayings = scene.plan.sayings().iter().enumerate();
    let said = sayings.filter(|(_, saying)| saying.group == group);
    let said = said.zip(2..).map(|((k, _), seq)| Seen {
        pos: Position::new(1, seq),
        what: What::Message(k),
    });
    std::iter::once(joined).chain(said).collect()
}

fn record(scene: &Scene, logs: &[Vec<Seen>], user: usize) -> Record {
    let mut record = Record::default();
    for (group, log) in logs.iter().enumerate() {
        if scene.plan.members(group).contains(&user) {
            record.feeds.insert(group, log[1..].to_vec());
            record.cursors.insert(group, log[log.len() / 2].pos);
        }
        for seen in log {
            if let What::Message(k) = seen.what
                && scene.plan.sayings()[k].sender == user
            {
                record.fates.insert(k, Fate::Stored(seen.pos));
            }
        }
    }
    record
}

fn counts(scene: &Scene, told: &Testimony, user: usize, record: &Record) -> Counts {
    let recount = recount(scene, told, user, record);
    Counts {
        total: recount.values().sum(),
        unread: recount.clone(),
        listed: recount,
    }
}

fn foreign(seq: u64) -> Seen {
    Seen {
        pos: Position::new(1, seq),
        what: What::Strange("who said this".into()),
    }
}

#[test]
fn a_clean_run_is_clean_and_not_empty() {
    let paper = Paper::clean();
    assert!(paper.check().is_clean(), "{:?}", paper.check());
    assert_eq!(paper.scene.plan.sayings().len(), 60);
    assert!(
        paper.testimonies[0]
            .counts
            .iter()
            .any(|counts| counts.total > 0)
    );
}

#[test]
fn a_message_lost_on_a_socket_is_missing() {
    let findings = Paper::clean().damage_feed(|feed| {
        feed.pop();
    });
    assert_eq!(
        (findings.count(Flaw::Missing), findings.undelivered()),
        (1, 1)
    );
}

#[test]
fn a_hole_on_a_socket_is_missing() {
    let findings = Paper::clean().damage_feed(|feed| {
        feed.remove(2);
    });
    assert_eq!(findings.count(Flaw::Missing), 2, "the message and the hole");
}

#[test]
fn a_member_who_saw_nothing_misses_all() {
    let mut paper = Paper::clean();
    let (user, feed) = paper.feed();
    let messages = feed.len();
    paper.records[user].feeds.clear();
    assert!(paper.check().undelivered() >= messages as u64);
}

#[test]
fn a_message_applied_twice_is_doubled() {
    let findings = Paper::clean().damage_feed(|feed| {
        let mut copy = feed[0].clone();
        copy.pos.seq = feed.len() as u64 + 2;
        feed.push(copy);
    });
    assert_eq!(findings.count(Flaw::Doubled), 1);
}

#[test]
fn a_position_pushed_twice_is_doubled() {
    let mut paper = Paper::clean();
    paper.records[2].doubled.push((0, Position::new(1, 4)));
    assert_eq!(paper.check().count(Flaw::Doubled), 1);
}

#[test]
fn two_messages_that_changed_places_are_out_of_order() {
    let findings = Paper::clean().damage_feed(|feed| {
        let (one, two) = (feed[0].what.clone(), feed[1].what.clone());
        feed[0].what = two;
        feed[1].what = one;
    });
    assert_eq!(findings.count(Flaw::OutOfOrder), 2);
}

#[test]
fn a_lower_position_after_a_higher_one_is_out_of_order() {
    let findings = Paper::clean().damage_feed(|feed| feed.swap(0, 1));
    assert!(findings.count(Flaw::OutOfOrder) > 0);
}

#[test]
fn a_late_push_is_out_of_order() {
    let mut paper = Paper::clean();
    paper.records[2].out_of_order.push((0, Position::new(1, 4)));
    assert_eq!(paper.check().count(Flaw::OutOfOrder), 1);
}

#[test]
fn a_changed_text_is_foreign_and_its_message_missing() {
    let findings = Paper::clean().damage_feed(|feed| {
        feed[3].what = What::Strange("changed".into());
    });
    assert_eq!(
        (findings.count(Flaw::Foreign), findings.count(Flaw::Missing)),
        (1, 1)
    );
}

#[test]
fn a_phantom_on_a_socket_is_foreign() {
    let findings = Paper::clean().damage_feed(|feed| feed.push(foreign(feed.len() as u64 + 2)));
    assert_eq!(findings.count(Flaw::Foreign), 1);
}

#[test]
fn a_message_lost_in_one_nodes_log_is_missing() {
    let findings = Paper::clean().damage_log(|log| {
        log.pop();
    });
    assert_eq!(findings.count(Flaw::Missing), 1);
}

#[test]
fn a_message_lost_in_every_log_is_missing() {
    let mut paper = Paper::clean();
    for testimony in &mut paper.testimonies {
        testimony.logs[0].pop();
    }
    assert!(paper.check().count(Flaw::Missing) >= 2);
}

#[test]
fn what_is_shown_as_lost_is_missing_unless_it_may_be_lost() {
    let mut paper = Paper::clean();
    for testimony in &mut paper.testimonies {
        testimony.logs[0].last_mut().unwrap().what = What::Lost;
    }
    for record in &mut paper.records {
        if let Some(seen) = record.feeds.get_mut(&0).and_then(|feed| feed.last_mut()) {
            seen.what = What::Lost;
        }
    }
    assert!(paper.check().count(Flaw::Missing) >= 2);
    paper.may_lose = true;
    let findings = paper.check();
    assert_eq!((findings.count(Flaw::Missing), findings.lost()), (0, 1));
    for testimony in &mut paper.testimonies {
        testimony.logs[0].pop();
    }
    let findings = paper.check();
    assert!(
        findings.count(Flaw::Missing) > 0,
        "no place shows it as lost"
    );
}

#[test]
fn a_message_twice_in_a_log_is_doubled() {
    let findings = Paper::clean().damage_log(|log| {
        let mut copy = log[1].clone();
        copy.pos.seq = log.len() as u64 + 1;
        log.push(copy);
    });
    assert_eq!(findings.count(Flaw::Doubled), 1);
}

#[test]
fn a_node_with_another_order_is_out_of_order() {
    let findings = Paper::clean().damage_log(|log| {
        let (one, two) = (log[1].what.clone(), log[2].what.clone());
        log[1].what = two;
        log[2].what = one;
    });
    assert_eq!(findings.count(Flaw::OutOfOrder), 2);
}

#[test]
fn a_phantom_in_a_log_is_foreign() {
    let findings = Paper::clean().damage_log(|log| log.push(foreign(log.len() as u64 + 1)));
    assert_eq!(findings.count(Flaw::Foreign), 1);
}

#[test]
fn a_message_that_only_a_socket_saw_is_foreign() {
    let mut paper = Paper::clean();
    let Some(Seen {
        what: What::Message(k),
        ..
    }) = paper.testimonies[0].logs[0].pop()
    else {
        panic!("the last event is a message");
    };
    paper.testimonies[1].logs[0].pop();
    let sender = paper.scene.plan.sayings()[k].sender;
    paper.records[sender].fates.remove(&k);
    assert!(paper.check().count(Flaw::Foreign) > 0);
}

#[test]
fn a_message_stored_elsewhere_than_told_is_a_wrong_receipt() {
    let found = Paper::clean().with_fate(Fate::Stored(Position::new(1, 999)));
    assert_eq!(found.count(Flaw::Receipt), 1);
}

#[test]
fn a_refused_message_in_the_log_is_a_wrong_receipt() {
    let found = Paper::clean().with_fate(Fate::Refused("muted".to_owned()));
    assert_eq!(found.count(Flaw::Receipt), 1);
}

#[test]
fn a_message_that_never_settled_is_a_wrong_receipt() {
    let found = Paper::clean().with_fate(Fate::Open);
    assert_eq!(found.count(Flaw::Receipt), 1);
}

#[test]
fn a_wrong_unread_is_found_in_each_place() {
    let damages: [fn(&mut Counts); 3] = [
        |counts| counts.total += 1,
        |counts| *counts.unread.values_mut().next().unwrap() += 1,
        |counts| {
            counts.listed.clear();
        },
    ];
    for damage in damages {
        let mut paper = Paper::clean();
        let user = (0..6)
            .find(|u| paper.testimonies[1].counts[*u].total > 0)
            .unwrap();
        damage(&mut paper.testimonies[1].counts[user]);
        assert!(paper.check().count(Flaw::Unread) > 0);
    }
}

#[test]
fn own_messages_and_those_read_are_not_unread() {
    let mut paper = Paper::clean();
    let log = &mut paper.testimonies[0].logs[0];
    let end = log.last().unwrap().pos;
    let user = paper.scene.plan.members(0)[0];
    paper.records[user].cursors.insert(0, end);
    assert_eq!(
        recount(
            &paper.scene,
            &paper.testimonies[0],
            user,
            &paper.records[user]
        )[&0],
        0
    );
    paper.records[user].cursors.remove(&0);
    let of_others = paper.scene.plan.sayings().iter();
    let of_others = of_others
        .filter(|s| s.group == 0 && s.sender != user)
        .count() as u64;
    let counted = recount(
        &paper.scene,
        &paper.testimonies[0],
        user,
        &paper.records[user],
    )[&0];
    assert_eq!(counted, of_others);
}

#[test]
fn a_fault_of_the_protocol_turns_the_run_red() {
    let mut paper = Paper::clean();
    paper.records[0]
        .faults
        .push("a frame that is none".to_owned());
    assert_eq!(paper.check().count(Flaw::Protocol), 1);
}

#[test]
fn only_the_first_few_of_a_kind_are_told() {
    let findings = Paper::clean().damage_feed(Vec::clear);
    assert!(findings.count(Flaw::Missing) > 3);
    assert_eq!(findings.witnesses().len(), 3);
}
