//! What the fake model answers: a function of the conversation.

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::conversation::{Conversation, Said, said_in};

/// One answer of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// It says this and is done.
    Text(String),
    /// It wants to use a tool.
    ToolUse {
        /// The tool's name, `Bash` for one.
        name: String,
        /// Its input, an object.
        input: Value,
    },
    /// It says several things, and why it stops.
    Said {
        /// In this order.
        parts: Vec<Part>,
        /// `stop_reason`, such as `max_tokens`; `None` is what fits the parts.
        stop_reason: Option<String>,
    },
    /// It begins to answer, and the connection is dropped.
    BrokenOff {
        /// What it would have answered.
        answer: Box<Turn>,
        /// After so many events of the stream. The first is the message's start.
        events: NonZeroUsize,
    },
    /// It begins to answer, and an error comes in the middle of the stream.
    ErrorInStream {
        /// What it would have answered.
        answer: Box<Turn>,
        /// `error.type`, such as `overloaded_error`.
        kind: String,
    },
    /// The API answers with an error instead.
    Error {
        /// The HTTP status.
        status: u16,
        /// `error.type`, such as `rate_limit_error`.
        kind: String,
        /// `error.message`.
        message: String,
        /// The `retry-after` header, in whole seconds.
        retry_after: Option<Duration>,
    },
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Words.
    Text(String),
    /// Signed thoughts.
    Thinking {
        /// The thoughts.
        text: String,
        /// What has to come back with them.
        signature: String,
    },
    /// It wants to use a tool.
    ToolUse {
        /// The tool's name.
        name: String,
        /// Its input as the model wrote it, which need not be JSON.
        input: String,
    },
}

impl Part {
    /// Words.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A use of the `Bash` tool.
    #[must_use]
    pub fn bash(command: &str) -> Self {
        Self::ToolUse { name: "Bash".into(), input: json!({"command": command}).to_string() }
    }
}

impl Turn {
    /// It says several things.
    #[must_use]
    pub fn said(parts: Vec<Part>) -> Self {
        Self::Said { parts, stop_reason: None }
    }

    /// A use of the `Bash` tool.
    #[must_use]
    pub fn bash(command: &str) -> Self {
        let input = json!({"command": command, "description": "Run what the user asked for"});
        Self::ToolUse { name: "Bash".into(), input }
    }

    /// Too many requests: 429 `rate_limit_error`.
    #[must_use]
    pub fn rate_limited(retry_after: Duration) -> Self {
        Self::Error {
            status: 429,
            kind: "rate_limit_error".into(),
            message: "This request would exceed your account's rate limit. Please try again later.".into(),
            retry_after: Some(retry_after),
        }
    }

    /// The model is overloaded: 529 `overloaded_error`.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::Error { status: 529, kind: "overloaded_error".into(), message: "Overloaded".into(), retry_after: None }
    }
}

/// Answers conversations. Cheap to clone; a closure that remembers is shared by its clones.
#[derive(Clone)]
pub struct Script(Arc<dyn Fn(&Conversation) -> Turn + Send + Sync>);

impl Script {
    /// Answers by `script`. It is called once for each request, on a worker: it must not block.
    pub fn new(script: impl Fn(&Conversation) -> Turn + Send + Sync + 'static) -> Self {
        Self(Arc::new(script))
    }

    /// Answers `echo: <what the user said last>`. The messages of one prompt are joined by newlines.
    #[must_use]
    pub fn echo() -> Self {
        Self::new(|conversation| Turn::Text(echo(conversation)))
    }

    /// Answers like a small agent, so that people and tests can drive every path. By the last message that the user sent:
    ///
    /// * `bash: COMMAND` uses the `Bash` tool; `use: NAME JSON` uses any tool. What a tool gave is said as text, after
    ///   `error: ` when it failed.
    /// * `recall` says every message of the session, a line each, this one not included.
    /// * `fail: STATUS` answers with an error of that HTTP status.
    /// * Everything else is echoed as by [`Script::echo`].
    ///
    /// A command goes to the end of its line and may stand after other words (`@Andy bash: date`).
    #[must_use]
    pub fn tools() -> Self {
        Self::new(|conversation| {
            let text = match conversation.last() {
                Said::ToolResult { text, is_error: false } => return Turn::Text(text),
                Said::ToolResult { text, is_error: true } => return Turn::Text(format!("error: {text}")),
                Said::Nothing => return Turn::Text(echo(conversation)),
                Said::Text(text) => said_in(&text).pop().unwrap_or_default(),
            };
            if let Some(command) = argument(&text, "bash:") {
                Turn::bash(command)
            } else if let Some(tool_use) = argument(&text, "use:").and_then(tool_use) {
                tool_use
            } else if let Some(status) = argument(&text, "fail:").and_then(|status| status.parse().ok()) {
                Turn::Error {
                    status,
                    kind: "api_error".into(),
                    message: format!("asked for {status}"),
                    retry_after: None,
                }
            } else if text.split_whitespace().any(|word| word == "recall") {
                let mut said: Vec<_> = conversation.user_texts().iter().flat_map(|text| said_in(text)).collect();
                said.pop();
                Turn::Text(if said.is_empty() { "(nothing)".into() } else { said.join("\n") })
            } else {
                Turn::Text(echo(conversation))
            }
        })
    }

    pub(super) fn answer(&self, conversation: &Conversation) -> Turn {
        (self.0)(conversation)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script(..)")
    }
}

fn echo(conversation: &Conversation) -> String {
    match conversation.last() {
        Said::Text(text) => format!("echo: {}", said_in(&text).join("\n")),
        Said::ToolResult { text, .. } => format!("echo: {text}"),
        Said::Nothing => "echo: (nothing)".into(),
    }
}

/// What stands after `word` on its line.
fn argument<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.contains(word))?;
    let (_, argument) = line.split_once(word)?;
    let argument = argument.trim();
    (!argument.is_empty()).then_some(argument)
}

fn tool_use(argument: &str) -> Option<Turn> {
    let (name, input) = argument.split_once(' ').unwrap_or((argument, "{}"));
    let input: Value = serde_json::from_str(input).ok()?;
    input.is_object().then(|| Turn::ToolUse { name: name.into(), input })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(texts: &[&str]) -> Turn {
        let messages: Vec<_> = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
        Script::tools().answer(&Conversation::new(json!({"messages": messages})))
    }

    #[test]
    fn the_agent_script_uses_the_tool_it_is_asked_to_use() {
        assert_eq!(answer(&["@Andy bash: echo hi"]), Turn::bash("echo hi"));
        let expected = Turn::ToolUse { name: "mcp__nanoclaw__send_message".into(), input: json!({"text": "a b"}) };
        assert_eq!(answer(&[r#"use: mcp__nanoclaw__send_message {"text":"a b"}"#]), expected);
        assert!(matches!(answer(&["fail: 529"]), Turn::Error { status: 529, .. }));
    }

    #[test]
    fn the_agent_script_remembers_and_echoes() {
        assert_eq!(answer(&["one", "two", "@Andy recall"]), Turn::Text("one\ntwo".into()));
        assert_eq!(answer(&["recall"]), Turn::Text("(nothing)".into()));
        assert_eq!(answer(&["one", "two"]), Turn::Text("echo: two".into()));
    }
}
