//! Tasks and their firings, in memory.

use async_trait::async_trait;

use super::{MemoryStore, State, limited, place};
use crate::{
    delivery::DeliveryKey,
    group::GroupFolder,
    run::{RunId, RunKind, TaskId},
    store::{NewRun, StoreError},
    tasks::{
        Claim, Firing, FiringEnd, FiringId, FiringState, FiringWord, NewFiring, NewTask, Overlap, Task, TaskChange,
        TaskHealth, TaskStatus, TaskUpdate, Tasks,
    },
    time::Timestamp,
};

/// Tasks and firings, each in the order in which they were made.
#[derive(Default)]
pub(super) struct Scheduled {
    tasks: Vec<(DeliveryKey, NewTask, Task)>,
    firings: Vec<Firing>,
}

impl Scheduled {
    fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.iter().map(|(_, _, task)| task).find(|task| task.id == *id)
    }

    fn task_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        self.tasks.iter_mut().map(|(_, _, task)| task).find(|task| task.id == *id)
    }

    fn of<'a>(&'a self, task: &'a TaskId) -> impl DoubleEndedIterator<Item = &'a Firing> {
        self.firings.iter().filter(move |firing| firing.task == *task)
    }

    fn has_open(&self, task: &TaskId) -> bool {
        self.of(task).any(|firing| firing.state.is_open())
    }

    fn fire(&mut self, task: &TaskId, new: &NewFiring, at: Timestamp) -> Firing {
        let firing = Firing {
            id: FiringId(place(self.firings.len())),
            task: task.clone(),
            due: new.due,
            key: None,
            state: new.state,
            not_before: at,
            tries: 0,
            faults: 0,
            run: None,
            started_at: None,
            ended_at: (!new.state.is_open()).then_some(at),
            answered: false,
            text: None,
            remark: new.remark.clone(),
            cost_micros: None,
        };
        self.firings.push(firing.clone());
        firing
    }

    /// What waits, and with `running` also what runs, comes to this end.
    fn end_open(&mut self, task: &TaskId, running: bool, state: FiringState, remark: &str, at: Timestamp) {
        let open = |firing: &&mut Firing| match firing.state {
            FiringState::Waiting => true,
            FiringState::Running => running,
            _ => false,
        };
        for firing in self.firings.iter_mut().filter(|firing| firing.task == *task).filter(open) {
            (firing.state, firing.ended_at) = (state, Some(at));
            firing.remark = Some(remark.to_owned());
        }
    }

    /// The running firing at which `run` is.
    fn running_of(&mut self, run: &RunId) -> Option<&mut Firing> {
        let Self { tasks, firings } = self;
        let of_group = |task: &TaskId| tasks.iter().any(|(_, _, known)| known.id == *task && known.group == run.group);
        firings.iter_mut().find(|firing| {
            firing.state == FiringState::Running && firing.run == Some(run.number) && of_group(&firing.task)
        })
    }

    /// A block of `run` was committed.
    pub(super) fn said(&mut self, run: &RunId, word: &FiringWord) {
        if let Some(firing) = self.running_of(run) {
            // What is remarked of earlier tries is over with the first word of this one.
            let kept = firing.remark.take().filter(|_| firing.answered || firing.tries <= 1);
            firing.answered = true;
            firing.text = word.after(firing.text.take());
            firing.remark = word.remark.clone().or(kept);
            firing.cost_micros = match (firing.cost_micros, word.cost_micros) {
                (Some(before), Some(more)) => Some(before + more),
                (before, more) => before.or(more),
            };
        }
    }

    fn change(&mut self, id: &TaskId, change: &TaskChange, at: Timestamp) -> Option<Task> {
        self.task(id).filter(|task| task.status != TaskStatus::Cancelled)?;
        match change {
            TaskChange::Pause { .. } => {
                self.end_open(id, false, FiringState::Skipped, "the task was paused", at);
            }
            TaskChange::Cancel => self.end_open(id, true, FiringState::Cancelled, "the task was cancelled", at),
            TaskChange::Resume { .. } | TaskChange::Update(_) => {}
        }
        let task = self.task_mut(id)?;
        match change.clone() {
            TaskChange::Pause { why } => (task.status, task.paused_why) = (TaskStatus::Paused, why),
            TaskChange::Resume { next_due } => {
                (task.status, task.paused_why) = (TaskStatus::Active, None);
                (task.next_due, task.health) = (Some(next_due), TaskHealth::default());
            }
            TaskChange::Cancel => (task.status, task.next_due) = (TaskStatus::Cancelled, None),
            TaskChange::Update(TaskUpdate { prompt, schedule, zone, script, terms }) => {
                task.prompt = prompt.unwrap_or_else(|| task.prompt.clone());
                task.script = script.unwrap_or_else(|| task.script.clone());
                task.terms = terms.unwrap_or(task.terms);
                task.zone = zone.unwrap_or_else(|| task.zone.clone());
                if let Some((schedule, first_due)) = schedule {
                    (task.schedule, task.anchor, task.next_due) = (schedule, first_due, Some(first_due));
                    if task.status == TaskStatus::Completed {
                        task.status = TaskStatus::Active;
                    }
                }
            }
        }
        Some(task.clone())
    }
}

