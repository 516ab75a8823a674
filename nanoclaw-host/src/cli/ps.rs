//! `nanoclaw ps`: how the service and its groups stand.

use jiff::tz::TimeZone;
use nanoclaw_core::time::Timestamp;

use super::{
    Place,
    channels::troubles,
    groups::ending,
    output::{self, BOLD, Columns, DIM, OutputError, YELLOW},
};
use crate::admin::types::{GroupStatus, OutboxStatus, RuntimeAway, ServiceStatus, Status, TasksStatus};

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
    let Status { service, groups, outbox, set_aside, tasks, last_failures: _ } = status;
    let zone = &config.time.zone.value;
    match &service {
        None => output::line(format!("{DIM}no service runs; `nanoclaw run` starts it{DIM:#}"))?,
        Some(service) => tell_service(service, zone)?,
    }
    if groups.is_empty() {
        output::line("There are no groups yet. `nanoclaw groups add CHAT --name NAME` adds one.")?;
    } else {
        table(&groups, zone)?;
    }
    let mut remarks = Vec::new();
    remarks.extend(of_tasks(tasks, |at| output::short_time(at, Timestamp::now(), zone)));
    let unreachable: Vec<_> =
        groups.iter().filter(|group| group.connected == Some(false)).map(|group| group.folder.as_str()).collect();
    if let [first, more @ ..] = &unreachable[..] {
        let others = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        remarks
            .push(format!("No channel is connected for {first}{others}: nothing comes from there, and replies wait."));
    }
    let unwell = groups.iter().any(|group| group.trouble.is_some() || group.failures > 0);
    if let Some(remark) = of_turns(set_aside, unwell) {
        remarks.push(remark);
    }
    if let Some(remark) = of_outbox(outbox) {
        remarks.push(remark);
    }
    for remark in remarks {
        output::line(output::hanging(&remark, 0))?;
    }
    Ok(())
}

fn tell_service(service: &ServiceStatus, zone: &TimeZone) -> Result<(), OutputError> {
    output::line(format!(
        "{BOLD}nanoclaw {}{BOLD:#}, process {}, since {}, {} of {} containers",
        output::clean(&service.version),
        service.pid,
        output::time(service.started_at_ms, zone),
        service.containers,
        service.max_containers
    ))?;
    let runtime = output::clean(&service.runtime);
    match &service.runtime_away {
        None => output::line(format!("{DIM}{}{DIM:#}", output::hanging(&format!("runtime: {runtime}"), 0)))?,
        Some(away) => tell_away(&runtime, away, zone)?,
    }
    let connected = service.channels.iter().filter(|channel| channel.connected);
    let channels: Vec<_> = connected.map(|channel| output::clean(&channel.name)).collect();
    output::line(format!("{DIM}{}{DIM:#}", output::hanging(&format!("channels: {}", channels.join(", ")), 0)))?;
    for channel in &service.channels {
        for line in troubles(channel, |at| output::time(at, zone)) {
            output::line(format!("{YELLOW}{}{YELLOW:#}", output::hanging(&line, 0)))?;
        }
    }
    Ok(())
}

/// Says that nothing runs just now, since when, why, what happens next and what to do.
fn tell_away(runtime: &str, away: &RuntimeAway, zone: &TimeZone) -> Result<(), OutputError> {
    let since = away.since_ms.map(|since| format!(" since {}", output::time(since, zone))).unwrap_or_default();
    let told = format!("runtime: {runtime} does not answer{since}: {}", output::clean(&away.reason));
    output::line(format!("{YELLOW}{}{YELLOW:#}", output::hanging(&told, 0)))?;
    output::line(output::hanging(&format!("What to do: {}", output::clean(&away.help)), 0))?;
    output::line(output::hanging("Messages are kept, and answered when it answers again.", 0))
}

