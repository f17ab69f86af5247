//! Passwords: Argon2id with 19 MiB, two passes and one lane, on the blocking pool, a few at once
//! and few waiting, so that log-ins cannot take the machine from the chats.
//!
//! A log-in under a name that does not exist is checked too, against a hash of nothing anyone
//! knows, so that it lasts as long as one with a wrong password.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use schemars::JsonSchema;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::Options;
use crate::error::{Busy, Error, Result};
use crate::lifecycle::Tasks;

/// Memory of one hash in KiB, passes, lanes (OWASP's first choice for Argon2id with 19 MiB).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// When to come back if too many wait, in milliseconds.
const RETRY_AFTER_MS: u64 = 1000;

/// Passwords of 8 characters or more that are tried first by whoever guesses: the 3000 most common
/// in the list of zxcvbn, and further ones, many of them chosen by people who speak Chinese.
const COMMON: &str = include_str!("common_passwords.txt");

/// Characters of a password: at least, and at most.
const CHARS_MIN: usize = 8;
const CHARS_MAX: usize = 128;

/// A password for documents.
pub const EXAMPLE: &str = "correct horse battery";

/// A password that someone chooses: none of the most common ones, nor the account's name.
#[derive(Debug, JsonSchema)]
#[schemars(inline, with = "String", extend(
    "format" = "password",
    "minLength" = CHARS_MIN,
    "maxLength" = CHARS_MAX,
    "pattern" = r"^[^\x00]*$",
    "examples" = [EXAMPLE],
))]
pub struct Chosen;

/// Hashes and checks passwords. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    argon: Argon2<'static>,
    tasks: Tasks,
    /// Places at work and in the queue.
    places: Arc<Semaphore>,
    /// Places at work.
    work: Arc<Semaphore>,
    nobody: Arc<str>,
}

impl Passwords {
    /// # Errors
    /// `internal` if a password cannot be hashed at all.
    pub async fn new(options: &Options, tasks: Tasks) -> Result<Self> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(Error::internal)?;
        let passwords = Self {
            argon: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            tasks,
            places: Arc::new(Semaphore::new(
                options.hashes_at_once + options.hashes_waiting_max,
            )),
            work: Arc::new(Semaphore::new(options.hashes_at_once)),
            nobody: Arc::from(""),
        };
        let nobody = passwords.hash(Uuid::new_v4().to_string()).await?;
        Ok(Self {
            nobody: Arc::from(nobody),
            ..passwords
        })
    }

    /// The hash to keep, in PHC form, with a salt of its own.
    ///
    /// # Errors
    /// `busy` when too many wait.
    pub async fn hash(&self, password: String) -> Result<String> {
        let argon = self.argon.clone();
        self.run(move || hashed(&argon, &password)).await?
    }

    /// Whether `password` is the one of `hash`; never for a name without one, after as long.
    ///
    /// # Errors
    /// `busy` when too many wait.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let argon = self.argon.clone();
        let exists = hash.is_some();
        let hash = hash.map_or_else(|| Arc::clone(&self.nobody), Arc::from);
        let same = self
            .run(move || argon.verify_password(password.as_bytes(), &*hash))
            .await?;
        match same {
            Ok(()) => Ok(exists),
            Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(Error::internal(error)),
        }
    }

    /// A fresh hash of a password that was just proven against `hash`, if that one took less work than
    /// hashes do now. Only when a place at work is free at this moment, for others are not to wait
    /// for it: the next log-in may do it.
    ///
    /// # Errors
    /// `internal` if it cannot be hashed.
    pub async fn renew(&self, password: String, hash: &str) -> Result<Option<String>> {
        if !is_weak(hash) {
            return Ok(None);
        }
        let Ok(at_work) = Arc::clone(&self.work).try_acquire_owned() else {
            return Ok(None);
        };
        let argon = self.argon.clone();
        let renewed = self.run_at(at_work, move || hashed(&argon, &password));
        renewed.await?.map(Some)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Error::busy(
                Busy::Passwords,
                "too many log-ins at once",
                RETRY_AFTER_MS,
            ));
        };
        let at_work = Arc::clone(&self.work)
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        self.run_at(at_work, work).await
    }

    /// The place at work goes with the work: a caller that goes away cannot free it early.
    async fn run_at<T: Send + 'static>(
        &self,
        at_work: OwnedSemaphorePermit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let done = self.tasks.blocking(move || {
            let done = work();
            drop(at_work);
            done
        });
        done.await.map_err(Error::internal)
    }
}

