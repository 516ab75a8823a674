//! The provider `native`: the real program, its tools on real files, against a fake of the model's API in both forms.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its parts has failed")]

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt as _,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use common::{
    Home, Running, SAYS_NO, SAYS_YES,
    api::{Api, KEY},
    assert_answer, assert_slept, input, message, task_with,
};
use nanoclaw_core::{
    message::Seq,
    protocol::{
        environment::{AGENT, PROVIDER},
        input::ContainerInput,
        output::{Block, FailureKind, Status},
    },
    session::SessionId,
};
use nanoclaw_fakes::model_api::{Conversation, Part, Said, Script, Turn, said_in};
use serde_json::{Value, json};

impl Api {
    /// What the model answers to one request after the other; to later ones what it answered last.
    fn answers(turns: Vec<Turn>) -> Self {
        let next = AtomicUsize::new(0);
        Self::start(Script::new(move |_| {
            let number = next.fetch_add(1, Ordering::Relaxed);
            turns[number.min(turns.len() - 1)].clone()
        }))
    }

    fn agent(&self, home: &Home, settings: &Value, input: &ContainerInput) -> Running {
        self.agent_with(home, settings, input, &[])
    }

    fn agent_with(&self, home: &Home, settings: &Value, input: &ContainerInput, more: &[(&str, &str)]) -> Running {
        let mut command = home.command(&["run"]);
        command.env(PROVIDER, "native").env(AGENT, settings.to_string()).env("OPENAI_API_KEY", KEY);
        self.furnish(&mut command);
        Running::with_input(command.envs(more.iter().copied()), input)
    }
}

fn defaults() -> Value {
    json!({})
}

fn openai(api: &Api) -> Value {
    json!({"api": {"kind": "openai", "base_url": format!("{}/v1", api.fake.base_url())}, "model": "local-model"})
}

fn resumed(session: Option<&SessionId>, text: &str, last: i64) -> ContainerInput {
    ContainerInput { session_id: session.cloned(), ..input(&message(text), last) }
}

#[track_caller]
fn assert_failure(block: &Block, kind: FailureKind, part: &str) {
    assert_eq!((block.status, block.failure), (Status::Error, Some(kind)), "{block:?}");
    assert!(block.error.as_deref().unwrap_or_default().contains(part), "{part:?} is not in {block:?}");
    assert_eq!(block.new_session_id, None, "a failed run's session must never be stored");
}

/// The results of tools in a request of the Messages API, in order: id, text, whether it failed.
fn results(body: &Value) -> Vec<(String, String, bool)> {
    let blocks = body["messages"].as_array().unwrap().iter().flat_map(|message| message["content"].as_array());
    let results = blocks.flatten().filter(|block| block["type"] == "tool_result");
    let text = |block: &Value| block["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    results
        .map(|block| (block["tool_use_id"].as_str().unwrap().into(), text(block), block["is_error"] == true))
        .collect()
}

/// What the Messages API would refuse: a use of a tool without its result in the next message.
#[track_caller]
fn assert_every_use_has_its_result(body: &Value) {
    let ids = |message: &Value, kind: &str, field: &str| -> Vec<String> {
        let blocks = message["content"].as_array().cloned().unwrap_or_default();
        let blocks = blocks.iter().filter(|block| block["type"] == kind);
        blocks.map(|block| block[field].as_str().unwrap().to_owned()).collect()
    };
    let messages = body["messages"].as_array().unwrap();
    for (place, message) in messages.iter().enumerate() {
        let used = ids(message, "tool_use", "id");
        let given = messages.get(place + 1).map(|next| ids(next, "tool_result", "tool_use_id")).unwrap_or_default();
        assert!(used.is_empty() || used == given, "{used:?} {given:?} in {body:#}");
    }
}

#[test]
fn a_message_a_tool_a_follow_up_and_the_session_in_the_next_run() {
    let (home, api) = (Home::new(), Api::start(Script::tools()));
    fs::write(home.path("group/CLAUDE.md"), "Remember the milk.").unwrap();
    fs::write(home.path("global/CLAUDE.md"), "Everybody is polite.").unwrap();
    let mut agent = api.agent(&home, &defaults(), &input(&message("bash: echo made by a tool | tee made.txt"), 3));
    let first = agent.block();
    assert_answer(&first, "made by a tool", 3);
    assert_eq!(fs::read_to_string(home.path("group/made.txt")).unwrap(), "made by a tool\n");
    home.follow_up(&message("and now this"), 8);
    let second = agent.block();
    assert_answer(&second, "echo: and now this", 8);
    assert_eq!(second.new_session_id, first.new_session_id);
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());

    let mut agent = api.agent(&home, &defaults(), &resumed(first.new_session_id.as_ref(), "recall", 9));
    let third = agent.block();
    assert_answer(&third, "and now this", 9);
    assert_eq!(third.new_session_id, first.new_session_id);

    let asked = api.asked();
    let system = asked[0]["system"][0]["text"].as_str().unwrap();
    assert!(system.contains("Remember the milk.") && system.contains("Everybody is polite."), "{system}");
    let tools: Vec<&str> =
        asked[0]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let (chat, own): (Vec<&str>, Vec<&str>) = tools.into_iter().partition(|name| name.starts_with("mcp__nanoclaw__"));
    assert_eq!(own, ["Bash", "Read", "Write", "Edit", "Glob", "Grep", "WebFetch"]);
    assert!(chat.contains(&"mcp__nanoclaw__send_message"), "{chat:?}");
    for body in &asked {
        assert_every_use_has_its_result(body);
        assert!(body["messages"].as_array().unwrap().last().unwrap().to_string().contains("cache_control"), "{body:#}");
    }
}

