//! Stand-ins for the rest of the host, and a plain client of its sockets.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod services;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use nanoclaw_core::{
    channel::{Channel, SendError},
    chat::{ChannelName, ChatId, ChatMetadata},
    delivery::{Answered, Delivery, DeliveryKey, OutboxId, Sent},
    message::{InboundMessage, PlatformMessageId, SenderId, Seq, Wakes},
    orchestrator::{HeardLate, Receipt},
    store::StoreError,
    time::Timestamp,
};
use nanoclaw_host::{
    channels::ports::{AnsweredSoFar, Carries, ChannelHost, Intake, Reception, Welcome},
    unix_socket,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// Long enough for anything that is going to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// An inbox in memory. Every chat is registered but those that are named otherwise.
pub(crate) struct FakeIntake {
    state: Mutex<IntakeState>,
    changed: watch::Sender<()>,
    /// While false, commits do not end.
    open: watch::Sender<bool>,
}

#[derive(Default)]
struct IntakeState {
    messages: Vec<InboundMessage>,
    seqs: HashMap<(ChatId, PlatformMessageId), Seq>,
    chats: Vec<ChatMetadata>,
    unregistered: HashSet<ChatId>,
    heard_until: HashMap<ChatId, Timestamp>,
    /// In which something was said before, the latest first.
    threads: Vec<(ChatId, PlatformMessageId)>,
    /// Of whom nothing is kept.
    dropped: HashSet<String>,
    no_wake: HashSet<ChatId>,
    failing: bool,
    fails_next: bool,
    panics_next: bool,
    /// What the owner was told.
    told: Vec<String>,
}

impl FakeIntake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: watch::Sender::new(()), open: watch::Sender::new(true) })
    }

    pub(crate) fn messages(&self) -> Vec<InboundMessage> {
        self.state.lock().unwrap().messages.clone()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.messages().into_iter().map(|message| message.text).collect()
    }

    pub(crate) fn chats(&self) -> Vec<ChatMetadata> {
        self.state.lock().unwrap().chats.clone()
    }

    /// What the owner was told, as `left CHAT: HOW` and `refused CHANNEL: REASON; REMEDY`.
    pub(crate) async fn told(&self, count: usize) -> Vec<String> {
        let mut changed = self.changed.subscribe();
        let enough = async {
            loop {
                let told = self.state.lock().unwrap().told.clone();
                if told.len() >= count {
                    return told;
                }
                changed.changed().await.unwrap();
            }
        };
        soon("a word to the owner", enough).await
    }

    fn tell(&self, word: String) {
        self.state.lock().unwrap().told.push(word);
        self.changed.send_replace(());
    }

    pub(crate) fn unregister(&self, chat: &str) {
        self.state.lock().unwrap().unregistered.insert(chat.parse().unwrap());
    }

    /// Nothing is kept of what somebody writes.
    pub(crate) fn drop_what_says(&self, sender: &str) {
        self.state.lock().unwrap().dropped.insert(sender.to_owned());
    }

    /// The chat is a group in which all came that was said until `at`.
    pub(crate) fn heard_until(&self, chat: &str, at: Timestamp) {
        self.state.lock().unwrap().heard_until.insert(chat.parse().unwrap(), at);
    }

    /// Something was said lately in a thread of the chat, and before that in those that were named before.
    pub(crate) fn heard_in_thread(&self, chat: &str, thread: &str) {
        let thread = (chat.parse().unwrap(), PlatformMessageId::new(thread).unwrap());
        self.state.lock().unwrap().threads.insert(0, thread);
    }

    pub(crate) fn wake_nobody_in(&self, chat: &str) {
        self.state.lock().unwrap().no_wake.insert(chat.parse().unwrap());
    }

    pub(crate) fn fail(&self, failing: bool) {
        self.state.lock().unwrap().failing = failing;
    }

    /// The next message cannot be stored; those after it can.
    pub(crate) fn fail_next(&self) {
        self.state.lock().unwrap().fails_next = true;
    }

    /// The next message meets a fault of ours.
    pub(crate) fn panic_next(&self) {
        self.state.lock().unwrap().panics_next = true;
    }

    pub(crate) fn hold_commits(&self, hold: bool) {
        self.open.send_replace(!hold);
    }

    pub(crate) async fn wait_for(&self, count: usize) {
        let mut changed = self.changed.subscribe();
        soon("a message", async {
            while self.state.lock().unwrap().messages.len() < count {
                changed.changed().await.unwrap();
            }
        })
        .await;
    }
}

