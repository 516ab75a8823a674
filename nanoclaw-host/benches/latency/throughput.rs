//! How many messages a second the host takes in and answers, with every commit synced, and what part of what SQLite can
//! commit on this disk that is. The agents answer at once and are part of this process.

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use nanoclaw_core::{
    channel::{Channel, ChannelCapabilities, SendError},
    chat::{ChannelName, ChatId},
    delivery::{Delivery, Sent},
    orchestrator::{AtShutdown, DispatchSettings, Inbox, Orchestrator, Parts, Settings},
    store::Store as _,
    testing::FakeRuntime,
};
use nanoclaw_host::{gateway::tls, stores::sqlite::SqliteStore};
use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    figures::{Figure, Unit},
    house::{Agent, act, group, launcher, message},
    program::{Installation, folder},
};

/// How long raw commits are counted.
const RAW: Duration = Duration::from_secs(3);
const CONFIG: &str = "[agent]\nprovider = \"offline\"\n";

pub(crate) fn measure(groups: usize, messages: usize, rounds: usize) -> Vec<Figure> {
    // What `nanoclaw` itself runs on.
    let runtime = nanoclaw_host::cli::event_loop().unwrap();
    runtime.block_on(async {
        let (mut raw, mut single, mut burst) = (Vec::new(), Flows::default(), Flows::default());
        for round in 1..=rounds {
            eprintln!(
                "throughput, round {round} of {rounds}: raw commits, then {groups} groups with {messages} messages each"
            );
            // The raw rate before each flow, since the disk is not the same from minute to minute.
            raw.push(raw_commits().await);
            single.add(flow(groups, messages, 1).await, raw[raw.len() - 1]);
            raw.push(raw_commits().await);
            burst.add(flow(groups, messages, messages).await, raw[raw.len() - 1]);
        }
        let mut figures =
            vec![Figure::new("SQLite alone: commits a second (WAL, FULL, one row each)", Unit::PerSecond, raw)];
        figures.extend(single.figures(&format!("{groups} groups, one message at a time in each"), true));
        figures.extend(burst.figures(&format!("{groups} groups, {messages} messages at once in each"), false));
        figures
    })
}

/// What one flow of messages came to.
struct Flow {
    messages_a_second: f64,
    replies_a_second: f64,
    writes: f64,
    commits: f64,
    /// Of host and agents, which are one process here.
    processor_ms: f64,
}

#[derive(Default)]
struct Flows {
    all: Vec<Flow>,
    to_raw: Vec<f64>,
}

impl Flows {
    fn add(&mut self, flow: Flow, raw: f64) {
        self.to_raw.push(flow.messages_a_second / raw);
        self.all.push(flow);
    }

    fn figures(self, what: &str, with_target: bool) -> Vec<Figure> {
        let of = |field: fn(&Flow) -> f64| self.all.iter().map(field).collect::<Vec<_>>();
        let messages = Figure::new(
            format!("{what}: messages answered a second"),
            Unit::PerSecond,
            of(|flow| flow.messages_a_second),
        );
        vec![
            if with_target { messages.at_least(500.0) } else { messages },
            Figure::new(format!("{what}: replies a second"), Unit::PerSecond, of(|flow| flow.replies_a_second)),
            Figure::new(
                format!("{what}: messages for each raw commit of that minute"),
                Unit::Ratio,
                self.to_raw.clone(),
            ),
            Figure::new(format!("{what}: durable writes a message"), Unit::Ratio, of(|flow| flow.writes)),
            Figure::new(format!("{what}: commits a message"), Unit::Ratio, of(|flow| flow.commits)),
            Figure::new(
                format!("{what}: processor time a message, agents included"),
                Unit::Milliseconds,
                of(|flow| flow.processor_ms),
            ),
        ]
    }
}

