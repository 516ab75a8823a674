//! What goes wrong with Slack, and what follows: for a message that is sent, and for a connection.

use std::{fmt, time::Duration};

use hyper_util::client::legacy;
use nanoclaw_core::channel::SendError;
use slack_morphism::errors::SlackClientError;

use super::{APP_TOKEN, BOT_TOKEN};
use crate::channels::service::Ending;

/// The longest delay that Slack may ask for before the next try.
const LONGEST_AFTER: Duration = Duration::from_secs(60 * 60);

/// Why a call of Slack came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Slack says no; its word for it.
    Told(String),
    /// Slack wants us to wait.
    Limited(Option<Duration>),
    /// The call did not get there.
    NotReached(String),
    /// Nobody knows what became of the call.
    Unclear(String),
}

impl Trouble {
    pub(super) fn of(error: SlackClientError) -> Self {
        match error {
            SlackClientError::ApiError(error) if error.code == "ratelimited" => Self::Limited(None),
            SlackClientError::ApiError(error) => Self::Told(error.code),
            SlackClientError::RateLimitError(error) => {
                Self::Limited(error.retry_after.map(|after| after.min(LONGEST_AFTER)))
            }
            SlackClientError::HttpError(error) if error.status_code.is_client_error() => {
                Self::Told(format!("status {}", error.status_code))
            }
            SlackClientError::HttpError(error) => Self::Unclear(format!("Slack answered with {}", error.status_code)),
            SlackClientError::HttpProtocolError(error) => {
                let cause = error.cause.as_deref();
                let reason = cause.map_or_else(|| "the connection broke".to_owned(), with_causes);
                match cause
                    .and_then(|cause| cause.downcast_ref::<legacy::Error>())
                    .is_some_and(legacy::Error::is_connect)
                {
                    true => Self::NotReached(reason),
                    false => Self::Unclear(reason),
                }
            }
            // Without what was answered, which nobody wants in a log.
            SlackClientError::ProtocolError(error) => {
                Self::Unclear(format!("Slack's answer cannot be read: {}", error.json_error))
            }
            error => Self::Unclear(error.to_string()),
        }
    }

    /// Whether Slack does not take the token any more.
    pub(super) fn is_about_token(&self) -> bool {
        matches!(self, Self::Told(code) if is_about_token(code))
    }

    /// Whether the same call may be answered a while later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Told(code) => {
                matches!(code.as_str(), "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout")
            }
            Self::Limited(_) | Self::NotReached(_) | Self::Unclear(_) => true,
        }
    }

    /// Whether Slack knows the thread not (any more), or takes nothing in it; nothing was posted then.
    pub(super) fn is_about_thread(&self) -> bool {
        let about = ["thread_not_found", "invalid_thread_ts", "cannot_reply_to_message"];
        matches!(self, Self::Told(code) if about.contains(&code.as_str()))
    }

    /// What it means for a message that was to be sent.
    pub(super) fn for_send(self) -> SendError {
        match self {
            Self::Limited(after) => SendError::Retry { reason: "Slack wants fewer messages for now".to_owned(), after },
            Self::NotReached(reason) => {
                SendError::Retry { reason: format!("Slack is not reached: {reason}"), after: None }
            }
            Self::Unclear(reason) => SendError::Unknown { reason },
            Self::Told(code) if is_about_token(&code) => {
                SendError::NotConnected { reason: format!("Slack does not take {BOT_TOKEN} any more ({code})") }
            }
            Self::Told(code) => match code.as_str() {
                "fatal_error" | "internal_error" => {
                    SendError::Unknown { reason: format!("Slack met an error of its own ({code})") }
                }
                _ => match remedy_of_send(&code) {
                    Some(words) => SendError::Permanent { reason: format!("{words} ({code})") },
                    None => SendError::Retry { reason: format!("Slack refused the message: {code}"), after: None },
                },
            },
        }
    }

    /// What it means for a connection; `token` is the name of the one that the call was made with.
    pub(super) fn for_connection(self, token: &str) -> Ending {
        match self {
            Self::Limited(after) => Ending::Lost { reason: "Slack wants fewer connections for now".to_owned(), after },
            Self::NotReached(reason) => Ending::Lost { reason: format!("Slack is not reached: {reason}"), after: None },
            Self::Unclear(reason) => Ending::Lost { reason, after: None },
            Self::Told(code) if is_about_token(&code) => {
                Ending::Refused { reason: format!("Slack refuses {token} ({code})"), remedy: new_token(token) }
            }
            Self::Told(code) if code == "missing_scope" => Ending::Refused {
                reason: format!("{token} lacks a right (missing_scope)"),
                remedy: match token {
                    APP_TOKEN => format!(
                        "give the app-level token the scope connections:write, on the app's page under \"Basic Information\"; {}",
                        new_token(token)
                    ),
                    _ => "give the app the scopes that docs/channels/slack.md lists, and install it in the workspace again"
                        .to_owned(),
                },
            },
            Self::Told(code) => Ending::Lost { reason: format!("Slack refused: {code}"), after: None },
        }
    }
}

