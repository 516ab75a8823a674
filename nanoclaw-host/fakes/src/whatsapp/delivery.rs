//! What people say, on its way to the client: it is told again on every connection until the client said that it has it.

use waproto::{
    buffa::MessageField,
    whatsapp::{
        Message,
        message::{
            AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId, AppStateSyncKeyShare,
            ProtocolMessage, SenderKeyDistributionMessage, protocol_message::Type,
        },
    },
};

use super::{
    FakeWhatsApp,
    account::{Account, DEVICE},
    login::Phase,
    media::FileKind,
    nodes::{Node, attr, child, is_group, node, now},
    party::Sealed,
    people::Addressing,
    world::World,
};

/// Messages that the client does not have yet, oldest first.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Vec<Waiting>,
    /// How many of the next messages are spoilt on their way.
    pub(super) spoils: usize,
}

struct Waiting {
    chat: String,
    id: String,
    who: String,
    said_at: u64,
    content: Content,
    /// As it is told every time: what is encrypted twice would be two messages.
    sealed: Option<Node>,
    /// On which connection it was told last.
    told_on: usize,
}

/// What is to be encrypted.
enum Content {
    /// Of people, and whether it changes what they said.
    Said { message: Message, is_edit: bool },
    /// A message that the client could not read, on its own, so that nothing else is needed for it.
    Again { message: Message, count: String },
    /// News that are not encrypted.
    News(Node),
}

impl Waiting {
    /// What is encrypted needs the client's keys.
    fn can_be_told(&self, account: &Account) -> bool {
        self.sealed.is_some() || matches!(self.content, Content::News(_)) || account.has_keys()
    }
}

impl Queue {
    /// The client has it.
    pub(super) fn has(&mut self, id: &str) {
        self.waiting.retain(|waiting| waiting.id != id);
    }

    /// What was encrypted for a device that is not linked any more has to be encrypted anew.
    pub(super) fn forget_sealed(&mut self) {
        self.waiting.iter_mut().for_each(|waiting| waiting.sealed = None);
    }

    /// The ids of what the client does not have yet.
    pub(super) fn ids(&self) -> Vec<String> {
        self.waiting.iter().map(|waiting| waiting.id.clone()).collect()
    }
}

impl World {
    /// Somebody says something that is kept until the client has it.
    pub(super) fn queue(&mut self, chat: &str, id: &str, who: &str, message: Message, is_edit: bool) {
        let content = Content::Said { message, is_edit };
        self.enqueue(chat, id, who, content);
        self.deliver();
    }

    fn enqueue(&mut self, chat: &str, id: &str, who: &str, content: Content) {
        let (chat, id, who) = (chat.to_owned(), id.to_owned(), who.to_owned());
        self.queue.waiting.push(Waiting { chat, id, who, said_at: now(), content, sealed: None, told_on: 0 });
    }

    /// Something happens in a group of which the client hears.
    pub(super) fn tell_of_group(&mut self, address: &str, by: &str, happened: Node) {
        let id = self.new_id();
        let Some(group) = self.people.groups.get(address) else { return };
        let news = node("notification")
            .attr("from", address)
            .attr("type", "w:gp2")
            .attr("id", id.as_str())
            .attr("participant", self.people.address_in(group, by))
            .attr("addressing_mode", group.addressing.word())
            .attr("t", now().to_string());
        let news = match group.addressing {
            Addressing::Numbers => news,
            Addressing::Lids => news.attr("participant_pn", by),
        };
        self.tell_plainly(address, &id, by, news.children([happened]).build());
    }

    /// The client is to hear something that is not encrypted.
    pub(super) fn tell_plainly(&mut self, chat: &str, id: &str, who: &str, news: Node) {
        self.enqueue(chat, id, who, Content::News(news));
        self.deliver();
    }

    /// The client could not read something. As a phone does, its sender begins a new session and says it again.
    pub(super) fn say_again(&mut self, receipt: &Node) {
        let (to, id) = (attr(receipt, "to"), attr(receipt, "id"));
        let asked = if is_group(&to) { attr(receipt, "participant") } else { to.clone() };
        let Some(who) = self.people.number_of(&asked) else { return };
        let chat = if is_group(&to) { to } else { who.clone() };
        let Some(kept) = self.messages.get(&(chat.clone(), id.clone())) else { return };
        let message = kept.message.clone();
        let bundle = Account::bundle_in_receipt(receipt).unwrap_or_else(|| self.account.bundle());
        let Some(person) = self.people.get_mut(&who) else { return };
        let began = bundle.and_then(|bundle| person.phone.meet_bot(&bundle));
        if let Err(error) = began {
            self.seen.unreadable.push(format!("{who} cannot say {id} again: {error:#}"));
            return;
        }
        let count = child(receipt, "retry").map(|retry| attr(retry, "count")).unwrap_or_default();
        self.enqueue(&chat, &id, &who, Content::Again { message, count });
    }

