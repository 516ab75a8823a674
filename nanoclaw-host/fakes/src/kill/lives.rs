//! Faults that end the host: at each failpoint, at random times, by being asked to.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tokio::sync::watch;

use super::{
    Fault, LEAST_ROUNDS, Plan, Row,
    commands::people,
    house::{Host, PATIENCE, was_killed},
    round::Round,
    tasks::Scheduled,
};
use crate::chat_service::{Odd, Repeats, TaskName};

/// Points that are passed when a message fails.
const BY_ODD_MESSAGES: [(&str, Odd); 5] = [
    ("store.give_up", Odd::Refused),
    ("store.set_aside", Odd::Refused),
    ("store.resolve_set_aside", Odd::Refused),
    ("store.messages_between", Odd::Refused),
    ("store.forget_session", Odd::Awaits),
];
/// Calls for services that show repeats.
const FOR_FINDING: [&str; 2] = ["store.delivery_begun", "channel.find"];
/// Calls that a host makes only for what the one before it left when it died at a certain point: what may have been sent, or
/// containers at work.
const AFTER_ANOTHER: [(&str, &str); 5] = [
    ("channel.find", "channel.send.after"),
    ("runtime.adopt", "store.commit_block.before"),
    ("launcher.rejoin", "store.commit_block.before"),
    ("store.cursor", "store.commit_block.before"),
    ("store.turns", "store.commit_block.before"),
];

/// How the names of the points begin that are passed for tasks alone.
const TASK_POINTS: &str = "tasks.";
/// The calls that are made for a task's run as for any other.
const FOR_ANY_RUN: [&str; 6] =
    ["store.open_run", "store.open_runs", "launcher.prepare", "runtime.start", "store.commit_block", "store.close_run"];

/// A host that has answered everything passes few points any more; after this long it is no longer waited for.
const AT_REST: Duration = Duration::from_millis(300);
/// The longest life of a host that is to kill itself.
const LONGEST_LIFE: Duration = Duration::from_secs(30);

/// The failpoints that are still to be killed at.
#[derive(Debug, Default)]
pub(super) struct Points {
    left: VecDeque<(String, u32)>,
}

impl Points {
    /// All that the program under test has and that are passed under this fault, or those of the plan; each at its first
    /// passing, then each at its second, …
    pub(super) async fn of(plan: &Plan, fault: Fault) -> anyhow::Result<Self> {
        let output = tokio::process::Command::new(&plan.program).arg("failpoints").output().await?;
        let known = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success() && known.contains("store."),
            "{} has no failpoints; build it with --features failpoints",
            plan.program.display()
        );
        let points: Vec<&str> = match plan.points.is_empty() {
            true => known.lines().filter(|point| is_passed_under(fault, point)).collect(),
            false => plan.points.iter().map(String::as_str).collect(),
        };
        let passings = (1..=plan.passings).map(|passing| 2 * passing - 1);
        let left =
            passings.flat_map(|passing| points.iter().map(move |point| ((*point).to_owned(), passing))).collect();
        Ok(Self { left })
    }

    /// The next one that can be passed with such a service; taken.
    fn next(&mut self, repeats: Repeats) -> Option<(String, u32)> {
        let can = |(point, _): &(String, u32)| {
            repeats == Repeats::Finds || !FOR_FINDING.iter().any(|call| is_call(point, call))
        };
        self.left.remove(self.left.iter().position(can)?)
    }

    pub(super) fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// A point that is not passed once is not passed thrice.
    fn forget(&mut self, point: &str) {
        self.left.retain(|(left, _)| left != point);
    }
}

/// Whether a row of this fault dies at the point.
fn is_passed_under(fault: Fault, point: &str) -> bool {
    let for_tasks = point.starts_with(TASK_POINTS);
    if fault.has_tasks() { for_tasks || FOR_ANY_RUN.iter().any(|call| is_call(point, call)) } else { !for_tasks }
}

/// Lives in which the host kills itself at a failpoint, until all is said in this round.
pub(super) async fn failpoints(round: &mut Round, points: &mut Points, row: &mut Row) -> anyhow::Result<()> {
    let mut after_another = None;
    while !round.service.all_said() {
        let (point, passing) = match after_another.take() {
            Some(next) => next,
            None => {
                let Some(next) = points.next(round.repeats) else { return Ok(()) };
                match AFTER_ANOTHER.iter().find(|(call, _)| is_call(&next.0, call)) {
                    Some((_, first)) => {
                        after_another = Some(next);
                        ((*first).to_owned(), 1)
                    }
                    None => next,
                }
            }
        };
        round.service.say(round.plan.messages_per_life);
        if let Some((_, odd)) = BY_ODD_MESSAGES.iter().find(|(call, _)| is_call(&point, call)) {
            round.service.say_odd(*odd);
        }
        let due = match &mut round.tasks {
            Some(tasks) => tasks.ask_unattended().await?,
            None => Vec::new(),
        };
        let kill_at = format!("{point}:{passing}");
        let mut host = round.house.start(Some(&kill_at))?;
        // A command that finds no host works on the home by itself, and no host can start meanwhile.
        let (is_ready, ready) = watch::channel(false);
        let (died, ()) = tokio::join!(life(round, &mut host, &due, is_ready, row), people(&round.house, ready, &point));
        round.died = None;
        let died = died?;
        round.mend_odd()?;
        if died {
            round.died = Some(Instant::now());
            row.kills += 1;
            continue;
        }
        // Some points are passed by a host that ends.
        host.signal(Signal::TERM);
        let status = host.ended(PATIENCE).await?.context("a host did not end when asked to")?;
        if was_killed(status) {
            round.died = Some(Instant::now());
            row.kills += 1;
        } else {
            // One that was to come before another is its own matter.
            if after_another.is_none() {
                points.forget(&point);
                row.not_passed.push(kill_at);
            }
        }
    }
    // The round is over before its turn came.
    points.left.extend(after_another);
    Ok(())
}

