//! Puts the blocks of an answer of the Messages API together as they stream by, in their order and whole.
//!
//! The crate that carries the stream gives words and uses of tools by kind, not by place. But thoughts are signed, and the
//! API refuses them anywhere but where they were; so the blocks are read here from the same events.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::conversation::{Said, ToolUse};

/// The blocks so far.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    blocks: BTreeMap<u64, Block>,
}

#[derive(Debug)]
struct Block {
    block: Map<String, Value>,
    /// What a tool is given, as JSON, as far as it has come.
    input: String,
}

impl Blocks {
    /// Takes the data of one event.
    pub(super) fn event(&mut self, data: &Value) {
        let Some(index) = data["index"].as_u64() else { return };
        match data["type"].as_str() {
            Some("content_block_start") => {
                if let Some(block) = data["content_block"].as_object() {
                    self.blocks.insert(index, Block { block: block.clone(), input: String::new() });
                }
            }
            Some("content_block_delta") => {
                if let (Some(block), Some(delta)) = (self.blocks.get_mut(&index), data["delta"].as_object()) {
                    block.add(delta);
                }
            }
            _ => {}
        }
    }

    /// What was said.
    pub(super) fn said(self) -> Vec<Said> {
        self.blocks.into_values().map(Block::said).collect()
    }
}

impl Block {
    fn add(&mut self, delta: &Map<String, Value>) {
        match delta.get("type").and_then(Value::as_str) {
            Some("input_json_delta") => {
                self.input.push_str(delta.get("partial_json").and_then(Value::as_str).unwrap_or_default());
            }
            Some("citations_delta") => {
                let citations = self.block.entry("citations").or_insert(Value::Null);
                if !citations.is_array() {
                    *citations = Value::Array(Vec::new());
                }
                if let (Some(list), Some(citation)) = (citations.as_array_mut(), delta.get("citation")) {
                    list.push(citation.clone());
                }
            }
            // text_delta, thinking_delta, signature_delta, and what may come: each grows the field that it is named after.
            _ => {
                for (name, value) in delta.iter().filter(|(name, _)| *name != "type") {
                    let whole = match (self.block.get(name).and_then(Value::as_str), value.as_str()) {
                        (Some(before), Some(more)) => Value::String(format!("{before}{more}")),
                        _ => value.clone(),
                    };
                    self.block.insert(name.clone(), whole);
                }
            }
        }
    }

    fn said(self) -> Said {
        let text = |name: &str| self.block.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match text("type").as_str() {
            "text" if !self.block.contains_key("citations") => Said::Text { text: text("text") },
            "tool_use" => {
                let whole = self.block.get("input").cloned().unwrap_or_default();
                Said::ToolUse(tool_use(text("id"), text("name"), whole, &self.input))
            }
            _ => Said::Kept { block: Value::Object(self.block) },
        }
    }
}

/// A use of a tool whose input is `whole`, or what was streamed as `text`.
pub(super) fn tool_use(id: String, name: String, whole: Value, text: &str) -> ToolUse {
    let given = if text.trim().is_empty() { Ok(whole) } else { serde_json::from_str::<Value>(text) };
    let (input, malformed) = match given {
        Ok(Value::Object(input)) => (Value::Object(input), None),
        Ok(Value::Null) => (Value::Object(Map::new()), None),
        Ok(other) => (Value::Object(Map::new()), Some(format!("it is no object: {}", beginning(&other.to_string())))),
        Err(error) => (Value::Object(Map::new()), Some(format!("it is no JSON ({error}): {}", beginning(text)))),
    };
    ToolUse { id, name, input, malformed }
}

fn beginning(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(events: &[Value]) -> Vec<Said> {
        let mut blocks = Blocks::default();
        events.iter().for_each(|event| blocks.event(event));
        blocks.said()
    }

    fn start(index: u64, block: Value) -> Value {
        json!({"type": "content_block_start", "index": index, "content_block": block})
    }

    fn delta(index: u64, delta: Value) -> Value {
        json!({"type": "content_block_delta", "index": index, "delta": delta})
    }

    #[test]
    fn blocks_are_whole_and_in_their_order_thoughts_with_their_signatures() {
        let said = said(&[
            json!({"type": "message_start", "message": {}}),
            start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, json!({"type": "thinking_delta", "thinking": "let me "})),
            delta(0, json!({"type": "thinking_delta", "thinking": "see"})),
            delta(0, json!({"type": "signature_delta", "signature": "c2ln"})),
            json!({"type": "content_block_stop", "index": 0}),
            start(1, json!({"type": "text", "text": ""})),
            delta(1, json!({"type": "text_delta", "text": "I "})),
            delta(1, json!({"type": "text_delta", "text": "look"})),
            start(2, json!({"type": "redacted_thinking", "data": "xyz"})),
            start(3, json!({"type": "tool_use", "id": "t1", "name": "Bash", "input": {}})),
            delta(3, json!({"type": "input_json_delta", "partial_json": "{\"command\""})),
            delta(3, json!({"type": "input_json_delta", "partial_json": ":\"ls\"}"})),
            start(4, json!({"type": "tool_use", "id": "t2", "name": "Read", "input": {}})),
        ]);
        assert_eq!(
            said,
            [
                Said::Kept { block: json!({"type": "thinking", "thinking": "let me see", "signature": "c2ln"}) },
                Said::text("I look"),
                Said::Kept { block: json!({"type": "redacted_thinking", "data": "xyz"}) },
                Said::ToolUse(tool_use("t1".into(), "Bash".into(), json!({"command": "ls"}), "")),
                Said::ToolUse(tool_use("t2".into(), "Read".into(), json!({}), "")),
            ]
        );
    }

    #[test]
    fn what_a_tool_is_given_is_an_object_or_malformed() {
        for (text, part) in [("{\"command\": \"ls", "no JSON"), ("[1]", "no object"), ("\"ls\"", "no object")] {
            let used = tool_use("t".into(), "Bash".into(), json!({}), text);
            assert_eq!(used.input, json!({}));
            assert!(used.malformed.as_deref().is_some_and(|reason| reason.contains(part)), "{used:?}");
        }
        assert_eq!(tool_use("t".into(), "Bash".into(), Value::Null, " ").malformed, None);
    }
}
