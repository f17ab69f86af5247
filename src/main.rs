//! The program. Everything is in the library: see `cli`.

use std::process::ExitCode;

/// Gives back what is no longer used: the 19 MiB of a password's hash would otherwise stay in an
/// arena of each thread that ever hashed one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    Box::pin(qunliu::cli::run()).await
}
