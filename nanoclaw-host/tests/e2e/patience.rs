//! The runtime is away when the service starts: messages are taken all the same, and answered when it comes.

use std::{os::unix::fs::symlink, path::PathBuf, process::Command};

use nanoclaw_core::runtime::RuntimeKind;
use nanoclaw_host::runtimes::engine_api::EngineRuntime;
use rustix::process::Signal;

use crate::{
    bridge::{Bridge, Chat, register},
    place::{On, Place},
    process::{Running, until},
};

/// A place whose engine's socket can be taken away and given back: a link to the real one.
struct Engine {
    place: Place,
    socket: PathBuf,
}

impl Engine {
    /// Away at first. `None` where there is no Docker.
    fn away() -> Option<Self> {
        let place = Place::on(On::Docker)?;
        place.run(["init"]).succeeded();
        register(&place);
        let socket = place.folder().join("engine.sock");
        Some(Self { place, socket })
    }

    fn comes(&self) {
        symlink(EngineRuntime::default_socket(RuntimeKind::Docker), &self.socket).unwrap();
    }

    fn goes(&self) {
        std::fs::remove_file(&self.socket).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        command
    }

    fn service(&self, arguments: &[&str]) -> Running {
        let service = Running::start(&mut self.command(arguments));
        service.until_stdout(|text| text.ends_with('\n'));
        service
    }
}

