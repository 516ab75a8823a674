//! What is scheduled: checked here, kept by the port [`Tasks`](crate::tasks::Tasks), where the host has one.

use std::{fmt::Write as _, sync::Arc};

use super::{super::agenda::Agenda, Desk, No};
use crate::{
    chat::ChatId,
    delivery::DeliveryKey,
    group::Group,
    protocol::requests::TaskRequest,
    run::TaskId,
    schedule::{Schedule, shown},
    tasks::{NewTask, Task, TaskChange, TaskContext, TaskStatus, TaskTerms, TaskUpdate},
    time::Timestamp,
};

/// The most bytes of a task's prompt, and of its script.
const LONGEST_PROMPT: usize = 64 * 1024;
/// How many tasks are listed.
const TASKS_LISTED: u32 = 200;
/// How many characters of a prompt a list shows.
const PROMPT_SHOWN: usize = 80;
/// How many of its next times are echoed, so that a person can check them.
const TIMES_SHOWN: usize = 3;

/// What agents are told by a host that keeps no tasks.
const NO_SCHEDULER: &str = "this host does not run scheduled tasks yet";

impl Desk<'_> {
    pub(super) async fn about_tasks(&self, key: DeliveryKey, request: TaskRequest) -> Result<String, No> {
        use TaskRequest::{CancelTask, ListTasks, PauseTask, ResumeTask, ScheduleTask, UpdateTask};
        match request {
            ScheduleTask { prompt, schedule_type, schedule_value, context_mode, target_jid, script } => {
                let group = self.target(target_jid)?;
                let schedule = Schedule::parse(&schedule_type, &schedule_value).map_err(|error| error.to_string())?;
                let (first_due, context) = (self.first_due(&schedule)?, task_context(context_mode)?);
                let (prompt, script) = (checked_prompt(prompt)?, script.map(checked_script).transpose()?.flatten());
                let (group, created_by) = (group.folder.clone(), self.group.folder.clone());
                let (zone, terms) = (self.context.settings.zone.clone(), TaskTerms { context, ..TaskTerms::default() });
                let new = NewTask { key, group, created_by, prompt, schedule, zone, first_due, terms, script };
                self.schedule(new).await
            }
            ListTasks {} => self.list_tasks().await,
            PauseTask { task_id } => self.change(task_id, TaskChange::Pause { why: None }).await,
            ResumeTask { task_id } => self.resume(task_id).await,
            CancelTask { task_id } => self.change(task_id, TaskChange::Cancel).await,
            UpdateTask { task_id, prompt, schedule_type, schedule_value, script } => {
                self.update(task_id, prompt, schedule_type, schedule_value, script).await
            }
            // They are no tasks; who calls this has decided about them.
            TaskRequest::RegisterGroup { .. } | TaskRequest::RefreshGroups {} | TaskRequest::ListGroups {} => {
                Err("this is not about tasks".into())
            }
        }
    }

    async fn schedule(&self, new: NewTask) -> Result<String, No> {
        let times = self.times(&new.schedule);
        let Some(agenda) = &self.context.agenda else {
            return Err(format!(
                "{NO_SCHEDULER}, so nothing was scheduled. The schedule itself is in order: it would be due {times}"
            )
            .into());
        };
        let id = agenda.add(&new).await?;
        let (group, context) = (&new.group, new.terms.context.word());
        Ok(format!("scheduled as task {id} for the group {group} (context {context}): due {times}"))
    }

    async fn list_tasks(&self) -> Result<String, No> {
        let own = (!self.is_main()).then_some(&self.group.folder);
        let list = self.agenda()?.tasks.list(own, TASKS_LISTED).await?;
        if list.is_empty() {
            return Ok("there are no tasks".to_owned());
        }
        let mut text = format!("{} tasks:", list.len());
        for task in &list {
            let begins: String =
                task.prompt.chars().take(PROMPT_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
            let more = if task.prompt.chars().nth(PROMPT_SHOWN).is_some() { "…" } else { "" };
            let Task { id, group, .. } = task;
            let _ = write!(text, "\n- [{id}] {begins}{more} (group {group}): {}", self.stands(task));
        }
        if list.len() >= TASKS_LISTED as usize {
            let _ = write!(text, "\nThere may be more; the first {TASKS_LISTED} are shown.");
        }
        Ok(text)
    }

    async fn update(
        &self,
        id: String,
        prompt: Option<String>,
        kind: Option<String>,
        value: Option<String>,
        script: Option<String>,
    ) -> Result<String, No> {
        let task = self.own_task(id).await?;
        let prompt = prompt.map(checked_prompt).transpose()?;
        let script = script.map(checked_script).transpose()?;
        let schedule = match (kind, value) {
            (None, None) => None,
            (Some(_), None) => return Err("a new schedule_type needs a schedule_value".into()),
            (kind, Some(value)) => {
                let kind = kind.unwrap_or_else(|| task.schedule.kind().to_owned());
                let schedule = Schedule::parse(&kind, &value).map_err(|error| error.to_string())?;
                let first_due = self.first_due(&schedule)?;
                Some((schedule, first_due))
            }
        };
        let update = TaskUpdate { prompt, schedule, script, terms: None };
        if update.is_empty() {
            return Err(
                "nothing was said that is to change: prompt, schedule_type and schedule_value, or script".into()
            );
        }
        self.change(task.id.to_string(), TaskChange::Update(update)).await
    }

    async fn resume(&self, id: String) -> Result<String, No> {
        let task = self.own_task(id).await?;
        if task.status == TaskStatus::Active {
            return Err(format!("the task {} does not rest: {}", task.id, self.stands(&task)).into());
        }
        let Some(next_due) = task.next_after(Timestamp::now()) else {
            return Err(format!("the task {} is not due any more; give it a new time by update_task", task.id).into());
        };
        self.change(task.id.to_string(), TaskChange::Resume { next_due }).await
    }

    async fn change(&self, id: String, change: TaskChange) -> Result<String, No> {
        let task = self.own_task(id).await?;
        if task.status == TaskStatus::Completed && matches!(change, TaskChange::Pause { .. }) {
            return Err(
                format!("the task {} was due for the last time; give it a new time by update_task", task.id).into()
            );
        }
        let changed = self.agenda()?.change(&task.id, &change).await?;
        let Some(task) = changed else { return Err(no_task(task.id.as_str())) };
        let (id, stands) = (&task.id, self.stands(&task));
        Ok(match change {
            TaskChange::Pause { .. } => format!("the task {id} rests until it is resumed"),
            TaskChange::Resume { .. } => format!("the task {id} goes on: {stands}"),
            TaskChange::Cancel => format!("the task {id} is cancelled and will not run again"),
            TaskChange::Update(_) => format!("the task {id} is changed: {stands}"),
        })
    }

    fn agenda(&self) -> Result<&Agenda, No> {
        self.context.agenda.as_ref().ok_or_else(|| No::Refused(format!("{NO_SCHEDULER}, so there are none")))
    }

    /// A task that this group may see. Of another group's it is not told that it is there.
    async fn own_task(&self, id: String) -> Result<Task, No> {
        let tasks = &self.agenda()?.tasks;
        let id = TaskId::new(id).map_err(|error| error.to_string())?;
        let task = tasks
            .task(&id)
            .await?
            .filter(|task| task.status != TaskStatus::Cancelled && (self.is_main() || task.group == self.group.folder));
        task.ok_or_else(|| no_task(id.as_str()))
    }

    /// Whose task it is to be.
    fn target(&self, chat: Option<String>) -> Result<Arc<Group>, No> {
        let Some(chat) = chat else { return Ok(self.group.clone()) };
        let chat = ChatId::new(chat).map_err(|error| error.to_string())?;
        if chat == self.group.chat {
            return Ok(self.group.clone());
        }
        if !self.is_main() {
            return Err("this group may schedule for itself only; the main group may schedule for others".into());
        }
        let group = self.context.registrar.directory.of_chat(&chat);
        group.ok_or_else(|| format!("the chat {chat} is not registered as a group; list_groups shows which are").into())
    }

    fn first_due(&self, schedule: &Schedule) -> Result<Timestamp, String> {
        schedule.first_after(Timestamp::now(), &self.context.settings.zone).map_err(|error| error.to_string())
    }

    fn times(&self, schedule: &Schedule) -> String {
        let zone = &self.context.settings.zone;
        let times = schedule.times_after(Timestamp::now(), zone, TIMES_SHOWN);
        let times: Vec<String> = times.into_iter().map(|at| shown(at, zone)).collect();
        times.join(", then ")
    }

    fn stands(&self, task: &Task) -> String {
        let (kind, value, status) = (task.schedule.kind(), task.schedule.value(), task.status.word());
        let next = match task.next_due {
            Some(at) if task.status == TaskStatus::Active => shown(at, &self.context.settings.zone),
            _ => "not".to_owned(),
        };
        format!("{kind} {value}, {status}, due next: {next}")
    }
}

