//! How many sockets one address has at once, and how many of them have not said who they are.
//! A place is taken when a socket opens and is free again when it is dropped.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::options::Options;

/// When it may help to come back, in milliseconds: a socket that does not say `hello` is closed
/// within five seconds.
pub(super) const RETRY_AFTER_MS: u64 = 5_000;

/// Sockets by address. Addresses without a socket are not held.
#[derive(Debug)]
pub(super) struct Sockets {
    max: usize,
    waiting_max: usize,
    /// A std lock: held for a few lines, once when a socket opens, is greeted and ends.
    by_address: Mutex<HashMap<IpAddr, Count>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    all: usize,
    waiting: usize,
}

/// An address has no place left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this address has {max} sockets already ({name})")]
pub(super) struct Full {
    pub(super) name: &'static str,
    max: usize,
}

/// The place of one socket.
#[derive(Debug)]
pub struct Place {
    sockets: Arc<Sockets>,
    address: IpAddr,
    is_waiting: bool,
}

impl Sockets {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            max: options.sockets_per_address,
            waiting_max: options.sockets_waiting_per_address,
            by_address: Mutex::default(),
        }
    }

    /// Takes a place for a socket that has not said `hello`.
    pub(super) fn take(this: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let mut counts = this.lock();
        let count = counts.get(&address).copied().unwrap_or_default();
        this.check(count)?;
        let count = counts.entry(address).or_default();
        count.all += 1;
        count.waiting += 1;
        Ok(Place {
            sockets: Arc::clone(this),
            address,
            is_waiting: true,
        })
    }

    const fn check(&self, count: Count) -> Result<(), Full> {
        let (name, max) = if count.all >= self.max {
            ("sockets_per_address", self.max)
        } else if count.waiting >= self.waiting_max {
            ("sockets_waiting_per_address", self.waiting_max)
        } else {
            return Ok(());
        };
        Err(Full { name, max })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Count>> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The socket said who it is.
    pub fn greeted(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            let mut counts = self.sockets.lock();
            if let Some(count) = counts.get_mut(&self.address) {
                count.waiting -= 1;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.greeted();
        let mut counts = self.sockets.lock();
        if let Entry::Occupied(mut entry) = counts.entry(self.address) {
            entry.get_mut().all -= 1;
            if entry.get().all == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(max: usize, waiting_max: usize) -> Arc<Sockets> {
        Arc::new(Sockets {
            max,
            waiting_max,
            by_address: Mutex::default(),
        })
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn sockets_that_wait_and_all_sockets_are_bounded_each() {
        let sockets = sockets(3, 2);
        let mut first = Sockets::take(&sockets, HERE).unwrap();
        let second = Sockets::take(&sockets, HERE).unwrap();
        let refused = Sockets::take(&sockets, HERE).unwrap_err();
        assert_eq!(refused.name, "sockets_waiting_per_address");
        assert!(Sockets::take(&sockets, THERE).is_ok());
        first.greeted();
        let third = Sockets::take(&sockets, HERE).unwrap();
        let refused = Sockets::take(&sockets, HERE).unwrap_err();
        assert_eq!(refused.name, "sockets_per_address");
        drop((first, second, third));
        assert!(sockets.lock().is_empty());
    }
}
