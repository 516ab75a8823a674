//! `nanoclaw selftest`: proofs with real containers that what is promised about isolation holds on this machine.

mod hostile;
mod isolation;

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use nanoclaw_core::orchestrator::AtShutdown;

use super::{Place, parts::ServeOptions, run::run_with};
use crate::selftest::hostile::StagedInternet;

/// What can be proven.
#[derive(Debug, clap::Subcommand)]
pub(super) enum SelftestCommand {
    /// Show from inside a container that isolation is in force
    Isolation(isolation::IsolationArgs),
    /// Attack from inside real containers, with an agent that does everything it can
    Hostile(hostile::HostileArgs),
    /// Run the service that `selftest hostile` attacks: to its gateway the internet is one program on this machine
    #[command(name = "hostile-service", hide = true)]
    HostileService {
        /// Where that program listens
        #[arg(long)]
        internet: SocketAddr,
    },
}

pub(super) async fn run(command: SelftestCommand, place: &Place) -> anyhow::Result<ExitCode> {
    match command {
        SelftestCommand::Isolation(args) => isolation::run(args, place).await,
        SelftestCommand::Hostile(args) => hostile::run(args, place).await,
        SelftestCommand::HostileService { internet } => {
            let internet = Arc::new(StagedInternet::at(internet)?);
            run_with(ServeOptions::default(), AtShutdown::Stop, internet, place).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
