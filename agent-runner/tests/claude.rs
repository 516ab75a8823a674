//! The provider `claude`: against the real Claude Code, with a fake of the model's API, and against a shell script that
//! says what Claude Code says, for what the real one cannot be made to do on request.
//!
//! The real program is named by `NANOCLAW_TEST_CLAUDE`; without it these tests skip.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its parts has failed")]
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

mod common;

use std::{env, fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command, time::Duration};

use common::{
    Home, Running, SAYS_NO, SAYS_YES, api::Api, assert_answer, assert_slept, input, message, task, task_with,
};
use nanoclaw_core::{
    message::Seq,
    protocol::{
        environment::{AGENT, AHEAD, CLAUDE, GATEWAY_SOCKET, MODEL_AUTH, PROVIDER},
        input::ContainerInput,
        output::{FailureKind, Status},
        requests::Answer,
    },
    session::SessionId,
};
use nanoclaw_fakes::model_api::{Part, Script, Turn};

/// The real program; `None` skips the test and says so.
fn real() -> Option<PathBuf> {
    let program = env::var_os("NANOCLAW_TEST_CLAUDE").map(PathBuf::from);
    if program.is_none() {
        println!("skipped: needs Claude Code's program in NANOCLAW_TEST_CLAUDE");
    }
    program
}

impl Api {
    fn agent(&self, home: &Home, program: &PathBuf, input: &ContainerInput) -> Running {
        self.agent_with(home, program, input, &[])
    }

    fn agent_with(&self, home: &Home, program: &PathBuf, input: &ContainerInput, more: &[(&str, &str)]) -> Running {
        let mut command = home.command(&["run"]);
        command.env(PROVIDER, "claude").env(CLAUDE, program);
        self.furnish(&mut command);
        Running::with_input(command.envs(more.iter().copied()), input)
    }
}

#[test]
fn a_message_a_tool_a_follow_up_and_the_session_in_the_next_run() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::tools()));
    let mut agent = api.agent(&home, &program, &input(&message("bash: echo made by a tool | tee made.txt"), 3));
    let first = agent.block();
    assert_answer(&first, "made by a tool", 3);
    assert_eq!(fs::read_to_string(home.path("group/made.txt")).unwrap(), "made by a tool\n");
    // Where its size is looked at before it is resumed (fault F45).
    let transcript = format!("{}.jsonl", first.new_session_id.as_ref().unwrap());
    common::until("the session's transcript", || {
        let projects = fs::read_dir(home.path("home/.claude/projects")).into_iter().flatten().flatten();
        projects.into_iter().any(|project| project.path().join(&transcript).is_file())
    });

    home.follow_up(&message("and now this"), 8);
    let second = agent.block();
    assert_answer(&second, "echo: and now this", 8);
    assert_eq!(second.new_session_id, first.new_session_id);
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());

    let resumed = ContainerInput { session_id: first.new_session_id.clone(), ..input(&message("recall"), 9) };
    let mut agent = api.agent(&home, &program, &resumed);
    let third = agent.block();
    assert_answer(&third, "and now this", 9);
    assert_eq!(third.new_session_id, first.new_session_id);
    agent.signal("TERM");
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

