//! Names of keys and channels; what each holds is told in `functions.lua`.
//!
//! The hash tag `{a0}` is the group's partition, so that all keys of a group live together.

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

/// The groups of a partition that have something to be handled.
pub(super) fn dirty(partition: Partition) -> String {
    format!("a{{{partition}}}")
}

/// All keys of a group in the order of `functions.lua`.
pub(super) fn all(group: GroupId) -> [String; 7] {
    let partition = group.partition();
    [
        stream(group),
        head(group),
        own(group),
        format!("d{{{partition}}}:{group}:0"),
        format!("d{{{partition}}}:{group}:1"),
        format!("ann{{{partition}}}"),
        dirty(partition),
    ]
}

/// The processes that live.
pub(super) const NODES: &str = "nodes{lease}";
/// The leases of digits.
pub(super) const OWNERS: &str = "owners{lease}";

/// The group whose stream has this key.
pub(super) fn group_of_stream(key: &[u8]) -> Option<GroupId> {
    let key = std::str::from_utf8(key).ok()?;
    let (partition, group) = key.strip_prefix("s{")?.split_once("}:")?;
    group
        .parse()
        .ok()
        .filter(|group: &GroupId| group.partition().to_string() == partition)
}

/// The channel of a partition.
pub(super) fn stored_channel(partition: Partition) -> String {
    format!("stored{{{partition}}}")
}

/// The channel of a person.
pub(super) fn user_channel(user: UserId) -> String {
    format!("user:{user}")
}

/// The patterns that every channel of ours falls under.
pub(super) const CHANNELS: [&str; 2] = ["stored{*}", "user:*"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Time;

    #[test]
    fn a_stream_key_names_its_group() {
        let group = GroupId::generate(Time::from_millis(1_764_000_000_000));
        assert_eq!(group_of_stream(stream(group).as_bytes()), Some(group));
        assert!(stream(group).starts_with(&digit_prefix(group.partition().digit())));
        for key in ["", "s{a0}:", &head(group), &format!("s{{zz}}:{group}")] {
            assert_eq!(group_of_stream(key.as_bytes()), None, "{key}");
        }
    }
}
