//! Conversations in the terminal with the offline agent, which drives every path without a model.

use std::{os::unix::fs::MetadataExt as _, path::Path, process::Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    place::{Place, chat, on_each_runtime},
    process::{Running, until},
    support,
};

on_each_runtime! {
    replies_alone_are_on_stdout_and_everything_said_is_in_the_database,
    a_session_is_remembered_by_the_next_process,
    the_host_answers_commands_itself_and_new_begins_a_new_session,
    conversations_have_names_and_are_taken_up_again_shown_written_out_and_removed,
    an_agent_reads_writes_and_runs_in_its_groups_folder,
    what_an_agent_sends_by_itself_comes_before_its_answer,
    a_silent_turn_is_answered_by_nothing,
    a_crash_is_told_and_tried_again,
    a_failure_is_told_with_its_reason_and_tried_again,
    what_is_said_to_a_busy_agent_is_answered_by_the_same_one,
    a_flood_of_noise_does_not_hold_up_the_answer,
    a_very_long_message_is_answered,
    a_conversation_that_is_hung_up_on_leaves_nothing,
}

pub fn replies_alone_are_on_stdout_and_everything_said_is_in_the_database(place: &Place) {
    let ended = place.chat(&["good morning", "and a follow-up"]);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(ended.stdout, "heard good morning\nheard and a follow-up\n");
    // The log has a file of its own; what is said besides is one hint.
    assert!(ended.stderr.starts_with("nanoclaw: no model is configured"), "{ended}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
    let log = std::fs::read_to_string(place.home().log_file()).unwrap();
    assert!(log.contains("runtime chosen") && log.contains("run opened run=main#1"), "{log}");
    place.nothing_is_left();

    assert_eq!(place.rows("SELECT text FROM messages ORDER BY seq"), ["good morning", "and a follow-up"]);
    assert_eq!(place.rows("SELECT sender_name FROM messages"), ["ann", "ann"]);
    assert_eq!(place.rows("SELECT number || ' ' || ending FROM runs"), ["1 stopped"], "one agent heard both");
    assert_eq!(
        place.rows("SELECT run_number || '.' || number || ' ' || state FROM turns"),
        ["1.1 answered", "1.2 answered"]
    );
    assert_eq!(
        place.rows("SELECT state || ': ' || text FROM outbox ORDER BY id"),
        ["sent: heard good morning", "sent: heard and a follow-up"]
    );
    assert_eq!(place.rows("SELECT runtime FROM runs"), [place.on.unwrap().to_string()]);
    let shown = place.json(["groups", "show", "main", "--json"]);
    assert_eq!((shown["unanswered"].as_u64(), shown["runs"].as_array().unwrap().len()), (Some(0), 1), "{shown}");
    assert_eq!(shown["role"], "main");
}

fn the_host_answers_commands_itself_and_new_begins_a_new_session(place: &Place) {
    let told = place.chat(&["the code is 4711", "/ping", "/new", "recall"]).succeeded();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..2], ["heard the code is 4711", "pong"], "{told}");
    assert!(lines[2].starts_with("A new conversation begins") && lines.len() > 3, "{told}");
    assert_eq!(told.matches("4711").count(), 1, "the old conversation was recalled: {told}");
    assert_eq!(place.rows("SELECT text FROM messages ORDER BY seq"), ["the code is 4711", "recall"]);
    place.nothing_is_left();
}

