//! What is scheduled, as everybody changes it: the agents' desk, the owner at the command line, runs that end, the scheduler.
//! Each change is kept first; then the [scheduler](super::scheduler) and the loop are told what follows from it.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    control::Input,
    deliverer::Nudges,
    directory::Directory,
    event::Event,
    lists::{Changed, Lists},
};
use crate::{
    delivery::DeliveryKey,
    group::{Group, GroupFolder},
    run::{RunEnding, RunId, TaskId},
    store::StoreError,
    tasks::{
        Firing, FiringState, NewTask, Task, TaskChange, TaskSettings, TaskStatus, Tasks,
        verdict::{end_of, left_out, verdict},
    },
    time::Timestamp,
};

/// What the scheduler is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Poke {
    /// Tasks have changed, or may have: when the next is due is to be looked up anew.
    Look,
    /// A firing of this task waits until then.
    Waiting { group: GroupFolder, task: TaskId, until: Timestamp },
    /// How this run ended could not be noted.
    Ended { run: RunId, ending: RunEnding },
    /// Perhaps something waits that nobody was told of.
    Doubt,
}

/// The pause after the store has failed.
pub(super) const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What is scheduled, for whoever changes it. Cheap to clone.
#[derive(Clone)]
pub struct Agenda {
    pub(super) tasks: Arc<dyn Tasks>,
    pub(super) settings: TaskSettings,
    pub(super) directory: Directory,
    pub(super) nudges: Nudges,
    pub(super) lists: Lists,
    pub(super) events: mpsc::Sender<Input>,
    pub(super) pokes: mpsc::UnboundedSender<Poke>,
}

impl Agenda {
    /// What is kept of tasks, to be read.
    #[must_use]
    pub fn tasks(&self) -> &dyn Tasks {
        &*self.tasks
    }

    /// The numbers that tasks go by.
    #[must_use]
    pub fn settings(&self) -> &TaskSettings {
        &self.settings
    }

    /// Keeps a task; its id.
    ///
    /// # Errors
    /// The store's.
    pub async fn add(&self, task: &NewTask) -> Result<TaskId, StoreError> {
        let added = self.tasks.add(task, Timestamp::now()).await;
        // Also when an error is told: it may have happened all the same.
        self.poke(Poke::Look);
        self.changed(&task.group);
        added
    }

    /// Changes a task; as it is then, or `None` when there is none. A run of one that is cancelled is ended.
    ///
    /// # Errors
    /// The store's.
    pub async fn change(&self, id: &TaskId, change: &TaskChange) -> Result<Option<Task>, StoreError> {
        let changed = self.tasks.change(id, change, Timestamp::now()).await;
        self.poke(Poke::Look);
        if let Ok(Some(task)) = &changed {
            self.changed(&task.group);
        }
        if let (TaskChange::Cancel | TaskChange::Pause { .. }, Ok(Some(task))) = (change, &changed) {
            let ends = matches!(change, TaskChange::Cancel);
            self.say(Event::TaskDropped { group: task.group.clone(), task: id.clone(), ends }).await;
        }
        changed
    }

    /// Has a task run now, whatever its schedule says, beside its due times; `None` when there is none. Asked again under the same `key` it
    /// runs no second time.
    ///
    /// # Errors
    /// The store's.
    pub async fn fire_now(&self, id: &TaskId, key: &DeliveryKey) -> Result<Option<Firing>, StoreError> {
        let Some(task) = self.tasks.task(id).await? else { return Ok(None) };
        let fired = self.tasks.fire_now(id, key, Timestamp::now()).await;
        // Also when an error is told: it may have happened all the same.
        if !matches!(fired, Ok(None)) {
            self.due(task.group, id.clone()).await;
        }
        fired
    }

    /// A group is no more: its tasks rest (fault F57).
    pub(super) async fn group_removed(&self, group: &GroupFolder) -> Result<(), StoreError> {
        for task in self.tasks.list(Some(group), u32::MAX).await? {
            if task.status == TaskStatus::Active || self.tasks.has_waiting(&task.id).await? {
                self.change(&task.id, &TaskChange::Pause { why: Some(GROUP_GONE.to_owned()) }).await?;
            }
        }
        Ok(())
    }

