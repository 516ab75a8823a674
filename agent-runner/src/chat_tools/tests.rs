//! Calls against a host that a test plays, with time that passes by itself.

use std::{fs, time::Duration};

use serde_json::json;

use super::*;

/// A group's mailbox, with the host's part of it.
struct House {
    folder: tempfile::TempDir,
    mailbox: Mailbox,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::new(folder.path().join("ipc"));
        mailbox.create().unwrap();
        Self { folder, mailbox }
    }

    /// As a v1 host makes it.
    fn of_v1() -> Self {
        let house = Self::new();
        for name in ["answers", "output", "alive"] {
            fs::remove_dir(house.mailbox.root().join(name)).unwrap();
        }
        house
    }

    fn tools(&self, role: GroupRole) -> ChatTools {
        ChatTools {
            mailbox: self.mailbox.clone(),
            group: self.folder.path().join("group"),
            chat: "tg:1".to_owned(),
            role,
            watcher: OnceCell::new(),
        }
    }

    /// The requests that lie there, taken away.
    fn taken(&self, tray: &str) -> Vec<(String, Value)> {
        let folder = self.mailbox.root().join(tray);
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".json") && !name.starts_with('.'))
            .collect();
        names.sort();
        names
            .into_iter()
            .map(|name| {
                let content = serde_json::from_slice(&fs::read(folder.join(&name)).unwrap()).unwrap();
                fs::remove_file(folder.join(&name)).unwrap();
                (name, content)
            })
            .collect()
    }

    /// Waits for a request, and takes it.
    async fn request(&self, tray: &str) -> (String, Value) {
        loop {
            if let Some(request) = self.taken(tray).pop() {
                return request;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn answer(&self, name: &str, answer: &Answer) {
        self.mailbox.answers().unwrap().write(name, &serde_json::to_vec(answer).unwrap()).unwrap();
    }

    fn nothing_lies_there(&self) {
        for tray in ["messages", "tasks", "answers"] {
            let count = fs::read_dir(self.mailbox.root().join(tray)).map_or(0, Iterator::count);
            assert_eq!(count, 0, "{tray}");
        }
    }
}

fn done(detail: &str) -> Answer {
    Answer::Done { detail: detail.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn each_tool_is_the_request_that_v1_knows_and_the_hosts_answer_is_its_result() {
    let house = House::new();
    let tools = house.tools(GroupRole::Main);
    let in_group = house.folder.path().join("group/a.png");
    for (name, arguments, tray, request) in [
        (
            "send_message",
            json!({"text": "hi"}),
            "messages",
            json!({"type": "message", "chatJid": "tg:1", "text": "hi"}),
        ),
        (
            "send_message",
            json!({"text": "hi", "chat": "tg:2", "sender": "R"}),
            "messages",
            json!({"type": "message", "chatJid": "tg:2", "text": "hi", "sender": "R"}),
        ),
        (
            "send_file",
            json!({"path": in_group, "caption": "look"}),
            "messages",
            json!({"type": "file", "chatJid": "tg:1", "path": "a.png", "caption": "look"}),
        ),
        (
            "send_file",
            json!({"path": "/etc/passwd"}),
            "messages",
            json!({"type": "file", "chatJid": "tg:1", "path": "/etc/passwd"}),
        ),
        (
            "schedule_task",
            json!({"prompt": "p", "schedule_type": "cron", "schedule_value": "0 9 * * *"}),
            "tasks",
            json!({"type": "schedule_task", "prompt": "p", "schedule_type": "cron", "schedule_value": "0 9 * * *",
                "context_mode": "group", "targetJid": "tg:1"}),
        ),
        (
            "schedule_task",
            json!({"prompt": "p", "schedule": "every 2h", "timezone": "UTC", "catch_up": "all", "overlap": "queue",
                "silent": true, "context_mode": "own"}),
            "tasks",
            json!({"type": "schedule_task", "prompt": "p", "schedule": "every 2h", "timezone": "UTC", "catch_up": "all",
                "overlap": "queue", "silent": true, "context_mode": "own", "targetJid": "tg:1"}),
        ),
        ("list_tasks", json!({}), "tasks", json!({"type": "list_tasks"})),
        ("run_task_now", json!({"task_id": "t"}), "tasks", json!({"type": "run_task_now", "taskId": "t"})),
        (
            "update_task",
            json!({"task_id": "t", "silent": false, "context_mode": "isolated"}),
            "tasks",
            json!({"type": "update_task", "taskId": "t", "silent": false, "context_mode": "isolated"}),
        ),
        ("pause_task", json!({"task_id": "t"}), "tasks", json!({"type": "pause_task", "taskId": "t"})),
        ("resume_task", json!({"task_id": "t"}), "tasks", json!({"type": "resume_task", "taskId": "t"})),
        ("cancel_task", json!({"task_id": "t"}), "tasks", json!({"type": "cancel_task", "taskId": "t"})),
        (
            "update_task",
            json!({"task_id": "t", "schedule_type": "interval", "schedule_value": "5m", "script": ""}),
            "tasks",
            json!({"type": "update_task", "taskId": "t", "schedule_type": "interval", "schedule_value": "5m", "script": ""}),
        ),
        (
            "register_group",
            json!({"jid": "tg:2", "name": "Two", "folder": "two", "trigger": "@Andy", "requiresTrigger": false}),
            "tasks",
            json!({"type": "register_group", "jid": "tg:2", "name": "Two", "folder": "two", "trigger": "@Andy",
                "requiresTrigger": false}),
        ),
        ("refresh_groups", Value::Null, "tasks", json!({"type": "refresh_groups"})),
        ("list_groups", json!({}), "tasks", json!({"type": "list_groups"})),
    ] {
        let answered = async {
            let (file, asked) = house.request(tray).await;
            assert_eq!(asked, request, "{name}");
            house.answer(&file, &done(name));
        };
        let (outcome, ()) = tokio::join!(tools.call(name, arguments), answered);
        assert_eq!(outcome, Outcome::Done(name.to_owned()));
        house.nothing_lies_there();
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_and_a_failure_are_told_with_their_reason() {
    let house = House::new();
    let tools = house.tools(GroupRole::Ordinary);
    let reason = "the disk is full".to_owned();
    for (answer, text) in [
        (Answer::Refused { reason: reason.clone() }, "Refused: the disk is full"),
        (Answer::Failed { reason }, "Failed: the disk is full"),
    ] {
        let answered = async { house.answer(&house.request("messages").await.0, &answer) };
        let (outcome, ()) = tokio::join!(tools.call("send_message", json!({"text": "hi"})), answered);
        assert_eq!((outcome.text().as_str(), outcome.is_error()), (text, true));
    }
    // An answer that is none.
    let answered = async {
        let (name, _) = house.request("messages").await;
        house.mailbox.answers().unwrap().write(&name, b"{torn").unwrap();
    };
    let (outcome, ()) = tokio::join!(tools.call("send_message", json!({"text": "hi"})), answered);
    assert!(outcome.text().starts_with("Failed: the host's answer makes no sense"), "{outcome:?}");
    house.nothing_lies_there();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_makes_no_sense_is_told_what_would_and_asks_nobody() {
    let house = House::new();
    let (main, other) = (house.tools(GroupRole::Main), house.tools(GroupRole::Ordinary));
    for (tools, name, arguments, part) in [
        (&main, "dance", json!({}), r#"there is no tool "dance"; there are send_message, send_file"#),
        (&main, "send_message", json!({}), r#"send_message needs the argument "text", a text"#),
        (&main, "send_message", json!({"text": 7}), r#""text" of send_message is a text, not a number"#),
        (&main, "send_message", json!({"text": null}), "needs the argument"),
        (&main, "send_message", json!({"txt": "hi"}), r#"takes no argument "txt"; it takes chat, sender, text"#),
        (&main, "send_message", json!(["hi"]), "are an object, not a list"),
        (&main, "list_tasks", json!({"all": true}), "it takes none"),
        (
            &main,
            "schedule_task",
            json!({"schedule": "every 5m"}),
            r#"schedule_task needs the argument "prompt", a text"#,
        ),
        (&main, "schedule_task", json!({"prompt": "p", "silent": "yes"}), "true or false, not a text"),
        (
            &main,
            "register_group",
            json!({"jid": "tg:2", "name": "n", "folder": "f", "requiresTrigger": "no"}),
            "true or false, not a text",
        ),
        (
            &other,
            "register_group",
            json!({"jid": "tg:2", "name": "n", "folder": "f"}),
            "only the main group may use register_group",
        ),
        (&other, "send_message", json!({"text": "hi", "chat": "tg:2"}), r#"takes no argument "chat""#),
        (&other, "send_message", json!({"text": "x".repeat(10_000_000)}), "it is too large; as a request it has 10000"),
    ] {
        let outcome = tools.call(name, arguments).await;
        assert!(matches!(outcome, Outcome::Refused(_)) && outcome.text().contains(part), "{outcome:?}");
    }
    house.nothing_lies_there();
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_each_have_their_own_answer_whatever_the_order_of_the_answers() {
    let house = House::new();
    let tools = house.tools(GroupRole::Ordinary);
    let tools = &tools;
    let call = |text: String| async move { (text.clone(), tools.call("send_message", json!({"text": text})).await) };
    let answered = async {
        let mut asked = Vec::new();
        while asked.len() < 20 {
            asked.extend(house.taken("messages"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for (name, request) in asked.into_iter().rev() {
            house.answer(&name, &done(request["text"].as_str().unwrap()));
        }
    };
    let calls = futures(20, call);
    let (outcomes, ()) = tokio::join!(calls, answered);
    for (text, outcome) in outcomes {
        assert_eq!(outcome, Outcome::Done(text));
    }
    house.nothing_lies_there();
}

/// That many calls side by side.
async fn futures<F: Future>(count: usize, call: impl Fn(String) -> F) -> Vec<F::Output> {
    let mut calls: Vec<_> = (0..count).map(|number| Box::pin(call(format!("message {number}")))).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        calls.retain_mut(|call| match call.as_mut().poll(context) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_told_as_what_nobody_knows() {
    let house = House::new();
    let tools = house.tools(GroupRole::Ordinary);
    let outcome = tools.call("send_message", json!({"text": "hi"})).await;
    assert!(
        matches!(&outcome, Outcome::NotKnown(known) if known.contains("did not take the request within 30s")),
        "{outcome:?}"
    );
    assert_eq!(house.taken("messages").len(), 1, "it is carried out when a host is back");

    let take = async { drop(house.request("messages").await) };
    let (outcome, ()) = tokio::join!(tools.call("send_message", json!({"text": "hi"})), take);
    assert!(
        matches!(&outcome, Outcome::NotKnown(known) if known.contains("took the request and did not say")),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_the_next_host_is_heard_when_the_first_died() {
    let house = House::new();
    let tools = house.tools(GroupRole::Ordinary);
    let next_host = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        house.answer(&house.request("messages").await.0, &done("by the next host"));
    };
    let (outcome, ()) = tokio::join!(tools.call("send_message", json!({"text": "hi"})), next_host);
    assert_eq!(outcome, Outcome::Done("by the next host".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_cannot_be_used_is_said() {
    let house = House::new();
    let tools = house.tools(GroupRole::Ordinary);
    fs::remove_dir(house.mailbox.root().join("messages")).unwrap();
    let outcome = tools.call("send_message", json!({"text": "hi"})).await;
    assert!(outcome.text().starts_with("Failed: the host cannot be asked: "), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_v1_host_gets_files_that_it_understands_and_its_silence_is_said() {
    let house = House::of_v1();
    let tools = house.tools(GroupRole::Main);
    let taken = async { house.request("messages").await };
    let (outcome, (_, request)) = tokio::join!(tools.call("send_message", json!({"text": "hi"})), taken);
    assert_eq!(request, json!({"type": "message", "chatJid": "tg:1", "text": "hi"}));
    assert!(matches!(&outcome, Outcome::Done(said) if said.contains("does not say what came of it")), "{outcome:?}");

    let arguments = json!({"prompt": "p", "schedule_type": "interval", "schedule_value": "2h"});
    let taken = async { house.request("tasks").await };
    let (_, (_, request)) = tokio::join!(tools.call("schedule_task", arguments), taken);
    assert_eq!(request["schedule_value"], "7200000", "v1 reads milliseconds");

    let arguments = json!({"prompt": "p", "schedule": "0 9 * * 1-5"});
    let taken = async { house.request("tasks").await };
    let (_, (_, request)) = tokio::join!(tools.call("schedule_task", arguments), taken);
    let kind_and_value = (&request["schedule_type"], &request["schedule_value"], &request["schedule"]);
    assert_eq!(kind_and_value, (&json!("cron"), &json!("0 9 * * 1-5"), &Value::Null), "v1 reads no other");

    let outcome = tools.call("pause_task", json!({"task_id": "t"})).await;
    assert!(
        matches!(&outcome, Outcome::NotKnown(known) if known.contains("has not taken it within 3s")),
        "{outcome:?}"
    );
    house.taken("tasks");
}

#[tokio::test(start_paused = true)]
async fn what_a_v1_host_would_drop_in_silence_is_refused_and_its_lists_are_read() {
    let house = House::of_v1();
    let tools = house.tools(GroupRole::Main);
    for (name, arguments, part) in [
        ("send_file", json!({"path": "a"}), "sends no files"),
        ("schedule_task", json!({"prompt": "p", "schedule_type": "cron", "schedule_value": "x"}), "it has five fields"),
        (
            "schedule_task",
            json!({"prompt": "p", "schedule_type": "once", "schedule_value": "2020-01-01T09:00:00"}),
            "has passed",
        ),
        ("update_task", json!({"task_id": "t", "schedule_type": "interval", "schedule_value": "0"}), "too short"),
        ("schedule_task", json!({"prompt": "p"}), "it was not said when"),
        ("schedule_task", json!({"prompt": "p", "schedule": "daily"}), "is no schedule"),
        ("schedule_task", json!({"prompt": "p", "schedule": "in 2h", "timezone": "UTC"}), "does not know timezone"),
        ("schedule_task", json!({"prompt": "p", "schedule": "in 2h", "context_mode": "own"}), "context_mode own"),
        ("update_task", json!({"task_id": "t", "context_mode": "own"}), "make a new task"),
        ("run_task_now", json!({"task_id": "t"}), "at their times only"),
    ] {
        let outcome = tools.call(name, arguments).await;
        assert!(matches!(&outcome, Outcome::Refused(reason) if reason.contains(part)), "{outcome:?}");
    }
    house.nothing_lies_there();
    let outcome = tools.call("list_tasks", json!({})).await;
    assert!(matches!(&outcome, Outcome::Failed(reason) if reason.contains("current_tasks.json")), "{outcome:?}");
    let root = house.mailbox.root();
    fs::write(
        root.join("current_tasks.json"),
        r#"[{"id":"task-1","groupFolder":"main","prompt":"water","schedule_type":"cron",
        "schedule_value":"0 9 * * *","status":"active","next_run":"2026-12-01T08:00:00.000Z"}, 7]"#,
    )
    .unwrap();
    let expected =
        "- [task-1] water (cron: 0 9 * * *) - active, next: 2026-12-01T08:00:00.000Z\n- [?] ? (?: ?) - ?, next: ?";
    assert_eq!(tools.call("list_tasks", json!({})).await, Outcome::Done(expected.to_owned()));
    fs::write(
        root.join("available_groups.json"),
        r#"{"groups":[{"jid":"tg:2","name":"Two","lastActivity":"t","isRegistered":true}]}"#,
    )
    .unwrap();
    let expected = "- tg:2 (Two): registered, last active t";
    assert_eq!(tools.call("list_groups", json!({})).await, Outcome::Done(expected.to_owned()));
}

#[test]
fn the_main_group_is_offered_more_and_every_schema_is_an_object_that_says_what_it_needs() {
    let names = |role| definitions::of(role).into_iter().map(|one| one.name).collect::<Vec<_>>();
    let both = [
        "send_message",
        "send_file",
        "schedule_task",
        "list_tasks",
        "pause_task",
        "resume_task",
        "cancel_task",
        "run_task_now",
        "update_task",
        "list_groups",
    ];
    assert_eq!(names(GroupRole::Ordinary), both);
    assert_eq!(names(GroupRole::Main), [&both[..], &["register_group", "refresh_groups"]].concat());
    for definition in [definitions::of(GroupRole::Main), definitions::of(GroupRole::Ordinary)].concat() {
        let (taken, schema) = (definition.arguments(), &definition.schema);
        assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)));
        for needed in schema["required"].as_array().unwrap() {
            assert!(taken.contains(&needed.as_str().unwrap()), "{}: {needed}", definition.name);
        }
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(
                property["description"].as_str().is_some_and(|words| words.len() > 10),
                "{}: {name}",
                definition.name
            );
        }
    }
}