fn no_task(id: &str) -> No {
    format!("there is no task {id:?} of this group; list_tasks shows which there are").into()
}

fn task_context(word: Option<String>) -> Result<TaskContext, No> {
    let Some(word) = word else { return Ok(TaskContext::default()) };
    TaskContext::of_word(&word).ok_or_else(|| "context_mode is group, isolated or own".into())
}

fn checked_prompt(prompt: String) -> Result<String, No> {
    if prompt.trim().is_empty() {
        return Err("the prompt is empty".into());
    }
    bounded("prompt", prompt)
}

/// `None` for one that is to be no more.
fn checked_script(script: String) -> Result<Option<String>, No> {
    Ok(Some(bounded("script", script)?).filter(|script| !script.trim().is_empty()))
}

fn bounded(what: &str, text: String) -> Result<String, No> {
    match text.len() {
        0..=LONGEST_PROMPT => Ok(text),
        bytes => Err(format!(
            "the {what} has {bytes} bytes; it may have {LONGEST_PROMPT}. Keep the rest in a file of the group's folder and name it"
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f63_a_task_goes_on_with_the_groups_conversation_unless_it_is_to_have_its_own() {
        assert!(matches!(task_context(None), Ok(TaskContext::Group)));
        assert!(matches!(task_context(Some("group".to_owned())), Ok(TaskContext::Group)));
        assert!(matches!(task_context(Some("isolated".to_owned())), Ok(TaskContext::Isolated)));
        assert!(matches!(task_context(Some("none".to_owned())), Err(No::Refused(_))));
    }
}