    /// A run is over that was at a firing: what becomes of that. `ending` is how the run ended.
    ///
    /// # Errors
    /// The store's; the firing counts as running until this has succeeded.
    pub(super) async fn run_ended(&self, run: &RunId, group: &Group, ending: &RunEnding) -> Result<(), StoreError> {
        let Some((task, firing)) = self.tasks.firing_of(run).await? else { return Ok(()) };
        let now = Timestamp::now();
        let end = end_of(&task, &firing, verdict(&firing, ending, &self.settings), &group.chat, &self.settings, now);
        let ended = self.tasks.end(&end, now).await;
        // Also when an error is told: it may have happened all the same.
        if let (Ok(true) | Err(_), Some(notice)) = (&ended, &end.notice) {
            self.nudges.chat(&notice.chat);
        }
        ended?;
        tracing::info!(%run, task = %task.id, firing = firing.id.0, state = end.state.word(), "a task's run is over");
        // It may be completed now, or rest.
        self.changed(&task.group);
        self.poke(match end.not_before {
            Some(until) => Poke::Waiting { group: task.group.clone(), task: task.id.clone(), until },
            None => Poke::Look,
        });
        // Others of the same task may have waited for this one.
        if end.state != FiringState::Waiting && self.tasks.has_waiting(&task.id).await? {
            self.due(task.group, task.id).await;
        }
        Ok(())
    }

    /// A task's run was stopped by its people, which the store knows: it is ended, and what waits of the task has its turn.
    pub(super) async fn run_stopped(&self, group: GroupFolder, task: TaskId) {
        // It may be completed now.
        self.changed(&group);
        self.say(Event::TaskDropped { group: group.clone(), task: task.clone(), ends: true }).await;
        // A run that finds nothing to do ends at once.
        if self.tasks.has_waiting(&task).await.unwrap_or(true) {
            self.due(group, task).await;
        }
    }

    /// The run is over of a group that is no more: its task rests, and what the run was at is left out.
    ///
    /// # Errors
    /// The store's; the firing counts as running until this has succeeded.
    pub(super) async fn run_ended_without_group(&self, run: &RunId) -> Result<(), StoreError> {
        let Some((task, firing)) = self.tasks.firing_of(run).await? else { return Ok(()) };
        if task.status == TaskStatus::Active {
            self.change(&task.id, &TaskChange::Pause { why: Some(GROUP_GONE.to_owned()) }).await?;
        }
        self.tasks.end(&left_out(&task, &firing, GROUP_GONE), Timestamp::now()).await.map(drop)
    }

    /// The run of a task could not be begun, since the store failed.
    pub(super) fn try_again(&self, group: &Group, task: &TaskId) {
        let until = Timestamp::now().plus(AFTER_FAILURE);
        self.poke(Poke::Waiting { group: group.folder.clone(), task: task.clone(), until });
    }

    /// What waits in the store is to be looked up anew: of groups that are no more it rests then.
    pub(super) fn doubt(&self) {
        self.poke(Poke::Doubt);
    }

    /// How a run ended is to be noted as soon as the store takes it.
    pub(super) fn see_to(&self, run: &RunId, ending: RunEnding) {
        self.poke(Poke::Ended { run: run.clone(), ending });
    }

    /// A firing of the task waits, and its time has come. Where the group is no more the task rests instead.
    pub(super) async fn due(&self, group: GroupFolder, task: TaskId) {
        if self.directory.get(&group).is_none() {
            tracing::warn!(%task, %group, "a task is due whose group is not registered; it rests");
            let change = TaskChange::Pause { why: Some(GROUP_GONE.to_owned()) };
            if let Err(error) = self.change(&task, &change).await {
                tracing::error!(%task, %error, "cannot put a task to rest; trying again");
                let until = Timestamp::now().plus(AFTER_FAILURE);
                self.poke(Poke::Waiting { group, task, until });
            }
            return;
        }
        self.say(Event::TaskDue { group, task }).await;
    }

    /// The tasks of a group are others, or due at others times.
    pub(super) fn changed(&self, group: &GroupFolder) {
        self.lists.say(Changed::Tasks(group.clone()));
    }

    async fn say(&self, event: Event) {
        // When the loop has ended, the next host finds what waits in the store.
        let _ = self.events.send(Input::Event(event)).await;
    }

    pub(super) fn poke(&self, poke: Poke) {
        let _ = self.pokes.send(poke);
    }
}

/// Why the tasks of a group rest that is no more.
pub(super) const GROUP_GONE: &str = "its group is not registered any more";
