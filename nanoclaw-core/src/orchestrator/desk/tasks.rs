//! What is scheduled: checked here, kept by the port [`Tasks`](crate::tasks::Tasks), where the host has one.

use std::{fmt::Write as _, sync::Arc};

use super::{super::agenda::Agenda, Desk, No};
use crate::{
    chat::ChatId,
    delivery::DeliveryKey,
    group::Group,
    protocol::requests::{TaskFields, TaskRequest},
    run::TaskId,
    schedule::shown,
    tasks::{
        CatchUp, Firing, NewTask, Overlap, Task, TaskChange, TaskContext, TaskSettings, TaskStatus, TaskTerms,
        asked::{Asked, TIMES_SHOWN, TermsAsked, When},
    },
    time::Timestamp,
};

/// How many tasks are listed.
const TASKS_LISTED: u32 = 200;
/// How many characters of a prompt a list shows.
const PROMPT_SHOWN: usize = 80;

/// What agents are told by a host that keeps no tasks.
const NO_SCHEDULER: &str = "this host does not run scheduled tasks yet";

impl Desk<'_> {
    pub(super) async fn about_tasks(&self, key: DeliveryKey, request: TaskRequest) -> Result<String, No> {
        use TaskRequest::{CancelTask, ListTasks, PauseTask, ResumeTask, RunTaskNow, ScheduleTask, UpdateTask};
        match request {
            ScheduleTask { task, target_jid } => self.schedule(key, task, target_jid).await,
            ListTasks {} => self.list_tasks().await,
            PauseTask { task_id } => self.change(task_id, TaskChange::Pause { why: None }).await,
            ResumeTask { task_id } => self.resume(task_id).await,
            CancelTask { task_id } => self.change(task_id, TaskChange::Cancel).await,
            RunTaskNow { task_id } => self.run_now(key, task_id).await,
            UpdateTask { task_id, task } => self.update(task_id, task).await,
            // They are no tasks; who calls this has decided about them.
            TaskRequest::RegisterGroup { .. } | TaskRequest::RefreshGroups {} | TaskRequest::ListGroups {} => {
                Err("this is not about tasks".into())
            }
        }
    }

    async fn schedule(&self, key: DeliveryKey, fields: TaskFields, chat: Option<String>) -> Result<String, No> {
        let whose = (self.target(chat)?.folder.clone(), self.group.folder.clone());
        let (zone, now) = (&self.context.settings.zone, Timestamp::now());
        let new = asked(fields)?.new_task(key, whose, zone, &self.task_settings(), now);
        let new = new.map_err(|error| error.to_string())?;
        let NewTask { group, schedule, first_due, zone, terms, .. } = &new;
        let times = schedule.times_from(*first_due, *first_due, zone, TIMES_SHOWN).into_iter();
        let times = times.map(|at| shown(at, zone)).collect::<Vec<_>>().join(", then ");
        let Some(agenda) = &self.context.agenda else {
            return Err(format!(
                "{NO_SCHEDULER}, so nothing was scheduled. The schedule itself is in order: it would be due {times}"
            )
            .into());
        };
        let id = agenda.add(&new).await?;
        Ok(format!("scheduled as task {id} for the group {group} ({}): due {times}", described(*terms)))
    }

    async fn list_tasks(&self) -> Result<String, No> {
        let own = (!self.is_main()).then_some(&self.group.folder);
        let list = self.agenda()?.tasks.standing(own, TASKS_LISTED).await?;
        if list.is_empty() {
            return Ok("there are no tasks".to_owned());
        }
        let mut text = format!("{} tasks:", list.len());
        for task in &list {
            let begins: String =
                task.prompt.chars().take(PROMPT_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
            let more = if task.prompt.chars().nth(PROMPT_SHOWN).is_some() { "…" } else { "" };
            let Task { id, group, .. } = task;
            let _ = write!(text, "\n- [{id}] {begins}{more} (group {group}): {}", stands(task, 1));
        }
        if list.len() >= TASKS_LISTED as usize {
            let _ = write!(text, "\nThere may be more; the first {TASKS_LISTED} are shown.");
        }
        Ok(text)
    }

    async fn update(&self, id: String, fields: TaskFields) -> Result<String, No> {
        let task = self.own_task(id).await?;
        let update = asked(fields)?.update(&task, &self.task_settings(), Timestamp::now());
        let update = update.map_err(|error| error.to_string())?;
        self.change(task.id.to_string(), TaskChange::Update(update)).await
    }

    async fn run_now(&self, key: DeliveryKey, id: String) -> Result<String, No> {
        let (task, agenda) = (self.own_task(id).await?, self.agenda()?);
        let id = &task.id;
        let waits = |firing: &Firing| firing.task == *id && firing.key.as_ref() != Some(&key);
        if agenda.tasks.waiting().await?.iter().any(waits) {
            return Err(format!("the task {id} waits to be run already; it is as soon as its group may").into());
        }
        match agenda.fire_now(id, &key).await? {
            Some(_) => Ok(format!(
                "the task {id} runs as soon as its group may, beside its times: {}",
                stands(&task, TIMES_SHOWN)
            )),
            None => Err(no_task(id.as_str())),
        }
    }

    async fn resume(&self, id: String) -> Result<String, No> {
        let task = self.own_task(id).await?;
        if task.status == TaskStatus::Active {
            return Err(format!("the task {} does not rest: {}", task.id, stands(&task, TIMES_SHOWN)).into());
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
        let (id, stands) = (&task.id, stands(&task, TIMES_SHOWN));
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

    fn task_settings(&self) -> TaskSettings {
        self.context.agenda.as_ref().map_or_else(TaskSettings::default, |agenda| agenda.settings)
    }
}

/// What was said, as it is checked.
fn asked(fields: TaskFields) -> Result<Asked, No> {
    let TaskFields {
        prompt,
        schedule,
        schedule_type,
        schedule_value,
        timezone,
        context_mode,
        catch_up,
        overlap,
        silent,
        script,
    } = fields;
    let when = match (schedule, schedule_type, schedule_value) {
        (None, None, None) => None,
        (Some(written), None, None) => Some(When::Written(written)),
        (None, kind, value) => Some(When::OfKind { kind, value }),
        (Some(_), ..) => return Err("say when by schedule, or by schedule_type and schedule_value, not by both".into()),
    };
    let terms = TermsAsked {
        context: word(context_mode, TaskContext::of_word, "context_mode is group, isolated or own")?,
        catch_up: word(catch_up, CatchUp::of_word, "catch_up is skip, once or all")?,
        overlap: word(overlap, Overlap::of_word, "overlap is skip or queue")?,
        silent,
    };
    Ok(Asked { prompt, when, zone: timezone, terms, script })
}

fn word<T>(word: Option<String>, of_word: fn(&str) -> Option<T>, right: &str) -> Result<Option<T>, No> {
    word.map(|word| of_word(&word).ok_or_else(|| right.into())).transpose()
}

/// When it is due, with so many of its next times, and how it is done, where that is not as usual.
fn stands(task: &Task, times: usize) -> String {
    let (kind, value, status) = (task.schedule.kind(), task.schedule.value(), task.status.word());
    let next = match task.next_due {
        Some(at) if task.status == TaskStatus::Active => {
            let times = task.schedule.times_from(task.anchor, at, &task.zone, times).into_iter();
            times.map(|at| shown(at, &task.zone)).collect::<Vec<_>>().join(", then ")
        }
        _ => "not".to_owned(),
    };
    let how = match task.terms == TaskTerms::default() {
        true => String::new(),
        false => format!(" ({})", described(task.terms)),
    };
    format!("{kind} {value}{how}, {status}, due next: {next}")
}

fn described(terms: TaskTerms) -> String {
    let TaskTerms { context, catch_up, overlap, silent } = terms;
    let mut text = format!("context {}", context.word());
    if catch_up != CatchUp::default() {
        let _ = write!(text, ", catch_up {}", catch_up.word());
    }
    if overlap != Overlap::default() {
        let _ = write!(text, ", overlap {}", overlap.word());
    }
    if silent {
        text.push_str(", silent");
    }
    text
}

fn no_task(id: &str) -> No {
    format!("there is no task {id:?} of this group; list_tasks shows which there are").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(context_mode: Option<&str>) -> Result<Asked, No> {
        asked(TaskFields { context_mode: context_mode.map(str::to_owned), ..TaskFields::default() })
    }

    #[test]
    fn f63_a_task_goes_on_with_the_groups_conversation_unless_it_is_to_have_its_own() {
        let context = |said| of(said).ok().map(|asked| asked.terms.over(TaskTerms::default()).context);
        assert_eq!(context(None), Some(TaskContext::Group));
        assert_eq!(context(Some("group")), Some(TaskContext::Group));
        assert_eq!(context(Some("isolated")), Some(TaskContext::Isolated));
        assert_eq!(context(Some("own")), Some(TaskContext::Own));
        assert!(matches!(of(Some("none")), Err(No::Refused(_))));
    }
}
