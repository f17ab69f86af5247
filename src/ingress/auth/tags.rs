//! Tags over what clients carry for the server and may not change: HMAC-SHA-256, with a key for
//! each secret and each use.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::secret::{Secret, Secrets};

/// Makes and checks the tags of one use. Cheap to clone; all clones have the same keys.
#[derive(Clone)]
pub struct Tags {
    usage: &'static str,
    bytes: usize,
    keys: Arc<RwLock<Keys>>,
}

/// A key for each secret, the one that signs first.
type Keys = Vec<[u8; 32]>;

impl Tags {
    /// Tags of `bytes` bytes, at most 32, under `secrets`. What is tagged for one usage is not
    /// taken for another.
    pub fn new(usage: &'static str, bytes: usize, secrets: &Secrets) -> Self {
        let keys = keys(usage, secrets, &secrets.first);
        Self {
            usage,
            bytes,
            keys: Arc::new(RwLock::new(keys)),
        }
    }

    /// From now on the keys of `secrets` are good, and that of `signing` signs.
    pub fn change_keys(&self, secrets: &Secrets, signing: &Secret) {
        let keys = keys(self.usage, secrets, signing);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The tag of these parts, one behind the other.
    pub fn tag(&self, parts: &[&[u8]]) -> Vec<u8> {
        let signing = self.keys().first().copied().unwrap_or_default();
        let mut tag = mac(&signing, parts).finalize().into_bytes().to_vec();
        tag.truncate(self.bytes);
        tag
    }

    /// Whether this is the whole tag of these parts, under any of the keys.
    pub fn is_ours(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        let is_under = |key| mac(key, parts).verify_truncated_left(tag).is_ok();
        tag.len() == self.bytes && self.keys().iter().any(is_under)
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys(usage: &str, secrets: &Secrets, signing: &Secret) -> Keys {
    let others = secrets.all().filter(|secret| *secret != signing);
    let all = std::iter::once(signing).chain(others);
    all.map(|secret| secret.derive(usage)).collect()
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key).expect("an HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(first: u8, second: Option<u8>) -> Secrets {
        let secret = |seed: u8| Secret::of_bytes(&[seed, 2, 3, 4].repeat(8));
        Secrets {
            first: secret(first),
            second: second.map(secret),
        }
    }

    #[test]
    fn only_the_whole_tag_of_the_same_use_and_parts_is_taken() {
        let tags = Tags::new("cursor", 16, &secrets(1, None));
        let tag = tags.tag(&[b"ab", b"c"]);
        assert_eq!(tag.len(), 16);
        assert!(tags.is_ours(&[b"abc"], &tag));
        assert!(!tags.is_ours(&[b"abd"], &tag));
        for short in [0, 1, 15] {
            assert!(!tags.is_ours(&[b"abc"], &tag[..short]), "{short}");
        }
        let others = Tags::new("token", 16, &secrets(1, None));
        assert!(!others.is_ours(&[b"abc"], &tag));
    }

    #[test]
    fn a_changed_secret_signs_and_the_one_before_is_still_good() {
        let tags = Tags::new("cursor", 16, &secrets(1, None));
        let old = tags.tag(&[b"abc"]);
        let both = secrets(2, Some(1));
        tags.change_keys(&both, &both.first);
        let new = tags.tag(&[b"abc"]);
        assert_ne!(new, old);
        assert!(tags.is_ours(&[b"abc"], &new) && tags.is_ours(&[b"abc"], &old));
        tags.change_keys(&secrets(2, None), &both.first);
        assert!(!tags.is_ours(&[b"abc"], &old));
    }
}
