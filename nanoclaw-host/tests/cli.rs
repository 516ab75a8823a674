//! The program `nanoclaw` as people and scripts meet it: what it prints where, how it ends, what it refuses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
};

use nanoclaw_core::{
    chat::ChatId,
    delivery::{DeliveryKey, NewDelivery, OutboxId, Sent},
    store::{AfterTry, Store as _},
    testing::MemoryStore,
    time::Timestamp,
};
use nanoclaw_host::{
    admin::{AdminHandler, FromConfig, OnStore, serve},
    config::{Config, environment_of},
    home::{Home, HomeLock},
    stores::sqlite::SqliteStore,
    unix_socket::Listener,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

#[path = "cli/cleanup.rs"]
mod cleanup;
#[path = "cli/doctor.rs"]
mod doctor;

/// A user with a home folder, and the program as this user runs it.
struct User {
    folder: tempfile::TempDir,
}

impl User {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A user whose home is made.
    fn with_home() -> Self {
        let user = Self::new();
        user.succeed(["init"]);
        user
    }

    fn home(&self) -> Home {
        Home::at(&self.folder.path().join(".local/share/nanoclaw")).unwrap()
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.home().config_file(), text).unwrap();
    }

    /// The program with a bare environment.
    fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nanoclaw"));
        command.args(arguments).env_clear().env("HOME", self.folder.path()).env("TZ", "UTC");
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command prints that succeeds and says nothing on standard error.
    fn succeed(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let output = self.run(arguments);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{}", text(&output.stdout));
        text(&output.stdout)
    }

    fn json(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Value {
        serde_json::from_str(&self.succeed(arguments)).unwrap()
    }

    /// What a command says on standard error that fails with `code` and prints nothing.
    fn fail(&self, code: i32, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let output = self.run(arguments);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(code), ""), "{}", text(&output.stderr));
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The same value with moments, which differ from run to run, as 0.
fn without_times(mut value: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| match key.ends_with("_at_ms") {
                true => *value = Value::from(0),
                false => walk(value),
            }),
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut value);
    value
}

/// While the result lives, snapshots have the names of objects in order: `serde_json` keeps them as they were written, or not, by
/// what else is built with it.
fn sorted() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.set_sort_maps(true);
    settings.bind_to_scope()
}

