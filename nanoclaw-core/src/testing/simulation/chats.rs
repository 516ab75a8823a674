//! The chat service and the people on it: what they write is handed in until it is acknowledged, and what they see is
//! remembered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{
    plan::{Calls, GroupPlan},
    world::{CallFaults, Host, NOT_DONE, World, lock},
};
use crate::{
    attachment::{Attachment, Fetched, SpoolName, SpooledFile},
    channel::{Channel, ChannelCapabilities, Repeat, SendError, Typing},
    chat::{ChannelName, ChatId},
    delivery::{Delivery, DeliveryKey, Sent},
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    message::{Author, InboundMessage, PlatformMessageId, SenderId, Seq, Wakes},
    orchestrator::{Inbox, Orchestrator, Receipt, WhenUnknown},
    run::{RunId, TaskId},
    store::{DeliveryState, Store},
    tasks::FiringId,
    testing::MemoryStore,
    time::Timestamp,
};

/// A message as a person wrote it; the number is in its text, and an answer to it has the number in its own.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) chat: ChatId,
    pub(super) wakes: Wakes,
    /// Whether it is stored, as its service was told.
    pub(super) accepted: bool,
    /// Its service was told that the chat is no group.
    pub(super) refused: bool,
}

/// What a person sees.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) key: DeliveryKey,
    pub(super) text: String,
}

/// What a host was last told of a message that it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing yet.
    Nothing,
    Sent,
    NotSent,
    /// That nobody knows.
    Unknown,
    /// That the service has forgotten what was sent.
    Forgotten,
}

/// How a message was sent.
#[derive(Debug, Clone, Default)]
pub(super) struct SendLog {
    /// How often people saw it.
    pub(super) shown: u32,
    /// How often it was sent when it might have been shown and its chat cannot tell.
    pub(super) in_doubt: u32,
    /// By which host it was sent last, and what that was told.
    pub(super) last: Option<(u32, Told)>,
}

/// Whether a chat is a group, as its operators know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Membership {
    pub(super) state: Member,
    pub(super) changes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Member {
    #[default]
    In,
    /// Somebody adds or removes it.
    Changing,
    Out,
}

/// What was written and shown in all chats, and what else the checks must know. It survives hosts.
#[derive(Debug, Clone, Default)]
pub(super) struct ChatLog {
    pub(super) written: BTreeMap<u64, Written>,
    /// In the order in which it was shown.
    pub(super) shown: BTreeMap<ChatId, Vec<Shown>>,
    pub(super) sends: BTreeMap<DeliveryKey, SendLog>,
    /// Messages that were asked for by file, with whether the agent was told that it is done.
    pub(super) requested: BTreeMap<String, bool>,
    pub(super) members: BTreeMap<ChatId, Membership>,
    /// Messages that were left behind by removals: beyond the first, up to the second, which is the cursor of the group when
    /// it was added again.
    pub(super) left: BTreeMap<GroupFolder, Vec<(Seq, Option<Seq>)>>,
    /// Which groups are frozen, by which host, since when.
    pub(super) frozen: BTreeMap<GroupFolder, (u32, Duration)>,
    /// What a run was silent about on purpose.
    pub(super) silenced: BTreeSet<(u64, RunId)>,
    /// What an agent of v1 took while its host had still to read that it is done with what it had before.
    pub(super) hasty: BTreeSet<(u64, RunId)>,
    /// The last block of a run that is committed.
    pub(super) committed: BTreeMap<RunId, u32>,
    /// At which firing a run of a task is, or was.
    pub(super) begun: BTreeMap<RunId, FiringId>,
    /// The ids of the tasks that were asked for, by their places in the plan.
    pub(super) tasks: BTreeMap<usize, TaskId>,
    /// Promises whose breach was seen when it happened.
    pub(super) broken: Vec<String>,
}

impl ChatLog {
    fn show(&mut self, delivery: &Delivery) {
        self.sends.entry(delivery.key.clone()).or_default().shown += 1;
        let shown = Shown { key: delivery.key.clone(), text: delivery.text.clone() };
        self.shown.entry(delivery.chat.clone()).or_default().push(shown);
    }