    /// Tells the client what it was not told yet on the connection on which it is.
    pub(super) fn deliver(&mut self) {
        let live = self.connections.iter().find(|(_, connection)| connection.phase == Phase::Live);
        let Some((&number, _)) = live else { return };
        self.tell(number, usize::MAX, false);
    }

    /// Tells at most so many; returns how many it were.
    fn tell(&mut self, number: usize, at_most: usize, offline: bool) -> usize {
        let mut queue = std::mem::take(&mut self.queue.waiting);
        let mut told = 0;
        for waiting in queue.iter_mut().filter(|waiting| waiting.told_on != number) {
            if told == at_most {
                break;
            }
            if waiting.sealed.is_none() {
                if !waiting.can_be_told(&self.account) {
                    break;
                }
                match self.seal(waiting) {
                    Ok(sealed) => waiting.sealed = Some(sealed),
                    Err(error) => {
                        let problem = format!("{} cannot say {}: {error:#}", waiting.who, waiting.id);
                        self.seen.unreadable.push(problem);
                        waiting.told_on = number;
                        continue;
                    }
                }
            }
            let Some(mut stanza) = waiting.sealed.clone() else { continue };
            if offline {
                stanza.attrs.insert("offline", told.to_string());
            }
            waiting.told_on = number;
            told += 1;
            self.say(number, stanza);
        }
        self.queue.waiting = queue;
        told
    }

    /// The client asks for so many of the messages that waited for it.
    pub(super) fn take_offline_batch(&mut self, number: usize, said: &Node) -> Vec<Node> {
        let Some(batch) = child(said, "offline_batch") else { return Vec::new() };
        if self.phase(number) != Some(Phase::CatchingUp) {
            return Vec::new();
        }
        self.tell(number, attr(batch, "count").parse().unwrap_or(0), true);
        if self.queue.waiting.iter().any(|waiting| waiting.told_on != number) {
            return Vec::new();
        }
        self.set_phase(number, Phase::Live);
        let told = self.queue.waiting.len();
        vec![offline(told)]
    }

    /// A stanza of a message, encrypted.
    fn seal(&mut self, waiting: &Waiting) -> anyhow::Result<Node> {
        if let Content::News(news) = &waiting.content {
            return Ok(news.clone());
        }
        let Some(person) = self.people.get_mut(&waiting.who) else { anyhow::bail!("there is no such person") };
        if !person.phone.has_met_bot() {
            person.phone.meet_bot(&self.account.bundle()?)?;
        }
        let group = self.people.groups.get(&waiting.chat);
        let (name, lid) =
            self.people.get(&waiting.who).map(|who| (who.name.clone(), who.lid.clone())).unwrap_or_default();
        let media = waiting.content.media();
        let mut stanza = node("message")
            .attr("id", waiting.id.as_str())
            .attr("type", if media.is_some() { "media" } else { "text" })
            .attr("t", waiting.said_at.to_string())
            .attr("notify", name);
        stanza = match group {
            None => stanza.attr("from", waiting.who.as_str()),
            Some(group) => {
                let stanza =
                    stanza.attr("from", waiting.chat.as_str()).attr("addressing_mode", group.addressing.word());
                match group.addressing {
                    Addressing::Numbers => stanza.attr("participant", waiting.who.as_str()),
                    Addressing::Lids => stanza.attr("participant", lid).attr("participant_pn", waiting.who.as_str()),
                }
            }
        };
        let serves = group.is_some_and(|group| !group.served.contains(&waiting.who));
        if let Some(group) = self.people.groups.get_mut(&waiting.chat) {
            group.served.insert(waiting.who.clone());
        }
        let Some(person) = self.people.get_mut(&waiting.who) else { anyhow::bail!("there is no such person") };
        let phone = &mut person.phone;
        let in_group = is_group(&waiting.chat);
        let mut sealed = Vec::new();
        let mut count = None;
        match &waiting.content {
            Content::News(_) => {}
            Content::Said { message, .. } if in_group => {
                if serves {
                    let key = with_sender_key(Message::default(), &waiting.chat, phone.sender_key(&waiting.chat)?);
                    sealed.push(phone.seal(&key)?);
                }
                sealed.push(phone.seal_for_group(&waiting.chat, message)?);
            }
            Content::Said { message, .. } => sealed.push(phone.seal(message)?),
            Content::Again { message, count: tries } => {
                let mut message = message.clone();
                if in_group {
                    message = with_sender_key(message, &waiting.chat, phone.sender_key(&waiting.chat)?);
                }
                sealed.push(phone.seal(&message)?);
                count = Some(tries);
            }
        }
        if self.queue.spoils > 0 {
            self.queue.spoils -= 1;
            sealed = sealed.into_iter().map(Sealed::spoil).collect();
        }
        let encrypted = sealed.into_iter().map(|sealed| {
            let mut enc = node("enc").attr("v", "2").attr("type", sealed.kind).bytes(sealed.bytes);
            if let Some(media) = media {
                enc = enc.attr("mediatype", media.word());
            }
            if let Some(count) = count {
                enc = enc.attr("count", count.as_str());
            }
            enc.build()
        });
        if matches!(waiting.content, Content::Said { is_edit: true, .. }) {
            stanza = stanza.attr("edit", "1");
        }
        Ok(stanza.children(encrypted).build())
    }
}

