//! The agent's side of the container contract, with the provider `offline`.

mod common;

use std::{fs, os::unix::fs::PermissionsExt as _};

use common::{Home, Running, SAYS_NO, SAYS_YES, assert_slept, input, message, task, task_with, until};
use nanoclaw_core::{
    message::Seq,
    protocol::{
        input::ContainerInput,
        output::{Block, FailureKind, Status},
        requests::{Answer, MessageRequest},
    },
};

fn text(block: &Block) -> &str {
    block.result.as_deref().unwrap_or_else(|| panic!("no text in {block:?}"))
}

#[test]
fn all_messages_of_a_prompt_are_answered_in_one_reply() {
    let home = Home::new();
    let prompt = format!("{}\n{}", message("@Andy hello &amp; welcome"), message("second"));
    let mut agent = home.agent(&input(&prompt, 17));
    let block = agent.block();
    assert_eq!(block.status, Status::Success);
    assert_eq!(text(&block), "heard @Andy hello & welcome\nheard second");
    assert_eq!(block.answered_seq, Some(Seq(17)));
    assert!(block.new_session_id.is_some());
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert!(home.names("input").is_empty());
}

#[test]
fn a_follow_up_reaches_the_live_agent() {
    let home = Home::new();
    let mut agent = home.agent(&input(&message("one"), 1));
    let first = agent.block();
    home.follow_up(&message("two"), 5);
    let second = agent.block();
    assert_eq!(text(&second), "heard two");
    assert_eq!(second.answered_seq, Some(Seq(5)));
    assert_eq!(second.new_session_id, first.new_session_id);
    assert!(home.names("input").is_empty());
    home.close();
    assert_eq!(agent.code(), 0);
}

#[test]
fn follow_ups_that_come_during_a_turn_are_the_next_turn() {
    let home = Home::new();
    home.make_gate();
    let mut agent = home.agent(&input(&message("!run cat gate"), 1));
    let gate = home.reached();
    home.follow_up(&message("two"), 2);
    home.follow_up(&message("three"), 3);
    assert_eq!(home.names("input").len(), 2, "they wait in the mailbox, where nothing can lose them");
    drop(gate);
    let block = agent.block();
    assert_eq!((text(&block), block.answered_seq), ("ran cat gate", Some(Seq(1))));
    let block = agent.block();
    assert_eq!((text(&block), block.answered_seq), ("heard two\nheard three", Some(Seq(3))));
}

#[test]
fn follow_ups_that_lie_there_at_the_start_join_the_first_prompt() {
    let home = Home::new();
    home.follow_up(&message("two"), 2);
    let mut agent = home.agent(&input(&message("one"), 1));
    let block = agent.block();
    assert_eq!((text(&block), block.answered_seq), ("heard one\nheard two", Some(Seq(2))));
}

#[test]
fn a_follow_up_that_an_earlier_run_left_is_not_answered_twice() {
    let home = Home::new();
    home.follow_up(&message("old"), 1);
    let prompt = format!("{}\n{}", message("old"), message("new"));
    let mut agent = home.agent(&input(&prompt, 2));
    assert_eq!(text(&agent.block()), "heard old\nheard new");
    assert!(home.names("input").is_empty());
}

#[test]
fn f03_a_request_to_close_is_honoured_after_the_messages_that_lie_there() {
    let home = Home::new();
    home.make_gate();
    let mut agent = home.agent(&input(&message("!run cat gate"), 1));
    let gate = home.reached();
    home.follow_up(&message("do not forget me"), 2);
    home.close();
    drop(gate);
    assert_eq!(agent.block().answered_seq, Some(Seq(1)));
    let block = agent.block();
    assert_eq!((text(&block), block.answered_seq), ("heard do not forget me", Some(Seq(2))));
    assert_eq!(agent.code(), 0);
    assert!(home.names("input").is_empty());
}

#[test]
fn a_request_to_close_from_an_earlier_run_is_removed() {
    let home = Home::new();
    home.close();
    let mut agent = home.agent(&input(&message("one"), 1));
    agent.block();
    home.follow_up(&message("two"), 2);
    assert_eq!(text(&agent.block()), "heard two");
}

#[test]
fn f23_an_agent_that_is_told_to_stop_takes_no_message() {
    let home = Home::new();
    let mut agent = home.agent(&input(&message("!run echo $$ > pid; sleep 1000"), 1));
    common::pid_in(&home.path("group/pid"));
    home.follow_up(&message("two"), 2);
    agent.signal("TERM");
    assert_eq!(agent.code(), 0);
    assert_eq!(home.names("input").len(), 1);
    assert!(agent.bytes().is_empty(), "no block, and no part of one");
}

