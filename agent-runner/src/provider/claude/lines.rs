//! The lines of stream-json: what we write, and the few things we want to know of what comes back.
//!
//! Seen with Claude Code 2.1.329; everything that is not known is passed over, so other versions work as far as they can.

use nanoclaw_core::{protocol::dollars::Dollars, session::SessionId, time::Timestamp};
use serde_json::{Value, json};

use super::{
    super::{Failure, pictures::Picture},
    failure,
};
use crate::random::{hex, random_bytes};

/// What a line from the program means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A turn begins, in this session.
    Session(SessionId),
    /// The prompt of this id is taken up: the next result answers it.
    PromptTakenUp {
        /// What [`user_message`] was given.
        id: String,
    },
    /// A request to the model's API failed and is tried again.
    TriesAgain {
        /// The HTTP status, when there was an answer.
        status: Option<u16>,
        /// The program's word for it.
        error: String,
    },
    /// The conversation is being cut, because it is too long or somebody asked for it.
    Compacts {
        /// The session that it is.
        session: String,
    },
    /// It was cut.
    Compacted {
        /// The session that it is.
        session: String,
        /// The id of the place in its transcript.
        boundary: String,
    },
    /// How a limit of the plan stands.
    Limit {
        /// When it is reset; `None` unless it stands in the way.
        resets_at: Option<Timestamp>,
    },
    /// The end of a turn.
    Result {
        /// The session, to resume next time.
        session: Option<SessionId>,
        /// Whether the program says that nobody asked for it.
        unasked: bool,
        /// What came of it.
        outcome: Outcome,
        /// What was spent since the last result; `None` when the program does not say so.
        cost: Option<Dollars>,
    },
    /// Nothing of interest.
    Other,
}

/// What came of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer; `None` is silence.
    Answer(Option<String>),
    /// It failed.
    Failure(Failure),
}

/// A random id for a prompt, in the form of a UUID of version 4, which the program insists on.
pub(super) fn prompt_id() -> String {
    let mut bytes = random_bytes::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The line that hands over a prompt.
pub(super) fn user_message(id: &str, text: &str, pictures: &[Picture]) -> Vec<u8> {
    let content = match pictures {
        [] => json!(text),
        pictures => {
            let mut blocks = vec![json!({"type": "text", "text": text})];
            blocks.extend(pictures.iter().map(|Picture { media_type, data }| {
                json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}})
            }));
            Value::Array(blocks)
        }
    };
    let message = json!({"type": "user", "uuid": id, "message": {"role": "user", "content": content}});
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Reads one line of the program's output.
pub(super) fn parse(line: &[u8]) -> Line {
    // Field by field: a field whose type has changed must not cost us the end of a turn.
    let Ok(line) = serde_json::from_slice::<Value>(line) else { return Line::Other };
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let status = |name: &str| line.get(name).and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
    let session = text("session_id").and_then(|id| SessionId::new(id).ok());
    match (text("type").unwrap_or_default(), text("subtype").unwrap_or_default()) {
        ("system", "init") => session.map_or(Line::Other, Line::Session),
        ("system", "status") if line["status"] == "compacting" => {
            Line::Compacts { session: text("session_id").unwrap_or_default().to_owned() }
        }
        ("system", "compact_boundary") => Line::Compacted {
            session: text("session_id").unwrap_or_default().to_owned(),
            boundary: text("uuid").unwrap_or_default().to_owned(),
        },
        ("system", "api_retry") => Line::TriesAgain {
            status: status("error_status"),
            error: text("error").unwrap_or("no reason given").to_owned(),
        },
        ("rate_limit_event", _) => {
            let limit = &line["rate_limit_info"];
            let seconds = limit["resetsAt"].as_i64().filter(|_| limit["status"] == "rejected");
            Line::Limit { resets_at: seconds.and_then(failure::moment) }
        }
        ("command_lifecycle", _) => match (text("command_uuid"), text("state")) {
            (Some(id), Some("started")) => Line::PromptTakenUp { id: id.to_owned() },
            _ => Line::Other,
        },
        ("result", subtype) => {
            let words = text("result").filter(|words| !words.trim().is_empty());
            let outcome = if line["is_error"] == true || subtype.starts_with("error") {
                let errors = || {
                    let errors = line["errors"].as_array().into_iter().flatten();
                    errors
                        .map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned))
                        .collect::<Vec<_>>()
                };
                let words = words.map_or_else(|| errors().join("; "), str::to_owned);
                Outcome::Failure(failure::classify(&failure::Clues {
                    status: status("api_error_status"),
                    stop_reason: text("stop_reason"),
                    subtype,
                    text: &words,
                }))
            } else {
                Outcome::Answer(words.map(str::to_owned))
            };
            let unasked = line["origin"]["kind"] == "task-notification";
            Line::Result { session, unasked, outcome, cost: cost(&line) }
        }
        _ => Line::Other,
    }
}

