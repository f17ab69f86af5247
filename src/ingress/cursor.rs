//! Cursors of lists: a place in one list of one person, opaque and authenticated, so that nobody
//! can make one, change one, or use another person's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::error::{Error, Result};
use crate::model::id::UserId;

/// Bytes of the tag: 128 bits, for a cursor lives as long as a list is being read.
const TAG_BYTES: usize = 16;

/// Makes and reads cursors.
#[derive(Clone)]
pub struct Cursors {
    key: [u8; 32],
}

impl Cursors {
    /// Cursors under `key`.
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The cursor for `place` in the list `list` of `user`.
    pub fn seal(&self, user: UserId, list: &str, place: &[u8]) -> String {
        let tag = self.mac(user, list, place).finalize().into_bytes();
        let mut bytes = tag.get(..TAG_BYTES).unwrap_or_default().to_vec();
        bytes.extend_from_slice(place);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place that a cursor of this list and this user holds.
    ///
    /// # Errors
    /// `bad_request` naming `cursor`.
    pub fn open(&self, user: UserId, list: &str, cursor: &str) -> Result<Vec<u8>> {
        let refused = || Error::field("cursor", "is not a cursor of this list; begin without one");
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|error| Error {
            source: Some(error.into()),
            ..refused()
        })?;
        let (tag, place) = bytes.split_at_checked(TAG_BYTES).ok_or_else(refused)?;
        let checked = self.mac(user, list, place).verify_truncated_left(tag);
        checked.map(|()| place.to_vec()).map_err(|error| Error {
            source: Some(error.into()),
            ..refused()
        })
    }

    fn mac(&self, user: UserId, list: &str, place: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.key).expect("an HMAC takes keys of any length");
        mac.update(user.as_bytes());
        mac.update(list.as_bytes());
        mac.update(&[0]);
        mac.update(place);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Time;

    #[test]
    fn a_cursor_serves_only_its_own_list_and_user() {
        let cursors = Cursors::new([7; 32]);
        let (me, you) = (
            UserId::generate(Time::default()),
            UserId::generate(Time::default()),
        );
        let cursor = cursors.seal(me, "groups", b"place");
        assert_eq!(cursors.open(me, "groups", &cursor).unwrap(), b"place");
        assert!(cursors.open(you, "groups", &cursor).is_err());
        assert!(cursors.open(me, "members", &cursor).is_err());
        assert!(Cursors::new([8; 32]).open(me, "groups", &cursor).is_err());
    }

    #[test]
    fn no_changed_cursor_is_taken() {
        let cursors = Cursors::new([7; 32]);
        let me = UserId::generate(Time::default());
        let bytes = URL_SAFE_NO_PAD
            .decode(cursors.seal(me, "groups", b"place"))
            .unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let cursor = URL_SAFE_NO_PAD.encode(changed);
            assert!(cursors.open(me, "groups", &cursor).is_err(), "bit {bit}");
        }
        assert!(cursors.open(me, "groups", "").is_err());
    }
}
