//! Under a NanoClaw v1 host: it takes requests and says nothing of what came of them, drops what it does not like, and keeps
//! what there is to know in files of the mailbox.

use std::{io::Read as _, time::Duration};

use nanoclaw_core::{
    mailbox::{Mailbox, MailboxError},
    protocol::requests::{MessageRequest, TaskFields, TaskRequest},
    schedule::Schedule,
    time::Timestamp,
};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::{Outcome, Request, asking::file_name, shortened};

/// How long the host may take to take a request; it looks once a second.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The most bytes of a file that it keeps for us.
const MOST_BYTES: u64 = 1024 * 1024;

pub(super) async fn ask(mailbox: &Mailbox, request: &Request) -> Result<Outcome, MailboxError> {
    let request = match request {
        Request::Message(MessageRequest::File { .. }) => {
            return Ok(Outcome::Refused("this host (NanoClaw v1) sends no files".to_owned()));
        }
        Request::Task(TaskRequest::ListTasks {}) => return Ok(list(mailbox, "current_tasks.json", "/", task)),
        Request::Task(TaskRequest::ListGroups {}) => {
            return Ok(list(mailbox, "available_groups.json", "/groups", group));
        }
        Request::Task(request) => match checked(request.clone()) {
            Ok(request) => Request::Task(request),
            Err(reason) => return Ok(Outcome::Refused(reason)),
        },
        Request::Message(message) => Request::Message(message.clone()),
    };
    let (folder, name) = (request.tray().open(mailbox)?, file_name());
    folder.write(&name, &request.to_json())?;
    let deadline = Instant::now() + PATIENCE;
    // It tells of nothing, and a removal is nothing that a watch tells of either.
    while folder.has(&name)? {
        if Instant::now() >= deadline {
            return Ok(Outcome::NotKnown(format!(
                "the request was handed over, and the host has not taken it within {PATIENCE:?}. It stays, and is \
                 carried out when the host looks; do not ask again, or it may happen twice"
            )));
        }
        sleep_until(Instant::now() + LOOK_EVERY).await;
    }
    let said = "handed over to the host, which took it; this host (NanoClaw v1) does not say what came of it";
    Ok(Outcome::Done(said.to_owned()))
}

/// What a request says of a task is checked here, since nobody else says what is wrong with it, and written as v1 reads it.
fn checked(request: TaskRequest) -> Result<TaskRequest, String> {
    Ok(match request {
        TaskRequest::ScheduleTask { task, target_jid } => {
            let task = in_terms_of_v1(task)?;
            if task.schedule_value.is_none() {
                return Err("it was not said when: give schedule, or schedule_type and schedule_value".to_owned());
            }
            TaskRequest::ScheduleTask { task, target_jid }
        }
        TaskRequest::UpdateTask { task_id, task: TaskFields { context_mode: Some(_), .. } } => {
            return Err(format!("this host (NanoClaw v1) cannot change the context of {task_id}; make a new task"));
        }
        TaskRequest::UpdateTask { task_id, task } => TaskRequest::UpdateTask { task_id, task: in_terms_of_v1(task)? },
        TaskRequest::RunTaskNow { .. } => {
            return Err(
                "this host (NanoClaw v1) runs tasks at their times only; schedule one for in a minute".to_owned()
            );
        }
        other => other,
    })
}

fn in_terms_of_v1(task: TaskFields) -> Result<TaskFields, String> {
    let unknown = [
        ("timezone", task.timezone.is_some()),
        ("catch_up", task.catch_up.is_some()),
        ("overlap", task.overlap.is_some()),
        ("silent", task.silent.is_some()),
        ("the context_mode own", task.context_mode.as_deref() == Some("own")),
    ];
    if let Some((what, _)) = unknown.into_iter().find(|(_, said)| *said) {
        return Err(format!("this host (NanoClaw v1) does not know {what}; leave it out"));
    }
    let (zone, now) = (jiff::tz::TimeZone::system(), Timestamp::now());
    let schedule = match (&task.schedule, &task.schedule_type, &task.schedule_value) {
        (Some(written), None, None) => Schedule::read(written, now, &zone),
        (None, Some(kind), Some(value)) => Schedule::parse(kind, value),
        (Some(_), ..) => return Err("say when by schedule, or by schedule_type and schedule_value".to_owned()),
        (None, Some(_), None) => return Err("a schedule_type needs a schedule_value".to_owned()),
        // The kind is the host's to know.
        (None, None, _) => return Ok(task),
    };
    let schedule = schedule.map_err(|error| error.to_string())?;
    schedule.first_after(now, &zone).map_err(|error| error.to_string())?;
    let (kind, value) = (Some(schedule.kind().to_owned()), Some(schedule.value()));
    Ok(TaskFields { schedule: None, schedule_type: kind, schedule_value: value, ..task })
}

/// The lines of a list that the host keeps in a file.
fn list(mailbox: &Mailbox, file: &str, at: &str, line: fn(&Value) -> String) -> Outcome {
    let read = || -> Result<Value, String> {
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(mailbox.root().join(file)).map_err(|error| error.to_string())?;
        opened.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    };
    let content = match read() {
        Ok(content) => content,
        Err(error) => return Outcome::Failed(format!("the host's list, {file}, cannot be read: {error}")),
    };
    let list = if at == "/" { Some(&content) } else { content.pointer(at) };
    let lines: Vec<String> = list.and_then(Value::as_array).into_iter().flatten().map(line).collect();
    match lines.is_empty() {
        true => Outcome::Done("there are none".to_owned()),
        false => Outcome::Done(lines.join("\n")),
    }
}

fn task(task: &Value) -> String {
    let word = |name: &str| shortened(task[name].as_str().unwrap_or("?"));
    let (id, prompt, kind, value) = (word("id"), word("prompt"), word("schedule_type"), word("schedule_value"));
    format!("- [{id}] {prompt} ({kind}: {value}) - {}, next: {}", word("status"), word("next_run"))
}

fn group(group: &Value) -> String {
    let word = |name: &str| shortened(group[name].as_str().unwrap_or("?"));
    let registered = if group["isRegistered"] == true { "registered" } else { "not registered" };
    format!("- {} ({}): {registered}, last active {}", word("jid"), word("name"), word("lastActivity"))
}
