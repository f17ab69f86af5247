//! The connections to one server: several for appends, one for reads, one for consumers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::dial::Dial;
use super::gate::Gate;
use super::home::Home;
use super::link::Link;

/// Which of the connections a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Appends and openings; those of one home always take the same one.
    Ordered,
    /// Reads and small writes about many groups, so that a long answer delays no append.
    Reads,
    /// What consumers take, acknowledge and lease.
    Consumers,
}

/// One server that takes writes, and how full it is.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) dial: Dial,
    ordered: Vec<Link>,
    pub(crate) reads: Link,
    consumers: Link,
    is_full: AtomicBool,
}

impl Shard {
    /// Its connections, this many of them for appends, 1 to 64.
    pub(super) fn new(dial: Dial, connections: usize) -> Self {
        let link = || Link::new(dial.clone());
        let gate = Arc::<Gate>::default();
        let ordered = |_| Link::gated(dial.clone(), Arc::clone(&gate));
        Self {
            ordered: (0..connections.clamp(1, 64)).map(ordered).collect(),
            reads: link(),
            consumers: link(),
            is_full: AtomicBool::new(false),
            dial,
        }
    }

    /// The connection that a call takes.
    pub(crate) fn link(&self, lane: Lane, home: Home) -> &Link {
        match lane {
            Lane::Ordered => {
                let index = home.index() % self.ordered.len();
                self.ordered.get(index).unwrap_or(&self.reads)
            }
            Lane::Reads => &self.reads,
            Lane::Consumers => &self.consumers,
        }
    }

    /// Whether it takes no appends for want of memory.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Notes whether it is full; answers whether that is news.
    pub(crate) fn set_full(&self, is_full: bool) -> bool {
        self.is_full.swap(is_full, Ordering::Relaxed) != is_full
    }
}
