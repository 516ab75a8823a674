//! The connection to WhatsApp: made by the library, again and again, and what ends it for good or for long.

use std::{sync::Arc, time::Duration};

use reqwest::Url;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use wacore::{
    stanza::groups::{GroupNotificationAction, GroupParticipantInfo},
    store::DevicePropsOverride,
    types::events::{ConnectFailureReason, Event, EventHandler, GroupUpdate, InboundMessage},
};
use wacore_binary::NodeRef;
use whatsapp_rust::{
    Client,
    bot::{Bot, BotBuilder, BotHandle, Provided},
    types::durability_hook::InboundDurabilityHook,
};

use super::{
    http::Http,
    meaning::Me,
    receive::{Receiver, me},
    send::{Line, Sender, Words},
    transport::Sockets,
};
use crate::{
    STEPS,
    bridge::{
        Bridge, Wanted,
        wire::{Chat, State, Status, ToHost},
    },
    panics::caught,
    store::Store,
};

/// What a person does when WhatsApp does not know the account any more.
pub const LINK: &str = "nanoclaw channels link whatsapp";

/// How long the end may take: what is being sent, and what the library has to write.
const LONGEST_END: Duration = Duration::from_secs(10);
/// How long until it is tried again when WhatsApp wants a newer program, or refuses us for no reason that is known.
const REFUSED_WAIT: Duration = Duration::from_secs(10 * 60);
/// The longest wait after another login took this one's place.
const LONGEST_REPLACED_WAIT: Duration = Duration::from_secs(10 * 60);

/// How WhatsApp is reached.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Its WebSocket; `None`: the real one.
    pub url: Option<Url>,
    /// Where all HTTP requests go instead of where they are addressed to; `None`: there.
    pub media_url: Option<Url>,
    /// The version of WhatsApp's own program that we say we are; `None`: the current one is asked for.
    pub version: Option<(u32, u32, u32)>,
    /// The shortest wait after another login took this one's place.
    pub replaced_wait: Duration,
    /// How long the host may need for a message before other chats go on without that one's. Half of the shortest time between connections
    /// that are made anew to get what was refused meanwhile.
    pub patience: Duration,
}

impl Default for Reach {
    fn default() -> Self {
        let wait = Duration::from_secs(30);
        Self { url: None, media_url: None, version: None, replaced_wait: wait, patience: wait }
    }
}

impl Reach {
    /// The beginning of every client: the account in `store`, and the way to WhatsApp.
    ///
    /// # Errors
    /// When TLS cannot be had.
    pub fn client(&self, store: &Store) -> anyhow::Result<BotBuilder<Provided, Provided, Provided, Provided>> {
        let bot = Bot::builder()
            .with_backend(store.clone())
            .with_transport_factory(Sockets::to(self.url.as_ref())?)
            .with_http_client(Http::new(self.media_url.clone())?)
            .with_device_props(DevicePropsOverride::new().with_os("NanoClaw"))
            .skip_history_sync();
        Ok(match self.version {
            Some(version) => bot.with_version(version),
            None => bot,
        })
    }
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to.
    Stopped,
    /// WhatsApp does not know the account any more, and why. The store says so from now on.
    LoggedOut(String),
}

/// What happened on a connection, as far as it decides how things go on.
#[derive(Debug)]
enum Heard {
    Connected,
    Disconnected(String),
    Group(Box<GroupUpdate>),
    /// A message that does not come by the way on which it would be acknowledged.
    Apart(Box<InboundMessage>),
    End(End),
}

/// Why the library does not connect again by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    LoggedOut(String),
    Replaced,
    Refused { reason: String, remedy: String, wait: Duration },
}

/// Keeps the account in `store` connected and hands what it hears to the host, until `stop` is cancelled or WhatsApp does not know the account
/// any more.
///
/// # Errors
/// When the client cannot be made, or the store fails.
pub async fn run(
    store: &Store,
    reach: &Reach,
    bridge: &Bridge,
    wanted: mpsc::UnboundedReceiver<Wanted>,
    stop: &CancellationToken,
) -> anyhow::Result<Ending> {
    let (line, lines) = watch::channel(None);
    let words = Words::default();
    let receiver = Receiver::new(bridge.clone(), store.clone(), reach.patience, stop.clone());
    let sender = Sender::new(lines.clone(), words.clone(), store.clone());
    let outgoing = tokio::spawn(serve_host(wanted, sender, lines, bridge.clone(), stop.clone()));
    let session = Session { store, reach, bridge, receiver, line, words, stop };
    let ending = session.keep().await;
    stop.cancel();
    // It ends by the token within its own limit, or has panicked, which was told then.
    let _ = outgoing.await;
    ending
}

