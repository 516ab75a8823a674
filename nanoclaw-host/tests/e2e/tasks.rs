//! Scheduled tasks by the real program: asked for at the command line, done in real containers, said in their chats.

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    bridge::{Bridge, Chat, register},
    place::{On, Place, on_each_runtime},
    process::until,
};

on_each_runtime! {
    a_task_that_is_asked_for_at_the_command_line_is_done_and_said_in_its_chat,
    a_task_is_done_and_said_once_wherever_the_host_dies,
}

/// Schedules a task of the chat's group that is due in a moment; its id.
fn add(place: &Place, prompt: &str) -> String {
    let task = place.json(["tasks", "add", "net:-1", "--when", "in 1s", prompt, "--json"]);
    assert_eq!((task["status"].as_str(), task["kind"].as_str()), (Some("active"), Some("once")), "{task}");
    task["id"].as_str().unwrap().to_owned()
}

fn log(place: &Place, id: &str) -> Value {
    place.json(["tasks", "log", id, "--json"])
}

fn done(place: &Place, id: &str) -> Value {
    until("it is done", || Some(log(place, id)).filter(|log| log[0]["state"] == "done"))
}

fn a_task_that_is_asked_for_at_the_command_line_is_done_and_said_in_its_chat(place: &Place) {
    place.run(["init"]).succeeded();
    register(place);
    let service = place.service();
    let mut bridge = Bridge::connect(place);
    let id = add(place, "water the plants");
    let mut chat = Chat::default();
    let said = bridge.show(&mut chat);
    assert!(said.starts_with("heard ") && said.contains("water the plants"), "{said}");
    let log = done(place, &id);
    assert_eq!((log[0]["tries"].as_u64(), log.as_array().unwrap().len()), (Some(1), 1), "{log}");
    assert_eq!(log[0]["text"], said.as_str(), "{log}");
    until("its container is gone", || (place.containers() == 0).then_some(()));
    let shown = place.run(["tasks", "show", &id]).succeeded();
    assert!(shown.contains("completed") && shown.contains("water the plants"), "{shown}");
    assert_eq!(place.rows("SELECT text FROM messages"), Vec::<String>::new(), "nobody has said anything");
    assert_eq!(place.rows("SELECT kind || ' ' || ending FROM runs"), ["task finished"]);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

fn a_task_is_done_and_said_once_wherever_the_host_dies(place: &Place) {
    place.run(["init"]).succeeded();
    register(place);
    let mut chat = Chat::default();
    for (number, point) in ["tasks.claim.after", "tasks.begin.after", "store.commit_block.after", "tasks.end.after"]
        .into_iter()
        .enumerate()
    {
        let dying = place.service_that_dies_at(&format!("{point}:1"));
        let mut bridge = Bridge::connect(place);
        let id = add(place, &format!("task number {number}"));
        if point == "tasks.end.after" {
            assert!(bridge.show(&mut chat).contains(&format!("task number {number}")));
        }
        assert_eq!(dying.ended().code, None, "it was killed at {point}");
        let service = place.service();
        let mut bridge = Bridge::connect(place);
        if point != "tasks.end.after" {
            assert!(bridge.show(&mut chat).contains(&format!("task number {number}")), "{:?}", chat.shown);
        }
        let log = done(place, &id);
        assert_eq!(log.as_array().unwrap().len(), 1, "{log}");
        assert_eq!(place.rows("SELECT key FROM outbox").len(), number + 1, "said once");
        service.signal(Signal::TERM);
        assert_eq!(service.ended().code, Some(0));
    }
    place.nothing_is_left();
}

#[test]
fn tasks_are_kept_shown_and_changed_with_and_without_the_service() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    place.run(["init"]).succeeded();
    register(&place);
    assert!(place.run(["tasks", "list"]).succeeded().starts_with("Nothing is scheduled"));
    let added = place.run(["tasks", "add", "net:-1", "--when", "0 9 * * 1-5", "Say what is on"]).succeeded();
    assert!(added.starts_with("task-1 of ") && added.contains(" is due ") && added.contains(", then "), "{added}");
    assert!(added.contains("No service runs"), "{added}");
    for with_service in [false, true] {
        let service = with_service.then(|| place.service());
        let list = place.run(["tasks", "list"]).succeeded();
        assert!(list.contains("task-1") && list.contains("0 9 * * 1-5") && list.contains("Say what is on"), "{list}");
        assert!(place.run(["tasks", "pause", "task-1"]).succeeded().starts_with("task-1 rests"));
        assert_eq!(place.json(["tasks", "show", "task-1", "--json"])["task"]["status"], "paused");
        let refused = place.run(["tasks", "add", "net:-1", "--when", "daily", "p"]).failed(1);
        assert!(refused.contains("is no schedule") && refused.contains("every 5m"), "{refused}");
        assert!(place.run(["tasks", "resume", "task-1"]).succeeded().starts_with("task-1 goes on; it is due "));
        let refused = place.run(["tasks", "resume", "task-1"]).failed(1);
        assert!(refused.contains("does not rest"), "{refused}");
        let update = ["tasks", "update", "task-1", "--when", "every 2h", "--silent", "--catch-up", "all", "--json"];
        let task = place.json(update);
        assert_eq!((task["kind"].as_str(), task["schedule"].as_str()), (Some("interval"), Some("7200000")), "{task}");
        assert_eq!(task["terms"]["silent"], true, "{task}");
        assert_eq!(task["terms"]["catch_up"], "all", "{task}");
        let back = ["tasks", "update", "task-1", "--when", "0 9 * * 1-5", "--silent", "false", "--json"];
        assert_eq!(place.json(back)["terms"]["silent"], false);
        for bad in [
            ["tasks", "add", "net:-1", "--when", "2020-01-01 09:00", "p"],
            ["tasks", "add", "net:-1", "--when", "every 0s", "p"],
            ["tasks", "add", "net:-1", "--when", "0 0 30 2 *", "p"],
            ["tasks", "add", "net:-1", "--when", "every 5m", " "],
            ["tasks", "add", "nobody", "--when", "every 5m", "p"],
        ] {
            place.run(bad).failed(1);
        }
        assert!(place.run(["tasks", "show", "task-9"]).failed(1).contains("there is no task task-9"));
        if let Some(service) = service {
            service.signal(Signal::TERM);
            assert_eq!(service.ended().code, Some(0));
        }
    }
    assert!(place.run(["tasks", "cancel", "task-1"]).succeeded().starts_with("task-1 is cancelled"));
    assert_eq!(place.json(["tasks", "list", "--json"]), serde_json::json!([]));
    assert_eq!(place.json(["tasks", "show", "task-1", "--json"])["task"]["status"], "cancelled");
}
