//! Our side of the bridge protocol: the connection to the host, made again and again for ever. What is said and when is decided by
//! the [`desk`]; here are the socket and the waiting.

pub mod desk;
pub mod wire;

use std::{
    collections::HashMap,
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::{Notify, mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;

use self::{
    desk::{Act, Desk, Taken, Ticket},
    wire::{Chat, FilesTaken, FromHost, Message, Send, Status, ToHost, to_line},
};

const HELLO: ToHost = ToHost::Hello {
    name: "whatsapp",
    suffixes: &["@g.us", "@s.whatsapp.net", "@lid"],
    capabilities: &["deduplicates", "typing", "files"],
    protocol: 1,
};

/// The waits before the connection is made again: the first, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// How long until the host is told again what it could not store.
const AGAIN: Duration = Duration::from_secs(2);
/// How long the host may read nothing; then the connection is made anew.
const STALL: Duration = Duration::from_secs(30);

/// What the host wants of whoever speaks to WhatsApp.
#[derive(Debug)]
pub enum Wanted {
    /// Send this, then say how it ended with [`Bridge::settled`].
    Send(Send),
    /// Show that the assistant is typing, or not any more. Best effort.
    Typing {
        /// Where.
        chat: String,
        /// Whether it is.
        on: bool,
    },
    /// Find out which chats there are and [note](Bridge::chat) them.
    FindChats,
}

/// A handle to the host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bridge(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `store/bridge.sock`.
    socket: PathBuf,
    state: Mutex<State>,
    /// There is something to say.
    news: Notify,
    /// Whether the host was ever there, and where it wants files.
    files: watch::Sender<Option<Option<FilesTaken>>>,
    wanted: mpsc::UnboundedSender<Wanted>,
}

#[derive(Debug, Default)]
struct State {
    desk: Desk,
    waiting: HashMap<Ticket, oneshot::Sender<Taken>>,
    asking: HashMap<Ticket, oneshot::Sender<bool>>,
    /// What is to be said on this connection.
    lines: std::collections::VecDeque<String>,
    say_again: bool,
    close: Option<String>,
}

impl Bridge {
    /// A handle to the host that has its socket at `socket`, and what the host wants. Nothing happens before [`run`](Self::run).
    ///
    /// What is wanted is not bounded here: the host has at most one message of a chat on its way.
    #[must_use]
    pub fn new(socket: PathBuf) -> (Self, mpsc::UnboundedReceiver<Wanted>) {
        let (wanted, receiver) = mpsc::unbounded_channel();
        let files = watch::Sender::new(None);
        let shared = Shared { socket, state: Mutex::default(), news: Notify::new(), files, wanted };
        (Self(Arc::new(shared)), receiver)
    }

    /// Says a message, after each break again, until the host has decided on it. Without anybody to wait for that it is not said again.
    pub async fn message(&self, message: Message) -> Taken {
        let (sender, taken) = oneshot::channel();
        let ticket = {
            let mut state = self.state();
            let (ticket, acts) = state.desk.message(message);
            state.waiting.insert(ticket, sender);
            self.act(&mut state, acts);
            ticket
        };
        // Also when whoever asked is gone.
        let _forget = Forget { bridge: self, ticket };
        // The sender is there until the ticket is forgotten.
        taken.await.unwrap_or_else(|_| Taken::Refused("it was given up".to_owned()))
    }

    /// Whether a chat is a group of the host's, as soon as that is there to tell.
    pub async fn is_registered(&self, chat: String) -> bool {
        let (sender, answer) = oneshot::channel();
        let ticket = {
            let mut state = self.state();
            let (ticket, acts) = state.desk.is_registered(chat);
            state.asking.insert(ticket, sender);
            self.act(&mut state, acts);
            ticket
        };
        let _forget = Forget { bridge: self, ticket };
        // The sender is there until the ticket is forgotten.
        answer.await.unwrap_or(true)
    }

    /// Says what is known of a chat.
    pub fn chat(&self, chat: Chat) {
        self.decide(|desk| desk.chat(chat));
    }

    /// Says how the connection to WhatsApp stands.
    pub fn status(&self, status: Status) {
        self.decide(|desk| desk.status(status));
    }

    /// Says how a send ended.
    pub fn settled(&self, key: &str, line: ToHost) {
        self.decide(|desk| desk.settled(key, line));
    }

    /// Where the host takes files, as a full path, and how large; `None`: it takes none. Waits until the host was there once.
    pub async fn files(&self) -> Option<(PathBuf, u64)> {
        let mut files = self.0.files.subscribe();
        let files = files.wait_for(Option::is_some).await.ok()?.clone()??;
        let store = self.0.socket.parent()?;
        Some((store.join(files.folder), files.max_bytes))
    }

    /// Whether the host is there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state().desk.is_connected()
    }

    /// Keeps the connection until `stop` is cancelled; then what is to be said is said, if the host reads it soon.
    pub async fn run(&self, stop: CancellationToken) {
        let mut wait = FIRST_WAIT;
        loop {
            let ended = self.serve(&stop, &mut wait).await;
            self.lost();
            if stop.is_cancelled() {
                return;
            }
            tracing::info!(ended = %ended, again_in = ?wait, "there is no connection to the host");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One connection from hello to its end; says why it ended.
    async fn serve(&self, stop: &CancellationToken, wait: &mut Duration) -> String {
        let stream = tokio::select! {
            stream = connect(&self.0.socket) => stream,
            () = stop.cancelled() => return String::new(),
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => return format!("{}: {error}", self.0.socket.display()),
        };
        let (reader, writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        let writing = self.write(writer, stop);
        tokio::pin!(writing);
        let mut again = std::pin::pin!(None::<tokio::time::Sleep>);
        loop {
            if std::mem::take(&mut self.state().say_again) && again.is_none() {
                again.set(Some(tokio::time::sleep(AGAIN)));
            }
            let due = async {
                match again.as_mut().as_pin_mut() {
                    Some(sleep) => sleep.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                line = lines.next_line() => match line {
                    Ok(Some(line)) => {
                        self.hear(&line);
                        if self.is_connected() {
                            *wait = FIRST_WAIT;
                        }
                        if let Some(reason) = self.state().close.take() {
                            return format!("the host does not take us: {reason}");
                        }
                    }
                    Ok(None) => return "the host closed it".to_owned(),
                    Err(error) => return error.to_string(),
                },
                ended = &mut writing => return ended.err().map(|error| error.to_string()).unwrap_or_default(),
                () = due => {
                    again.set(None);
                    self.decide(Desk::say_again);
                }
            }
        }
    }

    /// Writes what is to be said; at the stop what is left.
    async fn write(&self, mut writer: tokio::net::unix::OwnedWriteHalf, stop: &CancellationToken) -> io::Result<()> {
        let mut next = Some(to_line(&HELLO));
        loop {
            while let Some(line) = next.take().or_else(|| self.state().lines.pop_front()) {
                let written = tokio::time::timeout(STALL, writer.write_all(line.as_bytes())).await;
                written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the host reads nothing"))??;
            }
            if stop.is_cancelled() {
                return writer.shutdown().await;
            }
            tokio::select! {
                () = self.0.news.notified() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn hear(&self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let heard = match serde_json::from_str(line) {
            Ok(heard) => heard,
            Err(error) => {
                tracing::warn!(%error, "the host said something that cannot be read");
                return;
            }
        };
        let welcome = matches!(heard, FromHost::Welcome { .. });
        self.decide(|desk| desk.heard(heard));
        if welcome {
            tracing::info!("connected to the host");
            let files = self.state().desk.files().cloned();
            self.0.files.send_replace(Some(files));
        }
    }

    fn lost(&self) {
        let mut state = self.state();
        state.desk.lost();
        state.lines.clear();
    }

    fn decide(&self, decide: impl FnOnce(&mut Desk) -> Vec<Act>) {
        let mut state = self.state();
        let acts = decide(&mut state.desk);
        self.act(&mut state, acts);
    }

    fn act(&self, state: &mut State, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Say(line) => state.lines.push_back(to_line(&line)),
                Act::Tell(ticket, taken) => {
                    if let Some(waiting) = state.waiting.remove(&ticket) {
                        let _ = waiting.send(taken);
                    }
                }
                Act::Answer(ticket, registered) => {
                    if let Some(asking) = state.asking.remove(&ticket) {
                        let _ = asking.send(registered);
                    }
                }
                // Nobody listens any more at the end only.
                Act::Send(send) => drop(self.0.wanted.send(Wanted::Send(send))),
                Act::Typing { chat, on } => drop(self.0.wanted.send(Wanted::Typing { chat, on })),
                Act::FindChats => drop(self.0.wanted.send(Wanted::FindChats)),
                Act::SayAgainLater => state.say_again = true,
                Act::Close(reason) => state.close = Some(reason),
            }
        }
        self.0.news.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole, so a panic elsewhere leaves it right.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody waits for a word on this any more.
struct Forget<'a> {
    bridge: &'a Bridge,
    ticket: Ticket,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut state = self.bridge.state();
        state.desk.forget(self.ticket);
        state.waiting.remove(&self.ticket);
        state.asking.remove(&self.ticket);
    }
}

/// Connects to the socket at `path`, whatever its length: the kernel takes at most 107 bytes, so it is found through its folder.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = std::fs::File::open(folder)?;
    UnixStream::connect(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name)).await
}
