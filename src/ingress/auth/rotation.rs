//! Changes of the secret file while the server runs: it is looked at every few seconds, and what
//! it says holds without a restart or a disconnect.
//!
//! A fresh secret is good at once and signs a while later, when every node that shares the file
//! has looked at it; a node that starts in that while signs with the older one too.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::secret::{Secret, Secrets};
use super::tags::Tags;
use super::token::Tokens;
use crate::clock::every;

/// How often the file is looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Looks after which a fresh secret signs: the slowest node had two.
const LOOKS_BEFORE_SIGNING: u32 = 5;

/// Follows the secret file.
pub struct Rotation {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
    secrets: Secrets,
    /// The one that signs now.
    signing: Secret,
    /// Looks since the file changed.
    looks: u32,
    tokens: Tokens,
    tags: Vec<Tags>,
}

impl Rotation {
    /// Follows the file at `path`, which held `secrets` when the tokens and tags were made, and
    /// says which of them signs.
    pub fn new(path: PathBuf, secrets: Secrets, tokens: Tokens, tags: Vec<Tags>) -> Self {
        let signing = match &secrets.second {
            Some(older) if is_just_changed(&path) => older,
            _ => &secrets.first,
        };
        let rotation = Self {
            seen: None,
            signing: signing.clone(),
            looks: 0,
            path,
            secrets,
            tokens,
            tags,
        };
        rotation.change();
        rotation
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = every(PERIOD);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.look();
        }
    }

    /// Two system calls on a file of two lines: no work for the blocking pool.
    fn look(&mut self) {
        let stamp = std::fs::metadata(&self.path)
            .ok()
            .and_then(|file| Some((file.modified().ok()?, file.len())));
        if stamp != self.seen {
            self.read();
            self.seen = stamp;
        }
        self.looks = self.looks.saturating_add(1);
        if self.looks >= LOOKS_BEFORE_SIGNING && self.signing != self.secrets.first {
            self.signing = self.secrets.first.clone();
            self.change();
        }
    }

    /// A file that cannot be read changes nothing: what is known stays good.
    fn read(&mut self) {
        match Secrets::load(&self.path) {
            Ok(secrets) if secrets == self.secrets => {}
            Ok(secrets) => {
                tracing::info!("the secret file changed");
                if !secrets.all().any(|secret| *secret == self.signing) {
                    self.signing = secrets.first.clone();
                }
                self.secrets = secrets;
                self.looks = 0;
                self.change();
            }
            Err(error) => tracing::error!(%error, "the secrets stay as they were"),
        }
    }

    fn change(&self) {
        self.tokens.change_keys(&self.secrets, &self.signing);
        for tags in &self.tags {
            tags.change_keys(&self.secrets, &self.signing);
        }
    }
}

/// Whether other nodes may not have looked at the file since.
fn is_just_changed(path: &Path) -> bool {
    let changed = std::fs::metadata(path).and_then(|file| file.modified());
    let age = changed.ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age < PERIOD * LOOKS_BEFORE_SIGNING)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::access::Caller;
    use crate::clock::{Clock as _, SystemClock};
    use crate::model::id::{SessionId, UserId};

    #[test]
    fn a_fresh_secret_is_good_at_once_and_signs_when_every_node_knows_it() {
        let path = std::env::temp_dir().join(format!("qunliu-rotation-{}", uuid::Uuid::new_v4()));
        Secrets::open(&path).unwrap();
        let node = || {
            let secrets = Secrets::load(&path).unwrap();
            let tokens = Tokens::new(&secrets, 900, Arc::new(SystemClock));
            let tags = Tags::new("list cursor", 16, &secrets);
            let all = vec![tags.clone()];
            let rotation = Rotation::new(path.clone(), secrets, tokens.clone(), all);
            (rotation, tokens, tags)
        };
        let (mut early, early_tokens, early_tags) = node();
        let (mut late, late_tokens, late_tags) = node();
        let now = SystemClock.now();
        let caller = Caller {
            user: UserId::generate(now),
            session: SessionId::generate(now),
        };
        let old = early_tokens.sign(caller).unwrap();
        Secrets::rotate(&path).unwrap();
        let (_, fresh_tokens, _) = node();
        let token = fresh_tokens.sign(caller).unwrap();
        assert!(late_tokens.verify(&token).is_ok(), "of a node that starts");
        for _ in 0..LOOKS_BEFORE_SIGNING - 1 {
            early.look();
            let token = early_tokens.sign(caller).unwrap();
            assert!(
                late_tokens.verify(&token).is_ok(),
                "before the late node looked"
            );
            let tag = early_tags.tag(&[b"place"]);
            assert!(late_tags.is_ours(&[b"place"], &tag));
        }
        late.look();
        early.look();
        let new = early_tokens.sign(caller).unwrap();
        let tag = early_tags.tag(&[b"place"]);
        assert!(
            late_tags.is_ours(&[b"place"], &tag),
            "both know the new one"
        );
        assert_ne!(
            new.split('.').next(),
            old.split('.').next(),
            "another key signs"
        );
        for tokens in [&early_tokens, &late_tokens] {
            assert!(tokens.verify(&old).is_ok() && tokens.verify(&new).is_ok());
        }
        std::fs::remove_file(&path).unwrap();
        early.look();
        assert!(early_tokens.verify(&new).is_ok(), "without the file");
    }
}
