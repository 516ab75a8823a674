//! Slack's text made readable: `<@U1>` becomes a name, `<https://…|words>` words and address, `&amp;` what it stands for.
//!
//! Source of the form: Slack's documentation, "Formatting text for app surfaces".

/// The users whom a text mentions, in order, each once.
pub(super) fn mentioned(text: &str) -> Vec<&str> {
    let mut users = Vec::new();
    for part in parts(text) {
        if let Part::Entity(entity) = part
            && let Some(user) = entity.strip_prefix('@')
        {
            let user = user.split('|').next().unwrap_or_default();
            if !users.contains(&user) {
                users.push(user);
            }
        }
    }
    users
}

/// The assistant: its user, and what it is called in the chat.
#[derive(Clone, Copy)]
pub(super) struct Assistant<'a> {
    pub(super) user: &'a str,
    pub(super) called: &'a str,
}

/// `text` as people would read it. `name_of` knows the names of users; one that it does not know is shown by its id.
pub(super) fn readable(text: &str, assistant: Assistant<'_>, name_of: impl Fn(&str) -> Option<String>) -> String {
    let mut shown = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Plain(plain) => push_unescaped(&mut shown, plain),
            Part::Entity(entity) => push_entity(&mut shown, entity, assistant, &name_of),
        }
    }
    shown
}

enum Part<'a> {
    Plain(&'a str),
    /// What is between `<` and `>`.
    Entity(&'a str),
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let open = rest.find('<').unwrap_or(rest.len());
        if open > 0 {
            let (plain, tail) = rest.split_at(open);
            rest = tail;
            return Some(Part::Plain(plain));
        }
        // Slack escapes every `<` that is none of its own; one without an end is what somebody wrote all the same.
        match rest[1..].find('>') {
            Some(end) => {
                let entity = &rest[1..=end];
                rest = &rest[end + 2..];
                Some(Part::Entity(entity))
            }
            None => Some(Part::Plain(std::mem::take(&mut rest))),
        }
    })
}

fn push_entity(shown: &mut String, entity: &str, assistant: Assistant<'_>, name_of: &impl Fn(&str) -> Option<String>) {
    let (what, label) = match entity.split_once('|') {
        Some((what, label)) => (what, Some(label).filter(|label| !label.is_empty())),
        None => (entity, None),
    };
    match what.chars().next() {
        Some('@') if what[1..] == *assistant.user => shown.push_str(assistant.called),
        Some('@') => {
            let user = &what[1..];
            shown.push('@');
            match (name_of(user), label) {
                (Some(name), _) => shown.push_str(&name),
                (None, Some(label)) => push_unescaped(shown, label.trim_start_matches('@')),
                (None, None) => shown.push_str(user),
            }
        }
        Some('#') => {
            shown.push('#');
            push_unescaped(shown, label.unwrap_or(&what[1..]).trim_start_matches('#'));
        }
        Some('!') => match label {
            // A group of users, or a date with the words that stand for it.
            Some(label) => push_unescaped(shown, label),
            None => {
                shown.push('@');
                push_unescaped(shown, what[1..].split('^').next().unwrap_or_default());
            }
        },
        _ => {
            let address = what.strip_prefix("mailto:").or_else(|| what.strip_prefix("tel:")).unwrap_or(what);
            match label {
                Some(label) if label != address && label != what => {
                    push_unescaped(shown, label);
                    shown.push_str(" (");
                    push_unescaped(shown, address);
                    shown.push(')');
                }
                _ => push_unescaped(shown, address),
            }
        }
    }
}

fn push_unescaped(shown: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>')];
        match known.into_iter().find(|(escaped, _)| rest.starts_with(escaped)) {
            Some((escaped, character)) => {
                shown.push(character);
                rest = &rest[escaped.len()..];
            }
            None => {
                shown.push('&');
                rest = &rest[1..];
            }
        }
    }
    shown.push_str(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let assistant = Assistant { user: "UBOT", called: "@Andy" };
        readable(text, assistant, |user| (user == "U1").then(|| "Ann".to_owned()))
    }

    #[test]
    fn what_slack_writes_in_signs_is_shown_in_words() {
        for (text, expected) in [
            ("hello", "hello"),
            ("<@U1> and <@U2|bob> and <@U3>", "@Ann and @bob and @U3"),
            ("<@UBOT> hello", "@Andy hello"),
            ("see <#C1|general> and <#C2>", "see #general and #C2"),
            ("<https://a.example/x?a=1&amp;b=2>", "https://a.example/x?a=1&b=2"),
            ("<https://a.example|the page>", "the page (https://a.example)"),
            ("<https://a.example|https://a.example>", "https://a.example"),
            ("<mailto:a@b.example|a@b.example>", "a@b.example"),
            ("<!here> <!channel> <!subteam^S1|@team> <!date^1^{date}|Monday>", "@here @channel @team Monday"),
            ("1 &lt; 2 &amp;&amp; 3 &gt; 2 &amp;lt; R&B", "1 < 2 && 3 > 2 &lt; R&B"),
            ("an open < end", "an open < end"),
            ("", ""),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_users_mentioned_are_each_told_once() {
        assert_eq!(mentioned("<@U1> <@U2|bob> <@U1> <#C1> U3"), ["U1", "U2"]);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[<>|@#!&;a-cU1ä ]{0,40}") {
            let _ = (shown(&text), mentioned(&text));
        }

        #[test]
        fn text_without_signs_stays_as_it_is(text in "[^<&]*") {
            prop_assert_eq!(shown(&text), text);
        }
    }
}