impl State {
    /// The task's run of a group that is at a firing comes to no good end: which task, and which run.
    pub(super) fn stop_task(&mut self, group: &GroupFolder, reason: &str, at: Timestamp) -> Option<(TaskId, RunId)> {
        let open = |run: &&super::StoredRun| run.id.group == *group && run.ended_at.is_none();
        let run = self.runs.iter().find(open)?.id.clone();
        let firing = self.scheduled.running_of(&run)?;
        (firing.state, firing.ended_at) = match firing.answered {
            true => (FiringState::Done, Some(at)),
            false => (FiringState::Cancelled, Some(at)),
        };
        let (task, answered) = (firing.task.clone(), firing.answered);
        if !answered {
            firing.remark = Some(reason.to_owned());
        } else if let Some(task) = self.scheduled.task_mut(&task) {
            task.health = TaskHealth::default();
        }
        complete(self, &task);
        Some((task, run))
    }
}

impl MemoryStore {
    /// The tasks that were asked for, in their order, whatever became of them.
    #[must_use]
    pub fn tasks_asked_for(&self) -> Vec<NewTask> {
        self.read().scheduled.tasks.iter().map(|(_, new, _)| new.clone()).collect()
    }
}

#[async_trait]
impl Tasks for MemoryStore {
    async fn add(&self, new: &NewTask, at: Timestamp) -> Result<TaskId, StoreError> {
        let tasks = &mut self.write("add a task")?.scheduled.tasks;
        if let Some((_, _, known)) = tasks.iter().find(|(key, ..)| *key == new.key) {
            return Ok(known.id.clone());
        }
        let id = TaskId::new(format!("task-{}", tasks.len() + 1)).expect("a short plain text is a task id");
        let NewTask { key, group, created_by, prompt, schedule, zone, first_due, terms, script } = new.clone();
        let task = Task {
            id: id.clone(),
            group,
            created_by,
            prompt,
            schedule,
            zone,
            anchor: first_due,
            terms,
            script,
            status: TaskStatus::Active,
            paused_why: None,
            next_due: Some(first_due),
            health: TaskHealth::default(),
            created_at: at,
        };
        tasks.push((key, new.clone(), task));
        Ok(id)
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        Ok(self.read().scheduled.task(id).cloned())
    }