#[test]
fn tools_of_one_answer_run_side_by_side_and_thoughts_go_back_as_they_came() {
    let home = Home::new();
    let parts = vec![
        Part::text("I look."),
        Part::Thinking { text: "hm, a gate".into(), signature: "c2lnbmVk+/==".into() },
        // The first ends only when the second has run.
        Part::bash("until [ -e second ]; do sleep 0.01; done; echo one"),
        Part::bash("touch second; echo two"),
    ];
    let api = Api::answers(vec![Turn::said(parts), Turn::Text("done".into())]);
    let mut agent = api.agent(&home, &json!({"effort": "high"}), &input(&message("go"), 1));
    assert_answer(&agent.block(), "done", 1);
    let body = &api.asked()[1];
    assert_eq!(
        results(body),
        [("toolu_fake0000".into(), "one\n".into(), false), ("toolu_fake0000_1".into(), "two\n".into(), false)]
    );
    let said: Vec<Value> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["role"] == "assistant")
        .flat_map(|message| match &message["content"] {
            Value::String(text) => vec![json!({"type": "text", "text": text})],
            blocks => blocks.as_array().unwrap().clone(),
        })
        .collect();
    let kinds: Vec<&str> = said.iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["text", "thinking", "tool_use", "tool_use"]);
    assert_eq!(said[1], json!({"type": "thinking", "thinking": "hm, a gate", "signature": "c2lnbmVk+/=="}));
    assert_eq!(api.asked()[0]["output_config"]["effort"], "high");
}

#[test]
fn malformed_uses_of_tools_are_answered_as_errors() {
    let home = Home::new();
    let used = |name: &str, input: &str| Part::ToolUse { name: name.into(), input: input.into() };
    let parts =
        vec![used("Bash", "{\"command\": \"touch no"), used("Bash", "[]"), used("Bash", "{}"), used("Fly", "{}")];
    let api = Api::answers(vec![Turn::said(parts), Turn::Text("sorry".into())]);
    let mut agent = api.agent(&home, &defaults(), &input(&message("go"), 1));
    assert_answer(&agent.block(), "sorry", 1);
    let told = results(&api.asked()[1]);
    assert!(told.iter().all(|(_, _, failed)| *failed), "{told:?}");
    for ((_, text, _), part) in
        told.iter().zip(["is no JSON", "is no object", "missing field `command`", "there is no tool \"Fly\""])
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!home.path("group/no").exists());
}

#[test]
fn an_endless_loop_of_tools_ends_with_a_message_and_the_session_lives() {
    let home = Home::new();
    let api = Api::start(Script::new(|conversation| match conversation.last() {
        Said::Text(text) if text.contains("stop") => Turn::Text("stopped".into()),
        _ => Turn::bash("echo again >> loops"),
    }));
    let mut agent = api.agent(&home, &json!({"max_tool_rounds": 3}), &input(&message("go"), 1));
    assert_answer(&agent.block(), "3 rounds of using tools", 1);
    assert_eq!(fs::read_to_string(home.path("group/loops")).unwrap().lines().count(), 3);
    home.follow_up(&message("stop"), 2);
    assert_answer(&agent.block(), "stopped", 2);
    assert_every_use_has_its_result(api.asked().last().unwrap());
}

