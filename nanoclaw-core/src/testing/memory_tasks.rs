//! Tasks kept in memory: a [`Tasks`] that behaves and makes nothing due.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::{
    delivery::DeliveryKey,
    group::GroupFolder,
    run::TaskId,
    store::StoreError,
    tasks::{NewTask, Task, TaskChange, TaskStatus, Tasks},
    time::Timestamp,
};

/// Tasks kept in memory.
#[derive(Debug, Default)]
pub struct MemoryTasks(Mutex<Vec<(DeliveryKey, NewTask, Task)>>);

impl MemoryTasks {
    /// What was asked for, in its order, whatever became of it.
    #[must_use]
    pub fn asked_for(&self) -> Vec<NewTask> {
        self.lock().iter().map(|(_, new, _)| new.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(DeliveryKey, NewTask, Task)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Tasks for MemoryTasks {
    async fn add(&self, new: &NewTask, _at: Timestamp) -> Result<TaskId, StoreError> {
        let mut tasks = self.lock();
        if let Some((_, _, known)) = tasks.iter().find(|(key, ..)| *key == new.key) {
            return Ok(known.id.clone());
        }
        let id = TaskId::new(format!("task-{}", tasks.len() + 1)).expect("a short plain text is a task id");
        let task = Task {
            id: id.clone(),
            group: new.group.clone(),
            prompt: new.prompt.clone(),
            schedule: new.schedule.clone(),
            context: new.context,
            script: new.script.clone(),
            status: TaskStatus::Active,
            next_due: Some(new.first_due),
        };
        tasks.push((new.key.clone(), new.clone(), task));
        Ok(id)
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        Ok(self.lock().iter().map(|(_, _, task)| task).find(|task| task.id == *id).cloned())
    }

    async fn list(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, StoreError> {
        let tasks = self.lock();
        let wanted =
            tasks.iter().map(|(_, _, task)| task).filter(|task| group.is_none_or(|group| task.group == *group));
        Ok(wanted.take(limit as usize).cloned().collect())
    }

    async fn change(&self, id: &TaskId, change: &TaskChange, _at: Timestamp) -> Result<Option<Task>, StoreError> {
        let mut tasks = self.lock();
        let Some(at) = tasks.iter().position(|(_, _, task)| task.id == *id) else { return Ok(None) };
        let task = &mut tasks[at].2;
        match change.clone() {
            TaskChange::Pause => task.status = TaskStatus::Paused,
            TaskChange::Resume => task.status = TaskStatus::Active,
            TaskChange::Cancel => return Ok(Some(tasks.remove(at).2)),
            TaskChange::Update { prompt, schedule, script } => {
                task.prompt = prompt.unwrap_or(task.prompt.clone());
                if let Some((schedule, first_due)) = schedule {
                    (task.schedule, task.next_due) = (schedule, Some(first_due));
                }
                task.script = script.unwrap_or(task.script.clone());
            }
        }
        Ok(Some(task.clone()))
    }
}
