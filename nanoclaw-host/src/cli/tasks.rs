//! `nanoclaw tasks`: shows what is scheduled and what came of it, and changes it.

use std::{io::Read as _, path::PathBuf};

use anyhow::Context as _;
use nanoclaw_core::{
    schedule::shown,
    tasks::{CatchUp, FiringState, Overlap, TaskContext, TaskStatus, TaskTerms, asked::TermsAsked},
    time::Timestamp,
};

use super::{
    Place,
    output::{self, BOLD, Columns, DIM, GREEN, RED, YELLOW},
};
use crate::admin::{AddTask, FiringView, TaskDetails, TaskView, TaskWish};

/// How many of its last runs are shown with a task.
const RUNS_SHOWN: u32 = 5;

/// What can be done with tasks.
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
A task is what an agent is told at set times. When: `every 5m`, `in 2h`, a local time such as `2026-12-01 09:00`,
or five fields of cron: minute, hour, day of the month, month, day of the week.

Examples:
  nanoclaw tasks add family --when '0 9 * * 1-5' 'Summarise what is on today'
  nanoclaw tasks add family --when 'in 2h' 'Remind us of the cake'
  nanoclaw tasks list                     what is scheduled, and when it is due next
  nanoclaw tasks log task-3               what came of it
  nanoclaw tasks pause task-3             until `nanoclaw tasks resume task-3`")]