/// Commits a second of one connection with nothing around it.
async fn raw_commits() -> f64 {
    let folder = folder();
    let mut connection = SqliteConnectOptions::new()
        .filename(folder.path().join("raw.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await
        .unwrap();
    sqlx::query("CREATE TABLE t (i INTEGER PRIMARY KEY, text TEXT NOT NULL)").execute(&mut connection).await.unwrap();
    let text = "x".repeat(200);
    let begun = Instant::now();
    let mut commits = 0.0;
    while begun.elapsed() < RAW {
        sqlx::query("INSERT INTO t (text) VALUES ($1)").bind(&text).execute(&mut connection).await.unwrap();
        commits += 1.0;
    }
    let rate = commits / begun.elapsed().as_secs_f64();
    connection.close().await.unwrap();
    rate
}

/// Says `messages` in each of `groups`, at most `at_once` of them unanswered in each, and waits for all answers.
async fn flow(groups: usize, messages: usize, at_once: usize) -> Flow {
    tls::install_provider();
    let installation = Installation::new(Path::new(env!("CARGO_BIN_EXE_nanoclaw")), CONFIG);
    let home = installation.home.clone();
    let store = Arc::new(SqliteStore::open(&home.database()).await.unwrap());
    let (marks, _) = mpsc::unbounded_channel();
    let runtime = Arc::new(FakeRuntime::new(move |container| act(container, Agent::StaysWithJournal, marks.clone())));
    let (mut ears, mut chats) = (HashMap::new(), Vec::new());
    for number in 0..groups {
        let group = group(number);
        store.add_group(&group).await.unwrap();
        let (ear, replies) = mpsc::unbounded_channel();
        ears.insert(group.chat.clone(), ear);
        chats.push((group.chat, replies));
    }
    let launcher = launcher(&home, CONFIG, &store, &runtime).await;
    let parts = Parts { store: store.clone(), runtime, launcher: Arc::new(launcher), scheduling: None, senders: None };
    let settings = Settings {
        dispatch: DispatchSettings { max_containers: groups.try_into().unwrap(), ..DispatchSettings::default() },
        ..Settings::default()
    };
    let (orchestrator, running) = Orchestrator::start(parts, settings).await.unwrap();
    orchestrator.add_channel(Arc::new(Ears { name: "bench".parse().unwrap(), ears }));

    // One message each, so that all containers live.
    let mut warm = JoinSet::new();
    for (chat, mut replies) in chats {
        let inbox = orchestrator.inbox();
        warm.spawn(async move {
            talk(&inbox, &chat, &mut replies, 0..1, 1).await;
            (chat, replies)
        });
    }
    let chats = warm.join_all().await;
    let before = store.written();
    let processor_before = processor_ms();
    let begun = Instant::now();
    let mut talks = JoinSet::new();
    for (chat, mut replies) in chats {
        let inbox = orchestrator.inbox();
        talks.spawn(async move { talk(&inbox, &chat, &mut replies, 1..messages + 1, at_once).await });
    }
    let replies: usize = talks.join_all().await.into_iter().sum();
    let took = begun.elapsed().as_secs_f64();
    let after = store.written();
    let processor = processor_ms() - processor_before;
    running.shut_down(Duration::from_secs(10), AtShutdown::Stop).await;
    store.close().await;
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let (said, replies, writes, commits) = (
        (groups * messages) as f64,
        replies as f64,
        (after.writes - before.writes) as f64,
        (after.commits - before.commits) as f64,
    );
    Flow {
        messages_a_second: said / took,
        replies_a_second: replies / took,
        writes: writes / said,
        commits: commits / said,
        processor_ms: processor / said,
    }
}

/// What this process has used.
fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name in parentheses may have blanks; the fields after it are numbered from 3. A tick is 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    [14, 15].iter().map(|field| fields[field - 3].parse::<f64>().unwrap() * 10.0).sum()
}

/// Says messages in one chat until all are answered; how many replies that took. The agent answers a prompt, however many
/// messages are in it, by one reply, whose text says up to which message it answers.
async fn talk(
    inbox: &Inbox,
    chat: &ChatId,
    replies: &mut mpsc::UnboundedReceiver<usize>,
    numbers: std::ops::Range<usize>,
    at_once: usize,
) -> usize {
    let (mut answered, mut count) = (numbers.start, 0);
    for number in numbers.clone() {
        inbox.accept(message(chat, &number.to_string())).await.unwrap();
        while number + 1 - answered >= at_once {
            answered = replies.recv().await.unwrap() + 1;
            count += 1;
        }
    }
    while answered < numbers.end {
        answered = replies.recv().await.unwrap() + 1;
        count += 1;
    }
    count
}

/// A channel that tells each chat's talk what was sent to it.
struct Ears {
    name: ChannelName,
    ears: HashMap<ChatId, mpsc::UnboundedSender<usize>>,
}

#[async_trait]
impl Channel for Ears {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn owns(&self, chat: &ChatId) -> bool {
        self.ears.contains_key(chat)
    }

    fn capabilities(&self) -> ChannelCapabilities {
        ChannelCapabilities::default()
    }

    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let _ = self.ears[&delivery.chat].send(delivery.text.parse().unwrap_or(0));
        Ok(Sent::default())
    }
}
