//! What a send says, in 16 bytes: two sends under one `client_id` are the same message if and
//! only if their digests are equal (protocol.md, "Receipts").

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The first 16 bytes of a SHA-256 over the typed content of a send.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of `content`, which must be the canonical text of typed values.
    pub fn of(content: &[u8]) -> Self {
        let full = Sha256::digest(content);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&full[..16]);
        Self(bytes)
    }

    /// The digest in a store's column; `None` unless it is 16 bytes long.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 16 bytes to keep.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
