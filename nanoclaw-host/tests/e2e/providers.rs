//! One conversation file on every provider: the same is said, the same is shown, a tool is used, and the next container goes
//! on with the session. The models are fakes that do what the offline provider does by itself.

use nanoclaw_fakes::model_api::{Conversation, FakeModelApi, Said, Script, Turn, said_in};
use serde_json::json;

use crate::{
    claude::Bench,
    place::{On, Place},
};

const CONVERSATION: &str = include_str!("same_for_all.conversation");

/// What must never be seen inside a container.
const KEY: &str = "sk-ant-REAL-0123456789";

#[test]
fn the_conversation_on_offline_in_the_sandbox() {
    offline(On::Sandbox);
}

#[test]
fn the_conversation_on_offline_in_docker() {
    offline(On::Docker);
}

#[test]
fn the_conversation_on_native_in_the_sandbox() {
    native(On::Sandbox);
}

#[test]
fn the_conversation_on_native_in_docker() {
    native(On::Docker);
}

#[test]
fn the_conversation_on_native_with_a_model_of_ones_own_in_the_sandbox() {
    native_with_a_model_of_ones_own(On::Sandbox);
}

#[test]
fn the_conversation_on_native_with_a_model_of_ones_own_in_docker() {
    native_with_a_model_of_ones_own(On::Docker);
}

#[test]
fn the_conversation_on_claude_in_the_sandbox() {
    claude(On::Sandbox);
}

#[test]
fn the_conversation_on_claude_in_docker() {
    claude(On::Docker);
}

fn offline(on: On) {
    let Some(place) = Place::on(on) else { return };
    place.configure("[agent]\nprovider = \"offline\"\n");
    converse(&place);
}

fn native(on: On) {
    let Some(place) = Place::on(on) else { return };
    let model = Model::start();
    let base_url = model.fake.base_url();
    place.configure(&format!(
        "[agent]\nprovider = \"native\"\neffort = \"low\"\n[groups.main]\nmodel = \"claude-test-1\"\n\
         tools = {{ deny = [\"WebFetch\"] }}\nprompt = \"Never rhyme.\"\n[model]\nbase_url = \"{base_url}\"\n"
    ));
    place.credential(&format!("ANTHROPIC_API_KEY={KEY}"));
    converse(&place);
    let asked = model.fake.model_requests();
    assert!(asked.iter().all(|request| request.header("x-api-key") == Some(KEY)), "the gateway adds the key");
    // What was configured reached the model, from all and from the group.
    let asked = asked[0].conversation();
    assert_eq!(asked.model(), "claude-test-1");
    assert!(asked.body().to_string().contains("Never rhyme."));
    assert!(
        asked.tool_names().contains(&"Bash") && !asked.tool_names().contains(&"WebFetch"),
        "{:?}",
        asked.tool_names()
    );
    let explained = place.run(["explain", "main"]).succeeded();
    for part in ["native", "claude-test-1", "all, but never WebFetch"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
}

fn native_with_a_model_of_ones_own(on: On) {
    let Some(place) = Place::on(on) else { return };
    let model = Model::start();
    let (base_url, endpoint) = (model.fake.base_url(), model.fake.addr);
    place.configure(&format!(
        "[gateway]\nprivate = [\"{endpoint}\"]\n[[gateway.upstreams]]\nname = \"local\"\nbase_url = \"{base_url}\"\n\
         inject = \"bearer\"\nsecret = \"LOCAL_MODEL_KEY\"\nmethods = [\"POST\"]\npaths = [\"/v1/chat/completions\"]\n\
         groups = [\"main\"]\n[groups.main]\nmodel = \"qwen3\"\napi = {{ kind = \"openai\", upstream = \"local\" }}\n"
    ));
    place.credential(&format!("LOCAL_MODEL_KEY={KEY}"));
    converse(&place);
    for request in model.fake.requests() {
        assert_eq!((request.path.as_str(), request.header("x-api-key")), ("/v1/chat/completions", None));
        assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()), "the gateway adds the key");
        assert_eq!(request.json()["model"], "qwen3");
    }
}

fn claude(on: On) {
    let Some(bench) = Bench::with(on, Script::new(answer)) else { return };
    converse(&bench.place);
}

/// Says what the file says, container by container, and sees what it shows.
#[track_caller]
fn converse(place: &Place) {
    let text: String =
        CONVERSATION.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    for (number, part) in text.split("=\n").enumerate() {
        let said: Vec<&str> = part.lines().filter_map(|line| line.strip_prefix("> ")).collect();
        let shown: String =
            part.lines().filter(|line| !line.starts_with('>')).map(|line| format!("{line}\n")).collect();
        assert_eq!(place.chat(&said).succeeded(), shown);
        assert_eq!(place.rows("SELECT CAST(number AS TEXT) FROM runs").len(), number + 1, "a container a part");
        place.nothing_is_left();
    }
    let file = place.group("main").join("list.txt");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "milk and honey\n");
    assert_eq!(place.rows("SELECT DISTINCT state FROM turns"), ["answered"]);
    let never =
        place.rows("SELECT text FROM outbox WHERE text LIKE '%nobody is to see%' AND text NOT LIKE 'I recall%'");
    assert_eq!(never, Vec::<String>::new());
}

/// A model of this test's own.
struct Model {
    fake: FakeModelApi,
    // The fake's workers live in it.
    _runtime: tokio::runtime::Runtime,
}

impl Model {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let fake = runtime.block_on(FakeModelApi::start(Script::new(answer))).unwrap();
        fake.expect_key(KEY);
        Self { fake, _runtime: runtime }
    }
}

/// Answers as the offline provider does, by the tools that the agent has.
fn answer(conversation: &Conversation) -> Turn {
    let mut heard: Vec<String> = conversation.user_texts().iter().flat_map(|text| said_in(text)).collect();
    let asked = heard.pop().unwrap_or_default();
    let (word, rest) = asked.split_once(' ').unwrap_or((&asked, ""));
    let gave = match conversation.last() {
        Said::ToolResult { text, is_error: false } => Some(text),
        Said::ToolResult { text, is_error: true } => return Turn::Text(format!("error: {text}")),
        Said::Text(_) | Said::Nothing => None,
    };
    match (word, gave) {
        ("!write", None) => {
            let (file, text) = rest.split_once(' ').unwrap_or((rest, ""));
            let input = json!({"file_path": format!("/workspace/group/{file}"), "content": format!("{text}\n")});
            Turn::ToolUse { name: "Write".to_owned(), input }
        }
        ("!write", Some(_)) => Turn::Text(format!("wrote {}", rest.split(' ').next().unwrap_or_default())),
        ("!run", None) => Turn::bash(rest),
        ("!run", Some(output)) => Turn::Text(format!("ran {rest}: {}", output.trim())),
        ("!send", None) => {
            Turn::ToolUse { name: "mcp__nanoclaw__send_message".to_owned(), input: json!({"text": rest}) }
        }
        ("!send", Some(became)) => Turn::Text(format!("sent {rest}: {became}")),
        ("!internal", _) => Turn::Text(format!("<internal>{rest}</internal>")),
        ("recall", _) => {
            let lines = heard.iter().zip(1..).map(|(text, number)| format!("\n{number}. ann: {text}"));
            Turn::Text(format!("I recall {} messages:{}", heard.len(), lines.collect::<String>()))
        }
        _ => Turn::Text(format!("heard {asked}")),
    }
}
