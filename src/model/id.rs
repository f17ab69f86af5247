//! Identifiers: UUIDv7 behind a prefix, one newtype for each kind of thing (protocol.md,
//! "Identifiers and positions").
//!
//! Text form: the prefix, an underscore and 32 lower-case hex digits, as in
//! `g_0190c2f47a5b7c3e8f1d2a4b6c8e0f12`. Stores keep the 16 bytes.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::{ContextV7, Timestamp, Uuid};

use super::time::Time;

/// The text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of the form {prefix}_ and 32 hex digits")]
pub struct InvalidId {
    /// The prefix that was wanted, without the underscore.
    pub prefix: &'static str,
}

fn parse(prefix: &'static str, text: &str) -> Result<Uuid, InvalidId> {
    let digits = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .filter(|digits| digits.len() == 32)
        .filter(|digits| {
            digits
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
    digits
        .and_then(|digits| Uuid::try_parse(digits).ok())
        .ok_or(InvalidId { prefix })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
        #[schemars(with = "String", extend(
            "pattern" = concat!("^", $prefix, "_[0-9a-f]{32}$"),
            "examples" = [concat!($prefix, "_0190c2f47a5b7c3e8f1d2a4b6c8e0f12")],
        ))]
        pub struct $name(Uuid);

        impl $name {
            /// The prefix of the text form, without the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id that sorts after those made at earlier milliseconds.
            pub fn generate(at: Time) -> Self {
                let (seconds, nanos) = at.unix_parts();
                let stamp = Timestamp::from_unix(ContextV7::new(), seconds, nanos);
                Self(Uuid::new_v7(stamp))
            }

            /// When it was made, to the millisecond.
            pub fn made_at(&self) -> Time {
                let (seconds, nanos) = self.0.get_timestamp().map_or((0, 0), |at| at.to_unix());
                let millis = seconds.saturating_mul(1000) + u64::from(nanos / 1_000_000);
                Time::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
            }

            /// The id with these bytes, as a store kept them.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The id in a store's column; `None` unless it is 16 bytes long.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }

            /// The 16 bytes to keep.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse($prefix, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

id!(
    /// A person's account.
    UserId,
    "u"
);
id!(
    /// A merchant: the tenant.
    MerchantId,
    "t"
);
id!(
    /// A chat group, and so one log.
    GroupId,
    "g"
);
id!(
    /// A message: one event of kind `message`, whatever its later versions.
    MessageId,
    "m"
);
id!(
    /// A log-in of one user on one device.
    SessionId,
    "s"
);

/// One of 256 shares of all groups. All keys of a group in Redis carry its partition as their
/// hash tag (`{a0}`), so that one atomic function may touch them (dataflow.md, "One append").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u8);

impl Partition {
    /// How many there are.
    pub const COUNT: usize = 256;

    /// The first hex digit, 0 to 15: leases and tracking prefixes go by it.
    pub const fn digit(self) -> u8 {
        self.0 >> 4
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

impl GroupId {
    /// The partition of the group: the exclusive-or of its bytes, most of which are random.
    pub fn partition(&self) -> Partition {
        Partition(self.0.as_bytes().iter().fold(0, |sum, byte| sum ^ byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_prints() {
        let id = GroupId::generate(Time::from_millis(1_700_000_000_000));
        assert_eq!(id.to_string().parse::<GroupId>(), Ok(id));
        assert_eq!(GroupId::from_slice(id.as_bytes()), Some(id));
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let user = UserId::generate(Time::from_millis(1_700_000_000_000)).to_string();
        assert_eq!(user.parse::<GroupId>(), Err(InvalidId { prefix: "g" }));
    }

    #[test]
    fn only_lower_case_hex_of_full_length_is_an_id() {
        for text in [
            "",
            "g_",
            "g_12",
            "g_0190C2F47A5B7C3E8F1D2A4B6C8E0F12",
            "g_éééééééééééééééé",
        ] {
            assert!(text.parse::<GroupId>().is_err(), "{text}");
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let early = MessageId::generate(Time::from_millis(1_700_000_000_000));
        let late = MessageId::generate(Time::from_millis(1_700_000_000_001));
        assert!(early < late);
    }
}
