//! What goes wrong with Discord, and what follows: for a message that is sent, and for a connection.

use std::time::Duration;

use nanoclaw_core::channel::SendError;

use super::TOKEN;
use crate::channels::{service::Ending, socket::Gone};

/// The longest delay that Discord may ask for before the next try.
const LONGEST_AFTER: Duration = Duration::from_secs(60 * 60);

/// Why a call of Discord came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Discord does not take the token.
    Token,
    /// Discord says no.
    Told {
        /// The status of HTTP.
        status: u16,
        /// Discord's number for it, and 0 without.
        code: u64,
        /// Discord's words.
        words: String,
    },
    /// Discord wants us to wait.
    Limited(Duration),
    /// The call did not get there.
    NotReached(String),
    /// Nobody knows what became of the call.
    Unclear(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token => write!(f, "Discord refuses {TOKEN}"),
            Self::Told { status, code, words } => write!(f, "Discord says no: {words} ({status}, {code})"),
            Self::Limited(after) => write!(f, "Discord wants us to wait {after:?}"),
            Self::NotReached(reason) => write!(f, "Discord is not reached: {reason}"),
            Self::Unclear(reason) => f.write_str(reason),
        }
    }
}

impl Trouble {
    /// What an answer other than success means. `retry_after` and `body` are what came with it.
    pub(super) fn of(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let body = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
        match status {
            401 => Self::Token,
            429 => {
                // The body has fractions of seconds, the header whole ones; without either it is no answer of the API itself.
                let told = body["retry_after"].as_f64().or_else(|| retry_after?.parse().ok());
                let after = told.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                Self::Limited(after.unwrap_or(Duration::from_secs(5)).min(LONGEST_AFTER))
            }
            400..=499 => Self::Told {
                status,
                code: body["code"].as_u64().unwrap_or(0),
                words: body["message"].as_str().unwrap_or("no reason given").chars().take(200).collect(),
            },
            _ => Self::Unclear(format!("Discord answered with {status}")),
        }
    }

    /// What it means for a message that was to be sent.
    pub(super) fn for_send(self) -> SendError {
        match self {
            Self::Limited(after) => {
                SendError::Retry { reason: "Discord wants fewer messages for now".to_owned(), after: Some(after) }
            }
            Self::NotReached(reason) => {
                SendError::Retry { reason: format!("Discord is not reached: {reason}"), after: None }
            }
            Self::Unclear(reason) => SendError::Unknown { reason },
            Self::Token => SendError::NotConnected { reason: format!("Discord does not take {TOKEN} any more") },
            Self::Told { status, code, words } => match remedy_of_send(status, code) {
                Some(remedy) => SendError::Permanent { reason: format!("{remedy} ({words}, {code})") },
                None => SendError::Retry {
                    reason: format!("Discord refused the message: {words} ({status}, {code})"),
                    after: None,
                },
            },
        }
    }

    /// What it means for a connection.
    pub(super) fn for_connection(self) -> Ending {
        match self {
            Self::Token => refused_token(),
            Self::Limited(after) => {
                Ending::Lost { reason: "Discord wants fewer connections for now".to_owned(), after: Some(after) }
            }
            Self::NotReached(reason) => {
                Ending::Lost { reason: format!("Discord is not reached: {reason}"), after: None }
            }
            Self::Unclear(reason) => Ending::Lost { reason, after: None },
            Self::Told { status, code, words } => {
                Ending::Lost { reason: format!("Discord refused: {words} ({status}, {code})"), after: None }
            }
        }
    }
}

/// What follows when the gateway is gone, and whether the session can be gone on with.
pub(super) fn ending_of(gone: Gone) -> (Ending, Session) {
    let refused = |reason: &str, remedy: String| (Ending::Refused { reason: reason.to_owned(), remedy }, Session::Over);
    match gone.code {
        Some(4004) => (refused_token(), Session::Over),
        Some(4014) => refused(
            "Discord does not let the bot read what people write: the Message Content Intent is off (4014)",
            format!(
                "turn on \"Message Content Intent\" on the application's page at discord.com/developers/applications, under \
                 \"Bot\", then `nanoclaw auth set {TOKEN}` or a restart"
            ),
        ),
        Some(4010 | 4011) => refused(
            "the bot is in more servers than one connection can serve (4011)",
            "take it out of servers that do not use it; this channel has one connection for all".to_owned(),
        ),
        Some(code @ (4012 | 4013)) => refused(
            &format!("Discord does not speak to this version of NanoClaw any more ({code})"),
            "install a newer one".to_owned(),
        ),
        code => {
            let session = match code {
                // Not authenticated, no such session, a number that is none of it, too old.
                Some(4003 | 4006 | 4007 | 4009) => Session::Over,
                _ => Session::GoesOn,
            };
            (Ending::Lost { reason: gone.reason, after: None }, session)
        }
    }
}

/// Whether a session of the gateway can be gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    GoesOn,
    Over,
}

fn refused_token() -> Ending {
    Ending::Refused { reason: format!("Discord refuses {TOKEN}"), remedy: new_token() }
}

