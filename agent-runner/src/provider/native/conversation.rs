//! A conversation with a model, in words of our own: what users said, what the model said, what its tools gave.
//!
//! One thing must always hold when a conversation is sent: a use of a tool is followed by its result. [`mend`] makes it so
//! for one that was read from a file, whatever a crash left there.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One step of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "who", content = "parts", rename_all = "snake_case")]
pub(super) enum Message {
    /// A prompt, or something that the agent is told besides.
    User(Vec<Seen>),
    /// What the model said, in its order.
    Model(Vec<Said>),
    /// What the tools gave that the message before this one used, in its order.
    Results(Vec<ToolResult>),
}

/// Something that a model is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Seen {
    /// Words.
    Text {
        /// Them.
        text: String,
    },
    /// A picture.
    Image {
        /// `image/png`, for one.
        media_type: String,
        /// The file, in base64.
        data: String,
    },
}

/// Something that a model said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Said {
    /// Words.
    Text {
        /// Them.
        text: String,
    },
    /// It wants to use a tool.
    ToolUse(ToolUse),
    /// Thoughts as plain text, which some APIs want back.
    Reasoning {
        /// Them.
        text: String,
    },
    /// A block that means nothing to us and is given back exactly as it came, in its place: signed thoughts first of all.
    Kept {
        /// The block, in the form of the API that sent it.
        block: Value,
    },
}

/// A use of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ToolUse {
    /// Names this use; the result has it too.
    pub(super) id: String,
    /// The tool.
    pub(super) name: String,
    /// What it is given: an object, empty where the model wrote something else.
    pub(super) input: Value,
    /// What is wrong with what the model wrote, when it was no object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) malformed: Option<String>,
}

/// What a tool gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ToolResult {
    /// See [`ToolUse::id`].
    pub(super) id: String,
    /// What it gave.
    pub(super) content: Vec<Seen>,
    /// Whether it failed.
    pub(super) is_error: bool,
}

impl Seen {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

impl Said {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

impl Message {
    /// The uses of tools in it.
    pub(super) fn tool_uses(&self) -> impl Iterator<Item = &ToolUse> {
        let parts = if let Self::Model(parts) = self { parts.as_slice() } else { &[] };
        parts.iter().filter_map(|part| if let Said::ToolUse(tool_use) = part { Some(tool_use) } else { None })
    }

    /// About how many bytes a model has to read for it.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::User(parts) => seen_size(parts),
            Self::Model(parts) => parts.iter().map(said_size).sum(),
            Self::Results(results) => results.iter().map(|result| seen_size(&result.content)).sum(),
        }
    }
}

fn seen_size(parts: &[Seen]) -> usize {
    // A picture costs a model about 1500 tokens, however many bytes it has.
    const IMAGE: usize = 6000;
    let size = |part: &Seen| if let Seen::Text { text } = part { text.len() } else { IMAGE };
    parts.iter().map(size).sum()
}

fn said_size(part: &Said) -> usize {
    match part {
        Said::Text { text } | Said::Reasoning { text } => text.len(),
        Said::ToolUse(tool_use) => tool_use.name.len() + tool_use.input.to_string().len(),
        Said::Kept { block } => block.to_string().len(),
    }
}

/// The words of a model's message, without what it only thought; `None` when there are none.
pub(super) fn words(parts: &[Said]) -> Option<String> {
    let texts: Vec<&str> = parts
        .iter()
        .filter_map(|part| if let Said::Text { text } = part { Some(text.as_str()) } else { None })
        .collect();
    let text = texts.join("");
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// Makes it so that every use of a tool is followed by its result, and that there are no other results. A result that is
/// missing says that nobody knows what became of it, so that the model looks before it does the same again.
pub(super) fn mend(messages: &mut Vec<Message>) {
    let mut mended: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages.drain(..) {
        match message {
            Message::Results(results) => {
                let wanted = mended.last().map(|last| last.tool_uses().map(|used| used.id.clone()).collect::<Vec<_>>());
                let wanted = wanted.unwrap_or_default();
                if !wanted.is_empty() {
                    mended.push(Message::Results(complete(&wanted, results)));
                }
            }
            other => {
                answer_last(&mut mended);
                mended.push(other);
            }
        }
    }
    answer_last(&mut mended);
    *messages = mended;
}

fn answer_last(messages: &mut Vec<Message>) {
    let open: Vec<String> =
        messages.last().map(|last| last.tool_uses().map(|used| used.id.clone()).collect()).unwrap_or_default();
    if !open.is_empty() {
        messages.push(Message::Results(complete(&open, Vec::new())));
    }
}

fn complete(wanted: &[String], given: Vec<ToolResult>) -> Vec<ToolResult> {
    let result = |id: &String| given.iter().find(|result| result.id == *id).cloned().unwrap_or_else(|| interrupted(id));
    wanted.iter().map(result).collect()
}

fn interrupted(id: &str) -> ToolResult {
    let words =
        "Interrupted: the container ended before the result was known. It may have been done, in part or whole.";
    ToolResult { id: id.to_owned(), content: vec![Seen::text(words)], is_error: true }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn uses(ids: &[&str]) -> Message {
        let used = |id: &&str| {
            let (id, name, input) = ((*id).to_owned(), "Bash".to_owned(), json!({}));
            Said::ToolUse(ToolUse { id, name, input, malformed: None })
        };
        Message::Model(ids.iter().map(used).collect())
    }

    fn results(ids: &[&str]) -> Message {
        let result = |id: &&str| ToolResult { id: (*id).to_owned(), content: vec![Seen::text("ok")], is_error: false };
        Message::Results(ids.iter().map(result).collect())
    }

    fn user() -> Message {
        Message::User(vec![Seen::text("hi")])
    }

    /// What is wrong in the API's eyes.
    fn dangling(messages: &[Message]) -> bool {
        messages.iter().enumerate().any(|(place, message)| {
            let used: Vec<&str> = message.tool_uses().map(|used| used.id.as_str()).collect();
            let given: Vec<&str> = match messages.get(place + 1) {
                Some(Message::Results(results)) => results.iter().map(|result| result.id.as_str()).collect(),
                _ => Vec::new(),
            };
            used != given
        })
    }

    #[test]
    fn whatever_was_left_a_use_of_a_tool_has_its_result_afterwards() {
        for (mut messages, length) in [
            (vec![user(), uses(&["a", "b"])], 3),
            (vec![user(), uses(&["a", "b"]), results(&["b"])], 3),
            (vec![user(), uses(&["a"]), user()], 4),
            (vec![user(), results(&["x"]), uses(&["a"]), results(&["a", "x"])], 3),
            (vec![results(&["x"])], 0),
            (vec![user(), uses(&["a"]), results(&["a"]), results(&["a"])], 3),
        ] {
            mend(&mut messages);
            assert!(!dangling(&messages), "{messages:?}");
            assert_eq!(messages.len(), length, "{messages:?}");
        }
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        let mut messages =
            vec![user(), uses(&["a", "b"]), results(&["a", "b"]), Message::Model(vec![Said::text("done")])];
        let before = messages.clone();
        mend(&mut messages);
        assert_eq!(messages, before);
    }

    #[test]
    fn only_what_is_said_aloud_is_words() {
        let thought = Said::Kept { block: json!({"type": "thinking", "thinking": "hm", "signature": "s"}) };
        assert_eq!(words(&[thought.clone(), Said::text(" a "), Said::text("b\n")]), Some("a b".to_owned()));
        assert_eq!(words(&[thought, Said::text(" \n")]), None);
    }
}