    pub(super) fn was_shown(&self, key: &DeliveryKey) -> bool {
        self.sends.get(key).is_some_and(|log| log.shown > 0)
    }

    pub(super) fn member(&self, chat: &ChatId) -> Membership {
        self.members.get(chat).copied().unwrap_or_default()
    }

    pub(super) fn set_member(&mut self, chat: &ChatId, state: Member) {
        let member = self.members.entry(chat.clone()).or_default();
        (member.state, member.changes) = (state, member.changes + 1);
    }

    /// The messages whose fate their services do not know yet.
    pub(super) fn not_taken(&self) -> Vec<u64> {
        let not_taken = self.written.iter().filter(|(_, written)| !written.accepted && !written.refused);
        not_taken.map(|(number, _)| *number).collect()
    }
}

/// Whether it is the host itself that speaks.
pub(super) fn is_of_host(key: &DeliveryKey) -> bool {
    key.is_alert() || gave_up_through(key).is_some()
}

/// The numbers of messages in a prompt or an answer: `[7]`.
pub(super) fn numbers_in(text: &str) -> Vec<u64> {
    text.split('[').filter_map(|part| part.split_once(']')?.0.parse().ok()).collect()
}

pub(super) fn text_of(number: u64) -> String {
    format!("[{number}]")
}

/// The place up to which a notice gives messages up, when the key is of one.
pub(super) fn gave_up_through(key: &DeliveryKey) -> Option<Seq> {
    let rest = key.as_str().strip_prefix("gave-up/")?;
    rest.rsplit('/').next()?.parse().ok().map(Seq)
}

/// The group of a plan.
pub(super) fn group(plan: &GroupPlan) -> Group {
    Group {
        folder: GroupFolder::new(plan.name.as_str()).expect("planned names are plain"),
        chat: chat(plan),
        name: plan.name.clone(),
        trigger: if plan.always { TriggerPolicy::Always } else { TriggerPolicy::AssistantName },
        role: if plan.main { GroupRole::Main } else { GroupRole::Ordinary },
        added_at: Timestamp::from_ms(0),
    }
}

pub(super) fn chat(plan: &GroupPlan) -> ChatId {
    ChatId::new(format!("{}:{}", name_of(plan.repeat), plan.name)).expect("planned names are plain")
}

/// A channel is named by what it does with a message that is sent again.
fn name_of(repeat: Repeat) -> &'static str {
    match repeat {
        Repeat::Deduplicated => "once",
        Repeat::LookedUp => "found",
        Repeat::Shown => "again",
    }
}

/// Whether the channel that does this with a message that is sent again takes files.
pub(super) fn takes_files(repeat: Repeat) -> bool {
    repeat != Repeat::Shown
}

/// What the channel of a chat does with a message that is sent again.
pub(super) fn repeat_of(chat: &ChatId) -> Repeat {
    let repeats = [Repeat::Deduplicated, Repeat::LookedUp];
    repeats.into_iter().find(|repeat| owns(*repeat, chat)).unwrap_or(Repeat::Shown)
}

fn owns(repeat: Repeat, chat: &ChatId) -> bool {
    chat.as_str().split_once(':').is_some_and(|(channel, _)| channel == name_of(repeat))
}

// --- the platform -----------------------------------------------------------------------------------------------------

/// How the platform reaches a host.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) inbox: Inbox,
    pub(super) orchestrator: Orchestrator,
    pub(super) host: Arc<Host>,
}

/// The host that the platform reaches now. (tokio's own watch wakes those who wait in an order left to chance.)
#[derive(Default)]
pub(super) struct Lines {
    now: Mutex<Option<Line>>,
    changed: Notify,
}

impl Lines {
    pub(super) fn set(&self, line: Option<Line>) {
        *lock(&self.now) = line;
        self.changed.notify_waiters();
    }

    pub(super) async fn get(&self) -> Line {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(line) = lock(&self.now).clone() {
                return line;
            }
            changed.await;
        }
    }
}