fn conversations_have_names_and_are_taken_up_again_shown_written_out_and_removed(place: &Place) {
    let told = place.chat(&["the code is 4711", "/session Trip", "recall", "/session"]).succeeded();
    assert_eq!(told.matches("4711").count(), 1, "the other conversation was recalled: {told}");
    assert!(told.contains("This is the conversation trip. There is also default."), "{told}");
    let sessions = || {
        let list = place.json(["sessions", "list", "main", "--json"]);
        let one = |one: &Value| format!("{} {} {}", one["name"], one["current"], one["bytes"].as_u64().is_some());
        list.as_array().unwrap().iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(sessions(), [r#""trip" true true"#, r#""default" false true"#]);
    let used = place.run(["sessions", "use", "main", "DEFAULT"]).succeeded();
    assert_eq!(used, "In main the conversation default goes on with its next message.\n");
    assert!(place.chat(&["recall"]).succeeded().contains("4711"));
    assert_eq!(sessions(), [r#""default" true true"#, r#""trip" false true"#]);

    let file = place.home().root().join("default.jsonl");
    place.run(["sessions", "export", "main", "--to", file.to_str().unwrap()]).succeeded();
    assert!(std::fs::read_to_string(&file).unwrap().contains("the code is 4711"));
    let again = place.run(["sessions", "export", "main", "--to", file.to_str().unwrap()]);
    assert!(again.code == Some(1) && again.stderr.contains("exists"), "{again}");
    assert!(place.run(["sessions", "export", "main", "trip"]).succeeded().contains("recall"));

    let asked = place.run(["sessions", "delete", "main", "trip"]).succeeded();
    assert!(asked.contains(".claude/offline/") && asked.contains("Nothing is done yet"), "{asked}");
    let shown = place.run(["sessions", "show", "main", "trip"]).succeeded();
    let transcript = shown.lines().find_map(|line| line.trim().strip_prefix("transcript")).unwrap().trim().to_owned();
    assert!(Path::new(&transcript).is_file(), "{shown}");
    place.run(["sessions", "delete", "main", "trip", "--yes"]).succeeded();
    assert!(!Path::new(&transcript).exists());
    assert_eq!(sessions(), [r#""default" true true"#]);
    place.run(["sessions", "reset", "main"]).succeeded();
    assert_eq!(sessions(), [r#""default" true false"#]);
    assert!(!place.chat(&["recall"]).succeeded().contains("4711"));

    for (refused, why) in [
        (["sessions", "show", "main", "trip"].as_slice(), "`nanoclaw sessions list main` shows them"),
        (&["sessions", "use", "main", "two words"], "one word of letters, digits, - and _"),
        (&["sessions", "list", "nobody"], "there is no group nobody"),
    ] {
        let ended = place.run(refused);
        assert!(ended.code == Some(1) && ended.stderr.contains(why), "{ended}");
    }
    place.nothing_is_left();
}

fn a_session_is_remembered_by_the_next_process(place: &Place) {
    place.chat(&["the code is 4711"]).succeeded();
    let recalled = place.chat(&["recall"]).succeeded();
    assert_eq!(recalled, "I recall 1 message:\n1. ann: the code is 4711\n");
    assert_eq!(place.rows("SELECT CAST(number AS TEXT) FROM runs"), ["1", "2"]);
    until("the container is gone", || place.processes().is_empty().then_some(()));
}

pub fn an_agent_reads_writes_and_runs_in_its_groups_folder(place: &Place) {
    let ended = place.chat(&["!write list.txt milk and honey", "!read list.txt", "!run wc -l list.txt; pwd; id -u"]);
    let user = support::user().uid;
    assert_eq!(
        ended.succeeded(),
        format!(
            "wrote list.txt\nread list.txt: milk and honey\n\
             ran wc -l list.txt; pwd; id -u: 1 list.txt\n/workspace/group\n{user}\n"
        )
    );
    let file = place.group("main").join("list.txt");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "milk and honey\n");
    assert_eq!(std::fs::metadata(&file).unwrap().uid(), user, "the file is the user's own");
    // What people put there is what the agent reads.
    std::fs::write(place.group("main").join("from-me.txt"), "bread").unwrap();
    assert_eq!(place.chat(&["!read from-me.txt"]).succeeded(), "read from-me.txt: bread\n");
}

fn what_an_agent_sends_by_itself_comes_before_its_answer(place: &Place) {
    let printed = place.chat(&["!send I am at it", "thanks"]).succeeded();
    let stored = "stored for delivery to local:main as message 1 of the outbox";
    assert_eq!(printed, format!("I am at it\nsent I am at it: {stored}\nheard thanks\n"));
    assert_eq!(place.rows("SELECT DISTINCT state FROM outbox"), ["sent"]);
}

fn a_silent_turn_is_answered_by_nothing(place: &Place) {
    assert_eq!(place.chat(&["!silent"]).succeeded(), "");
    assert_eq!(place.rows("SELECT state FROM turns"), ["answered"]);
    assert_eq!(place.rows("SELECT text FROM outbox"), Vec::<String>::new());
    // Nothing is left to be answered.
    assert_eq!(place.chat(&["hello"]).succeeded(), "heard hello\n");
}

pub fn a_crash_is_told_and_tried_again(place: &Place) {
    let talk = Running::start(&mut place.command(chat(&["!crash"])));
    talk.until_stderr(|text| text.matches("the agent failed: ended with code 3; it is tried again in").count() >= 2);
    assert_eq!(talk.stdout(), "", "no word of it is among the replies");
    talk.signal(Signal::INT);
    let ended = talk.ended();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(130), ""), "{ended}");
    assert!(ended.stderr.contains("what was said is kept"), "{ended}");
    let runs = place.rows("SELECT ending FROM runs WHERE ending != 'stopped'");
    assert!(runs.len() >= 2 && runs.iter().all(|ending| ending == "crashed"), "{runs:?}");
    place.nothing_is_left();
}

fn a_failure_is_told_with_its_reason_and_tried_again(place: &Place) {
    let talk = Running::start(&mut place.command(chat(&["!fail no luck today"])));
    talk.until_stderr(|text| text.contains("the agent failed: failed: no luck today; it is tried again in "));
    until("it is tried again", || {
        (place.rows("SELECT CAST(number AS TEXT) FROM runs WHERE ending = 'failed'").len() >= 2).then_some(())
    });
    assert_eq!(place.rows("SELECT DISTINCT state FROM turns WHERE ended_at_ms IS NOT NULL"), ["unanswered"]);
}

pub fn what_is_said_to_a_busy_agent_is_answered_by_the_same_one(place: &Place) {
    let mut command = place.command(["chat"]);
    let mut talk = Running::start(command.stdin(Stdio::piped()));
    talk.type_line("!sleep 1.5");
    let busy = || place.rows_or_none("SELECT state FROM turns WHERE state IN ('handed', 'taken')").len() == 1;
    until("the agent is busy", || busy().then_some(()));
    talk.type_line("one");
    talk.type_line("two");
    talk.end_input();
    let printed = talk.ended().succeeded();
    assert_eq!(printed.lines().next(), Some("slept 1.5s"), "{printed}");
    // As one prompt or as two: both are heard once, in order.
    assert_eq!(printed.lines().skip(1).collect::<Vec<_>>(), ["heard one", "heard two"]);
    assert_eq!(place.rows("SELECT CAST(number AS TEXT) FROM runs"), ["1"]);
}

fn a_flood_of_noise_does_not_hold_up_the_answer(place: &Place) {
    let printed = place.chat(&["!flood 104857600", "still there?"]).succeeded();
    assert_eq!(printed, "flooded 104857600 bytes\nheard still there?\n");
    let logs = place.home().store().join("logs/main");
    let bytes: u64 = std::fs::read_dir(logs).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 11 << 20, "{bytes} bytes of log");
}

fn a_very_long_message_is_answered(place: &Place) {
    place.configure("[limits]\nmax_prompt_size = \"1MiB\"\n");
    let text = "lorem <ipsum> & \"dolor\" ".repeat(8 * 1024);
    let text = text.trim();
    let mut command = place.command(["chat"]);
    let mut talk = Running::start(command.stdin(Stdio::piped()));
    talk.type_line(text);
    talk.end_input();
    let printed = talk.ended().succeeded();
    assert!(printed == format!("heard {text}\n"), "{} bytes of {}", printed.len(), text.len());
    assert!(place.rows("SELECT text FROM messages") == [text], "the message is kept as it was");
}

fn a_conversation_that_is_hung_up_on_leaves_nothing(place: &Place) {
    for signal in [Signal::HUP, Signal::TERM] {
        let talk = Running::start(&mut place.command(chat(&["hello", "!sleep 600"])));
        talk.until_stdout(|text| text.contains("heard hello"));
        talk.signal(signal);
        let ended = talk.ended();
        assert_eq!(ended.stdout, "heard hello\n", "{signal:?}: {ended}");
        place.nothing_is_left();
        place.forget_messages();
    }
}
