//! The wire forms of an answer: the events of a stream, and the same answer whole.

use serde_json::{Value, json};

use super::script::Turn;

/// An answer that is not an error.
pub(super) struct Answer {
    id: String,
    model: String,
    block: Block,
    input_tokens: usize,
}

enum Block {
    Text(String),
    ToolUse { id: String, name: String, input: Value },
}

impl Answer {
    /// `None` when `turn` is an error. `number` makes ids unique; `request_bytes` stands in for a tokenizer.
    pub(super) fn new(turn: &Turn, number: usize, model: &str, request_bytes: usize) -> Option<Self> {
        let block = match turn {
            Turn::Text(text) => Block::Text(text.clone()),
            Turn::ToolUse { name, input } => {
                Block::ToolUse { id: format!("toolu_fake{number:04}"), name: name.clone(), input: input.clone() }
            }
            Turn::Error { .. } => return None,
        };
        let id = format!("msg_fake{number:04}");
        Some(Self { id, model: model.to_owned(), block, input_tokens: tokens(request_bytes) })
    }

    /// The events of the stream, in order, each complete with its empty line.
    pub(super) fn events(&self) -> Vec<String> {
        let mut events = vec![event(&json!({"type": "message_start", "message": self.message(&[], None, 1)}))];
        let (start, deltas) = match &self.block {
            Block::Text(text) => (
                json!({"type": "text", "text": ""}),
                pieces(text).into_iter().map(|text| json!({"type": "text_delta", "text": text})).collect::<Vec<_>>(),
            ),
            Block::ToolUse { id, name, input } => (
                json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
                pieces(&input.to_string())
                    .into_iter()
                    .map(|json| json!({"type": "input_json_delta", "partial_json": json}))
                    .collect(),
            ),
        };
        events.push(event(&json!({"type": "content_block_start", "index": 0, "content_block": start})));
        events.push(event(&json!({"type": "ping"})));
        for delta in deltas {
            events.push(event(&json!({"type": "content_block_delta", "index": 0, "delta": delta})));
        }
        events.push(event(&json!({"type": "content_block_stop", "index": 0})));
        events.push(event(&json!({
            "type": "message_delta",
            "delta": {"stop_reason": self.stop_reason(), "stop_sequence": null},
            "usage": {"output_tokens": self.output_tokens()},
        })));
        events.push(event(&json!({"type": "message_stop"})));
        events
    }

    /// The answer in one piece, for a request without `stream`.
    pub(super) fn whole(&self) -> Value {
        let block = match &self.block {
            Block::Text(text) => json!({"type": "text", "text": text}),
            Block::ToolUse { id, name, input } => json!({"type": "tool_use", "id": id, "name": name, "input": input}),
        };
        self.message(&[block], Some(self.stop_reason()), self.output_tokens())
    }

    fn message(&self, content: &[Value], stop_reason: Option<&str>, output_tokens: usize) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stop_reason, "stop_sequence": null,
            "usage": {
                "input_tokens": self.input_tokens, "output_tokens": output_tokens,
                "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            },
        })
    }

    fn stop_reason(&self) -> &'static str {
        match self.block {
            Block::Text(_) => "end_turn",
            Block::ToolUse { .. } => "tool_use",
        }
    }

    fn output_tokens(&self) -> usize {
        tokens(match &self.block {
            Block::Text(text) => text.len(),
            Block::ToolUse { input, .. } => input.to_string().len(),
        })
    }
}

/// An error's body. The API streams no errors before the first event: they come as plain JSON with a status.
pub(super) fn error_body(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"})
}

/// About four bytes a token; never nothing.
pub(super) fn tokens(bytes: usize) -> usize {
    bytes / 4 + 1
}

fn event(data: &Value) -> String {
    let name = data["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}

/// Cuts a text into a few pieces, at character boundaries, as a model's deltas are cut: never in a helpful place.
fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let size = characters.len().div_ceil(3).max(1);
    characters.chunks(size).map(|piece| piece.iter().collect()).collect()
}
