//! The gateway's own answers, in the model API's form, so that the agent shows them to people as it shows the API's.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};

use super::{
    forward::Body,
    headers::{GATEWAY, SHOULD_RETRY},
};

/// Why a request went to nobody, or came back with nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not in the table of routes.
    NotAllowed { method: String, target: String },
    /// There is no credential to add.
    NoCredential,
    /// The model API was not reached, or broke off before it answered.
    Unreachable { host: String, reason: String },
    /// The model API was reached and said nothing in time.
    Silent { host: String },
}

impl Refusal {
    pub(super) fn into_response(self) -> Response<Body> {
        let (status, mark, kind) = match &self {
            Self::NotAllowed { .. } => (StatusCode::FORBIDDEN, "not-allowed", "permission_error"),
            Self::NoCredential => (StatusCode::UNAUTHORIZED, "no-credential", "authentication_error"),
            Self::Unreachable { .. } => (StatusCode::BAD_GATEWAY, "upstream-unreachable", "api_error"),
            Self::Silent { .. } => (StatusCode::GATEWAY_TIMEOUT, "upstream-silent", "timeout_error"),
        };
        let error = serde_json::json!({"type": "error", "error": {"type": kind, "message": self.to_string()}});
        let mut response = own(status, mark, error.to_string());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if matches!(self, Self::NotAllowed { .. } | Self::NoCredential) {
            response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NanoClaw gateway: ")?;
        match self {
            Self::NotAllowed { method, target } => {
                write!(
                    f,
                    "{method} {target} is not allowed; only messages and models of the model API can be reached from here"
                )
            }
            Self::NoCredential => f.write_str(
                "the host has no credential for the model API; its operator sets ANTHROPIC_API_KEY or \
                 CLAUDE_CODE_OAUTH_TOKEN in the host's credentials and restarts it",
            ),
            Self::Unreachable { host, reason } => write!(f, "the model API at {host} could not be reached: {reason}"),
            Self::Silent { host } => write!(f, "the model API at {host} did not answer in time"),
        }
    }
}

/// The answer to "are you there?".
pub(super) fn alive() -> Response<Body> {
    own(StatusCode::OK, "alive", String::new())
}

fn own(status: StatusCode, mark: &'static str, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(GATEWAY, HeaderValue::from_static(mark));
    response
}
