//! What handlers work with: built once by `server.rs`, shared by every request.

use std::sync::Arc;
use std::time::Duration;

use super::auth::Auth;
use super::cursor::Cursors;
use super::limit::Limits;
use crate::access::Access;
use crate::clock::Clock;
use crate::egress::attach::Attach;
use crate::egress::hints::Hints;
use crate::egress::hub::Hub;
use crate::egress::overview::Overview;
use crate::egress::presence::Online;
use crate::egress::receipts::Receipts;
use crate::egress::revocations::Revocations;
use crate::lifecycle::Tasks;
use crate::pipeline::commands::accounts::Accounts;
use crate::pipeline::commands::groups::Groups;
use crate::pipeline::commands::members::Members;
use crate::pipeline::commands::messages::Messages;
use crate::pipeline::commands::profiles::Profiles;
use crate::pipeline::commands::reads::Reads;
use crate::store::counts::Counts;
use crate::store::directory::Directory;
use crate::store::history::History;
use crate::store::readiness::Readiness;
use crate::store::roster::Roster;
use crate::telemetry::Metrics;
use crate::traces::Traces;

/// A handle to all that handlers work with.
pub type App = Arc<Parts>;

/// All that handlers work with.
pub struct Parts {
    /// Who may do what.
    pub access: Access,
    /// Who calls.
    pub auth: Auth,
    /// How often.
    pub limits: Limits,
    /// Cursors of lists.
    pub cursors: Cursors,
    /// Commands on profiles.
    pub profiles: Profiles,
    /// Commands on accounts and sessions.
    pub accounts: Accounts,
    /// Commands on groups.
    pub groups: Groups,
    /// Commands on members.
    pub members: Members,
    /// Sending messages.
    pub messages: Messages,
    /// Moving read marks.
    pub reads: Reads,
    /// What a person's groups are at.
    pub overview: Overview,
    /// Heads of groups.
    pub counts: Counts,
    /// The events of groups.
    pub history: History,
    /// Who listens on this node.
    pub hub: Arc<Hub>,
    /// How a socket begins to listen.
    pub attach: Attach,
    /// What is told in passing.
    pub hints: Hints,
    /// Who of a group's members is here.
    pub online: Online,
    /// Who waits for `stored`.
    pub receipts: Arc<Receipts>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Sites whose pages may open sockets; empty for the server's own alone.
    pub origins: Vec<String>,
    /// People and groups, for reads.
    pub directory: Arc<dyn Directory>,
    /// Lists of people, for reads that decide nothing.
    pub roster: Arc<dyn Roster>,
    /// Which stores answer.
    pub readiness: Arc<Readiness>,
    /// How long a request's body may take to arrive.
    pub body_deadline: Duration,
    /// What is counted.
    pub metrics: Metrics,
    /// What each piece of work belongs to.
    pub traces: Traces,
    /// Whether the server drains.
    pub tasks: Tasks,
    /// The revocation log.
    pub revocations: Revocations,
}

impl Parts {
    /// Makes the end of a session that was just committed hold on this node at once. If that
    /// fails it holds a second later, as on every other node.
    pub async fn note_revocations(&self) {
        if let Err(error) = self.revocations.look().await {
            tracing::debug!(%error, "an end of a session is noticed with the next look");
        }
    }
}