pub(super) enum TasksCommand {
    /// List what is scheduled
    List {
        /// Of this group only: its folder, or its chat id
        #[arg(long)]
        group: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one task whole, with its last runs
    Show {
        /// Its id, such as task-3
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Schedule a task
    Add(AddArgs),
    /// Change a task in what is said
    Update(UpdateArgs),
    /// Have a task rest
    Pause(One),
    /// Have a task that rests go on, at its next time
    Resume(One),
    /// End a task for good, also while it runs; the record of its runs stays
    Cancel(One),
    /// Run a task now, beside its times
    Run(One),
    /// Show what came of a task's times
    Log {
        /// Its id, such as task-3
        id: String,
        /// How many, latest last
        #[arg(short = 'n', long, default_value_t = 20)]
        last: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// One task.
#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Its id, such as task-3
    id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a task is done.
#[derive(Debug, clap::Args)]
pub(super) struct Terms {
    /// In which conversation: `group` (the group's own), `isolated` (a new one each time) or `own` (one of the task's, that goes on)
    #[arg(long, value_parser = context)]
    context: Option<TaskContext>,
    /// What to do about times that pass while the service is off: `skip`, `once` or `all`
    #[arg(long, value_parser = catch_up)]
    catch_up: Option<CatchUp>,
    /// What to do when it is due while it runs: `skip` or `queue`
    #[arg(long, value_parser = overlap)]
    overlap: Option<Overlap>,
    /// Keep what it says to the record, not to the chat
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    silent: Option<bool>,
}

#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// Who does it: a group's folder, or its chat id
    group: String,
    /// What the agent is told; `-` reads it from standard input
    prompt: String,
    /// When, such as `every 5m`, `in 2h`, `2026-12-01 09:00` or `0 9 * * 1-5`
    #[arg(long)]
    when: String,
    /// The zone in which that is meant [default: the configured one]
    #[arg(long)]
    zone: Option<String>,
    #[command(flatten)]
    terms: Terms,
    /// A file with a script that runs in the container first and decides whether the agent wakes
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct UpdateArgs {
    /// Its id, such as task-3
    id: String,
    /// What the agent is told; `-` reads it from standard input
    #[arg(long)]
    prompt: Option<String>,
    /// When
    #[arg(long)]
    when: Option<String>,
    /// The zone in which that is meant; its local times stay when nothing else is said
    #[arg(long)]
    zone: Option<String>,
    #[command(flatten)]
    terms: Terms,
    /// A file with the script that runs first
    #[arg(long, value_name = "FILE", conflicts_with = "no_script")]
    script: Option<PathBuf>,
    /// No script runs any more
    #[arg(long)]
    no_script: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn context(word: &str) -> Result<TaskContext, String> {
    TaskContext::of_word(word).ok_or_else(|| "it is group, isolated or own".to_owned())
}

fn catch_up(word: &str) -> Result<CatchUp, String> {
    CatchUp::of_word(word).ok_or_else(|| "it is skip, once or all".to_owned())
}

fn overlap(word: &str) -> Result<Overlap, String> {
    Overlap::of_word(word).ok_or_else(|| "it is skip or queue".to_owned())
}

impl From<Terms> for TermsAsked {
    fn from(Terms { context, catch_up, overlap, silent }: Terms) -> Self {
        Self { context, catch_up, overlap, silent }
    }
}

pub(super) async fn run(command: TasksCommand, place: &Place) -> anyhow::Result<()> {
    let (home, _) = place.open().await?;
    let later = if home.is_service() { "" } else { " No service runs; nothing is done until one does." };
    let changed = |task: &TaskView, json: bool, words: String| {
        if json { output::json(task) } else { Ok(output::line(format!("{words}{later}"))?) }
    };
    match command {
        TasksCommand::List { group, json } => {
            let tasks = home.tasks(group.as_deref()).await?;
            if json { output::json(&tasks) } else { list(&tasks) }
        }
        TasksCommand::Show { id, json } => {
            let details = home.task(&id, RUNS_SHOWN).await?;
            if json { output::json(&details) } else { show(&details) }
        }
        TasksCommand::Log { id, last, json } => {
            let mut details = home.task(&id, last.min(1000)).await?;
            details.firings.reverse();
            if json { output::json(&details.firings) } else { log(&details.firings) }
        }
        TasksCommand::Add(args) => {
            let new = AddTask {
                group: args.group,
                prompt: text(args.prompt)?,
                when: args.when,
                zone: args.zone,
                terms: TermsAsked::from(args.terms).over(TaskTerms::default()),
                script: args.script.as_ref().map(file).transpose()?,
            };
            let task = home.add_task(new).await?;
            changed(&task, args.json, format!("{BOLD}{}{BOLD:#} of {} is due {}.", task.id, task.group, times(&task)))
        }
        TasksCommand::Update(args) => {
            let script = match (&args.script, args.no_script) {
                (Some(path), _) => Some(file(path)?),
                (None, true) => Some(String::new()),
                (None, false) => None,
            };
            let wish = TaskWish::Update {
                prompt: args.prompt.map(text).transpose()?,
                when: args.when,
                zone: args.zone,
                script,
                terms: args.terms.into(),
            };
            let task = home.change_task(&args.id, wish).await?;
            changed(&task, args.json, format!("{BOLD}{}{BOLD:#} is changed; it is due {}.", task.id, times(&task)))
        }
        TasksCommand::Pause(One { id, json }) => {
            let task = home.change_task(&id, TaskWish::Pause).await?;
            changed(&task, json, format!("{BOLD}{id}{BOLD:#} rests; `nanoclaw tasks resume {id}` has it go on."))
        }
        TasksCommand::Resume(One { id, json }) => {
            let task = home.change_task(&id, TaskWish::Resume).await?;
            changed(&task, json, format!("{BOLD}{id}{BOLD:#} goes on; it is due {}.", times(&task)))
        }
        TasksCommand::Cancel(One { id, json }) => {
            let task = home.change_task(&id, TaskWish::Cancel).await?;
            changed(
                &task,
                json,
                format!("{BOLD}{id}{BOLD:#} is cancelled; `nanoclaw tasks log {id}` keeps its record."),
            )
        }
        TasksCommand::Run(One { id, json }) => {
            let task = home.change_task(&id, TaskWish::Run).await?;
            changed(
                &task,
                json,
                format!("{BOLD}{id}{BOLD:#} runs as soon as its group may; `nanoclaw tasks log {id}` shows it."),
            )
        }
    }
}

/// What was written, or what stands on standard input.
fn text(written: String) -> anyhow::Result<String> {
    if written != "-" {
        return Ok(written);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read the prompt from standard input")?;
    Ok(text)
}

fn file(path: &PathBuf) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read the script {}", path.display()))
}

fn times(task: &TaskView) -> String {
    match task.next_times.as_slice() {
        [] => "no more".to_owned(),
        times => times.join(", then "),
    }
}

fn list(tasks: &[TaskView]) -> anyhow::Result<()> {
    if tasks.is_empty() {
        output::line("Nothing is scheduled; `nanoclaw tasks add` does that, or ask an agent to.")?;
        return Ok(());
    }
    let mut columns = Columns::new(["TASK", "GROUP", "STATUS", "WHEN", "DUE NEXT", "PROMPT"]);
    for task in tasks {
        columns.row([
            task.id.to_string(),
            task.group.to_string(),
            status(task),
            when(task),
            task.next_times.first().cloned().unwrap_or_else(|| "-".to_owned()),
            output::shortened(&output::clean(&task.prompt), 60),
        ]);
    }
    columns.print()?;
    Ok(())
}

fn status(task: &TaskView) -> String {
    match (task.status, task.failures) {
        (TaskStatus::Active, 1..) => "failing".to_owned(),
        (status, _) => status.word().to_owned(),
    }
}

fn when(task: &TaskView) -> String {
    match (task.kind.as_str(), task.schedule.parse::<u64>()) {
        ("interval", Ok(ms)) => {
            format!("every {:#}", jiff::SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)))
        }
        _ => task.schedule.clone(),
    }
}

fn show(details: &TaskDetails) -> anyhow::Result<()> {
    let TaskDetails { task, firings } = details;
    output::line(format!("{BOLD}{}{BOLD:#}", task.id))?;
    let mut facts = vec![
        ("status", task.paused_why.as_ref().map_or_else(|| status(task), |why| format!("{}: {why}", status(task)))),
        ("group", task.group.to_string()),
        ("when", format!("{} ({})", when(task), task.zone)),
        ("due", times(task)),
        ("context", task.terms.context.word().to_owned()),
        ("missed times", task.terms.catch_up.word().to_owned()),
        ("overlap", task.terms.overlap.word().to_owned()),
    ];
    if task.terms.silent {
        facts.push(("silent", "what it says is recorded, and not sent to the chat".to_owned()));
    }
    facts.push(("prompt", task.prompt.clone()));
    if let Some(script) = &task.script {
        facts.push(("script", script.clone()));
    }
    for (label, value) in facts {
        output::line(format!("  {label:<14}{}", output::hanging(&output::clean(&value), 16)))?;
    }
    if firings.is_empty() {
        return Ok(());
    }
    output::line("")?;
    log(&firings.iter().rev().cloned().collect::<Vec<_>>())
}

fn log(firings: &[FiringView]) -> anyhow::Result<()> {
    if firings.is_empty() {
        output::line("It was not due yet.")?;
        return Ok(());
    }
    for firing in firings {
        let style = match firing.state {
            FiringState::Done => GREEN,
            FiringState::Failed => RED,
            FiringState::Waiting | FiringState::Running | FiringState::Skipped | FiringState::Cancelled => YELLOW,
        };
        let mut facts = Vec::new();
        if let Some(took) = firing.took_ms {
            facts.push(format!("took {:#}", jiff::SignedDuration::from_millis(took)));
        }
        if firing.tries > 1 {
            facts.push(format!("{} tries", firing.tries));
        }
        if let Some(at) = firing.not_before_ms.filter(|at| *at > Timestamp::now()) {
            facts.push(format!("again at {}", shown(at, &jiff::tz::TimeZone::system())));
        }
        if let Some(cost) = firing.cost_micros {
            facts.push(format!("${}.{:04}", cost / 1_000_000, cost % 1_000_000 / 100));
        }
        let facts = facts.join(", ");
        output::line(format!(
            "{BOLD}{}{BOLD:#} {style}{}{style:#} {DIM}{facts}{DIM:#}",
            firing.due,
            firing.state.word()
        ))?;
        for text in [&firing.remark, &firing.text].into_iter().flatten() {
            output::line(format!("  {}", output::hanging(&output::clean(text), 2)))?;
        }
    }
    Ok(())
}
