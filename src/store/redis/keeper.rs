//! Keeps the leases of this process and listens for it: renews, listens to the streams of what
//! it holds, reads the durable lists of dirty groups, and fills the [`Desk`].
//!
//! A lost ring only delays: the lists are read whenever leases or the connection changed, and
//! every 5 s. Then idle groups of what it holds are emptied, too.

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Value, cmd, pipe};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::bells::Bells;
use super::consumers::Desk;
use super::idle;
use super::keys;
use super::leases::{Digits, beat, lease, share};
use super::links::Links;
use super::reply::{list, text};
use super::topology::home::Home;
use super::topology::shard::Lane;
use crate::model::id::{GroupId, Partition};
use crate::store::{Result, StoreError};

/// How often the lists of dirty groups are read, in case a ring was lost.
const SWEEP: Duration = Duration::from_secs(5);

/// The keeper of one process.
pub(super) struct Keeper {
    links: Arc<Links>,
    desk: Arc<Desk>,
    me: String,
    lease: Duration,
    /// What is leased, and what was told to the desk.
    held: Digits,
    known: Digits,
    /// The doorbells and the digits they listen to.
    bells: Bells,
    heeded: Digits,
    renew_at: Instant,
    sweep_at: Instant,
    /// When to try again what failed.
    backoff: Backoff,
}

impl Keeper {
    pub(super) fn new(links: Arc<Links>, desk: Arc<Desk>, me: String, lease: Duration) -> Self {
        let now = Instant::now();
        Self {
            bells: Bells::new(Arc::clone(&links.topology), tracking(Digits::NONE)),
            links,
            desk,
            me,
            lease,
            held: Digits::NONE,
            known: Digits::NONE,
            heeded: Digits::NONE,
            renew_at: now,
            sweep_at: now,
            backoff: Backoff::default(),
        }
    }

    /// Keeps until the server drains or the process resigned. What is held then runs out by
    /// itself unless it was given up.
    pub(super) async fn run(mut self, draining: CancellationToken) {
        let resigned = self.desk.resigned.clone();
        tokio::select! {
            biased;
            () = draining.cancelled() => return,
            () = resigned.cancelled() => {}
            () = self.keep() => {}
        }
        draining.cancelled().await;
    }

    async fn keep(&mut self) {
        loop {
            self.step().await;
        }
    }

    /// Does what is due, then waits for a ring or for the next thing to be due. What fails is
    /// done again after a pause; meanwhile the servers that answer are heard.
    async fn step(&mut self) {
        if Instant::now() >= self.renew_at {
            match self.renew().await {
                Ok(()) => self.backoff.succeed(),
                Err(error) => self.renew_at = self.again_after(&error),
            }
        }
        self.listen().await;
        self.hear();
        if Instant::now() >= self.sweep_at
            && let Err(error) = self.sweep().await
        {
            self.sweep_at = self.again_after(&error);
        }
        let due = self.renew_at.min(self.sweep_at);
        tokio::select! {
            () = self.bells.ring() => {}
            () = tokio::time::sleep_until(due) => {}
        }
    }

    /// When to try again.
    fn again_after(&mut self, error: &StoreError) -> Instant {
        tracing::debug!(error = ?error, "keeping leases failed; trying again");
        self.backoff.fail();
        self.backoff.over_at()
    }

    /// Says that this process lives, and leases its share among the living.
    async fn renew(&mut self) -> Result<()> {
        let asked = Instant::now();
        let (library, lease_ms) = (&self.links.library, millis(self.lease));
        let beat = beat(library, &self.me, lease_ms);
        let nodes = self
            .links
            .call(Lane::Consumers, Home::Leases, &beat)
            .await?;
        let nodes = list(&nodes)?
            .iter()
            .map(|node| text(node).map(str::to_owned));
        let wanted = share(&self.me, &nodes.collect::<Result<Vec<_>>>()?);
        let lease = lease(library, &self.me, lease_ms, wanted);
        let held = self
            .links
            .call(Lane::Consumers, Home::Leases, &lease)
            .await?;
        self.held = Digits::from_text(text(&held)?);
        self.renew_at = asked + self.lease / 3;
        self.tell(asked);
        Ok(())
    }

    /// Tells the desk which leases hold from now on.
    fn tell(&mut self, asked: Instant) {
        let (held, until) = (self.held, asked + self.lease);
        self.desk
            .change(|work| work.renew(held, Instant::now(), until));
        self.known = self.desk.known();
        if !held.without(self.known).is_empty() {
            self.sweep_at = Instant::now();
        }
    }

    /// Listens to exactly what is held; whatever rang in between is on the lists.
    async fn listen(&mut self) {
        if self.heeded != self.held {
            self.heeded = self.held;
            self.bells.listen_to(tracking(self.held));
        }
        self.bells.tend().await;
    }

    fn hear(&mut self) {
        let heard = self.bells.heard();
        if !heard.groups.is_empty() {
            self.desk.change(|work| {
                heard
                    .groups
                    .iter()
                    .for_each(|group| work.mark(*group, false));
            });
        }
        if !heard.everything.is_empty() || !heard.fresh.is_empty() {
            self.sweep_at = Instant::now();
        }
    }

    /// Reads the lists of all that is held; what was just won begins with them.
    async fn sweep(&mut self) -> Result<()> {
        let (held, gained) = (self.held, self.held.without(self.known));
        let dirty = dirty(&self.links, held).await?;
        self.desk.change(|work| {
            work.gain(gained, &dirty);
            dirty.iter().for_each(|group| work.mark(*group, true));
        });
        self.known = held;
        self.sweep_at = Instant::now() + SWEEP;
        idle::sweep(&self.links, held).await
    }
}

/// The groups on the lists of these digits.
async fn dirty(links: &Links, digits: Digits) -> Result<Vec<GroupId>> {
    let mut reads = Vec::new();
    for partition in (0..=u8::MAX)
        .map(Partition)
        .filter(|p| digits.contains(p.digit()))
    {
        let mut read = cmd("SMEMBERS");
        read.arg(keys::dirty(partition));
        reads.push((partition.into(), read));
    }
    let answers = links.all(Lane::Consumers, &reads).await?;
    let mut groups = Vec::new();
    for answer in &answers {
        groups.extend(list(answer)?.iter().filter_map(group));
    }
    Ok(groups)
}

fn group(listed: &Value) -> Option<GroupId> {
    text(listed).ok()?.parse().ok()
}

/// What switches the tracking of these digits on, and of all others off.
fn tracking(digits: Digits) -> Pipeline {
    let mut tracking = pipe();
    tracking.cmd("CLIENT").arg("TRACKING").arg("OFF");
    if !digits.is_empty() {
        let on = tracking
            .cmd("CLIENT")
            .arg("TRACKING")
            .arg("ON")
            .arg("BCAST");
        for digit in digits.iter() {
            on.arg("PREFIX").arg(keys::digit_prefix(digit));
        }
    }
    tracking
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
