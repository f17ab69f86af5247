//! The raw stream out of hyper, after the 101 was sent.
//!
//! For a server on `hyper::server::conn::http1::Builder` with `with_upgrades`.
//! The stream comes out as its own type, so that nothing of hyper stays in a connection that may
//! live for days.

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why the stream could not be taken over.
#[derive(Debug, Error)]
pub enum UpgradeError {
    /// The connection failed before the 101 was through.
    #[error("the connection failed during the upgrade")]
    Failed(#[from] hyper::Error),
    /// The server runs on another stream than the caller asked for.
    #[error("the connection is of another type")]
    OtherStream,
}

/// A stream that no longer speaks HTTP.
#[derive(Debug)]
pub struct TakenOver<S> {
    /// The stream as the accept loop made it.
    pub stream: S,
    /// What the client sent behind its request, such as a first frame: to be decoded first. A copy,
    /// because even an empty view would keep hyper's read buffer of 8-16 KB alive.
    pub leftover: Vec<u8>,
}

/// Waits until hyper has let go of the connection and returns its stream. Await it in a task of its
/// own: hyper lets go only after the response was returned to it.
///
/// # Errors
/// If the connection failed, or is not of type `S`.
pub async fn take_over<S>(upgrade: OnUpgrade) -> Result<TakenOver<S>, UpgradeError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    dismantle(upgrade.await?)
}

fn dismantle<S>(upgraded: Upgraded) -> Result<TakenOver<S>, UpgradeError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Ok(parts) = upgraded.downcast::<TokioIo<S>>() else {
        return Err(UpgradeError::OtherStream);
    };
    Ok(TakenOver {
        stream: parts.io.into_inner(),
        leftover: parts.read_buf.to_vec(),
    })
}

#[cfg(test)]
mod tests;
