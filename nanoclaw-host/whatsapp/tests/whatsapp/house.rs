//! A home with a linked account, the program on it, a fake of WhatsApp, and a host that does what the test says.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use nanoclaw_fakes::whatsapp::FakeWhatsApp;
use nanoclaw_whatsapp::store::Store;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    process::{Child, Command},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use wacore::store::{Device, traits::DeviceStore as _};

pub(crate) const FAMILY: &str = "120363000000000001@g.us";
pub(crate) const TEAM: &str = "120363000000000002@g.us";
pub(crate) const ANN: &str = FakeWhatsApp::ANN;
pub(crate) const BOB: &str = FakeWhatsApp::BOB;

const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct House {
    pub(crate) whatsapp: FakeWhatsApp,
    pub(crate) host: Host,
    pub(crate) home: tempfile::TempDir,
    program: Option<Program>,
    more: Vec<(&'static str, String)>,
}

struct Program {
    child: Child,
    log: JoinHandle<String>,
}

impl House {
    /// A linked account in the groups Family and Team, and the program connected to both sides.
    pub(crate) async fn begin() -> Self {
        let mut house = Self::quiet().await;
        house.link().await;
        house.start();
        house.ready().await;
        house
    }

    /// The same before anything is linked or started.
    pub(crate) async fn quiet() -> Self {
        let whatsapp = FakeWhatsApp::start().await.unwrap();
        whatsapp.group(FAMILY, "Family");
        whatsapp.group(TEAM, "Team");
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("store/files/arriving")).unwrap();
        let host = Host::listen(&home.path().join("store/bridge.sock"));
        Self { whatsapp, host, home, program: None, more: Vec::new() }
    }

    /// The program is told this by its environment when it starts.
    pub(crate) fn tell(&mut self, name: &'static str, value: impl ToString) {
        self.more.push((name, value.to_string()));
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.home.path().join("store/auth/whatsapp.db")
    }

    /// Waits until the key is on the disk that the first message of somebody in a group has brought, a moment after the host has the message.
    /// Without it what that person says next there has to be said again, and comes later than what is said after it.
    pub(crate) async fn key_is_kept(&self) {
        let options = SqliteConnectOptions::new().filename(self.database()).read_only(true);
        let mut connection = options.connect().await.unwrap();
        let kept = async {
            while sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sender_keys")
                .fetch_one(&mut connection)
                .await
                .unwrap()
                == 0
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, kept).await.expect("the key of a group is kept");
    }

    /// The account is linked, as somebody did it long ago.
    pub(crate) async fn link(&self) {
        let store = Store::open(&self.database()).await.unwrap();
        let mut device = Device::new();
        self.whatsapp.link(&mut device);
        device.push_name = FakeWhatsApp::BOT_NAME.to_owned();
        store.save(&device).await.unwrap();
    }

    /// WhatsApp does not know the account any more, and the program has heard that once.
    pub(crate) async fn refuse(&self) {
        Store::open(&self.database()).await.unwrap().refuse("the device was unlinked").await.unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nanoclaw-whatsapp"));
        command.args(arguments).arg("--home").arg(self.home.path());
        let url = self.whatsapp.url();
        let files = url.replace("ws://", "http://").replace("/ws/chat", "/");
        command.env("NANOCLAW_WHATSAPP_URL", url).env("NANOCLAW_WHATSAPP_MEDIA_URL", files);
        command.env_remove("JOURNAL_STREAM");
        command.env("RUST_LOG", "info,whatsapp_rust=info").envs(self.more.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Starts the program.
    pub(crate) fn start(&mut self) {
        let mut child = self.command(&["run", "--supervised"]).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = tokio::spawn(async move {
            let mut log = String::new();
            let _ = stderr.read_to_string(&mut log).await;
            log
        });
        self.program = Some(Program { child, log });
    }

    /// The program is ready for messages on both sides.
    pub(crate) async fn ready(&self) {
        let active = self.whatsapp.seen().active;
        self.whatsapp.wait_until("it is connected", |seen| seen.active >= active.max(1) && seen.keys_left > 0).await;
        self.host.heard("it is connected", |line| line["type"] == "status" && line["state"] == "connected").await;
    }

    /// Kills the program, with whatever it is doing.
    pub(crate) async fn kill(&mut self) {
        let mut program = self.program.take().unwrap();
        program.child.kill().await.unwrap();
        self.host.heard_all();
    }

    /// Sends the program a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.program.as_ref().unwrap().child.id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    pub(crate) fn close_stdin(&mut self) {
        drop(self.program.as_mut().unwrap().child.stdin.take());
    }

    /// Waits for the program's end; how it ended, and what it logged.
    pub(crate) async fn ended(&mut self) -> (ExitStatus, String) {
        let mut program = self.program.take().unwrap();
        let status = tokio::time::timeout(PATIENCE, program.child.wait()).await.expect("it does not end").unwrap();
        (status, program.log.await.unwrap())
    }

    /// Runs another command of the program to its end.
    pub(crate) async fn other(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output =
            tokio::time::timeout(PATIENCE, self.command(arguments).output()).await.expect("it does not end").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Somebody writes; what the host hears of it.
    pub(crate) async fn said(&self, chat: &str, who: &str, text: &str) -> Value {
        let id = self.whatsapp.say(chat, who, text);
        self.host.message(&id).await
    }

    /// The host has something sent; what it hears of that.
    pub(crate) async fn send(&self, line: Value) -> Value {
        let key = line["key"].clone();
        self.host.say(line);
        self.host.heard("the end of a send", |line| line["key"] == key).await
    }
}

/// A host that a test plays: it welcomes bridges, and accepts messages unless it is told not to.
pub(crate) struct Host {
    shared: Arc<Shared>,
    worker: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    lines: Vec<Value>,
    /// How many of them are looked at.
    looked_at: usize,
    connection: Option<mpsc::UnboundedSender<Value>>,
    holds: bool,
    /// The chats that are no groups.
    strangers: Vec<String>,
    /// The chats of which no message can be stored.
    full: Vec<String>,
    /// What was accepted, in its order: chat and id, each once.
    kept: Vec<(String, String)>,
}

impl Host {
    fn listen(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(Shared { state: Mutex::default(), changed: watch::Sender::new(0) });
        let state = shared.clone();
        let worker = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, &state).await;
                state.lock().connection = None;
            }
        });
        Self { shared, worker }
    }

    /// From now on messages are heard and not accepted.
    pub(crate) fn hold(&self) {
        self.shared.lock().holds = true;
    }

    /// From now on they are accepted again, and the one of this line is.
    pub(crate) fn accept(&self, message: &Value) {
        self.shared.lock().holds = false;
        self.say(accepted(message));
    }

    /// A chat is no group of the host's.
    pub(crate) fn unregister(&self, chat: &str) {
        self.shared.lock().strangers.push(chat.to_owned());
    }

    /// From now on no message of a chat can be stored.
    pub(crate) fn cannot_store(&self, chat: &str) {
        self.shared.lock().full.push(chat.to_owned());
    }

    /// From now on all can be.
    pub(crate) fn can_store(&self) {
        self.shared.lock().full.clear();
    }

    /// The ids of the messages of a chat that were accepted, in the order in which each was for the first time.
    pub(crate) fn kept(&self, chat: &str) -> Vec<String> {
        let state = self.shared.lock();
        state.kept.iter().filter(|(of, _)| of == chat).map(|(_, id)| id.clone()).collect()
    }

    pub(crate) fn say(&self, line: Value) {
        self.shared.lock().connection.as_ref().expect("a bridge is connected").send(line).unwrap();
    }

    /// The connection ends, as when the host is restarted.
    pub(crate) fn hang_up(&self) {
        self.shared.lock().connection = None;
    }

    /// The first line that is so among those that were not looked at.
    pub(crate) async fn heard(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let mut changed = self.shared.changed.subscribe();
        let waiting = async {
            loop {
                changed.borrow_and_update();
                {
                    let mut state = self.shared.lock();
                    while state.looked_at < state.lines.len() {
                        state.looked_at += 1;
                        if so(&state.lines[state.looked_at - 1]) {
                            return state.lines[state.looked_at - 1].clone();
                        }
                    }
                }
                changed.changed().await.unwrap();
            }
        };
        let heard = tokio::time::timeout(PATIENCE, waiting).await;
        heard.unwrap_or_else(|_| panic!("{what} was not heard; heard was {:#?}", self.shared.lock().lines))
    }

    /// The message of this id.
    pub(crate) async fn message(&self, id: &str) -> Value {
        self.heard("a message", |line| line["type"] == "message" && line["id"].as_str() == Some(id)).await
    }

    /// Lets be what was heard.
    pub(crate) fn heard_all(&self) {
        let mut state = self.shared.lock();
        state.looked_at = state.lines.len();
    }

    /// All lines of a kind, looked at or not.
    pub(crate) fn lines(&self, kind: &str) -> Vec<Value> {
        self.shared.lock().lines.iter().filter(|line| line["type"] == kind).cloned().collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// What a bridge is told of a message.
    fn taken(&mut self, message: &Value) -> Option<Value> {
        let text = |key: &str| message[key].as_str().unwrap().to_owned();
        let (chat, id) = (text("chat"), text("id"));
        if self.holds {
            return None;
        }
        if self.full.contains(&chat) {
            return Some(json!({"type": "error", "reason": "the disk is full", "chat": chat, "id": id, "retry": true}));
        }
        if !self.kept.iter().any(|(in_chat, kept)| *in_chat == chat && *kept == id) {
            self.kept.push((chat, id));
        }
        Some(accepted(message))
    }
}

