//! What goes wrong with Telegram, and what follows: for a message that is sent, and for a connection.

use std::time::Duration;

use grammers_client::{InvocationError, sender::RpcError};
use nanoclaw_core::{causes::with_causes, channel::SendError};

use super::{API_HASH, API_ID, BOT_TOKEN};
use crate::channels::service::Ending;

/// The longest delay that Telegram may ask for before the next try.
const LONGEST_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How long nothing is tried after another connection with the same key.
const AFTER_ANOTHER: Duration = Duration::from_secs(30);

/// Why a call of Telegram came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Trouble {
    /// Telegram says no.
    Told(RpcError),
    /// Nobody knows what became of the call, or whether it got there.
    Unclear(String),
    /// What has to be remembered cannot be.
    NotStored(String),
}

impl Trouble {
    pub(super) fn of(error: InvocationError) -> Self {
        match error {
            InvocationError::Rpc(error) => Self::Told(error),
            InvocationError::Session(error) => Self::NotStored(causes_of(&*error)),
            InvocationError::Io(error) => match error.downcast::<InvocationError>() {
                // An upload wraps what Telegram said.
                Ok(inner) => Self::of(inner),
                Err(error) => Self::Unclear(format!("Telegram is not reached, or the connection broke: {error}")),
            },
            error => Self::Unclear(format!("the connection to Telegram broke: {error}")),
        }
    }

    pub(super) fn no_answer(limit: Duration) -> Self {
        Self::Unclear(format!("Telegram did not answer within {limit:?}"))
    }

    /// Telegram's word for it.
    pub(super) fn word(&self) -> &str {
        match self {
            Self::Told(error) => &error.name,
            Self::Unclear(_) | Self::NotStored(_) => "",
        }
    }

    /// Whether the key stands for nobody any more, so that signing in anew may help.
    pub(super) fn is_signed_out(&self) -> bool {
        matches!(self, Self::Told(error) if error.code == 401 && !error.name.starts_with("USER_DEACTIVATED"))
    }

    /// Whether it is about who we are.
    pub(super) fn is_about_us(&self) -> bool {
        matches!(self, Self::Told(error) if error.code == 401 || error.name == "AUTH_KEY_DUPLICATED")
    }

    fn after(error: &RpcError) -> Option<Duration> {
        let waits = error.code == 420 || error.name.ends_with("_WAIT");
        waits.then(|| Duration::from_secs(u64::from(error.value.unwrap_or(1))).min(LONGEST_AFTER))
    }

    /// What it means for a message that was to be sent.
    pub(super) fn for_send(self) -> SendError {
        match self {
            Self::NotStored(reason) => SendError::Retry { reason, after: None },
            Self::Unclear(reason) => SendError::Unknown { reason },
            Self::Told(error) if error.code == 401 || error.name == "AUTH_KEY_DUPLICATED" => {
                SendError::NotConnected { reason: format!("Telegram does not know us any more ({})", error.name) }
            }
            Self::Told(error) => match (Self::after(&error), remedy_of_send(&error.name)) {
                (Some(after), _) => SendError::Retry {
                    reason: format!("Telegram wants fewer messages for now ({})", error.name),
                    after: Some(after),
                },
                (None, Some(words)) => SendError::Permanent { reason: format!("{words} ({})", error.name) },
                (None, None) if error.code >= 500 || error.code < 0 => {
                    SendError::Unknown { reason: format!("Telegram met an error of its own ({})", error.name) }
                }
                (None, None) => {
                    SendError::Retry { reason: format!("Telegram refused the message: {}", error.name), after: None }
                }
            },
        }
    }

