//! The setup code: what the first account of a fresh server must prove when anyone could reach
//! it. Printed once at start, on the terminal of the one who started it.

use sha2::{Digest as _, Sha256};

use super::secret::hex;
use crate::error::Error;
use crate::error::Result;

/// Bytes of the code: 80 bits, which nobody guesses over a network.
const BYTES: usize = 10;

/// What a first account must prove.
#[derive(Clone)]
pub struct SetupCode(Option<String>);

impl SetupCode {
    /// Nothing: only this machine reaches the server.
    pub const NONE: Self = Self(None);

    /// A fresh code.
    ///
    /// # Errors
    /// `internal` if the system has no randomness.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(Error::internal)?;
        Ok(Self(Some(hex(&bytes))))
    }

    /// The code to print, if there is one.
    pub fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether `given` proves it. Takes the same time for every wrong code.
    pub fn is_proven_by(&self, given: Option<&str>) -> bool {
        match &self.0 {
            None => true,
            // Equal digests mean equal codes, and comparing digests tells nothing of the code.
            Some(code) => given.is_some_and(|given| Sha256::digest(given) == Sha256::digest(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_proves_it() {
        let code = SetupCode::generate().unwrap();
        let text = code.text().unwrap().to_owned();
        assert!(code.is_proven_by(Some(&text)));
        assert!(!code.is_proven_by(None) && !code.is_proven_by(Some("")));
        assert!(!code.is_proven_by(Some(&text[1..])));
        assert!(SetupCode::NONE.is_proven_by(None));
    }
}