#[test]
fn ten_megabytes_of_output_reach_the_model_cut() {
    let home = Home::new();
    let command = "head -c 10485760 /dev/zero | tr '\\0' x";
    let api = Api::answers(vec![Turn::bash(command), Turn::Text("seen".into())]);
    let mut agent = api.agent(&home, &defaults(), &input(&message("go"), 1));
    assert_answer(&agent.block(), "seen", 1);
    let told = &results(&api.asked()[1])[0].1;
    assert!(told.len() < 50_000 && told.contains("bytes are left out"), "{}", told.len());
}

#[test]
fn failures_of_the_api_are_typed_with_their_reset_time() {
    let error =
        |status, message: &str| Turn::Error { status, kind: "x".into(), message: message.into(), retry_after: None };
    for (turn, kind, part) in [
        (error(401, "bad key"), FailureKind::Login, "bad key"),
        (error(400, "that is wrong"), FailureKind::Refused, "that is wrong"),
        (error(400, "Your credit balance is too low"), FailureKind::Quota, "credit"),
        (Turn::overloaded(), FailureKind::Overload, "529"),
        (Turn::rate_limited(Duration::from_secs(3600)), FailureKind::Quota, "429"),
        (
            Turn::Said { parts: vec![Part::text("I will not.")], stop_reason: Some("refusal".into()) },
            FailureKind::Refused,
            "I will not.",
        ),
    ] {
        let (home, api) = (Home::new(), Api::answers(vec![turn]));
        let mut agent = api.agent(&home, &json!({"max_retries": 0}), &input(&message("go"), 1));
        let block = agent.block();
        assert_failure(&block, kind, part);
        let waits = block.retry_at.map(|at| at.as_ms() - nanoclaw_core::time::Timestamp::now().as_ms());
        assert_eq!(waits.is_some(), part == "429", "{block:?}");
        assert!(waits.is_none_or(|waits| (3_500_000..=3_600_000).contains(&waits)), "{waits:?}");
        assert_eq!(agent.code(), 1);
    }
}

#[test]
fn an_api_that_cannot_be_reached_is_overloaded() {
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    // A port that nobody listens on any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = format!("http://{closed}");
    let more = [("ANTHROPIC_BASE_URL", address.as_str())];
    let mut agent = api.agent_with(&home, &json!({"max_retries": 0}), &input(&message("go"), 1), &more);
    assert_failure(&agent.block(), FailureKind::Overload, "cannot be reached");
}

#[test]
fn what_passes_is_tried_again_and_nothing_is_done_twice() {
    let home = Home::new();
    let bash = || Box::new(Turn::bash("echo once >> done.txt"));
    let api = Api::answers(vec![
        Turn::rate_limited(Duration::ZERO),
        // Broken off when the use of the tool is whole already, but not the answer.
        Turn::BrokenOff { answer: bash(), events: NonZeroUsize::new(7).unwrap() },
        Turn::ErrorInStream { answer: bash(), kind: "overloaded_error".into() },
        *bash(),
        Turn::Text("finished".into()),
    ]);
    let mut agent = api.agent(&home, &defaults(), &input(&message("go"), 1));
    assert_answer(&agent.block(), "finished", 1);
    assert_eq!(fs::read_to_string(home.path("group/done.txt")).unwrap(), "once\n");
    assert_eq!(api.asked().len(), 5);
    assert!(agent.errors().contains("asking again in"), "{}", agent.errors());
}

#[test]
fn an_empty_answer_is_asked_for_once_more_and_then_silence() {
    let home = Home::new();
    let empty = || Turn::said(Vec::new());
    let api = Api::answers(vec![empty(), empty(), Turn::Text(" \n".into()), Turn::Text("now".into())]);
    let mut agent = api.agent(&home, &defaults(), &input(&message("go"), 1));
    let block = agent.block();
    assert_eq!((block.status, block.result, block.answered_seq), (Status::Success, None, Some(Seq(1))));
    home.follow_up(&message("again"), 2);
    assert_answer(&agent.block(), "now", 2);
    assert_eq!(api.asked().len(), 4);
}

#[test]
fn an_answer_that_is_too_long_for_once_is_told_as_cut() {
    let home = Home::new();
    let api = Api::answers(vec![Turn::Said {
        parts: vec![Part::text("a long sto")],
        stop_reason: Some("max_tokens".into()),
    }]);
    let mut agent = api.agent(&home, &json!({"max_tokens": 100}), &input(&message("go"), 1));
    let block = agent.block();
    assert_answer(&block, "a long sto", 1);
    assert_answer(&block, "was cut here", 1);
    assert_eq!(api.asked()[0]["max_tokens"], 100);
}

