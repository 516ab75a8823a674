//! `nanoclaw ps`: how the service and its groups stand.

use super::{
    Place,
    groups::ending,
    output::{self, BOLD, Columns, DIM},
};
use crate::admin::types::Status;

/// What `ps` can be told.
#[derive(Debug, clap::Args)]
pub(super) struct PsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: PsArgs, place: &Place) -> anyhow::Result<()> {
    let (home, config) = place.open().await?;
    let status = home.status().await?;
    if args.json {
        return output::json(&status);
    }
    let Status { service, groups } = status;
    match service {
        None => output::line(format!("{DIM}no service runs; `nanoclaw run` starts it{DIM:#}"))?,
        Some(service) => {
            let since = output::time(service.started_at_ms, &config.time.zone);
            output::line(format!(
                "{BOLD}nanoclaw {}{BOLD:#}, process {}, since {since}, {} of {} containers",
                output::clean(&service.version),
                service.pid,
                service.containers,
                service.max_containers
            ))?;
            let runtime = format!("runtime: {}", output::clean(&service.runtime));
            output::line(format!("{DIM}{}{DIM:#}", output::hanging(&runtime, 0)))?;
            for channel in service.channels.iter().filter(|channel| !channel.connected) {
                output::line(format!("channel {} is not connected", output::clean(&channel.name)))?;
            }
        }
    }
    if groups.is_empty() {
        output::line("There are no groups yet. `nanoclaw groups add CHAT --name NAME` adds one.")?;
        return Ok(());
    }
    let mut unwell = false;
    let mut columns = Columns::new(["GROUP", "STATE", "UNANSWERED", "MEMORY", "LAST RUN"]);
    for group in groups {
        let last_run = group.last_run.map_or_else(
            || "-".to_owned(),
            |run| {
                let started = output::time(run.started_at_ms, &config.time.zone);
                format!("#{} {started}, {}", run.number, ending(&run))
            },
        );
        let state = match (group.state, group.trouble) {
            (Some(state), Some(trouble)) => format!("{} ({trouble})", state.word()),
            (Some(state), None) => state.word().to_owned(),
            (None, _) => "-".to_owned(),
        };
        let state = match group.next_try_at_ms {
            Some(at) => format!("{state}, next try {}", output::time(at, &config.time.zone)),
            None => state,
        };
        unwell |= group.trouble.is_some() || group.failures > 0;
        columns.row([
            group.folder.to_string(),
            state,
            group.unanswered.to_string(),
            group.memory_bytes.map_or_else(|| "-".to_owned(), output::size),
            last_run,
        ]);
    }
    columns.print()?;
    if unwell {
        output::line(format!("{DIM}`nanoclaw turns list` shows what waits, and why{DIM:#}"))?;
    }
    Ok(())
}