struct Session<'a> {
    store: &'a Store,
    reach: &'a Reach,
    bridge: &'a Bridge,
    receiver: Receiver,
    line: watch::Sender<Option<Line>>,
    words: Words,
    stop: &'a CancellationToken,
}

impl Session<'_> {
    async fn keep(&self) -> anyhow::Result<Ending> {
        let mut replaced_wait = self.reach.replaced_wait;
        loop {
            self.connecting(None);
            let end = self.one().await;
            self.receiver.end().await;
            let Some(end) = end? else { return Ok(Ending::Stopped) };
            let wait = match end {
                End::LoggedOut(reason) => {
                    tracing::error!(reason, remedy = LINK, "WhatsApp does not know this account any more");
                    self.store.refuse(&reason).await?;
                    return Ok(Ending::LoggedOut(reason));
                }
                End::Replaced => {
                    let wait = replaced_wait;
                    replaced_wait = (wait * 2).min(LONGEST_REPLACED_WAIT.max(wait));
                    let reason = format!(
                        "another program uses the same linked device at the same time; trying again in {} s",
                        wait.as_secs()
                    );
                    tracing::warn!(reason, "WhatsApp closed the connection");
                    self.connecting(Some(reason));
                    wait
                }
                End::Refused { reason, remedy, wait } => {
                    tracing::error!(reason, remedy, again_in = ?wait, "WhatsApp refuses the connection");
                    let (reason, remedy) = (Some(reason), Some(remedy));
                    self.bridge.status(Status { state: State::Refused, reason, remedy });
                    wait
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return Ok(Ending::Stopped),
            }
        }
    }

    /// Connects, again after breaks, until the library gives up, and says why; `None`: until the stop.
    async fn one(&self) -> anyhow::Result<Option<End>> {
        let (events, mut heard) = mpsc::unbounded_channel();
        let bot = self.reach.client(self.store)?;
        let bot = bot.with_inbound_durability_hook(self.receiver.clone());
        let events = Events { words: self.words.clone(), receiver: self.receiver.clone(), heard: events };
        let bot = bot.with_event_handler(events).build().await?;
        let client = bot.client();
        // Every line of WhatsApp's is told then, which costs a little.
        let _lines =
            tracing::enabled!(target: STEPS, tracing::Level::DEBUG).then(|| client.acquire_raw_node_forwarding());
        let mut handle = bot.spawn();
        // What goes beside the connection ends with it.
        let mut beside = JoinSet::new();
        let (mut end, mut not_before) = (None, Instant::now());
        loop {
            tokio::select! {
                Some(heard) = heard.recv() => end = self.hear(heard, &client, &mut beside).or(end),
                () = &mut handle => break,
                Some(_) = beside.join_next() => {}
                () = self.receiver.wants_connection(not_before) => {
                    self.connect_anew(&client).await;
                    not_before = Instant::now() + self.reach.patience * 2;
                }
                () = self.stop.cancelled() => {
                    self.line.send_replace(None);
                    shut_down(handle).await;
                    return Ok(None);
                }
            }
        }
        self.line.send_replace(None);
        while let Ok(heard) = heard.try_recv() {
            end = self.hear(heard, &client, &mut beside).or(end);
        }
        self.line.send_replace(None);
        // The library's end does not write all that it has in mind.
        shut_down_client(&client).await;
        let unknown = || End::Refused {
            reason: "WhatsApp closed the connection for no reason that it tells".to_owned(),
            remedy: "see the log".to_owned(),
            wait: REFUSED_WAIT,
        };
        Ok(Some(end.unwrap_or_else(unknown)))
    }

    fn hear(&self, heard: Heard, client: &Arc<Client>, beside: &mut JoinSet<()>) -> Option<End> {
        match heard {
            Heard::Connected => {
                tracing::info!("connected to WhatsApp");
                self.line.send_replace(Some(Line(client.clone())));
                self.bridge.status(Status { state: State::Connected, reason: None, remedy: None });
                let (client, bridge) = (client.clone(), self.bridge.clone());
                beside.spawn(async move { find_chats(&client, &bridge).await });
            }
            Heard::Disconnected(reason) => {
                tracing::warn!(reason, "the connection to WhatsApp is lost");
                self.line.send_replace(None);
                self.connecting(Some(reason));
            }
            Heard::Group(update) => match change_of(&update, &me(client)) {
                None => {}
                Some(Change::Known(chat)) => {
                    if chat.left {
                        tracing::warn!(chat = chat.chat, "this account is not in a group of WhatsApp's any more");
                    }
                    self.bridge.chat(chat);
                }
                Some(Change::New) => {
                    let (client, bridge) = (client.clone(), self.bridge.clone());
                    beside.spawn(async move { find_chats(&client, &bridge).await });
                }
            },
            Heard::Apart(item) => {
                let (receiver, client) = (self.receiver.clone(), client.clone());
                beside.spawn(async move { receiver.take(&client, &item).await });
            }
            Heard::End(end) => return Some(end),
        }
        None
    }

    /// Ends the connection and has the library make another at once: on that comes what was refused on this one.
    async fn connect_anew(&self, client: &Arc<Client>) {
        let reason = "the host can store again what it could not; WhatsApp is asked for that".to_owned();
        tracing::info!(reason, "the connection to WhatsApp is made anew");
        self.line.send_replace(None);
        self.connecting(Some(reason));
        client.reconnect_immediately().await;
        self.receiver.connection_ended();
    }

    fn connecting(&self, reason: Option<String>) {
        self.bridge.status(Status { state: State::Connecting, reason, remedy: None });
    }
}