/// The pictures in the last request, in base64.
fn pictures_shown(api: &Api) -> Vec<String> {
    let body = api.fake.model_requests().last().unwrap().json();
    let blocks = body["messages"].as_array().unwrap().iter().flat_map(|message| message["content"].as_array());
    let images = blocks.flatten().filter(|block| block["type"] == "image" && block["source"]["type"] == "base64");
    images.map(|block| block["source"]["data"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_picture_that_came_with_a_message_is_shown_to_the_model_and_one_with_a_follow_up_too() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    let files = vec![common::picture(&home, "1-1-a.png")];
    let mut agent = api.agent(&home, &program, &ContainerInput { files, ..input(&message("look"), 1) });
    // The program says after the words where it keeps a copy of the picture, which is what the fake repeats.
    assert_answer(&agent.block(), "echo: ", 1);
    assert_eq!(pictures_shown(&api), [common::PNG]);
    assert!(api.fake.model_requests().last().unwrap().json().to_string().contains(">look</message>"));
    home.follow_up_with(&message("and this"), 2, vec![common::picture(&home, "2-1-b.png")]);
    assert_answer(&agent.block(), "echo: ", 2);
    assert_eq!(pictures_shown(&api), [common::PNG, common::PNG]);
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn the_placeholder_makes_the_program_ask_as_the_hosts_credential_needs_it() {
    let Some(program) = real() else { return };
    for (auth, key, token, beta) in [("api_key", true, false, false), ("oauth", false, true, true)] {
        let (home, api) = (Home::new(), Api::start(Script::echo()));
        api.fake.expect_key("placeholder");
        let mut command = home.command(&["run"]);
        command.env(PROVIDER, "claude").env(CLAUDE, &program).env(MODEL_AUTH, auth);
        // The fake stands in for the gateway.
        command.env(GATEWAY_SOCKET, home.path("gateway.sock")).env("ANTHROPIC_BASE_URL", api.fake.base_url());
        let mut agent = Running::with_input(&mut command, &input(&message("hello"), 1));
        assert_answer(&agent.block(), "echo: hello", 1);
        home.close();
        assert_eq!(agent.code(), 0, "{}", agent.errors());

        let asked = &api.fake.model_requests()[0];
        assert_eq!(asked.header("x-api-key").is_some(), key, "{auth}");
        assert_eq!(asked.header("authorization").is_some(), token, "{auth}");
        assert_eq!(asked.header("anthropic-beta").unwrap_or_default().contains("oauth-"), beta, "{auth}");
        // Nothing that the gateway would refuse.
        for request in api.fake.requests() {
            let asked = format!("{} {}", request.method, request.path);
            assert!(["HEAD /", "POST /v1/messages", "POST /v1/messages/count_tokens"].contains(&&*asked), "{asked}");
        }
    }
}

#[test]
fn a_session_that_is_gone_begins_anew_in_the_same_run() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    for lost in ["11111111-2222-4333-8444-555555555555", "offline-0123456789abcdef"] {
        let lost = ContainerInput { session_id: Some(lost.parse().unwrap()), ..input(&message("hello"), 1) };
        let mut agent = api.agent(&home, &program, &lost);
        let block = agent.block();
        assert_answer(&block, "echo: hello", 1);
        assert_ne!(block.new_session_id, lost.session_id);
        agent.until_it_says("starting a new session");
        // The agent is told, too, so that it does not deny what it said.
        let asked = String::from_utf8(api.fake.model_requests().pop().unwrap().body.to_vec()).unwrap();
        assert!(asked.contains("[NEW SESSION - "), "{asked}");
    }
}

#[test]
fn a_refused_key_is_a_login_failure_within_seconds() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    let mut agent =
        api.agent_with(&home, &program, &input(&message("hello"), 1), &[("ANTHROPIC_API_KEY", "another-key")]);
    let block = agent.block();
    assert_eq!((block.status, block.failure), (Status::Error, Some(FailureKind::Login)), "{block:?}");
    assert_eq!((block.new_session_id, block.answered_seq), (None, None));
    assert_eq!(agent.code(), 1);
    assert!(api.fake.model_requests().len() <= 3, "it does not knock ten times");
}

#[test]
fn a_used_up_quota_and_an_overloaded_service_are_typed() {
    let Some(program) = real() else { return };
    // Fewer tries than it makes by itself, which last minutes.
    let once = [("CLAUDE_CODE_MAX_RETRIES", "0")];
    for (turn, kind) in
        [(Turn::rate_limited(Duration::from_secs(60)), FailureKind::Quota), (Turn::overloaded(), FailureKind::Overload)]
    {
        let api = Api::start(Script::new(move |_| turn.clone()));
        let home = Home::new();
        let mut agent = api.agent_with(&home, &program, &input(&message("hello"), 1), &once);
        let block = agent.block();
        assert_eq!((block.status, block.failure), (Status::Error, Some(kind)), "{block:?}");
        assert!(block.error.is_some_and(|error| !error.is_empty()));
        assert_eq!(agent.code(), 1);
    }
}

#[test]
fn what_all_groups_share_and_additional_mounts_reach_the_model_and_the_main_group_has_the_former_elsewhere() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    fs::write(home.path("global/CLAUDE.md"), "Remember the blue teapot.\n").unwrap();
    fs::write(home.path("group/CLAUDE.md"), "Remember the green kettle.\n").unwrap();
    for name in ["photos", "taxes"] {
        fs::create_dir(home.path("extra").join(name)).unwrap();
        fs::write(home.path("extra").join(name).join("CLAUDE.md"), format!("Remember the {name}' spoon.\n")).unwrap();
    }
    let seen = |is_main: bool| {
        let mut agent = api.agent(&home, &program, &ContainerInput { is_main, ..input(&message("hi"), 1) });
        agent.block();
        let request = api.fake.model_requests().pop().unwrap();
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        for name in ["photos", "taxes"] {
            assert!(body.contains(home.path("extra").join(name).to_str().unwrap()), "the additional mount {name}");
            assert!(body.contains(&format!("Remember the {name}' spoon.")), "the memory of the mount {name}");
        }
        assert!(body.contains("Remember the green kettle."), "the group's own memory");
        body.contains("the blue teapot")
    };
    assert!(seen(false));
    assert!(!seen(true));
}

#[test]
fn f64_a_tasks_run_ends_by_itself_and_its_agent_knows_that_its_answer_is_sent() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    home.follow_up(&message("for the chat"), 9);
    let mut agent = api.agent(&home, &program, &task("water the plants"));
    let block = agent.block();
    assert_answer(&block, "water the plants", 1);
    assert!(block.result.unwrap().contains("What you answer is sent to the chat."));
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert_eq!(home.names("input").len(), 1);
}

#[test]
fn f62_a_tasks_script_that_says_no_costs_no_request_and_what_one_found_is_in_the_request() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    assert_slept(&mut api.agent(&home, &program, &task_with(SAYS_NO, "sum them up")));
    let mut agent = api.agent(&home, &program, &task_with("exit 2", "sum them up"));
    assert_eq!(agent.block().failure, Some(FailureKind::Script));
    assert_eq!(agent.code(), 1);
    assert_eq!(api.fake.requests().len(), 0);
    assert!(!home.path("home/.claude.json").exists(), "it was not even started");

    let mut agent = api.agent(&home, &program, &task_with(SAYS_YES, "sum them up"));
    assert_answer(&agent.block(), "sum them up", 1);
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert!(api.asked()[0]["messages"].to_string().contains("from Bob"), "{:#}", api.asked()[0]["messages"]);
}

