//! What handlers work with: built once by `server.rs`, shared by every request.

use std::sync::Arc;
use std::time::Duration;

use super::auth::Auth;
use super::cursor::Cursors;
use super::limit::Limits;
use crate::access::Access;
use crate::egress::overview::Overview;
use crate::lifecycle::Tasks;
use crate::pipeline::commands::accounts::Accounts;
use crate::pipeline::commands::groups::Groups;
use crate::pipeline::commands::members::Members;
use crate::store::counts::Counts;
use crate::store::directory::Directory;
use crate::store::log::Log;
use crate::telemetry::Metrics;

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
    /// Commands on accounts and sessions.
    pub accounts: Accounts,
    /// Commands on groups.
    pub groups: Groups,
    /// Commands on members.
    pub members: Members,
    /// What a person's groups are at.
    pub overview: Overview,
    /// Heads of groups.
    pub counts: Counts,
    /// People and groups, for reads.
    pub directory: Arc<dyn Directory>,
    /// The live log, to see whether it answers.
    pub log: Arc<dyn Log>,
    /// How long a request's body may take to arrive.
    pub body_deadline: Duration,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether the server drains.
    pub tasks: Tasks,
}
