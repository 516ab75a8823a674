//! The real service with much in its store: how soon it is ready, and what it uses when nothing happens.

use std::{fs, path::Path, thread::sleep, time::Duration};

use nanoclaw_host::{home::Home, stores::sqlite::SqliteStore};
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};

use crate::{
    figures::{Figure, Unit},
    program::{Installation, Service},
};

/// How long the idle service is watched.
const WATCHED: Duration = Duration::from_secs(10);

pub(crate) fn measure(program: &Path, starts: usize) -> Vec<Figure> {
    let installation =
        Installation::new(program, "[container]\nruntime = \"sandbox\"\n\n[agent]\nprovider = \"offline\"\n");
    eprintln!("filling a store with 1,000 groups and 100,000 messages");
    fill(&installation.home);
    eprintln!("starting the service {starts} times");
    let mut ready = Vec::new();
    for _ in 1..starts.max(1) {
        match installation.serve() {
            Ok((_, took)) => ready.push(took),
            Err(error) => {
                eprintln!("skipped: needs the sandbox: {error}");
                return Vec::new();
            }
        }
    }
    let (service, took) = installation.serve().unwrap();
    ready.push(took);
    eprintln!("watching it idle for {WATCHED:?}");
    // What start-up leaves to be done is no idling.
    sleep(Duration::from_secs(2));
    let before = Used::of(&service);
    sleep(WATCHED);
    let after = Used::of(&service);
    vec![
        Figure::times("`nanoclaw run`: process start to the line that says ready", &ready).under(100.0),
        Figure::new(
            "idle: ticks of processor time in 10 s (100 a second)",
            Unit::Count,
            vec![f64::from(after.ticks - before.ticks)],
        )
        .under(1.0),
        Figure::new(
            "idle: times a thread was woken in 10 s",
            Unit::Count,
            vec![f64::from(after.switches - before.switches)],
        ),
        Figure::new("idle: threads", Unit::Count, vec![f64::from(after.threads)]),
        Figure::new("idle: resident memory", Unit::Mebibytes, vec![after.resident]).under(20.0),
        Figure::new("idle: of that, memory of its own (not files)", Unit::Mebibytes, vec![after.anonymous]),
    ]
}

/// What a process has used: ticks of a hundredth of a second, times that a thread gave up its processor by itself, mebibytes.
pub(crate) struct Used {
    pub(crate) ticks: u32,
    pub(crate) switches: u32,
    threads: u32,
    pub(crate) resident: f64,
    pub(crate) anonymous: f64,
}

impl Used {
    pub(crate) fn of(service: &Service) -> Self {
        let proc = service.proc();
        let stat = fs::read_to_string(proc.join("stat")).unwrap();
        // The name in parentheses may have blanks; the fields after it are numbered from 3.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks = |field: usize| fields[field - 3].parse::<u32>().unwrap();
        let status = Status::of(&proc);
        let threads: Vec<_> = fs::read_dir(proc.join("task")).unwrap().map(|task| task.unwrap().path()).collect();
        let switches = threads.iter().map(|task| Status::of(task).number("voluntary_ctxt_switches")).sum();
        Self {
            ticks: ticks(14) + ticks(15),
            switches,
            threads: u32::try_from(threads.len()).unwrap(),
            resident: f64::from(status.number("VmRSS")) / 1024.0,
            anonymous: f64::from(status.number("RssAnon")) / 1024.0,
        }
    }
}

struct Status(String);

impl Status {
    fn of(proc: &Path) -> Self {
        Self(fs::read_to_string(proc.join("status")).unwrap())
    }

    fn number(&self, key: &str) -> u32 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

/// Puts many conversations into the store of `home`: everything answered, a hundred messages and ten runs a
/// group.
fn fill(home: &Home) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        SqliteStore::open(&home.database()).await.unwrap().close().await;
        let mut connection = SqliteConnectOptions::new().filename(home.database()).connect().await.unwrap();
        let mut all = connection.begin().await.unwrap();
        for statement in FILL {
            sqlx::query(statement).execute(&mut *all).await.unwrap();
        }
        all.commit().await.unwrap();
        connection.close().await.unwrap();
    });
}

const FILL: [&str; 6] = [
    "CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999) SELECT i FROM n",
    "INSERT INTO chats (chat, channel, name, kind, last_seen_ms)
     SELECT 'bench:' || i, 'bench', 'Chat ' || i, 'group', 1790000000000 FROM n WHERE i < 1000",
    "INSERT INTO groups (folder, chat, name, trigger_kind, role, added_at_ms, answered_through)
     SELECT 'group' || i, 'bench:' || i, 'Chat ' || i, 'assistant_name', 'ordinary', 1790000000000, 0 FROM n WHERE i < 1000",
    "INSERT INTO messages (chat, id, channel, chat_kind, sender, sender_name, author, text, sent_at_ms, attachments, wakes,
                           accepted_at_ms)
     SELECT 'bench:' || (i % 1000), 'm' || i, 'bench', 'group', 'u' || (i % 7), 'User ' || (i % 7), 'person',
            printf('@Andy message %d: %.80c', i, 'x'), 1790000000000 + i * 1000, '[]', i % 2, 1790000000000 + i * 1000
     FROM n",
    "INSERT INTO runs (group_folder, number, kind, runtime, started_at_ms, ended_at_ms, ending, detail)
     SELECT 'group' || (i % 1000), 1 + i / 1000, 'chat', 'sandbox', 1790000000000 + i, 1790000000001 + i, 'finished', 'finished'
     FROM n WHERE i < 10000",
    "UPDATE groups SET answered_through = 100000",
];
