//! Positions in a group's log: `(epoch, seq)`, ordered by epoch and then by seq.
//!
//! In JSON `[3,1851]`, in a URL `3-1851`, in Redis the entry id itself. `seq` starts at 1, is
//! dense and goes on across epochs; the epoch rises when the log was re-opened after a loss
//! (epochs.md). `[0,0]` lies before the first event.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The largest epoch or seq a position may hold, and the largest id of a request: 2^53 − 1, so
/// that any JSON reader keeps it.
pub const PART_MAX: u64 = (1 << 53) - 1;

/// A term of a group's log; it rises with every re-opening.
pub type Epoch = u64;

/// The running number of an event in its group.
pub type Seq = u64;

/// A place in a group's log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The epoch in which the event was appended; at most [`PART_MAX`].
    pub epoch: Epoch,
    /// The number of the event, from 1; at most [`PART_MAX`].
    pub seq: Seq,
}

impl Position {
    /// Before the first event: `[0,0]`.
    pub const START: Self = Self::new(0, 0);

    /// The position `(epoch, seq)`.
    pub const fn new(epoch: Epoch, seq: Seq) -> Self {
        Self { epoch, seq }
    }

    /// 16 bytes that sort as positions do: both parts big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[8..].copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }

    /// The position kept as [`Position::to_bytes`]; `None` unless it is 16 bytes long.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let (epoch, seq) = bytes.split_at_checked(8)?;
        let epoch = u64::from_be_bytes(epoch.try_into().ok()?);
        let seq = u64::from_be_bytes(seq.try_into().ok()?);
        Some(Self::new(epoch, seq))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a position of the form 3-1851")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, seq) = text.split_once('-').ok_or(InvalidPosition)?;
        match (part(epoch), part(seq)) {
            (Some(epoch), Some(seq)) => Ok(Self::new(epoch, seq)),
            _ => Err(InvalidPosition),
        }
    }
}

/// Digits only, no more than [`PART_MAX`] has: `u64::from_str` would also take a plus sign.
fn part(text: &str) -> Option<u64> {
    let digits = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|value| *value <= PART_MAX)
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.epoch, self.seq).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (epoch, seq) = <(u64, u64)>::deserialize(deserializer)?;
        if epoch > PART_MAX || seq > PART_MAX {
            return Err(de::Error::custom("a position's numbers are at most 2^53-1"));
        }
        Ok(Self::new(epoch, seq))
    }
}

impl JsonSchema for Position {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Position".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let part = json_schema!({"type": "integer", "minimum": 0, "maximum": PART_MAX});
        json_schema!({
            "description": "A place in a group's log: epoch and seq.",
            "type": "array",
            "prefixItems": [part, part],
            "items": false,
            "minItems": 2,
            "maxItems": 2,
            "examples": [Self::new(3, 1851)],
        })
    }
}

/// The form of a position in a URL.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[schemars(with = "String", extend(
    "pattern" = "^[0-9]{1,16}-[0-9]{1,16}$",
    "examples" = ["3-1851"],
))]
pub struct PositionText;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_compare_by_epoch_first() {
        assert!(Position::new(3, 1850) < Position::new(4, 2));
        assert!(Position::new(3, 9).to_bytes() < Position::new(3, 10).to_bytes());
    }

    #[test]
    fn a_position_reads_back_in_each_form() {
        let position = Position::new(3, 1851);
        assert_eq!("3-1851".parse(), Ok(position));
        assert_eq!(serde_json::to_string(&position).unwrap(), "[3,1851]");
        assert_eq!(
            serde_json::from_str::<Position>("[3,1851]").unwrap(),
            position
        );
        assert_eq!(Position::from_slice(&position.to_bytes()), Some(position));
    }

    #[test]
    fn nonsense_is_no_position() {
        for text in [
            "",
            "3",
            "3-",
            "-3",
            "3-+1",
            "3-1-1",
            "3-9007199254740992",
            "٣-1",
        ] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
        for json in [
            "[1]",
            "[1,2,3]",
            "[1,-2]",
            "[1.5,2]",
            "\"3-1\"",
            "[1,9007199254740992]",
        ] {
            assert!(serde_json::from_str::<Position>(json).is_err(), "{json}");
        }
    }
}
