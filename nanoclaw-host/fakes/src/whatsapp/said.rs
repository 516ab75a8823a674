//! What somebody says, as the message that it is in the protocol.

use waproto::{
    buffa::MessageField,
    whatsapp::{
        ContextInfo, Message, MessageKey,
        message::{ExtendedTextMessage, FutureProofMessage, ProtocolMessage, protocol_message::Type},
    },
};

use super::{
    media::{File, Media},
    nodes::now,
};

/// Something that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub(super) text: String,
    pub(super) mentions: Vec<String>,
    pub(super) answers: Option<String>,
    pub(super) file: Option<File>,
}

impl Said {
    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// Somebody is mentioned, by the address by number or by the one that hides it. The text has to have `@` and the part before the address's
    /// `@` where they are.
    #[must_use]
    pub fn mention(mut self, address: &str) -> Self {
        self.mentions.push(address.to_owned());
        self
    }

    /// It answers the message of this id in the same chat, which is quoted.
    #[must_use]
    pub fn answer(mut self, id: &str) -> Self {
        self.answers = Some(id.to_owned());
        self
    }

    /// With a file. Its caption is the text; what is spoken has none.
    #[must_use]
    pub fn file(mut self, file: File) -> Self {
        self.file = Some(file);
        self
    }
}

/// What is quoted: the message's id, who said it, and what.
pub(super) struct Quoted {
    pub(super) id: String,
    pub(super) who: String,
    pub(super) message: Message,
}

/// What is said, as a message.
pub(super) fn message(said: &Said, quoted: Option<Quoted>, media: &mut Media) -> Message {
    let mut context = None;
    if !said.mentions.is_empty() || quoted.is_some() {
        let mut of_others = ContextInfo { mentioned_jid: said.mentions.clone(), ..Default::default() };
        if let Some(quoted) = quoted {
            of_others.stanza_id = Some(quoted.id);
            of_others.participant = Some(quoted.who);
            of_others.quoted_message = MessageField::some(quoted.message);
        }
        context = Some(of_others);
    }
    if let Some(file) = &said.file {
        return media.message(file, &said.text, context);
    }
    let Some(context) = context else {
        return Message { conversation: Some(said.text.clone()), ..Default::default() };
    };
    let text = ExtendedTextMessage {
        text: Some(said.text.clone()),
        context_info: MessageField::some(context),
        ..Default::default()
    };
    Message { extended_text_message: MessageField::some(text), ..Default::default() }
}

/// That a message was changed to this text, or removed.
pub(super) fn change(chat: &str, id: &str, who: Option<&str>, text: Option<&str>) -> Message {
    let key = MessageKey {
        remote_jid: Some(chat.to_owned()),
        from_me: Some(false),
        id: Some(id.to_owned()),
        participant: who.map(str::to_owned),
    };
    let Some(text) = text else {
        let removal =
            ProtocolMessage { key: MessageField::some(key), r#type: Some(Type::REVOKE), ..Default::default() };
        return Message { protocol_message: MessageField::some(removal), ..Default::default() };
    };
    let changed = Message { conversation: Some(text.to_owned()), ..Default::default() };
    let edit = ProtocolMessage {
        key: MessageField::some(key),
        r#type: Some(Type::MESSAGE_EDIT),
        edited_message: MessageField::some(changed),
        timestamp_ms: Some(now() as i64 * 1000),
        ..Default::default()
    };
    let inner = Message { protocol_message: MessageField::some(edit), ..Default::default() };
    let wrapped = FutureProofMessage { message: MessageField::some(inner) };
    Message { edited_message: MessageField::some(wrapped), ..Default::default() }
}