#[test]
fn f08_a_session_outlives_a_message_that_is_refused() {
    let home = Home::new();
    let api = Api::start(Script::new(|conversation| {
        let poisoned = conversation.user_texts().iter().any(|text| text.contains("poison"));
        if poisoned && matches!(conversation.last(), Said::Text(_)) {
            Turn::bash("echo tool")
        } else if poisoned {
            Turn::Error { status: 400, kind: "invalid_request_error".into(), message: "no".into(), retry_after: None }
        } else {
            Turn::Text(conversation.user_texts().iter().flat_map(|text| said_in(text)).collect::<Vec<_>>().join("|"))
        }
    }));
    let mut agent = api.agent(&home, &defaults(), &input(&message("one"), 1));
    let session = agent.block().new_session_id;
    home.follow_up(&message("poison"), 2);
    assert_failure(&agent.block(), FailureKind::Refused, "no");
    let mut agent = api.agent(&home, &defaults(), &resumed(session.as_ref(), "two", 3));
    assert_answer(&agent.block(), "one|two", 3);
}

#[test]
fn a_session_that_is_gone_is_replaced_by_a_new_one_and_said() {
    let (home, api) = (Home::new(), Api::start(Script::tools()));
    let gone = SessionId::new("native-0000").unwrap();
    let mut agent = api.agent(&home, &defaults(), &resumed(Some(&gone), "recall", 1));
    let block = agent.block();
    assert_answer(&block, "(nothing)", 1);
    assert_ne!(block.new_session_id, Some(gone));
    agent.until_it_says("no conversation found with session id native-0000; starting a new session");
}

#[test]
fn a_run_that_is_killed_while_it_uses_tools_leaves_a_session_that_can_be_resumed() {
    let home = Home::new();
    home.make_gate();
    let api = Api::start(Script::new(|conversation| match conversation.last() {
        Said::Text(text) if text.contains("work") && results(conversation.body()).is_empty() => {
            Turn::said(vec![Part::bash("echo did it > did"), Part::bash("cat gate")])
        }
        _ => Turn::Text("here".into()),
    }));
    let mut agent = api.agent(&home, &defaults(), &input(&message("hello"), 1));
    let session = agent.block().new_session_id;
    home.follow_up(&message("work"), 2);
    let gate = home.reached();
    common::until("the other tool", || home.path("group/did").exists());
    agent.child.kill().unwrap();
    agent.end();
    drop(gate);

    let mut agent = api.agent(&home, &defaults(), &resumed(session.as_ref(), "work", 2));
    assert_answer(&agent.block(), "here", 2);
    let asked = api.asked();
    let body = asked.last().unwrap();
    assert_every_use_has_its_result(body);
    let told = results(body);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, text, failed)| *failed && text.contains("Interrupted")), "{told:?}");
}

#[test]
fn a_run_that_is_asked_to_stop_kills_what_its_tools_started() {
    let home = Home::new();
    let command = "trap '' TERM; echo $$ > pid.new; mv pid.new pid; while :; do sleep 0.05; done";
    let api = Api::answers(vec![Turn::bash(command)]);
    let mut agent = api.agent(&home, &defaults(), &input(&message("go"), 1));
    let pid = common::pid_in(&home.path("group/pid"));
    agent.signal("TERM");
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert!(agent.bytes().is_empty());
    let line = format!("/proc/{pid}/cmdline");
    common::until("the command's end", || fs::read(&line).map_or(true, |line| line.is_empty()));
}

#[test]
fn what_comes_while_it_works_waits_for_its_own_turn_and_a_request_to_close_for_the_answer() {
    let home = Home::new();
    home.make_gate();
    let api = Api::start(Script::new(|conversation| match conversation.last() {
        Said::Text(text) if text.contains("work") => Turn::bash("cat gate; echo worked"),
        Said::ToolResult { text, .. } => Turn::Text(text),
        _ => Turn::Text("and this too".into()),
    }));
    let mut agent = api.agent(&home, &defaults(), &input(&message("work"), 1));
    let gate = home.reached();
    home.follow_up(&message("more"), 2);
    home.close();
    drop(gate);
    assert_answer(&agent.block(), "worked", 1);
    assert_answer(&agent.block(), "and this too", 2);
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert_eq!(home.names("input"), Vec::<String>::new());
}

