//! The one secret of a server, in a file, and the keys derived from it: each use has a key of its
//! own, so that what one signs can never pass for another.
//!
//! The file holds at least 64 hex digits and is readable by its owner only. It is made at the
//! first start; of several processes that start at once one wins, and all read the same.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

/// The shortest secret, in bytes: 256 bits.
const BYTES_MIN: usize = 32;

/// Why a secret is refused.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or made.
    #[error("cannot read or make the secret file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others than the owner may read it.
    #[error("the secret file {} is readable by others: chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold a secret.
    #[error("the secret file {} must hold at least 64 random hex digits", path.display())]
    Weak {
        /// The file.
        path: PathBuf,
    },
}

/// The secret. Not printable.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Reads the secret file, or makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be read or made, is readable by others, or holds too little.
    pub fn open(path: &Path) -> Result<Self, SecretError> {
        let io = |source| SecretError::Io {
            path: path.to_owned(),
            source,
        };
        match File::open(path) {
            Ok(file) => Self::read(path, &file),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make(path).map_err(io)?;
                Self::read(path, &File::open(path).map_err(io)?)
            }
            Err(error) => Err(io(error)),
        }
    }

    fn read(path: &Path, file: &File) -> Result<Self, SecretError> {
        let io = |source| SecretError::Io {
            path: path.to_owned(),
            source,
        };
        if file.metadata().map_err(io)?.mode() & 0o077 != 0 {
            return Err(SecretError::Exposed {
                path: path.to_owned(),
            });
        }
        let text = std::io::read_to_string(file).map_err(io)?;
        let bytes = unhex(text.trim()).filter(|bytes| is_strong(bytes));
        bytes.map(Self).ok_or_else(|| SecretError::Weak {
            path: path.to_owned(),
        })
    }

    /// A secret of a test's choice.
    #[cfg(test)]
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_owned())
    }

    /// The key for one use.
    pub fn derive(&self, usage: &str) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("an HMAC takes keys of any length");
        mac.update(b"qunliu ");
        mac.update(usage.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// Writes the whole secret under another name and then gives it its own, which fails if another
/// process was first: nobody ever sees half a file.
fn make(path: &Path) -> std::io::Result<()> {
    let draft = path.with_extension(format!("{}.new", Uuid::new_v4().simple()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let written = write_random(&mut file).and_then(|()| std::fs::hard_link(&draft, path));
    std::fs::remove_file(&draft)?;
    match written {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn write_random(file: &mut File) -> std::io::Result<()> {
    let mut bytes = [0; BYTES_MIN];
    getrandom::fill(&mut bytes)?;
    writeln!(file, "{}", hex(&bytes))?;
    file.sync_all()
}

/// Long enough, and not one byte over and over, as a placeholder would be.
fn is_strong(bytes: &[u8]) -> bool {
    let first = bytes.first().copied().unwrap_or_default();
    bytes.len() >= BYTES_MIN && bytes.iter().any(|byte| *byte != first)
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.bytes().map(|byte| char::from(byte).to_digit(16));
    let digits: Vec<u8> = digits
        .map(|digit| u8::try_from(digit?).ok())
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    fn path() -> PathBuf {
        std::env::temp_dir().join(format!("qunliu-secret-{}", Uuid::new_v4()))
    }

    fn opened(text: &str, mode: u32) -> Result<Secret, SecretError> {
        let path = path();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let opened = Secret::open(&path);
        std::fs::remove_file(&path).unwrap();
        opened
    }

    #[test]
    fn many_first_starts_make_one_secret() {
        let path = path();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || Secret::open(&path).unwrap().derive("test"))
            })
            .collect();
        let keys: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_short_weak_or_exposed_secret_is_refused() {
        let good = "0123456789abcdef".repeat(4);
        assert!(opened(&good, 0o600).is_ok());
        assert!(matches!(
            opened(&good, 0o644),
            Err(SecretError::Exposed { .. })
        ));
        for weak in ["", "secret", &good[2..], &"00".repeat(32), &"zz".repeat(32)] {
            assert!(
                matches!(opened(weak, 0o600), Err(SecretError::Weak { .. })),
                "{weak}"
            );
        }
    }

    #[test]
    fn each_use_has_its_own_key() {
        let secret = opened(&"0123456789abcdef".repeat(4), 0o600).unwrap();
        assert_ne!(secret.derive("access"), secret.derive("refresh"));
    }
}
