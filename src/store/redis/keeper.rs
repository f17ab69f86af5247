//! Keeps the leases of this process and listens for it: renews, listens to the streams of what
//! it holds, reads the durable lists of dirty groups, and fills the [`Desk`].
//!
//! A lost ring only delays: the lists are read whenever leases or the connection changed, and
//! every 5 s.

use std::sync::Arc;
use std::time::Duration;

use redis::{Value, cmd, pipe};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::consumers::Desk;
use super::dial::Backoff;
use super::fault::fault;
use super::keys;
use super::leases::{Digits, share};
use super::library::Function;
use super::links::{Links, all};
use super::reply::{list, text};
use super::rings::Bell;
use crate::model::id::{GroupId, Partition};
use crate::store::Result;

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
    /// The doorbell and the digits it listens to.
    bell: Option<(Bell, Digits)>,
    renew_at: Instant,
    sweep_at: Instant,
}

impl Keeper {
    pub(super) fn new(links: Arc<Links>, desk: Arc<Desk>, me: String, lease: Duration) -> Self {
        let now = Instant::now();
        Self {
            links,
            desk,
            me,
            lease,
            held: Digits::NONE,
            known: Digits::NONE,
            bell: None,
            renew_at: now,
            sweep_at: now,
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
        let mut backoff = Backoff::default();
        loop {
            match self.step().await {
                Ok(()) => backoff.succeed(),
                Err(error) => {
                    tracing::debug!(error = ?error, "keeping leases failed; trying again");
                    self.bell = None;
                    backoff.fail();
                    backoff.pause().await;
                }
            }
        }
    }

    /// Does what is due, then waits for a ring or for the next thing to be due.
    async fn step(&mut self) -> Result<()> {
        if Instant::now() >= self.renew_at {
            self.renew().await?;
        }
        self.listen().await?;
        self.hear();
        if Instant::now() >= self.sweep_at {
            self.sweep().await?;
        }
        let Some((bell, _)) = &self.bell else {
            return Ok(());
        };
        tokio::select! {
            () = bell.ring() => {}
            () = tokio::time::sleep_until(self.renew_at.min(self.sweep_at)) => {}
        }
        Ok(())
    }

    /// Says that this process lives, and leases its share among the living.
    async fn renew(&mut self) -> Result<()> {
        let asked = Instant::now();
        let mut beat = self
            .links
            .library
            .call(Function::Beat, &[keys::NODES.to_owned()]);
        beat.arg(&self.me).arg(millis(self.lease));
        let nodes = self.links.call(&self.links.consumers, &beat).await?;
        let nodes = list(&nodes)?
            .iter()
            .map(|node| text(node).map(str::to_owned));
        let wanted = share(&self.me, &nodes.collect::<Result<Vec<_>>>()?);
        let mut lease = self
            .links
            .library
            .call(Function::Lease, &[keys::OWNERS.to_owned()]);
        lease
            .arg(&self.me)
            .arg(millis(self.lease))
            .arg(wanted.to_text());
        let held = self.links.call(&self.links.consumers, &lease).await?;
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
    async fn listen(&mut self) -> Result<()> {
        if self
            .bell
            .as_ref()
            .is_some_and(|(_, digits)| *digits == self.held)
        {
            return Ok(());
        }
        let mut bell = match self.bell.take() {
            Some((bell, _)) => bell,
            None => Bell::connect(&self.links.dial).await.map_err(fault)?,
        };
        let mut tracking = pipe();
        tracking.cmd("CLIENT").arg("TRACKING").arg("OFF");
        if !self.held.is_empty() {
            tracking.add_command(track(self.held));
        }
        let answer = bell
            .connection
            .send_packed_commands(&tracking, 0, tracking.len())
            .await;
        all(answer.map_err(fault)?)?;
        self.bell = Some((bell, self.held));
        self.sweep_at = Instant::now();
        Ok(())
    }

    fn hear(&mut self) {
        let Some(rung) = self.bell.as_ref().map(|(bell, _)| bell.rung()) else {
            return;
        };
        if !rung.groups.is_empty() {
            self.desk.change(|work| {
                rung.groups
                    .iter()
                    .for_each(|group| work.mark(*group, false));
            });
        }
        if rung.everything {
            self.sweep_at = Instant::now();
        }
        if rung.is_over {
            self.bell = None;
        }
    }

    /// Reads the lists of all that is held; what was just won begins with them.
    async fn sweep(&mut self) -> Result<()> {
        let (held, gained) = (self.held, self.held.without(self.known));
        let dirty = self.dirty(held).await?;
        self.desk.change(|work| {
            work.gain(gained, &dirty);
            dirty.iter().for_each(|group| work.mark(*group, true));
        });
        self.known = held;
        self.sweep_at = Instant::now() + SWEEP;
        Ok(())
    }

    async fn dirty(&self, digits: Digits) -> Result<Vec<GroupId>> {
        let mut reads = pipe();
        for partition in (0..=u8::MAX)
            .map(Partition)
            .filter(|p| digits.contains(p.digit()))
        {
            reads.cmd("SMEMBERS").arg(keys::dirty(partition));
        }
        let answers = all(self.links.consumers.commands(&reads).await.map_err(fault)?)?;
        let mut groups = Vec::new();
        for answer in &answers {
            groups.extend(list(answer)?.iter().filter_map(group));
        }
        Ok(groups)
    }
}

fn group(listed: &Value) -> Option<GroupId> {
    text(listed).ok()?.parse().ok()
}

fn track(digits: Digits) -> redis::Cmd {
    let mut tracking = cmd("CLIENT");
    tracking.arg("TRACKING").arg("ON").arg("BCAST");
    for digit in digits.iter() {
        tracking.arg("PREFIX").arg(keys::digit_prefix(digit));
    }
    tracking
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
