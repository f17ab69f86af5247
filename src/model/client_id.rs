//! The idempotency key of a send: a UUID that the client makes once per message and keeps
//! through every retry. Its scope is (group, sender).

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The key under which a send is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(Uuid);

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
