//! Moving in from NanoClaw v1: what comes along, what is refused, and that nothing is lost, changed or answered by surprise.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod v1_home;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nanoclaw_core::{
    group::{GroupFolder, GroupRole, TriggerPolicy},
    message::{Author, Seq, Wakes},
    store::{SessionContext, Store as _},
    tasks::{FiringState, TaskContext, TaskStatus, Tasks as _},
};
use nanoclaw_host::{
    config::{Config, environment_of},
    failpoints::KILL_AFTER_STEP,
    home::{Home, HomeLock},
    stores::sqlite::SqliteStore,
};
use serde_json::Value;
use sqlx::{Connection as _, sqlite::SqliteJournalMode};
use v1_home::{FAMILY_SESSION, MAIN_SESSION, TOKEN, V1Home, ago, snapshot};

/// A user with a folder of v1, and the program as this user runs it.
struct User {
    folder: tempfile::TempDir,
    v1: V1Home,
}

impl User {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let v1 = V1Home::make(folder.path()).await;
        Self { folder, v1 }
    }

    fn home(&self) -> Home {
        Home::at(&self.folder.path().join("home")).unwrap()
    }

    fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nanoclaw"));
        command.arg("--home").arg(self.home().root()).args(arguments);
        command.env_clear().env("HOME", self.folder.path()).env("TZ", "UTC");
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// `import` with these options.
    fn import(&self, options: &[&str]) -> Output {
        self.run(["import", self.v1.root.to_str().unwrap()].iter().chain(options))
    }

    /// What an import prints that succeeds.
    fn imported(&self, options: &[&str]) -> String {
        let output = self.import(options);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{}", text(&output.stdout));
        text(&output.stdout)
    }

    fn json(&self, options: &[&str]) -> Value {
        serde_json::from_str(&self.imported(&[options, &["--json"]].concat())).unwrap()
    }

    /// What an import says that is refused.
    fn refused(&self, options: &[&str]) -> String {
        let output = self.import(options);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        text(&output.stderr)
    }

    async fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.home().database()).await.unwrap()
    }

    fn config(&self) -> Config {
        let environment = environment_of([("HOME", self.folder.path().to_str().unwrap())]);
        Config::load(&self.home(), &environment).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn folder(name: &str) -> GroupFolder {
    GroupFolder::new(name).unwrap()
}

/// All rows of the home's database but those of the installation itself, as text.
async fn rows(home: &Home) -> BTreeMap<String, Vec<String>> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.database());
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let mut all = BTreeMap::new();
    for table in ["chats", "groups", "messages", "sessions", "outbox", "tasks", "firings", "runs"] {
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
            .bind(table)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let columns: Vec<String> = columns.iter().map(|column| format!("COALESCE({column}, 'NULL')")).collect();
        let query = format!("SELECT {} FROM {table}", columns.join(" || ' ' || "));
        let found = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap();
        all.insert(table.to_owned(), found);
    }
    connection.close().await.unwrap();
    all
}

/// What is kept of a home's files: content by place.
fn files(home: &Home) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = snapshot(home.root());
    all.retain(|path, (mode, ..)| {
        *mode & 0o170_000 == 0o100_000 && !path.starts_with(home.store())
            || path.starts_with(home.store().join("sessions"))
    });
    all.into_iter().map(|(path, (.., content))| (path.strip_prefix(home.root()).unwrap().to_owned(), content)).collect()
}

