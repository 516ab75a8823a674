//! A private chat becomes the main group by a code, with the real program and a bridge from outside.

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    bridge::{Bridge, Chat},
    place::{Place, on_each_runtime},
    process::{Running, until},
};

on_each_runtime! {
    the_first_who_writes_the_code_has_the_main_group_and_is_answered_there_at_once,
}

const WRONG: &str = "22222-22222";

/// A code, by the command that does not wait.
fn code(place: &Place) -> String {
    place.json(["groups", "pair", "--no-wait", "--json"])["code"].as_str().unwrap().to_owned()
}

/// A command that waits, and its code.
fn waiting(place: &Place) -> (Running, String) {
    let pair = Running::start(&mut place.command(["groups", "pair"]));
    let shown = pair.until_stdout(|shown| shown.contains("Waiting for it"));
    let code = shown.lines().find(|line| line.starts_with("    ")).unwrap().trim().to_owned();
    (pair, code)
}

fn is_registered(bridge: &mut Bridge, id: &str) -> Value {
    loop {
        let accepted = bridge.until("accepted");
        if accepted["id"] == id {
            return accepted["registered"].clone();
        }
    }
}

/// What a command said that showed a code and then failed.
fn failure(pair: Running) -> String {
    let ended = pair.ended();
    assert_eq!(ended.code, Some(1), "{ended}");
    ended.stderr
}

/// Looks for the code everywhere in the home, the database's log included.
fn is_nowhere(place: &Place, code: &str) {
    let bare = code.replace('-', "");
    for found in [code, &bare, &bare.to_lowercase()] {
        let looked =
            std::process::Command::new("grep").args(["-r", "-l", "-a", found]).arg(place.home().root()).output();
        let looked = looked.unwrap();
        assert_eq!(looked.status.code(), Some(1), "{found} is in {}", String::from_utf8_lossy(&looked.stdout));
    }
}

