//! The real Claude Code command line against a fake Messages API on the host's loopback, from containers without a network.

use std::path::{Path, PathBuf};

use nanoclaw_core::group::GroupFolder;
use nanoclaw_fakes::model_api::{FakeModelApi, Script};
use rustix::process::Signal;

use crate::{
    bridge::{Bridge, Chat, register},
    place::{On, Place},
    process::until,
    programs, standby, support,
};

/// What must never be seen inside a container.
const KEY: &str = "sk-ant-REAL-0123456789";

#[test]
fn the_real_claude_works_remembers_and_has_no_key_in_the_sandbox() {
    works_remembers_and_has_no_key(On::Sandbox);
}

#[test]
fn the_real_claude_works_remembers_and_has_no_key_in_docker() {
    works_remembers_and_has_no_key(On::Docker);
}

#[test]
fn a_key_that_the_model_refuses_is_told_in_the_chat_in_the_sandbox() {
    a_refused_key_is_told(On::Sandbox);
}

#[test]
fn a_key_that_the_model_refuses_is_told_in_the_chat_in_docker() {
    a_refused_key_is_told(On::Docker);
}

#[test]
fn the_real_claude_works_where_hosts_are_allowed_in_the_sandbox() {
    works_where_hosts_are_allowed(On::Sandbox);
}

#[test]
fn the_real_claude_works_where_hosts_are_allowed_in_docker() {
    works_where_hosts_are_allowed(On::Docker);
}

#[test]
fn the_real_claude_uses_every_tool_and_is_told_what_came_of_it_in_the_sandbox() {
    uses_every_tool(On::Sandbox);
}

#[test]
fn the_real_claude_uses_every_tool_and_is_told_what_came_of_it_in_docker() {
    uses_every_tool(On::Docker);
}

#[test]
fn what_the_real_claude_is_asked_to_remind_of_it_says_in_time_in_the_sandbox() {
    reminds(On::Sandbox);
}

#[test]
fn what_the_real_claude_is_asked_to_remind_of_it_says_in_time_in_docker() {
    reminds(On::Docker);
}

#[test]
fn what_the_real_claude_is_asked_to_remind_of_it_says_in_time_in_podman() {
    reminds(On::Podman);
}

#[test]
fn the_real_claude_is_up_before_anybody_asks_in_the_sandbox() {
    is_up_before_anybody_asks(On::Sandbox);
}

#[test]
fn the_real_claude_is_up_before_anybody_asks_in_docker() {
    is_up_before_anybody_asks(On::Docker);
}

/// A server of tools that tells that it was started, which Claude Code does before it is asked anything.
const TELLS: &str = r#"
[agent.mcp_servers.tells]
command = "sh"
args = ["-c", "echo up >> /workspace/group/up; exec /nanoclaw/bin/agent-runner overlay-tools"]
"#;

fn is_up_before_anybody_asks(on: On) {
    let Some(bench) = Bench::on(on) else { return };
    let place = &bench.place;
    let config = std::fs::read_to_string(place.home().config_file()).unwrap();
    place.configure(&format!("{config}{}{TELLS}", standby::AHEAD));
    register(place);
    let service = place.service();
    let (mut chat, mut bridge) = (Chat::default(), Bridge::connect(place));
    let group = GroupFolder::new(place.rows("SELECT folder FROM groups")[0].clone()).unwrap();
    let folder = place.home().group(&group);
    let logs = || {
        let logs = std::fs::read_dir(place.home().run_logs(&group)).unwrap().flatten();
        logs.map(|log| std::fs::read_to_string(log.path()).unwrap()).collect::<String>()
    };
    let is_up = |count: usize| {
        standby::stands_by(place);
        let started = || std::fs::read_to_string(folder.join("up")).unwrap_or_default().lines().count();
        until("claude is up", || (started() == count).then_some(()));
    };
    bridge.message("one", "bash: wc -l < up");
    assert_eq!(bridge.show(&mut chat), "1");
    let asked = bench.model.model_requests().len();
    is_up(2);
    if !standby::standing(place)[0]["memory_bytes"].is_null() {
        let taken = || standby::standing(place).first()?["memory_bytes"].as_u64();
        until("what it takes is told", || taken().filter(|bytes| *bytes > 64 << 20));
    }
    assert_eq!(bench.model.model_requests().len(), asked, "nobody has asked anything");
    bridge.message("two", "bash: wc -l < up");
    assert_eq!(bridge.show(&mut chat), "2", "no other was started: {}", logs());

    is_up(3);
    std::fs::write(folder.join("CLAUDE.md"), "Remember the blue teapot.\n").unwrap();
    bridge.message("three", "three");
    assert_eq!(bridge.show(&mut chat), "echo: three");
    assert!(bench.last_request().contains("the blue teapot"));
    assert!(logs().contains("started anew: /workspace/group/CLAUDE.md has changed"), "{}", logs());
    assert_eq!(standby::asked(place).len(), 3, "a container that waited is good all the same");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    bench.the_key_is_nowhere();
    place.nothing_is_left();
}

