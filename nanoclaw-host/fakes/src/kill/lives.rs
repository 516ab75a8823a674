//! Faults that end the host: at each failpoint, at random times, by being asked to.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tokio::sync::oneshot;

use super::{
    Plan, Row,
    house::{Host, House, PATIENCE, was_killed},
    round::Round,
};

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
    /// All that the program under test has, or those of the plan; each at its first passing, then each at its second, …
    pub(super) async fn of(plan: &Plan) -> anyhow::Result<Self> {
        let output = tokio::process::Command::new(&plan.program).arg("failpoints").output().await?;
        let known = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success() && known.contains("store."),
            "{} has no failpoints; build it with --features failpoints",
            plan.program.display()
        );
        let points: Vec<&str> = match plan.points.is_empty() {
            true => known.lines().collect(),
            false => plan.points.iter().map(String::as_str).collect(),
        };
        let passings = (1..=plan.passings).map(|passing| 2 * passing - 1);
        let left =
            passings.flat_map(|passing| points.iter().map(move |point| ((*point).to_owned(), passing))).collect();
        Ok(Self { left })
    }

    pub(super) fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// A point that is not passed once is not passed thrice.
    fn forget(&mut self, point: &str) {
        self.left.retain(|(left, _)| left != point);
    }
}

/// Lives in which the host kills itself at a failpoint, until all is said in this round.
pub(super) async fn failpoints(round: &mut Round, points: &mut Points, row: &mut Row) -> anyhow::Result<()> {
    while !round.service.all_said() {
        let Some((point, passing)) = points.left.pop_front() else { return Ok(()) };
        round.service.say(round.plan.messages_per_life);
        let kill_at = format!("{point}:{passing}");
        let mut host = round.house.start(Some(&kill_at))?;
        // A command that finds no host works on the home by itself, and no host can start meanwhile.
        let (is_ready, ready) = oneshot::channel();
        let (died, ()) = tokio::join!(life(round, &mut host, is_ready, row), people(&round.house, ready, &point));
        round.died = None;
        if died? {
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
            points.forget(&point);
            row.not_passed.push(kill_at);
        }
    }
    Ok(())
}

/// One life: whether the host killed itself before everything that was said was answered.
async fn life(round: &Round, host: &mut Host, is_ready: oneshot::Sender<()>, row: &mut Row) -> anyhow::Result<bool> {
    let deadline = Instant::now() + LONGEST_LIFE;
    if let Some(ready) = host.ready().await? {
        let _ = is_ready.send(());
        row.ready_ms.extend(round.died.map(|died| ready.saturating_duration_since(died).as_secs_f64() * 1000.0));
    } else {
        drop(is_ready);
    }
    let mut rests_since: Option<Instant> = None;
    loop {
        if let Some(status) = host.ended(Duration::from_millis(10)).await? {
            ensure!(was_killed(status), "a host ended by itself with {status}; see {}", round.log());
            return Ok(true);
        }
        let since = match round.service.tally().is_settled() {
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

/// What people do at the command line meanwhile: it is how some points are passed. Whether a command works does not
/// matter, since the host may be dead at any moment.
async fn people(house: &House, ready: oneshot::Receiver<()>, point: &str) {
    const BY_COMMAND: [&str; 10] = [
        "store.chats",
        "store.groups",
        "store.add_group",
        "store.remove_group",
        "store.unanswered",
        "store.given_up",
        "store.runs",
        "store.turns",
        "store.cursor",
        "runtime.stats",
    ];
    if !BY_COMMAND.iter().any(|command| point.starts_with(&format!("{command}."))) {
        return;
    }
    if ready.await.is_err() {
        return;
    }
    let commands: [&[&str]; 5] = [
        &["groups", "chats"],
        &["groups", "list"],
        &["groups", "add", "other:1", "--name", "Another", "--folder", "another"],
        &["ps"],
        &["groups", "remove", "another"],
    ];
    for command in commands {
        let _ = house.succeeds(command).await;
    }
}

/// Lives that `kill -9` ends at any time, the start included.
pub(super) async fn random_kills(round: &mut Round, row: &mut Row) -> anyhow::Result<()> {
    while !round.service.all_said() {
        round.service.say(round.plan.messages_per_life);
        let host = random_life(round, row).await?;
        host.kill().await?;
        round.died = Some(Instant::now());
        row.kills += 1;
    }
    Ok(())
}

/// Lives that TERM ends at any time; each must end well.
pub(super) async fn restarts(round: &mut Round, row: &mut Row) -> anyhow::Result<()> {
    while !round.service.all_said() {
        round.service.say(round.plan.messages_per_life);
        let mut host = round.start(row).await?;
        let lives = round.chance.up_to_ms(1500);
        tokio::time::sleep(lives).await;
        ensure!(!host.has_ended(), "a host ended by itself; see {}", round.log());
        round.died = Some(Instant::now());
        host.end().await?;
        row.kills += 1;
    }
    Ok(())
}

/// A host after a random time; half of them are killed soon after they are ready.
async fn random_life(round: &mut Round, row: &mut Row) -> anyhow::Result<Host> {
    let mut host = round.house.start(None)?;
    let lives = match round.chance.below(4) {
        // While it starts.
        0 => round.chance.up_to_ms(150),
        // At any time.
        _ => {
            let ready =
                host.ready().await?.with_context(|| format!("a host ended at its start; see {}", round.log()))?;
            round.note_ready(ready, row);
            round.chance.up_to_ms(1200)
        }
    };
    tokio::time::sleep(lives).await;
    ensure!(!host.has_ended(), "a host ended by itself; see {}", round.log());
    Ok(host)
}
