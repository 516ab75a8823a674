//! What kind of failure an error of the program is.
//!
//! The HTTP status says most; the words are for errors that never reached the API, and for older versions that give none.

use nanoclaw_core::{protocol::output::FailureKind, time::Timestamp};

use super::super::Failure;

/// What is known of an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clues<'a> {
    /// The HTTP status of the model's API.
    pub(super) status: Option<u16>,
    /// Why the model stopped.
    pub(super) stop_reason: Option<&'a str>,
    /// The kind of result.
    pub(super) subtype: &'a str,
    /// What the program says.
    pub(super) text: &'a str,
}

/// Says what kind of failure it is.
pub(super) fn classify(clues: &Clues<'_>) -> Failure {
    let text = clues.text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let kind = if says(&["no conversation found", "--resume requires a valid session"]) {
        FailureKind::NoSession
    } else if says(&["you've hit your"]) && says(&["limit"])
        || says(&["usage limit reached", "credit balance is too low", "limit reached ·"])
    {
        // An empty purse comes as 400, so this goes before the status.
        FailureKind::Quota
    } else if clues.stop_reason == Some("refusal") {
        FailureKind::Refused
    } else {
        match clues.status {
            Some(401 | 403) => FailureKind::Login,
            Some(429) => FailureKind::Quota,
            Some(500..=599) => FailureKind::Overload,
            Some(400 | 404 | 413 | 422) => FailureKind::Refused,
            _ if says(&["please run /login", "invalid api key", "authentication_error", "oauth token"]) => {
                FailureKind::Login
            }
            _ if says(&["rate_limit_error", "rejected (429)"]) => FailureKind::Quota,
            _ if says(&["overloaded_error", "api error: 529", "api error: 5"]) => FailureKind::Overload,
            _ => FailureKind::Other,
        }
    };
    let (reason, retry_at) = match clues.text.trim() {
        "" => (format!("claude failed without a word ({})", clues.subtype), None),
        text => with_reset_time(text),
    };
    Failure { retry_at, ..Failure::new(kind, reason) }
}

/// `… usage limit reached|1760000000` tells the reset time as seconds since 1970; people read a date. What is told in words
/// alone (`resets 3pm`) is left to them: what day and zone it means is not said.
fn with_reset_time(text: &str) -> (String, Option<Timestamp>) {
    let told = text.split_once('|').and_then(|(words, seconds)| Some((words, moment(seconds.trim().parse().ok()?)?)));
    match told {
        Some((words, at)) => (format!("{words}; it resets at {at}"), Some(at)),
        None => (text.to_owned(), None),
    }
}

/// A moment of seconds since 1970; `None` when the calendar has no such day.
pub(super) fn moment(seconds: i64) -> Option<Timestamp> {
    const YEAR_9999: i64 = 253_402_300_799;
    (0..=YEAR_9999).contains(&seconds).then(|| Timestamp::from_ms(seconds * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: Option<u16>, stop_reason: Option<&str>, text: &str) -> FailureKind {
        classify(&Clues { status, stop_reason, subtype: "success", text }).kind
    }

    #[test]
    fn failures_as_the_program_words_them_are_typed() {
        // Texts and statuses as Claude Code 2.1.329 gave them.
        assert_eq!(kind(None, None, "Not logged in · Please run /login"), FailureKind::Login);
        assert_eq!(kind(Some(401), None, "Invalid API key · Fix external API key"), FailureKind::Login);
        assert_eq!(kind(Some(403), None, "Failed to authenticate. API Error: 403 no"), FailureKind::Login);
        assert_eq!(kind(Some(400), None, "Credit balance is too low"), FailureKind::Quota);
        assert_eq!(kind(Some(429), None, "API Error: Request rejected (429) · sorry"), FailureKind::Quota);
        assert_eq!(kind(None, None, "Claude AI usage limit reached|1760000000"), FailureKind::Quota);
        assert_eq!(kind(Some(429), None, "You've hit your session limit · resets 3pm"), FailureKind::Quota);
        assert_eq!(kind(None, None, "You've hit your weekly limit · resets Mon 9am"), FailureKind::Quota);
        assert_eq!(kind(Some(529), None, "API Error: 529 overloaded"), FailureKind::Overload);
        assert_eq!(kind(Some(502), None, "API Error: 502 no gateway"), FailureKind::Overload);
        assert_eq!(kind(None, Some("refusal"), "API Error: safeguards flagged this"), FailureKind::Refused);
        assert_eq!(kind(Some(413), None, "Prompt is too long"), FailureKind::Refused);
        assert_eq!(kind(None, None, "No conversation found with session ID: 1"), FailureKind::NoSession);
        assert_eq!(
            kind(None, None, "Error: --resume requires a valid session ID or session title"),
            FailureKind::NoSession
        );
        assert_eq!(kind(None, None, "something else"), FailureKind::Other);
    }

    #[test]
    fn a_reset_time_is_told_as_a_date() {
        assert_eq!(
            with_reset_time("Claude AI usage limit reached|1760000000"),
            (
                "Claude AI usage limit reached; it resets at 2025-10-09T08:53:20.000Z".to_owned(),
                Some(Timestamp::from_ms(1_760_000_000_000))
            )
        );
        for text in ["a|b", "a|-1", "a|9999999999999999"] {
            assert_eq!(with_reset_time(text), (text.to_owned(), None));
        }
    }

    #[test]
    fn a_failure_always_has_words() {
        let clues = Clues { status: None, stop_reason: None, subtype: "error_max_turns", text: " " };
        assert_eq!(classify(&clues).reason, "claude failed without a word (error_max_turns)");
    }
}
