//! `nanoclaw stats`: what groups' runs came to, from what is stored of them.

use super::{
    Place,
    output::{self, Columns, DIM},
};
use crate::admin::{
    stats::MOST_DAYS,
    types::{GroupStats, Stats, StatsFigures},
};

/// What `stats` can be told.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Days are those of the configured zone. A run counts on the day on which it began; its container's time includes that in which
it waited for something to do. TASK COST is what agents told of their tasks' cost; of other turns none is stored. What groups
use of the gateway (requests, bytes, tokens) is counted since the service started: `nanoclaw gateway` shows it.")]
pub(super) struct StatsArgs {
    /// Of this group only, day by day: its folder, or its chat id
    group: Option<String>,
    /// How many days, today included
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_DAYS)))]
    days: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: StatsArgs, place: &Place) -> anyhow::Result<()> {
    let (home, _) = place.open().await?;
    let stats = home.stats(args.group.as_deref(), args.days).await?;
    if args.json {
        return output::json(&stats);
    }
    let Stats { zone: _, groups } = stats;
    let span = if args.days == 1 { "today".to_owned() } else { format!("in the last {} days", args.days) };
    if groups.is_empty() {
        return Ok(output::line(format!("Nothing was done {span}."))?);
    }
    match args.group {
        Some(_) => by_day(&groups)?,
        None => by_group(&groups)?,
    }
    Ok(output::line(format!("{DIM}{span}; `nanoclaw stats GROUP` shows them day by day{DIM:#}"))?)
}

fn by_group(groups: &[GroupStats]) -> Result<(), output::OutputError> {
    let mut columns =
        Columns::new(["GROUP", "MESSAGES", "ANSWERED", "RUNS", "FAILED", "CONTAINER TIME", "TASKS DONE", "TASK COST"]);
    for group in groups {
        columns.row(row(group.group.to_string(), group.total));
    }
    columns.print()
}

fn by_day(groups: &[GroupStats]) -> Result<(), output::OutputError> {
    let mut columns =
        Columns::new(["DAY", "MESSAGES", "ANSWERED", "RUNS", "FAILED", "CONTAINER TIME", "TASKS DONE", "TASK COST"]);
    for day in groups.iter().flat_map(|group| &group.days) {
        columns.row(row(day.day.clone(), day.figures));
    }
    columns.row(row("all".to_owned(), groups.iter().fold(StatsFigures::default(), |sum, one| sum.and(one.total))));
    columns.print()
}

fn row(of: String, figures: StatsFigures) -> [String; 8] {
    let StatsFigures { messages, answered, runs, failed, container_ms, firings, task_cost_micros } = figures;
    [
        of,
        messages.to_string(),
        answered.to_string(),
        runs.to_string(),
        failed.to_string(),
        time(container_ms),
        firings.to_string(),
        // What nobody told is not nothing.
        task_cost_micros.map_or_else(|| "-".to_owned(), |micros| format!("${:.4}", micros as f64 / 1e6)),
    ]
}

/// `12s`, `5m 02s`, `3h 07m`.
fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{}.{}s", seconds, ms % 1000 / 100),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600.. => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_no_zero() {
        let known = StatsFigures { task_cost_micros: Some(12_500), container_ms: 65_000, ..StatsFigures::default() };
        assert_eq!(row("a".to_owned(), StatsFigures::default())[7], "-");
        assert_eq!(row("a".to_owned(), known)[5..], ["1m 05s", "0", "$0.0125"]);
        assert_eq!(known.and(StatsFigures::default()).task_cost_micros, Some(12_500));
        assert_eq!([900, 59_999, 7_260_000].map(time), ["0.9s", "59.9s", "2h 01m"]);
    }
}