#[test]
fn groups_are_added_shown_listed_and_removed_without_a_service() {
    let user = User::with_home();
    insta::assert_snapshot!(user.succeed(["groups", "list"]), @"There are no groups yet. `nanoclaw groups add CHAT --name NAME` adds one.");
    insta::assert_snapshot!(user.succeed(["groups", "add", "local:main", "--name", "Me", "--main"]), @"Added main (Me); its memory is in groups/main/.");
    user.succeed(["groups", "add", "tg:-1001", "--name", "Family"]);
    user.succeed(["groups", "add", "slack:C1", "--name", "Support", "--folder", "support", "--trigger", "!bot"]);
    user.succeed(["groups", "add", "dc:5", "--name", "All ears", "--no-trigger"]);
    insta::assert_snapshot!(user.succeed(["groups", "list"]), @r#"
    GROUP        NAME      CHAT        TRIGGER               ROLE
    main         Me        local:main  every message         main
    tg_family    Family    tg:-1001    the assistant's name  ordinary
    support      Support   slack:C1    !bot                  ordinary
    dc_all-ears  All ears  dc:5        every message         ordinary
    "#);
    let _sorted = sorted();
    insta::assert_json_snapshot!(without_times(user.json(["groups", "list", "--json"])), @r#"
    [
      {
        "added_at_ms": 0,
        "chat": "local:main",
        "folder": "main",
        "name": "Me",
        "role": "main",
        "trigger": "always"
      },
      {
        "added_at_ms": 0,
        "chat": "tg:-1001",
        "folder": "tg_family",
        "name": "Family",
        "role": "ordinary",
        "trigger": "assistant_name"
      },
      {
        "added_at_ms": 0,
        "chat": "slack:C1",
        "folder": "support",
        "name": "Support",
        "role": "ordinary",
        "trigger": {
          "words": "!bot"
        }
      },
      {
        "added_at_ms": 0,
        "chat": "dc:5",
        "folder": "dc_all-ears",
        "name": "All ears",
        "role": "ordinary",
        "trigger": "always"
      }
    ]
    "#);
    insta::assert_snapshot!(user.succeed(["groups", "show", "tg:-1001"]).replace(user.folder.path().to_str().unwrap(), "~")
        .lines().filter(|line| !line.contains("added")).collect::<Vec<_>>().join("\n"), @r#"
    tg_family
      role        ordinary
      name        Family
      chat        tg:-1001
      wakes on    a message that starts with @Andy
      folder      ~/.local/share/nanoclaw/groups/tg_family
      unanswered  0 messages
    "#);
    let mut shown = without_times(user.json(["groups", "show", "support", "--json"]));
    shown["path"] = Value::Null;
    insta::assert_json_snapshot!(shown, @r#"
    {
      "added_at_ms": 0,
      "chat": "slack:C1",
      "folder": "support",
      "name": "Support",
      "path": null,
      "role": "ordinary",
      "runs": [],
      "trigger": {
        "words": "!bot"
      },
      "unanswered": 0,
      "wakes_on": "a message that starts with !bot"
    }
    "#);
    insta::assert_snapshot!(user.succeed(["groups", "remove", "support"]), @"Removed support; groups/support/ and its messages are kept.");
    insta::assert_snapshot!(user.fail(1, ["groups", "show", "suport"]), @r#"
    error: there is no group suport
    help: `nanoclaw groups list` shows them all
    "#);
    insta::assert_snapshot!(user.fail(1, ["groups", "show", "dc_all-eras"]), @r#"
    error: there is no group dc_all-eras
    help: did you mean dc_all-ears?
    "#);
    assert!(user.home().root().join("groups/support/CLAUDE.md").exists());
    assert_eq!(user.json(["groups", "chats", "--json"]), Value::Array(Vec::new()));
}

#[test]
fn ps_shows_groups_while_no_service_runs() {
    let user = User::with_home();
    user.succeed(["groups", "add", "tg:-1001", "--name", "Family"]);
    insta::assert_snapshot!(user.succeed(["ps"]), @r#"
    no service runs; `nanoclaw run` starts it
    GROUP      STATE  UNANSWERED  MEMORY  LAST RUN
    tg_family  -      0           -       -
    "#);
    let _sorted = sorted();
    insta::assert_json_snapshot!(user.json(["ps", "--json"]), @r#"
    {
      "groups": [
        {
          "failures": 0,
          "folder": "tg_family",
          "last_run": null,
          "memory_bytes": null,
          "name": "Family",
          "state": null,
          "unanswered": 0,
          "waits": false
        }
      ],
      "outbox": {
        "failed": 0,
        "unknown": 0,
        "waiting": 0
      },
      "service": null,
      "set_aside": 0,
      "tasks": {
        "active": 0,
        "failing": 0,
        "next_due_ms": null,
        "paused": 0
      }
    }
    "#);
}

#[test]
fn explain_says_what_holds_and_why() {
    let user = User::with_home();
    user.configure("[limits]\nidle_timeout = \"10m\"\n[groups.tg_family]\nmemory = \"1GiB\"\n");
    user.succeed(["groups", "add", "tg:-1001", "--name", "Family"]);
    let explanation = without_times(user.json(["explain", "tg_family", "--json"]));
    let settings = explanation["settings"].as_array().unwrap();
    let setting = |name: &str| settings.iter().find(|setting| setting["name"] == name).unwrap();
    assert_eq!(setting("memory")["value"], "1GiB");
    assert_eq!(setting("memory")["why"], "nanoclaw.toml:4");
    assert_eq!(setting("idle timeout")["why"], "nanoclaw.toml:2");
    assert_eq!(setting("provider")["value"], "offline");
    assert_eq!(setting("provider")["why"], "no credential is configured");
    assert_eq!(setting("trigger")["value"], "a message that starts with @Andy");
    assert_eq!(setting("idle timeout")["value"], "10m at rest");
    assert_eq!(setting("run timeout")["value"], "30m of silence; not for this agent, which gives signs of life");
    assert_eq!(setting("turn timeout")["value"], "4h for one answer, whatever the agent shows");
    assert_eq!(setting("prompt size")["value"], "256KiB");
    let shown = user.succeed(["explain", "tg_family"]);
    assert!(shown.contains("nanoclaw.toml:4") && shown.contains("1GiB"), "{shown}");
}

#[test]
fn f30_explain_says_which_time_limit_holds() {
    let user = User::with_home();
    user.configure(
        "[groups.tg_family]\nrun_timeout = \"2h\"\nturn_timeout = \"1h\"\n\
         [groups.other]\ncommand = [\"/bin/agent\"]\nrun_timeout = \"5m\"\n",
    );
    user.succeed(["groups", "add", "tg:-1001", "--name", "Family"]);
    user.succeed(["groups", "add", "tg:-1002", "--name", "Other", "--folder", "other"]);
    let run_timeout = |group: &str| {
        let explanation = user.json(["explain", group, "--json"]);
        let settings = explanation["settings"].as_array().unwrap().clone();
        settings.into_iter().find(|setting| setting["name"] == "run timeout").unwrap()
    };
    assert_eq!(run_timeout("tg_family")["value"], "2h of silence; never reached, the turn timeout is not longer");
    assert_eq!(run_timeout("tg_family")["why"], "nanoclaw.toml:2");
    assert_eq!(run_timeout("other")["value"], "5m of silence, unless the agent gives signs of life");
}

#[test]
fn a_home_that_is_not_there_is_named_with_the_command_that_makes_one() {
    let user = User::new();
    for arguments in [vec!["groups", "list"], vec!["ps"], vec!["run"], vec!["logs", "main"], vec!["explain", "main"]] {
        let error = user.fail(1, arguments);
        assert!(error.starts_with("error: there is no home at "), "{error}");
        assert!(error.contains("\nhelp: `nanoclaw init` makes one"), "{error}");
    }
    assert!(!user.home().root().exists(), "asking made a home");
}

#[test]
fn init_makes_a_home_once_and_can_be_run_again() {
    let user = User::new();
    let first = user.succeed(["init", "my home"]);
    assert!(first.contains("nanoclaw.toml") && first.contains("groups/main/CLAUDE.md"), "{first}");
    let again = user.succeed(["init", "my home"]);
    assert!(again.contains("nothing was changed"), "{again}");
    user.succeed(["--home", "my home", "groups", "list"]);
    // The home is found by the variable and by standing in it, too.
    let mut by_variable = user.command(["groups", "list"]);
    assert!(by_variable.env("NANOCLAW_HOME", "my home").status().unwrap().success());
    let mut inside = user.command(["groups", "list"]);
    assert!(inside.current_dir(user.folder.path().join("my home")).status().unwrap().success());
}

#[test]
fn what_is_not_understood_ends_with_2_and_what_fails_with_1() {
    let user = User::with_home();
    for arguments in [
        vec!["fly"],
        vec!["groups", "add", "tg:1"],
        vec!["groups", "add", "tg:1", "--name", "x", "--main", "--trigger", "!x"],
        vec!["logs", "main", "-n", "many"],
        vec!["init", "x", "--home", "y"],
    ] {
        let error = user.fail(2, &arguments);
        assert!(error.starts_with("error: "), "{arguments:?}: {error}");
    }
    for arguments in
        [vec!["groups", "remove", "nobody"], vec!["groups", "add", "family", "--name", "x"], vec!["logs", "nobody"]]
    {
        let error = user.fail(1, &arguments);
        assert!(error.starts_with("error: ") && error.contains("\nhelp: "), "{arguments:?}: {error}");
    }
}

#[test]
fn f55_a_folder_that_leaves_the_groups_folder_is_refused() {
    let user = User::with_home();
    for folder in ["..", "../x", "a/b", "/etc", "global", ""] {
        let error = user.fail(2, ["groups", "add", "tg:1", "--name", "x", "--folder", folder]);
        assert!(error.contains("group folder"), "{error}");
        user.fail(2, ["logs", folder]);
    }
    assert_eq!(user.json(["groups", "list", "--json"]), Value::Array(Vec::new()));
}

#[test]
fn arguments_that_are_not_text_are_refused() {
    let user = User::new();
    let odd = OsStr::from_bytes(b"a\xff");
    for (code, arguments) in [
        (2, vec!["groups".as_ref(), "show".as_ref(), odd]),
        (1, vec!["init".as_ref(), odd]),
        (1, vec!["--home".as_ref(), odd, "groups".as_ref(), "list".as_ref()]),
    ] {
        let error = user.fail(code, arguments);
        assert!(error.starts_with("error: ") && error.contains("UTF-8"), "{error}");
    }
}

#[test]
fn all_mistakes_in_the_configuration_are_told_at_once_and_no_secret_with_them() {
    let user = User::with_home();
    user.configure("[limits]\nidle_timeout = \"soon\"\n[model]\napi_key = \"sk-TOPSECRET\"\n");
    let mut command = user.command(["groups", "list"]);
    command.env("MAX_CONCURRENT_CONTAINERS", "0").env("ANTHROPIC_API_KEY", "sk TOPSECRET");
    let output = command.output().unwrap();
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    for part in [
        "4 mistakes",
        "nanoclaw.toml:2: limits.idle_timeout",
        "nanoclaw.toml:4: there is no key model.api_key",
        "MAX_CONCURRENT_CONTAINERS",
        "ANTHROPIC_API_KEY has a space",
        "\nhelp: ",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    assert!(!error.contains("TOPSECRET"), "{error}");
}

#[test]
fn a_host_whose_agents_call_no_model_starts_where_there_are_no_certificates() {
    let user = User::with_home();
    user.configure("[container]\nruntime = \"sandbox\"\n[agent]\nprovider = \"offline\"\n");
    // Waived, because which runtimes work here is another matter.
    let mut command = user.command(["run", "--unsafe-no-sandbox"]);
    command.env("SSL_CERT_FILE", "/nowhere").env("SSL_CERT_DIR", "/nowhere");
    let mut service = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(service.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid = rustix::process::Pid::from_child(&service);
    // It has ended already when the test fails.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let ended = service.wait_with_output().unwrap();
    assert!(line.starts_with("nanoclaw is ready"), "{line}{}", text(&ended.stderr));
}

#[test]
fn f75_a_second_service_is_refused_and_told_the_first_ones_process() {
    let user = User::with_home();
    let lock = HomeLock::acquire(&user.home()).unwrap();
    let error = user.fail(1, ["run"]);
    assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
    assert!(error.contains(&format!("\nhelp: stop process {} first", std::process::id())), "{error}");
    drop(lock);
}

/// A service in this process, on a store in memory.
struct Service {
    handler: OnStore,
    shutdown: CancellationToken,
    worker: std::thread::JoinHandle<()>,
    _lock: HomeLock,
}

impl Service {
    fn start(home: &Home) -> Self {
        let lock = HomeLock::acquire(home).unwrap();
        let config = Config::parse(Path::new("x"), "[assistant]\nname = \"Bea\"", home.root(), &environment_of([]));
        let config = Arc::new(config.unwrap());
        let store = Arc::new(MemoryStore::new());
        let handler = OnStore {
            store: store.clone(),
            tasks: store,
            ledger: None,
            config: config.clone(),
            home: home.clone(),
            explainer: Arc::new(FromConfig(config)),
        };
        let shutdown = CancellationToken::new();
        let (socket, stop, answers) = (home.admin_socket(), shutdown.clone(), Arc::new(handler.clone()));
        let (listening, ready) = std::sync::mpsc::channel();
        let worker = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = Listener::bind(&socket).unwrap();
                listening.send(()).unwrap();
                serve(listener, answers, stop).await;
            });
        });
        ready.recv().unwrap();
        Self { handler, shutdown, worker, _lock: lock }
    }

    fn stop(self) {
        self.shutdown.cancel();
        self.worker.join().unwrap();
    }
}

#[test]
fn commands_talk_to_the_service_while_one_runs() {
    let user = User::with_home();
    let service = Service::start(&user.home());
    user.succeed(["groups", "add", "tg:-1001", "--name", "Family"]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let groups = runtime.block_on(service.handler.groups()).unwrap();
    assert_eq!(groups[0].folder.as_str(), "tg_family");
    // The service's configuration counts, not the one that the command would read.
    assert_eq!(user.json(["groups", "show", "tg_family", "--json"])["wakes_on"], "a message that starts with @Bea");
    let error = user.fail(1, ["groups", "add", "tg:-1001", "--name", "Again"]);
    assert!(error.contains("registered already") && error.contains("\nhelp: "), "{error}");
    assert!(!user.home().database().exists(), "the command opened the store beside the service");
    service.stop();
    assert_eq!(user.json(["groups", "list", "--json"]), Value::Array(Vec::new()));
}

#[test]
fn outbox_shows_what_is_not_sent_and_does_what_a_person_decides() {
    let user = User::with_home();
    assert_eq!(user.succeed(["outbox", "list"]), "There are none.\n");
    user.succeed(["groups", "add", "tg:-1001", "--name", "Family"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&user.home().database()).await.unwrap();
        let at = Timestamp::from_ms(1_772_600_000_000);
        for (number, text) in ["Dinner is at\nseven.", "Bring \u{1b}[31mwine.", "sent", "waits"].into_iter().enumerate()
        {
            let key = DeliveryKey::new(format!("reply/tg_family/1/{number}")).unwrap();
            let new = NewDelivery {
                key,
                chat: ChatId::new("tg:-1001").unwrap(),
                text: text.to_owned(),
                file: None,
                answers: None,
            };
            store.post(&new, at).await.unwrap();
        }
        store.delivery_failed(OutboxId(1), "a timeout", &AfterTry::Ask(None), at).await.unwrap();
        store.delivery_failed(OutboxId(2), "the chat is gone", &AfterTry::GiveUp(None), at).await.unwrap();
        store.delivery_sent(OutboxId(3), &Sent::default(), at).await.unwrap();
        store.close().await;
    });
    insta::assert_snapshot!(user.succeed(["outbox", "list"]), @r"
    NUMBER  CHAT       STATE    POSTED            TRIES  NEXT TRY  LAST ERROR        BEGINS
    4       tg_family  pending  2026-03-04 04:53  0      -         -                 waits
    2       tg_family  failed   2026-03-04 04:53  1      -         the chat is gone  Bring �[31mwine.
    1       tg_family  unknown  2026-03-04 04:53  1      -         a timeout         Dinner is at seven.
    ");
    insta::assert_snapshot!(user.succeed(["outbox", "show", "1"]), @r"
    1
      state         unknown
      chat          tg:-1001
      group         tg_family
      key           reply/tg_family/1/0
      posted        2026-03-04 04:53
      tries         1
      last error    a timeout

    Dinner is at
    seven.

    Nobody knows whether it was shown. `nanoclaw outbox retry 1` sends it again, `nanoclaw outbox drop 1` leaves it as it is.
    ");
    let states = |arguments: &[&str]| -> Vec<(u64, String)> {
        let listed = user.json(["outbox", "list", "--json"].iter().chain(arguments));
        let state = |row: &Value| (row["id"].as_u64().unwrap(), row["state"].as_str().unwrap().to_owned());
        listed.as_array().unwrap().iter().map(state).collect()
    };
    assert_eq!(states(&["--all"]).len(), 4);
    assert_eq!(states(&["--state", "sent"]), [(3, "sent".to_owned())]);
    assert_eq!(states(&["--chat", "tg:other"]), []);
    assert!(user.fail(2, ["outbox", "list", "--state", "lost"]).contains("pending, sending, sent"));

    let retried = user.succeed(["outbox", "retry", "1"]);
    assert_eq!(retried, "The message 1 goes to tg:-1001 as soon as its channel is there.\n");
    assert_eq!(user.json(["outbox", "drop", "reply/tg_family/1/1", "--json"])["state"], "dropped", "it failed");
    assert_eq!(states(&[]), [(4, "pending".to_owned()), (1, "pending".to_owned())]);
    assert!(user.fail(1, ["outbox", "retry", "3"]).contains("the message 3 was sent already"));
    let error = user.fail(1, ["outbox", "show", "17"]);
    assert!(error.contains("there is no message 17 in the outbox") && error.contains("\nhelp: "), "{error}");
}

#[test]
fn there_is_colour_only_where_it_is_shown() {
    let user = User::with_home();
    user.succeed(["groups", "add", "tg:-1001", "--name", "Family"]);
    let escapes = |set: &[(&str, &str)]| {
        let mut seen = Vec::new();
        for arguments in [vec!["groups", "list"], vec!["ps"], vec!["explain", "tg_family"], vec!["groups", "show", "x"]]
        {
            let output = user.command(arguments).envs(set.iter().copied()).output().unwrap();
            seen.push(output.stdout.contains(&0x1b) || output.stderr.contains(&0x1b));
        }
        seen
    };
    assert_eq!(escapes(&[]), [false; 4]);
    assert_eq!(escapes(&[("CLICOLOR_FORCE", "1")]), [true; 4]);
    assert_eq!(escapes(&[("NO_COLOR", "1"), ("TERM", "xterm-256color")]), [false; 4]);
}

#[test]
fn names_from_outside_cannot_drive_the_terminal() {
    let user = User::with_home();
    let folder = user.home().run_logs(&nanoclaw_core::group::GroupFolder::new("family").unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("1.log"), b"plain\n\x1b]0;owned\x07 \xff\n").unwrap();
    let shown = user.succeed(["logs", "family"]);
    assert!(shown.contains("plain\n") && shown.contains("owned") && !shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn logs_shows_the_last_lines_over_several_runs() {
    let user = User::with_home();
    let folder = user.home().run_logs(&nanoclaw_core::group::GroupFolder::new("family").unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    for run in 1..=3 {
        let path = folder.join(format!("{run}.log"));
        std::fs::write(&path, format!("{run} one\n{run} two\n")).unwrap();
        let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000 + run);
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
    }
    insta::assert_snapshot!(user.succeed(["logs", "family", "-n", "3"]), @r#"
    ==> 2.log <==
    2 two
    ==> 3.log <==
    3 one
    3 two
    "#);
    insta::assert_snapshot!(user.fail(1, ["logs", "famly"]), @r#"
    error: nothing was logged for a group famly
    help: did you mean family?
    "#);
}

#[test]
fn logs_goes_on_with_what_comes_and_with_the_next_run() {
    let user = User::with_home();
    let folder = user.home().run_logs(&nanoclaw_core::group::GroupFolder::new("family").unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("1.log"), "first\n").unwrap();
    let mut child = user.command(["logs", "family", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut wait_for = |wanted: &str| {
        // Ends with a panic when the program ends; nextest's own limit ends it when the program says nothing.
        while lines.next().expect("the program ended").unwrap() != wanted {}
    };
    wait_for("first");
    let mut log = std::fs::File::options().append(true).open(folder.join("1.log")).unwrap();
    write!(log, "second, in ").unwrap();
    writeln!(log, "two parts").unwrap();
    wait_for("second, in two parts");
    std::fs::write(folder.join("2.log"), "third\n").unwrap();
    wait_for("third");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn doctor_names_each_check_and_fails_when_one_does() {
    let user = User::with_home();
    user.configure("[limits]\nidle_timeout = \"soon\"\n");
    let output = user.run(["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let checks: Vec<_> =
        report["checks"].as_array().unwrap().iter().map(|check| (&check["name"], &check["outcome"])).collect();
    assert!(checks.contains(&(&"home".into(), &"ok".into())), "{checks:?}");
    assert!(checks.contains(&(&"service".into(), &"ok".into())), "{checks:?}");
    assert!(checks.contains(&(&"config".into(), &"failed".into())), "{checks:?}");
    for failed in report["checks"].as_array().unwrap().iter().filter(|check| check["outcome"] == "failed") {
        assert!(failed["help"].is_string(), "a failure without a remedy: {failed}");
    }
    let shown = text(&user.run(["doctor"]).stdout);
    assert!(shown.contains("limits.idle_timeout") && shown.contains("help:"), "{shown}");

    user.configure("");
    let output = user.command(["doctor", "--json"]).env("NANOCLAW_AGENT_PROVIDER", "claude").output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let provider = checks.iter().find(|check| check["name"] == "provider").unwrap();
    assert_eq!(provider["outcome"], "failed");
    assert!(provider["help"].as_str().unwrap().contains("nanoclaw auth set"), "{provider}");
}

#[test]
fn doctor_says_what_the_provider_native_needs() {
    let user = User::with_home();
    let check = |text: &str, credential: Option<(&str, &str)>| {
        user.configure(text);
        let output = user.command(["doctor", "--json"]).envs(credential).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "provider").unwrap().clone()
    };
    const NATIVE: &str = "[agent]\nprovider = \"native\"\n";
    assert_eq!(check(NATIVE, Some(("ANTHROPIC_API_KEY", "sk-ant-api03-x")))["outcome"], "ok");
    for credential in [None, Some(("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-x"))] {
        let failed = check(NATIVE, credential);
        assert_eq!(failed["outcome"], "failed", "{failed}");
        let (detail, help) = (failed["detail"].as_str().unwrap(), failed["help"].as_str().unwrap());
        assert!(detail.contains("API key") && help.contains("nanoclaw auth set ANTHROPIC_API_KEY"), "{failed}");
    }
    let local = "[gateway]\n[[gateway.upstreams]]\nname = \"local\"\nbase_url = \"http://127.0.0.1:1\"\ninject = \"bearer\"\n\
                 secret = \"LOCAL_KEY\"\nmethods = [\"POST\"]\ngroups = [\"family\"]\n[groups.family]\nmodel = \"qwen3\"\n\
                 api = { kind = \"openai\", upstream = \"local\" }\n";
    let found = check(local, Some(("LOCAL_KEY", "any")));
    assert_eq!(found["outcome"], "ok", "{found}");
    assert!(found["detail"].as_str().unwrap().contains("with qwen3 of the upstream local"), "{found}");
    let failed = check(local, None);
    assert!(failed["help"].as_str().unwrap().contains("`nanoclaw auth set LOCAL_KEY`"), "{failed}");
}

#[test]
fn doctor_makes_nothing_where_there_is_no_home() {
    let user = User::new();
    let output = user.run(["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("`nanoclaw init` makes one"));
    assert!(!user.home().root().exists());
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_output_nobody_wants_is_not() {
    let user = User::with_home();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = user.command(["groups", "list"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write to standard output"), "{}", text(&output.stderr));

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = user.command(["groups", "list"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

#[test]
fn help_has_examples() {
    let user = User::new();
    for arguments in [vec!["--help"], vec!["groups", "add", "--help"]] {
        let help = user.succeed(arguments);
        assert!(help.contains("Examples:\n  nanoclaw "), "{help}");
    }
}

/// A user with an allowlist for `~/projects`, and two groups that ask for mounts.
fn user_with_mounts() -> User {
    let user = User::with_home();
    let path = |name: &str| user.folder.path().join(name);
    for folder in ["projects/site", "private"] {
        std::fs::create_dir_all(path(folder)).unwrap();
    }
    std::fs::write(path("projects/site/.env"), "s").unwrap();
    user.succeed(["mounts", "allow", path("projects").to_str().unwrap()]);
    user.succeed(["groups", "add", "tg:1", "--name", "Me", "--folder", "me", "--main"]);
    user.succeed(["groups", "add", "tg:2", "--name", "Family", "--folder", "family"]);
    user.configure(
        "[groups.me]\nmounts = [{ host = \"~/projects/site\", readonly = false }]\n\
         [groups.family]\nmounts = [{ host = \"~/private\", name = \"p\" }, { host = \"~/projects\", hide_secrets = true }]\n",
    );
    user
}

#[test]
fn mounts_check_says_yes_or_no_with_every_rule_that_was_asked() {
    let user = user_with_mounts();
    let told = user.succeed(["mounts", "check", "~/projects/site"]);
    assert!(told.starts_with("yes: ~/projects/site can be mounted read-only at /workspace/extra/site"), "{told}");
    for part in ["name", "allowlist", "path", "guarded", "kind", "blocked", "root", "access", "1 names in it look like"]
    {
        assert!(told.contains(part), "{part} is missing: {told}");
    }
    let told = user.succeed(["mounts", "check", "projects/site", "--rw", "--group", "me"]);
    assert!(told.contains("read-only, because the allowed root") && told.contains("  less"), "{told}");

    for (arguments, refusal, rule) in [
        (vec!["~/private"], "not_under_allowed_root", "root"),
        (vec!["/", "--name", "all"], "nanoclaws_own", "guarded"),
        (vec!["~/.local/share/nanoclaw/store"], "nanoclaws_own", "guarded"),
        (vec!["~/projects/site/.env"], "blocked", "blocked"),
        (vec!["~/projects/nope"], "not_there", "path"),
        (vec!["~/projects", "--name", "a:b"], "bad_name", "name"),
    ] {
        let told = user.run(["mounts", "check"].iter().chain(&arguments));
        assert_eq!(told.status.code(), Some(1), "{arguments:?}");
        assert!(text(&told.stdout).starts_with("no: "), "{}", text(&told.stdout));
        let told = user.run(["mounts", "check", "--json"].iter().chain(&arguments));
        let report: Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!((&report["allowed"], &report["refusal"]), (&false.into(), &refusal.into()), "{report}");
        let last = report["rules"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["name"], &last["passed"]), (&rule.into(), &false.into()), "{report}");
    }
}

#[test]
fn mounts_list_shows_what_each_group_gets_and_why_not() {
    let user = user_with_mounts();
    let listed: Value = serde_json::from_str(&user.succeed(["mounts", "list", "--json"])).unwrap();
    let of = |host: &str| listed.as_array().unwrap().iter().find(|mount| mount["host"] == host).unwrap().clone();
    assert_eq!((&of("~/projects/site")["group"], &of("~/projects/site")["access"]), (&"me".into(), &"ro".into()));
    assert_eq!((&of("~/private")["allowed"], &of("~/private")["group"]), (&false.into(), &"family".into()), "{listed}");
    assert_eq!(of("~/projects")["target"], "/workspace/extra/projects");
    let explained: Value = serde_json::from_str(&user.succeed(["explain", "family", "--json"])).unwrap();
    assert!(explained["problems"].to_string().contains("~/private is not mounted"), "{explained}");
    assert!(explained["mounts"].to_string().contains("/workspace/extra/projects"), "{explained}");
    let shown = user.succeed(["mounts", "list"]);
    assert!(shown.contains("refused") && shown.contains("is under no allowed root"), "{shown}");
}

#[test]
fn doctor_names_what_looks_like_a_secret_in_a_mount_and_tells_of_a_bad_allowlist() {
    let user = user_with_mounts();
    let check = |name: &str| {
        let report: Value = serde_json::from_slice(&user.run(["doctor", "--json"]).stdout).unwrap();
        report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap().clone()
    };
    let secrets = check("mount-secrets");
    assert_eq!(secrets["outcome"], "warning", "{secrets}");
    let detail = secrets["detail"].as_str().unwrap();
    assert!(detail.contains("me can read in ~/projects/site: .env") && !detail.contains("family"), "{detail}");
    assert_eq!(check("mount-allowlist")["outcome"], "ok");
    let file = user.folder.path().join(".config/nanoclaw/mount-allowlist.json");
    std::fs::write(&file, "{}").unwrap();
    let allowlist = check("mount-allowlist");
    assert_eq!(allowlist["outcome"], "failed", "{allowlist}");
    let told = user.run(["mounts", "allow", "projects"]);
    assert_eq!((told.status.code(), std::fs::read_to_string(&file).unwrap().as_str()), (Some(1), "{}"));
}

#[test]
fn the_list_of_senders_is_checked_and_a_sender_judged_by_it() {
    let user = User::with_home();
    user.succeed(["groups", "add", "tg:1", "--name", "Family", "--folder", "family"]);
    assert!(user.succeed(["senders", "check"]).starts_with("no list: everybody in a registered chat may speak"));
    let folder = user.folder.path().join(".config/nanoclaw");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |text: &str| std::fs::write(folder.join("sender-allowlist.json"), text).unwrap();
    let check = || {
        let report: Value = serde_json::from_slice(&user.run(["doctor", "--json"]).stdout).unwrap();
        report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "senders").unwrap().clone()
    };

    write(
        r#"{"default":{"allow":["7"],"mode":"trigger"},
            "chats":{"tg:1":{"allow":["7","8"],"mode":"drop"},"tg:2":{"allow":"*","mode":"drop"}}}"#,
    );
    let shown = user.succeed(["senders", "check"]).replace(user.folder.path().to_str().unwrap(), "~");
    insta::assert_snapshot!(shown, @r#"
    good: ~/.config/nanoclaw/sender-allowlist.json
    CHAT        GROUP                     MAY SPEAK  WHAT OTHERS WRITE
    all others  -                         7          is context
    tg:1        family                    7, 8       is not kept
    tg:2        none, so nothing is kept  everybody  -
    "#);
    let judged = |chat: &str, sender: &str| {
        let output = user.run(["senders", "check", "--chat", chat, "--sender", sender, "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), report["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(judged("family", "8"), (0, "heard".to_owned()));
    assert_eq!(judged("tg:1", "9"), (1, "dropped".to_owned()));
    assert_eq!(judged("tg:2", "8"), (1, "unregistered".to_owned()));
    assert_eq!(check()["outcome"], "ok");

    write(r#"{"default":{"allow":"everybody","mode":"trigger"}}"#);
    let told = user.run(["senders", "check"]);
    let shown = text(&told.stdout);
    assert_eq!(told.status.code(), Some(1));
    assert!(shown.starts_with("bad: nobody but you may speak to agents.") && shown.contains("\"allow\""), "{shown}");
    assert_eq!(judged("tg:1", "8"), (1, "context".to_owned()));
    assert_eq!(check()["outcome"], "failed");
}

#[test]
fn skills_are_checked_added_listed_and_removed() {
    let user = User::with_home();
    user.succeed(["groups", "add", "tg:1", "--name", "Family", "--folder", "family"]);
    user.configure("[groups.family]\nskills = [\"billing\"]\n");
    let folder = user.folder.path().join("billing");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.to_str().unwrap();
    std::fs::write(folder.join("SKILL.md"), "Write bills.").unwrap();
    for arguments in [["skills", "check", path], ["skills", "add", path]] {
        let refused = user.run(arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        let told = text(&refused.stdout) + &text(&refused.stderr);
        assert!(
            told.contains("the skill billing cannot be used") && told.contains("begin with a line `---`"),
            "{told}"
        );
    }
    std::fs::write(folder.join("SKILL.md"), "---\ndescription: Writes bills.\n---\n").unwrap();
    assert!(user.succeed(["skills", "add", path]).starts_with("Added the skill billing."));
    let again = user.run(["skills", "add", path]);
    assert!(text(&again.stderr).contains("--replace"), "{}", text(&again.stderr));
    assert!(user.succeed(["skills", "add", path, "--replace"]).starts_with("Replaced the skill billing."));

    let listed: Value = serde_json::from_str(&user.succeed(["skills", "list", "--json"])).unwrap();
    let of = |name: &str| listed.as_array().unwrap().iter().find(|skill| skill["name"] == name).unwrap().clone();
    assert_eq!(of("billing")["groups"], serde_json::json!(["family"]));
    assert_eq!((&of("welcome")["from"], &of("welcome")["groups"]), (&"shipped".into(), &serde_json::json!([])));
    assert!(user.succeed(["skills", "list"]).contains("Writes bills."));

    user.succeed(["skills", "remove", "billing"]);
    let left = std::fs::read_dir(user.folder.path().join(".local/share/nanoclaw/skills")).unwrap();
    assert_eq!(left.count(), 0);
    for (name, part) in [("billing", "has no skill"), ("welcome", "came with the program"), ("../x", "no name")] {
        let refused = user.run(["skills", "remove", name]);
        assert!(text(&refused.stderr).contains(part), "{}", text(&refused.stderr));
    }
    let report: Value = serde_json::from_slice(&user.run(["doctor", "--json"]).stdout).unwrap();
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "skills").unwrap();
    assert_eq!(check["outcome"], "warning", "{check}");
    assert!(check["detail"].as_str().unwrap().contains("family asks for a skill billing"), "{check}");
}