fn uses_every_tool(on: On) {
    let Some(bench) = Bench::on(on) else { return };
    let picture = bench.place.group("main").join("picture");
    std::fs::create_dir_all(picture.parent().unwrap()).unwrap();
    std::fs::write(&picture, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
    let calls = [
        (r#"send_message {"text": "by a tool"}"#, "stored for delivery to local:main as message 1 of the outbox"),
        (r#"send_message {"text": "psst", "chat": "tg:404"}"#, "the chat tg:404 is not registered as a group"),
        (r#"send_file {"path": "/workspace/group/picture"}"#, "of the outbox: picture, image/png, 16 bytes"),
        (r#"send_file {"path": "../../store/nanoclaw.db"}"#, "upwards"),
        (
            r#"schedule_task {"prompt": "p", "schedule_type": "cron", "schedule_value": "0 9 * * 1-5"}"#,
            "scheduled as task task-1 for the group main (context group): due ",
        ),
        (r#"schedule_task {"prompt": "p", "schedule_type": "cron", "schedule_value": "daily"}"#, "it has five fields"),
        ("list_tasks {}", "- [task-1] p (group main): cron 0 9 * * 1-5, active, due next: "),
        (r#"pause_task {"task_id": "task-1"}"#, "the task task-1 rests"),
        (r#"resume_task {"task_id": "task-1"}"#, "the task task-1 goes on: cron 0 9 * * 1-5, active"),
        (r#"update_task {"task_id": "task-1", "prompt": "q", "catch_up": "all"}"#, "the task task-1 is changed"),
        (r#"cancel_task {"task_id": "task-1"}"#, "the task task-1 is cancelled"),
        ("list_tasks {}", "there are no tasks"),
        (
            r#"register_group {"jid": "local:garden", "name": "Garden", "folder": "garden"}"#,
            "registered local:garden: group garden",
        ),
        ("refresh_groups {}", "there was nothing to refresh"),
        ("list_groups {}", "- local:garden (Garden): group garden"),
    ];
    let said: Vec<String> = calls.iter().map(|(call, _)| format!("use: mcp__nanoclaw__{call}")).collect();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let printed = bench.place.chat(&said).succeeded();
    assert!(printed.starts_with("by a tool\n"), "{printed}");
    let mut rest = printed.as_str();
    for (call, result) in calls {
        let Some((_, after)) = rest.split_once(result) else {
            panic!("{call}: {result:?} is not in what is left: {rest}")
        };
        rest = after;
    }
    assert_eq!(bench.place.rows("SELECT folder FROM groups ORDER BY folder"), ["garden", "main"]);
    bench.the_key_is_nowhere();
}

/// Somebody asks for a reminder in the chat; the agent makes a task of it by its tool, and says it there when it is due.
fn reminds(on: On) {
    let Some(bench) = Bench::on(on) else { return };
    let place = &bench.place;
    place.run(["init"]).succeeded();
    register(place);
    let service = place.service();
    let (mut bridge, mut chat) = (Bridge::connect(place), Chat::default());
    // Far enough for any machine; brought forward below.
    let call = r#"schedule_task {"prompt": "say that the cake is ready", "schedule": "every 2h"}"#;
    bridge.message("1", &format!("use: mcp__nanoclaw__{call}"));
    let answer = bridge.show(&mut chat);
    assert!(answer.contains("scheduled as task task-1") && answer.contains("(context group)"), "{answer}");
    place.run(["tasks", "update", "task-1", "--when", "in 1s"]).succeeded();
    let reminder = bridge.show(&mut chat);
    assert!(reminder.starts_with("echo: ") && reminder.contains("the cake is ready"), "{reminder}");
    let log = until("it is done", || {
        Some(place.json(["tasks", "log", "task-1", "--json"])).filter(|log| log[0]["state"] == "done")
    });
    assert_eq!((log.as_array().unwrap().len(), log[0]["text"].as_str()), (1, Some(reminder.as_str())), "{log}");
    // It went on with the group's conversation.
    assert!(bench.last_request().contains("mcp__nanoclaw__schedule_task"));
    assert_eq!(place.rows("SELECT kind FROM runs"), ["chat", "task"]);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    bench.the_key_is_nowhere();
    place.nothing_is_left();
}

fn works_where_hosts_are_allowed(on: On) {
    let Some(bench) = Bench::on(on) else { return };
    let config = std::fs::read_to_string(bench.place.home().config_file()).unwrap();
    bench.place.configure(&format!("{config}[gateway]\nallow = [\"example.com\"]\n"));
    let printed = bench.place.chat(&["bash: echo $HTTPS_PROXY", "hello"]).succeeded();
    assert_eq!(printed, "http://127.0.0.1:8788\necho: hello\n");
    // The model is asked as before, and nothing else is asked for through the proxy.
    let log = std::fs::read_to_string(bench.place.home().log_file()).unwrap();
    assert!(log.contains("rule=\"model_api\""), "{log}");
    assert!(!log.contains("host-not-allowed") && !log.contains("CONNECT"), "{log}");
    bench.the_key_is_nowhere();
}

fn works_remembers_and_has_no_key(on: On) {
    let Some(bench) = Bench::on(on) else { return };
    bench.model.expect_key(KEY);
    // Routes without their headline; how many variables hold the key.
    let probe = "bash: id -u; tail -n +2 /proc/net/route | wc -l; env | grep -c REAL; pwd; echo kept > note.txt";
    let printed = bench.place.chat(&[probe, "the code is 4711"]).succeeded();
    assert_eq!(printed, format!("{}\n0\n0\n/workspace/group\necho: the code is 4711\n", support::user().uid));
    assert_eq!(std::fs::read_to_string(bench.place.group("main").join("note.txt")).unwrap(), "kept\n");

    // The follow-up went to the same process, which knew what was said before.
    assert_eq!(bench.place.rows("SELECT CAST(number AS TEXT) FROM runs"), ["1"]);
    assert_eq!(bench.place.rows("SELECT state FROM turns"), ["answered", "answered"]);
    assert!(bench.last_request().contains("4711") && bench.last_request().contains("note.txt"));

    // So does the next container.
    let recalled = bench.place.chat(&["recall"]).succeeded();
    assert_eq!(recalled, format!("{probe}\nthe code is 4711\n"));
    assert_eq!(bench.place.rows("SELECT CAST(number AS TEXT) FROM runs"), ["1", "2"]);

    let asked = bench.model.model_requests();
    assert!(asked.iter().all(|request| request.header("x-api-key") == Some(KEY)), "the gateway adds the key");
    bench.the_key_is_nowhere();
    bench.place.nothing_is_left();
}

fn a_refused_key_is_told(on: On) {
    let Some(bench) = Bench::on(on) else { return };
    bench.model.expect_key("another key");
    let ended = bench.place.chat(&["hello"]);
    assert_eq!(ended.code, Some(1), "{ended}");
    let told = ended.stdout.to_lowercase();
    assert!(told.contains("login") || told.contains("api key") || told.contains("authentication"), "{ended}");
    assert!(ended.stderr.contains("tried again in 10 min"), "no try is worth while before somebody mends it: {ended}");
    assert_eq!(bench.place.rows("SELECT ending FROM runs"), ["failed"]);
    bench.the_key_is_nowhere();

    // Mended, it goes on.
    bench.model.expect_key(KEY);
    let answered = bench.place.chat(&["now?"]).succeeded();
    assert!(answered.contains("echo: ") && answered.contains("hello") && answered.ends_with("now?\n"), "{answered}");
}

/// A place with the real program, and a model to ask.
pub struct Bench {
    pub place: Place,
    model: FakeModelApi,
    // The fake's workers live in it.
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn on(on: On) -> Option<Self> {
        Self::with(on, Script::tools())
    }

    /// The same with a model of this script.
    pub fn with(on: On, script: Script) -> Option<Self> {
        let claude = support::wanted("claude").or_skip("claude", programs::claude())?;
        let place = Place::on_base(on, |root| machine_root(root, &claude))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let model = runtime.block_on(FakeModelApi::start(script)).unwrap();
        place.configure(&format!("[agent]\nclaude = {claude:?}\n[model]\nbase_url = \"{}\"\n", model.base_url()));
        place.credential(&format!("ANTHROPIC_API_KEY={KEY}"));
        Some(Self { place, model, _runtime: runtime })
    }

    pub fn last_request(&self) -> String {
        String::from_utf8_lossy(&self.model.model_requests().last().unwrap().body).into_owned()
    }

    /// Looks for the key in everything that the installation keeps.
    fn the_key_is_nowhere(&self) {
        let mut folders = vec![self.place.home().root().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else if entry.file_type().unwrap().is_file() {
                    let content = std::fs::read(entry.path()).unwrap();
                    let found = content.windows(KEY.len()).any(|window| window == KEY.as_bytes());
                    assert!(!found, "the key is in {}", entry.path().display());
                }
            }
        }
    }
}

/// Makes a root in which `claude` and its Bash tool run: busybox, and bash with the libraries of this machine.
fn machine_root(root: &Path, claude: &Path) -> Result<(), String> {
    support::busybox_root(root)?;
    let bash = Path::new("/bin/bash");
    let mut files = programs::libraries(bash)?;
    files.extend(programs::libraries(claude)?);
    files.push(bash.to_owned());
    files.sort();
    files.dedup();
    for file in files {
        let inside: PathBuf = root.join(file.strip_prefix("/").map_err(|error| error.to_string())?);
        std::fs::create_dir_all(inside.parent().unwrap()).map_err(|error| error.to_string())?;
        std::fs::copy(&file, &inside).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}
