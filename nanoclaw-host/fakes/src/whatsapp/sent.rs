//! What the client says in chats: read as those read it to whom it is sent.

use anyhow::{Context as _, anyhow};
use waproto::whatsapp::{ContextInfo, Message, message::protocol_message::Type};

use super::{
    account::is_bot,
    media::{Media, Shown},
    nodes::{Node, attr, bare, child, children, content, is_group, node, now},
    party::{Party, REGISTRATION},
    seen::Sent,
    world::{Kept, World},
};

/// A message as it was read.
struct Read {
    chat: String,
    /// What it says, unless nobody could read it.
    message: Option<Message>,
    /// Who could not, and why.
    could_not: Vec<(String, anyhow::Error)>,
    /// Whether somebody asked for it.
    is_said_again: bool,
}

impl World {
    /// Takes a message of the client; returns the acknowledgement.
    pub(super) fn take_message(&mut self, said: &Node) -> Node {
        let (to, id) = (attr(said, "to"), attr(said, "id"));
        let ack = node("ack")
            .attr("class", "message")
            .attr("id", id.as_str())
            .attr("from", to.as_str())
            .attr("t", now().to_string());
        // What it says to the owner's phone, nobody is to read.
        if is_bot(&to) {
            return ack.build();
        }
        let misreads = self.misreads > 0;
        self.misreads = self.misreads.saturating_sub(1);
        let read = if is_group(&to) {
            self.read_in_group(&to, said, misreads)
        } else {
            self.read_privately(&to, said, misreads)
        };
        let Read { chat, message, could_not, is_said_again } = match read {
            Ok(read) => read,
            Err(error) => {
                self.seen.refused_messages.push(format!("{id} to {to}: {error:#}"));
                return ack.attr("error", "404").build();
            }
        };
        for (who, error) in could_not {
            self.seen.unreadable.push(format!("{who} cannot read {id}: {error:#}"));
            self.ask_again(&chat, &who, &id);
        }
        if let Some(message) = message {
            self.show(chat, id, message, is_said_again);
        }
        ack.build()
    }

