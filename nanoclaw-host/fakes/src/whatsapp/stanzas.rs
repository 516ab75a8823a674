//! What is said, encrypted as who says it does, in a stanza.

use anyhow::Context as _;
use wacore::messages::wrap_device_sent;
use waproto::{
    buffa::MessageField,
    whatsapp::{Message, message::SenderKeyDistributionMessage},
};

use super::{
    FakeWhatsApp,
    account::is_bot,
    delivery::{Content, Waiting},
    media::FileKind,
    nodes::{Node, NodeBuilder, is_group, node},
    party::{Party, Sealed},
    people::Addressing,
    world::World,
};

impl World {
    /// A stanza, encrypted if it is something that is said.
    pub(super) fn stanza(&mut self, waiting: &Waiting) -> anyhow::Result<Node> {
        let Waiting { chat, who, content, .. } = waiting;
        if let Content::News(news) = content {
            return Ok(news.clone());
        }
        if !self.phone_of(who)?.has_met_bot() {
            let bundle = self.account.bundle()?;
            self.phone_of(who)?.meet_bot(&bundle)?;
        }
        let media = content.media();
        let stanza = node("message")
            .attr("id", waiting.id.as_str())
            .attr("type", if media.is_some() { "media" } else { "text" })
            .attr("t", waiting.said_at.to_string())
            .attr("notify", self.people.get(who).map_or(FakeWhatsApp::BOT_NAME, |person| &person.name));
        let mut stanza = self.addressed(stanza, chat, who);
        if let Content::Said { change: Some(change), .. } = content {
            stanza = stanza.attr("edit", change.word());
        }
        let mut sealed = self.sealed(waiting)?;
        if self.queue.spoils > 0 {
            self.queue.spoils -= 1;
            sealed = sealed.into_iter().map(Sealed::spoil).collect();
        }
        let encrypted = sealed.into_iter().map(|sealed| {
            let mut enc = node("enc").attr("v", "2").attr("type", sealed.kind).bytes(sealed.bytes);
            if let Some(media) = media {
                enc = enc.attr("mediatype", media.word());
            }
            if let Content::Again { count, .. } = content {
                enc = enc.attr("count", count.as_str());
            }
            enc.build()
        });
        Ok(stanza.children(encrypted).build())
    }

    /// From where a message comes.
    fn addressed(&self, stanza: NodeBuilder, chat: &str, who: &str) -> NodeBuilder {
        if chat == FakeWhatsApp::STATUS {
            return stanza.attr("from", chat).attr("participant", who);
        }
        let Some(group) = self.people.groups.get(chat) else {
            let stanza = stanza.attr("from", who);
            return if is_bot(who) { stanza.attr("recipient", chat) } else { stanza };
        };
        let stanza = stanza
            .attr("from", chat)
            .attr("participant", self.people.address_in(group, who))
            .attr("addressing_mode", group.addressing.word());
        match group.addressing {
            Addressing::Numbers => stanza,
            Addressing::Lids => stanza.attr("participant_pn", who),
        }
    }

    /// What is said, encrypted: in groups for all, with the key to it for the client when it does not have it yet.
    fn sealed(&mut self, waiting: &Waiting) -> anyhow::Result<Vec<Sealed>> {
        let Waiting { chat, who, content, .. } = waiting;
        let in_group = is_group(chat) || chat == FakeWhatsApp::STATUS;
        let served = match self.people.groups.get_mut(chat) {
            Some(group) => !group.served.insert(who.clone()),
            None => false,
        };
        let phone = self.phone_of(who)?;
        Ok(match content {
            Content::News(_) => Vec::new(),
            Content::Said { message, .. } if in_group => {
                let mut sealed = Vec::new();
                if !served {
                    let key = phone.sender_key(chat)?;
                    sealed.push(phone.seal(&with_sender_key(Message::default(), chat, key))?);
                }
                sealed.push(phone.seal_for_group(chat, message)?);
                sealed
            }
            Content::Said { message, .. } if is_bot(who) => {
                vec![phone.seal(&wrap_device_sent(message.clone(), chat.clone()))?]
            }
            Content::Said { message, .. } => vec![phone.seal(message)?],
            Content::Again { message, .. } if in_group => {
                let key = phone.sender_key(chat)?;
                vec![phone.seal(&with_sender_key(message.clone(), chat, key))?]
            }
            Content::Again { message, .. } => vec![phone.seal(message)?],
        })
    }

    /// Somebody's phone, or the owner's.
    fn phone_of(&mut self, who: &str) -> anyhow::Result<&mut Party> {
        if is_bot(who) {
            return Ok(&mut self.account.phone);
        }
        Ok(&mut self.people.get_mut(who).context("there is no such person")?.phone)
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

fn with_sender_key(mut message: Message, group: &str, key: Vec<u8>) -> Message {
    message.sender_key_distribution_message = MessageField::some(SenderKeyDistributionMessage {
        group_id: Some(group.to_owned()),
        axolotl_sender_key_distribution_message: Some(key),
    });
    message
}
