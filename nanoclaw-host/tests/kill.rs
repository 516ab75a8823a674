//! The kill harness in short: the real program with the sandbox dies at the most telling failpoints and at random times while
//! messages flow. All of it, on both runtimes, is `docs/scorecard.md`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "e2e/programs.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used")]
mod programs;
mod support;

use std::{path::PathBuf, time::Duration};

use nanoclaw_core::runtime::ContainerRuntime as _;
use nanoclaw_fakes::kill::{self, Fault, On, Plan, Row};
use nanoclaw_host::runtimes::sandbox::{SandboxRuntime, SandboxSettings};

/// Between what must not come apart: stored and acknowledged, noted and handed over, answered and committed, asked for and
/// stored, committed and sent, sent and recorded; and while a dead host's work is finished.
const TELLING: [&str; 13] = [
    "store.accept.before",
    "store.accept.after",
    "store.open_run.after",
    "runtime.start.after",
    "store.commit_block.before",
    "store.commit_block.after",
    "store.post.before",
    "store.post.after",
    "channel.send.before",
    "channel.send.after",
    "store.delivery_sent.after",
    "store.close_run.before",
    "store.recover.after",
];

/// The same for tasks: kept and told, moved, claimed and begun, begun and answered, answered and ended.
const TELLING_OF_TASKS: [&str; 10] = [
    "tasks.add.after",
    "tasks.change.after",
    "tasks.claim.before",
    "tasks.claim.after",
    "tasks.fire_now.after",
    "tasks.begin.after",
    "store.commit_block.after",
    "tasks.end.before",
    "tasks.end.after",
    "tasks.running.after",
];

/// A plan for a minute at most; `None` where there is no sandbox.
fn short(folder: &tempfile::TempDir) -> Option<Plan> {
    let settings =
        SandboxSettings { helper: programs::NANOCLAW.into(), ..SandboxSettings::new(folder.path().join("probe")) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let probed = runtime.block_on(async { SandboxRuntime::new(settings).probe().await });
    support::wanted("sandbox").or_skip("sandbox", probed)?;
    programs::runner();
    Some(Plan {
        groups: 6,
        messages: 15,
        due_times: 40,
        // These take minutes.
        intervals: 0,
        away: Duration::ZERO,
        cap: 3,
        kills: 8,
        points: TELLING.map(str::to_owned).to_vec(),
        passings: 1,
        messages_per_life: 6,
        ..Plan::full(On::Sandbox, PathBuf::from(programs::NANOCLAW), folder.path().to_owned())
    })
}

fn row(plan: &Plan, fault: Fault) -> Row {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let row = runtime.block_on(kill::row(plan, On::Sandbox, fault, &mut None, &|line| println!("{line}"))).unwrap();
    if !row.is_clean() {
        for log in std::fs::read_dir(&plan.folder).unwrap().flatten().map(|round| round.path().join("hosts.log")) {
            println!("{}:\n{}", log.display(), std::fs::read_to_string(&log).unwrap_or_default());
        }
    }
    assert!(row.is_clean(), "{row:#?}");
    assert!(row.tally.asked_shown > 0, "agents asked for messages, and got them: {row:#?}");
    row
}

#[test]
fn nothing_is_lost_or_said_twice_when_the_host_dies_at_a_telling_point() {
    let folder = support::scratch();
    let Some(plan) = short(&folder) else { return };
    let row = row(&plan, Fault::Failpoints);
    assert_eq!(row.not_passed, Vec::<String>::new());
    assert_eq!(row.kills, TELLING.len() as u64);
}

#[test]
fn nothing_is_lost_or_said_twice_when_the_host_dies_at_any_time() {
    let folder = support::scratch();
    let Some(plan) = short(&folder) else { return };
    assert!(row(&plan, Fault::Kill).kills >= plan.kills);
}

#[test]
fn each_due_time_fires_once_when_the_host_dies_at_a_telling_point_of_a_task() {
    let folder = support::scratch();
    let Some(plan) = short(&folder) else { return };
    let points = TELLING_OF_TASKS.map(str::to_owned).to_vec();
    let row = row(&Plan { points, ..plan }, Fault::TaskFailpoints);
    assert_eq!(row.not_passed, Vec::<String>::new());
    assert_eq!(row.kills, TELLING_OF_TASKS.len() as u64);
    assert!(row.tasks.is_some_and(|tasks| tasks.done >= row.kills), "a task was done in most lives");
}

#[test]
fn each_due_time_fires_once_when_the_host_dies_at_any_time() {
    let folder = support::scratch();
    let Some(plan) = short(&folder) else { return };
    let row = row(&plan, Fault::TaskKill);
    assert!(row.kills >= plan.kills);
    // Some of the times that were asked for take the place of others.
    assert!(row.tasks.is_some_and(|tasks| tasks.done >= plan.due_times as u64 / 2), "most were done");
}
