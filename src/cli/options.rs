//! What every subcommand takes that reads the configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Exit, complain};
use crate::config::{Config, ConfigError, Environment, Flags};

/// The configuration file and what overrides it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The configuration file; without one the defaults hold.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients connect; port 0 picks a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where operators look.
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// The folder for what the server itself keeps.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
}

impl Options {
    /// The configuration that these, the environment and the file make.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(self) -> Result<Config, ConfigError> {
        let flags = Flags {
            listen: self.listen,
            admin_listen: self.admin_listen,
            data: self.data,
        };
        Config::load(self.config.as_deref(), &Environment::of_process(), &flags)
    }

    /// As [`Options::load`]; what is wrong goes to standard error.
    ///
    /// # Errors
    /// How the program is to end.
    pub fn load_or_complain(self) -> Result<Config, Exit> {
        self.load().map_err(|error| {
            complain(&error);
            Exit::Usage
        })
    }

    /// Loads the configuration and does `act` with it; what goes wrong is told on standard error, and
    /// `exit_of` says how the program ends then.
    pub async fn run<E: std::error::Error + 'static>(
        self,
        act: impl AsyncFnOnce(&Config) -> Result<(), E>,
        exit_of: impl FnOnce(&E) -> Exit,
    ) -> ExitCode {
        let exit = match self.load_or_complain() {
            Ok(config) => match act(&config).await {
                Ok(()) => Exit::Done,
                Err(failure) => {
                    complain(&failure);
                    exit_of(&failure)
                }
            },
            Err(exit) => exit,
        };
        exit.into()
    }
}