#[test]
fn all_that_a_tasks_sub_agents_bring_comes_out_before_its_run_ends() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::tools()));
    home.make_gate();
    let mut agent = api.agent(
        &home,
        &program,
        &task(r#"use: Bash {"command": "cat gate; touch built", "run_in_background": true, "description": "Builds."}"#),
    );
    assert_answer(&agent.block(), "running in background", 1);
    drop(home.reached());
    let late = agent.block();
    assert_eq!((late.status, late.answered_seq), (Status::Success, Some(Seq(1))), "{late:?}");
    assert!(home.path("group/built").exists() && late.result.is_some());
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn what_comes_long_after_the_answer_of_a_task_is_said_and_signs_of_life_go_on_until_then() {
    let home = Home::new();
    home.make_gate();
    let script = "next; started $id; result one; cat gate; result two \"$background\"";
    let mut agent = scripted(&home, script, &task("1"));
    assert_answer(&agent.block(), "one", 1);
    let gate = home.reached();
    // Each is another file, five seconds after the last: longer than a chat's last words may take.
    let sign = || fs::metadata(home.path("ipc/alive/beat")).ok().map(|sign| std::os::unix::fs::MetadataExt::ino(&sign));
    for _ in 0..3 {
        let last = sign();
        common::until("the next sign of life", || sign().is_some() && sign() != last);
    }
    drop(gate);
    assert_answer(&agent.block(), "two", 1);
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn a_task_that_left_something_running_ends_when_it_is_asked_to_close() {
    let home = Home::new();
    let script = "next; started $id; result one; echo $$ > pid; exec sleep 1000";
    let mut agent = scripted(&home, script, &task("1"));
    assert_answer(&agent.block(), "one", 1);
    let pid = common::pid_in(&home.path("group/pid"));
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert!(!common::exists(pid) && home.names("input").is_empty());
}

#[test]
fn a_block_tells_what_its_own_turn_cost_also_in_a_resumed_session() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    let mut agent = api.agent(&home, &program, &input(&message("one"), 1));
    let first = agent.block();
    home.follow_up(&message("two"), 2);
    let second = agent.block();
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    let resumed = ContainerInput { session_id: first.new_session_id.clone(), ..input(&message("three"), 3) };
    let third = api.agent(&home, &program, &resumed).block();
    let costs = [&first, &second, &third].map(|block| block.cost_usd.unwrap_or_else(|| panic!("{block:?}")));
    // Each asks for the same and a few words more.
    let [first, rest @ ..] = costs.map(|cost| cost.as_f64());
    assert!(first > 0.0 && rest.iter().all(|cost| (first..1.5 * first).contains(cost)), "{costs:?}");
}

#[test]
fn what_was_spent_on_silence_is_told_with_the_next_words_or_the_failure() {
    let home = Home::new();
    let script = r#"cost() { printf ',"model_usage_since_last_result":{"m":{"costUSD":%s,"costBasis":"list"}}' "$1"; }
        next; started $id; result one "$(cost 0.5)"; result '' "$background$(cost 0.25)"; result late "$background$(cost 0.125)"
        next; result '' "$background"; started $id; result two
        next; result ' ' "$background$(cost 1)"; started $id
        result 'no more' "$(cost 2),\"is_error\":true,\"api_error_status\":429"; next"#;
    let mut agent = scripted(&home, script, &input("1", 1));
    let cost = |agent: &mut Running| {
        let block = agent.block();
        (block.result.or(block.error).unwrap_or_default(), block.cost_usd.map(|cost| cost.as_f64()))
    };
    assert_eq!(cost(&mut agent), ("one".to_owned(), Some(0.5)));
    assert_eq!(cost(&mut agent), ("late".to_owned(), Some(0.375)));
    home.follow_up("2", 2);
    assert_eq!(cost(&mut agent), ("two".to_owned(), None));
    home.follow_up("3", 3);
    let (_, failed) = cost(&mut agent);
    assert_eq!(failed, Some(3.0));
}

/// An agent whose `claude` is this shell script. `next` reads a prompt and sets `id` to its id.
fn scripted(home: &Home, script: &str, input: &ContainerInput) -> Running {
    scripted_with(home, script, input, &[])
}

fn scripted_with(home: &Home, script: &str, input: &ContainerInput, more: &[(&str, &str)]) -> Running {
    const WORDS: &str = r#"#!/bin/sh
next() { read -r line || exit 0; id=$(printf %s "$line" | sed 's/.*"uuid":"\([^"]*\)".*/\1/'); }
started() { printf '{"type":"command_lifecycle","command_uuid":"%s","state":"started"}\n' "$1"; }
result() { printf '{"type":"result","subtype":"success","is_error":false,"session_id":"s","result":"%s"%s}\n' "$1" "$2"; }
background=',"origin":{"kind":"task-notification"}'
"#;
    let program = home.path("claude");
    // Written by another process: a program that any process has open for writing cannot be started, and a test next to
    // this one may fork at any moment.
    let mut writer = Command::new("sh");
    writer.args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(&program).arg(format!("{WORDS}{script}"));
    assert!(writer.status().unwrap().success());
    let mut command = home.command(&["run"]);
    command.env(PROVIDER, "claude").env(CLAUDE, program).envs(more.iter().copied());
    Running::with_input(&mut command, input)
}

/// A transcript as Claude Code would have it, of this many bytes.
fn transcript(home: &Home, session: &str, bytes: u64) {
    let folder = home.path("home/.claude/projects/-workspace-group");
    fs::create_dir_all(&folder).unwrap();
    fs::File::create(folder.join(format!("{session}.jsonl"))).unwrap().set_len(bytes).unwrap();
}

#[test]
fn f45_a_session_that_has_grown_too_large_is_not_resumed_and_a_new_one_begins_in_the_same_run() {
    const BOUND: u64 = 64 << 20;
    let home = Home::new();
    transcript(&home, "grown", BOUND + 1);
    transcript(&home, "fits", BOUND);
    let script = "echo \"$*\" >> started; next; started $id; result answered; next";
    let with =
        |session: &str| ContainerInput { session_id: Some(session.parse().unwrap()), ..input(&message("hello"), 1) };
    let started = |home: &Home| fs::read_to_string(home.path("group/started")).unwrap();

    let mut agent = scripted(&home, script, &with("grown"));
    let block = agent.block();
    assert_eq!((block.result.as_deref(), block.answered_seq), (Some("answered"), Some(Seq(1))));
    assert!(block.new_session_id.is_some_and(|session| session.as_str() == "s"));
    agent.until_it_says("the session grown is too large to be resumed");
    agent.until_it_says("starting a new session");
    let once = started(&home);
    assert!(once.lines().count() == 1 && !once.contains("--resume"), "{once}");

    // One that fits, and one of which nothing is known, are resumed as ever.
    for session in ["fits", "unknown", "../grown"] {
        fs::remove_file(home.path("group/started")).unwrap();
        let mut agent = scripted(&home, script, &with(session));
        assert_eq!(agent.block().result.as_deref(), Some("answered"));
        assert!(started(&home).contains(&format!("--resume {session}")), "{}", started(&home));
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_not_taken_for_the_answer_to_a_prompt() {
    let home = Home::new();
    home.make_gate();
    // Work in the background ends while nobody waits; then again just when the next prompt comes in.
    let script = "next; started $id; result one; result unasked \"$background\"; \
                  next; result late \"$background\"; cat gate; started $id; result two; next";
    let mut agent = scripted(&home, script, &input("1", 1));
    assert_answer(&agent.block(), "one", 1);
    assert_answer(&agent.block(), "unasked", 1);
    home.follow_up("2", 2);
    let gate = home.reached();
    assert_answer(&agent.block(), "late", 1);
    drop(gate);
    assert_answer(&agent.block(), "two", 2);
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn words_that_nobody_asked_for_answer_nothing_even_as_the_first_of_a_run() {
    let home = Home::new();
    // Work of a resumed session ends before the prompt is taken up.
    let script = "next; result early \"$background\"; started $id; result one; next";
    let first = ContainerInput { first_seq: Some(Seq(5)), ..input("1", 7) };
    let mut agent = scripted(&home, script, &first);
    // It says up to where everything is answered, so that the host takes it for no answer to the prompt.
    assert_answer(&agent.block(), "early", 4);
    assert_answer(&agent.block(), "one", 7);
}

#[test]
fn a_version_that_tells_nothing_of_prompts_still_answers_them() {
    let home = Home::new();
    let script = "next; result one; next; result late \"$background\"; result two; next";
    let mut agent = scripted(&home, script, &input("1", 1));
    assert_answer(&agent.block(), "one", 1);
    home.follow_up("2", 2);
    assert_answer(&agent.block(), "late", 1);
    assert_answer(&agent.block(), "two", 2);
}

#[test]
fn the_last_words_after_a_request_to_close_are_said() {
    let home = Home::new();
    let script = "next; started $id; result one; read -r line; result 'the build is done' \"$background\"";
    let mut agent = scripted(&home, script, &input("1", 1));
    assert_answer(&agent.block(), "one", 1);
    home.close();
    assert_answer(&agent.block(), "the build is done", 1);
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn f29_a_program_that_dies_before_it_reads_is_a_failure_and_nothing_worse() {
    let home = Home::new();
    let mut agent = scripted(&home, "exec <&-; exit 9", &input(&"long ".repeat(100_000), 1));
    let block = agent.block();
    assert_eq!((block.status, block.failure), (Status::Error, Some(FailureKind::Other)));
    assert!(block.error.as_deref().unwrap().contains("exit status: 9"), "{block:?}");
    assert_eq!(agent.code(), 1);
}

#[test]
fn a_program_that_does_not_listen_is_stopped_all_the_same() {
    let home = Home::new();
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done";
    let mut agent = scripted(&home, script, &input(&"long ".repeat(100_000), 1));
    let pid = common::pid_in(&home.path("group/pid"));
    agent.signal("TERM");
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert!(!common::exists(pid));
    assert!(agent.bytes().is_empty());
}

#[test]
fn a_missing_program_is_a_failure_that_says_what_to_do() {
    let home = Home::new();
    let mut command = home.command(&["run"]);
    command.env(PROVIDER, "claude").env(CLAUDE, "/no/such/claude");
    let mut agent = Running::with_input(&mut command, &input("hi", 1));
    let block = agent.block();
    assert!(block.error.as_deref().unwrap().contains("install Claude Code in the image"), "{block:?}");
    assert_eq!(agent.code(), 1);
}

/// Takes the next request away and grants it, as a host does, while the agent waits; what was asked for.
fn grant_one(home: &Home, tray: &str) -> serde_json::Value {
    // The program has to start first, which takes a busy machine long.
    let (name, request) = home.request_within(Duration::from_secs(150), tray);
    home.answer(&name, &Answer::Done { detail: "granted".to_owned() });
    request
}

const SENDS: &str = r#"use: mcp__nanoclaw__send_message {"text": "by a tool"}"#;

#[test]
fn the_program_has_our_tools_from_the_first_prompt_on() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::tools()));
    let mut agent = api.agent(&home, &program, &input(&message(SENDS), 1));
    let request = grant_one(&home, "messages");
    assert_eq!(request, serde_json::json!({"type": "message", "chatJid": "local:family", "text": "by a tool"}));
    assert_answer(&agent.block(), "granted", 1);
    // The model need not look for them.
    let asked = api.fake.model_requests()[0].json();
    let tools: Vec<&str> = asked["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert!(tools.contains(&"mcp__nanoclaw__send_message"), "{tools:?}");
    assert!(!tools.contains(&"mcp__nanoclaw__register_group"), "{tools:?}");
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn settings_that_an_agent_left_behind_neither_replace_nor_remove_our_tools() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::tools()));
    let evil = r#"{"type": "stdio", "command": "/bin/false"}"#;
    let group = home.path("group").display().to_string();
    // Each of these alone would take the tools away, but for the servers of our name, which lose against ours.
    for (file, content) in [
        (
            "home/.claude/settings.json",
            r#"{"permissions": {"deny": ["mcp__nanoclaw__send_message"]}, "deniedMcpServers": [{"serverName": "nanoclaw"}],
                "allowedMcpServers": [], "env": {"NANOCLAW_IPC_DIR": "/nowhere", "MCP_TIMEOUT": "1"}}"#
                .to_owned(),
        ),
        (
            "group/.claude/settings.json",
            r#"{"permissions": {"ask": ["mcp__nanoclaw__*"], "disableBypassPermissionsMode": "disable"}}"#.to_owned(),
        ),
        ("group/.mcp.json", format!(r#"{{"mcpServers": {{"nanoclaw": {evil}}}}}"#)),
        (
            "home/.claude.json",
            format!(
                r#"{{"mcpServers": {{"nanoclaw": {evil}}}, "projects": {{"{group}": {{"mcpServers": {{"nanoclaw": {evil}}},
                   "disabledMcpServers": ["nanoclaw"]}}}}}}"#
            ),
        ),
    ] {
        let path = home.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
    }
    let mut agent = api.agent(&home, &program, &input(&message(SENDS), 1));
    assert_eq!(grant_one(&home, "messages")["text"], "by a tool");
    assert_answer(&agent.block(), "granted", 1);
    agent.until_it_says("switched NanoClaw's tools off; that is taken out of it");
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn model_effort_tools_and_prompt_are_the_groups() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::tools()));
    fs::write(home.path("global/CLAUDE.md"), "Remember the blue teapot.\n").unwrap();
    let asked = |settings: serde_json::Value| {
        let mut agent =
            api.agent_with(&home, &program, &input(&message("hi"), 1), &[(AGENT, settings.to_string().as_str())]);
        assert_answer(&agent.block(), "echo: hi", 1);
        let asked = api.fake.model_requests().pop().unwrap().json();
        let tools =
            asked["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).map(str::to_owned);
        (tools.collect::<Vec<_>>(), asked)
    };
    let (tools, body) = asked(serde_json::json!({
        "model": "claude-test-1", "effort": "low", "max_tokens": 1234, "prompt": "Never rhyme.",
        "tools": {"allow": ["Read", "Bash", "mcp__nanoclaw__send*"], "deny": ["mcp__nanoclaw__send_file"]},
    }));
    assert_eq!((body["model"].as_str(), body["max_tokens"].as_u64()), (Some("claude-test-1"), Some(1234)));
    let text = body.to_string();
    assert!(text.contains("Never rhyme.") && text.contains("Remember the blue teapot."), "{text}");
    assert!(text.contains("\"effort\":\"low\""), "{text}");
    // Something that the program tells its model of by itself; nobody can use it.
    let mut sorted: Vec<String> = tools.into_iter().filter(|name| name != "DeferredToolPlaceholder").collect();
    sorted.sort();
    assert_eq!(sorted, ["Bash", "Read", "mcp__nanoclaw__send_message"]);

    let (tools, _) = asked(serde_json::json!({"tools": {"deny": ["Web*", "mcp__nanoclaw__*_task"]}}));
    assert!(tools.iter().any(|name| name == "Bash") && !tools.iter().any(|name| name.starts_with("Web")), "{tools:?}");
}