#[tokio::test]
async fn the_plan_is_shown_and_changes_nothing() {
    let user = User::new().await;
    let before = snapshot(user.folder.path());
    for options in [&["--dry-run"][..], &[], &["--json"]] {
        let printed = user.imported(options);
        assert!(!printed.contains(TOKEN) && !printed.contains("sk-ant") && !printed.contains("sk-other"), "{printed}");
    }
    assert_eq!(snapshot(user.folder.path()), before, "neither in v1's folder nor anywhere else");
    let printed = user.imported(&[]);
    assert!(printed.contains("--yes imports") && printed.ends_with("Nothing was changed.\n"), "{printed}");

    let plan = user.json(&["--dry-run"]);
    assert_eq!((plan["imported"].as_bool(), plan["groups"].as_array().unwrap().len()), (Some(false), 5));
    let count = |row: &Value, key: &str| row[key].as_u64().unwrap();
    let all: u64 = plan["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| ["answered", "said", "to_answer", "context"].iter().map(|key| count(row, key)).sum::<u64>())
        .sum();
    assert_eq!(all, 200, "every message is told of");
    let family = &plan["groups"][1];
    assert_eq!((family["folder"].as_str(), family["session"].as_str()), (Some("family"), Some(FAMILY_SESSION)));
    // Asked 84, 56 and 28 minutes ago.
    assert_eq!((count(family, "to_answer"), count(family, "too_old")), (2, 1), "{family}");
    let states: Vec<&str> =
        plan["tasks"].as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["new", "new", "new", "new", "new", "new", "new", "new", "left", "left"]);
    let left = plan["left"].to_string();
    for part in [
        "channels link whatsapp",
        "TELEGRAM_API_ID and TELEGRAM_API_HASH",
        "OPENAI_API_KEY",
        "way-out",
        ".credentials.json",
        "forgotten",
        "recipes",
        "whatsapp_friends: the transcript",
        "family: what lies in its mailbox for an agent that did not read it: 1",
        "family: requests of its agent that v1 had not come to: 1",
        "requests of agents that had failed: 1",
        "no channel here carries: 1",
    ] {
        assert!(left.contains(part), "{part} is not in {left:#}");
    }
    let timeout = plan["settings"].as_array().unwrap().iter().find(|row| row["name"] == "CONTAINER_TIMEOUT").unwrap();
    assert_eq!(timeout["state"], "left");
}