fn the_first_who_writes_the_code_has_the_main_group_and_is_answered_there_at_once(place: &Place) {
    let service = place.service();
    let mut bridge = Bridge::connect(place);
    let mut chat = Chat::default();
    let (pair, code) = waiting(place);
    bridge.private_message("net:eve", "1", WRONG);
    assert_eq!(is_registered(&mut bridge, "1"), false);
    bridge.private_message("net:7", "2", &code.to_lowercase().replace('-', " "));
    let now_main = "This chat is now the main group (its folder is main). What you write here is for your assistant.";
    assert_eq!(bridge.show(&mut chat), now_main);
    let told = pair.ended().succeeded();
    assert!(told.ends_with("net:7 is now the group main; its memory is in groups/main/.\n"), "{told}");
    // Said again, and by somebody else.
    bridge.private_message("net:7", "2", &code.to_lowercase().replace('-', " "));
    assert_eq!(is_registered(&mut bridge, "2"), true);
    bridge.private_message("net:eve", "3", &code);
    assert_eq!(is_registered(&mut bridge, "3"), false);
    bridge.private_message("net:7", "4", "hello");
    assert_eq!(bridge.show(&mut chat), "heard hello");
    assert_eq!(place.rows("SELECT folder || ' ' || chat || ' ' || role FROM groups"), ["main net:7 main"]);
    assert_eq!(place.rows("SELECT text FROM messages"), ["hello"]);
    is_nowhere(place, &code);
    assert!(!service.stderr().contains(&code));

    let refused = place.run(["groups", "pair"]).failed(1);
    assert!(refused.contains("the main group is main already") && refused.contains("groups remove main"), "{refused}");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

#[test]
fn a_code_is_void_after_its_end_after_five_wrong_ones_and_when_it_is_withdrawn() {
    let place = Place::bare();
    let service = place.service();
    let mut bridge = Bridge::connect(&place);
    let mut chat = Chat::default();
    let mut id = 0;
    let mut write = |bridge: &mut Bridge, text: &str| {
        id += 1;
        bridge.private_message("net:7", &id.to_string(), text);
        is_registered(bridge, &id.to_string())
    };

    let (pair, late) = waiting(&place);
    place.execute("UPDATE pairing SET ends_at_ms = 1");
    assert_eq!(write(&mut bridge, &late), false);
    let told = failure(pair);
    assert!(told.contains("nobody wrote the code in time"), "{told}");

    let (pair, guessed) = waiting(&place);
    for _ in 0..5 {
        assert_eq!(write(&mut bridge, WRONG), false);
    }
    assert_eq!(write(&mut bridge, &guessed), false);
    let told = failure(pair);
    assert!(told.contains("too many wrong codes"), "{told}");

    let (pair, withdrawn) = waiting(&place);
    pair.signal(Signal::INT);
    let told = failure(pair);
    assert!(told.contains("the code was withdrawn"), "{told}");
    assert_eq!(write(&mut bridge, &withdrawn), false);

    let (pair, replaced) = waiting(&place);
    let last = code(&place);
    let told = failure(pair);
    assert!(told.contains("somebody asked for another code"), "{told}");
    assert_eq!(write(&mut bridge, &replaced), false);
    assert_eq!(place.rows("SELECT folder FROM groups"), Vec::<String>::new());
    assert_eq!(place.rows("SELECT key FROM outbox"), Vec::<String>::new(), "nobody was told anything");
    // Its answer may come before the word that it was accepted, for which nobody looks here.
    bridge.private_message("net:7", "last", &last);
    assert!(bridge.show(&mut chat).starts_with("This chat is now the main group"));
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

#[test]
fn a_service_that_ends_tells_who_waits_for_a_code_and_the_next_one_hears_it() {
    let place = Place::bare();
    let service = place.service();
    let (pair, code) = waiting(&place);
    service.signal(Signal::TERM);
    let told = failure(pair);
    // In which words, depends on whether it had the question yet.
    assert!(told.contains("cannot tell what becomes of the code: the service "), "{told}");
    assert!(told.contains("help: it holds until ") && told.contains("whenever the service runs"), "{told}");
    let ended = service.ended();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.stderr.contains("cut off"), "{}", ended.stderr);

    let service = place.service();
    let mut bridge = Bridge::connect(&place);
    bridge.private_message("net:7", "1", &code);
    assert!(bridge.show(&mut Chat::default()).starts_with("This chat is now the main group"));
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

#[test]
fn a_service_that_dies_ends_the_wait_for_a_code() {
    let place = Place::bare();
    let service = place.service();
    let (pair, _) = waiting(&place);
    service.kill();
    let told = failure(pair);
    assert!(told.contains("it ended, or closed the connection") && told.contains("help: it holds until "), "{told}");
}

#[test]
fn a_code_outlives_its_host_and_is_claimed_and_answered_once_wherever_that_dies() {
    for point in ["store.hear_code.before", "store.hear_code.after"] {
        let place = Place::bare();
        let dying = place.service_that_dies_at(&format!("{point}:1"));
        let code = code(&place);
        let mut bridge = Bridge::connect(&place);
        bridge.private_message("net:7", "1", &code);
        assert_eq!(dying.ended().code, None, "it was killed at {point}");

        let service = place.service();
        let mut bridge = Bridge::connect(&place);
        let mut chat = Chat::default();
        // Nobody told it that it was heard.
        bridge.private_message("net:7", "1", &code);
        assert!(bridge.show(&mut chat).starts_with("This chat is now the main group"), "{point}");
        until("the answer counts as sent", || (place.rows("SELECT state FROM outbox") == ["sent"]).then_some(()));
        bridge.private_message("net:7", "1", &code);
        bridge.private_message("net:eve", "2", "hello");
        assert_eq!(is_registered(&mut bridge, "2"), false);
        assert_eq!(place.rows("SELECT chat FROM groups"), ["net:7"]);
        assert_eq!(place.rows("SELECT key FROM outbox").len(), 1);
        assert_eq!(place.rows("SELECT text FROM messages"), Vec::<String>::new());
        service.signal(Signal::TERM);
        assert_eq!(service.ended().code, Some(0));
    }
}

#[test]
fn without_a_service_no_code_is_made_and_it_is_told_what_to_do() {
    let place = Place::bare();
    place.run(["init"]).succeeded();
    let refused = place.run(["groups", "pair"]).failed(1);
    assert!(refused.contains("no service runs") && refused.contains("nanoclaw run"), "{refused}");
    assert_eq!(place.rows("SELECT id FROM pairing"), Vec::<String>::new());
}
