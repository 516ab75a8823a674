//! Telegram's text made readable: a mention of the assistant becomes what it is called, a text with an address behind it shows both.
//!
//! Telegram sends plain text, and beside it what its parts are, by offsets in UTF-16 units (core.telegram.org/api/entities). What only
//! changes how a part looks is left out.

use std::ops::Range;

use grammers_client::tl::enums::MessageEntity;

/// The assistant: its account, and what it is called in the chat.
#[derive(Clone, Copy)]
pub(super) struct Assistant<'a> {
    pub(super) id: i64,
    /// Without the `@`.
    pub(super) username: Option<&'a str>,
    pub(super) called: &'a str,
}

/// `text` as people would read it, and whether it mentions the assistant.
pub(super) fn readable(text: &str, entities: &[MessageEntity], assistant: Assistant<'_>) -> (String, bool) {
    let mut parts: Vec<_> = entities.iter().filter_map(|entity| part(text, entity)).collect();
    parts.sort_by_key(|(range, _)| range.start);
    let (mut shown, mut from, mut mentioned) = (String::with_capacity(text.len()), 0, false);
    for (range, entity) in parts {
        // One within another: the outer one has said what is to be said.
        if range.start < from {
            continue;
        }
        let Some((replacement, is_mention)) = replacement(&text[range.clone()], entity, assistant) else { continue };
        shown.push_str(&text[from..range.start]);
        shown.push_str(&replacement);
        from = range.end;
        mentioned |= is_mention;
    }
    shown.push_str(&text[from..]);
    (shown, mentioned)
}

fn replacement(part: &str, entity: &MessageEntity, assistant: Assistant<'_>) -> Option<(String, bool)> {
    let ours = |name: &str| assistant.username.is_some_and(|username| name.eq_ignore_ascii_case(username));
    match entity {
        MessageEntity::Mention(_) if part.strip_prefix('@').is_some_and(ours) => {
            Some((assistant.called.to_owned(), true))
        }
        MessageEntity::MentionName(mention) if mention.user_id == assistant.id => {
            Some((assistant.called.to_owned(), true))
        }
        // Somebody without a username, by name.
        MessageEntity::MentionName(_) if !part.starts_with('@') => Some((format!("@{part}"), false)),
        // In a group a command says to whom: /ping@andy_bot.
        MessageEntity::BotCommand(_) => {
            part.split_once('@').filter(|(_, to)| ours(to)).map(|(command, _)| (command.to_owned(), false))
        }
        MessageEntity::TextUrl(link) if link.url != part => Some((format!("{part} ({})", link.url), false)),
        _ => None,
    }
}

/// An entity that matters, and where it is in `text`, in bytes; `None` for one that is not within it.
fn part<'a>(text: &str, entity: &'a MessageEntity) -> Option<(Range<usize>, &'a MessageEntity)> {
    let (offset, length) = match entity {
        MessageEntity::Mention(part) => (part.offset, part.length),
        MessageEntity::MentionName(part) => (part.offset, part.length),
        MessageEntity::BotCommand(part) => (part.offset, part.length),
        MessageEntity::TextUrl(part) => (part.offset, part.length),
        _ => return None,
    };
    let (offset, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
    let start = byte_at(text, offset)?;
    let end = byte_at(text, offset.checked_add(length)?)?;
    (start < end).then_some((start..end, entity))
}

/// The byte at which the UTF-16 unit of this number begins; `None` within a character and beyond the end.
fn byte_at(text: &str, unit: usize) -> Option<usize> {
    let mut units = 0;
    for (byte, character) in text.char_indices() {
        if units >= unit {
            return (units == unit).then_some(byte);
        }
        units += character.len_utf16();
    }
    (units == unit).then_some(text.len())
}

#[cfg(test)]
mod tests {
    use grammers_client::tl::types;
    use proptest::prelude::*;

    use super::*;

    const ANDY: Assistant<'_> = Assistant { id: 777, username: Some("andy_bot"), called: "@Andy" };

    fn mention(offset: i32, length: i32) -> MessageEntity {
        types::MessageEntityMention { offset, length }.into()
    }

    fn named(offset: i32, length: i32, user_id: i64) -> MessageEntity {
        types::MessageEntityMentionName { offset, length, user_id }.into()
    }

    fn command(offset: i32, length: i32) -> MessageEntity {
        types::MessageEntityBotCommand { offset, length }.into()
    }

    fn link(offset: i32, length: i32, url: &str) -> MessageEntity {
        types::MessageEntityTextUrl { offset, length, url: url.to_owned() }.into()
    }

    #[test]
    fn what_telegram_says_beside_the_text_is_shown_in_it() {
        for (text, entities, expected, mentioned) in [
            ("hello", vec![], "hello", false),
            ("@andy_bot hello", vec![mention(0, 9)], "@Andy hello", true),
            ("hello @Andy_Bot!", vec![mention(6, 9)], "hello @Andy!", true),
            ("@bob hello", vec![mention(0, 4)], "@bob hello", false),
            ("🦀 @andy_bot", vec![mention(3, 9)], "🦀 @Andy", true),
            ("ask Andy and Bob", vec![named(4, 4, 777), named(13, 3, 5)], "ask @Andy and @Bob", true),
            ("/ping@andy_bot", vec![command(0, 14)], "/ping", false),
            ("/ping@other_bot", vec![command(0, 15)], "/ping@other_bot", false),
            ("the page", vec![link(4, 4, "https://a.example")], "the page (https://a.example)", false),
            ("https://a.example", vec![link(0, 17, "https://a.example")], "https://a.example", false),
        ] {
            assert_eq!(readable(text, &entities, ANDY), (expected.to_owned(), mentioned), "{text:?}");
        }
        let nameless = Assistant { username: None, ..ANDY };
        assert_eq!(readable("@andy_bot", &[mention(0, 9)], nameless), ("@andy_bot".to_owned(), false));
    }

    proptest! {
        #[test]
        fn no_entity_is_too_strange(text in "[@a🦀ä ]{0,12}", parts in proptest::collection::vec((-3_i32..20, -3_i32..20), 0..5)) {
            let entities: Vec<_> = parts.iter().flat_map(|(offset, length)| {
                [mention(*offset, *length), named(*offset, *length, 777), link(*offset, *length, "https://a.example")]
            }).collect();
            let _ = readable(&text, &entities, ANDY);
            prop_assert_eq!(readable(&text, &[], ANDY), (text, false));
        }
    }
}
