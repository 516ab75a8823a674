//! Whether the model API takes the credential: one small request, on the way that agents' requests take.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Gateway, GatewayError, refusal::Refusal};

/// What the model API says of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It takes it.
    Taken,
    /// It refuses it, with this status.
    Refused(u16),
    /// Nobody could be asked, or the answer says nothing about it; this says why.
    CannotTell(String),
}

impl Gateway {
    /// Asks the model API for its models. `oauth` is for a subscription's token, which is taken only by those who say so.
    ///
    /// # Errors
    /// [`GatewayError::Tls`].
    pub async fn check(&self, oauth: bool, limit: Duration) -> Result<Checked, GatewayError> {
        self.shared.upstream.make_ready()?;
        let Some((name, value)) = self.shared.upstream.credential_header() else {
            return Ok(Checked::CannotTell("there is no credential".to_owned()));
        };
        let mut headers = HeaderMap::from_iter([(name, value)]);
        headers.insert(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
        if oauth {
            headers.insert(HeaderName::from_static("anthropic-beta"), HeaderValue::from_static("oauth-2025-04-20"));
        }
        let answer = match self.shared.upstream.get("/v1/models?limit=1", headers, limit).await {
            Ok(answer) => answer,
            Err(Refusal::Silent { host }) => {
                return Ok(Checked::CannotTell(format!("{host} did not answer within {} s", limit.as_secs())));
            }
            Err(Refusal::Unreachable { host, reason }) => {
                return Ok(Checked::CannotTell(format!("{host} could not be reached: {reason}")));
            }
            Err(other) => return Ok(Checked::CannotTell(other.to_string())),
        };
        Ok(match answer.status() {
            status if status.is_success() => Checked::Taken,
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Checked::Refused(status.as_u16()),
            status => Checked::CannotTell(format!("the model API answered {status}")),
        })
    }
}
