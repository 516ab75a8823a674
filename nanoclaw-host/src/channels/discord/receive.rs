//! What people write, handed in; and what is known of chats, kept.

use nanoclaw_core::{
    chat::{ChatId, ChatKind, ChatMetadata},
    message::{Author, InboundMessage, PlatformMessageId, Quote, SenderId},
    orchestrator::Receipt,
    time::Timestamp,
};

use super::{
    Discord, chat_of,
    client::Client,
    event::{Said, time_of},
    text_in::{Assistant, Mention, readable},
};
use crate::channels::{
    NOBODYS_CALL,
    arriving::{self, Arrived},
    calling, clean_name,
};

impl Discord {
    /// Hands a message in, with its files.
    ///
    /// # Errors
    /// Why it could not be stored just now.
    pub(super) async fn take_in(&self, client: &Client, me: &str, said: Said) -> Result<(), String> {
        let ids = (chat_of(&said.channel), SenderId::new(&said.user), PlatformMessageId::new(&said.id));
        let (Some(chat), Ok(sender), Ok(id)) = ids else {
            tracing::warn!(channel = said.channel, "a message with strange ids is skipped");
            return Ok(());
        };
        let called = self.intake.called(&chat);
        let assistant = Assistant { user: me, called: called.as_deref().unwrap_or(NOBODYS_CALL) };
        let names = |mention: Mention<'_>| match mention {
            Mention::User(id) => said.names.get(id).cloned(),
            Mention::Role(id) => self.known().places.role(id).map(str::to_owned),
            Mention::Channel(id) => self.known().places.channel(id).map(str::to_owned),
        };
        let not_kept = if said.files.is_empty() { None } else { self.intake.not_kept(&chat, &sender).await };
        let (attachments, files) = match not_kept {
            None => self.fetch_all(client, &said.files).await,
            Some(why) => arriving::not_fetched(said.files.len(), why),
        };
        let message = InboundMessage {
            chat: chat.clone(),
            channel: self.name.clone(),
            chat_kind: said.kind,
            id,
            sender,
            sender_name: said.name.clone(),
            author: Author::Person,
            text: text_of(&said, assistant, &names),
            sent_at: said.at,
            quote: quote_of(&said, assistant, &names),
            thread: None,
            attachments,
        };
        let receipt = arriving::accept(&*self.intake, self.files.as_ref(), Arrived { message, files }).await?;
        if receipt == Receipt::Unregistered {
            tracing::debug!(channel = said.channel, "a message in a channel that is no group");
        }
        // Of a channel of a guild the guild tells the name.
        if said.kind == Some(ChatKind::Private) {
            self.note(&chat, &said.name, ChatKind::Private, said.at).await;
        }
        Ok(())
    }

    /// Keeps what channels are called, so that people can register them.
    pub(super) async fn note_all(&self, named: Vec<(String, String)>) {
        for (channel, name) in named {
            if let (Some(chat), Some(made_at)) = (chat_of(&channel), time_of(&channel)) {
                self.note(&chat, &name, ChatKind::Group, made_at).await;
            }
        }
    }

    /// Says of channels that are gone that they are not heard any more. Discord does not say since when.
    pub(super) async fn left(&self, gone: &[(String, &'static str)]) {
        for (channel, how) in gone {
            let Some(chat) = chat_of(channel) else { continue };
            self.known().noted.remove(&chat);
            self.intake.left(&chat, how, Timestamp::now()).await;
        }
    }

    /// Keeps the name of a chat, once. Best effort.
    async fn note(&self, chat: &ChatId, name: &str, kind: ChatKind, last_seen: Timestamp) {
        if self.known().noted.get(chat).is_some_and(|noted| noted == name) {
            return;
        }
        let (channel, kind) = (self.name.clone(), Some(kind));
        let metadata = ChatMetadata { chat: chat.clone(), channel, name: clean_name(name), kind, last_seen };
        match self.intake.note_chat(metadata).await {
            Ok(()) => drop(self.known().noted.insert(chat.clone(), name.to_owned())),
            Err(error) => tracing::warn!(%error, "what is known of a channel could not be stored"),
        }
    }
}

/// What the inbox gets as the text.
fn text_of(said: &Said, assistant: Assistant<'_>, names: &impl Fn(Mention<'_>) -> Option<String>) -> String {
    let text = readable(&said.text, assistant, names);
    if said.edited {
        // Nobody is called again by a change; who wants an answer to it says so.
        return format!("[edited] {text}");
    }
    if said.calls_us { calling(text, assistant.called) } else { text }
}

fn quote_of(said: &Said, assistant: Assistant<'_>, names: &impl Fn(Mention<'_>) -> Option<String>) -> Option<Quote> {
    let quoted = said.reply_to.as_ref()?;
    let sender_name = match &quoted.user {
        Some(user) if user == assistant.user => Some(assistant.called.trim_start_matches('@').to_owned()),
        _ => quoted.name.clone(),
    };
    let text = quoted.text.as_ref().map(|text| readable(text, assistant, names));
    Some(Quote { id: PlatformMessageId::new(&quoted.id).ok()?, sender_name, text })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{super::event::Quoted, *};

    fn said(text: &str) -> Said {
        Said {
            channel: "20".to_owned(),
            kind: Some(ChatKind::Group),
            id: "1".to_owned(),
            at: Timestamp::from_ms(0),
            user: "11".to_owned(),
            name: "Ann".to_owned(),
            text: text.to_owned(),
            edited: false,
            calls_us: false,
            names: HashMap::new(),
            reply_to: None,
            files: Vec::new(),
        }
    }

    fn names(mention: Mention<'_>) -> Option<String> {
        (mention == Mention::User("11")).then(|| "Ann".to_owned())
    }

    const ANDY: Assistant<'_> = Assistant { user: "99", called: "@Andy" };

    #[test]
    fn a_mention_of_the_bot_becomes_what_the_group_calls_it() {
        let calls = |text: &str, called: &str| {
            text_of(&Said { calls_us: true, ..said(text) }, Assistant { user: "99", called }, &names)
        };
        assert_eq!(calls("<@99> hello <@11>", "@Andy"), "@Andy hello @Ann");
        assert_eq!(calls("hello <@99>", "@Andy"), "@Andy hello @Andy");
        assert_eq!(calls("<@99> hello", "hey bot"), "hey bot hello");
        assert_eq!(calls("a reply with a ping", "@Andy"), "@Andy a reply with a ping");
        assert_eq!(text_of(&said("hello"), ANDY, &names), "hello");
    }

    #[test]
    fn an_edit_says_that_it_is_one_and_calls_nobody() {
        let edit = Said { edited: true, calls_us: true, ..said("hello <@99>") };
        assert_eq!(text_of(&edit, ANDY, &names), "[edited] hello @Andy");
    }

    #[test]
    fn a_quote_has_its_words_and_who_said_them() {
        let quoting = |user: &str| {
            let (user, name, text) = (Some(user.to_owned()), Some("Bob".to_owned()), Some("ask <@11>".to_owned()));
            let reply_to = Some(Quoted { id: "5".to_owned(), user, name, text });
            quote_of(&Said { reply_to, ..said("yes") }, ANDY, &names).unwrap()
        };
        let quote = quoting("12");
        assert_eq!((quote.sender_name.as_deref(), quote.text.as_deref()), (Some("Bob"), Some("ask @Ann")));
        assert_eq!(quoting("99").sender_name.as_deref(), Some("Andy"), "the assistant's own words");
    }
}
