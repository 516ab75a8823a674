//! What the client says in chats: read as those read it to whom it is sent.

use anyhow::Context as _;
use waproto::whatsapp::{ContextInfo, Message};

use super::{
    account::is_bot,
    nodes::{Node, attr, bare, child, children, content, is_group, node, now},
    seen::Sent,
    world::{Kept, World},
};

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
        let read = if is_group(&to) { self.read_in_group(&to, &id, said) } else { self.read_privately(&to, said) };
        let (chat, message) = match read {
            Ok(read) => read,
            Err(error) => {
                self.seen.unreadable.push(format!("{to} cannot read {id}: {error:#}"));
                return ack.attr("error", "404").build();
            }
        };
        let key = (chat.clone(), id.clone());
        if self.messages.contains_key(&key) {
            self.seen.repeats += 1;
            return ack.build();
        }
        if let Some(sent) = sent(&chat, &id, &message) {
            self.seen.sent.push(sent);
        }
        self.messages.insert(key, Kept { who: None, message });
        ack.build()
    }

    /// Everybody in the group reads it.
    fn read_in_group(&mut self, group: &str, id: &str, said: &Node) -> anyhow::Result<(String, Message)> {
        let known = self.people.groups.get(group).filter(|group| group.bot_is_in).context("the bot is not in it")?;
        let members: Vec<String> = known.members.iter().cloned().collect();
        for to in child(said, "participants").map(children).unwrap_or_default() {
            let Some(person) = self.people.get_mut(&attr(to, "jid")) else { continue };
            let message = unseal(to, &mut person.phone)?;
            if let Some(key) = message.sender_key_distribution_message.into_option() {
                let key = key.axolotl_sender_key_distribution_message.unwrap_or_default();
                person.phone.learn_sender_key(group, &key)?;
            }
        }
        let bytes = content(child(said, "enc").context("there is nothing encrypted")?);
        let mut read = None;
        for member in members {
            let Some(person) = self.people.get_mut(&member) else { continue };
            match person.phone.unseal_of_group(group, &bytes) {
                Ok(message) => read = Some(message),
                Err(error) => self.seen.unreadable.push(format!("{member} cannot read {id}: {error:#}")),
            }
        }
        Ok((group.to_owned(), read.context("nobody there can read it")?))
    }

    fn read_privately(&mut self, to: &str, said: &Node) -> anyhow::Result<(String, Message)> {
        let who = self.people.number_of(to).context("there is no such person")?;
        let devices = child(said, "participants").map(children).unwrap_or_default();
        let own = devices.iter().find(|to| self.people.number_of(&attr(to, "jid")).as_ref() == Some(&who));
        let person = self.people.get_mut(&who).context("there is no such person")?;
        Ok((who, unseal(own.unwrap_or(said), &mut person.phone)?))
    }
}

fn unseal(to: &Node, phone: &mut super::party::Party) -> anyhow::Result<Message> {
    let encrypted = child(to, "enc").context("there is nothing encrypted for them")?;
    phone.unseal(&attr(encrypted, "type"), &content(encrypted))
}

/// What a message shows, or `None` when it shows nothing.
fn sent(chat: &str, id: &str, message: &Message) -> Option<Sent> {
    let blank = Sent { chat: chat.to_owned(), id: id.to_owned(), ..Sent::default() };
    if let Some(text) = &message.conversation {
        return Some(Sent { text: text.clone(), ..blank });
    }
    if let Some(text) = message.extended_text_message.as_option() {
        let sent = Sent { text: text.text.clone().unwrap_or_default(), ..blank };
        return Some(with_context(sent, text.context_info.as_option()));
    }
    if let Some(wrapped) = message.edited_message.as_option() {
        return sent(chat, id, wrapped.message.as_option()?);
    }
    let change = message.protocol_message.as_option()?;
    let changed = sent(chat, id, change.edited_message.as_option()?)?;
    Some(Sent { edits: change.key.as_option().and_then(|key| key.id.clone()), ..changed })
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
