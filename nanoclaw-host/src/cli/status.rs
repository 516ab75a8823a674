//! `nanoclaw status`: one screen that says how the service is and why, and what it is at.

use std::{collections::BTreeMap, io::IsTerminal as _, io::Read as _, process::ExitCode, time::Duration};

use jiff::tz::TimeZone;
use nanoclaw_core::{tasks::TaskStatus, time::Timestamp};
use tokio::sync::mpsc;

use super::{
    Place,
    auth::terminal::{Modes, asked_to_end},
    channels::troubles,
    failure::with_help,
    groups::ending,
    output::{self, BOLD, DIM, GREEN, RED, Screen, YELLOW},
    ps::{of_outbox, of_tasks, of_turns},
};
use crate::{
    admin::{
        TaskView,
        types::{GroupState, GroupStatus, ServiceStatus, Status},
    },
    config::{Config, show_duration},
    health::{Health, Report},
};

/// What `status` can be told.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Exit codes: 0 the service runs and is ok or degraded, 1 it is failing, or none runs.")]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Show it as it changes, on a terminal, until q or Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// How long a screen stands before it is looked again.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// Where what is said of a part begins.
const MARGIN: usize = 13;
/// How many tasks, waiting groups and failures are shown of each.
const SHOWN: usize = 5;

pub(super) async fn run(args: StatusArgs, place: &Place) -> anyhow::Result<ExitCode> {
    if args.watch {
        return watch(place).await;
    }
    let (home, config) = place.open().await?;
    let status = home.status().await?;
    let code = code_of(&status);
    if args.json {
        output::json(&status)?;
        return Ok(code);
    }
    let tasks = home.tasks(None).await?;
    for line in screen(&status, &tasks, &config, Timestamp::now()) {
        output::line(line)?;
    }
    Ok(code)
}

