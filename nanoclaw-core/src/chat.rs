//! A chat: a conversation on some service, and what is known of it before it is registered as a group.

use crate::{
    text_id::{plain_text, text_id},
    time::Timestamp,
};

text_id! {
    /// A conversation on some service, such as `tg:-100123`, `slack:C0123`, `dc:123`, `1203@g.us`, `local:main`.
    ///
    /// Up to 256 bytes without control characters. The part before the first `:` is the prefix by which a channel
    /// knows its own chats; WhatsApp's ids have a domain after `@` instead.
    ChatId, "chat id", |text| plain_text(text, 256)
}

text_id! {
    /// The name of a channel: a chat service and its adapter ("telegram", "local"). Lower-case letters, digits and `-`,
    /// at most 32 of them.
    ChannelName, "channel name", |text| {
        if text.is_empty() || text.len() > 32 {
            return Err("must have 1 to 32 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err("may have lower-case letters, digits and - only");
        }
        Ok(())
    }
}

/// Whether several people can write in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatKind {
    /// Several people.
    Group,
    /// One person and the assistant.
    Private,
}

/// What is kept of every chat that was ever seen, registered or not: never what was said in it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ChatMetadata {
    /// Which chat.
    pub chat: ChatId,
    /// The channel that carries it.
    pub channel: ChannelName,
    /// The name the service shows, when it told one.
    pub name: Option<String>,
    /// Group or private, when the service told.
    pub kind: Option<ChatKind>,
    /// When something last happened there.
    pub last_seen: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_ids_of_every_service_are_taken() {
        for id in ["tg:-100123", "slack:C0123", "dc:123", "1203@g.us", "local:main", "49123@s.whatsapp.net"] {
            assert_eq!(ChatId::new(id).unwrap().as_str(), id);
        }
        assert!(ChatId::new("x".repeat(256)).is_ok());
        assert!(ChatId::new("x".repeat(257)).is_err());
        assert!(ChatId::new("").is_err());
    }

    #[test]
    fn channel_names_are_short_and_plain() {
        for name in ["local", "telegram", "my-bridge-2"] {
            assert!(ChannelName::new(name).is_ok(), "{name}");
        }
        for name in ["", "Local", "a b", "a/b", "é", "a_b", "x".repeat(33).as_str()] {
            assert!(ChannelName::new(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_kept_of_a_chat_reads_as_before() {
        let chat = ChatMetadata {
            chat: ChatId::new("tg:-100123").unwrap(),
            channel: ChannelName::new("telegram").unwrap(),
            name: Some("Family".to_owned()),
            kind: Some(ChatKind::Group),
            last_seen: Timestamp::from_ms(1_772_627_400_000),
        };
        insta::assert_json_snapshot!(chat, @r#"
            {
              "chat": "tg:-100123",
              "channel": "telegram",
              "name": "Family",
              "kind": "group",
              "last_seen": 1772627400000
            }
            "#);
        assert_eq!(serde_json::to_value(ChatKind::Private).unwrap(), "private");
    }
}