/// What is to be done with a token that is not taken.
pub(super) fn new_token(token: &str) -> String {
    let (place, begins) = match token {
        APP_TOKEN => ("\"Basic Information\", \"App-Level Tokens\"", "xapp-"),
        _ => ("\"OAuth & Permissions\"", "xoxb-"),
    };
    format!(
        "`nanoclaw auth set {token}` stores another, which is used at once; it is on the app's page at api.slack.com/apps, under \
         {place}, and begins with {begins}"
    )
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(code) => write!(f, "Slack refused: {code}"),
            Self::Limited(_) => f.write_str("Slack wants fewer calls for now"),
            Self::NotReached(reason) => write!(f, "Slack is not reached: {reason}"),
            Self::Unclear(reason) => f.write_str(reason),
        }
    }
}

fn is_about_token(code: &str) -> bool {
    matches!(
        code,
        "invalid_auth"
            | "not_authed"
            | "account_inactive"
            | "token_revoked"
            | "token_expired"
            | "not_allowed_token_type"
            | "no_permission"
            | "org_login_required"
            | "user_removed_from_team"
            | "app_uninstalled"
    )
}

/// Words for what will not pass by itself; `None` for what may.
fn remedy_of_send(code: &str) -> Option<&'static str> {
    Some(match code {
        "channel_not_found" => {
            "Slack knows no such conversation, or the app was never in it; invite the app, then `nanoclaw outbox retry`"
        }
        "not_in_channel" => "the app is not in this conversation; invite it there, then `nanoclaw outbox retry`",
        "is_archived" => "the conversation is archived; unarchive it, then `nanoclaw outbox retry`",
        "missing_scope" => {
            "the app lacks a right; give it the scopes that docs/channels/slack.md lists, install it again, then `nanoclaw \
             outbox retry`"
        }
        "restricted_action"
        | "restricted_action_read_only_channel"
        | "restricted_action_thread_only_channel"
        | "restricted_action_non_threadable_channel" => {
            "the rules of the workspace or of the conversation do not let the app write there"
        }
        "msg_too_long" | "msg_blocks_too_long" | "no_text" | "invalid_metadata_format" | "metadata_too_large" => {
            "Slack does not take this text"
        }
        "cannot_dm_bot" | "user_not_found" | "user_disabled" | "user_not_visible" => {
            "nobody is there any more to whom it could be shown"
        }
        "file_uploads_disabled" | "file_uploads_except_images_disabled" | "storage_limit_reached" => {
            "the workspace takes no such files"
        }
        _ => return None,
    })
}

/// An error with its causes. What the crate gives is boxed, which core's own helper does not take.
fn with_causes(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    nanoclaw_core::causes::with_causes(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: &str) -> Trouble {
        Trouble::Told(code.to_owned())
    }

    #[test]
    fn what_will_not_pass_is_permanent_and_says_what_to_do() {
        for code in ["channel_not_found", "not_in_channel", "is_archived", "missing_scope"] {
            let SendError::Permanent { reason } = told(code).for_send() else { panic!("{code} is permanent") };
            assert!(reason.contains(code) && reason.contains("nanoclaw outbox retry"), "{reason}");
        }
        assert!(matches!(told("msg_too_long").for_send(), SendError::Permanent { .. }));
    }

    #[test]
    fn what_may_pass_is_tried_again_and_no_sooner_than_slack_asks() {
        let after = Some(Duration::from_secs(7));
        assert!(matches!(Trouble::Limited(after).for_send(), SendError::Retry { after: asked, .. } if asked == after));
        assert!(matches!(told("something_new").for_send(), SendError::Retry { .. }));
        assert!(matches!(Trouble::NotReached("x".into()).for_send(), SendError::Retry { .. }));
    }

    #[test]
    fn of_what_is_unclear_nobody_says_that_it_was_not_sent() {
        for trouble in [Trouble::Unclear("x".into()), told("internal_error"), told("fatal_error")] {
            assert!(matches!(trouble.for_send(), SendError::Unknown { .. }));
        }
    }

    #[test]
    fn a_refused_token_stops_the_connection_and_keeps_messages_waiting() {
        for code in ["invalid_auth", "token_revoked", "account_inactive"] {
            assert!(matches!(told(code).for_send(), SendError::NotConnected { .. }), "{code}");
            let Ending::Refused { remedy, .. } = told(code).for_connection(BOT_TOKEN) else {
                panic!("{code} is final")
            };
            assert!(remedy.contains("nanoclaw auth set SLACK_BOT_TOKEN") && remedy.contains("xoxb-"), "{remedy}");
        }
        let Ending::Refused { remedy, .. } = told("missing_scope").for_connection(APP_TOKEN) else { panic!("final") };
        assert!(remedy.contains("connections:write"), "{remedy}");
        assert!(matches!(told("team_access_not_granted").for_connection(APP_TOKEN), Ending::Lost { .. }));
    }
}