/// The people of one chat: they write what is planned, in order, and the platform hands each message in until it is
/// acknowledged; now and then it does so again later.
pub(super) async fn people(world: Arc<World>, index: usize, lines: Arc<Lines>) {
    let plan = &world.plan.groups[index];
    let mut again = Vec::new();
    for (place, (at, calls)) in plan.messages.iter().enumerate() {
        tokio::time::sleep(at.saturating_sub(world.elapsed())).await;
        let number = u64::try_from(index * 1000 + place).expect("a plan is small");
        let wakes = if plan.always || plan.main || *calls == Calls::Assistant { Wakes::Yes } else { Wakes::No };
        world.note(|| format!("{} writes {} ({wakes:?})", plan.name, text_of(number)));
        world.chats().written.insert(number, Written { chat: chat(plan), wakes, accepted: false, refused: false });
        let message = message(plan, number, wakes);
        hand_in(&world, &lines, number, &message).await;
        if world.fault(|rates| rates.delivered_again) {
            again.push((number, message));
        }
        if world.fault(|rates| rates.delivered_again)
            && let Some((number, message)) = again.pop()
        {
            hand_in(&world, &lines, number, &message).await;
        }
    }
    for (number, message) in again {
        world.pause(0, 60_000).await;
        hand_in(&world, &lines, number, &message).await;
    }
}

fn message(plan: &GroupPlan, number: u64, wakes: Wakes) -> InboundMessage {
    let text = match wakes {
        Wakes::Yes if plan.always => text_of(number),
        Wakes::Yes => format!("@Andy {}", text_of(number)),
        Wakes::No => format!("by the way ({number})"),
    };
    InboundMessage {
        chat: chat(plan),
        channel: ChannelName::new(name_of(plan.repeat)).expect("a plain name"),
        chat_kind: None,
        id: PlatformMessageId::new(number.to_string()).expect("a number is an id"),
        sender: SenderId::new("ann").expect("a plain id"),
        sender_name: "Ann".to_owned(),
        author: Author::Person,
        text,
        sent_at: Timestamp::from_ms(1_772_600_000_000),
        quote: None,
        thread: None,
        attachments: attachments(number),
    }
}

/// Every third message has files, the second of which was not fetched.
fn attachments(number: u64) -> Vec<Attachment> {
    let attachment = |fetched| Attachment { kind: "photo".to_owned(), name: None, fetched };
    let spool = SpoolName::new(format!("f{number}")).expect("a letter and digits are a name");
    let file = SpooledFile { spool, media_type: "image/png".to_owned(), bytes: 9 };
    if number.is_multiple_of(3) {
        vec![attachment(Fetched::Yes(file)), attachment(Fetched::default())]
    } else {
        Vec::new()
    }
}

async fn hand_in(world: &World, lines: &Lines, number: u64, message: &InboundMessage) {
    loop {
        let Line { inbox, host, orchestrator } = lines.get().await;
        drop(orchestrator);
        let before = world.chats().member(&message.chat);
        let cut = world.fault(|rates| rates.accept_cut).then(|| Duration::from_millis(world.between(0, 60)));
        let receipt = tokio::select! {
            biased;
            () = host.death() => None,
            receipt = inbox.accept(message.clone()) => Some(receipt),
            () = tokio::time::sleep(cut.unwrap_or_default()), if cut.is_some() => None,
        };
        match receipt {
            Some(Ok(Receipt::Stored { seq, .. } | Receipt::Duplicate { seq })) => {
                world.note(|| format!("{} is acknowledged as {seq}", text_of(number)));
                if let Some(written) = world.chats().written.get_mut(&number) {
                    written.accepted = true;
                }
                return;
            }
            // Nobody is on a list of senders here, and nobody commands.
            Some(Ok(Receipt::Unregistered | Receipt::Dropped | Receipt::Obeyed { .. })) => {
                world.note(|| format!("{} is of no group", text_of(number)));
                let mut chats = world.chats();
                if before.state == Member::In && before == chats.member(&message.chat) {
                    chats.broken.push(format!("deaf: [{number}] was written to a group and taken for no group's"));
                }
                if let Some(written) = chats.written.get_mut(&number) {
                    written.refused = true;
                }
                return;
            }
            Some(Err(_)) => {}
            None => world.note(|| format!("the line was cut while {} was handed in", text_of(number))),
        }
        drop((inbox, host));
        world.pause(100, 3000).await;
    }
}