    /// What it means for a connection.
    pub(super) fn for_connection(self) -> Ending {
        let lost = |reason| Ending::Lost { reason, after: None };
        let error = match self {
            Self::NotStored(reason) | Self::Unclear(reason) => return lost(reason),
            Self::Told(error) => error,
        };
        let refused = |what: &str, names: &[&str]| Ending::Refused {
            reason: format!("Telegram refuses {what} ({})", error.name),
            remedy: names.iter().map(|name| new_credential(name)).collect::<Vec<_>>().join("; "),
        };
        match error.name.as_str() {
            "ACCESS_TOKEN_INVALID" | "ACCESS_TOKEN_EXPIRED" | "BOT_TOKEN_INVALID" => refused(BOT_TOKEN, &[BOT_TOKEN]),
            "API_ID_INVALID" | "CONNECTION_API_ID_INVALID" | "API_ID_PUBLISHED_FLOOD" => {
                refused(&format!("{API_ID} and {API_HASH}"), &[API_ID, API_HASH])
            }
            name if name.starts_with("USER_DEACTIVATED") => Ending::Refused {
                reason: format!("the bot was deleted, or banned ({name})"),
                remedy: format!("make another with @BotFather; {}", new_credential(BOT_TOKEN)),
            },
            "AUTH_KEY_DUPLICATED" => Ending::Lost {
                reason:
                    "the same session was used from elsewhere at the same time (AUTH_KEY_DUPLICATED): end the other \
                         one; signing in anew"
                        .to_owned(),
                after: Some(AFTER_ANOTHER),
            },
            _ if error.code == 401 => Ending::Refused {
                reason: format!("Telegram does not let the bot in, although it signed in just now ({})", error.name),
                remedy: new_credential(BOT_TOKEN),
            },
            _ => match Self::after(&error) {
                Some(after) => Ending::Lost {
                    reason: format!("Telegram wants fewer connections for now ({})", error.name),
                    after: Some(after),
                },
                None => lost(format!("Telegram refused: {}", error.name)),
            },
        }
    }
}

/// What is to be done with a credential that is not taken.
pub(super) fn new_credential(name: &str) -> String {
    let place = match name {
        BOT_TOKEN => "@BotFather tells it in Telegram (/mybots, \"API Token\"), and it looks like 123456:ABC-DEF",
        API_ID => "it is a number, told at my.telegram.org under \"API development tools\"",
        _ => "it is told at my.telegram.org under \"API development tools\"",
    };
    format!("`nanoclaw auth set {name}` stores another, which is used at once; {place}")
}

/// Words for what will not pass by itself; `None` for what may.
fn remedy_of_send(name: &str) -> Option<&'static str> {
    Some(match name {
        "PEER_ID_INVALID" | "CHANNEL_INVALID" | "USER_ID_INVALID" | "CHAT_ID_INVALID" | "INPUT_USER_INVALID" => {
            "the bot does not know this chat, or was never in it: write something there once (in a group, add the bot first), \
             then `nanoclaw outbox retry`"
        }
        "CHANNEL_PRIVATE" | "USER_NOT_PARTICIPANT" | "CHAT_FORBIDDEN" | "CHANNEL_PUBLIC_GROUP_NA" => {
            "the bot is not in this group any more; add it again, then `nanoclaw outbox retry`"
        }
        "USER_IS_BLOCKED" | "YOU_BLOCKED_USER" => {
            "this person has blocked the bot; it has to be started again there, then `nanoclaw outbox retry`"
        }
        "INPUT_USER_DEACTIVATED" | "USER_IS_BOT" => "nobody is there any more to whom it could be shown",
        "CHAT_WRITE_FORBIDDEN"
        | "CHAT_ADMIN_REQUIRED"
        | "CHAT_RESTRICTED"
        | "USER_BANNED_IN_CHANNEL"
        | "CHAT_GUEST_SEND_FORBIDDEN"
        | "CHAT_SEND_PLAIN_FORBIDDEN"
        | "CHAT_SEND_MEDIA_FORBIDDEN"
        | "CHAT_SEND_DOCS_FORBIDDEN"
        | "CHAT_SEND_PHOTOS_FORBIDDEN"
        | "TOPIC_CLOSED" => {
            "the rules of the group do not let the bot write this there; make it an administrator, then `nanoclaw outbox retry`"
        }
        "MESSAGE_TOO_LONG"
        | "MESSAGE_EMPTY"
        | "MEDIA_CAPTION_TOO_LONG"
        | "ENTITIES_TOO_LONG"
        | "ENTITY_BOUNDS_INVALID" => "Telegram does not take this text",
        "MEDIA_INVALID" | "MEDIA_EMPTY" | "FILE_PARTS_INVALID" | "FILE_PART_INVALID" => {
            "Telegram does not take this file"
        }
        _ => return None,
    })
}