/// One life: whether the host killed itself before everything that was said was answered, and these tasks were done.
async fn life(
    round: &Round,
    host: &mut Host,
    due: &[TaskName],
    is_ready: watch::Sender<bool>,
    row: &mut Row,
) -> anyhow::Result<bool> {
    let deadline = Instant::now() + LONGEST_LIFE;
    if let Some(ready) = host.ready().await? {
        is_ready.send_replace(true);
        row.ready_ms.extend(round.died.map(|died| ready.saturating_duration_since(died).as_secs_f64() * 1000.0));
    }
    let mut rests_since: Option<Instant> = None;
    loop {
        if let Some(status) = host.ended(Duration::from_millis(10)).await? {
            ensure!(was_killed(status), "a host ended by itself with {status}; see {}", round.log());
            return Ok(true);
        }
        let answers = round.service.task_answers();
        let done = due.iter().all(|task| answers.contains_key(task));
        let since = match done && round.service.tally().is_settled() {
            true => *rests_since.get_or_insert_with(Instant::now),
            false => {
                rests_since = None;
                Instant::now()
            }
        };
        if since.elapsed() > AT_REST || Instant::now() > deadline {
            return Ok(false);
        }
    }
}

/// Whether `point` lies before or after `call`.
pub(super) fn is_call(point: &str, call: &str) -> bool {
    point.strip_prefix(call).is_some_and(|rest| rest.starts_with('.'))
}

/// Lives that `kill -9` ends at any time, the start included.
pub(super) async fn random_kills(round: &mut Round, row: &mut Row) -> anyhow::Result<()> {
    while !round.service.all_said() {
        round.service.say(round.plan.said_at_a_time());
        random_life(round, &watch::Sender::new(false), row).await?;
    }
    Ok(())
}

/// The same while tasks are due, until all of those are asked for as well.
pub(super) async fn random_kills_with_tasks(round: &mut Round, row: &mut Row) -> anyhow::Result<()> {
    let mut tasks = round.tasks.take().context("a round of this fault has tasks")?;
    let done = kills_around(round, &mut tasks, row).await;
    round.tasks = Some(tasks);
    done
}

async fn kills_around(round: &mut Round, tasks: &mut Scheduled, row: &mut Row) -> anyhow::Result<()> {
    let all = tasks.left();
    let kills = usize::try_from(round.plan.kills.div_ceil(LEAST_ROUNDS.into())).unwrap_or(usize::MAX);
    let at_a_time = all.div_ceil(kills.max(1)).max(1);
    let mut away = Some(round.plan.away).filter(|away| !away.is_zero());
    while !round.service.all_said() || tasks.left() > 0 {
        round.service.say(round.plan.said_at_a_time());
        let (is_ready, ready) = watch::channel(false);
        let life = async {
            let lived = random_life(round, &is_ready, row).await;
            drop(is_ready);
            lived
        };
        let (lived, asked) = tokio::join!(life, tasks.ask(at_a_time, ready));
        lived?;
        asked?;
        if tasks.left() <= all / 2
            && let Some(away) = away.take()
        {
            tasks.ask_unattended().await?;
            tokio::time::sleep(away).await;
            // That nobody started it is not the next host's time to get ready.
            round.died = None;
        }
    }
    Ok(())
}

/// Lives that TERM ends at any time; each must end well.
pub(super) async fn restarts(round: &mut Round, row: &mut Row) -> anyhow::Result<()> {
    while !round.service.all_said() {
        round.service.say(round.plan.said_at_a_time());
        let mut host = round.start(row).await?;
        let lives = round.chance.up_to_ms(round.longest_life_ms);
        tokio::time::sleep(lives).await;
        ensure!(!host.has_ended(), "a host ended by itself; see {}", round.log());
        round.died = Some(Instant::now());
        host.end().await?;
        row.kills += 1;
    }
    Ok(())
}

/// A life that `kill -9` ends after a random time; some of them while the host starts. `is_ready` is told when it is ready.
async fn random_life(round: &mut Round, is_ready: &watch::Sender<bool>, row: &mut Row) -> anyhow::Result<()> {
    let mut host = round.house.start(None)?;
    let lives = match round.chance.below(4) {
        // While it starts.
        0 => round.chance.up_to_ms(150),
        // At any time.
        _ => {
            let ready =
                host.ready().await?.with_context(|| format!("a host ended at its start; see {}", round.log()))?;
            round.note_ready(ready, row);
            is_ready.send_replace(true);
            round.chance.up_to_ms(round.longest_life_ms)
        }
    };
    tokio::time::sleep(lives).await;
    ensure!(!host.has_ended(), "a host ended by itself; see {}", round.log());
    host.kill().await?;
    round.died = Some(Instant::now());
    row.kills += 1;
    Ok(())
}