    fn show(&mut self, chat: String, id: String, message: Message, is_said_again: bool) {
        let key = (chat, id);
        if self.messages.contains_key(&key) {
            self.seen.repeats += usize::from(!is_said_again);
            return;
        }
        let change = message.protocol_message.as_option().filter(|change| change.r#type == Some(Type::REVOKE));
        if let Some(id) = change.and_then(|change| change.key.as_option()).and_then(|key| key.id.clone()) {
            self.seen.removed.push((key.0.clone(), id));
        }
        match sent(&self.media, &key.0, &key.1, &message) {
            Ok(sent) => self.seen.sent.extend(sent),
            Err(error) => self.seen.unreadable.push(format!("the file of {} cannot be read: {error:#}", key.1)),
        }
        self.messages.insert(key, Kept { who: None, message });
    }

    /// Somebody cannot read a message, and says so, as often as it happens: the client is to say it again, for them alone.
    fn ask_again(&mut self, chat: &str, who: &str, id: &str) {
        let receipt = node("receipt").attr("id", id).attr("type", "retry").attr("t", now().to_string());
        let receipt = match self.people.groups.get(chat) {
            Some(group) => receipt.attr("from", chat).attr("participant", self.people.address_in(group, who)),
            None => receipt.attr("from", who),
        };
        let retry = node("retry").attr("v", "1").attr("count", "1").attr("id", id).attr("t", now().to_string()).build();
        let registration = node("registration").bytes(REGISTRATION.to_be_bytes().to_vec()).build();
        self.tell_plainly(chat, id, who, receipt.children([retry, registration]).build());
    }

    /// Everybody in the group reads it.
    fn read_in_group(&mut self, group: &str, said: &Node, misreads: bool) -> anyhow::Result<Read> {
        let known = self.people.groups.get(group).filter(|group| group.bot_is_in).context("the bot is not in it")?;
        let members: Vec<String> = known.members.iter().cloned().collect();
        let encrypted = child(said, "enc").context("there is nothing encrypted")?;
        if attr(encrypted, "type") != "skmsg" {
            let who = attr(said, "participant");
            let who = self.people.number_of(&who).context("it is for nobody")?;
            let person = self.people.get_mut(&who).context("it is for nobody")?;
            return Ok(Read::by_one(group, &who, read_for_group(&mut person.phone, group, said)));
        }
        let mut read = Read { chat: group.to_owned(), message: None, could_not: Vec::new(), is_said_again: false };
        if misreads {
            read.could_not = members.into_iter().map(|member| (member, anyhow!("the test wants it so"))).collect();
            return Ok(read);
        }
        for to in child(said, "participants").map(children).unwrap_or_default() {
            if let Some(person) = self.people.get_mut(&attr(to, "jid")) {
                // Who cannot read the key cannot read the message.
                let _ = read_for_group(&mut person.phone, group, to);
            }
        }
        let bytes = content(encrypted);
        for member in members {
            let Some(person) = self.people.get_mut(&member) else { continue };
            match person.phone.unseal_of_group(group, &bytes) {
                Ok(message) => read.message = Some(message),
                Err(error) => read.could_not.push((member, error)),
            }
        }
        Ok(read)
    }

    fn read_privately(&mut self, to: &str, said: &Node, misreads: bool) -> anyhow::Result<Read> {
        let who = self.people.number_of(to).context("there is no such person")?;
        let devices = child(said, "participants").map(children).unwrap_or_default();
        let own = devices.iter().find(|to| self.people.number_of(&attr(to, "jid")).as_ref() == Some(&who));
        let person = self.people.get_mut(&who).context("there is no such person")?;
        let message = if misreads {
            Err(anyhow!("the test wants it so"))
        } else {
            unseal(own.unwrap_or(said), &mut person.phone)
        };
        Ok(Read { is_said_again: own.is_none(), ..Read::by_one(&who, &who, message) })
    }
}

impl Read {
    /// What one of those to whom it was sent was told again.
    fn by_one(chat: &str, who: &str, message: anyhow::Result<Message>) -> Self {
        let (message, could_not) = match message {
            Ok(message) => (Some(message), Vec::new()),
            Err(error) => (None, vec![(who.to_owned(), error)]),
        };
        Self { chat: chat.to_owned(), message, could_not, is_said_again: true }
    }
}

/// Reads what is for one of a group alone, and learns the key by which the bot speaks there when it is in it.
fn read_for_group(phone: &mut Party, group: &str, to: &Node) -> anyhow::Result<Message> {
    let mut message = unseal(to, phone)?;
    if let Some(key) = message.sender_key_distribution_message.take() {
        phone.learn_sender_key(group, &key.axolotl_sender_key_distribution_message.unwrap_or_default())?;
    }
    Ok(message)
}

fn unseal(to: &Node, phone: &mut Party) -> anyhow::Result<Message> {
    let encrypted = child(to, "enc").context("there is nothing encrypted for them")?;
    phone.unseal(&attr(encrypted, "type"), &content(encrypted))
}

/// What a message shows, or `None` when it shows nothing.
fn sent(media: &Media, chat: &str, id: &str, message: &Message) -> anyhow::Result<Option<Sent>> {
    let blank = Sent { chat: chat.to_owned(), id: id.to_owned(), ..Sent::default() };
    if let Some(text) = &message.conversation {
        return Ok(Some(Sent { text: text.clone(), ..blank }));
    }
    if let Some(text) = message.extended_text_message.as_option() {
        let sent = Sent { text: text.text.clone().unwrap_or_default(), ..blank };
        return Ok(Some(with_context(sent, text.context_info.as_option())));
    }
    if let Some(shown) = media.of(message) {
        let Shown { file, caption, context } = shown?;
        let sent = Sent { text: caption, file: Some(file), ..blank };
        return Ok(Some(with_context(sent, context.as_ref())));
    }
    for wrapped in [&message.edited_message, &message.document_with_caption_message] {
        if let Some(inner) = wrapped.as_option().and_then(|wrapped| wrapped.message.as_option()) {
            return sent(media, chat, id, inner);
        }
    }
    let Some(change) = message.protocol_message.as_option() else { return Ok(None) };
    let Some(changed) = change.edited_message.as_option() else { return Ok(None) };
    let edits = change.key.as_option().and_then(|key| key.id.clone());
    Ok(sent(media, chat, id, changed)?.map(|sent| Sent { edits, ..sent }))
}

fn with_context(sent: Sent, context: Option<&ContextInfo>) -> Sent {
    let Some(context) = context else { return sent };
    Sent {
        answers: context.stanza_id.clone(),
        answered: context.participant.as_deref().map(bare),
        mentions: context.mentioned_jid.clone(),
        ..sent
    }
}
