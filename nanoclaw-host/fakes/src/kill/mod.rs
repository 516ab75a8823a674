//! Kills the real host, its containers, its engine and its disk while messages flow, and counts what becomes of them.
//!
//! A *round* is one home in which a fixed number of messages flows through a fixed number of groups, with one fault
//! happening all the time. A *row* is as many rounds as the fault needs. At the end of a round no fault happens any more,
//! the host is started once more, and everything must have been answered, once.
//!
//! * `house`: a home, and the program in it;  * `engine`: a Docker daemon of its own;
//! * `lives`: faults that end the host;  * `commands`: what people do meanwhile;  * `troubles`: faults that the host lives through;
//! * `tasks`: what people schedule, in the rows that have tasks;  * `due_times`: what became of it;  * `report`: the tables.

mod chance;
mod commands;
mod due_times;
mod engine;
mod house;
mod lives;
mod report;
mod round;
mod tasks;
mod troubles;

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

pub use chance::Chance;
pub use due_times::TaskTally;
pub use engine::Engine;
pub use report::{Scorecard, scorecard};

use crate::chat_service::Tally;
use round::Round;

/// Which runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// The embedded sandbox.
    Sandbox,
    /// Docker, by a daemon of the harness's own.
    Docker,
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Docker => "docker",
        })
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The host kills itself at each failpoint in turn.
    Failpoints,
    /// The host is killed at random times.
    Kill,
    /// The host is asked to end, as by `systemctl restart`, at random times.
    Restart,
    /// Containers are killed.
    Containers,
    /// The Docker daemon is stopped or killed, and started again.
    Engine,
    /// The disk of the home is full for a while; half of the time the host is killed meanwhile.
    Disk,
    /// The chat service reads nothing for a while.
    Channel,
    /// The host is stopped by SIGSTOP for a while.
    Freeze,
    /// The host kills itself at each failpoint that is passed for tasks, while tasks are due.
    TaskFailpoints,
    /// The host is killed at random times, while tasks are due.
    TaskKill,
}

impl Fault {
    /// For people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Failpoints => "kill -9 at every failpoint",
            Self::Kill => "kill -9 at random times",
            Self::Restart => "restart (TERM) at random times",
            Self::Containers => "containers killed",
            Self::Engine => "Docker daemon stopped or killed",
            Self::Disk => "disk full, also with kill -9",
            Self::Channel => "chat service reads nothing",
            Self::Freeze => "host frozen (SIGSTOP)",
            Self::TaskFailpoints => "kill -9 at every failpoint of tasks",
            Self::TaskKill => "kill -9 at random times, tasks due",
        }
    }

    /// Whether people schedule tasks meanwhile.
    #[must_use]
    pub fn has_tasks(self) -> bool {
        matches!(self, Self::TaskFailpoints | Self::TaskKill)
    }

    /// Whether it can happen on a runtime.
    #[must_use]
    pub fn exists_on(self, on: On) -> bool {
        self != Self::Engine || on == On::Docker
    }
}

/// How a scorecard is made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program under test, built with failpoints, `agent-runner` beside it.
    pub program: PathBuf,
    /// Where homes are made; on a real disk. What failed is kept there.
    pub folder: PathBuf,
    /// Groups of a round.
    pub groups: usize,
    /// Messages of each group.
    pub messages: usize,
    /// In rows with tasks: how many due times people ask for, beside those of intervals, in all rounds of a row that is not one of
    /// failpoints. Some of them take the place of others before those came.
    pub due_times: usize,
    /// In those rows: how many tasks of a round are due every minute or two.
    pub intervals: usize,
    /// In those rows: how long no host is there in the middle of a round. Longer than a minute, so that due times are missed
    /// for good; nobody waits when it is zero.
    pub away: Duration,
    /// Containers at once.
    pub cap: usize,
    /// How often a row's fault is to happen at least.
    pub kills: u64,
    /// Only these failpoints; all when empty.
    pub points: Vec<String>,
    /// At how many passings of each failpoint the host dies: its first, second, …
    pub passings: u32,
    /// How many messages are said for each life of a host that dies at a failpoint.
    pub messages_per_life: usize,
    /// Homes are kept although nothing went wrong in them.
    pub keep: bool,
    /// What chance begins with.
    pub seed: u64,
}

impl Plan {
    /// The plan of the scorecard for a runtime. Containers of Docker take ten times as long to start, so that there is less of
    /// it there.
    #[must_use]
    pub fn full(on: On, program: PathBuf, folder: PathBuf) -> Self {
        let (kills, passings) = match on {
            On::Sandbox => (60, 2),
            On::Docker => (30, 1),
        };
        Self {
            program,
            folder,
            groups: 20,
            messages: 50,
            due_times: 1000,
            intervals: 20,
            away: Duration::from_secs(125),
            cap: 5,
            kills,
            points: Vec::new(),
            passings,
            messages_per_life: 25,
            keep: false,
            seed: 1,
        }
    }