/// What is to be done with a token that is not taken.
pub(super) fn new_token() -> String {
    format!(
        "`nanoclaw auth set {TOKEN}` stores another, which is used at once; it is on the application's page at \
         discord.com/developers/applications, under \"Bot\", \"Reset Token\""
    )
}

/// Words for what will not pass by itself; `None` for what may. *Source* of the numbers: Discord's documentation, "Opcodes and
/// Status Codes", "JSON Error Codes".
fn remedy_of_send(status: u16, code: u64) -> Option<&'static str> {
    Some(match (status, code) {
        (_, 10003) => "Discord knows no such channel any more; `nanoclaw groups remove` it",
        (_, 50001) => "the bot does not see this channel; let it in, then `nanoclaw outbox retry`",
        (_, 50013) => {
            "the bot may not write there; give it the right to send messages and files, then `nanoclaw outbox retry`"
        }
        (_, 50007 | 50278) => {
            "this person takes no messages of the bot; they have to share a server with it and allow them"
        }
        (_, 50083) => "the thread is archived; unarchive it, then `nanoclaw outbox retry`",
        (_, 160_005) => "the thread is locked; unlock it, then `nanoclaw outbox retry`",
        (413, _) | (_, 40005) => "the file is larger than Discord takes in this server",
        (_, 50006 | 50035) => "Discord does not take this text",
        (_, 200_000 | 200_001) => "a rule of the server holds the message back",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: u64) -> Trouble {
        Trouble::of(403, None, format!(r#"{{"message":"no","code":{code}}}"#).as_bytes())
    }

    fn closed(code: u16) -> (Ending, Session) {
        ending_of(Gone { reason: "closed".to_owned(), code: Some(code) })
    }

    #[test]
    fn what_will_not_pass_is_permanent_and_says_what_to_do() {
        for code in [50001, 50013, 50083, 160_005] {
            let SendError::Permanent { reason } = told(code).for_send() else { panic!("{code} is permanent") };
            assert!(reason.contains("nanoclaw outbox retry") && reason.contains(&code.to_string()), "{reason}");
        }
        for code in [10003, 50007, 50035, 40005] {
            assert!(matches!(told(code).for_send(), SendError::Permanent { .. }), "{code}");
        }
        assert!(matches!(Trouble::of(413, None, b"").for_send(), SendError::Permanent { .. }));
    }

    #[test]
    fn what_may_pass_is_tried_again_and_no_sooner_than_discord_asks() {
        let asked = |trouble: Trouble| match trouble.for_send() {
            SendError::Retry { after, .. } => after,
            other => panic!("it is tried again: {other:?}"),
        };
        let body = br#"{"message":"You are being rate limited.","retry_after":1.25,"global":false}"#;
        assert_eq!(asked(Trouble::of(429, Some("2"), body)), Some(Duration::from_millis(1250)));
        assert_eq!(asked(Trouble::of(429, Some("7"), b"<html>")), Some(Duration::from_secs(7)));
        assert_eq!(asked(Trouble::of(429, None, b"")), Some(Duration::from_secs(5)));
        assert_eq!(asked(Trouble::of(429, Some("-1"), b"")), Some(Duration::from_secs(5)));
        assert_eq!(asked(told(99)), None);
        assert_eq!(asked(Trouble::NotReached("x".into())), None);
    }

    #[test]
    fn of_what_is_unclear_nobody_says_that_it_was_not_sent() {
        for trouble in [Trouble::Unclear("x".into()), Trouble::of(500, None, b""), Trouble::of(502, None, b"")] {
            assert!(matches!(trouble.for_send(), SendError::Unknown { .. }));
        }
    }

    #[test]
    fn a_refused_token_stops_the_connection_and_keeps_messages_waiting() {
        let trouble = Trouble::of(401, None, br#"{"message":"401: Unauthorized","code":0}"#);
        assert!(matches!(trouble.clone().for_send(), SendError::NotConnected { .. }));
        for ending in [trouble.for_connection(), closed(4004).0] {
            let Ending::Refused { remedy, .. } = ending else { panic!("it is final") };
            assert!(remedy.contains("nanoclaw auth set DISCORD_BOT_TOKEN"), "{remedy}");
        }
    }

    #[test]
    fn a_missing_intent_is_told_with_the_switch_that_turns_it_on() {
        let (Ending::Refused { remedy, .. }, Session::Over) = closed(4014) else { panic!("it is final") };
        assert!(remedy.contains("Message Content Intent"), "{remedy}");
        for code in [4010, 4011, 4012, 4013] {
            assert!(matches!(closed(code), (Ending::Refused { .. }, Session::Over)), "{code}");
        }
    }

    #[test]
    fn a_lost_connection_is_gone_on_with_unless_the_session_is_over() {
        for code in [1000, 1001, 4000, 4001, 4002, 4005, 4008] {
            assert!(matches!(closed(code), (Ending::Lost { .. }, Session::GoesOn)), "{code}");
        }
        for code in [4003, 4006, 4007, 4009] {
            assert!(matches!(closed(code), (Ending::Lost { .. }, Session::Over)), "{code}");
        }
        let broke = Gone { reason: "broke".into(), code: None };
        assert!(matches!(ending_of(broke), (Ending::Lost { .. }, Session::GoesOn)));
    }
}