async fn serve(stream: UnixStream, shared: &Shared) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let (strong, mut says) = mpsc::unbounded_channel::<Value>();
    let sender = strong.downgrade();
    // The only one: without it the connection ends.
    shared.lock().connection = Some(strong);
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Ok(Some(line)) = line else { return };
                let line: Value = serde_json::from_str(&line).unwrap();
                let answer = match line["type"].as_str() {
                    Some("hello") => {
                        let files = json!({"folder": "files/arriving", "max_bytes": 1 << 20, "max_per_message": 10});
                        Some(json!({"type": "welcome", "protocol": 1, "host": "a test", "max_line_bytes": 1 << 20, "files": files, "answers": ["is_registered"]}))
                    }
                    Some("message") => shared.lock().taken(&line),
                    Some("is_registered") => {
                        let registered = !shared.lock().strangers.iter().any(|chat| line["chat"] == *chat);
                        Some(json!({"type": "registered", "chat": line["chat"], "registered": registered}))
                    }
                    _ => None,
                };
                if let (Some(answer), Some(sender)) = (answer, sender.upgrade()) {
                    sender.send(answer).unwrap();
                }
                shared.lock().lines.push(line);
                shared.changed.send_modify(|count| *count += 1);
            }
            line = says.recv() => {
                let Some(line) = line else { return };
                if writer.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn accepted(message: &Value) -> Value {
    json!({"type": "accepted", "chat": message["chat"], "id": message["id"], "registered": true})
}
