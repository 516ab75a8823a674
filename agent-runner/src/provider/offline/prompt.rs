//! Reading a prompt back into the messages it was made of (format: `nanoclaw_core::prompt`).

use crate::agent::{NEW_SESSION_NOTICE, TASK_NOTICE};

/// A message in a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    /// Who wrote it, as shown; empty where the prompt does not say.
    pub(super) sender: String,
    /// When, as shown.
    pub(super) time: String,
    /// The text, without what it quotes, trimmed.
    pub(super) text: String,
}

/// The messages of a prompt, in order. A prompt without any `<message>` (a task's) is one message itself.
pub(super) fn messages(prompt: &str) -> Vec<Heard> {
    let mut found = Vec::new();
    let mut rest = prompt;
    while let Some(element) = next_element(&mut rest, "message") {
        found.push(Heard {
            sender: attribute(element.head, "sender"),
            time: attribute(element.head, "time"),
            text: unescape(&without_quotes(element.body)).trim().to_owned(),
        });
    }
    if found.is_empty() {
        let prompt = prompt.strip_prefix(NEW_SESSION_NOTICE).unwrap_or(prompt).trim();
        let text = prompt.strip_prefix(TASK_NOTICE).unwrap_or(prompt).trim().to_owned();
        found.push(Heard { sender: String::new(), time: String::new(), text });
    }
    found
}

/// An element: what stands in its opening tag after the name, and what stands inside.
struct Element<'a> {
    before: &'a str,
    head: &'a str,
    body: &'a str,
}

/// Takes the next element `name` off `rest`. Texts are escaped, so a tag is a tag.
fn next_element<'a>(rest: &mut &'a str, name: &str) -> Option<Element<'a>> {
    let open = format!("<{name}");
    let close = format!("</{name}>");
    let mut from = 0;
    loop {
        let start = from + rest[from..].find(&open)?;
        let inside = &rest[start + open.len()..];
        // `<messages>` is another element than `<message …>`.
        if !inside.starts_with([' ', '>']) {
            from = start + open.len();
            continue;
        }
        let (head, inside) = inside.split_once('>')?;
        let (body, after) = inside.split_once(&close)?;
        let element = Element { before: &rest[..start], head, body };
        *rest = after;
        return Some(element);
    }
}

fn without_quotes(body: &str) -> String {
    let mut rest = body;
    let mut text = String::new();
    while let Some(quote) = next_element(&mut rest, "quoted_message") {
        text.push_str(quote.before);
    }
    text.push_str(rest);
    text
}

fn attribute(head: &str, name: &str) -> String {
    let value = head.split_once(&format!(" {name}=\"")).and_then(|(_, value)| value.split_once('"'));
    value.map(|(value, _)| unescape(value)).unwrap_or_default()
}

/// `&amp;` last, so that `&amp;lt;` becomes the text `&lt;`.
fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(prompt: &str) -> Vec<String> {
        messages(prompt).into_iter().map(|message| message.text).collect()
    }

    #[test]
    fn messages_are_read_back_in_order() {
        let prompt = "<context timezone=\"Europe/Berlin\" />\n<messages>\n\
            <message sender=\"Ann &amp; Co\" time=\"Mar 4, 2026, 1:30 PM\">a &lt; b &amp;lt; c\nsecond line</message>\n\
            <message sender=\"Bob\" time=\"t\" reply_to=\"17\"><quoted_message from=\"Ann\">a</quoted_message>yes</message>\n\
            </messages>\n<messages>\n<message sender=\"Ann\" time=\"t\">more</message>\n</messages>";
        let heard = messages(prompt);
        assert_eq!(heard[0].sender, "Ann & Co");
        assert_eq!(heard[0].time, "Mar 4, 2026, 1:30 PM");
        assert_eq!(texts(prompt), ["a < b &lt; c\nsecond line", "yes", "more"]);
    }

    #[test]
    fn a_prompt_without_messages_is_one_message() {
        assert_eq!(texts("water the plants"), ["water the plants"]);
        assert_eq!(texts(&format!("{TASK_NOTICE}\n\nwater the plants")), ["water the plants"]);
        assert_eq!(texts("<message torn"), ["<message torn"]);
    }
}