#[test]
fn f62_a_tasks_script_that_says_no_costs_no_request_and_what_one_found_is_in_the_request() {
    let (home, api) = (Home::new(), Api::answers(vec![Turn::Text("done".into())]));
    home.follow_up(&message("for the chat"), 9);
    assert_slept(&mut api.agent(&home, &defaults(), &task_with(SAYS_NO, "sum them up")));
    assert_failure(
        &api.agent(&home, &defaults(), &task_with("exit 2", "sum them up")).block(),
        FailureKind::Script,
        "failed (exit status: 2): it wrote nothing to standard error",
    );
    assert_eq!(api.fake.requests().len(), 0);

    let mut agent = api.agent(&home, &defaults(), &task_with(SAYS_YES, "sum them up"));
    let block = agent.block();
    assert_answer(&block, "done", 1);
    assert_eq!((agent.code(), block.cost_usd), (0, None), "it knows no prices, and invents none");
    let [asked] = &api.asked()[..] else { panic!("{:?}", api.asked()) };
    let asked = asked["messages"].to_string();
    let parts = ["[SCHEDULED TASK - ", "Script output:", "from Bob", "Instructions:", "sum them up"];
    let places: Vec<_> =
        parts.iter().map(|part| asked.find(part).unwrap_or_else(|| panic!("{part}: {asked}"))).collect();
    assert!(places.is_sorted() && !asked.contains("for the chat"), "{asked}");
    assert_eq!(home.names("input").len(), 1);
}