impl Content {
    /// What kind of file it has.
    fn media(&self) -> Option<FileKind> {
        let (Self::Said { message, .. } | Self::Again { message, .. }) = self else { return None };
        let audio = message.audio_message.as_option();
        let kinds = [
            (message.image_message.as_option().is_some(), FileKind::Image),
            (message.video_message.as_option().is_some(), FileKind::Video),
            (audio.is_some_and(|audio| audio.ptt == Some(true)), FileKind::Voice),
            (audio.is_some(), FileKind::Audio),
            (message.document_message.as_option().is_some(), FileKind::Document),
        ];
        kinds.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind)
    }
}

/// Says how many messages wait, after the client said that it is ready.
pub(super) fn announce(world: &mut World, number: usize) -> Vec<Node> {
    let can = |waiting: &&Waiting| waiting.can_be_told(&world.account);
    let count = world.queue.waiting.iter().take_while(can).count();
    world.seen.active += 1;
    if count == 0 {
        world.set_phase(number, Phase::Live);
        return vec![offline(0)];
    }
    world.set_phase(number, Phase::CatchingUp);
    let count = count.to_string();
    let preview = node("offline_preview").attr("count", count.as_str()).attr("message", count.as_str());
    let preview = preview.attr("notification", "0").attr("receipt", "0").attr("appdata", "0").build();
    vec![from_service("ib").children([preview]).build()]
}

/// The phone shares the key of the account's settings with a device that was linked just now.
pub(super) fn share_key(world: &mut World) -> Option<Node> {
    if !std::mem::take(&mut world.account.shares_key) {
        return None;
    }
    let id = world.new_id();
    let sealed = world.account.bundle().and_then(|bundle| {
        world.account.phone.meet_bot(&bundle)?;
        world.account.phone.seal(&shared_key())
    });
    let sealed = match sealed {
        Ok(sealed) => sealed,
        Err(error) => {
            world.seen.unreadable.push(format!("the phone cannot share its key: {error:#}"));
            return None;
        }
    };
    let encrypted = node("enc").attr("v", "2").attr("type", sealed.kind).bytes(sealed.bytes).build();
    let message = node("message").attr("from", FakeWhatsApp::BOT).attr("id", id).attr("type", "text");
    Some(message.attr("category", "peer").attr("t", now().to_string()).children([encrypted]).build())
}

fn shared_key() -> Message {
    let fingerprint =
        AppStateSyncKeyFingerprint { raw_id: Some(1), current_index: Some(DEVICE), device_indexes: vec![0, DEVICE] };
    let data = AppStateSyncKeyData {
        key_data: Some(vec![7; 32]),
        timestamp: Some(now() as i64 * 1000),
        fingerprint: MessageField::some(fingerprint),
    };
    let key = AppStateSyncKey {
        key_id: MessageField::some(AppStateSyncKeyId { key_id: Some(vec![0, 0, 0, 0, 0, 1]) }),
        key_data: MessageField::some(data),
    };
    let share = ProtocolMessage {
        r#type: Some(Type::APP_STATE_SYNC_KEY_SHARE),
        app_state_sync_key_share: MessageField::some(AppStateSyncKeyShare { keys: vec![key] }),
        ..Default::default()
    };
    Message { protocol_message: MessageField::some(share), ..Default::default() }
}

fn with_sender_key(mut message: Message, group: &str, key: Vec<u8>) -> Message {
    message.sender_key_distribution_message = MessageField::some(SenderKeyDistributionMessage {
        group_id: Some(group.to_owned()),
        axolotl_sender_key_distribution_message: Some(key),
    });
    message
}

fn offline(count: usize) -> Node {
    let end = node("offline").attr("count", count.to_string()).build();
    from_service("ib").children([end]).build()
}

fn from_service(tag: &'static str) -> super::nodes::NodeBuilder {
    node(tag).attr("from", super::nodes::SERVICE)
}