    /// How many messages are said between two faults of a row with a number of them, so that all are said in a row's rounds.
    fn said_at_a_time(&self) -> usize {
        let kills = usize::try_from(self.kills).unwrap_or(usize::MAX).div_ceil(LEAST_ROUNDS as usize);
        (self.groups * self.messages).div_ceil(kills.max(1)).max(1)
    }
}

/// What came of one fault on one runtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// What went wrong.
    pub fault: Fault,
    /// On which runtime.
    pub runtime: On,
    /// How often it went wrong.
    pub kills: u64,
    /// In how many homes, one after the other.
    pub rounds: u32,
    /// What became of the messages.
    pub tally: Tally,
    /// What became of the tasks, in a row that has some.
    #[serde(default)]
    pub tasks: Option<TaskTally>,
    /// From the death of each host to the line with which the next one says that it is ready, in ms.
    pub ready_ms: Vec<f64>,
    /// Containers that a host took over from the one before it.
    #[serde(default)]
    pub adopted: u64,
    /// Failpoints that the host never passed, with the passing that was waited for.
    pub not_passed: Vec<String>,
    /// What was not as it should be beside the counts: a host that did not end, or was not ready.
    pub troubles: Vec<String>,
    /// How long all this took.
    pub seconds: f64,
}

impl Row {
    /// Whether nothing was lost, doubled or stuck.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.tally.is_clean() && self.tasks.as_ref().is_none_or(TaskTally::is_clean) && self.troubles.is_empty()
    }
}

/// Makes one row. `say` is told how it goes, a line at a time.
///
/// # Errors
/// When the harness itself cannot work; what the host does wrong is in the row.
pub async fn row(
    plan: &Plan,
    on: On,
    fault: Fault,
    engine: &mut Option<Engine>,
    say: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Row> {
    let begun = std::time::Instant::now();
    let mut row = Row {
        fault,
        runtime: on,
        kills: 0,
        rounds: 0,
        tally: Tally::default(),
        tasks: None,
        ready_ms: Vec::new(),
        adopted: 0,
        not_passed: Vec::new(),
        troubles: Vec::new(),
        seconds: 0.0,
    };
    let mut points = match fault {
        Fault::Failpoints | Fault::TaskFailpoints => lives::Points::of(plan, fault).await?,
        _ => lives::Points::default(),
    };
    loop {
        row.rounds += 1;
        let name = format!("{on}-{fault:?}-{}", row.rounds).to_lowercase();
        let mut round = Round::begin(plan, on, engine.as_ref(), &name, fault, row.rounds).await?;
        let before = row.kills;
        let done = match fault {
            Fault::Failpoints | Fault::TaskFailpoints => lives::failpoints(&mut round, &mut points, &mut row).await,
            Fault::Kill => lives::random_kills(&mut round, &mut row).await,
            Fault::TaskKill => lives::random_kills_with_tasks(&mut round, &mut row).await,
            Fault::Restart => lives::restarts(&mut round, &mut row).await,
            Fault::Containers => troubles::containers(&mut round, engine.as_ref(), &mut row).await,
            Fault::Engine => troubles::engine(&mut round, engine.as_mut().context("needs Docker")?, &mut row).await,
            Fault::Disk => troubles::disk(&mut round, &mut row).await,
            Fault::Channel => troubles::channel(&mut round, &mut row).await,
            Fault::Freeze => troubles::freeze(&mut round, &mut row).await,
        };
        if let Err(error) = done {
            row.troubles.push(format!("{name}: {error:#}"));
        }
        let kills = row.kills - before;
        // Nobody can answer without it.
        if let Some(engine) = engine {
            engine.up_again().await?;
        }
        let tally = round.finish(&name, &mut row).await?;
        say(&format!(
            "{name}: {kills} kills, {} said, {} answered, {} doubled, {} sent again",
            tally.said, tally.answered, tally.duplicated, tally.sent_again
        ));
        if let Some(TaskTally { due, done, given_up, lost, doubled, runs, .. }) = &row.tasks {
            say(&format!(
                "  due times until now: {due}, {done} done, {given_up} given up, {lost} lost, {doubled} doubled, {runs} runs"
            ));
        }
        row.tally.add(tally);
        let enough = match fault {
            Fault::Failpoints | Fault::TaskFailpoints => points.is_done(),
            // With both kinds of services; and a fault that stopped happening is not waited for.
            _ => (row.kills >= plan.kills && row.rounds >= LEAST_ROUNDS) || kills == 0,
        };
        if enough || row.rounds >= MOST_ROUNDS {
            break;
        }
    }
    row.seconds = begun.elapsed().as_secs_f64();
    Ok(row)
}

/// Each row takes as many rounds at least: one with each kind of service.
const LEAST_ROUNDS: u32 = 2;
/// No row takes more rounds than this, whatever it is waiting for.
const MOST_ROUNDS: u32 = 40;
/// How long nothing may get on before what is missing counts as lost.
pub(crate) const STUCK: Duration = Duration::from_secs(120);
