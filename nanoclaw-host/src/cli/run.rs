//! `nanoclaw run`: the service in the foreground.

use std::sync::Arc;

use nanoclaw_core::orchestrator::AtShutdown;

use super::{Place, logging, output, parts};
use crate::{
    gateway::{Resolve, SystemResolver},
    home::HomeLock,
};

/// What `run` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Run the service in the foreground\n\nPrints one line on standard output when it takes messages; its \
    log goes to standard error.\nA configured runtime that does not answer yet is waited for; messages are kept meanwhile.\nEnds on TERM or INT: nothing new is taken, replies that are due are sent. Containers go \
    on where their runtime lets them (docker), and the next start takes them over."
)]
pub(super) struct RunArgs {
    /// Stop the containers when the service ends; what they were at is asked again at the next start
    #[arg(long)]
    stop_containers: bool,
    #[command(flatten)]
    serve: parts::ServeOptions,
}

pub(super) async fn run(args: RunArgs, place: &Place) -> anyhow::Result<()> {
    let containers = if args.stop_containers { AtShutdown::Stop } else { AtShutdown::Leave };
    run_with(args.serve, containers, Arc::new(SystemResolver), place).await
}

/// The same; `internet` is what names mean to the gateway, and where its connections lead.
pub(super) async fn run_with(
    options: parts::ServeOptions,
    containers: AtShutdown,
    internet: Arc<dyn Resolve>,
    place: &Place,
) -> anyhow::Result<()> {
    let home = place.existing_home()?;
    let config = place.config(&home)?;
    let lock = HomeLock::acquire(&home)?;
    logging::of_service(&home.log_file(), &config.log)?;
    for remark in &config.remarks {
        tracing::warn!("{remark}");
    }
    parts::serve(lock, config, options, containers, internet, |line| {
        if let Err(error) = output::line(line) {
            // Nobody reads our output; that is no reason to serve nobody.
            tracing::debug!(%error, "the line that says ready was not read");
        }
    })
    .await
}
