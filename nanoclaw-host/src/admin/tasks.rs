//! What is scheduled, as `nanoclaw tasks` shows and changes it.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use nanoclaw_core::{
    delivery::DeliveryKey,
    group::GroupFolder,
    orchestrator::Agenda,
    run::{RunNumber, TaskId},
    schedule::shown,
    store::StoreError,
    tasks::{
        Firing, FiringState, NewTask, Task, TaskChange, TaskHealth, TaskSettings, TaskStatus, TaskTerms, Tasks,
        asked::{Asked, TIMES_SHOWN, TermsAsked, When},
    },
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::types::{AdminError, ErrorKind, TasksStatus};
use crate::random;

/// How many tasks are listed at most.
const MOST_LISTED: u32 = 10_000;

/// A task, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Whose.
    pub group: GroupFolder,
    /// The group that asked for it.
    pub created_by: GroupFolder,
    /// What the agent is told.
    pub prompt: String,
    /// `cron`, `interval` or `once`.
    pub kind: String,
    /// The expression, milliseconds, or the local time.
    pub schedule: String,
    /// The name of the zone in which that is meant.
    pub zone: String,
    /// How it is done.
    pub terms: TaskTerms,
    /// What runs before the agent.
    pub script: Option<String>,
    /// Where it stands.
    pub status: TaskStatus,
    /// Why it rests, when the host put it to rest.
    pub paused_why: Option<String>,
    /// When it is due next.
    pub next_due_ms: Option<Timestamp>,
    /// Its next times in its zone, such as `Tue 2026-12-01 09:00 CET`; empty when it is not due.
    pub next_times: Vec<String>,
    /// How many of its firings failed in a row, up to now.
    pub failures: u32,
    /// When it was made.
    pub created_at_ms: Timestamp,
}

/// What became of a due time of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiringView {
    /// For which time.
    pub due_ms: Timestamp,
    /// The same in the task's zone.
    pub due: String,
    /// Where it stands.
    pub state: FiringState,
    /// How many runs were begun for it.
    pub tries: u32,
    /// The last of them.
    pub run: Option<RunNumber>,
    /// When it waits: not begun before this.
    pub not_before_ms: Option<Timestamp>,
    /// When the first run of it began.
    pub started_at_ms: Option<Timestamp>,
    /// How long it took from then until it was over.
    pub took_ms: Option<i64>,
    /// What the agent said.
    pub text: Option<String>,
    /// Why it failed or was skipped, and what else is to be known.
    pub remark: Option<String>,
    /// What its model cost, in millionths of a dollar.
    pub cost_micros: Option<i64>,
}

/// A task and its last firings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDetails {
    /// The task.
    pub task: TaskView,
    /// Latest first.
    pub firings: Vec<FiringView>,
}

/// A task to be scheduled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddTask {
    /// Folder or chat.
    pub group: String,
    /// What the agent is told.
    pub prompt: String,
    /// When, as [`Schedule::read`](nanoclaw_core::schedule::Schedule::read) takes it.
    pub when: String,
    /// The name of the zone in which that is meant; `None`: the configured one.
    pub zone: Option<String>,
    /// How.
    pub terms: TaskTerms,
    /// What runs before the agent.
    pub script: Option<String>,
}

/// What is wished of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskWish {
    /// It rests.
    Pause,
    /// It goes on at its next time.
    Resume,
    /// It ends for good.
    Cancel,
    /// It runs now, beside its times.
    Run,
    /// What was said takes the place of what was.
    Update {
        /// What the agent is told.
        prompt: Option<String>,
        /// When, as [`Schedule::read`](nanoclaw_core::schedule::Schedule::read) takes it.
        when: Option<String>,
        /// The name of the zone in which it is meant from now on.
        #[serde(default)]
        zone: Option<String>,
        /// What runs before; an empty one is none.
        script: Option<String>,
        /// How.
        terms: TermsAsked,
    },
}

/// Who changes what is scheduled.
#[async_trait]
pub(crate) trait TaskKeeper: Send + Sync {
    fn kept(&self) -> &dyn Tasks;
    async fn keep(&self, task: &NewTask) -> Result<TaskId, StoreError>;
    async fn alter(&self, id: &TaskId, change: &TaskChange) -> Result<Option<Task>, StoreError>;
    async fn fire(&self, id: &TaskId, key: &DeliveryKey) -> Result<Option<Firing>, StoreError>;
}