#[test]
fn an_agent_that_waits_for_its_input_can_be_told_to_stop() {
    let home = Home::new();
    let mut agent = Running::start(&mut home.command(&[]));
    // It catches signals before it reads; that it sleeps in the read is as near as one can see from outside.
    let status = format!("/proc/{}/status", agent.child.id());
    until("signals caught", || {
        let status = fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&caught, 16).unwrap() & (1 << 14) != 0
    });
    agent.signal("TERM");
    assert_eq!(agent.code(), 0);
}

#[test]
fn f52_a_tasks_run_leaves_the_chats_messages_alone_and_ends_by_itself() {
    let home = Home::new();
    home.follow_up(&message("for the chat"), 9);
    home.make_gate();
    let mut agent = home.agent(&task_with("echo '{\"wakeAgent\": true}'", "!run cat gate"));
    let gate = home.reached();
    home.follow_up(&message("during the turn"), 10);
    drop(gate);
    let block = agent.block();
    assert_eq!((text(&block), block.answered_seq, block.woke), ("ran cat gate", Some(Seq(1)), None));
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert_eq!(home.names("input").len(), 2);
}

#[test]
fn a_task_that_is_asked_to_close_during_its_turn_answers_first() {
    let home = Home::new();
    home.make_gate();
    let mut agent = home.agent(&task("!run cat gate"));
    let gate = home.reached();
    home.close();
    drop(gate);
    assert_eq!(text(&agent.block()), "ran cat gate");
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn a_task_without_a_mailbox_is_done_all_the_same() {
    let home = Home::new();
    fs::remove_dir_all(home.path("ipc")).unwrap();
    let mut agent = home.agent(&task("water the plants"));
    assert_eq!(text(&agent.block()), "heard water the plants");
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn f62_a_tasks_script_decides_whether_the_agent_wakes_and_what_it_is_told() {
    let home = Home::new();
    assert_slept(&mut home.agent(&task_with(SAYS_NO, "!crash")));
    let mut agent = home.agent(&task_with(SAYS_YES, "sum them up"));
    let block = agent.block();
    let found = "heard Script output:\n{\n  \"mails\": [\n    \"from Ann\",\n    \"from Bob\"\n  ]\n}\n\nInstructions:\nsum them up";
    assert_eq!((text(&block), block.woke), (found, None));
    assert_eq!(agent.code(), 0);
    // Nothing found is nothing told, and no script is no script.
    for script in [r#"echo '{"wakeAgent": true}'"#, "", " \n"] {
        let mut agent = home.agent(&task_with(script, "sum them up"));
        assert_eq!(text(&agent.block()), "heard sum them up", "{script:?}");
    }
}

#[test]
fn f62_no_provider_is_started_before_a_tasks_script_has_said_yes() {
    let home = Home::new();
    // A program that says that it was there.
    fs::write(home.path("claude"), "#!/bin/sh\ntouch started\n").unwrap();
    fs::set_permissions(home.path("claude"), fs::Permissions::from_mode(0o755)).unwrap();
    let agent = |script: &str| {
        let mut command = home.command(&["run"]);
        command.env("NANOCLAW_PROVIDER", "claude").env("NANOCLAW_CLAUDE", home.path("claude"));
        Running::with_input(&mut command, &task_with(script, "sum them up"))
    };
    assert_slept(&mut agent(SAYS_NO));
    assert_eq!(agent("exit 1").block().failure, Some(FailureKind::Script));
    assert!(!home.path("group/started").exists());
    assert_eq!(agent(SAYS_YES).block().failure, Some(FailureKind::Other));
    assert!(home.path("group/started").exists());
}

#[test]
fn a_script_without_a_verdict_is_a_failure_that_says_what_to_do_and_wakes_nobody() {
    let home = Home::new();
    for (script, part) in [
        ("echo working; echo 'no such host' >&2; exit 6", "failed (exit status: 6): no such host"),
        ("echo hello", "{\"wakeAgent\": false}, and is: hello ("),
        ("true", "wrote nothing; its last line has to be JSON such as"),
    ] {
        let mut agent = home.agent(&task_with(script, "!write woken x"));
        let block = agent.block();
        assert_eq!((block.status, block.failure), (Status::Error, Some(FailureKind::Script)), "{block:?}");
        assert!(block.error.as_deref().unwrap().contains(part), "{part:?}: {block:?}");
        assert_eq!((block.new_session_id, block.answered_seq), (None, None));
        assert_eq!(agent.code(), 1);
        // For who reads the log.
        assert!(agent.errors().contains(part), "{}", agent.errors());
    }
    assert!(!home.path("group/woken").exists());
}

#[test]
fn a_script_works_in_the_groups_folder_with_the_agents_environment_and_without_its_logins() {
    let home = Home::new();
    let script =
        r#"echo "{\"wakeAgent\": true, \"data\": \"${PWD##*/} $NANOCLAW_PROVIDER ${ANTHROPIC_API_KEY-none}\"}""#;
    let mut command = home.command(&["run"]);
    command.env("ANTHROPIC_API_KEY", "sk-ant-1");
    let mut agent = Running::with_input(&mut command, &task_with(script, "!env ANTHROPIC_API_KEY"));
    assert!(text(&agent.block()).contains("\"group offline none\""));
}

#[test]
fn a_script_is_killed_when_its_run_is_asked_to_end() {
    for ask in [|_: &Home, agent: &Running| agent.signal("TERM"), |home: &Home, _: &Running| home.close()] {
        let home = Home::new();
        let mut agent = home.agent(&task_with("echo $$ > pid.new; mv pid.new pid; exec sleep 1000", "!write woken x"));
        let pid = common::pid_in(&home.path("group/pid"));
        ask(&home, &agent);
        assert_eq!(agent.code(), 0, "{}", agent.errors());
        until("the script is killed", || !common::exists(pid));
        assert!(agent.bytes().is_empty() && !home.path("group/woken").exists() && home.names("input").is_empty());
    }
}

#[test]
fn bad_input_is_an_error_block_and_exit_code_1() {
    let home = Home::new();
    for (bytes, part) in [(&b"{\"prompt\":"[..], "JSON"), (b"", "is empty"), (b"\xff\xfe", "JSON")] {
        let mut agent = Running::start(&mut home.command(&["run"]));
        agent.send(bytes);
        let block = agent.block();
        assert_eq!((block.status, block.failure), (Status::Error, Some(FailureKind::Other)));
        assert!(block.error.as_deref().unwrap().contains(part), "{block:?}");
        assert_eq!(agent.code(), 1);
    }
}

#[test]
fn f08_a_failure_is_typed_and_carries_no_session() {
    let home = Home::new();
    let mut agent = home.agent(&input(&message("hello"), 1));
    agent.block();
    home.follow_up(&message("!fail-as quota no more until noon"), 2);
    let block = agent.block();
    assert_eq!((block.status, block.failure), (Status::Error, Some(FailureKind::Quota)));
    assert_eq!(block.error.as_deref(), Some("no more until noon"));
    assert_eq!((block.new_session_id, block.answered_seq), (None, None));
    assert_eq!(agent.code(), 1);
}

#[test]
fn a_crash_says_nothing() {
    let home = Home::new();
    let mut agent = home.agent(&input(&message("!crash"), 1));
    assert_eq!(agent.code(), 3);
    assert!(agent.bytes().is_empty());
}

#[test]
fn an_unknown_provider_is_a_failure_that_names_the_known_ones() {
    let home = Home::new();
    let mut agent = Running::with_input(home.command(&["run"]).env("NANOCLAW_PROVIDER", "oracle"), &input("hi", 1));
    assert!(agent.block().error.unwrap().contains("may be claude, native or offline"));
    assert_eq!(agent.code(), 1);
}

#[test]
fn the_conversation_is_remembered_across_runs() {
    let home = Home::new();
    let mut agent = home.agent(&input(&message("my name is Ann"), 1));
    let session = agent.block().new_session_id;
    home.close();
    assert_eq!(agent.code(), 0);

    let mut agent = home.agent(&ContainerInput { session_id: session.clone(), ..input(&message("@Andy !recall"), 2) });
    let block = agent.block();
    assert_eq!(text(&block), "I recall 1 message:\n1. Ann: my name is Ann");
    assert_eq!(block.new_session_id, session);
}

#[test]
fn f45_a_session_that_cannot_be_resumed_begins_anew_in_the_same_run() {
    let home = Home::new();
    let lost = Some("offline-0000".parse().unwrap());
    let mut agent = home.agent(&ContainerInput { session_id: lost.clone(), ..input(&message("hello"), 1) });
    let block = agent.block();
    assert_eq!((text(&block), block.answered_seq), ("heard hello", Some(Seq(1))));
    assert!(block.new_session_id.is_some() && block.new_session_id != lost);
    agent.until_it_says("starting a new session");
}

#[test]
fn a_silent_turn_is_answered_all_the_same() {
    let home = Home::new();
    let mut agent = home.agent(&input(&message("!silent"), 1));
    let block = agent.block();
    assert_eq!((block.status, block.result, block.answered_seq), (Status::Success, None, Some(Seq(1))));
}

#[test]
fn f22_an_empty_follow_up_is_answered_by_silence() {
    let home = Home::new();
    let mut agent = home.agent(&input(&message("one"), 1));
    agent.block();
    home.follow_up(" \n", 2);
    let block = agent.block();
    assert_eq!((block.result, block.answered_seq), (None, Some(Seq(2))));
    // An empty task must end too.
    let mut agent = home.agent(&ContainerInput { prompt: String::new(), ..input("", 3) });
    assert_eq!(agent.block().answered_seq, Some(Seq(3)));
}

#[test]
fn under_a_v1_host_the_agent_says_that_it_waits() {
    let home = Home::new();
    let mut agent = Running::start(&mut home.command(&["run"]));
    agent.send(br#"{"prompt":"hello","groupFolder":"family","chatJid":"1203@g.us","isMain":false}"#);
    let answer = agent.block();
    assert_eq!((text(&answer), answer.answered_seq), ("heard hello", None));
    let waiting = agent.block();
    assert_eq!(
        (waiting.status, waiting.result, &waiting.new_session_id),
        (Status::Success, None, &answer.new_session_id)
    );
    // Under the names that a v1 host gives, without numbers.
    let folder = home.mailbox.input().unwrap();
    folder.write("1760000000000-ab12.json", br#"{"type":"message","text":"more"}"#).unwrap();
    assert_eq!(text(&agent.block()), "heard more");
    assert_eq!(agent.block().result, None);
    fs::write(home.path("ipc/input/_close"), "").unwrap();
    assert_eq!(agent.code(), 0);
}

#[test]
fn a_follow_up_that_is_no_message_is_removed_and_told_of() {
    let home = Home::new();
    let mut agent = home.agent(&input(&message("one"), 1));
    agent.block();
    let folder = home.mailbox.input().unwrap();
    folder.write("00.json", b"{torn").unwrap();
    folder.write("01.json", br#"{"type":"dance"}"#).unwrap();
    home.follow_up(&message("two"), 2);
    assert_eq!(text(&agent.block()), "heard two");
    until("both removed", || home.names("input").is_empty());
    agent.until_it_says("00.json");
    agent.until_it_says("01.json");
}

#[test]
fn tools_work_in_the_groups_folder() {
    let home = Home::new();
    let commands = ["!write notes.txt milk &amp; eggs", "!read notes.txt", "!run cat notes.txt; exit 4", "!read none"];
    let prompt: Vec<String> = commands.into_iter().map(message).collect();
    let mut agent = home.agent(&input(&prompt.join("\n"), 1));
    assert_eq!(
        text(&agent.block()),
        "wrote notes.txt\nread notes.txt: milk & eggs\nran cat notes.txt; exit 4 (exit code 4): milk & eggs\n\
         cannot read none: No such file or directory (os error 2)"
    );
    assert_eq!(fs::read_to_string(home.path("group/notes.txt")).unwrap(), "milk & eggs\n");
}

#[test]
fn a_message_that_the_agent_sends_is_a_request_and_its_answer_is_reported() {
    let home = Home::new();
    let mut agent = home.agent(&input(&format!("{}\n{}", message("!send hi"), message("!send-to tg:1 psst")), 1));
    let answers =
        [Answer::Done { detail: "queued".to_owned() }, Answer::Refused { reason: "not your chat".to_owned() }];
    let mut requests: Vec<MessageRequest> = Vec::new();
    for answer in answers {
        let (name, request) = home.request("messages");
        requests.push(serde_json::from_value(request).unwrap());
        home.answer(&name, &answer);
    }
    let request = |chat: &str, text: &str| MessageRequest::Message {
        chat_jid: chat.to_owned(),
        text: text.to_owned(),
        sender: None,
    };
    assert_eq!(requests, [request("local:family", "hi"), request("tg:1", "psst")]);
    assert_eq!(text(&agent.block()), "sent hi: queued\nrefused to send psst: not your chat");
    assert!(home.names("answers").is_empty());
}

#[test]
fn f28_noise_on_standard_output_hides_no_block() {
    let home = Home::new();
    let mut agent = home.agent(&input(&format!("{}\n{}", message("!flood 100000"), message("hello")), 1));
    assert_eq!(text(&agent.block()), "flooded 100000 bytes\nheard hello");
    assert!(agent.bytes().len() > 100_000);
}

#[test]
fn a_mailbox_that_is_missing_is_said() {
    let home = Home::new();
    fs::remove_dir(home.path("ipc/input")).unwrap();
    let mut agent = home.agent(&input(&message("hello"), 1));
    let block = agent.block();
    assert!(block.error.as_deref().unwrap().contains("ipc/input"), "{block:?}");
    assert_eq!(agent.code(), 1);
}
