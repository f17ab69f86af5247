//! Tickets: what opens one socket, once, within 30 seconds, for clients that must not hand an
//! access token to whatever opens it. Only its hash is kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::store::accounts::TicketHash;

/// Before the rest of the text, so that a leaked one is recognised for what it is.
const PREFIX: &str = "qlt_";

/// How long it lives, in seconds.
pub const LIFE_S: u32 = 30;

/// A fresh ticket and its hash.
///
/// # Errors
/// `internal` if the system has no randomness.
pub fn generate() -> Result<(String, TicketHash)> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    let ticket = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = hash(&ticket);
    Ok((ticket, hash))
}

/// The hash of a ticket, or of what somebody says is one.
pub fn hash(ticket: &str) -> TicketHash {
    Sha256::digest(ticket).into()
}
