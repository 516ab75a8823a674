//! What a message of WhatsApp's means for the host. Pure.

use wacore::{
    download::Downloadable, proto_helpers::MessageExt as _, types::events::InboundMessage,
    types::message::MessageCategory,
};
use wacore_binary::{Jid, Server};
use waproto::whatsapp as wa;

use super::names::Names;
use crate::bridge::wire::{Message, Quote};

/// What stands between the id of a message and that of a change of it.
const CHANGED: &str = "/edited/";
/// The longest text of a quoted message that is passed on, in characters.
const LONGEST_QUOTE: usize = 4096;

/// Who we are, as WhatsApp knows us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Me {
    /// Our phone number's address, without a device.
    pub phone: Option<Jid>,
    /// Our other address, without a device.
    pub lid: Option<Jid>,
    /// The name that others see.
    pub name: String,
}

impl Me {
    /// Whether this is one of our addresses, on whichever device.
    #[must_use]
    pub fn is(&self, jid: &Jid) -> bool {
        let same =
            |ours: &Option<Jid>| ours.as_ref().is_some_and(|ours| ours.user == jid.user && ours.server == jid.server);
        same(&self.phone) || same(&self.lid)
    }
}

/// What somebody wrote, without the files that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// For the host.
    pub message: Message,
    /// The file that came with it.
    pub file: Option<File>,
}

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What people would call it.
    pub kind: &'static str,
    /// The sender's name for it.
    pub name: Option<String>,
    /// How large it is, as the sender says; `None` for one that is not worth having.
    pub bytes: Option<u64>,
}

/// What a message means, or why it is nothing for the host. `sender_phone`: the sender's number, where only the other address is told.
///
/// # Errors
/// A word on why there is nothing to tell.
pub fn meaning(item: &InboundMessage, sender_phone: Option<Jid>, me: &Me, names: &Names) -> Result<Said, &'static str> {
    let (info, source) = (&item.info, &item.info.source);
    if source.is_from_me || me.is(&source.sender) {
        return Err("it is our own");
    }
    if info.category == MessageCategory::Peer {
        return Err("it is between our devices");
    }
    let sender = sender_phone.unwrap_or_else(|| source.sender.clone()).to_non_ad();
    let chat = match source.chat.server {
        Server::Group => source.chat.to_non_ad(),
        Server::Pn | Server::Lid | Server::Hosted | Server::HostedLid => sender.clone(),
        _ => return Err("it is no chat of ours"),
    };
    let body = item.message.get_base_message();
    let (id, body, changed) = match change(body) {
        None => (info.id.clone(), body, false),
        Some((of, changed)) => (format!("{of}{CHANGED}{}", info.id), changed.get_base_message(), true),
    };
    let context = context_of(body);
    let mut text = words_of(body);
    let mut mentions = Vec::new();
    for mentioned in context.into_iter().flat_map(|context| &context.mentioned_jid) {
        let Ok(jid) = mentioned.parse::<Jid>() else { continue };
        let part = format!("@{}", jid.user);
        if !me.is(&jid) {
            if let Some(name) = names.of(&jid) {
                text = text.replace(&part, &format!("@{name}"));
            }
        } else if !changed {
            mentions.push(part);
        } else {
            // Nobody is called again by a change; who wants an answer to it says so.
            text = text.replace(&part, &format!("@{}", me.name));
        }
    }
    if changed {
        text = format!("[edited] {text}");
    }
    let file = if changed { None } else { file_of(body) };
    if text.trim().is_empty() && file.is_none() {
        return Err("it is nothing that can be told");
    }
    let message = Message {
        chat: chat.to_string(),
        id,
        sender: sender.to_string(),
        sender_name: Some(info.push_name.clone()).filter(|name| !name.trim().is_empty()),
        text,
        timestamp_ms: info.timestamp.timestamp_millis().max(0),
        is_group: source.chat.server == Server::Group,
        mentions,
        reply_to: context.and_then(|context| quote(context, me, names)),
        attachments: Vec::new(),
    };
    Ok(Said { message, file })
}

/// WhatsApp's id of a message of which the host knows `id`.
#[must_use]
pub fn original(id: &str) -> &str {
    id.split_once(CHANGED).map_or(id, |(of, _)| of)
}

