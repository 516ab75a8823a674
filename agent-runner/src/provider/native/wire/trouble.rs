//! What can go wrong between us and a model's API, and what kind of failure it is.

use std::time::Duration;

use genai::Error;
use nanoclaw_core::{protocol::output::FailureKind, time::Timestamp};
use serde_json::Value;

use super::super::super::Failure;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Trouble {
    pub(in super::super) kind: Kind,
    /// In words, for people.
    pub(in super::super) reason: String,
    /// How long the API asks to wait.
    pub(in super::super) wait: Option<Duration>,
    /// Whether asking again may help, as far as is known.
    pub(in super::super) passes: bool,
}

/// What kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Login,
    /// Too many requests or tokens.
    Quota,
    /// The service is away, overloaded, or broke off.
    Overload,
    /// The request is refused as it is.
    Refused,
    /// The conversation is longer than the model takes.
    TooLong,
    Other,
}

impl Trouble {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), wait: None, passes: kind == Kind::Overload }
    }

    /// As the host is told of it.
    pub(in super::super) fn failure(self) -> Failure {
        let kind = match self.kind {
            Kind::Login => FailureKind::Login,
            Kind::Quota => FailureKind::Quota,
            Kind::Overload => FailureKind::Overload,
            Kind::Refused | Kind::TooLong => FailureKind::Refused,
            Kind::Other => FailureKind::Other,
        };
        Failure { kind, reason: self.reason, retry_at: self.wait.map(|wait| Timestamp::now().plus(wait)), cost: None }
    }

    /// What an error of the crate that carries requests is.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            // What the server answered comes boxed in an error of the stream.
            Error::WebStream { error, cause, .. } => match error.downcast_ref::<Error>() {
                Some(error) => Self::of(error),
                None => Self::new(Kind::Overload, format!("the model's API broke off or cannot be reached: {cause}")),
            },
            Error::HttpError { status, body, headers, .. } => {
                let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
                Self::answered(status.as_u16(), body, header)
            }
            Error::ChatResponse { body, .. } => in_stream(body),
            Error::StreamParse { serde_error, .. } => {
                Self::new(Kind::Overload, format!("the model's API sent what is no JSON: {serde_error}"))
            }
            other => Self::new(Kind::Other, format!("the model's API cannot be asked: {other}")),
        }
    }

    /// An answer with an error's status.
    fn answered(status: u16, body: &str, header: impl Fn(&str) -> Option<String>) -> Self {
        let json: Value = serde_json::from_str(body).unwrap_or_default();
        let words = words(&json).unwrap_or_else(|| body.chars().take(300).collect());
        let kind = kind(status, &json, &words);
        let seconds = |name: &str| header(name)?.trim().parse::<u64>().ok();
        let reset = || {
            let now = u64::try_from(Timestamp::now().as_ms() / 1000).ok()?;
            seconds("anthropic-ratelimit-unified-reset")?.checked_sub(now)
        };
        let wait = seconds("retry-after").or_else(reset).map(Duration::from_secs);
        let forbidden = header("x-should-retry").is_some_and(|word| word.trim() == "false");
        Self {
            kind,
            reason: format!("the model's API says {status}: {}", words.trim()),
            wait,
            passes: matches!(kind, Kind::Overload | Kind::Quota) && (status == 429 || status >= 500) && !forbidden,
        }
    }
}

/// An error that came in the middle of a stream.
fn in_stream(body: &Value) -> Trouble {
    let words = words(body).unwrap_or_else(|| body.to_string().chars().take(300).collect());
    let kind = match body["error"]["type"].as_str() {
        Some("rate_limit_error") => Kind::Quota,
        Some("authentication_error" | "permission_error") => Kind::Login,
        Some("invalid_request_error") if is_too_long(&words) => Kind::TooLong,
        Some("invalid_request_error") => Kind::Refused,
        _ => Kind::Overload,
    };
    Trouble {
        passes: matches!(kind, Kind::Overload | Kind::Quota),
        ..Trouble::new(kind, format!("the model's API broke off: {words}"))
    }
}