// --- the channel ------------------------------------------------------------------------------------------------------

/// A host's channel to one service.
pub(super) struct SimulatedChannel {
    host: Arc<Host>,
    store: Arc<MemoryStore>,
    repeat: Repeat,
    name: ChannelName,
    connected: AtomicBool,
    lost: Notify,
}

impl SimulatedChannel {
    /// One to each service.
    pub(super) fn all(host: &Arc<Host>, store: &Arc<MemoryStore>) -> Vec<Arc<Self>> {
        let to = |repeat| {
            let name = ChannelName::new(name_of(repeat)).expect("a plain name");
            let (host, store, connected) = (host.clone(), store.clone(), AtomicBool::new(true));
            Arc::new(Self { host, store, repeat, name, connected, lost: Notify::new() })
        };
        [Repeat::Deduplicated, Repeat::LookedUp, Repeat::Shown].map(to).into()
    }

    /// Waits until the connection is lost and there again.
    pub(super) async fn reconnected(&self) {
        self.lost.notified().await;
        self.host.world.pause(100, 30_000).await;
        self.host.world.note(|| format!("h{} the channel {} is connected again", self.host.number, self.name));
        self.connected.store(true, Ordering::Relaxed);
    }

    /// Notes that a host sends a message, and whether it may.
    async fn begins(&self, delivery: &Delivery) {
        let row = self.store.delivery(&delivery.key).await.ok().flatten();
        let decided = row.as_ref().is_some_and(|row| row.decisions > 0);
        let world = &self.host.world;
        let mut chats = world.chats();
        let log = chats.sends.entry(delivery.key.clone()).or_default();
        let in_doubt = match (self.repeat, log.last) {
            (Repeat::Deduplicated, _) | (_, None | Some((_, Told::NotSent))) => false,
            // It was asked whether it was shown, and could not tell.
            (Repeat::LookedUp, Some((_, told))) => told == Told::Forgotten,
            // That a host has not yet recorded what it was told is known to it, and not to the next one.
            (Repeat::Shown, Some((host, Told::Sent))) => host != self.host.number,
            (Repeat::Shown, Some(_)) => true,
        };
        log.in_doubt += u32::from(in_doubt);
        log.last = Some((self.host.number, Told::Nothing));
        let asks = world.plan.when_unknown == WhenUnknown::Ask && !delivery.key.is_alert();
        if in_doubt && asks && !decided {
            chats.broken.push(format!("guess: {} is sent again, and nobody was asked", delivery.key));
        }
        let state = row.map(|row| row.state);
        if self.repeat != Repeat::Deduplicated && state != Some(DeliveryState::Sending) && !decided {
            chats.broken.push(format!("haste: {} is sent, and the store says {state:?}", delivery.key));
        }
    }

    fn told(&self, key: &DeliveryKey, told: Told) {
        self.host.world.chats().sends.entry(key.clone()).or_default().last = Some((self.host.number, told));
    }

    async fn show(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let world = &self.host.world;
        let again = world.chats().was_shown(&delivery.key);
        if again && self.repeat == Repeat::Deduplicated {
            world.note(|| format!("{} has {} already", delivery.chat, delivery.key));
        } else {
            let mark = if again { " AGAIN" } else { "" };
            world.note(|| format!("{} SEES{mark} {:?} ({})", delivery.chat, delivery.text, delivery.key));
            world.chats().show(delivery);
        }
        Ok(sent(delivery))
    }