#[test]
fn a_conversation_that_fills_the_window_is_archived_and_summarised() {
    let home = Home::new();
    let api = Api::start(Script::new(|conversation| match conversation.last() {
        Said::Text(text) if text.contains("Below is a conversation") => Turn::Text("NOTES: Ann likes tea".into()),
        Said::Text(text) if text.contains("second") => Turn::bash("echo in the middle"),
        Said::ToolResult { .. } => Turn::Text("second answered".into()),
        _ => Turn::Text("first answered".into()),
    }));
    let settings = json!({"context_window": 20_000});
    let mut agent = api.agent(&home, &settings, &input(&message(&format!("first {}", "tea ".repeat(20_000))), 1));
    assert_answer(&agent.block(), "first answered", 1);
    home.follow_up(&message("second"), 2);
    let block = agent.block();
    assert_answer(&block, "second answered", 2);
    agent.until_it_says("the conversation was compacted");

    let asked = api.asked();
    assert_eq!(asked.len(), 4, "first, notes, second, its tool");
    assert!(asked[1].get("tools").is_none() && asked[1].to_string().contains("tea tea"));
    assert!(!asked[2].to_string().contains("tea tea") && asked[2].to_string().contains("NOTES: Ann likes tea"));
    let archives: Vec<_> =
        fs::read_dir(home.path("group/conversations")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(archives.len(), 1);
    assert!(fs::read_to_string(&archives[0]).unwrap().contains("first answered"));

    let mut agent = api.agent(&home, &settings, &resumed(block.new_session_id.as_ref(), "third", 3));
    assert_answer(&agent.block(), "first answered", 3);
    let body = api.asked().pop().unwrap();
    assert!(body.to_string().contains("NOTES: Ann likes tea") && body.to_string().contains("second answered"));
    assert_every_use_has_its_result(&body);
}

#[test]
fn a_conversation_that_the_api_finds_too_long_is_compacted_and_tried_again() {
    let home = Home::new();
    let api = Api::start(Script::new(|conversation: &Conversation| {
        let text = conversation.body()["messages"].to_string();
        match conversation.last() {
            Said::Text(last) if last.contains("Below is a conversation") => Turn::Text("NOTES".into()),
            _ if text.contains("second") && !text.contains("NOTES") => Turn::Error {
                status: 400,
                kind: "invalid_request_error".into(),
                message: "prompt is too long: 210000 tokens > 200000 maximum".into(),
                retry_after: None,
            },
            _ => Turn::Text("answered".into()),
        }
    }));
    let mut agent = api.agent(&home, &defaults(), &input(&message("first"), 1));
    assert_answer(&agent.block(), "answered", 1);
    home.follow_up(&message("second"), 2);
    assert_answer(&agent.block(), "answered", 2);
    assert!(home.path("group/conversations").is_dir());
}

#[test]
fn a_model_of_the_other_form_has_tools_pictures_and_a_session_too() {
    let home = Home::new();
    fs::write(home.path("group/p.png"), [0x89, b'P', b'N', b'G', 1, 2, 3]).unwrap();
    let api = Api::start(Script::new(|conversation| match conversation.last() {
        Said::Text(text) if text.contains("look") => Turn::said(vec![
            Part::Thinking { text: "both at once".into(), signature: String::new() },
            Part::ToolUse { name: "Read".into(), input: "{\"file_path\":\"p.png\"}".into() },
            Part::bash("echo heard; exit 4"),
            Part::ToolUse { name: "Bash".into(), input: "{\"command\":".into() },
        ]),
        Said::Text(text) if text.contains("recall") => {
            let texts = conversation.user_texts();
            Turn::Text(texts.iter().flat_map(|text| said_in(text)).collect::<Vec<_>>().join("|"))
        }
        _ => Turn::Text("done".into()),
    }));
    let settings = openai(&api);
    let mut agent = api.agent(&home, &settings, &input(&message("look"), 1));
    let first = agent.block();
    assert_answer(&first, "done", 1);
    let asked = api.asked();
    assert_eq!(asked[0]["model"], "local-model");
    assert_eq!(asked[0]["tools"][0]["function"]["name"], "Bash");
    let told: Vec<&Value> =
        asked[1]["messages"].as_array().unwrap().iter().filter(|message| message["role"] == "tool").collect();
    assert_eq!(told.len(), 3);
    assert_eq!(told[1]["content"], "This failed:\nheard\n(exit code 4)");
    assert!(told[2]["content"].as_str().unwrap().contains("no JSON"), "{told:?}");
    let picture = asked[1]["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(picture["content"][0]["image_url"]["url"], "data:image/png;base64,iVBORwECAw==");
    assert!(asked[1].to_string().contains("both at once"), "thoughts are given back");

    let mut agent = api.agent(&home, &settings, &resumed(first.new_session_id.as_ref(), "recall", 2));
    assert_answer(&agent.block(), "look", 2);
}

#[test]
fn the_name_of_a_model_is_sent_as_it_is() {
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    for name in ["qwen-max", "hf.co/someone/model-high", "plain"] {
        let mut settings = openai(&api);
        settings["model"] = json!(name);
        assert_answer(&api.agent(&home, &settings, &input(&message("go"), 1)).block(), "echo", 1);
        let body = api.asked().pop().unwrap();
        assert_eq!(body["model"], name);
        assert!(body["reasoning_effort"].is_null(), "{body:#}");
    }
}

#[test]
fn failures_of_the_other_form_are_typed_and_tried_again_too() {
    let home = Home::new();
    let api = Api::answers(vec![
        Turn::BrokenOff { answer: Box::new(Turn::Text("half of it".into())), events: NonZeroUsize::new(2).unwrap() },
        Turn::overloaded(),
        Turn::Text("whole".into()),
    ]);
    let mut agent = api.agent(&home, &openai(&api), &input(&message("go"), 1));
    assert_answer(&agent.block(), "whole", 1);

    let (home, api) = (Home::new(), Api::answers(vec![Turn::rate_limited(Duration::from_secs(3600))]));
    let mut agent = api.agent(&home, &openai(&api), &input(&message("go"), 1));
    let block = agent.block();
    assert_failure(&block, FailureKind::Quota, "429");
    assert!(block.retry_at.is_some());
}

#[test]
fn a_picture_that_is_read_is_shown_to_the_model() {
    let home = Home::new();
    fs::write(home.path("group/p.png"), [0x89, b'P', b'N', b'G', 1, 2, 3]).unwrap();
    let read = Turn::ToolUse { name: "Read".into(), input: json!({"file_path": "p.png"}) };
    let api = Api::answers(vec![read, Turn::Text("a picture".into())]);
    let mut agent = api.agent(&home, &defaults(), &input(&message("look"), 1));
    assert_answer(&agent.block(), "a picture", 1);
    let body = &api.asked()[1];
    let shown = body["messages"].as_array().unwrap().last().unwrap()["content"][0]["content"][0].clone();
    let source = json!({"type": "base64", "media_type": "image/png", "data": "iVBORwECAw=="});
    assert_eq!(shown, json!({"type": "image", "source": source}));
}

#[test]
fn a_tool_that_is_denied_is_neither_told_nor_done() {
    let home = Home::new();
    let api = Api::answers(vec![Turn::bash("touch no"), Turn::Text("pity".into())]);
    let settings = json!({"tools": {"allow": ["Read", "Bash"], "deny": ["Bash"]}, "prompt": "Be brief."});
    let mut agent = api.agent(&home, &settings, &input(&message("go"), 1));
    assert_answer(&agent.block(), "pity", 1);
    let asked = api.asked();
    assert_eq!(asked[0]["tools"].as_array().unwrap().len(), 1);
    assert!(asked[0]["system"].to_string().contains("Be brief."));
    assert!(results(&asked[1])[0].1.contains("there is no tool \"Bash\""));
    assert!(!home.path("group/no").exists());
}

#[test]
fn settings_that_cannot_be_used_are_told_and_nothing_is_asked() {
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    let mut agent = api.agent(&home, &json!({"tools": {"deny": "Bash"}}), &input(&message("go"), 1));
    assert_failure(&agent.block(), FailureKind::Other, "NANOCLAW_AGENT");
    assert_eq!(api.asked().len(), 0);
}

/// A server of tools: one answers, one fails, one hangs.
const SERVER: &str = r#"#!/bin/sh
while read -r line; do
    id=$(printf %s "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    case $line in
    *'"initialize"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"t","version":"1"}}}\n' "$id" ;;
    *'"tools/list"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"hello","description":"Says hello.","inputSchema":{"type":"object"}},{"name":"hang","inputSchema":{"type":"object"}},{"name":"fail","inputSchema":{"type":"object"}}]}}\n' "$id" ;;
    *'"name":"hello"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"hello from '"$WHO"'"}]}}\n' "$id" ;;
    *'"name":"fail"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"no luck"}],"isError":true}}\n' "$id" ;;
    esac
done
"#;

#[test]
fn servers_of_tools_are_used_and_those_that_hang_or_are_missing_hurt_nobody() {
    let home = Home::new();
    let server = home.path("extra/server");
    fs::write(&server, SERVER).unwrap();
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
    let used = |name: &str| Part::ToolUse { name: name.into(), input: "{}".into() };
    let uses =
        vec![used("mcp__good__hello"), used("mcp__slow__hang"), used("mcp__good__fail"), used("mcp__mute__hello")];
    let api = Api::answers(vec![Turn::said(uses), Turn::Text("done".into())]);
    let settings = json!({"mcp_servers": {
        "good": {"command": server, "env": {"WHO": "a server"}},
        "slow": {"command": server, "timeout_seconds": 10},
        "missing": {"command": "/no/such/server"},
        "mute": {"command": "sh", "args": ["-c", "while read -r line; do :; done"], "timeout_seconds": 1},
    }});
    let mut agent = api.agent(&home, &settings, &input(&message("go"), 1));
    assert_answer(&agent.block(), "done", 1);
    let asked = api.asked();
    let system = asked[0]["system"].to_string();
    assert!(system.contains("/no/such/server") && system.contains("did not tell its tools within"), "{system}");
    let told = results(&asked[1]);
    for ((_, text, failed), (part, fails)) in told.iter().zip([
        ("hello from a server", false),
        ("did not answer within 10s", true),
        ("no luck", true),
        ("there is no tool", true),
    ]) {
        assert!(text.contains(part) && *failed == fails, "{part}: {told:?}");
    }
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}

#[test]
fn pages_are_fetched_through_the_proxy_and_without_one_it_is_said_who_can_help() {
    let home = Home::new();
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = proxy.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let page = "<h1>Weather</h1><script>x</script><p>sunny</p>";
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
            page.len()
        );
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(head).unwrap()
    });
    let fetch = || Turn::ToolUse { name: "WebFetch".into(), input: json!({"url": "http://weather.example/today"}) };
    let api = Api::answers(vec![fetch(), Turn::Text("told".into())]);
    let more = [("http_proxy", address.as_str()), ("no_proxy", "127.0.0.1,localhost")];
    let mut agent = api.agent_with(&home, &defaults(), &input(&message("go"), 1), &more);
    assert_answer(&agent.block(), "told", 1);
    assert!(asked.join().unwrap().starts_with("GET http://weather.example/today HTTP/1.1\r\n"));
    let told = results(&api.asked()[1]);
    assert!(told[0].1.contains("# Weather\n\nsunny") && !told[0].2, "{told:?}");

    let (home, api) = (Home::new(), Api::answers(vec![fetch(), Turn::Text("pity".into())]));
    let mut agent = api.agent(&home, &defaults(), &input(&message("go"), 1));
    assert_answer(&agent.block(), "pity", 1);
    let told = results(&api.asked()[1]);
    assert!(told[0].1.contains("the operator allows hosts") && told[0].2, "{told:?}");
}

