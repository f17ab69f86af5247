//! Names of keys and channels; what each holds is told in `functions/log.lua`.
//!
//! The hash tag `{a0}` is the group's partition, so that all keys of a group live together: that
//! is a [`super::topology::home::Home`].

use crate::model::id::{GroupId, Partition, UserId};

/// The prefix of all streams of a digit: what a consumer's doorbell listens to.
pub(super) fn digit_prefix(digit: u8) -> String {
    format!("s{{{digit:x}")
}

/// The stream of a group.
pub(super) fn stream(group: GroupId) -> String {
    format!("s{{{}}}:{group}", group.partition())
}

/// The head of a group.
pub(super) fn head(group: GroupId) -> String {
    format!("h{{{}}}:{group}", group.partition())
}

/// The own totals of a group.
pub(super) fn own(group: GroupId) -> String {
    format!("o{{{}}}:{group}", group.partition())
}

/// The epoch table of a group, as of its opening.
pub(super) fn epochs(group: GroupId) -> String {
    format!("e{{{}}}:{group}", group.partition())
}

/// Mentions of all in a group.
pub(super) fn mentions_of_all(group: GroupId) -> String {
    format!("l{{{}}}:{group}", group.partition())
}

/// The card of a person.
pub(super) fn card(user: UserId) -> String {
    format!("c{{{}}}:{user}", card_partition(user))
}

/// Where a card lies: cards are spread over servers as groups are.
pub(super) fn card_partition(user: UserId) -> Partition {
    Partition(user.as_bytes().iter().fold(0, |sum, byte| sum ^ byte))
}

/// The groups of a partition that have something to be handled.
pub(super) fn dirty(partition: Partition) -> String {
    format!("a{{{partition}}}")
}

/// The groups of a partition by the time at which they count as idle.
pub(super) fn idle(partition: Partition) -> String {
    format!("i{{{partition}}}")
}

/// What the message store confirmed of a partition.
pub(super) fn witness(partition: Partition) -> String {
    format!("b{{{partition}}}")
}

/// The highest epoch announced to a partition.
pub(super) fn announced(partition: Partition) -> String {
    format!("ann{{{partition}}}")
}

/// All keys of a group in the order of `functions/log.lua`.
pub(super) fn all(group: GroupId) -> [String; 7] {
    let partition = group.partition();
    [
        stream(group),
        head(group),
        own(group),
        format!("d{{{partition}}}:{group}:0"),
        format!("d{{{partition}}}:{group}:1"),
        announced(partition),
        dirty(partition),
    ]
}

/// What an opening writes, in the order of `functions/log.lua`.
pub(super) fn opening(group: GroupId) -> Vec<String> {
    all(group).into_iter().chain([epochs(group)]).collect()
}

/// The processes that live.
pub(super) const NODES: &str = "nodes{lease}";
/// The leases of digits.
pub(super) const OWNERS: &str = "owners{lease}";

/// The group whose stream has this key.
pub(super) fn group_of_stream(key: &[u8]) -> Option<GroupId> {
    group_of(std::str::from_utf8(key).ok()?, "s{")
}

/// The group whose head has this key.
pub(super) fn group_of_head(key: &str) -> Option<GroupId> {
    group_of(key, "h{")
}

/// The person whose card has this key.
pub(super) fn user_of_card(key: &str) -> Option<UserId> {
    let (_, user) = key.strip_prefix("c{")?.split_once("}:")?;
    user.parse().ok()
}

fn group_of(key: &str, kind: &str) -> Option<GroupId> {
    let (partition, group) = key.strip_prefix(kind)?.split_once("}:")?;
    group
        .parse()
        .ok()
        .filter(|group: &GroupId| group.partition().to_string() == partition)
}

/// The channel of watermarks: one for all groups, so that a batch of a thousand is one message.
pub(super) const STORED: &str = "stored{all}";

/// The channel of a person.
pub(super) fn user_channel(user: UserId) -> String {
    format!("user:{user}")
}

/// The patterns that every channel of signals falls under.
pub(super) const CHANNELS: &[&str] = &["stored{*}", "user:*"];

/// The processes that live, for presence; the people at each are under keys beside it.
pub(super) const HERE: &str = "nodes{here}";
/// The channel of hints.
pub(super) const HINTS: &str = "hints";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Time;
    use crate::store::redis::topology::home::Home;

    #[test]
    fn keys_lie_where_calls_about_them_go() {
        let group = GroupId::generate(Time::from_millis(1_764_000_000_000));
        let tag = format!("{{{}}}", Home::from(group).tag());
        let partition = group.partition();
        let more = [dirty(partition), idle(partition), witness(partition)];
        assert!(all(group).iter().chain(&more).all(|key| key.contains(&tag)));
        let tag = format!("{{{}}}", Home::Leases.tag());
        assert!(NODES.ends_with(&tag) && OWNERS.ends_with(&tag));
    }

    #[test]
    fn a_stream_key_names_its_group() {
        let group = GroupId::generate(Time::from_millis(1_764_000_000_000));
        assert_eq!(group_of_stream(stream(group).as_bytes()), Some(group));
        assert_eq!(group_of_head(&head(group)), Some(group));
        let user = UserId::generate(Time::from_millis(1_764_000_000_000));
        assert_eq!(user_of_card(&card(user)), Some(user));
        assert!(stream(group).starts_with(&digit_prefix(group.partition().digit())));
        for key in ["", "s{a0}:", &head(group), &format!("s{{zz}}:{group}")] {
            assert_eq!(group_of_stream(key.as_bytes()), None, "{key}");
        }
    }
}
