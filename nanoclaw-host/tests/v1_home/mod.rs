//! A home of NanoClaw v1 as one looks that was used: 5 groups, 200 messages, 10 tasks, sessions, lists, secrets.

#![allow(
    dead_code,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "helpers of tests, of which each program uses its part"
)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

/// The schema of version 1.2.53.
const SCHEMA: &str = "
    CREATE TABLE chats (jid TEXT PRIMARY KEY, name TEXT, last_message_time TEXT, channel TEXT, is_group INTEGER DEFAULT 0);
    CREATE TABLE messages (
        id TEXT, chat_jid TEXT, sender TEXT, sender_name TEXT, content TEXT, timestamp TEXT, is_from_me INTEGER,
        is_bot_message INTEGER DEFAULT 0, reply_to_message_id TEXT, reply_to_message_content TEXT, reply_to_sender_name TEXT,
        PRIMARY KEY (id, chat_jid), FOREIGN KEY (chat_jid) REFERENCES chats(jid));
    CREATE INDEX idx_timestamp ON messages(timestamp);
    CREATE TABLE scheduled_tasks (
        id TEXT PRIMARY KEY, group_folder TEXT NOT NULL, chat_jid TEXT NOT NULL, prompt TEXT NOT NULL, schedule_type TEXT NOT NULL,
        schedule_value TEXT NOT NULL, next_run TEXT, last_run TEXT, last_result TEXT, status TEXT DEFAULT 'active',
        created_at TEXT NOT NULL, context_mode TEXT DEFAULT 'isolated', script TEXT);
    CREATE TABLE task_run_logs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, run_at TEXT NOT NULL, duration_ms INTEGER NOT NULL,
        status TEXT NOT NULL, result TEXT, error TEXT, FOREIGN KEY (task_id) REFERENCES scheduled_tasks(id));
    CREATE TABLE router_state (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE sessions (group_folder TEXT PRIMARY KEY, session_id TEXT NOT NULL);
    CREATE TABLE registered_groups (
        jid TEXT PRIMARY KEY, name TEXT NOT NULL, folder TEXT NOT NULL UNIQUE, trigger_pattern TEXT NOT NULL, added_at TEXT NOT NULL,
        container_config TEXT, requires_trigger INTEGER DEFAULT 1, is_main INTEGER DEFAULT 0);
";

/// Chat, name, folder, trigger, whether it waits for that, whether it is the main one.
pub const GROUPS: [(&str, &str, &str, &str, bool, bool); 5] = [
    ("tg:100", "Ann", "main", "@Andy", false, true),
    ("tg:-1001", "Family", "family", "@Andy", true, false),
    ("slack:C01", "Work", "slack_work", "!bot", true, false),
    ("1203630@g.us", "Friends", "whatsapp_friends", "@Andy", false, false),
    ("dc:555", "Games", "dc_games", "@Andy", true, false),
];
/// The sessions of the main group and of the family, whose transcripts are there, and one whose transcript is not.
pub const MAIN_SESSION: &str = "11111111-1111-4111-8111-111111111111";
pub const FAMILY_SESSION: &str = "22222222-2222-4222-8222-222222222222";
pub const LOST_SESSION: &str = "33333333-3333-4333-8333-333333333333";
/// A secret of the `.env`, which is to be seen nowhere.
pub const TOKEN: &str = "777000:AAE-a-token-of-telegram";

const MINUTE_MS: i64 = 60_000;

/// A folder of v1 in the home folder of a user.
pub struct V1Home {
    pub root: PathBuf,
    /// `~/.config/nanoclaw`.
    pub private: PathBuf,
}

impl V1Home {
    /// Makes one in `user`, the home folder of its user. In each group one message came every seven minutes until now, the first
    /// eight without one that was not answered.
    pub async fn make(user: &Path) -> Self {
        let home = Self { root: user.join("nanoclaw-v1"), private: user.join(".config/nanoclaw") };
        for folder in ["store", "data", "groups", "logs"] {
            fs::create_dir_all(home.root.join(folder)).unwrap();
        }
        home.fill_database(SqliteJournalMode::Delete).await;
        home.make_files();
        home
    }

    pub fn database(&self) -> PathBuf {
        self.root.join("store/messages.db")
    }

    /// Changes the database by hand.
    pub async fn execute(&self, statements: &str) {
        let mut connection = self.connect(SqliteJournalMode::Delete).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    pub async fn connect(&self, mode: SqliteJournalMode) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.database()).create_if_missing(true).journal_mode(mode);
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    fn write(&self, place: &str, text: &str) {
        let path = self.root.join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn fill_database(&self, mode: SqliteJournalMode) {
        let mut connection = self.connect(mode).await;
        let mut all = connection.begin().await.unwrap();
        sqlx::raw_sql(SCHEMA).execute(&mut *all).await.unwrap();
        sqlx::raw_sql("INSERT INTO chats (jid, name) VALUES ('__group_sync__', '__group_sync__')")
            .execute(&mut *all)
            .await
            .unwrap();
        sqlx::raw_sql("INSERT INTO chats (jid, name) VALUES ('tg:-2002', 'Neighbours'), ('gmail:9', 'A mail')")
            .execute(&mut *all)
            .await
            .unwrap();
        let mut cursors = BTreeMap::new();
        for (jid, name, folder, trigger, waits, main) in GROUPS {
            sqlx::query("INSERT INTO chats VALUES (?, ?, ?, NULL, ?)")
                .bind(jid)
                .bind(name)
                .bind(ago(7))
                .bind(i64::from(!main))
                .execute(&mut *all)
                .await
                .unwrap();
            let config = (folder == "family").then_some(
                r#"{"additionalMounts":[{"hostPath":"~/projects/site","containerPath":"site","readonly":false}],"timeout":600000}"#,
            );
            sqlx::query("INSERT INTO registered_groups VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
                .bind(jid)
                .bind(name)
                .bind(folder)
                .bind(trigger)
                .bind(ago(1000))
                .bind(config)
                .bind(i64::from(waits))
                .bind(i64::from(main))
                .execute(&mut *all)
                .await
                .unwrap();
            for number in 0..40 {
                let is_bot = number % 10 == 5;
                let text = match number {
                    _ if is_bot => format!("answer {number}"),
                    _ if number % 4 == 0 => format!("{trigger} question {number}"),
                    _ => format!("chatter {number}"),
                };
                sqlx::query("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
                    .bind(format!("m{number}"))
                    .bind(jid)
                    .bind(if is_bot { "bot" } else { "5551" })
                    .bind(if is_bot { "Andy" } else { "Ann" })
                    .bind(text)
                    .bind(ago(7 * (40 - number)))
                    .bind(i64::from(is_bot))
                    .bind(i64::from(is_bot))
                    .bind((number == 6).then_some("m4"))
                    .bind((number == 6).then_some("question"))
                    .bind((number == 6).then_some("Ann"))
                    .execute(&mut *all)
                    .await
                    .unwrap();
            }
            // The family's agent was not there for a while; the others' have seen everything. That of the games was never called.
            match folder {
                "family" => drop(cursors.insert(jid, ago(7 * 13))),
                "dc_games" => {}
                _ => drop(cursors.insert(jid, ago(7))),
            }
        }
        let state = [("last_timestamp", ago(7)), ("last_agent_timestamp", serde_json::to_string(&cursors).unwrap())];
        for (key, value) in state {
            sqlx::query("INSERT INTO router_state VALUES (?, ?)")
                .bind(key)
                .bind(value)
                .execute(&mut *all)
                .await
                .unwrap();
        }
        let sessions = [("main", MAIN_SESSION), ("family", FAMILY_SESSION), ("whatsapp_friends", LOST_SESSION)];
        for (folder, session) in sessions {
            sqlx::query("INSERT INTO sessions VALUES (?, ?)")
                .bind(folder)
                .bind(session)
                .execute(&mut *all)
                .await
                .unwrap();
        }
        for (number, task) in TASKS.iter().enumerate() {
            let (folder, kind, value, next_run, status, context, script) = *task;
            let value = if kind == "once" { local(next_run.unwrap_or(-500)) } else { value.to_owned() };
            sqlx::query("INSERT INTO scheduled_tasks VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?, ?, ?, ?)")
                .bind(format!("task-{number}"))
                .bind(folder)
                .bind(GROUPS.iter().find(|group| group.2 == folder).map_or("tg:gone", |group| group.0))
                .bind(format!("do {number}"))
                .bind(kind)
                .bind(value)
                .bind(next_run.map(|minutes: i64| ago(-minutes)))
                .bind(status)
                .bind(ago(900))
                .bind(context)
                .bind(script)
                .execute(&mut *all)
                .await
                .unwrap();
        }
        for (at, status, result, error) in [
            (300, "success", Some("it was nice"), None),
            (200, "error", None, Some("it rained")),
            (100, "success", None, None),
        ] {
            sqlx::query("INSERT INTO task_run_logs (task_id, run_at, duration_ms, status, result, error) VALUES ('task-0', ?, 4000, ?, ?, ?)")
                .bind(ago(at))
                .bind(status)
                .bind(result)
                .bind(error)
                .execute(&mut *all)
                .await
                .unwrap();
        }
        all.commit().await.unwrap();
        connection.close().await.unwrap();
    }

    fn make_files(&self) {
        self.write("package.json", r#"{"name":"nanoclaw","version":"1.2.53"}"#);
        self.write("groups/global/CLAUDE.md", "# What all know\n");
        for (_, name, folder, ..) in GROUPS {
            self.write(&format!("groups/{folder}/CLAUDE.md"), &format!("# Memory of {name}\n"));
        }
        self.write("groups/family/notes/deep/cake.md", "on Friday");
        self.write("groups/family/run.sh", "#!/bin/sh\n");
        fs::set_permissions(self.root.join("groups/family/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        self.write("groups/family/ an odd\n name ", "odd");
        symlink("notes/deep/cake.md", self.root.join("groups/family/cake")).unwrap();
        symlink("/etc", self.root.join("groups/family/way-out")).unwrap();
        symlink("../../.env", self.root.join("groups/family/another")).unwrap();
        self.write("groups/forgotten/CLAUDE.md", "nobody's");
        for (folder, session) in [("main", MAIN_SESSION), ("family", FAMILY_SESSION)] {
            let state = format!("data/sessions/{folder}/.claude");
            let line = format!(r#"{{"type":"user","sessionId":"{session}","cwd":"/workspace/group"}}"#);
            self.write(&format!("{state}/projects/-workspace-group/{session}.jsonl"), &line);
            self.write(&format!("{state}/settings.json"), "{}");
            // What our agent without a model remembers, so that a test can ask it.
            let heard = r#"{"sender":"Ann","time":"then","text":"the code is 4711"}"#;
            self.write(&format!("{state}/offline/{session}.jsonl"), &format!("{heard}\n"));
            self.write(&format!("data/sessions/{folder}/agent-runner-src/index.ts"), "//");
        }
        self.write("data/sessions/family/.claude/.credentials.json", r#"{"token":"sk-ant-oat01-hidden"}"#);
        self.write("data/sessions/whatsapp_friends/.claude/settings.json", "{}");
        self.write("data/ipc/family/input/1-a.json", r#"{"type":"message","text":"unread"}"#);
        self.write("data/ipc/family/messages/2-b.json", r#"{"type":"message"}"#);
        self.write("data/ipc/errors/family-3-c.json", "{}");
        self.write("store/auth/creds.json", "{}");
        self.write("container/skills/agent-browser/SKILL.md", "---\n---\n");
        self.write("container/skills/recipes/SKILL.md", "---\n---\n");
        self.write(
            ".env",
            &format!(
                "# mine\nASSISTANT_NAME=\"Andy\"\nTELEGRAM_BOT_TOKEN={TOKEN}\nexport ANTHROPIC_API_KEY='sk-ant-api03-secret'\n\
                 IDLE_TIMEOUT=600000\nMAX_CONCURRENT_CONTAINERS=3\nCONTAINER_TIMEOUT=soon\nTZ=Europe/Berlin\nOPENAI_API_KEY=sk-other\n"
            ),
        );
        fs::create_dir_all(&self.private).unwrap();
        for folder in [&self.private, self.private.parent().unwrap()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let lists = [
            (
                "mount-allowlist.json",
                r#"{"allowedRoots":[{"path":"~/projects","allowReadWrite":true}],"blockedPatterns":[],"nonMainReadOnly":false}"#,
            ),
            ("sender-allowlist.json", r#"{"default":{"allow":"*","mode":"trigger"},"chats":{},"logDenied":true}"#),
        ];
        for (name, text) in lists {
            fs::write(self.private.join(name), text).unwrap();
            fs::set_permissions(self.private.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// Folder, kind, value, minutes until it is due, status, context, script.
type Task = (&'static str, &'static str, &'static str, Option<i64>, &'static str, &'static str, Option<&'static str>);

const TASKS: [Task; 10] = [
    ("family", "cron", "0 9 * * *", Some(600), "active", "group", None),
    ("main", "interval", "3600000", Some(-20), "active", "isolated", None),
    ("main", "once", "", Some(300), "active", "group", None),
    ("family", "once", "", Some(-200), "active", "isolated", None),
    ("slack_work", "cron", "0 8 * * 1-5", Some(500), "paused", "isolated", None),
    ("slack_work", "once", "", None, "completed", "isolated", None),
    ("dc_games", "interval", "7200000", Some(-90), "active", "isolated", Some("echo '{\"wakeAgent\":true}'")),
    ("whatsapp_friends", "cron", "30 18 * * 5", Some(900), "active", "group", None),
    ("main", "cron", "0 0 9 * * *", Some(100), "active", "group", None),
    ("gone", "cron", "0 9 * * *", Some(100), "active", "group", None),
];

/// A moment so many minutes ago, as v1 writes it.
pub fn ago(minutes: i64) -> String {
    let now = jiff::Timestamp::now().as_millisecond();
    let at = jiff::Timestamp::from_millisecond(now - minutes * MINUTE_MS).unwrap();
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A moment in so many minutes by the clock of Berlin.
fn local(minutes: i64) -> String {
    let now = jiff::Timestamp::now().as_millisecond();
    let at = jiff::Timestamp::from_millisecond(now + minutes * MINUTE_MS).unwrap();
    at.to_zoned(jiff::tz::TimeZone::get("Europe/Berlin").unwrap()).strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// Everything below `root`: mode, when it was changed, and what is in it.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let content = if found.is_file() {
                fs::read(&path).unwrap()
            } else if found.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                folders.push(path.clone());
                Vec::new()
            };
            all.insert(path, (found.mode(), found.mtime(), found.mtime_nsec(), content));
        }
    }
    all
}