#[async_trait]
impl Intake for FakeIntake {
    async fn accept(&self, message: InboundMessage) -> Result<Receipt, StoreError> {
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        let mut state = self.state.lock().unwrap();
        if std::mem::take(&mut state.panics_next) {
            drop(state);
            panic!("the intake was asked to panic");
        }
        if std::mem::take(&mut state.fails_next) || state.failing {
            return Err(StoreError::Failed { action: "accept a message", reason: "the disk is full".to_owned() });
        }
        if state.unregistered.contains(&message.chat) {
            return Ok(Receipt::Unregistered);
        }
        if state.dropped.contains(message.sender.as_str()) {
            return Ok(Receipt::Dropped);
        }
        let place = (message.chat.clone(), message.id.clone());
        if let Some(&seq) = state.seqs.get(&place) {
            return Ok(Receipt::Duplicate { seq });
        }
        let seq = Seq(i64::try_from(state.messages.len()).unwrap() + 1);
        let wakes = if state.no_wake.contains(&message.chat) { Wakes::No } else { Wakes::Yes };
        state.seqs.insert(place, seq);
        state.messages.push(message);
        self.changed.send_replace(());
        Ok(Receipt::Stored { seq, wakes })
    }

    async fn note_chat(&self, chat: ChatMetadata) -> Result<(), StoreError> {
        self.state.lock().unwrap().chats.push(chat);
        self.changed.send_replace(());
        Ok(())
    }

    fn called(&self, chat: &ChatId) -> Option<String> {
        (!self.state.lock().unwrap().unregistered.contains(chat)).then(|| "@Andy".to_owned())
    }

    async fn not_kept(&self, chat: &ChatId, sender: &SenderId) -> Option<&'static str> {
        let state = self.state.lock().unwrap();
        match () {
            () if state.unregistered.contains(chat) => Some("the chat was no group when it came"),
            () if state.dropped.contains(sender.as_str()) => Some("its sender was not to be heard when it came"),
            () => None,
        }
    }

    fn chats(&self) -> Vec<ChatId> {
        self.state.lock().unwrap().heard_until.keys().cloned().collect()
    }

    async fn heard_until(&self, chat: &ChatId) -> Result<Option<Timestamp>, StoreError> {
        let state = self.state.lock().unwrap();
        let said = state.messages.iter().filter(|message| message.chat == *chat).map(|message| message.sent_at).max();
        Ok(state.heard_until.get(chat).map(|at| said.map_or(*at, |said| said.max(*at))))
    }

    async fn threads_since(
        &self,
        chat: &ChatId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<PlatformMessageId>, StoreError> {
        let state = self.state.lock().unwrap();
        let said = state.messages.iter().rev().filter(|message| message.chat == *chat && message.sent_at >= since);
        let mut threads: Vec<_> = said.filter_map(|message| message.thread.clone()).collect();
        threads.extend(state.threads.iter().filter(|(of, _)| of == chat).map(|(_, thread)| thread.clone()));
        let mut known = HashSet::new();
        threads.retain(|thread| known.insert(thread.clone()));
        threads.truncate(usize::try_from(limit).unwrap());
        Ok(threads)
    }

    async fn left(&self, chat: &ChatId, how: &str, _: Timestamp) {
        self.tell(format!("left {chat}: {how}"));
    }

    async fn refused(&self, channel: &ChannelName, reason: &str, remedy: &str, _: Carries<'_>) {
        self.tell(format!("refused {channel}: {reason}; {remedy}"));
    }
}

/// Remembers which channels there are and what was called.
pub(crate) struct FakeHost {
    channels: Mutex<HashMap<ChannelName, Arc<dyn Channel>>>,
    calls: watch::Sender<Vec<String>>,
}

