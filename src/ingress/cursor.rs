//! Cursors of lists: a place in one list of one person, opaque and authenticated, so that nobody
//! can make one, change one, or use another person's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::auth::secret::Secrets;
use super::auth::tags::Tags;
use crate::error::{Error, Result};
use crate::model::id::UserId;

/// Bytes of the tag: 128 bits, for a cursor lives as long as a list is being read.
const TAG_BYTES: usize = 16;

/// Makes and reads cursors. Cheap to clone; all clones have the same keys.
#[derive(Clone)]
pub struct Cursors(Tags);

impl Cursors {
    /// Cursors under `secrets`.
    pub fn new(secrets: &Secrets) -> Self {
        Self(Tags::new("list cursor", TAG_BYTES, secrets))
    }

    /// Their tags, for whoever changes the keys.
    pub fn tags(&self) -> Tags {
        self.0.clone()
    }

    /// The cursor for `place` in the list `list` of `user`.
    pub fn seal(&self, user: UserId, list: &str, place: &[u8]) -> String {
        let mut bytes = self.0.tag(&parts(&user, list, place));
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
        match self.0.is_ours(&parts(&user, list, place), tag) {
            true => Ok(place.to_vec()),
            false => Err(refused()),
        }
    }
}

fn parts<'a>(user: &'a UserId, list: &'a str, place: &'a [u8]) -> [&'a [u8]; 4] {
    [user.as_bytes(), list.as_bytes(), &[0], place]
}

#[cfg(test)]
mod tests {
    use super::super::auth::secret::Secret;
    use super::*;
    use crate::model::time::Time;

    fn cursors(seed: u8) -> Cursors {
        Cursors::new(&Secrets {
            first: Secret::of_bytes(&[seed, 2, 3, 4].repeat(8)),
            second: None,
        })
    }

    #[test]
    fn a_cursor_serves_only_its_own_list_and_user() {
        let cursors = cursors(7);
        let (me, you) = (
            UserId::generate(Time::default()),
            UserId::generate(Time::default()),
        );
        let cursor = cursors.seal(me, "groups", b"place");
        assert_eq!(cursors.open(me, "groups", &cursor).unwrap(), b"place");
        assert!(cursors.open(you, "groups", &cursor).is_err());
        assert!(cursors.open(me, "members", &cursor).is_err());
        assert!(self::cursors(8).open(me, "groups", &cursor).is_err());
    }

    #[test]
    fn no_changed_cursor_is_taken() {
        let cursors = cursors(7);
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
