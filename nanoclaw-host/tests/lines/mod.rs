//! The service's own side of a channel that is a socket of the host, by nothing but what its protocol says: a terminal, or a bridge.
//! It connects again when a connection is gone, says a message until it is accepted, shows a key once, and has faults on command.

#![allow(dead_code, reason = "each program uses its part")]

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nanoclaw_host::channels::local::wire::PROTOCOL;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::watch,
    task::JoinHandle,
};

/// How the two protocols differ, which both are lines of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Terminal,
    Bridge,
}

/// The service's end of a socket. Its worker ends when this is dropped.
pub(crate) struct Socket {
    shared: Arc<Shared>,
    worker: JoinHandle<()>,
}

struct Shared {
    path: PathBuf,
    greeting: Value,
    dialect: Dialect,
    state: Mutex<State>,
    /// Counts up when something is to be said.
    to_say: watch::Sender<u64>,
    /// Counts up when connections are to be dropped.
    drops: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    welcome: bool,
    /// How often it was.
    welcomes: usize,
    /// What was said and not accepted, by its id.
    waiting: Vec<(String, Value)>,
    last: Option<(String, Value)>,
    keys: BTreeSet<String>,
    /// Chat and text.
    shown: Vec<(String, String)>,
    failing: usize,
    losing: usize,
}

impl Socket {
    /// A terminal at `store/local.sock`. To be called within a runtime, as [`Self::bridge`].
    pub(crate) fn terminal(path: PathBuf, chat: &str) -> Self {
        let attach = json!({"type": "attach", "chat": chat, "protocol": PROTOCOL});
        Self::open(path, attach, Dialect::Terminal)
    }

    /// A bridge at `store/bridge.sock` whose chats begin with its name and `:`.
    pub(crate) fn bridge(path: PathBuf, name: &str) -> Self {
        let hello = json!({
            "type": "hello", "name": name, "prefixes": [format!("{name}:")], "capabilities": ["deduplicates", "files"],
        });
        Self::open(path, hello, Dialect::Bridge)
    }

    fn open(path: PathBuf, greeting: Value, dialect: Dialect) -> Self {
        let shared = Arc::new(Shared {
            path,
            greeting,
            dialect,
            state: Mutex::default(),
            to_say: watch::Sender::new(0),
            drops: watch::Sender::new(0),
        });
        let worker = tokio::spawn(keep_connected(shared.clone()));
        Self { shared, worker }
    }

    pub(crate) fn is_welcome(&self) -> bool {
        self.shared.state().welcome
    }

    /// On how many connections it was welcome.
    pub(crate) fn welcomes(&self) -> usize {
        self.shared.state().welcomes
    }

    /// Somebody called `name` writes. The file that comes with it is already where the host looks for it.
    pub(crate) fn say(&self, chat: &str, id: &str, name: &str, text: &str, attachments: &Value) {
        let line = match self.shared.dialect {
            Dialect::Terminal => json!({"type": "say", "id": id, "text": text, "sender_name": name}),
            Dialect::Bridge => json!({
                "type": "message", "chat": chat, "id": id, "sender": name, "sender_name": name, "text": text,
                "timestamp_ms": 1_700_000_000_000_u64, "is_group": true, "attachments": attachments,
            }),
        };
        {
            let mut state = self.shared.state();
            state.last = Some((id.to_owned(), line.clone()));
            state.waiting.push((id.to_owned(), line));
        }
        self.shared.to_say.send_modify(|count| *count += 1);
    }

    /// What was shown, oldest first, from the number `from` on: chat and text; of a file, its text and `[name: content]`.
    pub(crate) fn shown(&self, from: usize) -> Vec<(String, String)> {
        self.shared.state().shown[from..].to_vec()
    }

    /// The connection is dropped without a farewell.
    pub(crate) fn drop_connection(&self) {
        self.shared.drops.send_modify(|count| *count += 1);
    }

    /// What was said last is said once more on the next connection, and the connection is dropped.
    pub(crate) fn say_again(&self) {
        {
            let mut state = self.shared.state();
            if let Some(last) = state.last.clone().filter(|(id, _)| state.waiting.iter().all(|(other, _)| other != id))
            {
                state.waiting.insert(0, last);
            }
        }
        self.drop_connection();
    }

    /// The next `count` messages are not taken at first. For bridges; nothing fails on the way to a terminal.
    pub(crate) fn fail_next(&self, count: usize) {
        self.shared.state().failing = count;
    }

    /// The next `count` messages are shown, and their connection is dropped before that is said.
    pub(crate) fn lose_confirmations(&self, count: usize) {
        self.shared.state().losing = count;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

/// What a line makes necessary.
enum Next {
    Nothing,
    Answer(Value),
    Leave,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, line: &Value) -> Next {
        let mut state = self.state();
        match line["type"].as_str() {
            Some("attached" | "welcome") => {
                state.welcome = true;
                state.welcomes += 1;
            }
            Some("accepted") => state.waiting.retain(|(id, _)| line["id"] != **id),
            Some("reply" | "send") => return self.show(&mut state, line),
            _ => {}
        }
        Next::Nothing
    }

    fn show(&self, state: &mut State, line: &Value) -> Next {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        let (key, mut shown) = (text("key"), text("text"));
        if state.failing > 0 && self.dialect == Dialect::Bridge {
            state.failing -= 1;
            return Next::Answer(json!({"type": "failed", "key": key, "error": "try again", "retry_after_ms": 20}));
        }
        let file = if self.dialect == Dialect::Terminal { &line["file"] } else { &line["files"][0] };
        if let (Some(path), Some(name)) = (file["path"].as_str(), file["name"].as_str()) {
            let content = std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
            shown = format!("{shown} [{name}: {content}]").trim_start().to_owned();
        }
        let chat = self.greeting["chat"].as_str().map_or_else(|| text("chat"), str::to_owned);
        if state.keys.insert(key.clone()) {
            state.shown.push((chat, shown));
        }
        if state.losing > 0 {
            state.losing -= 1;
            return Next::Leave;
        }
        Next::Answer(match self.dialect {
            Dialect::Terminal => json!({"type": "shown", "key": key}),
            Dialect::Bridge => json!({"type": "sent", "key": key, "platform_id": format!("of {key}")}),
        })
    }
}

async fn keep_connected(shared: Arc<Shared>) {
    loop {
        if let Ok(stream) = UnixStream::connect(&shared.path).await {
            // However it ended, the next one takes up what this one left.
            let _ = converse(&shared, stream).await;
            shared.state().welcome = false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One connection, until one of both ends leaves.
async fn converse(shared: &Shared, stream: UnixStream) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut to_say = shared.to_say.subscribe();
    let mut drops = shared.drops.subscribe();
    write.write_all(format!("{}\n", shared.greeting).as_bytes()).await?;
    let mut said = BTreeSet::new();
    loop {
        to_say.borrow_and_update();
        let new: Vec<(String, Value)> = {
            let state = shared.state();
            let is_new = |(id, _): &&(String, Value)| state.welcome && !said.contains(id);
            state.waiting.iter().filter(is_new).cloned().collect()
        };
        for (id, line) in new {
            write.write_all(format!("{line}\n").as_bytes()).await?;
            said.insert(id);
        }
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                match shared.hear(&serde_json::from_str(&line).unwrap_or_default()) {
                    Next::Nothing => {}
                    Next::Answer(answer) => write.write_all(format!("{answer}\n").as_bytes()).await?,
                    Next::Leave => return Ok(()),
                }
            }
            _ = to_say.changed() => {}
            _ = drops.changed() => return Ok(()),
        }
    }
}