/// What was spent since the last result. Its `total_cost_usd` is another thing: that of the whole session, over all of its runs,
/// as far as the program was not killed. Where it guesses the price of a model that it does not know, nothing is known.
fn cost(line: &Value) -> Option<Dollars> {
    let models = line["model_usage_since_last_result"].as_object()?;
    models.values().try_fold(Dollars::default(), |sum, model| {
        let known = model["costUSD"].as_f64().filter(|_| model["costBasis"] != "unknown")?;
        Some(sum + Dollars::new(known)?)
    })
}

#[cfg(test)]
mod tests {
    use nanoclaw_core::protocol::output::FailureKind;

    use super::*;

    #[test]
    fn a_result_is_an_answer_silence_or_a_failure() {
        let answer = |line: &str| match parse(line.as_bytes()) {
            Line::Result { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            answer(r#"{"type":"result","subtype":"success","is_error":false,"result":"hi","errors":[]}"#),
            Outcome::Answer(Some("hi".to_owned()))
        );
        assert_eq!(
            answer(r#"{"type":"result","subtype":"success","is_error":false,"result":""}"#),
            Outcome::Answer(None)
        );
        let line = r#"{"type":"result","subtype":"error_during_execution","is_error":true,"session_id":"1",
                       "errors":["No conversation found with session ID: 1"]}"#;
        assert!(matches!(answer(line), Outcome::Failure(failure) if failure.kind == FailureKind::NoSession));
    }

    #[test]
    fn a_limit_in_the_way_tells_when_it_is_reset() {
        let limit = |status: &str| {
            let line = format!(
                r#"{{"type":"rate_limit_event","rate_limit_info":{{"status":"{status}","resetsAt":1760000000,"rateLimitType":"five_hour"}}}}"#
            );
            parse(line.as_bytes())
        };
        assert_eq!(limit("rejected"), Line::Limit { resets_at: Some(Timestamp::from_ms(1_760_000_000_000)) });
        assert_eq!(limit("allowed_warning"), Line::Limit { resets_at: None });
        assert_eq!(parse(br#"{"type":"rate_limit_event"}"#), Line::Limit { resets_at: None });
    }

    #[test]
    fn a_result_of_work_in_the_background_is_unasked() {
        let line = br#"{"type":"result","subtype":"success","is_error":false,"result":"done",
                        "origin":{"kind":"task-notification","producer":"session-task"}}"#;
        assert!(matches!(parse(line), Line::Result { unasked: true, .. }));
    }

    #[test]
    fn the_cost_is_that_of_all_models_since_the_last_result_where_all_prices_are_known() {
        let cost = |usage: &str| {
            let line = format!(r#"{{"type":"result","subtype":"success","result":"hi","total_cost_usd":7.5{usage}}}"#);
            match parse(line.as_bytes()) {
                Line::Result { cost, .. } => cost.map(Dollars::millionths),
                other => panic!("{other:?}"),
            }
        };
        // As Claude Code 2.1.329 wrote it.
        let model = r#"{"inputTokens":21852,"costUSD":0.06596400000000001,"costBasis":"list"}"#;
        let guessed = r#"{"costUSD":0.089384,"costBasis":"unknown"}"#;
        let since = |models: &str| cost(&format!(r#","model_usage_since_last_result":{{{models}}}"#));
        assert_eq!(since(&format!(r#""claude-sonnet-4-6":{model}"#)), Some(65_964));
        assert_eq!(since(&format!(r#""a":{model},"b":{{"costUSD":1}}"#)), Some(1_065_964));
        assert_eq!(since(""), Some(0));
        assert_eq!(since(&format!(r#""a":{model},"b":{guessed}"#)), None);
        assert_eq!((since(r#""a":{"costUSD":-1}"#), since(r#""a":7"#), cost("")), (None, None, None));
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        for line in ["", "garbage", "[1]", r#"{"type":"assistant","message":{}}"#, r#"{"type":"new","session_id":7}"#] {
            assert_eq!(parse(line.as_bytes()), Line::Other, "{line}");
        }
    }

    #[test]
    fn a_prompt_id_has_the_form_of_a_uuid() {
        let id = prompt_id();
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "4");
        assert_ne!(id, prompt_id());
    }
}