fn table(groups: &[GroupStatus], zone: &TimeZone) -> Result<(), OutputError> {
    let now = Timestamp::now();
    let mut columns = Columns::new(["GROUP", "STATE", "UNANSWERED", "MEMORY", "LAST RUN"]);
    for group in groups {
        let last_run = group.last_run.as_ref().map_or_else(
            || "-".to_owned(),
            |run| format!("#{} {}, {}", run.number, output::short_time(run.started_at_ms, now, zone), ending(run)),
        );
        let state = match (group.state, group.trouble) {
            (Some(state), Some(trouble)) => format!("{} ({trouble})", state.word()),
            (Some(state), None) => state.word().to_owned(),
            (None, _) => "-".to_owned(),
        };
        let state = match group.next_try_at_ms {
            Some(at) => format!("{state}, next try {}", output::short_time(at, now, zone)),
            None => state,
        };
        // What nobody has to answer is not called so: chatter that becomes context is no reason for alarm.
        let unanswered = if group.waits { group.unanswered } else { 0 };
        columns.row([
            group.folder.to_string(),
            state,
            unanswered.to_string(),
            group.memory_bytes.map_or_else(|| "-".to_owned(), output::size),
            last_run,
        ]);
    }
    columns.print()
}

pub(super) fn of_tasks(tasks: TasksStatus, shown: impl Fn(Timestamp) -> String) -> Option<String> {
    let TasksStatus { active, failing, paused, next_due_ms } = tasks;
    let mut told = match (active, next_due_ms) {
        (0, _) => String::new(),
        (1, Some(next)) => format!("1 task, due {}", shown(next)),
        (1, None) => "1 task".to_owned(),
        (many, Some(next)) => format!("{many} tasks, the next due {}", shown(next)),
        (many, None) => format!("{many} tasks"),
    };
    for (count, what) in [(failing, "failing"), (paused, "at rest")] {
        if count > 0 {
            let before = if told.is_empty() { "Tasks: " } else { ", " };
            told.push_str(&format!("{before}{count} {what}"));
        }
    }
    (!told.is_empty()).then(|| format!("{told}: `nanoclaw tasks list` shows them"))
}

pub(super) fn of_turns(set_aside: u32, unwell: bool) -> Option<String> {
    let shows = "`nanoclaw turns list` shows what waits, and why";
    match (set_aside, unwell) {
        (0, false) => None,
        (0, true) => Some(shows.to_owned()),
        (1, _) => Some(format!("1 turn was set aside after its last try: {shows}")),
        (many, _) => Some(format!("{many} turns were set aside after their last try: {shows}")),
    }
}

pub(super) fn of_outbox(OutboxStatus { waiting, failed, unknown }: OutboxStatus) -> Option<String> {
    let kinds = [
        (unknown, "perhaps shown and perhaps not (you decide)"),
        (failed, "given up"),
        (waiting, "waiting to be sent"),
    ];
    let told: Vec<_> =
        kinds.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    (!told.is_empty()).then(|| format!("Outgoing messages: {}: `nanoclaw outbox list` shows them", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scheduled_is_told_in_one_line() {
        let told = |active, failing, paused, due: Option<i64>| {
            let next_due_ms = due.map(Timestamp::from_ms);
            of_tasks(TasksStatus { active, failing, paused, next_due_ms }, |at| format!("at {}", at.as_ms()))
        };
        let shows = "`nanoclaw tasks list` shows them";
        assert_eq!(told(0, 0, 0, None), None);
        assert_eq!(told(1, 0, 0, Some(9)).unwrap(), format!("1 task, due at 9: {shows}"));
        assert_eq!(
            told(3, 1, 2, Some(9)).unwrap(),
            format!("3 tasks, the next due at 9, 1 failing, 2 at rest: {shows}")
        );
        assert_eq!(told(0, 0, 2, None).unwrap(), format!("Tasks: 2 at rest: {shows}"));
    }

    #[test]
    fn what_somebody_has_to_look_at_is_told_and_nothing_else() {
        assert_eq!((of_turns(0, false), of_outbox(OutboxStatus::default())), (None, None));
        assert!(of_turns(0, true).unwrap().starts_with("`nanoclaw turns list`"));
        assert!(of_turns(2, false).unwrap().starts_with("2 turns were set aside"));
        let told = of_outbox(OutboxStatus { waiting: 0, failed: 2, unknown: 1 }).unwrap();
        assert_eq!(
            told,
            "Outgoing messages: 1 perhaps shown and perhaps not (you decide), 2 given up: `nanoclaw outbox list` shows them"
        );
    }
}
