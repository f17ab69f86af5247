//! The secret of a server, in a file, and the keys derived from it: each use has a key of its
//! own, so that what one signs can never pass for another.
//!
//! Each line of the file is a secret of at least 64 hex digits, and its owner only may read it.
//! The first one signs; a second one is still good for what was signed under it, which is how
//! secrets are changed without anybody logging in again (see `rotation`). The file is made at the
//! first start; of several processes that start at once one wins, and all read the same.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

/// The shortest secret, in bytes: 256 bits.
const BYTES_MIN: usize = 32;

/// The fewest different bytes of a secret.
const DISTINCT_MIN: usize = 16;

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
    #[error(
        "the secret file {} must hold one or two lines of at least 64 random hex digits",
        path.display()
    )]
    Weak {
        /// The file.
        path: PathBuf,
    },
}

/// One secret. Not printable.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// The secrets of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// The one that signs.
    pub first: Secret,
    /// One that signed before, or is about to.
    pub second: Option<Secret>,
}

impl Secrets {
    /// Reads the secret file, or makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be read or made, is readable by others, or holds too little.
    pub fn open(path: &Path) -> Result<Self, SecretError> {
        if let Err(source) = std::fs::metadata(path) {
            let made = match source.kind() {
                ErrorKind::NotFound => make(path),
                _ => Err(source),
            };
            made.map_err(|source| SecretError::Io {
                path: path.to_owned(),
                source,
            })?;
        }
        Self::load(path)
    }

    /// Reads the secret file, which must be there.
    ///
    /// # Errors
    /// As [`Secrets::open`].
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        let file = File::open(path).map_err(|source| SecretError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::read(path, &file)
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
        Self::parse(&text).ok_or_else(|| SecretError::Weak {
            path: path.to_owned(),
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Vec<Secret> = lines.map(Secret::parse).collect::<Option<_>>()?;
        let mut secrets = secrets.into_iter();
        let (first, second) = (secrets.next()?, secrets.next());
        secrets.next().is_none().then_some(Self { first, second })
    }

    /// Replaces the file by one with a fresh secret first and the first one second.
    ///
    /// # Errors
    /// As [`Secrets::open`].
    pub fn rotate(path: &Path) -> Result<(), SecretError> {
        let now = Self::load(path)?;
        let draft = draft(path);
        let written = write_random(&draft, Some(&now.first));
        let replaced = written.and_then(|()| std::fs::rename(&draft, path));
        replaced.map_err(|source| SecretError::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// All of them, the one that signs first.
    pub fn all(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

impl Secret {
    fn parse(text: &str) -> Option<Self> {
        unhex(text).filter(|bytes| is_strong(bytes)).map(Self)
    }

    /// A secret of a test's choice.
    #[cfg(test)]
    pub(in crate::ingress) fn of_bytes(bytes: &[u8]) -> Self {
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
    let draft = draft(path);
    let written = write_random(&draft, None).and_then(|()| std::fs::hard_link(&draft, path));
    std::fs::remove_file(&draft)?;
    match written {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn draft(path: &Path) -> PathBuf {
    path.with_extension(format!("{}.new", Uuid::new_v4().simple()))
}

fn write_random(path: &Path, second: Option<&Secret>) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut bytes = [0; BYTES_MIN];
    getrandom::fill(&mut bytes)?;
    writeln!(file, "{}", hex(&bytes))?;
    if let Some(Secret(second)) = second {
        writeln!(file, "{}", hex(second))?;
    }
    file.sync_all()
}

/// Long enough, and nothing that people write by hand or copy from a page: a word or a pattern
/// over and over has few different bytes, and a count goes up or down in equal steps. Of 32 random
/// bytes fewer than [`DISTINCT_MIN`] different ones are a chance of one in 10^13.
fn is_strong(bytes: &[u8]) -> bool {
    let distinct: HashSet<u8> = bytes.iter().copied().collect();
    let steps = bytes.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let steps: HashSet<u8> = steps.collect();
    bytes.len() >= BYTES_MIN && distinct.len() >= DISTINCT_MIN && steps.len() > 1
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

    /// Two strong ones.
    const GOOD: [&str; 2] = [
        "8f14e45fceea167a5a36dedd4bea2543c9f0f895fb98ab9159f51fd0297e236d",
        "45c48cce2e2d7fbdea1afc51c7c6ad26d3d9446802a44259755d38e6d163e820",
    ];

    fn path() -> PathBuf {
        std::env::temp_dir().join(format!("qunliu-secret-{}", Uuid::new_v4()))
    }

    fn opened(text: &str, mode: u32) -> Result<Secrets, SecretError> {
        let path = path();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let opened = Secrets::open(&path);
        std::fs::remove_file(&path).unwrap();
        opened
    }

    #[test]
    fn many_first_starts_make_one_secret() {
        let path = path();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || Secrets::open(&path).unwrap().first.derive("test"))
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
        let good = GOOD[0];
        assert!(opened(good, 0o600).is_ok());
        assert!(matches!(
            opened(good, 0o644),
            Err(SecretError::Exposed { .. })
        ));
        let known = [
            "00".repeat(32),
            "0123456789abcdef".repeat(4),
            "deadbeef".repeat(8),
            hex(&b"change me!".repeat(4)),
            hex(&(0..32).collect::<Vec<_>>()),
            hex(&(0..32).rev().collect::<Vec<_>>()),
        ];
        let short = ["", "secret", &good[2..], &"zz".repeat(32)];
        for weak in short.into_iter().chain(known.iter().map(String::as_str)) {
            assert!(
                matches!(opened(weak, 0o600), Err(SecretError::Weak { .. })),
                "{weak}"
            );
        }
    }

    #[test]
    fn each_use_has_its_own_key() {
        let secret = opened(GOOD[0], 0o600).unwrap().first;
        assert_ne!(secret.derive("access"), secret.derive("refresh"));
    }

    #[test]
    fn a_rotation_keeps_the_last_secret_behind_the_fresh_one() {
        let path = path();
        let before = Secrets::open(&path).unwrap();
        Secrets::rotate(&path).unwrap();
        let once = Secrets::open(&path).unwrap();
        assert!(once.second.as_ref() == Some(&before.first) && once.first != before.first);
        Secrets::rotate(&path).unwrap();
        let twice = Secrets::open(&path).unwrap();
        assert!(twice.second == Some(once.first));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_with_three_secrets_or_a_weak_second_is_refused() {
        let [line, _] = GOOD;
        assert!(opened(&format!("{line}\n\n{line}\n"), 0o600).is_ok());
        for wrong in [format!("{line}\n{line}\n{line}"), format!("{line}\nsecret")] {
            assert!(matches!(
                opened(&wrong, 0o600),
                Err(SecretError::Weak { .. })
            ));
        }
    }
}
