//! The gateway's own answers, in the model API's form, so that the agent shows them to people as it shows the API's.

use std::{fmt, net::IpAddr};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};

use super::{
    forward::Body,
    headers::{GATEWAY, SHOULD_RETRY},
};

/// Why a request went to nobody, or came back with nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not in the table of routes.
    NotAllowed { method: String, target: String },
    /// The host and port are not on the group's list. `place` is where the operator lists them.
    HostNotAllowed { host: String, place: String },
    /// The host has an address that nobody may reach.
    NotPublic { host: String, address: IpAddr, why: &'static str },
    /// The host has no address.
    NotResolved { host: String, reason: String },
    /// The host was not reached.
    HostUnreachable { host: String, reason: String },
    /// The target of the request can be read in more than one way, or in none.
    BadTarget { reason: &'static str },
    /// There is no such further upstream for this group.
    NoUpstream { name: String },
    /// The upstream is not to be asked that.
    NotOfUpstream { name: String, method: String, path: String },
    /// There is no credential to add.
    NoCredential,
    /// There is none to add for this upstream.
    NoSecret { name: String },
    /// The model API or a further upstream was not reached, or broke off before it answered.
    Unreachable { host: String, reason: String },
    /// It was reached and said nothing in time.
    Silent { host: String },
    /// More than the group may have at a time, or in a minute.
    TooMany { what: &'static str, most: u64, again_in: u64 },
    /// The request's body is larger than it may be.
    TooLarge { most: u64 },
    /// The request's body stood still, or all of it took too long.
    TooSlow,
    /// A fault of ours kept it from being answered.
    Failed,
}

impl Refusal {
    /// The word for it in the header that marks our own answers, and in the log.
    pub(super) fn word(&self) -> &'static str {
        self.kind().1
    }

    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotAllowed { .. } => (StatusCode::FORBIDDEN, "not-allowed", "permission_error"),
            Self::HostNotAllowed { .. } => (StatusCode::FORBIDDEN, "host-not-allowed", "permission_error"),
            Self::NotPublic { .. } => (StatusCode::FORBIDDEN, "address-not-public", "permission_error"),
            Self::NoUpstream { .. } => (StatusCode::FORBIDDEN, "no-such-upstream", "permission_error"),
            Self::NotOfUpstream { .. } => (StatusCode::FORBIDDEN, "not-of-upstream", "permission_error"),
            Self::BadTarget { .. } => (StatusCode::BAD_REQUEST, "bad-target", "invalid_request_error"),
            Self::NotResolved { .. } => (StatusCode::BAD_GATEWAY, "host-unknown", "api_error"),
            Self::HostUnreachable { .. } => (StatusCode::BAD_GATEWAY, "host-unreachable", "api_error"),
            Self::NoCredential | Self::NoSecret { .. } => {
                (StatusCode::UNAUTHORIZED, "no-credential", "authentication_error")
            }
            Self::Unreachable { .. } => (StatusCode::BAD_GATEWAY, "upstream-unreachable", "api_error"),
            Self::Silent { .. } => (StatusCode::GATEWAY_TIMEOUT, "upstream-silent", "timeout_error"),
            Self::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-many", "rate_limit_error"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "request_too_large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "timeout_error"),
            Self::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "failed", "api_error"),
        }
    }

    /// Whether no repetition changes the answer.
    fn is_final(&self) -> bool {
        let status = self.kind().0;
        status.is_client_error() && !matches!(self, Self::TooMany { .. } | Self::TooSlow)
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let (status, mark, kind) = self.kind();
        let error = serde_json::json!({"type": "error", "error": {"type": kind, "message": self.to_string()}});
        let mut response = own(status, mark, error.to_string());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.is_final() {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if let Self::TooMany { again_in, .. } = self {
            headers.insert(header::RETRY_AFTER, again_in.into());
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
            Self::HostNotAllowed { host, place } => write!(
                f,
                "{host} is not allowed for this group; the operator of this host allows it by allow = [\"{host}\"] in \
                 {place} of nanoclaw.toml"
            ),
            Self::NotPublic { host, address, why } => write!(
                f,
                "{host} is refused because it has the address {address}, which is {why}; only the operator of this host can \
                 make an exception, by private = [\"{host}\"] in [gateway] of nanoclaw.toml"
            ),
            Self::NotResolved { host, reason } => write!(f, "{host} has no address that could be found: {reason}"),
            Self::HostUnreachable { host, reason } => write!(f, "{host} could not be reached: {reason}"),
            Self::BadTarget { reason } => write!(f, "the request's target is refused: {reason}"),
            Self::NoUpstream { name } => write!(f, "there is no upstream {name} for this group"),
            Self::NotOfUpstream { name, method, path } => {
                write!(f, "{method} {path} is not among what the upstream {name} may be asked")
            }
            Self::NoCredential => f.write_str(
                "the host has no credential for the model API; its operator stores one with `nanoclaw auth set` or \
                 `nanoclaw auth setup-token`",
            ),
            Self::NoSecret { name } => write!(
                f,
                "the host has no secret for the upstream {name}; its operator stores it with `nanoclaw auth set`, under the name \
                 that [[gateway.upstreams]] gives it"
            ),
            Self::Unreachable { host, reason } => write!(f, "{host} could not be reached: {reason}"),
            Self::Silent { host } => write!(f, "{host} did not answer in time"),
            Self::TooMany { what, most, again_in } => {
                write!(f, "this group has had its {most} {what}; try again in {again_in} s")
            }
            Self::TooLarge { most } => write!(f, "the request's body is larger than {most} bytes"),
            Self::TooSlow => f.write_str("the request did not come in time, or took too long"),
            Self::Failed => f.write_str("it failed by a fault of its own; the host's log says more"),
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