    /// Whether the file of a message is there. It may be gone only when an operator has it sent who had dropped it before.
    async fn has_file(&self, delivery: &Delivery) -> Result<(), SendError> {
        let Some(file) = &delivery.file else { return Ok(()) };
        let (world, key) = (&self.host.world, &delivery.key);
        if !takes_files(self.repeat) {
            world.broken(|| format!("nonsense: the file of {key} is sent where nobody takes files"));
        }
        let content = world.spool.content(file);
        if content.as_ref() == Some(&delivery.text) {
            return Ok(());
        }
        let row = self.store.delivery(key).await.ok().flatten();
        if content.is_some() || row.is_none_or(|row| row.decisions == 0) {
            world.broken(|| format!("lost: the file of {key} is {content:?}, and is sent"));
        }
        Err(SendError::Permanent { reason: "simulated: the file is gone".to_owned() })
    }

    fn is_connected(&self) -> Result<(), SendError> {
        match self.connected.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(SendError::NotConnected { reason: "simulated".to_owned() }),
        }
    }
}

fn sent(delivery: &Delivery) -> Sent {
    Sent { platform_id: PlatformMessageId::new(delivery.key.as_str()).ok() }
}

#[async_trait]
impl Channel for SimulatedChannel {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn owns(&self, chat: &ChatId) -> bool {
        owns(self.repeat, chat)
    }

    fn capabilities(&self) -> ChannelCapabilities {
        ChannelCapabilities { repeat: self.repeat, typing: true, files: takes_files(self.repeat) }
    }

    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let world = &self.host.world;
        if world.fault(|rates| rates.disconnects) && self.connected.swap(false, Ordering::Relaxed) {
            world.note(|| format!("h{} the channel {} loses its connection", self.host.number, self.name));
            self.lost.notify_one();
        }
        self.is_connected()?;
        self.has_file(delivery).await?;
        self.begins(delivery).await;
        if world.fault(|rates| rates.send_hangs) {
            let sends_first = world.one_of(&[true, false]);
            world.note(|| format!("h{} sending {} hangs", self.host.number, delivery.key));
            if sends_first && !self.host.is_dead() {
                let _ = self.show(delivery).await;
            }
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        let after = world.fault(|rates| rates.send_fails).then(|| Duration::from_secs(world.between(1, 20)));
        let knows = world.one_of(&[true, false]);
        let faults = CallFaults { fails: |rates| rates.send_fails, lies: |rates| rates.send_lies };
        // One that would show a repeat twice must not say that it did not send what it sent.
        let refuse = |reason: String| match self.repeat == Repeat::Deduplicated || (knows && reason == NOT_DONE) {
            true => SendError::Retry { reason, after },
            false => SendError::Unknown { reason },
        };
        let result = self.host.call(|| format!("send {}", delivery.key), faults, self.show(delivery), refuse).await;
        self.told(
            &delivery.key,
            match &result {
                Ok(_) => Told::Sent,
                Err(SendError::Unknown { .. }) => Told::Unknown,
                Err(_) => Told::NotSent,
            },
        );
        result
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Sent>, SendError> {
        let world = &self.host.world;
        if self.repeat != Repeat::LookedUp {
            world.broken(|| format!("nonsense: {} is looked up where nobody can", delivery.key));
        }
        self.is_connected()?;
        if world.fault(|rates| rates.find_forgets) {
            world.note(|| format!("h{} the channel {} has forgotten {}", self.host.number, self.name, delivery.key));
            self.told(&delivery.key, Told::Forgotten);
            return Err(SendError::Permanent { reason: "simulated: forgotten".to_owned() });
        }
        let knows = world.one_of(&[true, false]);
        let faults = CallFaults { fails: |rates| rates.find_fails, lies: |rates| rates.find_fails };
        let refuse = |reason| match knows {
            true => SendError::Retry { reason, after: None },
            false => SendError::Unknown { reason },
        };
        let found = async { Ok(world.chats().was_shown(&delivery.key).then(|| sent(delivery))) };
        let result = self.host.call(|| format!("find {}", delivery.key), faults, found, refuse).await;
        match &result {
            Ok(Some(_)) => self.told(&delivery.key, Told::Sent),
            Ok(None) => self.told(&delivery.key, Told::NotSent),
            Err(_) => {}
        }
        result
    }

    async fn set_typing(&self, _chat: &ChatId, _thread: Option<&PlatformMessageId>, _typing: Typing) {}
}