#[async_trait]
impl TaskKeeper for Agenda {
    fn kept(&self) -> &dyn Tasks {
        self.tasks()
    }

    async fn keep(&self, task: &NewTask) -> Result<TaskId, StoreError> {
        self.add(task).await
    }

    async fn alter(&self, id: &TaskId, change: &TaskChange) -> Result<Option<Task>, StoreError> {
        self.change(id, change).await
    }

    async fn fire(&self, id: &TaskId, key: &DeliveryKey) -> Result<Option<Firing>, StoreError> {
        self.fire_now(id, key).await
    }
}

/// What is kept, while no service runs.
pub(crate) struct Unattended(pub(crate) Arc<dyn Tasks>);

#[async_trait]
impl TaskKeeper for Unattended {
    fn kept(&self) -> &dyn Tasks {
        &*self.0
    }

    async fn keep(&self, task: &NewTask) -> Result<TaskId, StoreError> {
        self.0.add(task, Timestamp::now()).await
    }

    async fn alter(&self, id: &TaskId, change: &TaskChange) -> Result<Option<Task>, StoreError> {
        self.0.change(id, change, Timestamp::now()).await
    }

    async fn fire(&self, id: &TaskId, key: &DeliveryKey) -> Result<Option<Firing>, StoreError> {
        self.0.fire_now(id, key, Timestamp::now()).await
    }
}

pub(crate) async fn list(tasks: &dyn Tasks, group: Option<&GroupFolder>) -> Result<Vec<TaskView>, AdminError> {
    Ok(tasks.list(group, MOST_LISTED).await?.iter().map(TaskView::from).collect())
}

pub(crate) async fn status(tasks: &dyn Tasks) -> Result<TasksStatus, AdminError> {
    let mut status = TasksStatus { next_due_ms: tasks.earliest_due().await?, ..TasksStatus::default() };
    for task in tasks.standing(None, MOST_LISTED).await? {
        let active = task.status == TaskStatus::Active;
        status.active += u32::from(active);
        status.paused += u32::from(!active);
        status.failing += u32::from(active && task.health.failures > 0);
    }
    Ok(status)
}

pub(crate) async fn details(tasks: &dyn Tasks, id: &str, limit: u32) -> Result<TaskDetails, AdminError> {
    let task = find(tasks, id).await?;
    let firings = tasks.firings(&task.id, limit).await?;
    let firings = firings.into_iter().map(|firing| FiringView::of(firing, &task.zone)).collect();
    Ok(TaskDetails { task: TaskView::from(&task), firings })
}

/// Schedules a task for the group of this folder; `zone` is the configured one.
pub(crate) async fn add(
    keeper: &(impl TaskKeeper + ?Sized),
    new: AddTask,
    group: GroupFolder,
    zone: &TimeZone,
    settings: &TaskSettings,
) -> Result<TaskView, AdminError> {
    let AddTask { group: _, prompt, when, zone: named, terms, script } = new;
    let TaskTerms { context, catch_up, overlap, silent } = terms;
    let asked = Asked {
        prompt: Some(prompt),
        when: Some(When::Written(when)),
        zone: named,
        terms: TermsAsked {
            context: Some(context),
            catch_up: Some(catch_up),
            overlap: Some(overlap),
            silent: Some(silent),
        },
        script,
    };
    let new = asked.new_task(asked_key()?, (group.clone(), group), zone, settings, Timestamp::now());
    let new = new.map_err(|error| bad(error.to_string()))?;
    let id = keeper.keep(&new).await?;
    let task = find(keeper.kept(), id.as_str()).await?;
    Ok(TaskView::from(&task))
}

/// Each request of a person is another one.
fn asked_key() -> Result<DeliveryKey, AdminError> {
    let key = random::random()
        .map_err(|error| AdminError::new(ErrorKind::Failed, format!("/dev/urandom cannot be read: {error}")))?;
    DeliveryKey::new(format!("asked/{key:032x}")).map_err(|error| bad(error.to_string()))
}

