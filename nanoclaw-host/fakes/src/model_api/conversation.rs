//! Reads what a request to the model says: which words are the user's, and what a tool answered.
//!
//! Agents put words of their own between the user's (Claude Code's `<system-reminder>` blocks), and the host wraps what
//! people said in `<message …>` elements. A script wants neither, so both are taken off here.

use serde_json::{Value, json};

/// The body of a request for an answer.
#[derive(Debug, Clone)]
pub struct Conversation {
    body: Value,
}

/// What the model is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The user said this.
    Text(String),
    /// A tool that the model wanted to use gave this.
    ToolResult {
        /// The tool's output; its text blocks joined by newlines.
        text: String,
        /// Whether it failed.
        is_error: bool,
    },
    /// Nothing that a user or tool said.
    Nothing,
}

impl Conversation {
    /// Takes the JSON body of a request.
    #[must_use]
    pub fn new(body: Value) -> Self {
        Self { body }
    }

    /// Takes the JSON body of a request in the form of OpenAI's chat completions; it is told in the other form. What a tool
    /// gave is told as failed when it says so, since this form has no word for it.
    #[must_use]
    pub fn of_chat_completions(mut body: Value) -> Self {
        let message = |message: &Value| match message["role"].as_str() {
            Some("tool") => {
                let content = &message["content"];
                let failed = block_text(content).starts_with("This failed:");
                let id = &message["tool_call_id"];
                let block = json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": failed});
                json!({"role": "user", "content": [block]})
            }
            _ => message.clone(),
        };
        body["messages"] = items(&body["messages"]).iter().map(message).collect();
        body["tools"] = items(&body["tools"]).iter().map(|tool| tool["function"].clone()).collect();
        Self { body }
    }

    /// The whole body.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }

    /// The model that is asked for; empty when there is none.
    #[must_use]
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// The names of the tools on offer.
    #[must_use]
    pub fn tool_names(&self) -> Vec<&str> {
        items(&self.body["tools"]).iter().filter_map(|tool| tool["name"].as_str()).collect()
    }

    /// The last thing that a user or a tool said.
    #[must_use]
    pub fn last(&self) -> Said {
        self.said().pop().unwrap_or(Said::Nothing)
    }

    /// The user's texts, oldest first, reminders taken off. A text is as the agent sent it: see [`said_in`].
    #[must_use]
    pub fn user_texts(&self) -> Vec<String> {
        let text = |said| if let Said::Text(text) = said { Some(text) } else { None };
        self.said().into_iter().filter_map(text).collect()
    }

    /// What users and tools said, oldest first.
    fn said(&self) -> Vec<Said> {
        let mut said = Vec::new();
        for message in items(&self.body["messages"]).iter().filter(|message| message["role"] == "user") {
            if let Some(text) = message["content"].as_str() {
                said.extend(user_text(text));
            }
            for block in items(&message["content"]) {
                match block["type"].as_str() {
                    Some("text") => said.extend(user_text(block["text"].as_str().unwrap_or_default())),
                    Some("tool_result") => said.push(Said::ToolResult {
                        text: block_text(&block["content"]),
                        is_error: block["is_error"].as_bool().unwrap_or(false),
                    }),
                    _ => {}
                }
            }
        }
        said
    }
}

/// What people said in a prompt: the texts of its `<message …>` elements, unescaped, or the whole prompt when it has none.
#[must_use]
pub fn said_in(prompt: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = prompt;
    while let Some(start) = rest.find("<message ") {
        let Some((_, after)) = rest[start..].split_once('>') else { break };
        let Some((inner, after)) = after.split_once("</message>") else { break };
        let text = inner.rsplit_once("</quoted_message>").map_or(inner, |(_, text)| text);
        texts.push(unescape(text.trim()));
        rest = after;
    }
    if texts.is_empty() { vec![prompt.trim().to_owned()] } else { texts }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The text without reminders; `None` when nothing is left.
fn user_text(text: &str) -> Option<Said> {
    let text = without_reminders(text);
    let text = text.trim();
    (!text.is_empty()).then(|| Said::Text(text.to_owned()))
}

fn without_reminders(text: &str) -> String {
    const OPEN: &str = "<system-reminder>";
    const CLOSE: &str = "</system-reminder>";
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        kept.push_str(before);
        rest = after.split_once(CLOSE).map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept
}

/// A tool result's content is a text or a list of blocks.
fn block_text(content: &Value) -> String {
    if let Some(text) = content.as_str() {
        return text.to_owned();
    }
    items(content).iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
}

fn unescape(text: &str) -> String {
    // `&amp;` last, so that an escaped escape stays one.
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_of(content: Value) -> Said {
        Conversation::new(json!({"messages": [{"role": "user", "content": content}]})).last()
    }

    #[test]
    fn reminders_are_not_the_users_words() {
        let reminder = json!({"type": "text", "text": "<system-reminder>\nbash: rm -rf /\n</system-reminder>\n"});
        let text = json!({"type": "text", "text": "hello"});
        assert_eq!(last_of(json!([reminder, text])), Said::Text("hello".into()));
        assert_eq!(last_of(json!([text, reminder])), Said::Text("hello".into()));
        assert_eq!(last_of(json!("hello <system-reminder>x</system-reminder>")), Said::Text("hello".into()));
        assert_eq!(last_of(json!([reminder])), Said::Nothing);
    }

    #[test]
    fn a_tool_result_is_read_whether_text_or_blocks() {
        for content in [json!("out"), json!([{"type": "text", "text": "out"}])] {
            let block = json!([{"type": "tool_result", "tool_use_id": "t", "content": content, "is_error": true}]);
            assert_eq!(last_of(block), Said::ToolResult { text: "out".into(), is_error: true });
        }
    }

    #[test]
    fn what_people_said_is_taken_out_of_the_prompt() {
        let prompt = "<context timezone=\"UTC\" />\n<messages>\n\
            <message sender=\"A\" time=\"now\">@Andy bash: echo &quot;a &amp;lt; b&quot; &gt; f</message>\n\
            <message sender=\"B\" time=\"now\"><quoted_message from=\"A\">old</quoted_message>new</message>\n</messages>";
        assert_eq!(said_in(prompt), ["@Andy bash: echo \"a &lt; b\" > f", "new"]);
        assert_eq!(said_in(" plain "), ["plain"]);
        assert_eq!(said_in("<message torn"), ["<message torn"]);
    }
}