impl FakeHost {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { channels: Mutex::default(), calls: watch::Sender::new(Vec::new()) })
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.borrow().clone()
    }

    pub(crate) async fn wait_for(&self, call: &str, times: usize) {
        let mut calls = self.calls.subscribe();
        soon(call, calls.wait_for(|calls| calls.iter().filter(|made| *made == call).count() >= times)).await.unwrap();
    }

    pub(crate) fn channel(&self, name: &str) -> Arc<dyn Channel> {
        self.channels.lock().unwrap().get(&name.parse().unwrap()).expect("the channel was added").clone()
    }

    fn note(&self, call: &str, name: &ChannelName) {
        self.calls.send_modify(|calls| calls.push(format!("{call} {name}")));
    }
}

#[async_trait]
impl ChannelHost for FakeHost {
    fn add_channel(&self, channel: Arc<dyn Channel>) {
        let name = channel.name().clone();
        assert!(self.channels.lock().unwrap().insert(name.clone(), channel).is_none(), "{name} was there already");
        self.note("add", &name);
    }

    fn remove_channel(&self, name: &ChannelName) {
        assert!(self.channels.lock().unwrap().remove(name).is_some(), "{name} was not there");
        self.note("remove", name);
    }

    fn channel_connected(&self, name: &ChannelName) {
        self.note("connected", name);
    }

    async fn heard_late(
        &self,
        name: &ChannelName,
        key: &DeliveryKey,
        word: Result<Sent, SendError>,
    ) -> Result<HeardLate, StoreError> {
        let word = match word {
            Ok(sent) => format!("sent {}", sent.platform_id.map(|id| id.to_string()).unwrap_or_default()),
            Err(error) => format!("failed {error}"),
        };
        self.note(&format!("late {key} {word} by"), name);
        Ok(HeardLate::Taken)
    }
}

/// Tells terminals what the test says.
pub(crate) struct FakeReception {
    pub(crate) welcome: Mutex<Welcome>,
    pub(crate) answered: Mutex<AnsweredSoFar>,
    /// Whether the next question meets a fault of ours.
    pub(crate) panics_next: AtomicBool,
}

impl FakeReception {
    pub(crate) fn new() -> Arc<Self> {
        let welcome = Welcome { assistant: "Andy".to_owned(), registered: true, hint: None };
        let answered = AnsweredSoFar { through: Seq::ZERO, unshown: None };
        Arc::new(Self {
            welcome: Mutex::new(welcome),
            answered: Mutex::new(answered),
            panics_next: AtomicBool::new(false),
        })
    }
}

#[async_trait]
impl Reception for FakeReception {
    async fn welcome(&self, _chat: &ChatId) -> Result<Welcome, StoreError> {
        Ok(self.welcome.lock().unwrap().clone())
    }

    async fn answered(&self, _chat: &ChatId) -> Result<AnsweredSoFar, StoreError> {
        assert!(!self.panics_next.swap(false, Ordering::SeqCst), "the reception was asked to panic");
        Ok(*self.answered.lock().unwrap())
    }
}

/// Says and hears lines, and knows nothing of the protocol.
pub(crate) struct Client {
    pub(crate) reader: Lines<BufReader<OwnedReadHalf>>,
    pub(crate) writer: OwnedWriteHalf,
}

impl Client {
    pub(crate) async fn connect(path: &Path) -> Self {
        Self::over(unix_socket::connect(path).await.unwrap())
    }

    pub(crate) fn over(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader).lines(), writer }
    }

    pub(crate) async fn say(&mut self, line: Value) {
        self.say_raw(format!("{line}\n").as_bytes()).await;
    }

    pub(crate) async fn say_raw(&mut self, bytes: &[u8]) {
        soon("a write", self.writer.write_all(bytes)).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Value {
        self.hear_end().await.expect("the connection is open")
    }

    /// The next line, or `None` at the end.
    pub(crate) async fn hear_end(&mut self) -> Option<Value> {
        let line = soon("a line", self.reader.next_line()).await.ok().flatten()?;
        Some(serde_json::from_str(&line).unwrap())
    }
}

pub(crate) fn delivery(number: i64, chat: &str, text: &str) -> Delivery {
    Delivery {
        id: OutboxId(number),
        key: DeliveryKey::new(format!("reply/family/1/{number}")).unwrap(),
        chat: chat.parse().unwrap(),
        text: text.to_owned(),
        file: None,
        answered: Answered::default(),
        attempts: 0,
        posted_at: Timestamp::now(),
    }
}
