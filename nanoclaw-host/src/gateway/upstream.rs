//! The model API as the host reaches it: its address, the credential, the client.

use std::{
    error::Error as _,
    net::IpAddr,
    sync::{OnceLock, PoisonError, RwLock},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use nanoclaw_core::secret::Secret;
use reqwest::{Client, Response, Url};

use super::{
    GatewayError,
    http_client::{self, make_once},
    refusal::Refusal,
    request_body::{RequestBody, Trouble},
};

/// How to reach the model API.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its address, before `/v1/…`: `https://api.anthropic.com`. May have a path; has no user, query or fragment.
    pub base_url: String,
    /// What is added to each request; without one, requests are refused with a message that says so.
    pub credential: Option<Credential>,
    /// Where the credential may go unencrypted.
    pub plain_http: PlainHttp,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long the model API may say nothing while an answer is due, or in the middle of one.
    pub silence_timeout: Duration,
}

/// What the model API knows the operator by, as it goes over the wire.
///
/// The two ways to present one are all that the gateway knows. Under which name it was configured and where, which also says
/// what the agent is told about it, is [`config::Credential`](crate::config::Credential).
#[derive(Debug, Clone)]
pub enum Credential {
    /// An API key, sent as `x-api-key`.
    ApiKey(Secret),
    /// An OAuth token of a Claude subscription, or a key of a gateway that wants it so, sent as `authorization: Bearer`. An
    /// OAuth token needs a word in `anthropic-beta` too, which the agent sends by itself when it is given a placeholder
    /// *token* and not a placeholder *key*; the gateway adds none.
    Bearer(Secret),
}

/// To which hosts `http://` is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// To this machine: local models, tests.
    LoopbackOnly,
    /// To any, because the operator said so.
    Anywhere,
}

impl Upstream {
    /// The model API at `base_url`, with the usual bounds: plain HTTP on loopback alone, 10 s to connect, and 15 minutes of
    /// silence, which is more than the 10 minutes that Claude Code itself waits.
    #[must_use]
    pub fn new(base_url: impl Into<String>, credential: Option<Credential>) -> Self {
        Self {
            base_url: base_url.into(),
            credential,
            plain_http: PlainHttp::LoopbackOnly,
            connect_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(15 * 60),
        }
    }
}

/// A client for one [`Upstream`].
pub(super) struct UpstreamClient {
    /// Made when the first group needs it, because it reads all of the system's certificates: a host whose agents call no
    /// model need not pay for that, and starts where there are none.
    client: OnceLock<Client>,
    url: Url,
    connect_timeout: Duration,
    silence_timeout: Duration,
    /// Without a slash at its end.
    base_url: String,
    /// Host and port, for messages.
    host: String,
    /// What is added now; it can be replaced while requests are answered.
    credential: RwLock<Option<(HeaderName, HeaderValue)>>,
}

impl UpstreamClient {
    pub(super) fn new(upstream: Upstream) -> Result<Self, GatewayError> {
        let url = checked_url(&upstream.base_url, upstream.plain_http)?;
        let credential = upstream.credential.as_ref().map(Credential::header).transpose()?;
        let (base_url, host) = (url.as_str().trim_end_matches('/').to_owned(), host_and_port(&url));
        let Upstream { connect_timeout, silence_timeout, .. } = upstream;
        Ok(Self {
            client: OnceLock::new(),
            url,
            connect_timeout,
            silence_timeout,
            base_url,
            host,
            credential: RwLock::new(credential),
        })
    }

    /// Makes the client unless there is one. Takes some milliseconds then.
    pub(super) fn make_ready(&self) -> Result<(), GatewayError> {
        make_once(&self.client, || self.make_client())
    }

    fn make_client(&self) -> reqwest::Result<Client> {
        let mut builder = http_client::builder(&self.url, self.connect_timeout, self.silence_timeout);
        if is_loopback(&self.url) {
            // `HTTP_PROXY` and its kind are for what is not on this machine. Otherwise they are followed: an operator behind
            // a proxy has no other way out.
            builder = builder.no_proxy();
        }
        builder.build()
    }

