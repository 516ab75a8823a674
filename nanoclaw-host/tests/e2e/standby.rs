//! Containers that are started ahead.

use nanoclaw_core::group::GroupFolder;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    adoption::{End, end},
    bridge::{Bridge, Chat, register},
    place::{Place, on_each_runtime},
    process::{Running, until},
};

on_each_runtime! {
    the_next_message_goes_to_a_container_that_waits,
    what_a_killed_service_left_waiting_is_removed,
    a_skill_that_was_added_meanwhile_is_there,
    an_overlay_that_was_changed_meanwhile_is_in_force,
    as_many_wait_as_their_memory_allows_once_it_is_measured,
}

/// Containers end as soon as they have answered, and one waits for whoever was asked last.
pub const AHEAD: &str = "[standby]\ngroups = 1\n[limits]\nidle_timeout = \"0s\"\n";

pub fn stands_by(place: &Place) {
    until("a container waits", || (!standing(place).is_empty()).then_some(()));
}

/// The groups that have a container that waits.
pub fn standing(place: &Place) -> Vec<Value> {
    let status = place.json(["ps", "--json"]);
    let groups = status["groups"].as_array().unwrap().clone();
    groups.into_iter().filter(|group| group["state"] == "standby").collect()
}

/// Which runs were asked something, in the order of what they were asked.
pub fn asked(place: &Place) -> Vec<String> {
    place.rows("SELECT CAST(run_number AS TEXT) FROM turns ORDER BY first_seq")
}

/// A service that has answered a message over a bridge, and has a container that waits for the next.
fn one_is_answered_and_another_waits(place: &Place) -> (Running, Chat, Bridge) {
    place.configure(AHEAD);
    register(place);
    let service = place.service();
    let (mut chat, mut bridge) = (Chat::default(), Bridge::connect(place));
    bridge.message("one", "one");
    assert_eq!(bridge.show(&mut chat), "heard one");
    stands_by(place);
    (service, chat, bridge)
}

fn the_next_message_goes_to_a_container_that_waits(place: &Place) {
    place.configure(AHEAD);
    register(place);
    let service = place.service();
    let (mut chat, mut bridge) = (Chat::default(), Bridge::connect(place));
    for (round, text) in ["one", "two", "!run echo $NANOCLAW_RUN", "four"].into_iter().enumerate() {
        bridge.message(text, text);
        let reply = bridge.show(&mut chat);
        match text.starts_with('!') {
            true => assert!(reply.ends_with(&(round + 1).to_string()), "{reply}"),
            false => assert_eq!(reply, format!("heard {text}")),
        }
        stands_by(place);
    }
    assert_eq!(asked(place), ["1", "2", "3", "4"], "each of those that waited was used, and once");
    service.until_stderr(|text| text.contains("standby=true"));
    service.signal(Signal::TERM);
    let ended = service.ended();
    assert!(ended.code == Some(0) && !ended.stderr.contains("ERROR"), "{ended}");
    place.nothing_is_left();
    let endings = place.rows("SELECT ending FROM runs ORDER BY number");
    assert_eq!(endings, ["finished", "finished", "finished", "finished", "stopped"]);
}

fn what_a_killed_service_left_waiting_is_removed(place: &Place) {
    place.configure(AHEAD);
    register(place);
    let service = place.service_that_lets_go();
    let (mut chat, mut bridge) = (Chat::default(), Bridge::connect(place));
    bridge.message("one", "one");
    assert_eq!(bridge.show(&mut chat), "heard one");
    stands_by(place);
    end(service, End::Killed);
    let service = place.service();
    stands_by(place);
    let mut bridge = Bridge::connect(place);
    bridge.message("two", "two");
    assert_eq!(bridge.show(&mut chat), "heard two");
    assert_eq!(asked(place), ["1", "3"], "a new one, and no number twice");
    assert_eq!(place.rows("SELECT ending FROM runs WHERE number = 2"), ["host_ended"]);
    assert_eq!(place.rows("SELECT folder FROM groups WHERE failures > 0"), [""; 0]);
    assert_eq!(place.rows("SELECT text FROM outbox ORDER BY id"), chat.shown);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

fn a_skill_that_was_added_meanwhile_is_there(place: &Place) {
    let (service, mut chat, mut bridge) = one_is_answered_and_another_waits(place);
    let skill = place.home().skills().join("brand-new");
    std::fs::create_dir_all(&skill).unwrap();
    std::fs::write(skill.join("SKILL.md"), "---\nname: brand-new\ndescription: It is new.\n---\nHello.\n").unwrap();
    bridge.message("two", "!run ls $HOME/.claude/skills");
    let reply = bridge.show(&mut chat);
    assert!(reply.contains("brand-new"), "{reply}");
    assert_eq!(asked(place), ["1", "3"], "what waited was made without it");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

fn an_overlay_that_was_changed_meanwhile_is_in_force(place: &Place) {
    let (service, mut chat, mut bridge) = one_is_answered_and_another_waits(place);
    let group = GroupFolder::new(place.rows("SELECT folder FROM groups")[0].clone()).unwrap();
    std::fs::write(place.home().overlay(&group).join("agent.toml"), "hooks.start = 'touch hooked'\n").unwrap();
    bridge.message("two", "two");
    assert_eq!(bridge.show(&mut chat), "heard two");
    assert!(place.home().group(&group).join("hooked").exists(), "our own agent reads it with its prompt");
    assert_eq!(asked(place), ["1", "2"], "so the one that waited is good");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

fn as_many_wait_as_their_memory_allows_once_it_is_measured(place: &Place) {
    // Two of which nothing is known count for 64 MiB.
    place.configure("[standby]\ngroups = 2\nmemory = \"60MiB\"\n[limits]\nidle_timeout = \"0s\"\n");
    place.run(["groups", "add", "local:main", "--name", "Me", "--main"]).succeeded();
    place.run(["groups", "add", "local:other", "--name", "Other", "--folder", "other", "--no-trigger"]).succeeded();
    let service = place.service();
    for chat in ["local:main", "local:other"] {
        assert_eq!(place.run(["chat", "--chat", chat, "-m", "one"]).succeeded(), "heard one\n");
    }
    let first = until("one of them waits", || standing(place).pop());
    if first["memory_bytes"].is_null() {
        println!("skipped: needs a runtime that can tell what memory its containers take");
    } else {
        until("what it takes is measured, and the other one waits too", || (standing(place).len() == 2).then_some(()));
    }
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}