/// `{"error": {"message": …}}` is what both kinds of API send; some local servers send `{"error": "…"}`.
fn words(body: &Value) -> Option<String> {
    let error = &body["error"];
    error["message"].as_str().or_else(|| error.as_str()).map(str::to_owned)
}

fn kind(status: u16, body: &Value, words: &str) -> Kind {
    let code = body["error"]["code"].as_str().unwrap_or_default();
    let lower = words.to_lowercase();
    if code == "insufficient_quota" || lower.contains("credit balance is too low") {
        // An empty purse comes as 400 from one API and as 429 from another.
        return Kind::Quota;
    }
    match status {
        401 | 403 => Kind::Login,
        429 => Kind::Quota,
        400 | 413 | 422 if code == "context_length_exceeded" || is_too_long(&lower) => Kind::TooLong,
        400..=499 => Kind::Refused,
        500..=599 => Kind::Overload,
        _ => Kind::Other,
    }
}

fn is_too_long(words: &str) -> bool {
    let lower = words.to_lowercase();
    ["prompt is too long", "maximum context length", "context size", "exceed context limit", "exceeds the maximum size"]
        .iter()
        .any(|part| lower.contains(part))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answered(status: u16, body: &Value, headers: &[(&str, &str)]) -> Trouble {
        let header =
            |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Trouble::answered(status, &body.to_string(), header)
    }

    fn error(words: &str) -> Value {
        json!({"type": "error", "error": {"type": "x", "message": words}})
    }

    #[test]
    fn failures_are_typed_by_status_and_words() {
        for (status, words, kind, passes) in [
            (401, "invalid x-api-key", Kind::Login, false),
            (403, "no", Kind::Login, false),
            (429, "slow down", Kind::Quota, true),
            (529, "Overloaded", Kind::Overload, true),
            (500, "oops", Kind::Overload, true),
            (502, "no gateway", Kind::Overload, true),
            (400, "Your credit balance is too low to access the API", Kind::Quota, false),
            (400, "prompt is too long: 210000 tokens > 200000 maximum", Kind::TooLong, false),
            (413, "Request exceeds the maximum size", Kind::TooLong, false),
            (400, "messages: at least one message is required", Kind::Refused, false),
            (404, "model: nothing-1", Kind::Refused, false),
        ] {
            let trouble = answered(status, &error(words), &[]);
            assert_eq!((trouble.kind, trouble.passes), (kind, passes), "{status} {words}");
            assert!(trouble.reason.contains(words), "{trouble:?}");
        }
        let code = json!({"error": {"message": "too much", "code": "context_length_exceeded"}});
        assert_eq!(answered(400, &code, &[]).kind, Kind::TooLong);
        let code = json!({"error": {"message": "pay", "code": "insufficient_quota"}});
        assert_eq!(answered(429, &code, &[]).kind, Kind::Quota);
        assert!(answered(500, &json!({"error": "plain"}), &[]).reason.contains("plain"));
        assert!(answered(500, &json!("no object"), &[]).reason.contains("no object"));
    }

    #[test]
    fn what_the_api_says_about_waiting_is_heard() {
        let trouble = answered(429, &error("x"), &[("retry-after", "7")]);
        assert_eq!(trouble.wait, Some(Duration::from_secs(7)));
        let soon = (Timestamp::now().as_ms() / 1000 + 3600).to_string();
        let wait = answered(429, &error("x"), &[("anthropic-ratelimit-unified-reset", &soon)]).wait.unwrap();
        assert!((3500..=3600).contains(&wait.as_secs()), "{wait:?}");
        assert!(!answered(529, &error("x"), &[("x-should-retry", "false")]).passes);
        assert!(answered(429, &error("x"), &[("retry-after", "soon")]).wait.is_none());
    }

    #[test]
    fn an_error_in_a_stream_is_typed_too() {
        let trouble =
            in_stream(&json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}));
        assert_eq!((trouble.kind, trouble.passes), (Kind::Overload, true));
        let trouble = in_stream(&json!({"error": {"type": "invalid_request_error", "message": "prompt is too long"}}));
        assert_eq!((trouble.kind, trouble.passes), (Kind::TooLong, false));
    }
}
