//! How old the model's credential is, and when somebody should be told.

use std::time::Duration;

use jiff::tz::TimeZone;
use nanoclaw_core::time::Timestamp;

use super::CredentialKind;

const DAY: Duration = Duration::from_secs(86_400);

/// How long a subscription's token is good for, from when `claude setup-token` made it (source: docs of Claude Code, "setup-token").
const TOKEN_LASTS: Duration = Duration::from_secs(365 * 86_400);

/// When somebody should be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reminders {
    /// How long before a credential ends that ends by itself.
    pub before: Duration,
    /// How long after it was stored, of one that does not; `None`: never.
    pub after: Option<Duration>,
}

impl Default for Reminders {
    /// Thirty days before, and after a year.
    fn default() -> Self {
        Self { before: 30 * DAY, after: Some(365 * DAY) }
    }
}

/// How old a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Nobody has to know.
    Fresh,
    /// It was stored so long ago that another one should take its place.
    Old {
        /// When.
        since: Timestamp,
    },
    /// It ends soon.
    EndsSoon {
        /// When.
        ends: Timestamp,
    },
    /// It has ended.
    Ended {
        /// When.
        ends: Timestamp,
    },
}

/// The age of a credential of this kind that was stored `since`; of one of which nobody knows that, nothing is said.
#[must_use]
pub fn age(kind: CredentialKind, since: Option<Timestamp>, now: Timestamp, reminders: &Reminders) -> Age {
    let Some(since) = since else { return Age::Fresh };
    match kind {
        CredentialKind::OAuthToken => {
            let ends = since.plus(TOKEN_LASTS);
            if ends <= now {
                Age::Ended { ends }
            } else if ends <= now.plus(reminders.before) {
                Age::EndsSoon { ends }
            } else {
                Age::Fresh
            }
        }
        CredentialKind::ApiKey | CredentialKind::AuthToken => match reminders.after {
            Some(after) if since.plus(after) <= now => Age::Old { since },
            _ => Age::Fresh,
        },
    }
}

impl Age {
    /// When the credential ends or ended of which somebody should know that.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        match self {
            Self::EndsSoon { ends } | Self::Ended { ends } => Some(*ends),
            Self::Fresh | Self::Old { .. } => None,
        }
    }

    /// What people are told of a credential of this kind, and what to do; `None`: nothing.
    #[must_use]
    pub fn told(&self, kind: CredentialKind, zone: &TimeZone) -> Option<(String, &'static str)> {
        let (name, what) = (kind.variable(), kind.describe());
        let help = match kind {
            CredentialKind::OAuthToken => {
                "`nanoclaw auth setup-token` makes and stores a new one, which is used at once"
            }
            _ => {
                "`nanoclaw auth set` stores a new one, which is used at once; then withdraw the old one where it was made"
            }
        };
        let told = match self {
            Self::Fresh => return None,
            Self::Old { since } => format!("{name}, {what}, was stored on {}", day(*since, zone)),
            Self::EndsSoon { ends } => {
                format!("{name}, {what}, ends on {}: nobody is answered after that", day(*ends, zone))
            }
            Self::Ended { ends } => format!("{name}, {what}, has ended on {}", day(*ends, zone)),
        };
        Some((told, help))
    }
}

fn day(at: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.as_ms()) {
        Ok(moment) => moment.to_zoned(zone.clone()).date().to_string(),
        Err(_) => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriptions_token_ends_after_a_year_and_a_key_merely_grows_old() {
        let stored = Timestamp::from_ms(1_700_000_000_000);
        let after = |days: u32| stored.plus(days * DAY);
        let age_after = |kind, days| age(kind, Some(stored), after(days), &Reminders::default());
        let token = CredentialKind::OAuthToken;
        assert_eq!(age_after(token, 334), Age::Fresh);
        assert_eq!(age_after(token, 335), Age::EndsSoon { ends: after(365) });
        assert_eq!(age_after(token, 365), Age::Ended { ends: after(365) });
        assert_eq!(age_after(CredentialKind::ApiKey, 364), Age::Fresh);
        assert_eq!(age_after(CredentialKind::ApiKey, 365), Age::Old { since: stored });
        let never = Reminders { after: None, ..Reminders::default() };
        assert_eq!(age(CredentialKind::AuthToken, Some(stored), after(5000), &never), Age::Fresh);
        assert_eq!(age(token, None, after(5000), &never), Age::Fresh, "nobody knows since when");
        let told = age_after(token, 340).told(token, &TimeZone::UTC).unwrap();
        assert_eq!(
            told.0,
            "CLAUDE_CODE_OAUTH_TOKEN, a subscription's token, ends on 2024-11-13: nobody is answered after that"
        );
        assert!(told.1.contains("`nanoclaw auth setup-token`"));
    }
}
