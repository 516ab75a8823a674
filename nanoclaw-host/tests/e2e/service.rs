//! `nanoclaw run`, and the commands that talk to it or do without it.

use std::os::unix::net::UnixListener;

use nanoclaw_host::home::HomeLock;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    bridge::Bridge,
    place::{On, Place, on_each_runtime},
    process::{Running, until},
};

on_each_runtime! {
    the_service_says_once_that_it_is_ready_serves_and_ends_clean,
    a_conversation_waits_while_another_host_starts_or_ends,
    commands_give_the_same_with_and_without_the_service,
    doctor_finds_nothing_wrong_where_everything_works,
}

fn the_service_says_once_that_it_is_ready_serves_and_ends_clean(place: &Place) {
    let service = place.service();
    assert_eq!(place.chat(&["hello", "again"]).succeeded(), "heard hello\nheard again\n");
    let status = place.json(["ps", "--json"]);
    assert_eq!(status["service"]["pid"], service.pid(), "{status}");
    assert_eq!(status["service"]["containers"], 1, "the agent rests and waits for more: {status}");
    assert_eq!(status["groups"][0]["state"], "resting", "{status}");
    // The next conversation reaches the same live agent.
    assert_eq!(place.chat(&["!session"]).succeeded(), place.chat(&["!session"]).succeeded());
    assert_eq!(place.rows("SELECT CAST(number AS TEXT) FROM runs"), ["1"]);

    let refused = Running::start(&mut place.command(["run"])).ended().failed(1);
    assert!(refused.contains(&format!("(process {})", service.pid())) && refused.contains("help: "), "{refused}");

    service.signal(Signal::TERM);
    let ended = service.ended();
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(ended.stdout.lines().count(), 1, "{ended}");
    assert!(ended.stdout.starts_with("nanoclaw is ready: home "), "{ended}");
    assert!(ended.stderr.contains("runtime chosen") && !ended.stderr.contains("ERROR"), "{ended}");
    place.nothing_is_left();
    assert_eq!(place.rows("SELECT ending FROM runs"), ["stopped"]);
}

#[test]
fn a_fault_where_clients_are_let_in_costs_them_a_moment() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    for (point, told) in [
        ("control.accept", "the control socket stopped to accept clients"),
        ("terminals.accept", "terminals are not served for a moment"),
        ("bridges.accept", "bridges are not let in for a moment"),
    ] {
        // Before the first client, and right after it was let in.
        for passing in [1, 2] {
            let service = place.service_that_panics_at(&format!("{point}:{passing}"));
            assert_eq!(place.json(["ps", "--json"])["service"]["pid"], service.pid());
            let mut bridge = Bridge::connect(&place);
            bridge.message("1", "hello");
            bridge.until("accepted");
            assert_eq!(place.chat(&["hello"]).succeeded(), "heard hello\n");
            service.until_stderr(|text| text.contains(told));
            service.signal(Signal::TERM);
            let ended = service.ended();
            assert_eq!(ended.code, Some(0), "{ended}");
            assert_eq!(ended.stderr.matches(told).count(), 1, "one line: {ended}");
        }
    }
    place.nothing_is_left();
}

/// `nanoclaw run & nanoclaw chat`: whoever has the home starts or ends, and does not listen for a moment.
fn a_conversation_waits_while_another_host_starts_or_ends(place: &Place) {
    place.run(["init"]).succeeded();
    let lock = HomeLock::acquire(&place.home()).unwrap();
    let chat = Running::start(&mut place.command(["chat", "-m", "hello"]));
    // Its log is made right before it looks at the lock.
    until("the conversation begins", || place.home().log_file().exists().then_some(()));
    let socket = UnixListener::bind(place.home().local_socket()).unwrap();
    let asked = socket.accept().unwrap();
    drop((asked, socket, lock));
    // It was let in and then left alone, which is another thing and is told.
    assert!(chat.ended().failed(1).contains("the host went away"));
    assert_eq!(place.chat(&["hello"]).succeeded(), "heard hello\n");
}

fn commands_give_the_same_with_and_without_the_service(place: &Place) {
    let steps = || {
        place.json(["groups", "add", "net:-1", "--name", "Family", "--json"]);
        let added = place.run(["groups", "add", "net:-1", "--name", "Again"]).failed(1);
        let mut list = place.json(["groups", "list", "--json"]);
        list[0]["added_at_ms"] = Value::Null;
        let mut shown = place.json(["groups", "show", "net_family", "--json"]);
        shown["added_at_ms"] = Value::Null;
        let explained = place.json(["explain", "net_family", "--json"]);
        let groups = place.json(["ps", "--json"])["groups"].clone();
        let removed = place.json(["groups", "remove", "net_family", "--json"])["folder"].clone();
        std::fs::remove_dir_all(place.group("net_family")).unwrap();
        let settings: Vec<String> = explained["settings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|setting| setting["name"].as_str().unwrap().to_owned())
            .collect();
        (added, list, shown, settings, groups[0]["folder"].clone(), removed, place.json(["groups", "list", "--json"]))
    };
    let service = place.service();
    let with = steps();
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    let without = steps();
    assert_eq!(with.0, without.0);
    assert_eq!((&with.1, &with.2), (&without.1, &without.2));
    assert_eq!((&with.4, &with.5, &with.6), (&without.4, &without.5, &without.6));
    // The service knows more of its machine than the configuration alone says, and never less.
    for name in &without.3 {
        assert!(with.3.contains(name), "the service does not explain {name}");
    }
}

fn doctor_finds_nothing_wrong_where_everything_works(place: &Place) {
    place.run(["init"]).succeeded();
    let report = place.json(["doctor", "--json"]);
    assert_eq!(report["ok"], true, "{report}");
    let failed = |check: &&Value| check["outcome"] == "failed";
    assert_eq!(report["checks"].as_array().unwrap().iter().find(failed), None);
    assert_eq!(place.chat(&["hello"]).succeeded(), "heard hello\n", "and so it is");
}
