//! A group's overlay: the real program with a folder at `/app/src`.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its parts has failed")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt as _};

use common::{Home, Running, api::Api, input, message, until};
use nanoclaw_core::protocol::{
    environment::{AGENT, PROVIDER},
    requests::{Answer, MessageRequest},
};
use nanoclaw_fakes::model_api::{Part, Said, Script, Turn};
use serde_json::json;

/// A file of the overlay.
fn put(home: &Home, name: &str, text: &str) {
    let path = home.path("overlay").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    if text.starts_with("#!") {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// The texts that the agent asked to have sent, each answered as done.
fn told(home: &Home) -> Vec<String> {
    let text = |name: &String| {
        let request = home.take("messages", name);
        let Ok(MessageRequest::Message { chat_jid, text, .. }) = serde_json::from_value(request) else {
            panic!("{name} is no message")
        };
        assert_eq!(chat_jid, input("", 1).chat_jid);
        home.answer(name, &Answer::Done { detail: "stored".to_owned() });
        text
    };
    home.requests("messages").iter().map(text).collect()
}

#[test]
fn a_mistake_is_told_to_the_group_once_and_the_agent_works_without_the_file() {
    let home = Home::new();
    put(&home, "agent.toml", "model = \"m\"\nprompt = oops\n");
    let mut agent = home.agent(&input(&message("hello"), 1));
    assert_eq!(agent.block().result.as_deref(), Some("heard hello"));
    until("the group is told", || !home.requests("messages").is_empty());
    let [text] = told(&home).try_into().unwrap();
    assert!(text.contains("I work without it") && text.contains("line 2, column 10"), "{text}");
    until("it is remembered", || home.path("home/.nanoclaw-overlay-told").exists());
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert!(agent.errors().contains("overlay: agent.toml"), "{}", agent.errors());

    let mut agent = home.agent(&input(&message("again"), 2));
    assert_eq!(agent.block().result.as_deref(), Some("heard again"));
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert_eq!(told(&home), Vec::<String>::new());

    // Mended, and broken in another way.
    put(&home, "agent.toml", "modle = \"m\"\n");
    let mut agent = home.agent(&input(&message("once more"), 3));
    agent.block();
    until("the group is told", || !home.requests("messages").is_empty());
    assert!(told(&home)[0].contains("`modle` means nothing"));
}

#[test]
fn hooks_run_at_their_moments_and_a_failing_one_holds_nobody_up() {
    let home = Home::new();
    put(
        &home,
        "agent.toml",
        r#"
            [hooks]
            start = "echo started >> log"
            prompt = "grep -o 'hello\\|more' >> log"
            answer = "cat >> log; echo >> log; exit 3"
        "#,
    );
    let mut agent = home.agent(&input(&message("hello"), 1));
    assert_eq!(agent.block().result.as_deref(), Some("heard hello"));
    home.follow_up(&message("more"), 2);
    assert_eq!(agent.block().result.as_deref(), Some("heard more"));
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert_eq!(fs::read_to_string(home.path("group/log")).unwrap(), "started\nhello\nheard hello\nmore\nheard more\n");
    assert!(agent.errors().contains("the hook answer failed (exit status: 3)"), "{}", agent.errors());
}

#[test]
fn one_who_is_asked_to_stop_does_not_wait_for_a_hook() {
    let home = Home::new();
    put(&home, "agent.toml", "[hooks]\nprompt = \"echo $$ > pid.new; mv pid.new pid; exec sleep 1000\"\n");
    let mut agent = home.agent(&input(&message("hello"), 1));
    until("the hook runs", || home.path("group/pid").exists());
    agent.signal("TERM");
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    let hook = common::pid_in(&home.path("group/pid"));
    until("the hook is killed", || !common::exists(hook));
}

#[test]
fn native_has_the_overlays_model_prompt_and_tools_within_what_the_operator_allows() {
    let home = Home::new();
    put(
        &home,
        "agent.toml",
        r#"
            provider = "native"
            model = "the-groups-own"
            prompt = "Answer in rhymes."
            tools = { allow = ["Read", "Bash", "mcp__overlay__*"] }
            hooks = { prompt = "echo it is raining" }
        "#,
    );
    put(&home, "tools/double.sh", "#!/bin/sh\n# Doubles a number.\necho \"doubled by $(basename \"$PWD\")\"; cat\n");
    let api = Api::start(Script::new(|conversation| match conversation.last() {
        Said::Text(_) => Turn::said(vec![
            Part::ToolUse { name: "mcp__overlay__double".into(), input: r#"{"input": "21"}"#.into() },
            Part::ToolUse { name: "Bash".into(), input: r#"{"command": "touch forbidden"}"#.into() },
        ]),
        _ => Turn::Text("done".into()),
    }));
    let mut command = home.command(&["run"]);
    command.env(PROVIDER, "claude").env(AGENT, json!({"model": "operators", "tools": {"deny": ["Bash"]}}).to_string());
    api.furnish(&mut command);
    let mut agent = Running::with_input(&mut command, &input(&message("go"), 1));
    let block = agent.block();
    assert_eq!(block.result.as_deref(), Some("done"), "{block:?} {}", agent.errors());
    let requests = api.asked();
    assert_eq!(requests[0]["model"], "the-groups-own");
    assert!(requests[0]["system"].to_string().contains("Answer in rhymes."));
    assert!(requests[0]["messages"].to_string().contains("it is raining"), "{:#}", requests[0]["messages"]);
    let tools: Vec<&str> =
        requests[0]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(tools, ["Read", "mcp__overlay__double"]);
    let results = requests[1]["messages"].as_array().unwrap().last().unwrap().to_string();
    assert!(results.contains("doubled by group") && results.contains("21"), "{results}");
    assert!(results.contains("there is no tool"), "{results}");
    assert!(!home.path("group/forbidden").exists());
}