fn code_of(status: &Status) -> ExitCode {
    let health = status.service.as_ref().and_then(|service| service.health.as_ref());
    match health {
        Some(report) if report.status != Health::Failing => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Shows the screen again and again, until somebody types q or the program is asked to end. The terminal is as it was then.
async fn watch(place: &Place) -> anyhow::Result<ExitCode> {
    let no_terminal = || with_help("--watch needs a terminal", "without it the screen is printed once");
    if !std::io::stdin().is_terminal() {
        return Err(no_terminal());
    }
    // Before the terminal changes, so that no signal comes between.
    let mut ends = std::pin::pin!(asked_to_end()?);
    // Looked at before anything is taken from the terminal: what is wrong with the home is told as by any command.
    let mut shown = look(place).await?;
    let modes = Modes::keys()?;
    let Some(view) = Screen::open() else { return Err(no_terminal()) };
    let mut keys = keys();
    loop {
        let (lines, code) = &shown;
        view.show(lines)?;
        let ended = tokio::select! {
            () = &mut ends => true,
            key = keys.recv() => matches!(key, None | Some(b'q' | b'Q' | 3 | 4)),
            () = tokio::time::sleep(BETWEEN_LOOKS) => false,
        };
        if ended {
            drop((view, modes));
            return Ok(*code);
        }
        shown = match look(place).await {
            Ok(shown) => shown,
            // It may be starting or ending: the next look tells.
            Err(error) => (vec![format!("{RED}{}{RED:#}", output::clean(&format!("{error:#}")))], ExitCode::FAILURE),
        };
    }
}

async fn look(place: &Place) -> anyhow::Result<(Vec<String>, ExitCode)> {
    let (home, config) = place.open().await?;
    let (status, tasks) = (home.status().await?, home.tasks(None).await?);
    let mut lines = screen(&status, &tasks, &config, Timestamp::now());
    lines.push(format!("{DIM}q ends{DIM:#}"));
    Ok((lines, code_of(&status)))
}

/// Keys as they are typed. The thread that waits for them is left behind when the program ends.
fn keys() -> mpsc::Receiver<u8> {
    let (typed, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut key = [0; 1];
        while matches!(std::io::stdin().read(&mut key), Ok(1)) && typed.blocking_send(key[0]).is_ok() {}
    });
    keys
}

/// The screen, line by line.
fn screen(status: &Status, tasks: &[TaskView], config: &Config, now: Timestamp) -> Vec<String> {
    let zone = &config.time.zone.value;
    let mut lines = Vec::new();
    match &status.service {
        None => {
            lines.push(format!("{YELLOW}no service runs{YELLOW:#}: `nanoclaw run` starts it; this is what is stored"))
        }
        Some(service) => about_service(&mut lines, service, now, zone),
    }
    about_groups(&mut lines, &status.groups, status.service.is_some(), now);
    about_tasks(&mut lines, status, tasks, now, zone);
    let unwell = status.groups.iter().any(|group| group.trouble.is_some() || group.failures > 0);
    for remark in [of_outbox(status.outbox), of_turns(status.set_aside, unwell)].into_iter().flatten() {
        lines.push(part("to look at", &remark));
    }
    for failed in &status.last_failures {
        let at = output::short_time(failed.run.ended_at_ms.unwrap_or(failed.run.started_at_ms), now, zone);
        let told = format!("{at} {} #{}: {}", failed.group, failed.run.number, ending(&failed.run));
        lines.push(part(if failed == &status.last_failures[0] { "failed" } else { "" }, &told));
    }
    lines
}

fn part(name: &str, text: &str) -> String {
    format!("{BOLD}{name:<width$}{BOLD:#}{}", output::hanging(&output::clean(text), MARGIN), width = MARGIN)
}

fn about_service(lines: &mut Vec<String>, service: &ServiceStatus, now: Timestamp, zone: &TimeZone) {
    let runs = format!(
        "nanoclaw {}, process {}, for {}",
        output::clean(&service.version),
        service.pid,
        since(now, service.started_at_ms)
    );
    match &service.health {
        Some(report) => about_health(lines, report, &runs),
        None => lines.push(format!("{BOLD}{runs}{BOLD:#}")),
    }
    // What keeps it from answering stands above.
    lines.push(part("runtime", &service.runtime));
    let connected: Vec<_> = service.channels.iter().filter(|one| one.connected).map(|one| one.name.as_str()).collect();
    lines.push(part("channels", &connected.join(", ")));
    for channel in &service.channels {
        for trouble in troubles(channel, |at| output::short_time(at, now, zone)) {
            lines.push(format!("{:MARGIN$}{YELLOW}{}{YELLOW:#}", "", output::hanging(&trouble, MARGIN)));
        }
    }
    lines.push(part("containers", &format!("{} of {}", service.containers, service.max_containers)));
}

fn about_health(lines: &mut Vec<String>, report: &Report, runs: &str) {
    let style = |status| match status {
        Health::Ok => GREEN,
        Health::Degraded => YELLOW,
        Health::Failing => RED,
    };
    let (shown, word) = (style(report.status), report.status.word());
    lines.push(format!("{shown}{word}{shown:#}: {runs}"));
    for check in report.unwell() {
        let (shown, of) = (style(check.status), check.of.as_deref().map(|of| format!(" {of}")).unwrap_or_default());
        let reason = check.reason.as_deref().unwrap_or(check.status.word());
        let told = output::hanging(&output::clean(&format!("{}{of}: {reason}", check.name)), 2);
        lines.push(format!("  {shown}{told}{shown:#}"));
        if let Some(help) = &check.help {
            lines.push(format!("  {DIM}{}{DIM:#}", output::hanging(&output::clean(help), 2)));
        }
    }
}

fn about_groups(lines: &mut Vec<String>, groups: &[GroupStatus], runs: bool, now: Timestamp) {
    if groups.is_empty() {
        lines.push(part("groups", "none yet: `nanoclaw groups add CHAT --name NAME` adds one"));
        return;
    }
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for group in groups {
        *states.entry(group.state.map_or("registered", GroupState::word)).or_default() += 1;
    }
    let states: Vec<_> = states.into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    let memory: u64 = groups.iter().filter_map(|group| group.memory_bytes).sum();
    let memory = if memory > 0 { format!("; {} of memory", output::size(memory)) } else { String::new() };
    lines.push(part("groups", &format!("{}{memory}", states.join(", "))));
    let mut queue: Vec<_> = groups.iter().filter(|group| is_queued(group, runs)).collect();
    queue.sort_by_key(|group| group.since_ms);
    for (place, group) in queue.iter().take(SHOWN).enumerate() {
        let state = group.state.map_or("waits", GroupState::word);
        let trouble = group.trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        let long = group.since_ms.map(|at| format!(" for {}", since(now, at))).unwrap_or_default();
        let told = format!("{}: {state}{trouble}{long}, {} unanswered", group.folder, group.unanswered);
        lines.push(part(if place == 0 { "queue" } else { "" }, &told));
    }
    if queue.len() > SHOWN {
        lines.push(part("", &format!("and {} more: `nanoclaw ps` shows them all", queue.len() - SHOWN)));
    }
}

/// Whether something waits there that no agent has in its hands.
fn is_queued(group: &GroupStatus, runs: bool) -> bool {
    use GroupState::{BackingOff, Frozen, Held, Paused, Waiting};
    match group.state {
        Some(state) => matches!(state, Waiting | BackingOff | Paused | Frozen | Held),
        None => !runs && group.waits,
    }
}

fn about_tasks(lines: &mut Vec<String>, status: &Status, tasks: &[TaskView], now: Timestamp, zone: &TimeZone) {
    let Some(told) = of_tasks(status.tasks, |at| output::short_time(at, now, zone)) else { return };
    lines.push(part("tasks", &told));
    let mut due: Vec<_> = tasks
        .iter()
        .filter(|task| task.status == TaskStatus::Active)
        .filter_map(|task| Some((task.next_due_ms?, task)))
        .collect();
    due.sort_by_key(|(at, task)| (*at, task.id.clone()));
    for (at, task) in due.into_iter().take(SHOWN) {
        let told = format!(
            "{} {} ({}): {}",
            output::short_time(at, now, zone),
            task.id,
            task.group,
            output::shortened(&task.prompt, 60)
        );
        lines.push(part("", &told));
    }
}

/// How long `at` is ago, in at most two units.
fn since(now: Timestamp, at: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    let rounded = match seconds {
        0..3600 => seconds,
        3600..86_400 => seconds - seconds % 60,
        86_400.. => seconds - seconds % 3600,
    };
    show_duration(Duration::from_secs(rounded))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nanoclaw_core::group::GroupFolder;

    use super::*;
    use crate::{
        admin::types::{ChannelStatus, OutboxStatus, TasksStatus},
        config::environment_of,
        health::Check,
    };

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    fn group(folder: &str, state: Option<GroupState>, waits: bool) -> GroupStatus {
        GroupStatus {
            folder: GroupFolder::new(folder).unwrap(),
            name: folder.to_owned(),
            state,
            since_ms: state.map(|_| NOW.minus(Duration::from_secs(75))),
            trouble: None,
            next_try_at_ms: None,
            failures: 0,
            unanswered: u64::from(waits),
            waits,
            connected: None,
            last_run: None,
            memory_bytes: None,
        }
    }

    fn status(service: Option<ServiceStatus>, groups: Vec<GroupStatus>) -> Status {
        Status {
            service,
            groups,
            outbox: OutboxStatus::default(),
            set_aside: 0,
            tasks: TasksStatus::default(),
            last_failures: Vec::new(),
        }
    }

    fn shown(status: &Status) -> String {
        let config = Config::parse(Path::new("/x"), "[time]\nzone = \"UTC\"", Path::new("/"), &environment_of([]));
        let lines = screen(status, &[], &config.unwrap(), NOW).join("\n");
        anstream::adapter::strip_str(&lines).to_string()
    }

    #[test]
    fn what_fails_stands_at_the_top_with_its_remedy_and_ends_with_1() {
        let check = Check {
            name: "channel".to_owned(),
            of: Some("slack".to_owned()),
            status: Health::Failing,
            reason: Some("it is refused: invalid_auth".to_owned()),
            help: Some("store a new token".to_owned()),
        };
        let service = ServiceStatus {
            pid: 7,
            version: "1.2.3".to_owned(),
            started_at_ms: NOW.minus(Duration::from_secs(90_000)),
            runtime: "sandbox".to_owned(),
            runtime_away: None,
            containers: 1,
            max_containers: 5,
            channels: vec![ChannelStatus::connected("local")],
            health: Some(Report::of(vec![check], NOW)),
        };
        let groups =
            vec![group("family", Some(GroupState::Waiting), true), group("club", Some(GroupState::Busy), true)];
        let mut status = status(Some(service), groups);
        insta::assert_snapshot!(shown(&status), @"
        failing: nanoclaw 1.2.3, process 7, for 1d 1h
          channel slack: it is refused: invalid_auth
          store a new token
        runtime      sandbox
        channels     local
        containers   1 of 5
        groups       1 busy, 1 waiting
        queue        family: waiting for 1m 15s, 1 unanswered
        ");
        assert_eq!(code_of(&status), ExitCode::FAILURE);
        let service = status.service.as_mut().unwrap();
        service.health = Some(Report::of(Vec::new(), NOW));
        assert_eq!(code_of(&status), ExitCode::SUCCESS);
    }

    #[test]
    fn without_a_service_that_is_said_and_what_is_stored_is_shown() {
        let status = status(None, vec![group("family", None, true)]);
        insta::assert_snapshot!(shown(&status), @"
        no service runs: `nanoclaw run` starts it; this is what is stored
        groups       1 registered
        queue        family: waits, 1 unanswered
        ");
        assert_eq!(code_of(&status), ExitCode::FAILURE);
    }
}
