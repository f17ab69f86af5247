//! What lies on one server as a whole, and the slot of a cluster that it has.

use crate::model::id::{GroupId, Partition};

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// What lies on one server as a whole: all keys that share a hash tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// A partition and its groups.
    Partition(Partition),
    /// Who lives, and who holds which leases.
    Leases,
    /// Who is here.
    Here,
}

impl From<Partition> for Home {
    fn from(partition: Partition) -> Self {
        Self::Partition(partition)
    }
}

impl From<GroupId> for Home {
    fn from(group: GroupId) -> Self {
        Self::Partition(group.partition())
    }
}

impl Home {
    /// All there are, in the order of [`Home::index`].
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let partitions = (0..=u8::MAX).map(Partition).map(Self::Partition);
        partitions.chain([Self::Leases, Self::Here])
    }

    /// Its place among all.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Partition(partition) => usize::from(partition.0),
            Self::Leases => Partition::COUNT,
            Self::Here => Partition::COUNT + 1,
        }
    }

    /// The slot of its keys.
    pub(super) fn slot(self) -> u16 {
        slot(&self.tag())
    }

    /// The hash tag of its keys.
    pub(crate) fn tag(self) -> String {
        match self {
            Self::Partition(partition) => partition.to_string(),
            Self::Leases => "lease".to_owned(),
            Self::Here => "here".to_owned(),
        }
    }
}

/// The slot of a hash tag: its CRC-16/XMODEM, as the specification of Redis Cluster has it.
fn slot(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _bit| {
            let carry = if crc & 0x8000 == 0 { 0 } else { 0x1021 };
            (crc << 1) ^ carry
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // The specification's own example, and answers of CLUSTER KEYSLOT.
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12_182);
        assert_eq!(slot("a0"), 3_656);
        assert_eq!(slot("lease"), 14_898);
    }

    #[test]
    fn homes_are_numbered_in_order() {
        assert!(Home::all().map(Home::index).eq(0..=Partition::COUNT + 1));
    }
}
