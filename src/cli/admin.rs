//! `qunliu admin …`: what an operator does to accounts and keys, on a running server or a stopped
//! one. It opens only the store of the accounts; running nodes notice within two seconds.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use super::{Exit, options, serve, tell};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::error::Error;
use crate::ingress::auth::password::Passwords;
use crate::ingress::auth::secret::Secrets;
use crate::lifecycle::Tasks;
use crate::model::id::UserId;
use crate::pipeline::commands::accounts::Accounts;
use crate::server::{self, StartError};

/// Its arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    options: options::Options,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give an account a fresh password, which is printed, and end all its sessions.
    ResetPassword(Named),
    /// Disable an account and end all its sessions.
    Disable(Named),
    /// Let a disabled account log in again.
    Enable(Named),
    /// Put a fresh secret into the secret file; the one before stays good until the next time.
    RotateSecret,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The name that the account logs in with.
    name: String,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Error(#[from] Error),
    #[error("there is no account with the name {0}")]
    NoAccount(String),
}

/// Does it, and says on standard error what was done.
pub async fn run(args: Args) -> ExitCode {
    let Args { options, action } = args;
    let act = async |config: &Config| Box::pin(act(action, config)).await;
    let exit_of = |failure: &Failure| match failure {
        Failure::Start(error) => serve::exit_of(error),
        Failure::Error(_) => Exit::Unavailable,
        Failure::NoAccount(_) => Exit::Usage,
    };
    options.run(act, exit_of).await
}

async fn act(action: Action, config: &Config) -> Result<(), Failure> {
    match action {
        Action::ResetPassword(Named { name }) => reset_password(config, &name).await,
        Action::Disable(Named { name }) => {
            let (accounts, user) = find(config, &name).await?;
            accounts.set_disabled(user, true).await?;
            tell(&format!("{name} is disabled, and all its sessions ended"));
            Ok(())
        }
        Action::Enable(Named { name }) => {
            let (accounts, user) = find(config, &name).await?;
            accounts.set_disabled(user, false).await?;
            tell(&format!("{name} may log in"));
            Ok(())
        }
        Action::RotateSecret => {
            let path = server::secret_path(config);
            Secrets::rotate(&path).map_err(StartError::from)?;
            let path = path.display();
            tell(&format!(
                "{path} has a fresh secret; nodes sign with it within 15 seconds"
            ));
            Ok(())
        }
    }
}

async fn reset_password(config: &Config, name: &str) -> Result<(), Failure> {
    let (accounts, user) = find(config, name).await?;
    let password = uuid::Uuid::new_v4().simple().to_string();
    let passwords = Passwords::new(&config.auth, Tasks::default()).await?;
    let hash = passwords.hash(password.clone()).await?;
    accounts.set_password(user, &hash, None).await?;
    tell(&format!(
        "{name} has a new password, and all its sessions ended:"
    ));
    super::print(&password);
    Ok(())
}

async fn find(config: &Config, name: &str) -> Result<(Accounts, UserId), Failure> {
    let store = server::open_accounts(config).await?;
    let accounts = Accounts::new(store, Arc::new(SystemClock), config.auth.session_days);
    let known = accounts.credentials(name).await?;
    let known = known.ok_or_else(|| Failure::NoAccount(name.to_owned()))?;
    Ok((accounts, known.user.id))
}
