//! `nanoclaw cleanup`: removes what nobody needs any more, as the service does each night.

use serde::Serialize;

use super::{
    Place,
    output::{self, Columns, GREEN},
};
use crate::admin::types::{CleanedView, ErrorKind};

/// What `cleanup` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Remove what nobody needs any more, as the service does each night\n\nWhat that is, and after how long, \
    [retention] in nanoclaw.toml says: logs and records of runs that are over,\nrecords of tasks, and what was kept for groups that were \
    removed. Never messages, memory, sessions of\ngroups that are there, logins or backups.",
    after_long_help = "`nanoclaw image prune` removes images that nothing uses; docs/cleanup.md says what stays."
)]
pub(super) struct CleanupArgs {
    /// Only show what would go
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    /// All of it.
    bytes: u64,
    items: Vec<CleanedView>,
}

pub(super) async fn run(args: CleanupArgs, place: &Place) -> anyhow::Result<()> {
    let (home, _) = place.open().await?;
    let items = home.cleanup(args.dry_run).await?;
    let failed: Vec<String> = items.iter().filter_map(|item| item.failed.clone()).collect();
    show(args, items)?;
    match failed.is_empty() {
        true => Ok(()),
        false => Err(crate::admin::types::AdminError::new(
            ErrorKind::Failed,
            format!("not all could be removed: {}", failed.join("; ")),
        )
        .with_help("`nanoclaw doctor` looks at modes, owners and the disk")
        .into()),
    }
}

fn show(args: CleanupArgs, items: Vec<CleanedView>) -> anyhow::Result<()> {
    let bytes = items.iter().map(|item| item.bytes).sum();
    if args.json {
        return output::json(&Report { dry_run: args.dry_run, bytes, items });
    }
    if items.is_empty() {
        return Ok(output::line("There is nothing that nobody needs any more.")?);
    }
    let mut columns = Columns::new(["WHAT", "GROUP", "COUNT", "SIZE", "WHY"]);
    for item in &items {
        let group = item.group.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let why = match &item.failed {
            None => item.why.clone(),
            Some(error) => format!("{}; not all: {error}", item.why),
        };
        columns.row([item.kind.clone(), group, item.count.to_string(), output::size(item.bytes), why]);
    }
    columns.print()?;
    let size = output::size(bytes);
    Ok(output::line(match args.dry_run {
        true => format!("\n{size} would go. `nanoclaw cleanup` removes it; a service that runs does so each night."),
        false => format!("\n{GREEN}{size} removed.{GREEN:#}"),
    })?)
}
