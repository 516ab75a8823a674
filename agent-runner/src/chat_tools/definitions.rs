//! What the tools are called, what they do, and what they take. The descriptions are all that a model knows of them, so they
//! say the truth about what people see.

use nanoclaw_core::group::GroupRole;
use serde_json::{Map, Value, json};

/// One tool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Definition {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does, for the model.
    pub(crate) description: String,
    /// A JSON schema of its arguments: an object without others.
    pub(crate) schema: Map<String, Value>,
}

impl Definition {
    fn new(name: &'static str, description: &str, properties: Value, required: &[&str]) -> Self {
        let schema = json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        });
        let Value::Object(schema) = schema else { unreachable!("it is written as an object above") };
        Self { name, description: description.to_owned(), schema }
    }

    /// The names of what it takes.
    pub(super) fn arguments(&self) -> Vec<&str> {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        properties.map(|properties| properties.keys().map(String::as_str).collect()).unwrap_or_default()
    }
}

const SCHEDULE: &str = "When, as people write it: `every 5m`, `every 1h 30m`, `in 2h`, a local time such as `2026-12-01 09:00`, or five fields \
    of cron, minute, hour, day of the month, month, day of the week (`0 9 * * 1-5` is weekdays at nine).";

const SCHEDULE_VALUE: &str = "For cron: five fields, minute, hour, day of the month, month, day of the week, by the local clock \
    (`0 9 * * 1-5` is weekdays at nine). For interval: milliseconds or a span, one minute at least (`300000`, `5m`, `2h`). For \
    once: a local time without a zone, in the future (`2026-12-01T09:00:00`).";

