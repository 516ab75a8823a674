//! Reads how many tokens an answer of the model API cost while it streams by: nothing is held back, and nothing is kept but
//! the few bytes of the object `usage`.
//!
//! It stands at the top of an answer, or one level below (`message` in the event `message_start`), where nothing that a model
//! or a tool writes can stand.

use serde::Deserialize;

/// The object `usage`; what is missing in it is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    #[serde(deserialize_with = "or_none")]
    pub(super) input_tokens: u64,
    #[serde(deserialize_with = "or_none")]
    pub(super) output_tokens: u64,
    #[serde(deserialize_with = "or_none")]
    pub(super) cache_read_input_tokens: u64,
    #[serde(deserialize_with = "or_none")]
    pub(super) cache_creation_input_tokens: u64,
}

/// `null` and anything that is no number counts nothing.
fn or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(serde_json::Value::deserialize(deserializer)?.as_u64().unwrap_or(0))
}

/// How deep `usage` may stand: 1 is the outermost object.
const DEEPEST: usize = 2;
/// A longer object `usage` is not read.
const LONGEST: usize = 8 * 1024;
/// Longer keys are not `usage`.
const KEY: &[u8] = b"usage";

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON object.
    Object,
    /// Server-sent events, a JSON object a line.
    Events,
}

/// Reads an answer piece by piece.
#[derive(Debug)]
pub(super) struct Reader {
    form: Form,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last string, as far as it is like [`KEY`]; `None` when it is not.
    last_string: Option<usize>,
    /// The last word but space was a string that is [`KEY`], then a colon.
    after_key: After,
    capture: Option<Capture>,
    /// The greatest of each number: those of later events include those of earlier ones.
    usage: Usage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Key,
    Colon,
}

#[derive(Debug)]
struct Capture {
    depth: usize,
    bytes: Vec<u8>,
}

impl Reader {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            depth: 0,
            in_string: false,
            escaped: false,
            last_string: None,
            after_key: After::Nothing,
            capture: None,
            usage: Usage::default(),
        }
    }

    /// What was found so far.
    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.next(*byte);
        }
    }

    fn next(&mut self, byte: u8) {
        if byte == b'\n' && self.form == Form::Events {
            // JSON has no line break within an event, so this begins anew whatever went before.
            *self = Self { usage: self.usage, ..Self::new(self.form) };
            return;
        }
        if let Some(capture) = &mut self.capture {
            capture.bytes.push(byte);
            if capture.bytes.len() > LONGEST {
                self.capture = None;
            }
        }
        if self.in_string {
            self.in_a_string(byte);
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.last_string = Some(0);
                self.after_key = After::Nothing;
            }
            b':' if self.after_key == After::Key => self.after_key = After::Colon,
            b'{' | b'[' => {
                let captures = byte == b'{' && self.after_key == After::Colon && self.depth <= DEEPEST;
                self.depth += 1;
                self.after_key = After::Nothing;
                if captures && self.capture.is_none() {
                    self.capture = Some(Capture { depth: self.depth, bytes: vec![byte] });
                }
            }
            b'}' | b']' => {
                if let Some(capture) = self.capture.take_if(|capture| capture.depth == self.depth) {
                    self.found(&capture.bytes);
                }
                self.depth = self.depth.saturating_sub(1);
                self.after_key = After::Nothing;
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => self.after_key = After::Nothing,
        }
    }

    fn in_a_string(&mut self, byte: u8) {
        if self.escaped {
            (self.escaped, self.last_string) = (false, None);
        } else if byte == b'\\' {
            (self.escaped, self.last_string) = (true, None);
        } else if byte == b'"' {
            self.in_string = false;
            if self.last_string == Some(KEY.len()) {
                self.after_key = After::Key;
            }
        } else {
            self.last_string = self.last_string.filter(|at| KEY.get(*at) == Some(&byte)).map(|at| at + 1);
        }
    }

    fn found(&mut self, object: &[u8]) {
        let Ok(usage) = serde_json::from_slice::<Usage>(object) else { return };
        let all = &mut self.usage;
        all.input_tokens = all.input_tokens.max(usage.input_tokens);
        all.output_tokens = all.output_tokens.max(usage.output_tokens);
        all.cache_read_input_tokens = all.cache_read_input_tokens.max(usage.cache_read_input_tokens);
        all.cache_creation_input_tokens = all.cache_creation_input_tokens.max(usage.cache_creation_input_tokens);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(form: Form, text: &str, piece: usize) -> [u64; 4] {
        let mut reader = Reader::new(form);
        text.as_bytes().chunks(piece).for_each(|piece| reader.feed(piece));
        let Usage { input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens } =
            *reader.usage();
        [input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens]
    }

    const EVENTS: &str = concat!(
        "event: message_start\n",
        r#"data: {"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":25,"#,
        r#""cache_creation_input_tokens":3,"cache_read_input_tokens":7,"output_tokens":1,"x":{"y":1}}}}"#,
        "\n\nevent: content_block_delta\n",
        r#"data: {"type":"content_block_delta","delta":{"text":"\"usage\":{\"input_tokens\":9999}"}}"#,
        "\n\nevent: message_delta\n",
        r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage": {"output_tokens":15,"input_tokens":null}}"#,
        "\n\n",
    );

    #[test]
    fn tokens_are_found_in_a_stream_however_it_is_cut() {
        for piece in [1, 2, 7, 64, 10_000] {
            assert_eq!(found(Form::Events, EVENTS, piece), [25, 15, 7, 3], "{piece}");
        }
    }

    #[test]
    fn tokens_are_found_in_one_answer_and_not_in_what_the_model_wrote() {
        let answer = r#"{"content":[{"type":"tool_use","input":{"usage":{"input_tokens":9999}}},
            {"text":"{\"usage\":{\"output_tokens\":9999}}"}],
            "usage" : {"input_tokens":12,"output_tokens":34}}"#;
        assert_eq!(found(Form::Object, answer, 3), [12, 34, 0, 0]);
        assert_eq!(found(Form::Object, r#"{"type":"error","error":{"message":"no"}}"#, 3), [0; 4]);
        let endless = format!(r#"{{"usage":{{"x":"{}","input_tokens":1}}}}"#, "a".repeat(2 * LONGEST));
        assert_eq!(found(Form::Object, &endless, 1000), [0; 4]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..2048), events in any::<bool>()) {
            let mut reader = Reader::new(if events { Form::Events } else { Form::Object });
            reader.feed(br#"{"usage":{"#);
            reader.feed(&bytes);
            prop_assert!(reader.capture.is_none_or(|capture| capture.bytes.len() <= LONGEST));
        }
    }
}