/// The file of a message, as the library fetches it.
#[must_use]
pub fn downloadable(message: &wa::Message) -> Option<&dyn Downloadable> {
    let body = message.get_base_message();
    if let Some(image) = body.image_message.as_option() {
        return Some(image);
    }
    if let Some(video) = body.video_message.as_option() {
        return Some(video);
    }
    if let Some(audio) = body.audio_message.as_option() {
        return Some(audio);
    }
    body.document_message.as_option().map(|document| document as &dyn Downloadable)
}

/// The id of the message that is changed, and what it is now.
fn change(body: &wa::Message) -> Option<(&str, &wa::Message)> {
    let protocol = body.protocol_message.as_option()?;
    let changed = protocol.edited_message.as_option()?;
    Some((protocol.key.as_option()?.id.as_deref()?, changed))
}

fn quote(context: &wa::ContextInfo, me: &Me, names: &Names) -> Option<Quote> {
    let id = context.stanza_id.clone().filter(|id| !id.is_empty())?;
    let author = context.participant.as_deref().and_then(|jid| jid.parse::<Jid>().ok());
    let sender_name = author.and_then(|author| if me.is(&author) { Some(me.name.clone()) } else { names.of(&author) });
    let text = context.quoted_message.as_option().map(words_of).filter(|text| !text.is_empty());
    let text = text.map(|text| text.chars().take(LONGEST_QUOTE).collect());
    Some(Quote { id, sender_name: sender_name.filter(|name| !name.is_empty()), text })
}

/// What a message says in words: its text or caption, or what can be told of the rest.
fn words_of(message: &wa::Message) -> String {
    let body = message.get_base_message();
    if let Some(text) = body.text_content().or_else(|| body.get_caption()) {
        return text.to_owned();
    }
    if let Some(place) = body.location_message.as_option() {
        let (north, east) = (place.degrees_latitude.unwrap_or(0.0), place.degrees_longitude.unwrap_or(0.0));
        let name = place.name.as_deref().map(|name| format!(", {name}")).unwrap_or_default();
        return format!("[location: {north:.6}, {east:.6}{name}]");
    }
    if let Some(place) = body.live_location_message.as_option() {
        let (north, east) = (place.degrees_latitude.unwrap_or(0.0), place.degrees_longitude.unwrap_or(0.0));
        return format!("[live location: {north:.6}, {east:.6}]");
    }
    if let Some(contact) = body.contact_message.as_option() {
        return format!("[contact: {}]", contact.display_name.as_deref().unwrap_or("without a name"));
    }
    let polls = [&body.poll_creation_message, &body.poll_creation_message_v2, &body.poll_creation_message_v3];
    if let Some(poll) = polls.into_iter().find_map(|poll| poll.as_option()) {
        let options: Vec<_> = poll.options.iter().filter_map(|option| option.option_name.as_deref()).collect();
        return format!("[poll: {} ({})]", poll.name.as_deref().unwrap_or_default(), options.join(" / "));
    }
    String::new()
}

fn file_of(body: &wa::Message) -> Option<File> {
    let file = |kind, name: Option<&String>, bytes: Option<u64>| {
        Some(File { kind, name: name.filter(|name| !name.trim().is_empty()).cloned(), bytes: Some(bytes.unwrap_or(0)) })
    };
    if let Some(image) = body.image_message.as_option() {
        return file("photo", None, image.file_length);
    }
    if let Some(video) = body.video_message.as_option() {
        return file("video", None, video.file_length);
    }
    if let Some(audio) = body.audio_message.as_option() {
        return file(if audio.ptt == Some(true) { "voice" } else { "audio" }, None, audio.file_length);
    }
    if let Some(document) = body.document_message.as_option() {
        return file("document", document.file_name.as_ref().or(document.title.as_ref()), document.file_length);
    }
    body.sticker_message.as_option().map(|_| File { kind: "sticker", name: None, bytes: None })
}

/// What a message says beside its words: whom it mentions, what it replies to.
fn context_of(body: &wa::Message) -> Option<&wa::ContextInfo> {
    macro_rules! first_of {
        ($($kind:ident),*) => {
            $(if let Some(context) = body.$kind.as_option().and_then(|part| part.context_info.as_option()) {
                return Some(context);
            })*
        };
    }
    first_of!(
        extended_text_message,
        image_message,
        video_message,
        audio_message,
        document_message,
        sticker_message,
        location_message,
        contact_message
    );
    None
}

#[cfg(test)]
mod tests;