fn ended_well(service: Running) {
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

#[test]
fn f37_a_service_whose_runtime_is_away_at_the_start_keeps_messages_and_answers_them_when_it_comes() {
    let Some(engine) = Engine::away() else { return };
    let place = &engine.place;
    let service = engine.service(&["run", "--stop-containers"]);
    let ready = service.stdout();
    let remedy = "sudo systemctl start docker";
    assert!(ready.starts_with("nanoclaw is ready: home ") && ready.contains(remedy), "{ready}");

    let mut bridge = Bridge::connect(place);
    bridge.message("1", "@Andy are you there?");
    bridge.until("accepted");
    assert_eq!(place.rows("SELECT text FROM messages"), ["@Andy are you there?"]);

    let status = place.json(["ps", "--json"]);
    let away = &status["service"]["runtime_away"];
    assert!(away["since_ms"].is_i64() && away["help"].as_str().unwrap().contains(remedy), "{status}");
    let reason = away["reason"].as_str().unwrap();
    assert!(reason.contains(engine.socket.to_str().unwrap()), "which socket: {reason}");
    let ps = place.run(["ps"]).succeeded();
    assert!(ps.contains("docker does not answer since") && ps.contains(remedy), "{ps}");
    until("it is paused", || {
        let turns = place.json(["turns", "list", "--json"]);
        (turns[0]["state"] == "paused").then(|| assert_eq!(turns[0]["trouble"], "host", "{turns}"))
    });
    let turns = place.run(["turns", "list"]).succeeded();
    assert!(turns.contains("net_family/1") && turns.contains(remedy), "{turns}");
    let explained = place.run(["explain", "net_family"]).succeeded();
    assert!(explained.contains("problem:") && explained.contains(remedy), "{explained}");

    engine.comes();
    let mut chat = Chat::default();
    // It may have taken long enough for the chat to be told that it has to wait.
    while !bridge.show(&mut chat).starts_with("heard") {}
    assert_eq!(chat.shown.iter().filter(|text| *text == "heard @Andy are you there?").count(), 1, "{:?}", chat.shown);
    assert_eq!(place.rows("SELECT text FROM outbox WHERE key LIKE 'reply/%'"), ["heard @Andy are you there?"]);
    let status = place.json(["ps", "--json"]);
    assert!(status["service"]["runtime_away"].is_null(), "{status}");
    service.signal(Signal::TERM);
    let ended = service.ended();
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(ended.stderr.contains("runtime chosen"), "{ended}");
    place.nothing_is_left();
}

#[test]
fn f37_containers_of_a_service_that_was_killed_are_taken_over_when_their_runtime_is_back() {
    let Some(engine) = Engine::away() else { return };
    let place = &engine.place;
    engine.comes();
    let service = engine.service(&["run"]);
    let mut bridge = Bridge::connect(place);
    bridge.message("1", "!run touch at-work; while [ ! -e go-on ]; do sleep 0.1; done; echo done");
    until("the agent is at work", || place.group("net_family").join("at-work").exists().then_some(()));
    let before = place.container_ids();
    assert_eq!(before.len(), 1);
    service.kill();
    engine.goes();

    let service = engine.service(&["run", "--stop-containers"]);
    let mut bridge = Bridge::connect(place);
    bridge.message("2", "and this?");
    bridge.until("accepted");
    let status = place.json(["ps", "--json"]);
    assert_eq!(status["groups"][0]["state"], "held", "{status}");
    let turns = place.json(["turns", "list", "--json"]);
    assert_eq!(turns[0]["state"], "handed_over", "{turns}");
    assert!(turns[0]["reason"].as_str().unwrap().contains("nobody knows whether its container lives"), "{turns}");
    assert_eq!(place.container_ids(), before, "nothing is concluded from silence");

    engine.comes();
    until("it is taken over", || (place.json(["ps", "--json"])["groups"][0]["state"] == "busy").then_some(()));
    assert_eq!(place.container_ids(), before, "the same container goes on");
    std::fs::write(place.group("net_family").join("go-on"), "").unwrap();
    let mut chat = Chat::default();
    while !bridge.show(&mut chat).ends_with("heard and this?") {}
    let replies = place.rows("SELECT text FROM outbox WHERE key LIKE 'reply/%'").join("\n");
    assert!(replies.ends_with(": done\nheard and this?"), "each is answered once: {replies}");
    assert_eq!(place.rows("SELECT CAST(number AS TEXT) FROM runs"), ["1"], "one run served it all");
    ended_well(service);
    place.nothing_is_left();
}

#[test]
fn f37_a_service_that_ends_before_its_runtime_came_leaves_containers_alone() {
    let Some(engine) = Engine::away() else { return };
    let place = &engine.place;
    engine.comes();
    let service = engine.service(&["run"]);
    let mut bridge = Bridge::connect(place);
    bridge.message("1", "!run touch at-work; sleep 60");
    until("the agent is at work", || place.group("net_family").join("at-work").exists().then_some(()));
    let before = place.container_ids();
    service.kill();
    engine.goes();
    for arguments in [&["run"][..], &["run", "--stop-containers"]] {
        ended_well(engine.service(arguments));
        assert_eq!(place.container_ids(), before);
    }
    assert_eq!(place.rows("SELECT number || '' FROM runs WHERE ended_at_ms IS NULL"), ["1"], "it is still open");
}

#[test]
fn f37_who_waits_for_an_answer_is_refused_at_once_when_the_runtime_is_away() {
    let Some(engine) = Engine::away() else { return };
    let remedy = "sudo systemctl start docker";
    let refused = Running::start(&mut engine.command(&["chat", "-m", "hello"])).ended().failed(1);
    assert!(refused.contains("no runtime works here") && refused.contains(remedy), "{refused}");
    let doctor = Running::start(&mut engine.command(&["doctor"])).ended();
    assert_eq!(doctor.code, Some(1), "{doctor}");
    assert!(doctor.stdout.contains(remedy), "{doctor}");
    let explained = Running::start(&mut engine.command(&["explain", "net_family"])).ended().succeeded();
    assert!(explained.contains(remedy), "{explained}");
}

/// The containers of another runtime than the one that is used are nobody's business here, and somebody should know.
#[test]
fn runs_that_were_in_a_runtime_that_is_not_used_now_are_warned_of() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    assert_eq!(place.chat(&["hello"]).succeeded(), "heard hello\n");
    place.execute("UPDATE runs SET runtime = 'docker', ended_at_ms = NULL, ending = NULL, detail = NULL");
    let service = place.service();
    let log = service.until_stderr(|text| text.contains("were in docker"));
    assert!(log.contains("main#1") && log.contains("sandbox is used"), "{log}");
    ended_well(service);
}