/// What the host is told of an account that WhatsApp does not know any more.
#[must_use]
pub fn logged_out(reason: &str) -> Status {
    // Read in a chat as well.
    let remedy = format!("`{LINK}`, on the machine that the assistant runs on, links it again");
    Status { state: State::Refused, reason: Some(reason.to_owned()), remedy: Some(remedy) }
}

/// Has the library write what it has in mind, and close.
pub async fn shut_down(handle: BotHandle) {
    if tokio::time::timeout(LONGEST_END, handle.shutdown()).await.is_err() {
        tracing::warn!("the connection to WhatsApp did not end in time");
    }
}

async fn shut_down_client(client: &Arc<Client>) {
    if tokio::time::timeout(LONGEST_END, client.disconnect()).await.is_err() {
        tracing::warn!("the connection to WhatsApp did not end in time");
    }
}

/// Does what the host wants, until the stop; what is being sent then is seen to its end, if that comes soon.
async fn serve_host(
    mut wanted: mpsc::UnboundedReceiver<Wanted>,
    sender: Sender,
    line: watch::Receiver<Option<Line>>,
    bridge: Bridge,
    stop: CancellationToken,
) {
    let mut work = JoinSet::new();
    loop {
        let wanted = tokio::select! {
            Some(wanted) = wanted.recv() => wanted,
            Some(done) = work.join_next() => {
                if let Err(error) = done {
                    tracing::error!(%error, "something that the host wanted failed");
                }
                continue;
            }
            () = stop.cancelled() => break,
        };
        let (sender, bridge) = (sender.clone(), bridge.clone());
        match wanted {
            Wanted::Send(send) => drop(work.spawn(async move {
                let line = caught(sender.send(&send)).await.unwrap_or_else(|error| {
                    tracing::error!(key = send.key, error, "a message could not be sent, by a fault of this program");
                    ToHost::Failed { key: send.key.clone(), error, retry_after_ms: None, permanent: false }
                });
                bridge.settled(&send.key, line);
            })),
            Wanted::Typing { chat, on } => drop(work.spawn(async move { sender.typing(&chat, on).await })),
            Wanted::FindChats => {
                let connected = line.borrow().clone();
                if let Some(Line(client)) = connected {
                    work.spawn(async move { find_chats(&client, &bridge).await });
                }
            }
        }
    }
    let rest = async { while work.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), rest).await;
}

/// Tells the host the groups that this account is in. Best effort.
async fn find_chats(client: &Client, bridge: &Bridge) {
    match client.groups().get_participating().await {
        Ok(groups) => {
            for (jid, group) in groups {
                let name = Some(group.subject).filter(|name| !name.trim().is_empty());
                bridge.chat(Chat::known(jid.to_non_ad_string(), name, true));
            }
        }
        Err(error) => tracing::warn!(%error, "WhatsApp did not tell which groups there are"),
    }
}

/// What a change of a group means.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// This is known of it now.
    Known(Chat),
    /// This account was let in; its name is to be asked for.
    New,
}

fn change_of(update: &GroupUpdate, me: &Me) -> Option<Change> {
    let ours = |people: &[GroupParticipantInfo]| {
        people.iter().any(|one| me.is(&one.jid) || one.phone_number.as_ref().is_some_and(|phone| me.is(phone)))
    };
    let chat = update.group_jid.to_non_ad_string();
    let left = |reason| {
        let (reason, timestamp_ms) = (Some(reason), Some(update.timestamp.timestamp_millis().max(0)));
        Change::Known(Chat { chat: chat.clone(), name: None, is_group: true, left: true, reason, timestamp_ms })
    };
    Some(match &update.action {
        GroupNotificationAction::Subject { subject, .. } => {
            Change::Known(Chat::known(chat, Some(subject.clone()), true))
        }
        GroupNotificationAction::Remove { participants, .. } if ours(participants) => {
            left("the assistant's account was removed from it")
        }
        GroupNotificationAction::Delete { .. } => left("it was deleted"),
        GroupNotificationAction::Add { participants, .. } if ours(participants) => Change::New,
        GroupNotificationAction::Create { .. } => Change::New,
        _ => return None,
    })
}