    async fn list(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, StoreError> {
        let state = self.read();
        let wanted = state
            .scheduled
            .tasks
            .iter()
            .map(|(_, _, task)| task)
            .filter(|task| task.status != TaskStatus::Cancelled && group.is_none_or(|group| task.group == *group));
        Ok(wanted.take(limited(limit)).cloned().collect())
    }

    async fn standing(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, StoreError> {
        let mut standing = self.list(group, u32::MAX).await?;
        standing.retain(|task| matches!(task.status, TaskStatus::Active | TaskStatus::Paused));
        standing.truncate(limited(limit));
        Ok(standing)
    }

    async fn change(&self, id: &TaskId, change: &TaskChange, at: Timestamp) -> Result<Option<Task>, StoreError> {
        Ok(self.write("change a task")?.scheduled.change(id, change, at))
    }

    async fn earliest_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let state = self.read();
        let active = state.scheduled.tasks.iter().filter(|(_, _, task)| task.status == TaskStatus::Active);
        Ok(active.filter_map(|(_, _, task)| task.next_due).min())
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Task>, StoreError> {
        let state = self.read();
        let tasks = state.scheduled.tasks.iter().map(|(_, _, task)| task);
        let due = |task: &&Task| task.status == TaskStatus::Active && task.next_due.is_some_and(|due| due <= now);
        let mut due: Vec<Task> = tasks.filter(due).cloned().collect();
        due.sort_by_key(|task| task.next_due);
        due.truncate(limited(limit));
        Ok(due)
    }

    async fn claim(&self, claim: &Claim, at: Timestamp) -> Result<Option<Vec<Firing>>, StoreError> {
        let mut state = self.write("claim a due time")?;
        let scheduled = &mut state.scheduled;
        let active = |task: &&mut Task| task.status == TaskStatus::Active && task.next_due == Some(claim.due);
        let Some(task) = scheduled.task_mut(&claim.task).filter(active) else { return Ok(None) };
        task.next_due = claim.next_due;
        let busy = claim.overlap == Overlap::Skip && scheduled.has_open(&claim.task);
        let mut waiting = Vec::new();
        for new in &claim.firings {
            if scheduled.of(&claim.task).any(|known| known.due == new.due) {
                continue;
            }
            let new = match busy && new.state == FiringState::Waiting {
                true => NewFiring { state: FiringState::Skipped, remark: Some(STILL_AT_IT.to_owned()), ..new.clone() },
                false => new.clone(),
            };
            let firing = scheduled.fire(&claim.task, &new, at);
            waiting.extend((firing.state == FiringState::Waiting).then_some(firing));
        }
        complete(&mut state, &claim.task);
        Ok(Some(waiting))
    }

    async fn fire_now(&self, id: &TaskId, key: &DeliveryKey, at: Timestamp) -> Result<Option<Firing>, StoreError> {
        let scheduled = &mut self.write("fire a task")?.scheduled;
        if let Some(known) = scheduled.firings.iter().find(|firing| firing.key.as_ref() == Some(key)) {
            return Ok(Some(known.clone()));
        }
        if scheduled.task(id).is_none_or(|task| task.status == TaskStatus::Cancelled) {
            return Ok(None);
        }
        let mut due = at;
        while scheduled.of(id).any(|known| known.due == due) {
            due = due.plus(std::time::Duration::from_millis(1));
        }
        let new = NewFiring { due, state: FiringState::Waiting, remark: Some(BY_HAND.to_owned()) };
        let firing = scheduled.fire(id, &new, at);
        let kept = scheduled.firings.last_mut().expect("it was fired just now");
        kept.key = Some(key.clone());
        Ok(Some(Firing { key: kept.key.clone(), ..firing }))
    }

    async fn waiting(&self) -> Result<Vec<Firing>, StoreError> {
        let state = self.read();
        let waiting = state.scheduled.firings.iter().filter(|firing| firing.state == FiringState::Waiting);
        Ok(waiting.cloned().collect())
    }

    async fn bring_forward(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.write("bring tasks forward")?;
        for firing in &mut state.scheduled.firings {
            if firing.state == FiringState::Waiting {
                firing.not_before = firing.not_before.min(now);
            }
        }
        Ok(())
    }

    async fn has_waiting(&self, task: &TaskId) -> Result<bool, StoreError> {
        Ok(self.read().scheduled.of(task).any(|firing| firing.state == FiringState::Waiting))
    }

    async fn running(&self) -> Result<Vec<Firing>, StoreError> {
        let state = self.read();
        let running = state.scheduled.firings.iter().filter(|firing| firing.state == FiringState::Running);
        Ok(running.cloned().collect())
    }

    async fn begin(&self, run: &NewRun) -> Result<Option<(Task, Firing)>, StoreError> {
        let action = "begin a task";
        let mut state = self.write(action)?;
        let RunKind::Task(id) = &run.kind else { return Ok(None) };
        let task = state.scheduled.task(id).filter(|task| task.status != TaskStatus::Cancelled).cloned();
        let Some(task) = task.filter(|task| task.group == run.id.group) else { return Ok(None) };
        if state.scheduled.of(id).any(|firing| firing.state == FiringState::Running) {
            return Ok(None);
        }
        let ready =
            |firing: &Firing| firing.task == *id && firing.state == FiringState::Waiting && firing.not_before <= run.at;
        let Some(place) = state.scheduled.firings.iter().position(ready) else { return Ok(None) };
        state.open(run, action)?;
        let firing = &mut state.scheduled.firings[place];
        (firing.state, firing.run) = (FiringState::Running, Some(run.id.number));
        firing.tries += 1;
        firing.started_at.get_or_insert(run.at);
        Ok(Some((task, firing.clone())))
    }

    async fn firing_of(&self, run: &RunId) -> Result<Option<(Task, Firing)>, StoreError> {
        let mut state = self.read();
        let Some(firing) = state.scheduled.running_of(run).cloned() else { return Ok(None) };
        Ok(state.scheduled.task(&firing.task).cloned().map(|task| (task, firing)))
    }

    async fn end(&self, end: &FiringEnd, at: Timestamp) -> Result<bool, StoreError> {
        let mut state = self.write("end a task's run")?;
        let running = |firing: &&mut Firing| firing.id == end.firing && firing.state == FiringState::Running;
        let Some(firing) = state.scheduled.firings.iter_mut().find(running) else { return Ok(false) };
        firing.state = end.state;
        firing.not_before = end.not_before.unwrap_or(firing.not_before);
        firing.faults += u32::from(end.fault);
        firing.remark = end.remark.clone().or(firing.remark.take());
        firing.ended_at = (!end.state.is_open()).then_some(at);
        let id = firing.task.clone();
        if let Some(task) = state.scheduled.task_mut(&id) {
            task.health = end.health;
            if let Some(why) = &end.pause
                && task.status == TaskStatus::Active
            {
                state.scheduled.change(&id, &TaskChange::Pause { why: Some(why.clone()) }, at);
            }
        }
        complete(&mut state, &id);
        if let Some(notice) = &end.notice {
            state.post(notice, at);
        }
        Ok(true)
    }

    async fn last_claimed(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.read().scheduled.firings.last().map(|firing| firing.due))
    }

    async fn firings(&self, task: &TaskId, limit: u32) -> Result<Vec<Firing>, StoreError> {
        Ok(self.read().scheduled.of(task).rev().take(limited(limit)).cloned().collect())
    }
}

/// What a firing says that was skipped, and one that somebody asked for.
const STILL_AT_IT: &str = "an earlier time of the task was not done yet";
const BY_HAND: &str = "asked for by hand";

/// A task that is not due again and has nothing open is completed.
fn complete(state: &mut State, id: &TaskId) {
    let over = !state.scheduled.has_open(id);
    if let Some(task) = state.scheduled.task_mut(id)
        && over
        && task.status == TaskStatus::Active
        && task.next_due.is_none()
    {
        task.status = TaskStatus::Completed;
    }
}