/// An error with its causes. What the crate gives is boxed, which core's own helper does not take.
fn causes_of(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    with_causes(error)
}

#[cfg(test)]
mod tests {
    use grammers_client::tl;

    use super::*;

    fn told(code: i32, message: &str) -> Trouble {
        let error = tl::types::RpcError { error_code: code, error_message: message.to_owned() };
        Trouble::of(InvocationError::Rpc(error.into()))
    }

    #[test]
    fn what_will_not_pass_is_permanent_and_says_what_to_do() {
        for (code, word) in [(400, "PEER_ID_INVALID"), (400, "CHANNEL_PRIVATE"), (403, "CHAT_WRITE_FORBIDDEN")] {
            let SendError::Permanent { reason } = told(code, word).for_send() else { panic!("{word} is permanent") };
            assert!(reason.contains(word) && reason.contains("nanoclaw outbox retry"), "{reason}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_no_sooner_than_telegram_asks() {
        for (code, word, seconds) in [(420, "FLOOD_WAIT_31", 31), (420, "SLOWMODE_WAIT_7", 7)] {
            let SendError::Retry { after, .. } = told(code, word).for_send() else { panic!("{word} passes") };
            assert_eq!(after, Some(Duration::from_secs(seconds)), "{word}");
        }
        assert!(matches!(told(400, "SOMETHING_NEW").for_send(), SendError::Retry { after: None, .. }));
    }

    #[test]
    fn of_what_is_unclear_nobody_says_that_it_was_not_sent() {
        let broken = Trouble::of(InvocationError::Io(std::io::Error::other("broken pipe")));
        for trouble in [broken, told(500, "RPC_CALL_FAIL"), told(-503, "Timeout"), Trouble::no_answer(AFTER_ANOTHER)] {
            assert!(matches!(trouble.clone().for_send(), SendError::Unknown { .. }), "{trouble:?}");
        }
    }

    #[test]
    fn what_an_upload_was_told_is_told() {
        let inner = tl::types::RpcError { error_code: 420, error_message: "FLOOD_WAIT_3".to_owned() };
        let wrapped = std::io::Error::other(InvocationError::Rpc(inner.into()));
        assert_eq!(Trouble::of(InvocationError::Io(wrapped)), told(420, "FLOOD_WAIT_3"));
    }

    #[test]
    fn a_refused_credential_stops_the_connection_and_names_itself() {
        for (code, word, name) in [
            (400, "ACCESS_TOKEN_INVALID", BOT_TOKEN),
            (400, "API_ID_INVALID", API_ID),
            (401, "USER_DEACTIVATED", BOT_TOKEN),
            (401, "AUTH_KEY_UNREGISTERED", BOT_TOKEN),
        ] {
            let Ending::Refused { reason, remedy } = told(code, word).for_connection() else {
                panic!("{word} is final")
            };
            assert!(reason.contains(word) && remedy.contains(&format!("nanoclaw auth set {name}")), "{remedy}");
        }
        assert!(told(401, "SESSION_REVOKED").is_signed_out() && !told(401, "USER_DEACTIVATED_BAN").is_signed_out());
        assert!(matches!(told(401, "AUTH_KEY_UNREGISTERED").for_send(), SendError::NotConnected { .. }));
    }

    #[test]
    fn a_wait_at_the_door_is_waited_for_and_another_session_for_half_a_minute() {
        let after = |trouble: Trouble| match trouble.for_connection() {
            Ending::Lost { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after(told(420, "FLOOD_WAIT_900")), Some(Duration::from_secs(900)));
        assert_eq!(after(told(406, "AUTH_KEY_DUPLICATED")), Some(Duration::from_secs(30)));
        assert_eq!(after(told(500, "INTERNAL")), None);
    }
}