/// Plays one answer after the other, a connection each, and keeps what was asked. Each answer is sent in small pieces,
/// which end in the middle of lines and characters.
fn play(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<Value>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let player = std::thread::spawn(move || {
        let play = |answer: String| {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            let mut stream = std::io::BufReader::new(stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                std::io::BufRead::read_line(&mut stream, &mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            stream.get_mut().write_all(head.as_bytes()).unwrap();
            for piece in answer.as_bytes().chunks(7) {
                stream.get_mut().write_all(piece).unwrap();
            }
            serde_json::from_slice(&body).unwrap()
        };
        answers.into_iter().map(play).collect()
    });
    (address, player)
}

#[test]
fn a_recorded_answer_of_the_messages_api_is_understood_and_given_back_as_it_was() {
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    let recorded = include_str!("recorded/messages.sse");
    let done = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\
        \"text\":\"done\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    // Line ends of the other kind are as good.
    let (address, player) = play(vec![recorded.to_owned(), done.replace('\n', "\r\n")]);
    let more = [("ANTHROPIC_BASE_URL", address.as_str())];
    let mut agent = api.agent_with(&home, &defaults(), &input(&message("what is on my list?"), 1), &more);
    assert_answer(&agent.block(), "done", 1);
    let asked = player.join().unwrap();
    let said: Vec<Value> = asked[1]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["role"] == "assistant")
        .flat_map(|message| message["content"].as_array().unwrap().clone())
        .collect();
    assert_eq!(
        said,
        [
            json!({"type": "thinking", "thinking": "The list is in a file – I read it.", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h=="}),
            json!({"type": "text", "text": "One moment, ich schaue nach: 🥛"}),
            json!({"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a"}),
            json!({"type": "tool_use", "id": "toolu_01T", "name": "Bash", "input": {"command": "echo milk"}}),
        ]
    );
    assert_eq!(results(&asked[1]), [("toolu_01T".into(), "milk\n".into(), false)]);
}

#[test]
fn a_recorded_answer_of_chat_completions_is_understood() {
    let (home, api) = (Home::new(), Api::start(Script::echo()));
    let recorded = include_str!("recorded/chat_completions.sse");
    let done = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"done\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let (address, player) = play(vec![recorded.to_owned(), done.to_owned()]);
    let settings = json!({"api": {"kind": "openai", "base_url": format!("{address}/v1")}, "model": "local"});
    let mut agent = api.agent(&home, &settings, &input(&message("what is on my list?"), 1));
    assert_answer(&agent.block(), "done", 1);
    let asked = player.join().unwrap();
    let messages = asked[1]["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool"]);
    assert_eq!(messages[2]["content"], "Ich schaue nach 🥛");
    assert_eq!(messages[2]["reasoning_content"], "Both at once.");
    assert_eq!((&messages[3]["tool_call_id"], &messages[3]["content"]), (&json!("call_a"), &json!("milk\n")));
    assert_eq!((&messages[4]["tool_call_id"], &messages[4]["content"]), (&json!("call_b"), &json!("tea\n")));
}

/// The pictures in a request, whatever its form.
fn pictures_shown(body: &Value) -> usize {
    let blocks = body["messages"].as_array().unwrap().iter().flat_map(|message| message["content"].as_array());
    let shown = |block: &&Value| {
        block["source"]["data"] == common::PNG
            || block["image_url"]["url"].as_str().is_some_and(|url| url.ends_with(common::PNG))
    };
    blocks.flatten().filter(shown).count()
}

#[test]
fn a_picture_that_came_with_a_message_is_shown_to_the_model_and_one_with_a_follow_up_too() {
    for kind in ["anthropic", "openai"] {
        let (home, api) = (Home::new(), Api::start(Script::echo()));
        let settings = if kind == "openai" { openai(&api) } else { defaults() };
        let files = vec![common::picture(&home, "1-1-a.png")];
        let mut agent = api.agent(&home, &settings, &ContainerInput { files, ..input(&message("look"), 1) });
        assert_answer(&agent.block(), "echo: look", 1);
        assert_eq!(api.asked().iter().map(pictures_shown).collect::<Vec<_>>(), [1], "{kind}");
        home.follow_up_with(&message("and this"), 2, vec![common::picture(&home, "2-1-b.png")]);
        assert_answer(&agent.block(), "echo: and this", 2);
        assert_eq!(api.asked().iter().map(pictures_shown).collect::<Vec<_>>(), [1, 2], "{kind}");
        home.close();
        assert_eq!(agent.code(), 0, "{}", agent.errors());
    }
}

#[test]
fn a_picture_that_the_model_refuses_does_not_cost_the_message_its_answer() {
    let home = Home::new();
    let refused = Turn::Error {
        status: 400,
        kind: "invalid_request_error".to_owned(),
        message: "Could not process image".to_owned(),
        retry_after: None,
    };
    let api = Api::answers(vec![refused, Turn::Text("I cannot see it".to_owned())]);
    let files = vec![common::picture(&home, "1-1-a.png")];
    let mut agent = api.agent(&home, &defaults(), &ContainerInput { files, ..input(&message("look"), 1) });
    assert_answer(&agent.block(), "I cannot see it", 1);
    let asked = api.asked();
    assert_eq!(asked.iter().map(pictures_shown).collect::<Vec<_>>(), [1, 0]);
    assert!(asked[1].to_string().contains("could not be shown"), "{}", asked[1]);
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
}
