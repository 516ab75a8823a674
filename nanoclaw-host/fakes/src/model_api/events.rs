//! The wire forms of an answer: the events of a stream, and the same answer whole.

use serde_json::{Value, json};

use super::script::{Part, Turn};

/// An answer that is not an error.
pub(super) struct Answer {
    id: String,
    model: String,
    blocks: Vec<Block>,
    stop_reason: String,
    input_tokens: usize,
}

enum Block {
    Text(String),
    Thinking { text: String, signature: String },
    ToolUse { id: String, name: String, input: String },
}

impl Answer {
    /// `None` when `turn` is an error. `number` makes ids unique; `request_bytes` stands in for a tokenizer.
    pub(super) fn new(turn: &Turn, number: usize, model: &str, request_bytes: usize) -> Option<Self> {
        let (parts, stop_reason) = match turn {
            Turn::Text(text) => (vec![Part::Text(text.clone())], None),
            Turn::ToolUse { name, input } => {
                (vec![Part::ToolUse { name: name.clone(), input: input.to_string() }], None)
            }
            Turn::Said { parts, stop_reason } => (parts.clone(), stop_reason.clone()),
            Turn::BrokenOff { answer, .. } | Turn::ErrorInStream { answer, .. } => {
                return Self::new(answer, number, model, request_bytes);
            }
            Turn::Error { .. } => return None,
        };
        let uses_tools = parts.iter().any(|part| matches!(part, Part::ToolUse { .. }));
        let mut tools = 0..;
        let block = |part| match part {
            Part::Text(text) => Block::Text(text),
            Part::Thinking { text, signature } => Block::Thinking { text, signature },
            Part::ToolUse { name, input } => {
                let letter =
                    tools.next().filter(|tool| *tool > 0).map_or_else(String::new, |tool: u32| format!("_{tool}"));
                Block::ToolUse { id: format!("toolu_fake{number:04}{letter}"), name, input }
            }
        };
        Some(Self {
            id: format!("msg_fake{number:04}"),
            model: model.to_owned(),
            blocks: parts.into_iter().map(block).collect(),
            stop_reason: stop_reason.unwrap_or_else(|| if uses_tools { "tool_use" } else { "end_turn" }.to_owned()),
            input_tokens: tokens(request_bytes),
        })
    }

    /// The events of the stream, in order, each complete with its empty line.
    pub(super) fn events(&self) -> Vec<String> {
        let mut events = vec![event(&json!({"type": "message_start", "message": self.message(&[], None, 1)}))];
        for (index, block) in self.blocks.iter().enumerate() {
            let (start, deltas) = block.pieces();
            events.push(event(&json!({"type": "content_block_start", "index": index, "content_block": start})));
            if index == 0 {
                events.push(event(&json!({"type": "ping"})));
            }
            for delta in deltas {
                events.push(event(&json!({"type": "content_block_delta", "index": index, "delta": delta})));
            }
            events.push(event(&json!({"type": "content_block_stop", "index": index})));
        }
        events.push(event(&json!({
            "type": "message_delta",
            "delta": {"stop_reason": self.stop_reason, "stop_sequence": null},
            "usage": {"output_tokens": self.output_tokens()},
        })));
        events.push(event(&json!({"type": "message_stop"})));
        events
    }

    /// The answer in one piece, for a request without `stream`.
    pub(super) fn whole(&self) -> Value {
        let blocks: Vec<Value> = self.blocks.iter().map(Block::whole).collect();
        self.message(&blocks, Some(&self.stop_reason), self.output_tokens())
    }

    /// The events of a stream in the form of OpenAI's chat completions.
    pub(super) fn chunks(&self) -> Vec<String> {
        let chunk = |delta: Value, finish: Option<&str>| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            self.chunk(&json!([choice]), &Value::Null)
        };
        let mut chunks = vec![chunk(json!({"role": "assistant", "content": ""}), None)];
        let mut tools = 0;
        for block in &self.blocks {
            match block {
                Block::Text(text) => {
                    chunks.extend(pieces(text).iter().map(|text| chunk(json!({"content": text}), None)))
                }
                Block::Thinking { text, .. } => chunks.push(chunk(json!({"reasoning_content": text}), None)),
                Block::ToolUse { id, name, input } => {
                    let call = |function: Value, first: bool| {
                        let mut call = json!({"index": tools, "function": function});
                        if first {
                            call["id"] = json!(id);
                            call["type"] = json!("function");
                        }
                        json!({"tool_calls": [call]})
                    };
                    chunks.push(chunk(call(json!({"name": name, "arguments": ""}), true), None));
                    let rest = pieces(input);
                    chunks.extend(rest.iter().map(|piece| chunk(call(json!({"arguments": piece}), false), None)));
                    tools += 1;
                }
            }
        }
        let finish = match self.stop_reason.as_str() {
            "tool_use" => "tool_calls",
            "max_tokens" => "length",
            "refusal" => "content_filter",
            _ => "stop",
        };
        chunks.push(chunk(json!({}), Some(finish)));
        let usage = json!({
            "prompt_tokens": self.input_tokens, "completion_tokens": self.output_tokens(),
            "total_tokens": self.input_tokens + self.output_tokens(),
        });
        chunks.push(self.chunk(&json!([]), &usage));
        chunks.push("data: [DONE]\n\n".to_owned());
        chunks
    }

    fn chunk(&self, choices: &Value, usage: &Value) -> String {
        let chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": 1, "model": self.model,
            "choices": choices, "usage": usage,
        });
        format!("data: {chunk}\n\n")
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

    fn output_tokens(&self) -> usize {
        let bytes = |block: &Block| match block {
            Block::Text(text) | Block::Thinking { text, .. } => text.len(),
            Block::ToolUse { input, .. } => input.len(),
        };
        tokens(self.blocks.iter().map(bytes).sum())
    }
}

impl Block {
    /// How it begins, and what is added to it.
    fn pieces(&self) -> (Value, Vec<Value>) {
        match self {
            Self::Text(text) => (
                json!({"type": "text", "text": ""}),
                pieces(text).into_iter().map(|text| json!({"type": "text_delta", "text": text})).collect(),
            ),
            Self::Thinking { text, signature } => {
                let mut deltas: Vec<Value> =
                    pieces(text).into_iter().map(|text| json!({"type": "thinking_delta", "thinking": text})).collect();
                deltas.push(json!({"type": "signature_delta", "signature": signature}));
                (json!({"type": "thinking", "thinking": "", "signature": ""}), deltas)
            }
            Self::ToolUse { id, name, input } => (
                json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
                pieces(input)
                    .into_iter()
                    .map(|json| json!({"type": "input_json_delta", "partial_json": json}))
                    .collect(),
            ),
        }
    }

    fn whole(&self) -> Value {
        match self {
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::Thinking { text, signature } => json!({"type": "thinking", "thinking": text, "signature": signature}),
            Self::ToolUse { id, name, input } => {
                let input = serde_json::from_str(input).unwrap_or(Value::Null);
                json!({"type": "tool_use", "id": id, "name": name, "input": input})
            }
        }
    }
}

/// An error in the middle of a stream, in either form.
pub(super) fn error_event(kind: &str) -> String {
    event(&error_body(kind, "broke off in the middle"))
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
