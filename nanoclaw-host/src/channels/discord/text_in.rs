//! Discord's text made readable: `<@1>` becomes a name, `<#2>` a channel's, `<:wave:3>` what it is called.
//!
//! *Source* of the forms: Discord's documentation, "Message Formatting".

/// The assistant: its user, and what it is called in the chat.
#[derive(Clone, Copy)]
pub(super) struct Assistant<'a> {
    pub(super) user: &'a str,
    pub(super) called: &'a str,
}

/// What an id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mention<'a> {
    User(&'a str),
    Role(&'a str),
    Channel(&'a str),
}

/// `text` as people would read it. `name_of` knows names; of what it does not know the id is shown.
pub(super) fn readable(
    text: &str,
    assistant: Assistant<'_>,
    name_of: impl Fn(Mention<'_>) -> Option<String>,
) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        shown.push_str(&rest[..open]);
        rest = &rest[open..];
        let end = rest.find('>');
        match end.and_then(|end| in_words(&rest[1..end], assistant, &name_of).map(|words| (words, end))) {
            Some((words, end)) => {
                shown.push_str(&words);
                rest = &rest[end + 1..];
            }
            None => {
                shown.push('<');
                rest = &rest[1..];
            }
        }
    }
    shown.push_str(rest);
    shown
}

/// What stands between `<` and `>`, in words; `None` when it is none of Discord's signs.
fn in_words(sign: &str, assistant: Assistant<'_>, name_of: &impl Fn(Mention<'_>) -> Option<String>) -> Option<String> {
    let named = |before: char, mention: Mention<'_>, id: &str| {
        Some(format!("{before}{}", name_of(mention).unwrap_or_else(|| id.to_owned())))
    };
    if let Some(role) = sign.strip_prefix("@&").filter(|id| is_id(id)) {
        return named('@', Mention::Role(role), role);
    }
    if let Some(user) = sign.strip_prefix("@!").or_else(|| sign.strip_prefix('@')).filter(|id| is_id(id)) {
        if user == assistant.user {
            return Some(assistant.called.to_owned());
        }
        return named('@', Mention::User(user), user);
    }
    if let Some(channel) = sign.strip_prefix('#').filter(|id| is_id(id)) {
        return named('#', Mention::Channel(channel), channel);
    }
    if let Some(emoji) = sign.strip_prefix("a:").or_else(|| sign.strip_prefix(':')) {
        let (name, id) = emoji.split_once(':')?;
        return (is_id(id) && !name.is_empty()).then(|| format!(":{name}:"));
    }
    if let Some(command) = sign.strip_prefix('/') {
        let (name, id) = command.rsplit_once(':')?;
        return is_id(id).then(|| format!("/{name}"));
    }
    let moment = sign.strip_prefix("t:")?;
    let seconds: i64 = moment.split(':').next()?.parse().ok()?;
    Some(jiff::Timestamp::from_second(seconds).ok()?.to_string())
}

fn is_id(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let assistant = Assistant { user: "99", called: "@Andy" };
        readable(text, assistant, |mention| {
            let name = match mention {
                Mention::User("11") => "Ann",
                Mention::Role("41") => "Cooks",
                Mention::Channel("20") => "general",
                _ => return None,
            };
            Some(name.to_owned())
        })
    }

    #[test]
    fn what_discord_writes_in_signs_is_shown_in_words() {
        for (text, expected) in [
            ("hello", "hello"),
            ("<@11> and <@!11> and <@12>", "@Ann and @Ann and @12"),
            ("<@99> hello <@!99>", "@Andy hello @Andy"),
            ("ask <@&41> in <#20>, or <@&42> in <#21>", "ask @Cooks in #general, or @42 in #21"),
            ("<:wave:123> <a:dance:124>", ":wave: :dance:"),
            ("try </tasks list:125>", "try /tasks list"),
            ("at <t:1700000000:R>", "at 2023-11-14T22:13:20Z"),
            ("if a < b > c, <@x>, <<@11>>, <", "if a < b > c, <@x>, <@Ann>, <"),
            ("@everyone <https://a.example>", "@everyone <https://a.example>"),
            ("", ""),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[<>@#!&:/at19 ä]{0,40}") {
            let _ = shown(&text);
        }

        #[test]
        fn text_without_signs_stays_as_it_is(text in "[^<]*") {
            prop_assert_eq!(shown(&text), text);
        }
    }
}
