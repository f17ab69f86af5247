//! The program. Everything is in the library: see `cli`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    Box::pin(qunliu::cli::run()).await
}