#[tokio::test]
async fn everything_that_can_be_is_here_afterwards_and_v1_is_as_it_was() {
    let user = User::new().await;
    let before = snapshot(&user.v1.root);
    let printed = user.imported(&["--yes"]);
    assert!(printed.contains("Imported."), "{printed}");
    assert_eq!(snapshot(&user.v1.root), before);

    let store = user.store().await;
    let groups = store.groups().await.unwrap();
    let told: Vec<_> = groups.iter().map(|group| (group.folder.as_str(), group.chat.as_str(), group.role)).collect();
    assert_eq!(
        told,
        [
            ("main", "tg:100", GroupRole::Main),
            ("family", "tg:-1001", GroupRole::Ordinary),
            ("slack_work", "slack:C01", GroupRole::Ordinary),
            ("whatsapp_friends", "1203630@g.us", GroupRole::Ordinary),
            ("dc_games", "dc:555", GroupRole::Ordinary),
        ]
    );
    let triggers: Vec<_> = groups.iter().map(|group| group.trigger.clone()).collect();
    assert_eq!(
        triggers,
        [
            TriggerPolicy::Always,
            TriggerPolicy::AssistantName,
            TriggerPolicy::Words("!bot".to_owned()),
            TriggerPolicy::Always,
            TriggerPolicy::AssistantName,
        ]
    );

    let rows = rows(&user.home()).await;
    assert_eq!(rows["chats"].len(), 6, "one that is no group is known by name");
    assert_eq!((rows["messages"].len(), rows["outbox"].len()), (180, 20), "200 messages, of which the agents said 20");
    assert!(rows["outbox"].iter().all(|row| row.contains(" sent ")), "what was said is not sent again");
    // The family's last three are not done: what is too old wakes nobody, and is context.
    let waiting = store.messages_after(&folder("family"), Seq::ZERO, 100).await.unwrap();
    let told: Vec<_> = waiting.iter().map(|message| (message.message.text.as_str(), message.wakes)).collect();
    assert_eq!(told.len(), 11, "{told:?}");
    assert_eq!(told[0], ("@Andy question 28", Wakes::No));
    let awake: Vec<_> = told.iter().filter(|(_, wakes)| *wakes == Wakes::Yes).map(|(text, _)| *text).collect();
    assert_eq!(awake, ["@Andy question 32", "@Andy question 36"]);
    for name in ["main", "slack_work", "whatsapp_friends"] {
        assert_eq!(store.messages_after(&folder(name), Seq::ZERO, 100).await.unwrap(), [], "{name}");
    }
    // Its agent was never called; what came after its own last word is what it would have been shown.
    let games = store.messages_after(&folder("dc_games"), Seq::ZERO, 100).await.unwrap();
    let texts: Vec<_> = games.iter().map(|message| message.message.text.as_str()).collect();
    assert_eq!(texts, ["@Andy question 36", "chatter 37", "chatter 38", "chatter 39"]);
    assert_eq!(games[0].message.author, Author::Person);

    let session =
        async |name: &str| store.session(&folder(name), &SessionContext::Chat).await.unwrap().map(|id| id.to_string());
    assert_eq!(session("main").await.as_deref(), Some(MAIN_SESSION));
    assert_eq!(session("family").await.as_deref(), Some(FAMILY_SESSION));
    assert_eq!(session("whatsapp_friends").await, None, "its transcript is lost");
    let state = user.home().sessions(&folder("family")).join(".claude");
    assert!(state.join(format!("projects/-workspace-group/{FAMILY_SESSION}.jsonl")).exists());
    assert!(!state.join(".credentials.json").exists());

    let memory = user.home().group(&folder("family"));
    assert_eq!(fs::read_to_string(memory.join("CLAUDE.md")).unwrap(), "# Memory of Family\n");
    assert_eq!(fs::read_to_string(memory.join("cake")).unwrap(), "on Friday", "a link within the folder");
    assert_eq!(fs::metadata(memory.join("run.sh")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_to_string(memory.join(" an odd\n name ")).unwrap(), "odd");
    for link in ["way-out", "another"] {
        assert!(fs::symlink_metadata(memory.join(link)).is_err(), "{link} leads out");
    }
    let main = fs::read_to_string(user.home().group(&folder("main")).join("CLAUDE.md")).unwrap();
    assert_eq!(main, "# Memory of Ann\n", "in place of the one that every home begins with");
    assert_eq!(fs::read_to_string(user.home().global().join("CLAUDE.md")).unwrap(), "# What all know\n");

    let config = user.config();
    assert_eq!(config.limits.max_concurrent_containers.value, 3);
    assert_eq!(config.limits.idle_timeout.value.as_secs(), 600);
    assert_eq!(config.time.zone.value.iana_name(), Some("Europe/Berlin"));
    let own = &config.groups[&folder("family")];
    assert_eq!(own.mounts.as_ref().unwrap().value.len(), 1);
    assert_eq!(own.run_timeout.as_ref().unwrap().value.as_secs(), 600);
    assert_eq!(config.credentials.secret_named("TELEGRAM_BOT_TOKEN").unwrap().reveal(), TOKEN);
    assert_eq!(config.credentials.model().unwrap().secret.reveal(), "sk-ant-api03-secret");
    for (path, content) in files(&user.home()) {
        let content = String::from_utf8_lossy(&content);
        assert!(!content.contains(TOKEN) && !content.contains("sk-ant"), "a secret is in {}", path.display());
    }
}

#[tokio::test]
async fn tasks_go_on_with_their_record_and_none_that_is_long_overdue_runs_by_surprise() {
    let user = User::new().await;
    user.imported(&["--yes"]);
    let store = user.store().await;
    let tasks = store.list(None, 100).await.unwrap();
    assert_eq!(tasks.len(), 8);
    let by = |prompt: &str| tasks.iter().find(|task| task.prompt == prompt).unwrap();
    let now = nanoclaw_core::time::Timestamp::now();
    let minutes =
        |task: &nanoclaw_core::tasks::Task| (task.next_due.unwrap().as_ms() - now.as_ms() + 30_000).div_euclid(60_000);

    let daily = by("do 0");
    assert_eq!((daily.status, daily.terms.context, minutes(daily)), (TaskStatus::Active, TaskContext::Group, 600));
    assert_eq!(daily.zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!((daily.group.as_str(), daily.created_by.as_str()), ("family", "family"));
    let log = store.firings(&daily.id, 10).await.unwrap();
    let states: Vec<_> = log.iter().rev().map(|firing| firing.state).collect();
    assert_eq!(states, [FiringState::Done, FiringState::Failed, FiringState::Done]);
    assert_eq!((log[2].text.as_deref(), log[1].remark.as_deref()), (Some("it was nice"), Some("it rained")));
    assert_eq!(store.waiting().await.unwrap(), []);

    assert_eq!(minutes(by("do 1")), -20, "it was due a little while ago and is made up for");
    assert_eq!((by("do 2").status, minutes(by("do 2"))), (TaskStatus::Active, 300));
    assert_eq!((by("do 3").status, by("do 3").next_due), (TaskStatus::Paused, None));
    assert!(by("do 3").paused_why.as_ref().unwrap().contains("had passed"));
    assert_eq!((by("do 4").status, by("do 5").status), (TaskStatus::Paused, TaskStatus::Completed));
    let beat = by("do 6");
    assert_eq!((beat.status, minutes(beat)), (TaskStatus::Active, 30), "it keeps its beat and makes up for nothing");
    assert!(beat.script.as_ref().unwrap().contains("wakeAgent"));
}

#[tokio::test]
async fn an_import_again_changes_nothing() {
    let user = User::new().await;
    user.imported(&["--yes"]);
    let (rows_before, files_before) = (rows(&user.home()).await, files(&user.home()));
    fs::write(user.home().group(&folder("family")).join("CLAUDE.md"), "changed since").unwrap();
    let printed = user.imported(&["--yes"]);
    assert!(printed.contains("There is nothing to do"), "{printed}");
    assert!(!printed.contains("something else at its place"), "{printed}");
    assert_eq!(rows(&user.home()).await, rows_before);
    let mut expected = files_before;
    expected.insert("groups/family/CLAUDE.md".into(), b"changed since".to_vec());
    assert_eq!(files(&user.home()), expected);
    assert_eq!(user.json(&["--yes"])["steps"], 0);
}

#[tokio::test]
async fn an_import_that_is_killed_on_its_way_is_completed_by_the_next() {
    let user = User::new().await;
    let steps = user.json(&["--dry-run"])["steps"].as_u64().unwrap();
    assert!(steps > 20, "{steps}");
    user.imported(&["--yes"]);
    let (rows_whole, files_whole) = (rows(&user.home()).await, files(&user.home()));
    let credentials = fs::read_to_string(user.v1.private.join("credentials")).unwrap();
    // Each kind of step is among them, and what is between two of the same kind.
    for step in (1..steps).step_by(3) {
        fs::remove_dir_all(user.home().root()).unwrap();
        fs::remove_file(user.v1.private.join("credentials")).unwrap();
        let root = user.v1.root.to_str().unwrap();
        let died = user.command(["import", root, "--yes"]).env(KILL_AFTER_STEP, step.to_string()).output().unwrap();
        assert_eq!(died.status.code(), None, "it died after step {step}");
        // What a step leaves that is interrupted itself.
        fs::create_dir_all(user.home().groups().join(".importing-family/half")).unwrap();
        let printed = user.imported(&["--yes"]);
        assert!(!printed.contains("something else at its place"), "after step {step}: {printed}");
        assert_eq!(rows(&user.home()).await, rows_whole, "after step {step}");
        let mut files = files(&user.home());
        files.retain(|path, _| !path.starts_with("groups/.importing-family"));
        assert_eq!(files, files_whole, "after step {step}");
        assert_eq!(fs::read_to_string(user.v1.private.join("credentials")).unwrap(), credentials);
    }
}

#[tokio::test]
async fn a_folder_that_is_none_of_v1_is_refused_by_name() {
    let user = User::new().await;
    let place = |name: &str| user.folder.path().join(name);
    fs::create_dir(place("empty")).unwrap();
    fs::write(place("file"), "").unwrap();
    fs::create_dir_all(place("second/data")).unwrap();
    fs::write(place("second/data/v2.db"), "").unwrap();
    fs::create_dir_all(place("pipe/store")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, place("pipe/store/messages.db"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    for (name, part) in [
        ("empty", "there is no store/messages.db"),
        ("file", "it is no folder"),
        ("missing", "it is not there"),
        ("second", "NanoClaw v2"),
        ("pipe", "no regular file"),
    ] {
        let output = user.run(["import", place(name).to_str().unwrap(), "--yes"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(said.contains(part) && said.contains("help:"), "{name}: {said}");
    }
    assert!(!user.home().root().exists(), "nothing was made");
}

#[tokio::test]
async fn a_folder_that_somebody_works_on_is_refused_and_so_is_a_home() {
    let user = User::new().await;
    // As v1 does: a process that has the database open.
    let open = File::open(user.v1.database()).unwrap();
    let mut other = Command::new("sleep").arg("600").stdin(open).spawn().unwrap();
    let said = user.refused(&["--yes"]);
    assert!(said.contains(&format!("process {}", other.id())) && said.contains("stop it first"), "{said}");
    other.kill().unwrap();
    other.wait().unwrap();
    user.imported(&["--yes"]);

    let lock = HomeLock::acquire(&user.home()).unwrap();
    let said = user.refused(&["--yes"]);
    assert!(said.contains("the service runs on") && said.contains("nanoclaw service stop"), "{said}");
    drop(lock);
    user.imported(&["--yes"]);
}

#[tokio::test]
async fn a_database_with_a_log_beside_it_is_read_whole_and_left_alone() {
    let user = User::new().await;
    // A process that died leaves its log; one that closes the database does not.
    let mut connection = user.v1.connect(SqliteJournalMode::Wal).await;
    sqlx::query("INSERT INTO messages (id, chat_jid, sender, sender_name, content, timestamp) VALUES ('late', 'tg:100', '1', 'Ann', 'in the log', ?)")
        .bind(ago(1))
        .execute(&mut connection)
        .await
        .unwrap();
    let store = user.v1.root.join("store");
    let kept: Vec<(PathBuf, Vec<u8>)> =
        ["messages.db", "messages.db-wal"].map(|name| (store.join(name), fs::read(store.join(name)).unwrap())).into();
    connection.close().await.unwrap();
    for (path, content) in &kept {
        fs::write(path, content).unwrap();
    }
    let before = snapshot(&user.v1.root);
    user.imported(&["--yes"]);
    assert_eq!(snapshot(&user.v1.root), before, "no index beside the log, and the log as it was");
    let waiting = user.store().await.messages_after(&folder("main"), Seq::ZERO, 10).await.unwrap();
    assert_eq!(waiting.iter().map(|message| message.message.text.as_str()).collect::<Vec<_>>(), ["in the log"]);
}

#[tokio::test]
async fn a_database_that_is_torn_is_refused_with_what_can_be_done() {
    let user = User::new().await;
    let whole = fs::read(user.v1.database()).unwrap();
    let mut spoilt = whole.clone();
    spoilt[4096..8192].fill(0xff);
    for content in [&whole[..whole.len() / 2], b"not a database at all", &spoilt] {
        fs::write(user.v1.database(), content).unwrap();
        let said = user.refused(&["--yes"]);
        assert!(said.contains("is damaged") && said.contains(".recover"), "{said}");
    }
    assert!(!user.home().root().exists());
}

#[tokio::test]
async fn an_older_version_without_newer_columns_is_read_and_one_without_groups_is_refused() {
    let user = User::new().await;
    user.v1
        .execute(
            "ALTER TABLE registered_groups DROP COLUMN is_main; ALTER TABLE scheduled_tasks DROP COLUMN script;
             ALTER TABLE messages DROP COLUMN reply_to_message_id; ALTER TABLE messages DROP COLUMN is_bot_message;
             UPDATE messages SET content = 'Andy: ' || content WHERE is_from_me = 1;
             ALTER TABLE chats DROP COLUMN is_group; DROP TABLE sessions; DROP TABLE task_run_logs;",
        )
        .await;
    let plan = user.json(&["--yes"]);
    assert_eq!((plan["groups"][0]["main"].as_bool(), plan["groups"][0]["said"].as_u64()), (Some(true), Some(4)));
    assert_eq!(user.store().await.groups().await.unwrap()[0].role, GroupRole::Main);

    user.v1.execute("ALTER TABLE registered_groups RENAME COLUMN folder TO place").await;
    let said = user.refused(&[]);
    assert!(said.contains("no column registered_groups.folder") && said.contains("NanoClaw 1.2"), "{said}");
    user.v1.execute("DROP TABLE registered_groups").await;
    assert!(user.refused(&[]).contains("no table registered_groups"));
}

#[tokio::test]
async fn rows_that_make_no_sense_are_counted_and_the_rest_comes() {
    let user = User::new().await;
    user.v1
        .execute(
            "UPDATE messages SET timestamp = 'some day' WHERE id = 'm1' AND chat_jid = 'tg:100';
             UPDATE messages SET content = '' WHERE id = 'm2' AND chat_jid = 'tg:100';
             UPDATE registered_groups SET folder = '../../out' WHERE folder = 'dc_games';
             UPDATE registered_groups SET jid = 'gmail:9' WHERE folder = 'slack_work';
             UPDATE registered_groups SET container_config = '{' WHERE folder = 'family';",
        )
        .await;
    let plan = user.json(&["--yes"]);
    let states: Vec<&str> =
        plan["groups"].as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["new", "new", "left", "new", "left"]);
    let whys = plan["groups"].to_string();
    assert!(whys.contains("no channel here carries") && whys.contains("must start with"), "{whys}");
    let left = plan["left"].to_string();
    assert!(
        left.contains("rows of the table messages that lack what makes sense of them: 1")
            && left.contains("main: messages that have no text: 1"),
        "{left}"
    );
    assert!(left.contains("containerConfig cannot be read"), "{left}");
    assert_eq!(user.store().await.groups().await.unwrap().len(), 3);
    assert!(!user.folder.path().join("out").exists());
}

#[tokio::test]
async fn what_is_in_the_home_stays_and_what_stands_in_the_way_is_told() {
    let user = User::new().await;
    assert!(user.run(["init"]).status.success());
    assert!(user.run(["groups", "add", "local:main", "--name", "Me", "--main"]).status.success());
    let family = user.home().group(&folder("family"));
    fs::create_dir_all(&family).unwrap();
    fs::write(family.join("mine"), "mine").unwrap();
    let text = fs::read_to_string(user.home().config_file()).unwrap();
    fs::write(user.home().config_file(), text.replace("#idle_timeout = \"30m\"", "idle_timeout = \"7m\"")).unwrap();
    let plan = user.json(&["--yes"]);
    assert_eq!(plan["groups"][0]["state"], "left");
    assert!(plan["groups"][0]["why"].as_str().unwrap().contains("nanoclaw groups remove main"), "{plan:#}");
    assert!(plan["left"].to_string().contains("something else at its place"), "{plan:#}");
    let idle = plan["settings"].as_array().unwrap().iter().find(|row| row["name"] == "IDLE_TIMEOUT").unwrap();
    assert_eq!(idle["state"], "left");
    assert_eq!(user.config().limits.idle_timeout.value.as_secs(), 420);
    assert_eq!(user.config().limits.max_concurrent_containers.value, 3);
    assert_eq!(fs::read_dir(&family).unwrap().count(), 1);
    let groups = user.store().await.groups().await.unwrap();
    assert_eq!(
        groups.iter().map(|group| group.folder.as_str()).collect::<Vec<_>>(),
        ["main", "family", "slack_work", "whatsapp_friends", "dc_games"]
    );
    assert_eq!(groups[0].chat.as_str(), "local:main");

    // Room is made, and the next import takes what could not be taken.
    assert!(user.run(["groups", "remove", "main"]).status.success());
    let plan = user.json(&["--yes"]);
    assert_eq!(plan["groups"][0]["state"], "new", "{plan:#}");
    let groups = user.store().await.groups().await.unwrap();
    assert_eq!(groups.iter().find(|group| group.role == GroupRole::Main).unwrap().chat.as_str(), "tg:100");
}

#[tokio::test]
async fn lists_of_another_place_come_along_and_a_bad_one_is_told() {
    let user = User::new().await;
    let elsewhere = user.folder.path().join("elsewhere");
    let import = |user: &User| {
        let root = user.v1.root.to_str().unwrap().to_owned();
        let output =
            user.command(["import", &root, "--yes", "--json"]).env("XDG_CONFIG_HOME", &elsewhere).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    fs::write(user.v1.private.join("sender-allowlist.json"), "{").unwrap();
    let plan = import(&user);
    assert!(plan["left"].to_string().contains("sender-allowlist.json: it is not JSON"), "{plan:#}");
    assert_eq!(plan["groups"][1]["to_answer"], 0, "such a list lets nobody speak");
    for name in ["mount-allowlist.json", "sender-allowlist.json"] {
        let (theirs, ours) = (user.v1.private.join(name), elsewhere.join("nanoclaw").join(name));
        assert_eq!(fs::read(&theirs).unwrap(), fs::read(&ours).unwrap());
        assert_eq!(fs::metadata(ours).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(import(&user)["steps"], 0);
}

#[test]
fn the_tables_of_the_plan_fit_and_say_what_becomes_of_each() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let user = runtime.block_on(User::new());
    let printed = user.imported(&["--dry-run"]);
    let table: Vec<&str> = printed.lines().skip_while(|line| !line.starts_with("GROUP")).take(6).collect();
    let table: Vec<String> = table
        .iter()
        .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect::<Vec<_>>().join(" | "))
        .collect();
    insta::assert_snapshot!(table.join("\n"), @r"
    GROUP | CHAT | WAKES ON | MESSAGES | TO ANSWER | SESSION | TASKS | FILES
    main (main) | tg:100 | every message | 40 | 0 | goes on | 2 | 4, 166 B | new
    family | tg:-1001 | its name | 40 | 2 | goes on | 2 | 7, 191 B | new
    slack_work | slack:C01 | !bot | 40 | 0 | 2 | 1, 17 B | new
    whatsapp_friends | 1203630@g.us | every message | 40 | 0 | 1 | 2, 22 B | new
    dc_games | dc:555 | its name | 40 | 1 | 1 | 1, 18 B | new
    ");
    assert!(Path::new(&user.v1.root).is_absolute());
}