    /// The header that carries the credential.
    pub(super) fn credential_header(&self) -> Option<(HeaderName, HeaderValue)> {
        self.credential.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the credential for the requests that come from now on.
    pub(super) fn set_credential(&self, credential: Option<&Credential>) -> Result<(), GatewayError> {
        let header = credential.map(Credential::header).transpose()?;
        *self.credential.write().unwrap_or_else(PoisonError::into_inner) = header;
        Ok(())
    }

    /// Asks for `path` and waits for the head of the answer.
    pub(super) async fn get(&self, path: &str, headers: HeaderMap, limit: Duration) -> Result<Response, Refusal> {
        let host = || self.host.clone();
        let client =
            self.client.get().ok_or_else(|| Refusal::Unreachable { host: host(), reason: "no client".into() })?;
        let request = client.get(format!("{}{path}", self.base_url)).headers(headers).send();
        match tokio::time::timeout(limit, request).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Refusal::Unreachable { host: host(), reason: root_cause(&error) }),
            Err(_) => Err(Refusal::Silent { host: host() }),
        }
    }

    /// Sends a request on and returns when the head of the answer is there.
    pub(super) async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        (body, trouble): (RequestBody, Trouble),
    ) -> Result<Response, Refusal> {
        let client = self.client.get().expect("a socket is opened only after the client was made ready");
        let url = format!("{}{path_and_query}", self.base_url);
        let sent = client.request(method, url).headers(headers).body(reqwest::Body::wrap(body)).send().await;
        sent.map_err(|error| trouble.or(|| failure(&error, format!("the model API at {}", self.host))))
    }
}

/// What it means that `host` gave no answer.
pub(super) fn failure(error: &reqwest::Error, host: String) -> Refusal {
    if error.is_timeout() && !error.is_connect() {
        Refusal::Silent { host }
    } else {
        Refusal::Unreachable { host, reason: root_cause(error) }
    }
}

impl Credential {
    /// The header that presents it.
    pub(super) fn header(&self) -> Result<(HeaderName, HeaderValue), GatewayError> {
        let (name, text) = match self {
            Self::ApiKey(key) => (HeaderName::from_static("x-api-key"), key.reveal().to_owned()),
            Self::Bearer(token) if token.reveal().is_empty() => (header::AUTHORIZATION, String::new()),
            Self::Bearer(token) => (header::AUTHORIZATION, format!("Bearer {}", token.reveal())),
        };
        if text.is_empty() {
            return Err(GatewayError::BadCredential { reason: "is empty" });
        }
        let mut value = HeaderValue::from_str(&text).map_err(|_| GatewayError::BadCredential {
            reason: "has a line break or another character that a header cannot carry",
        })?;
        value.set_sensitive(true);
        Ok((name, value))
    }
}

/// The address before a path, when it can be one.
pub(super) fn checked_url(base_url: &str, plain_http: PlainHttp) -> Result<Url, GatewayError> {
    // A user and password may stand before the @; an error must not repeat them.
    let shown = base_url.rsplit_once('@').map_or(base_url, |(_, host)| host);
    let bad = |reason: String| GatewayError::BadUpstream { url: shown.to_owned(), reason };
    let url = Url::parse(base_url).map_err(|error| bad(format!("{error}; it looks like https://HOST")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("a user or password stands in it; put the credential into its own setting".into()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it ends with the path; leave out what starts with ? or #".into()));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) || plain_http == PlainHttp::Anywhere => Ok(url),
        "http" => {
            Err(bad("the credential would go over the network unencrypted; use https, or allow plain HTTP".into()))
        }
        scheme => Err(bad(format!("{scheme} is not spoken; use https"))),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

pub(super) fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The innermost error says what happened ("connection refused"); the outer ones only where.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.source().is_none() && error.is_timeout() { "timed out".into() } else { cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(base_url: &str) -> String {
        match UpstreamClient::new(Upstream::new(base_url, None)) {
            Ok(_) => "taken".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_unless_allowed() {
        for url in ["http://127.0.0.1:1", "http://localhost:8080/prefix", "http://[::1]:1"] {
            assert_eq!(refused(url), "taken", "{url}");
        }
        for url in ["http://api.example.com", "http://127.0.0.1.example.com", "http://10.0.0.1"] {
            assert!(refused(url).contains("unencrypted"), "{url}: {}", refused(url));
        }
        let mut upstream = Upstream::new("http://10.0.0.1", None);
        upstream.plain_http = PlainHttp::Anywhere;
        assert!(UpstreamClient::new(upstream).is_ok());
    }

    #[test]
    fn an_address_that_cannot_be_meant_is_refused() {
        assert!(refused("api.anthropic.com").contains("looks like https://HOST"));
        assert!(refused("ftp://127.0.0.1").contains("use https"));
        assert!(refused("http://127.0.0.1/?a=b").contains("leave out"));
        for url in ["https://user:hunter2@example.com", "https://user:hunter2@example.com:port"] {
            let error = refused(url);
            assert!(error.contains("example.com") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_credential_that_no_header_carries_is_refused_without_being_told() {
        for (text, reason) in [("", "is empty"), ("sk-secret\n", "line break")] {
            for credential in [Credential::ApiKey(Secret::new(text)), Credential::Bearer(Secret::new(text))] {
                let error = credential.header().unwrap_err().to_string();
                assert!(error.contains(reason) && !error.contains("sk-secret"), "{error}");
            }
        }
    }
}
