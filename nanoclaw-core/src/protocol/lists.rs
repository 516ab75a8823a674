//! The lists that a host keeps in a mailbox for agents that look there, as NanoClaw v1's do. Ours asks the host.

use serde::Serialize;

use crate::{
    chat::{ChatId, ChatKind, ChatMetadata},
    tasks::{Task, TaskStatus},
    time::Timestamp,
};

/// The file of tasks, at the mailbox's root.
pub const TASKS_FILE: &str = "current_tasks.json";
/// The file of chats, beside it.
pub const GROUPS_FILE: &str = "available_groups.json";

/// The most bytes of a list's entries; what comes after them is left out.
const MOST_BYTES: usize = 1024 * 1024;

/// The tasks that are active or rest, in their order.
///
/// Shape: an array of `{id, groupFolder, prompt, script?, schedule_type, schedule_value, status, next_run}`; `next_run` is
/// RFC 3339 in UTC, or null when it is not due.
#[must_use]
pub fn of_tasks(tasks: &[Task]) -> Vec<u8> {
    let standing = tasks.iter().filter(|task| matches!(task.status, TaskStatus::Active | TaskStatus::Paused));
    json(&bounded(standing.map(|task| TaskEntry {
        id: task.id.as_str(),
        group_folder: task.group.as_str(),
        prompt: &task.prompt,
        script: task.script.as_deref(),
        schedule_type: task.schedule.kind(),
        schedule_value: task.schedule.value(),
        status: task.status.word(),
        next_run: task.next_due.filter(|_| task.status == TaskStatus::Active).map(|due| due.to_string()),
    })))
}

/// The chats that could be groups, or are; the order is kept. `registered` are the chats of groups.
///
/// Shape: `{groups: [{jid, name, lastActivity, isRegistered}], lastSync}`, the times RFC 3339 in UTC.
#[must_use]
pub fn of_groups(chats: &[ChatMetadata], registered: &[ChatId], now: Timestamp) -> Vec<u8> {
    let groups = chats.iter().filter(|chat| chat.kind != Some(ChatKind::Private) || registered.contains(&chat.chat));
    let groups = bounded(groups.map(|chat| GroupEntry {
        jid: chat.chat.as_str(),
        name: chat.name.as_deref().unwrap_or(chat.chat.as_str()),
        last_activity: chat.last_seen.to_string(),
        is_registered: registered.contains(&chat.chat),
    }));
    json(&Groups { groups, last_sync: now.to_string() })
}

#[derive(Serialize)]
struct TaskEntry<'a> {
    id: &'a str,
    #[serde(rename = "groupFolder")]
    group_folder: &'a str,
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<&'a str>,
    schedule_type: &'a str,
    schedule_value: String,
    status: &'a str,
    next_run: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Groups<T> {
    groups: Vec<T>,
    last_sync: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupEntry<'a> {
    jid: &'a str,
    name: &'a str,
    last_activity: String,
    is_registered: bool,
}

/// The entries that a list has room for.
fn bounded<T: Serialize>(entries: impl Iterator<Item = T>) -> Vec<T> {
    let mut bytes = 0;
    entries
        .take_while(|entry| {
            bytes += json(entry).len();
            bytes <= MOST_BYTES
        })
        .collect()
}

/// As v1 writes it: indented by two.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("a list has text keys and plain values")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::tz::TimeZone;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        group::GroupFolder,
        run::TaskId,
        schedule::Schedule,
        tasks::{TaskHealth, TaskTerms},
    };

    fn at() -> Timestamp {
        Timestamp::from_ms(1_772_600_400_000)
    }

    fn task(number: u32, status: TaskStatus) -> Task {
        Task {
            id: TaskId::new(format!("task-{number}")).unwrap(),
            group: GroupFolder::new("family").unwrap(),
            created_by: GroupFolder::new("family").unwrap(),
            prompt: "water the plants".to_owned(),
            schedule: Schedule::Every(Duration::from_secs(300)),
            zone: TimeZone::UTC,
            anchor: at(),
            terms: TaskTerms::default(),
            script: None,
            status,
            paused_why: None,
            next_due: Some(at()),
            health: TaskHealth::default(),
            created_at: at(),
        }
    }

    fn read(list: &[u8]) -> Value {
        serde_json::from_slice(list).unwrap()
    }

    #[test]
    fn tasks_are_listed_as_v1_lists_them() {
        use TaskStatus::{Active, Cancelled, Completed, Paused};
        let scripted = Task { script: Some("true".to_owned()), ..task(1, Active) };
        let list = read(&of_tasks(&[scripted, task(2, Completed), task(3, Paused), task(4, Cancelled)]));
        let expected = json!([
            {"id": "task-1", "groupFolder": "family", "prompt": "water the plants", "script": "true",
             "schedule_type": "interval", "schedule_value": "300000", "status": "active",
             "next_run": "2026-03-04T05:00:00.000Z"},
            {"id": "task-3", "groupFolder": "family", "prompt": "water the plants", "schedule_type": "interval",
             "schedule_value": "300000", "status": "paused", "next_run": null},
        ]);
        assert_eq!(list, expected);
        assert_eq!(of_tasks(&[]), b"[]");
    }

    #[test]
    fn a_list_is_bounded_whatever_the_prompts_are() {
        let long = Task { prompt: "x".repeat(64 * 1024), ..task(1, TaskStatus::Active) };
        let list = of_tasks(&vec![long; 100]);
        assert!(list.len() < 2 * MOST_BYTES && read(&list).as_array().unwrap().len() == 15, "{}", list.len());
    }

    #[test]
    fn chats_are_listed_as_v1_lists_them() {
        let chat = |id: &str, name: Option<&str>, kind| ChatMetadata {
            chat: ChatId::new(id).unwrap(),
            channel: "tg".parse().unwrap(),
            name: name.map(str::to_owned),
            kind,
            last_seen: at(),
        };
        let chats = [
            chat("tg:-1", Some("Family"), Some(ChatKind::Group)),
            chat("tg:-2", None, None),
            chat("tg:3", Some("Bob"), Some(ChatKind::Private)),
            chat("tg:4", Some("Ann"), Some(ChatKind::Private)),
        ];
        let list = read(&of_groups(&chats, &[chats[0].chat.clone(), chats[3].chat.clone()], at()));
        let entry = |jid: &str, name: &str, registered: bool| json!({"jid": jid, "name": name, "lastActivity": "2026-03-04T05:00:00.000Z", "isRegistered": registered});
        let groups =
            json!([entry("tg:-1", "Family", true), entry("tg:-2", "tg:-2", false), entry("tg:4", "Ann", true)]);
        assert_eq!(list, json!({"groups": groups, "lastSync": "2026-03-04T05:00:00.000Z"}));
    }
}
