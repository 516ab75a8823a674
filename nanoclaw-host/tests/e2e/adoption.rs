//! The service ends, or is killed, while agents are at work; the next one goes on where it was.

use nanoclaw_fakes::model_api::{Script, Turn};
use rustix::process::Signal;

use crate::{
    bridge::{Bridge, Chat, register},
    claude, foreign,
    place::{On, Place, on_each_runtime},
    process::{Running, until},
};

on_each_runtime! {
    a_service_that_is_killed_and_restarted_in_the_middle_of_an_answer_answers_once,
    a_service_that_is_told_to_stop_its_containers_does,
    a_service_that_is_ended_while_it_starts_ends_well,
}

/// How the service goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Killed,
    Asked,
}

/// Ends the service that way, and waits until it is gone.
pub fn end(service: Running, how: End) {
    match how {
        End::Killed => service.kill(),
        End::Asked => {
            service.signal(Signal::TERM);
            assert_eq!(service.ended().code, Some(0));
        }
    }
}

/// Waits until the agent says by a file that it is at work.
fn at_work(place: &Place, file: &str) {
    let path = place.group("net_family").join(file);
    until("the agent is at work", || path.exists().then_some(()));
}

pub fn a_service_that_is_killed_and_restarted_in_the_middle_of_an_answer_answers_once(place: &Place) {
    place.run(["init"]).succeeded();
    register(place);
    let mut chat = Chat::default();
    let mut shown = Vec::new();
    let mut service = place.service_that_lets_go();
    for (round, how) in [End::Killed, End::Asked, End::Killed].into_iter().enumerate() {
        let mut bridge = Bridge::connect(place);
        let ask = format!("!run touch {round}; sleep 3; echo done");
        bridge.message(&format!("{round}-a"), &ask);
        at_work(place, &round.to_string());
        bridge.message(&format!("{round}-b"), "and this?");
        bridge.until("accepted");
        until("it is handed over", || {
            let open = place.rows("SELECT state FROM turns WHERE state IN ('handed', 'taken')");
            (open.len() == 2).then_some(())
        });
        let before = place.container_ids();
        end(service, how);
        service = place.service_that_lets_go();
        let mut bridge = Bridge::connect(place);
        let (done, heard) = (format!("ran touch {round}; sleep 3; echo done: done"), "heard and this?".to_owned());
        // A new container is asked both at once.
        let replies = if place.on != Some(On::Sandbox) { vec![done, heard] } else { vec![format!("{done}\n{heard}")] };
        for reply in replies {
            assert_eq!(bridge.show(&mut chat), reply);
            shown.push(reply);
        }
        if place.on != Some(On::Sandbox) {
            assert_eq!((before.len(), place.container_ids()), (1, before), "the same container goes on");
        }
    }
    assert_eq!(chat.shown, shown);
    assert_eq!(place.rows("SELECT text FROM outbox ORDER BY id"), shown);
    let runs = place.rows("SELECT CAST(number AS TEXT) FROM runs");
    if place.on != Some(On::Sandbox) {
        assert_eq!(runs, ["1"], "one run served it all");
    } else {
        assert!(runs.len() > 1, "its containers end with the host: {runs:?}");
    }
    assert!(!place.rows("SELECT failures || '' FROM groups WHERE failures > 0").iter().any(|_| true), "nobody failed");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

pub fn a_service_that_is_told_to_stop_its_containers_does(place: &Place) {
    place.run(["init"]).succeeded();
    register(place);
    let service = place.service();
    let mut bridge = Bridge::connect(place);
    bridge.message("1", "!run touch 1; sleep 60");
    at_work(place, "1");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
    assert_eq!(place.rows("SELECT state FROM turns"), ["unanswered"]);
    assert_eq!(place.rows("SELECT ending FROM runs"), ["stopped"]);
}

fn a_service_that_is_ended_while_it_starts_ends_well(place: &Place) {
    place.run(["init"]).succeeded();
    for wait_ms in [0, 20, 80, 200, 400] {
        let service = Running::start(&mut place.command(["run"]));
        // The log says something as soon as signals are caught.
        service.until_stderr(|text| text.contains("starting"));
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        service.signal(Signal::TERM);
        let ended = service.ended();
        assert_eq!(ended.code, Some(0), "after {wait_ms} ms: {ended}");
    }
    place.nothing_is_left();
    assert_eq!(place.chat(&["hello"]).succeeded(), "heard hello\n");
}

/// A place with Docker whose next host has the sandbox; `None`, and a line that says so, where one is missing.
fn place_that_loses_docker() -> Option<Place> {
    Place::on(On::Sandbox)?;
    Place::on(On::Docker)
}

#[test]
fn f24_a_container_whose_engine_nobody_asks_any_more_ends_by_itself_and_its_message_is_answered_once() {
    let Some(place) = place_that_loses_docker() else { return };
    place.run(["init"]).succeeded();
    register(&place);
    let service = place.service_that_lets_go();
    let mut bridge = Bridge::connect(&place);
    // The first agent that is asked does not come to its end.
    let command = "test -e once || { touch once; sleep 600; }; echo done";
    bridge.message("1", &format!("!run {command}"));
    at_work(&place, "once");
    service.kill();
    assert_eq!(place.containers(), 1);

    let service = place.service_on(On::Sandbox);
    let mut chat = Chat::default();
    let mut bridge = Bridge::connect(&place);
    assert_eq!(bridge.show(&mut chat), format!("ran {command}: done"));
    for text in ["and this?", "and that?"] {
        bridge.message(text, text);
        assert_eq!(bridge.show(&mut chat), format!("heard {text}"));
    }
    until("the container that nobody stops has ended", || (place.containers() == 0).then_some(()));
    assert_eq!(place.rows("SELECT CAST(run_number AS TEXT) FROM turns WHERE state = 'answered'"), ["2"; 3]);
    assert_eq!(place.rows("SELECT text FROM outbox ORDER BY id"), chat.shown);
    assert_eq!(place.rows("SELECT COALESCE(ending, '') FROM runs ORDER BY number"), ["host_ended", ""]);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

/// An agent of v1 knows nothing of fences, and looks for follow-ups at any time.
#[test]
fn f24_an_agent_of_v1_whose_engine_nobody_asks_any_more_takes_no_follow_up_of_its_successor() {
    let Some(place) = place_that_loses_docker() else { return };
    place.configure(&format!("[agent]\n{}", foreign::COMMAND));
    register(&place);
    foreign::install(&place, "net_family");
    let service = place.service_that_lets_go();
    let mut chat = Chat::default();
    let mut bridge = Bridge::connect(&place);
    bridge.message("1", "hello");
    assert_eq!(bridge.show(&mut chat), "the script read: hello");
    service.kill();
    assert_eq!(place.containers(), 1);

    let service = place.service_on(On::Sandbox);
    let mut bridge = Bridge::connect(&place);
    for text in ["one", "two", "three", "four", "five"] {
        bridge.message(text, text);
        assert_eq!(bridge.show(&mut chat), format!("the script read: {text}"));
        // It may take a follow-up until it has learnt of its successor, which is a moment on a quiet machine only.
        until("the container that nobody stops has ended", || (place.containers() == 0).then_some(()));
    }
    assert_eq!(
        place.rows("SELECT CAST(run_number AS TEXT) FROM turns ORDER BY first_seq"),
        ["1", "2", "2", "2", "2", "2"]
    );
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

/// The real agent, cut off from its model in the middle of a request and in the middle of a tool.
#[test]
fn the_real_claude_goes_on_over_a_restart_in_docker() {
    let slow = Script::new(|conversation| match conversation.last() {
        nanoclaw_fakes::model_api::Said::ToolResult { text, .. } => Turn::Text(format!("it said {text}")),
        _ => Turn::bash("touch at-work; sleep 4; echo finished"),
    });
    let Some(bench) = claude::Bench::with(On::Docker, slow) else { return };
    let place = &bench.place;
    register(place);
    for (round, how) in [End::Killed, End::Asked].into_iter().enumerate() {
        let service = place.service_that_lets_go();
        let mut bridge = Bridge::connect(place);
        bridge.message(&round.to_string(), "do it");
        at_work(place, "at-work");
        std::fs::remove_file(place.group("net_family").join("at-work")).unwrap();
        let before = place.container_ids();
        end(service, how);
        // Long enough for the tool to end and the agent to ask its model, which nobody answers just now.
        std::thread::sleep(std::time::Duration::from_secs(6));
        let service = place.service_that_lets_go();
        let mut chat = Chat::default();
        let mut bridge = Bridge::connect(place);
        assert_eq!(bridge.show(&mut chat), "it said finished");
        assert_eq!(place.container_ids(), before, "the same container goes on");
        service.signal(Signal::TERM);
        assert_eq!(service.ended().code, Some(0));
    }
    assert_eq!(place.rows("SELECT text FROM outbox"), ["it said finished"; 2]);
    assert_eq!(place.rows("SELECT CAST(number AS TEXT) FROM runs"), ["1"]);
}