pub(crate) async fn change(
    keeper: &(impl TaskKeeper + ?Sized),
    id: &str,
    wish: TaskWish,
    settings: &TaskSettings,
) -> Result<TaskView, AdminError> {
    let task = find(keeper.kept(), id).await?;
    let id = &task.id;
    let conflict = |message: String| AdminError::new(ErrorKind::Conflict, message);
    if task.status == TaskStatus::Cancelled {
        return Err(conflict(format!("the task {id} was cancelled")).with_help("`nanoclaw tasks add` makes a new one"));
    }
    let change = match wish {
        TaskWish::Run => {
            keeper.fire(id, &asked_key()?).await?;
            return Ok(TaskView::from(&task));
        }
        TaskWish::Cancel => TaskChange::Cancel,
        TaskWish::Pause if task.status == TaskStatus::Completed => {
            return Err(conflict(format!("the task {id} was due for the last time"))
                .with_help("`nanoclaw tasks update ID --when WHEN` gives it a new time"));
        }
        TaskWish::Pause => TaskChange::Pause { why: None },
        TaskWish::Resume if task.status == TaskStatus::Active => {
            return Err(conflict(format!("the task {id} does not rest")));
        }
        TaskWish::Resume => {
            let next_due = task.next_after(Timestamp::now()).ok_or_else(|| {
                conflict(format!("the task {id} is not due any more"))
                    .with_help("`nanoclaw tasks update ID --when WHEN` gives it a new time")
            })?;
            TaskChange::Resume { next_due }
        }
        TaskWish::Update { prompt, when, zone, script, terms } => {
            let asked = Asked { prompt, when: when.map(When::Written), zone, terms, script };
            let update = asked.update(&task, settings, Timestamp::now());
            TaskChange::Update(update.map_err(|error| bad(error.to_string()))?)
        }
    };
    match keeper.alter(id, &change).await? {
        Some(task) => Ok(TaskView::from(&task)),
        None => Err(no_task(id.as_str())),
    }
}

async fn find(tasks: &dyn Tasks, id: &str) -> Result<Task, AdminError> {
    let Ok(known) = TaskId::new(id) else { return Err(no_task(id)) };
    tasks.task(&known).await?.ok_or_else(|| no_task(id))
}

fn no_task(id: &str) -> AdminError {
    let shown: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
    AdminError::new(ErrorKind::NotFound, format!("there is no task {shown}"))
        .with_help("`nanoclaw tasks list` shows which there are")
}

fn bad(message: String) -> AdminError {
    AdminError::new(ErrorKind::BadRequest, message)
}

impl From<&Task> for TaskView {
    fn from(task: &Task) -> Self {
        let due = task.next_due.filter(|_| task.status == TaskStatus::Active);
        let times = due.map(|due| task.schedule.times_from(task.anchor, due, &task.zone, TIMES_SHOWN));
        let TaskHealth { failures, .. } = task.health;
        Self {
            id: task.id.clone(),
            group: task.group.clone(),
            created_by: task.created_by.clone(),
            prompt: task.prompt.clone(),
            kind: task.schedule.kind().to_owned(),
            schedule: task.schedule.value(),
            zone: task.zone.iana_name().unwrap_or("UTC").to_owned(),
            terms: task.terms,
            script: task.script.clone(),
            status: task.status,
            paused_why: task.paused_why.clone(),
            next_due_ms: due,
            next_times: times.into_iter().flatten().map(|at| shown(at, &task.zone)).collect(),
            failures,
            created_at_ms: task.created_at,
        }
    }
}

impl FiringView {
    fn of(firing: Firing, zone: &TimeZone) -> Self {
        let took = firing.started_at.zip(firing.ended_at).map(|(from, to)| to.as_ms().saturating_sub(from.as_ms()));
        Self {
            due_ms: firing.due,
            due: shown(firing.due, zone),
            state: firing.state,
            tries: firing.tries,
            run: firing.run,
            not_before_ms: (firing.state == FiringState::Waiting).then_some(firing.not_before),
            started_at_ms: firing.started_at,
            took_ms: took,
            text: firing.text,
            remark: firing.remark,
            cost_micros: firing.cost_micros,
        }
    }
}