/// Hears what the library tells, in its order.
struct Events {
    words: Words,
    receiver: Receiver,
    heard: mpsc::UnboundedSender<Heard>,
}

impl EventHandler for Events {
    fn handle_event(&self, event: Arc<Event>) {
        let heard = match &*event {
            Event::ServerAck(ack) => {
                if ack.class.as_deref().is_none_or(|class| class == "message") {
                    self.words.heard(&ack.id, ack.error.clone());
                }
                return;
            }
            Event::RawNode(node) => {
                if let Some((chat, id)) = message_in(node.get()) {
                    tracing::debug!(target: STEPS, chat, id, "seen");
                }
                return;
            }
            Event::Connected(_) => Heard::Connected,
            Event::Disconnected(ended) => {
                self.receiver.connection_ended();
                Heard::Disconnected(ended.reason.to_string())
            }
            Event::OfflineSyncCompleted(_) => {
                self.receiver.all_came();
                return;
            }
            Event::GroupUpdate(update) => Heard::Group(Box::new(update.clone())),
            Event::Messages(batch) => {
                for item in batch.iter().filter(|item| item.info.unavailable_request_id.is_some()) {
                    let _ = self.heard.send(Heard::Apart(Box::new(item.clone())));
                }
                return;
            }
            Event::UndecryptableMessage(lost) => {
                // WhatsApp is asked for it again by the library.
                tracing::warn!(id = lost.info.id, chat = %lost.info.source.chat, "a message could not be decrypted");
                return;
            }
            event => match end_of(event) {
                Some(end) => Heard::End(end),
                None => return,
            },
        };
        // Nobody listens any more at the end only.
        let _ = self.heard.send(heard);
    }
}

/// The chat and the id of the message that a line of WhatsApp's is; `None`: it is something else.
fn message_in(line: &NodeRef<'_>) -> Option<(String, String)> {
    let attribute = |name: &str| Some(line.get_attr(name)?.as_str().into_owned());
    if line.tag != "message" { None } else { Some((attribute("from")?, attribute("id")?)) }
}

/// What an event means, if it is one after which the library does not connect again.
fn end_of(event: &Event) -> Option<End> {
    let refused = |reason: String, remedy: &str, wait| End::Refused { reason, remedy: remedy.to_owned(), wait };
    Some(match event {
        Event::LoggedOut(told) => End::LoggedOut(match told.reason {
            ConnectFailureReason::AccountLocked => "WhatsApp has locked the account".to_owned(),
            _ => "the device was unlinked".to_owned(),
        }),
        Event::StreamReplaced(_) => End::Replaced,
        Event::TemporaryBan(ban) => {
            let wait = ban.expire.to_std().unwrap_or(REFUSED_WAIT).max(Duration::from_secs(1));
            let reason = format!("WhatsApp bans this number for {} ({})", for_people(wait), ban.code);
            refused(reason, "wait until the ban ends; write less, and not to people who do not know the number", wait)
        }
        Event::ClientOutdated(_) => {
            let reason = "WhatsApp wants a newer program".to_owned();
            refused(reason, "update NanoClaw", REFUSED_WAIT)
        }
        Event::ConnectFailure(failure) if !failure.reason.should_reconnect() => {
            let said = failure.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
            let reason = format!("WhatsApp refuses the login (code {}{said})", failure.reason.code());
            refused(reason, &format!("look at the account on the phone; then perhaps `{LINK}`"), REFUSED_WAIT)
        }
        _ => return None,
    })
}

fn for_people(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} minutes", seconds.div_ceil(60)),
        seconds => format!("{} hours", seconds.div_ceil(3600)),
    }
}

/// Takes no message, so that what comes while nobody can take it comes again.
#[derive(Debug, Clone, Copy)]
pub struct NotNow;

#[async_trait::async_trait]
impl InboundDurabilityHook for NotNow {
    async fn on_messages(&self, _client: Arc<Client>, _batch: &[InboundMessage]) -> anyhow::Result<()> {
        anyhow::bail!("messages are taken by `nanoclaw-whatsapp run` alone; they come again there")
    }
}
