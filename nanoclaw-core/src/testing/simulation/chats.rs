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
    world::{CallFaults, Host, World, lock},
};
use crate::{
    channel::{Channel, ChannelCapabilities, Repeat, SendError, Typing},
    chat::{ChannelName, ChatId},
    delivery::{Delivery, DeliveryKey, Sent},
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    message::{Author, InboundMessage, PlatformMessageId, SenderId, Seq, Wakes},
    orchestrator::{Inbox, Receipt},
    time::Timestamp,
};

const NAME: &str = "sim";

/// A message as a person wrote it; the number is in its text, and an answer to it has the number in its own.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) chat: ChatId,
    pub(super) wakes: Wakes,
    /// Its place in the inbox, once it is acknowledged.
    pub(super) accepted: Option<Seq>,
}

/// What a person sees.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) key: DeliveryKey,
    pub(super) text: String,
}

/// What was written and shown in all chats. It survives hosts.
#[derive(Debug, Clone, Default)]
pub(super) struct ChatLog {
    pub(super) written: BTreeMap<u64, Written>,
    pub(super) shown: BTreeMap<ChatId, Vec<Shown>>,
    keys: BTreeSet<DeliveryKey>,
    /// How many shown texts answer a message.
    pub(super) answers: BTreeMap<u64, u32>,
    /// Up to which messages of a chat it was told that they are given up.
    pub(super) given_up: BTreeMap<ChatId, Vec<Seq>>,
    /// Messages that were asked for by file, with whether the agent was told that it is done.
    pub(super) requested: BTreeMap<String, bool>,
}

impl ChatLog {
    /// Shows a message unless one of its key was shown.
    fn show(&mut self, delivery: &Delivery) -> bool {
        if !self.keys.insert(delivery.key.clone()) {
            return false;
        }
        for number in answered_by(&delivery.key, &delivery.text) {
            *self.answers.entry(number).or_default() += 1;
        }
        if let Some(through) = gave_up_through(&delivery.key) {
            self.given_up.entry(delivery.chat.clone()).or_default().push(through);
        }
        let shown = Shown { key: delivery.key.clone(), text: delivery.text.clone() };
        self.shown.entry(delivery.chat.clone()).or_default().push(shown);
        true
    }

    /// The messages that wake and of which no chat has seen what became of them.
    pub(super) fn owed(&self) -> Vec<u64> {
        let settled = |number: &u64, written: &Written| {
            let Some(seq) = written.accepted else { return false };
            self.answers.contains_key(number)
                || self.given_up.get(&written.chat).is_some_and(|notices| notices.iter().any(|through| *through >= seq))
        };
        let owed = self.written.iter().filter(|(number, written)| match written.wakes {
            Wakes::Yes => !settled(number, written),
            Wakes::No => written.accepted.is_none(),
        });
        owed.map(|(number, _)| *number).collect()
    }
}

/// The messages that what is shown answers: those in a reply of the agent. A word of the host names messages too.
pub(super) fn answered_by(key: &DeliveryKey, text: &str) -> Vec<u64> {
    if is_of_host(key) { Vec::new() } else { numbers_in(text) }
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
        role: GroupRole::Ordinary,
        added_at: Timestamp::from_ms(0),
    }
}

pub(super) fn chat(plan: &GroupPlan) -> ChatId {
    ChatId::new(format!("{NAME}:{}", plan.name)).expect("planned names are plain")
}

// --- the platform -----------------------------------------------------------------------------------------------------

/// How the platform reaches a host.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) inbox: Inbox,
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

    async fn get(&self) -> Line {
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
        let wakes = if plan.always || *calls == Calls::Assistant { Wakes::Yes } else { Wakes::No };
        world.note(|| format!("{} writes {} ({wakes:?})", plan.name, text_of(number)));
        world.chats().written.insert(number, Written { chat: chat(plan), wakes, accepted: None });
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
        channel: ChannelName::new(NAME).expect("a plain name"),
        chat_kind: None,
        id: PlatformMessageId::new(number.to_string()).expect("a number is an id"),
        sender: SenderId::new("ann").expect("a plain id"),
        sender_name: "Ann".to_owned(),
        author: Author::Person,
        text,
        sent_at: Timestamp::from_ms(1_772_600_000_000),
        quote: None,
        attachments: Vec::new(),
    }
}

async fn hand_in(world: &World, lines: &Lines, number: u64, message: &InboundMessage) {
    loop {
        let Line { inbox, host } = lines.get().await;
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
                    written.accepted = Some(seq);
                }
                return;
            }
            Some(Ok(Receipt::Unregistered)) => world.note(|| format!("{} is of no group", text_of(number))),
            Some(Err(_)) => {}
            None => world.note(|| format!("the line was cut while {} was handed in", text_of(number))),
        }
        drop((inbox, host));
        world.pause(100, 3000).await;
    }
}

// --- the channel ------------------------------------------------------------------------------------------------------

/// A host's channel to the service. It deduplicates by key.
pub(super) struct SimulatedChannel {
    host: Arc<Host>,
    name: ChannelName,
    connected: AtomicBool,
    lost: Notify,
}

impl SimulatedChannel {
    pub(super) fn new(host: Arc<Host>) -> Self {
        let name = ChannelName::new(NAME).expect("a plain name");
        Self { host, name, connected: AtomicBool::new(true), lost: Notify::new() }
    }

    /// Waits until the connection is lost and there again.
    pub(super) async fn reconnected(&self) {
        self.lost.notified().await;
        self.host.world.pause(100, 30_000).await;
        self.host.world.note(|| format!("h{} the channel is connected again", self.host.number));
        self.connected.store(true, Ordering::Relaxed);
    }

    async fn show(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let world = &self.host.world;
        let shown = world.chats().show(delivery);
        world.note(|| match shown {
            true => format!("{} SEES {:?} ({})", delivery.chat, delivery.text, delivery.key),
            false => format!("{} has {} already", delivery.chat, delivery.key),
        });
        let platform_id = PlatformMessageId::new(delivery.key.as_str()).ok();
        Ok(Sent { platform_id })
    }
}

#[async_trait]
impl Channel for SimulatedChannel {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn owns(&self, chat: &ChatId) -> bool {
        chat.as_str().starts_with("sim:")
    }

    fn capabilities(&self) -> ChannelCapabilities {
        ChannelCapabilities { repeat: Repeat::Deduplicated, typing: true }
    }

    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let world = &self.host.world;
        if world.fault(|rates| rates.disconnects) && self.connected.swap(false, Ordering::Relaxed) {
            world.note(|| format!("h{} the channel loses its connection", self.host.number));
            self.lost.notify_one();
        }
        if !self.connected.load(Ordering::Relaxed) {
            return Err(SendError::NotConnected { reason: "simulated".to_owned() });
        }
        if world.fault(|rates| rates.send_hangs) {
            let sends_first = world.one_of(&[true, false]);
            world.note(|| format!("h{} sending {} hangs", self.host.number, delivery.key));
            if sends_first && !self.host.is_dead() {
                let _ = self.show(delivery).await;
            }
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        let after = world.fault(|rates| rates.send_fails).then(|| Duration::from_secs(world.between(1, 20)));
        let faults = CallFaults { fails: |rates| rates.send_fails, lies: |rates| rates.send_lies };
        let refuse = |reason| SendError::Retry { reason, after };
        self.host.call(|| format!("send {}", delivery.key), faults, self.show(delivery), refuse).await
    }

    async fn set_typing(&self, _chat: &ChatId, _typing: Typing) {}
}