/// A server with two tools.
const SERVER: &str = r#"#!/bin/sh
while read -r line; do
    id=$(printf %s "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    version=$(printf %s "$line" | sed -n 's/.*"protocolVersion":"\([^"]*\)".*/\1/p')
    case $line in
    *'"initialize"'*) result='{"protocolVersion":"'$version'","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
    *'"tools/list"'*) result='{"tools":[{"name":"hello","description":"d","inputSchema":{"type":"object"}},{"name":"wipe","description":"d","inputSchema":{"type":"object"}}]}' ;;
    *'"tools/call"'*) result='{"content":[{"type":"text","text":"hello from '$WHO'"}]}' ;;
    *) continue ;;
    esac
    [ -n "$id" ] && printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

#[test]
fn a_groups_own_server_of_tools_is_used_and_what_is_denied_of_it_is_not_there() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::tools()));
    let server = home.path("extra/server.sh");
    fs::write(&server, SERVER).unwrap();
    let settings = serde_json::json!({
        "tools": {"allow": ["Bash", "mcp__*"], "deny": ["mcp__notes__w*"]},
        "mcp_servers": {"notes": {"command": "sh", "args": [server], "env": {"WHO": "notes"}, "timeout_seconds": 60}},
    });
    let use_it = message("use: mcp__notes__hello {}");
    let mut agent = api.agent_with(&home, &program, &input(&use_it, 1), &[(AGENT, settings.to_string().as_str())]);
    assert_answer(&agent.block(), "hello from notes", 1);
    let asked = api.fake.model_requests()[0].conversation();
    let tools = asked.tool_names();
    assert!(tools.contains(&"mcp__notes__hello") && tools.contains(&"mcp__nanoclaw__send_message"), "{tools:?}");
    assert!(!tools.contains(&"mcp__notes__wipe"), "{tools:?}");
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn settings_that_claude_cannot_honour_are_a_failure_or_said() {
    let home = Home::new();
    let script = "next; started $id; result one; next";
    for (settings, failure, said) in [
        (r#"{"effort":"enormous"}"#, Some("enormous"), None),
        (r#"{"api":{"kind":"openai","upstream":"local"},"model":"m"}"#, Some("choose the provider native"), None),
        (r#"{"context_window":50000}"#, None, Some("100000")),
        (r#"{"tools":{"allow":["mcp__x__a"]},"mcp_servers":{"x":{"command":"x"}}}"#, None, Some("allow mcp__x__*")),
    ] {
        let mut agent = scripted_with(&home, script, &input("hi", 1), &[(AGENT, settings)]);
        let block = agent.block();
        match failure {
            Some(part) => assert!(block.error.as_deref().unwrap_or_default().contains(part), "{settings}: {block:?}"),
            None => assert_answer(&block, "one", 1),
        }
        if let Some(part) = said {
            agent.until_it_says(part);
        }
    }
}

#[test]
fn what_was_said_is_in_conversations_before_it_is_compacted_and_once() {
    let Some(program) = real() else { return };
    let (home, api) = (Home::new(), Api::start(Script::tools()));
    let archives = || {
        let mut names = fs::read_dir(home.path("group/conversations"))
            .map_or_else(|_| Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>());
        names.sort();
        names
    };
    let mut agent = api.agent(&home, &program, &input(&message("bash: echo the first"), 1));
    assert_answer(&agent.block(), "the first", 1);
    home.follow_up(&message("the second"), 2);
    assert_answer(&agent.block(), "echo: the second", 2);
    assert_eq!(archives(), Vec::<PathBuf>::new());
    home.follow_up("/compact", 3);
    let compacted = agent.block();
    assert_eq!((compacted.status, compacted.answered_seq), (Status::Success, Some(Seq(3))), "{compacted:?}");
    let [archive] = &archives()[..] else { panic!("{:?}", archives()) };
    let name = archive.file_name().unwrap().to_str().unwrap();
    assert!(name.contains("-conversation-") && name.ends_with(".md"), "{name}");
    let text = fs::read_to_string(archive).unwrap();
    let parts = ["echo the first", "Assistant uses Bash", "**Result**: the first", "the second", "echo: the second"];
    let places: Vec<_> = parts.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"))).collect();
    assert!(places.is_sorted(), "{text}");

    // The next one has what came since.
    home.follow_up(&message("the third"), 4);
    assert_answer(&agent.block(), "echo: the third", 4);
    home.follow_up("/compact", 5);
    agent.block();
    let both = archives();
    assert_eq!(both.len(), 2, "{both:?}");
    let second = both.iter().find(|path| *path != archive).unwrap();
    let text = fs::read_to_string(second).unwrap();
    assert!(text.contains("the third") && !text.contains("echo: the second"), "{text}");
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn a_refusal_is_typed_and_the_session_of_a_failed_run_is_not_told() {
    let Some(program) = real() else { return };
    let refused = Turn::Said { parts: vec![Part::text("No.")], stop_reason: Some("refusal".into()) };
    let (home, api) = (Home::new(), Api::start(Script::new(move |_| refused.clone())));
    let mut agent = api.agent(&home, &program, &input(&message("hello"), 1));
    let block = agent.block();
    assert_eq!((block.status, block.failure), (Status::Error, Some(FailureKind::Refused)), "{block:?}");
    assert_eq!((block.new_session_id, block.answered_seq), (None, None));
}

#[test]
fn a_quota_is_told_with_its_reset_time_and_a_crash_as_one() {
    let home = Home::new();
    let limit =
        r#"printf '{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1760000000}}\n'"#;
    let words = r#"printf '{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"session_id":"s","result":"You have hit a limit"}\n'"#;
    let mut agent = scripted(&home, &format!("next; started $id; {limit}; {words}; next"), &input("hi", 1));
    let block = agent.block();
    assert_eq!((block.failure, block.new_session_id), (Some(FailureKind::Quota), None));
    assert_eq!(block.retry_at.map(|at| at.as_ms()), Some(1_760_000_000_000));

    let mut agent = scripted(&home, "next; started $id; kill -SEGV $$", &input("hi", 1));
    let block = agent.block();
    assert_eq!((block.failure, &block.new_session_id), (Some(FailureKind::Other), &None));
    assert!(block.error.as_deref().unwrap().contains("signal: 11"), "{block:?}");
}

/// The input as it would be told ahead.
fn ahead(input: &ContainerInput) -> String {
    serde_json::to_string(&input.ahead()).unwrap()
}

/// An agent that was started ahead of `input`, with a real Claude Code that is up and waits: it has started its servers.
struct Waits {
    home: Home,
    api: Api,
    agent: Running,
    input: ContainerInput,
    /// That of its answer.
    session: Option<SessionId>,
}

impl Waits {
    fn of(input: ContainerInput) -> Option<Self> {
        real()?;
        let (home, api) = (Home::new(), Api::start(Script::tools()));
        fs::write(home.path("group/CLAUDE.md"), "Remember the green kettle.\n").unwrap();
        fs::write(home.path("extra/server.sh"), SERVER.replacen('\n', "\necho $PPID >> up\n", 1)).unwrap();
        fs::create_dir_all(home.path("overlay/tools")).unwrap();
        fs::write(home.path("overlay/tools/hello"), "#!/bin/sh\n# Says hello.\n").unwrap();
        fs::set_permissions(home.path("overlay/tools/hello"), fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self::at(home, api, input))
    }

    fn at(home: Home, api: Api, input: ContainerInput) -> Self {
        let server = serde_json::json!({"command": "sh", "args": [home.path("extra/server.sh")]});
        let settings = serde_json::json!({"mcp_servers": {"notes": server}}).to_string();
        let mut command = home.command(&["run"]);
        command.env(PROVIDER, "claude").env(CLAUDE, real().unwrap()).env(AGENT, settings).env(AHEAD, ahead(&input));
        api.furnish(&mut command);
        let agent = Running::start(&mut command);
        Self { home, api, agent, input, session: None }
    }

    fn for_a_new_session() -> Option<Self> {
        let waits = Self::of(input(&message("bash: echo it was $PPID"), 1))?;
        waits.until_up(1);
        Some(waits)
    }

    /// The processes that were up so far.
    fn up(&self) -> Vec<u32> {
        let lines = fs::read_to_string(self.home.path("group/up")).unwrap_or_default();
        lines.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    fn until_up(&self, count: usize) {
        common::until("claude is up", || self.up().len() == count);
    }

    /// Has it answer, and sees to it that the process did that was the last to be up, of as many.
    fn is_answered_by_the_last_of(&mut self, count: usize) {
        self.agent.send(&serde_json::to_vec(&self.input).unwrap());
        let block = self.agent.block();
        let up = self.up();
        assert_eq!(up.len(), count, "{}", self.agent.errors());
        assert_answer(&block, &format!("it was {}", up[count - 1]), 1);
        assert!(up[..count - 1].iter().all(|pid| !common::exists(*pid)), "one process a run");
        self.session = block.new_session_id;
    }

    /// Ends, and is started again ahead of this input.
    fn again(mut self, input: ContainerInput) -> Self {
        self.home.close();
        assert_eq!(self.agent.code(), 0, "{}", self.agent.errors());
        Self::at(self.home, self.api, input)
    }

    fn ends(mut self) {
        self.home.close();
        assert_eq!(self.agent.code(), 0, "{}", self.agent.errors());
    }
}

#[test]
fn a_process_that_was_started_ahead_is_up_before_there_is_a_prompt_and_answers_it() {
    let Some(mut waits) = Waits::for_a_new_session() else { return };
    let environment = fs::read(format!("/proc/{}/environ", waits.up()[0])).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains(AHEAD), "it has no need of what we were told");
    assert_eq!(waits.api.fake.model_requests().len(), 0, "nobody has asked anything");
    waits.is_answered_by_the_last_of(1);
    waits.home.follow_up(&message("and this"), 2);
    assert_answer(&waits.agent.block(), "echo: and this", 2);
    assert!(!waits.agent.errors().contains("started anew"), "{}", waits.agent.errors());
    waits.ends();
}

#[test]
fn a_process_that_is_to_go_on_with_a_session_waits_with_it() {
    let Some(mut waits) = Waits::for_a_new_session() else { return };
    waits.is_answered_by_the_last_of(1);
    let question = message("bash: echo it was $PPID");
    let next = ContainerInput { session_id: waits.session.clone(), ..input(&question, 1) };
    let mut waits = waits.again(next);
    waits.until_up(2);
    waits.is_answered_by_the_last_of(2);
    assert_eq!(waits.session, waits.input.session_id);
    assert!(
        waits.api.asked().pop().unwrap().to_string().contains(&format!("it was {}", waits.up()[0])),
        "it remembers"
    );
    assert!(!waits.agent.errors().contains("started anew"), "{}", waits.agent.errors());
    waits.ends();
}

#[test]
fn a_process_that_is_not_what_would_be_started_now_is_replaced() {
    type Change = fn(&mut Waits);
    let changes: [(&str, Change); 5] = [
        ("CLAUDE.md has changed", |waits| {
            fs::write(waits.home.path("group/CLAUDE.md"), "Remember the blue teapot.\n").unwrap();
        }),
        ("settings.json has changed", |waits| {
            fs::create_dir_all(waits.home.path("group/.claude")).unwrap();
            fs::write(waits.home.path("group/.claude/settings.json"), "{}").unwrap();
        }),
        ("another session", |waits| {
            let mut other = waits.api.agent(&waits.home, &real().unwrap(), &input(&message("hello"), 1));
            waits.input.session_id = other.block().new_session_id;
            other.signal("TERM");
            assert_eq!(other.code(), 0);
        }),
        ("overlay/tools/hello has changed", |waits| {
            fs::write(waits.home.path("overlay/tools/hello"), "#!/bin/sh\n# Says the blue teapot.\n").unwrap();
        }),
        ("its settings", |waits| {
            fs::write(waits.home.path("overlay/agent.toml"), "prompt = 'Remember the blue teapot.'\n").unwrap();
        }),
    ];
    for (reason, change) in changes {
        let Some(mut waits) = Waits::for_a_new_session() else { return };
        change(&mut waits);
        waits.is_answered_by_the_last_of(2);
        waits.agent.until_it_says("claude was started ahead and is started anew: ");
        waits.agent.until_it_says(reason);
        let asked = waits.api.asked().pop().unwrap().to_string();
        let told = !["settings.json has changed", "another session"].contains(&reason);
        assert_eq!(asked.contains("the blue teapot"), told, "{reason}: {asked}");
        waits.ends();
    }
}

#[test]
fn a_process_that_died_while_it_waited_is_nobodys_failure() {
    let Some(mut waits) = Waits::for_a_new_session() else { return };
    let pid = waits.up()[0].to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    waits.is_answered_by_the_last_of(2);
    waits.agent.until_it_says("claude was started ahead and is started anew: it ");
    waits.agent.until_it_says("(signal: 9 (SIGKILL))");
    waits.ends();

    // Claude Code ends at once when there is no such session.
    let lost = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    let lost = ContainerInput { session_id: Some(lost), ..input(&message("hello"), 1) };
    let mut waits = Waits::of(lost).unwrap();
    waits.agent.until_it_says("No conversation found");
    waits.agent.send(&serde_json::to_vec(&waits.input).unwrap());
    assert_answer(&waits.agent.block(), "hello", 1);
    waits.agent.until_it_says("starting a new session");
    waits.ends();
}

#[test]
fn a_process_that_dies_as_it_is_handed_the_prompt_is_nobodys_failure_either_and_the_next_one_is_its_own() {
    let home = Home::new();
    let first = input("1", 1);
    let script =
        "echo $$ >> started; next; case $(wc -l < started) in 1) exit 3 ;; esac; started $id; result two; next; exit 4";
    let mut agent = scripted_with(&home, script, &first, &[(AHEAD, &ahead(&first))]);
    assert_answer(&agent.block(), "two", 1);
    agent.until_it_says("it ended before it took the prompt (exit status: 3)");
    home.follow_up("2", 2);
    let block = agent.block();
    assert!(block.error.as_deref().unwrap_or_default().contains("exit status: 4"), "{block:?}");
    assert_eq!(agent.code(), 1);
}

#[test]
fn an_agent_that_is_not_asked_anything_ends_with_its_process_and_leaves_no_session() {
    for asked_to_stop in [true, false] {
        let Some(mut waits) = Waits::for_a_new_session() else { return };
        let pid = waits.up()[0];
        if asked_to_stop {
            waits.agent.signal("TERM");
            assert_eq!((waits.agent.code(), waits.agent.bytes()), (0, Vec::new()), "{}", waits.agent.errors());
        } else {
            // As when its host has died.
            waits.agent.send(b"");
            assert_eq!(waits.agent.block().status, Status::Error);
            assert_eq!(waits.agent.code(), 1);
        }
        assert!(!common::exists(pid));
        let projects = fs::read_dir(waits.home.path("home/.claude/projects")).into_iter().flatten().flatten();
        let sessions = projects.flat_map(|project| fs::read_dir(project.path()).unwrap().flatten());
        let sessions: Vec<_> = sessions.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        assert_eq!(sessions, Vec::<PathBuf>::new());
    }
}

#[test]
fn what_is_told_ahead_and_makes_no_sense_is_as_if_nothing_had_been_told() {
    let home = Home::new();
    for (told, said) in [("{torn", Some("cannot be used, so nothing is started ahead")), ("", None)] {
        let mut agent = scripted_with(&home, "next; started $id; result one; next", &input("1", 1), &[(AHEAD, told)]);
        assert_answer(&agent.block(), "one", 1);
        assert_eq!(agent.errors().contains("ahead"), said.is_some(), "{}", agent.errors());
        agent.until_it_says(said.unwrap_or_default());
    }
}
