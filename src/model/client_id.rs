//! The idempotency key of a send: a UUID that the client makes once per message and keeps
//! through every retry. Its scope is (group, sender).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The one form of the key as text (ECMA 262).
const PATTERN: &str = "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$";

/// The key under which a send is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "String", extend(
    "format" = "uuid",
    "pattern" = PATTERN,
    "examples" = ["0190c2f4-7a5b-7c3e-8f1d-2a4b6c8e0f12"],
))]
pub struct ClientId(#[serde(deserialize_with = "hyphenated")] Uuid);

impl ClientId {
    /// The key with these bytes: a store's, or the id of an outbox row, which is the key of
    /// the event that it promises.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The key in a store's column; `None` unless it is 16 bytes long.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// A random key.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The 16 bytes to keep.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A UUID with its hyphens, as it is written: other forms of one would be a second name for it.
fn hyphenated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    let parsed: Option<Hyphenated> = text.parse().ok();
    let key = parsed.map(Uuid::from);
    key.ok_or_else(|| de::Error::custom("expected a UUID with its hyphens"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_a_key() {
        let read = |text: &str| serde_json::from_value::<ClientId>(text.into());
        let text = "0190c2f4-7a5b-7c3e-8f1d-2a4b6c8e0f12";
        assert_eq!(read(text).unwrap().to_string(), text);
        assert!(read(&text.to_uppercase()).is_ok());
        for other in [
            "",
            "0190c2f47a5b7c3e8f1d2a4b6c8e0f12",
            "{0190c2f4-7a5b-7c3e-8f1d-2a4b6c8e0f12}",
            "urn:uuid:0190c2f4-7a5b-7c3e-8f1d-2a4b6c8e0f12",
        ] {
            assert!(read(other).is_err(), "{other}");
        }
    }
}