/// In PHC form, with a salt of its own.
fn hashed(argon: &Argon2<'_>, password: &str) -> Result<String> {
    let hash = argon.hash_password(password.as_bytes());
    Ok(hash.map_err(Error::internal)?.to_string())
}

/// Whether this hash took less work than hashes do now.
fn is_weak(hash: &str) -> bool {
    let hash = PasswordHash::new(hash).ok();
    let params = hash.and_then(|hash| Params::try_from(&hash).ok());
    params.is_some_and(|params| params.m_cost() < MEMORY_KIB || params.t_cost() < PASSES)
}

/// Checks a password that someone chooses.
///
/// # Errors
/// `bad_request` naming `password`.
pub fn check(password: &str, name: &str) -> Result<()> {
    let chars = password.chars().count();
    if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
        let detail = format!("must be {CHARS_MIN} to {CHARS_MAX} characters");
        return Err(Error::field("password", detail));
    }
    if password.contains('\0') {
        return Err(Error::field("password", "must not hold NUL"));
    }
    let lower = password.to_lowercase();
    if lower == name || COMMON.lines().any(|common| common == lower) {
        return Err(Error::field(
            "password",
            "is one of the first that others would guess",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn options(hashes_waiting_max: usize) -> Options {
        Options {
            secret_file: String::new(),
            access_s: 900,
            session_days: 30,
            hashes_at_once: 1,
            hashes_waiting_max,
        }
    }

    #[tokio::test]
    async fn only_the_same_password_is_taken() {
        let passwords = Passwords::new(&options(4), Tasks::default()).await.unwrap();
        let hash = passwords.hash("right horse".to_owned()).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(
            passwords
                .verify("right horse".to_owned(), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("wrong horse".to_owned(), Some(hash))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("right horse".to_owned(), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn more_than_may_wait_are_sent_away() {
        let passwords = Passwords::new(&options(1), Tasks::default()).await.unwrap();
        let one = passwords.hash("right horse".to_owned());
        let two = passwords.hash("right horse".to_owned());
        let three = passwords.hash("right horse".to_owned());
        let (one, two, three) = tokio::join!(one, two, three);
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(
            three.unwrap_err().code,
            crate::protocol::code::ErrorCode::Busy
        );
    }

    #[tokio::test]
    async fn a_weak_hash_is_renewed_when_nobody_waits_for_it() {
        let passwords = Passwords::new(&options(4), Tasks::default()).await.unwrap();
        let (own, params) = (passwords.nobody.to_string(), Params::new(1024, 2, 1, None));
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.unwrap());
        let weak = hashed(&argon, "right horse").unwrap();
        let renew = async |hash: &str| {
            let renewed = passwords.renew("right horse".to_owned(), hash);
            renewed.await.unwrap()
        };
        assert_eq!(renew(&own).await, None);
        let at_work = passwords.work.acquire().await.unwrap();
        assert_eq!(renew(&weak).await, None);
        drop(at_work);
        let strong = renew(&weak).await.unwrap();
        assert!(!is_weak(&strong));
        let verified = passwords.verify("right horse".to_owned(), Some(strong));
        assert!(verified.await.unwrap());
    }

    #[test]
    fn short_long_common_and_own_name_are_refused() {
        for taken in [EXAMPLE, "han.meimei.2", "xkqwvbpz", &"字".repeat(8)] {
            assert!(check(taken, "han.meimei").is_ok(), "{taken:?}");
        }
        let long = "a".repeat(129);
        for refused in [
            "short",
            &long,
            "PassWord",
            "samantha1",
            "woaini520",
            "han.meimei",
            "nul\0nul\0",
        ] {
            assert!(check(refused, "han.meimei").is_err(), "{refused:?}");
        }
        let common: HashSet<&str> = COMMON.lines().collect();
        assert!(common.len() > 3000 && common.len() == COMMON.lines().count());
        for common in common {
            assert!(common.chars().count() >= CHARS_MIN, "{common}");
            let shouted = common.to_uppercase();
            assert!(check(&shouted, "han.meimei").is_err(), "{shouted}");
        }
    }
}