/// The tools of a group with these rights.
pub(super) fn of(role: GroupRole) -> Vec<Definition> {
    let main = role == GroupRole::Main;
    let text = |description: &str| json!({"type": "string", "description": description});
    let task_id = || json!({"task_id": text("The task's id, as list_tasks shows it.")});
    // What only the main group may pass.
    let with = |mut properties: Value, name: &str, description: &str| {
        if main {
            properties[name] = text(description);
        }
        properties
    };
    let schedule_type = json!({
        "type": "string", "enum": ["cron", "interval", "once"],
        "description": "With schedule_value, instead of schedule. cron: at times of the clock; interval: again and again, so far \
            apart; once: one time.",
    });
    // What can be said of a task besides.
    let task = |prompt: &str, script: &str, context: &str| {
        json!({
            "prompt": text(prompt),
            "schedule": text(SCHEDULE),
            "schedule_type": schedule_type,
            "schedule_value": text(SCHEDULE_VALUE),
            "timezone": text("The name of the zone in which those times are meant, such as America/New_York, when it is not the usual one."),
            "context_mode": {"type": "string", "enum": ["group", "isolated", "own"], "description": context},
            "catch_up": {
                "type": "string", "enum": ["skip", "once", "all"],
                "description": "What is done about times that pass while the host is off. once (default): it runs for the latest; \
                    skip: not at all; all: for each of them.",
            },
            "overlap": {
                "type": "string", "enum": ["skip", "queue"],
                "description": "What is done when it is due while it still runs. skip (default): that time is left out; queue: it waits.",
            },
            "silent": {
                "type": "boolean",
                "description": "true: what you answer then is kept in the task's record and not sent to the chat. Default: false.",
            },
            "script": text(script),
        })
    };
    let mut tools = vec![
        Definition::new(
            "send_message",
            "Sends a message to the chat at once, while you go on working. Your answer at the end of the turn is sent by itself: \
             use this for progress, or for what is to be a message of its own, and do not say the same again in your answer. The \
             result says that the message is stored for delivery; it is sent in order, and again after failures.",
            with(
                json!({
                    "text": text("What is said."),
                    "sender": text("A name of a role to speak under. Most hosts do not show it; the result says when it is not."),
                }),
                "chat",
                "The id of another registered chat to send it to, as list_groups shows it; absent: this chat.",
            ),
            &["text"],
        ),
        Definition::new(
            "send_file",
            "Sends a file of the group's folder (/workspace/group) to the chat. It must be a regular file and no link, of 50 MiB at \
             most; its type is told by what is in it. Where the chat's channel cannot carry files, nothing is sent, and the result \
             says so.",
            with(
                json!({
                    "path": text("The file: relative to the group's folder, or absolute in it."),
                    "caption": text("Words to go with it."),
                }),
                "chat",
                "The id of another registered chat to send it to, as list_groups shows it; absent: this chat.",
            ),
            &["path"],
        ),
        Definition::new(
            "schedule_task",
            "Schedules a task: at its times you are given the prompt, with all your tools, and what you then answer is sent to the \
             group's chat (words in <internal> tags are not). The result has the task's id and its next times, which you should \
             tell the user; or why it was not scheduled. Say when by `schedule`.",
            with(
                task(
                    "What is to be done, with all that is needed to know: by then this conversation may be long ago.",
                    "Optional, for bash: runs before, 30 seconds at most, in the group's folder. Its last line is JSON: \
                     {\"wakeAgent\": true, \"data\": …} wakes you and shows you the data, {\"wakeAgent\": false} does not wake you.",
                    "group (default): with the memory of the group's conversation; isolated: without; own: with a conversation of \
                     the task's own, which goes on from run to run.",
                ),
                "target_group_jid",
                "The id of the chat whose group is to do it; absent: this chat's.",
            ),
            // And one of schedule, or schedule_type and schedule_value: the host says so.
            &["prompt"],
        ),
        Definition::new(
            "list_tasks",
            if main {
                "Lists the scheduled tasks of all groups: id, beginning of the prompt, schedule, state, next time."
            } else {
                "Lists this group's scheduled tasks: id, beginning of the prompt, schedule, state, next time."
            },
            json!({}),
            &[],
        ),
        Definition::new("pause_task", "Lets a task rest until it is resumed.", task_id(), &["task_id"]),
        Definition::new("resume_task", "Lets a task that rests go on, from its next time on.", task_id(), &["task_id"]),
        Definition::new("cancel_task", "Ends a task for good.", task_id(), &["task_id"]),
        Definition::new(
            "run_task_now",
            "Has a task run now, beside its times, as soon as its group may: not before you are done with this turn.",
            task_id(),
            &["task_id"],
        ),
        Definition::new(
            "update_task",
            "Changes a task; what is not passed stays as it is. The result has its next times, which you should tell the user.",
            {
                let mut properties = task(
                    "What is to be done from now on.",
                    "As in schedule_task; the empty text removes it.",
                    "As in schedule_task.",
                );
                properties["task_id"] = task_id()["task_id"].clone();
                properties
            },
            &["task_id"],
        ),
        Definition::new(
            "list_groups",
            if main {
                "Lists the registered groups, and the chats that are known and not registered, with their ids."
            } else {
                "Says which group this is: its chat's id, its folder, what wakes you. Only the main group is shown others."
            },
            json!({}),
            &[],
        ),
    ];
    if main {
        tools.push(Definition::new(
            "register_group",
            "Registers a chat as a group, whose messages are answered from then on by an agent of its own. A registration that is \
             there is never replaced.",
            json!({
                "jid": text("The chat's id, as list_groups shows it, such as tg:-100123 or 1203@g.us."),
                "name": text("The name people know it by."),
                "folder": text("The name of its folder: letters, digits, _ and -, such as telegram_family."),
                "trigger": text("The words a message begins with to wake the agent; absent: @ and the assistant's name."),
                "requiresTrigger": {
                    "type": "boolean",
                    "description": "false: every message wakes the agent. Default: true.",
                },
            }),
            &["jid", "name", "folder"],
        ));
        tools.push(Definition::new(
            "refresh_groups",
            "Asks the chat services which chats there are, where they can be asked; the result says whether they were. \
             list_groups shows what is known.",
            json!({}),
            &[],
        ));
    }
    tools
}
