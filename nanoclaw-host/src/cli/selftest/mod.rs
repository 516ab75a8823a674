//! `nanoclaw selftest`: proofs with real containers that what is promised about isolation holds on this machine.

mod hostile;
mod isolation;

use std::process::ExitCode;

use super::Place;

/// What can be proven.
#[derive(Debug, clap::Subcommand)]
pub(super) enum SelftestCommand {
    /// Show from inside a container that isolation is in force
    Isolation(isolation::IsolationArgs),
    /// Attack from inside real containers, with an agent that does everything it can
    Hostile(hostile::HostileArgs),
}

pub(super) async fn run(command: SelftestCommand, place: &Place) -> anyhow::Result<ExitCode> {
    match command {
        SelftestCommand::Isolation(args) => isolation::run(args, place).await,
        SelftestCommand::Hostile(args) => hostile::run(args, place).await,
    }
}
