//! What stands out in a text: what Telegram finds by itself in what people write, and what a client said.

use grammers_tl_types::{enums::MessageEntity, types};

/// A part of a text that the client under test formatted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Which kind: `bold`, `italic`, `underline`, `strike`, `spoiler`, `code`, `pre`, `link`, `quote`, `mention`, or `other`.
    pub kind: &'static str,
    /// Where it begins, in UTF-16 code units.
    pub offset: usize,
    /// How long it is, in UTF-16 code units.
    pub length: usize,
    /// The link's address, the code's language, or the person's id; empty without one.
    pub argument: String,
}

impl Entity {
    pub(super) fn of(entity: &MessageEntity) -> Self {
        use MessageEntity as E;
        let (kind, argument) = match entity {
            E::Bold(_) => ("bold", String::new()),
            E::Italic(_) => ("italic", String::new()),
            E::Underline(_) => ("underline", String::new()),
            E::Strike(_) => ("strike", String::new()),
            E::Spoiler(_) => ("spoiler", String::new()),
            E::Code(_) => ("code", String::new()),
            E::Pre(pre) => ("pre", pre.language.clone()),
            E::TextUrl(link) => ("link", link.url.clone()),
            E::Blockquote(_) => ("quote", String::new()),
            E::MentionName(mention) => ("mention", mention.user_id.to_string()),
            _ => ("other", String::new()),
        };
        // Whoever sends a negative number is refused before.
        let part = |number: i32| usize::try_from(number).unwrap_or_default();
        Self { kind, offset: part(entity.offset()), length: part(entity.length()), argument }
    }
}

/// How long a text is, in UTF-16 code units.
pub(super) fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The names after an `@` and the commands after a `/` in what somebody wrote.
pub(super) fn found(text: &str) -> Vec<MessageEntity> {
    let mut found = Vec::new();
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        let rest = &text[at + character.len_utf8()..];
        let begins = !before.is_alphanumeric() && before != '_';
        before = character;
        let named = |also: &str| rest.find(|c: char| !is_of_name(c) && !also.contains(c)).unwrap_or(rest.len());
        let (end, is_command) = match character {
            '@' => (named(""), false),
            '/' => (named("@"), true),
            _ => continue,
        };
        if !begins || end < if is_command { 1 } else { 3 } {
            continue;
        }
        // A message is shorter than 2 GiB.
        let (offset, length) = (length(&text[..at]) as i32, end as i32 + 1);
        found.push(match is_command {
            true => types::MessageEntityBotCommand { offset, length }.into(),
            false => types::MessageEntityMention { offset, length }.into(),
        });
    }
    found
}

/// The mention of somebody by a part of the text, or `None` when the text has no such part.
pub(super) fn mention(text: &str, part: &str, user: i64) -> Option<MessageEntity> {
    let at = text.find(part)?;
    let (offset, length) = (length(&text[..at]) as i32, length(part) as i32);
    Some(types::MessageEntityMentionName { offset, length, user_id: user }.into())
}

/// Whether a text has `@username` in it, or a command to it.
pub(super) fn names(text: &str, username: &str) -> bool {
    let (text, wanted) = (text.to_lowercase(), format!("@{}", username.to_lowercase()));
    text.match_indices(&wanted).any(|(at, name)| !text[at + name.len()..].starts_with(is_of_name))
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<(i32, i32)> {
        found(text).iter().map(|entity| (entity.offset(), entity.length())).collect()
    }

    #[test]
    fn names_and_commands_are_found_and_counted_in_utf16() {
        assert_eq!(places("🦀 @andy_bot, hello"), [(3, 9)]);
        assert_eq!(places("/ping@andy_bot now"), [(0, 14)]);
        assert_eq!(places("a@example.org and 1/2 and @a"), []);
    }

    #[test]
    fn a_username_is_named_as_a_whole_and_in_any_case() {
        assert!(names("hello @Andy_Bot!", "andy_bot"));
        assert!(names("/ping@andy_bot", "andy_bot"));
        assert!(!names("hello @andy_bots", "andy_bot"));
        assert!(!names("hello andy_bot", "andy_bot"));
    }
}
