//! Further upstreams: services that a group may ask with a credential of the host's, as the operator declares them.
//!
//! An agent reaches one as `/upstream/<name>/…` on the gateway's port. What it may ask is a method and a prefix of the path,
//! compared by whole segments; a path that two readers could take for different ones (dots, double or encoded slashes) is
//! refused. Whatever credential the agent sends is taken off.

use std::{
    fmt,
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use nanoclaw_core::secret::Secret;
use reqwest::{
    Client, Response, Url,
    dns::{Addrs, Name, Resolving},
};

use super::{
    GatewayError, Resolve,
    egress::{
        allow::{Host, PrivateEndpoints},
        resolve::Destination,
    },
    headers,
    http_client::{self, make_once},
    refusal::Refusal,
    request_body::{RequestBody, Trouble},
    upstream::{self, PlainHttp},
};

/// How a credential is presented to a further upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Injection {
    /// In a header of this name.
    Header(HeaderName),
    /// As `authorization: Bearer`.
    Bearer,
    /// As `authorization: Basic`, for this user.
    Basic(String),
    /// In the query, under this name. The upstream's own log may keep it: prefer a header where there is a choice.
    Query(String),
}

/// A service that groups may ask with a credential of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FurtherUpstream {
    /// Its name: lower-case letters, digits, `-` and `_`.
    pub name: UpstreamName,
    /// Its address, before the path that the agent asks for. Plain HTTP only to loopback.
    pub base_url: String,
    /// How the credential is presented.
    pub inject: Injection,
    /// The credential; `None` as long as there is none, and requests are refused with a message that says so.
    pub secret: Option<Secret>,
    /// The methods that may be used; never CONNECT or TRACE.
    pub methods: Vec<Method>,
    /// The prefixes of paths, by whole segments: `/repos` allows `/repos` and `/repos/x`.
    pub paths: Vec<String>,
}

/// The name of a further upstream: 1 to 32 lower-case letters, digits, `-` and `_`, the first one a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpstreamName(String);

impl UpstreamName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UpstreamName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if text.len() <= 32 && text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a name of 1 to 32 lower-case letters, digits, - and _, the first one a letter")
        }
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A client for one [`FurtherUpstream`].
pub(super) struct FurtherClient {
    name: UpstreamName,
    url: Url,
    pub(super) host: Host,
    pub(super) port: u16,
    inject: Injection,
    /// What is added now; it can be replaced while requests are answered.
    presented: RwLock<Option<Presented>>,
    methods: Vec<Method>,
    paths: Vec<String>,
    resolver: Arc<dyn Resolve>,
    private: PrivateEndpoints,
    client: OnceLock<Client>,
}

/// A secret in the form in which it is sent.
#[derive(Debug, Clone)]
struct Presented {
    secret: Secret,
    /// What carries it, unless the query does.
    header: Option<(HeaderName, HeaderValue)>,
}

impl Presented {
    fn new(inject: &Injection, secret: Secret) -> Result<Self, GatewayError> {
        if secret.reveal().is_empty() {
            return Err(GatewayError::BadCredential { reason: "is empty" });
        }
        let header = match inject {
            Injection::Header(name) => Some((name.clone(), secret.reveal().to_owned())),
            Injection::Bearer => Some((header::AUTHORIZATION, format!("Bearer {}", secret.reveal()))),
            Injection::Basic(user) => {
                let both = BASE64_STANDARD.encode(format!("{user}:{}", secret.reveal()));
                Some((header::AUTHORIZATION, format!("Basic {both}")))
            }
            Injection::Query(_) => None,
        };
        let header = match header {
            None => None,
            Some((name, text)) => {
                let mut value = HeaderValue::from_str(&text).map_err(|_| GatewayError::BadCredential {
                    reason: "has a character that a header cannot carry",
                })?;
                value.set_sensitive(true);
                Some((name, value))
            }
        };
        Ok(Self { secret, header })
    }
}

/// How long a connection may take to come about.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long an upstream may say nothing while an answer is due.
const SILENCE: Duration = Duration::from_secs(5 * 60);

impl FurtherClient {
    pub(super) fn new(
        further: FurtherUpstream,
        resolver: Arc<dyn Resolve>,
        private: PrivateEndpoints,
    ) -> Result<Self, GatewayError> {
        let FurtherUpstream { name, base_url, inject, secret, methods, paths } = further;
        let url = upstream::checked_url(&base_url, PlainHttp::LoopbackOnly)?;
        let bad = |reason: &str| GatewayError::BadUpstream { url: base_url.clone(), reason: reason.to_owned() };
        let host = Host::of_request(url.host_str().unwrap_or_default()).map_err(bad)?;
        let port = url.port_or_known_default().ok_or_else(|| bad("it has no port"))?;
        let presented = secret.map(|secret| Presented::new(&inject, secret)).transpose()?;
        let client = OnceLock::new();
        let presented = RwLock::new(presented);
        Ok(Self { name, url, host, port, inject, presented, methods, paths, resolver, private, client })
    }

    /// Makes the client unless there is one.
    pub(super) fn make_ready(&self) -> Result<(), GatewayError> {
        make_once(&self.client, || self.make_client())
    }

    fn make_client(&self) -> reqwest::Result<Client> {
        let checked = Checked {
            resolver: Arc::clone(&self.resolver),
            private: self.private.clone(),
            host: self.host.clone(),
            port: self.port,
        };
        http_client::builder(&self.url, CONNECT_TIME, SILENCE)
            // A proxy would resolve the name itself, and nobody would check what comes out.
            .no_proxy()
            .dns_resolver(Arc::new(checked))
            .build()
    }

    /// Replaces the secret for all requests that come from now on; without one they are refused.
    ///
    /// # Errors
    /// [`GatewayError::BadCredential`]; the one before stays.
    pub(super) fn set_secret(&self, secret: Option<Secret>) -> Result<(), GatewayError> {
        let presented = secret.map(|secret| Presented::new(&self.inject, secret)).transpose()?;
        *self.presented.write().unwrap_or_else(PoisonError::into_inner) = presented;
        Ok(())
    }

    fn presented(&self) -> Result<Presented, Refusal> {
        let presented = self.presented.read().unwrap_or_else(PoisonError::into_inner).clone();
        presented.ok_or_else(|| Refusal::NoSecret { name: self.name.to_string() })
    }

    /// The whole address for a request, when it may be asked. `path_and_query` is what stands behind the name.
    pub(super) fn target(&self, method: &Method, path_and_query: &str) -> Result<Url, Refusal> {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        let refused = || Refusal::NotOfUpstream {
            name: self.name.to_string(),
            method: method.to_string(),
            path: path.chars().take(200).collect(),
        };
        let never = [Method::CONNECT, Method::TRACE].contains(method);
        let listed = self.methods.contains(method) && self.paths.iter().any(|prefix| is_below(path, prefix));
        if never || !listed || !is_unambiguous(path) {
            return Err(refused());
        }
        let mut url = self.url.clone();
        let whole = format!("{}{path}", self.url.path().trim_end_matches('/'));
        url.set_path(&whole);
        // Whatever the two think of a path, they must think the same.
        if url.path() != whole {
            return Err(refused());
        }
        url.set_query(query.filter(|query| !query.is_empty()));
        if let Injection::Query(name) = &self.inject {
            let others: Vec<(String, String)> = url
                .query_pairs()
                .filter(|(key, _)| key != name)
                .map(|(key, value)| (key.into(), value.into()))
                .collect();
            url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, self.presented()?.secret.reveal());
        }
        Ok(url)
    }

    /// Sends a request on and returns when the head of the answer is there.
    pub(super) async fn send(
        &self,
        method: Method,
        target: Url,
        mut headers: HeaderMap,
        (body, trouble): (RequestBody, Trouble),
    ) -> Result<Response, Refusal> {
        let client = self.client.get().expect("a socket is opened only after the clients were made ready");
        // reqwest asks no resolver about an address, and the operator's list may have changed since it was made.
        if let Host::Address(_) = self.host {
            Destination::find(&self.resolver, &self.private, &self.host, self.port).await?;
        }
        headers::to_upstream(&mut headers, self.presented()?.header);
        let sent = client.request(method, target).headers(headers).body(reqwest::Body::wrap(body)).send().await;
        sent.map_err(|error| {
            let where_to = format!("the upstream {} at {}", self.name, upstream::host_and_port(&self.url));
            // The address may have the credential in its query.
            trouble.or(|| upstream::failure(&error.without_url(), where_to))
        })
    }
}

/// Resolves an upstream's name and lets only addresses through that may be reached.
struct Checked {
    resolver: Arc<dyn Resolve>,
    private: PrivateEndpoints,
    host: Host,
    port: u16,
}

impl reqwest::dns::Resolve for Checked {
    fn resolve(&self, _: Name) -> Resolving {
        let (resolver, private) = (Arc::clone(&self.resolver), self.private.clone());
        let (host, port) = (self.host.clone(), self.port);
        Box::pin(async move {
            let found = Destination::find(&resolver, &private, &host, port).await;
            let found = found.map_err(|refusal| refusal.to_string())?;
            let addresses: Vec<SocketAddr> = found.addresses;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Whether `path` is `prefix` or below it, by whole segments.
fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether every reader takes `path` for the same: no segment that goes up or stands still, none that is empty but the last
/// one, no slash, backslash, dot or end of text in disguise, nothing that some servers cut off (`;`).
fn is_unambiguous(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let disguised = ["%2f", "%5c", "%2e", "%00", "%25", "%3b", "%3f", "%23", "\\", ";"];
    let segments: Vec<&str> = lower.strip_prefix('/').unwrap_or("//").split('/').collect();
    let plain = |segment: &str| segment != "." && segment != "..";
    !disguised.iter().any(|text| lower.contains(text))
        && segments.iter().all(|segment| plain(segment))
        && segments.iter().rev().skip(1).all(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::SystemResolver;

    fn client(inject: Injection, paths: &[&str]) -> FurtherClient {
        let further = FurtherUpstream {
            name: "github".parse().unwrap(),
            base_url: "https://api.github.com/base".to_owned(),
            inject,
            secret: Some(Secret::new("REAL")),
            methods: vec![Method::GET, Method::POST],
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        };
        FurtherClient::new(further, Arc::new(SystemResolver), PrivateEndpoints::default()).unwrap()
    }

    fn target(client: &FurtherClient, method: &str, path: &str) -> Option<String> {
        client.target(&method.parse().unwrap(), path).ok().map(|url| url.to_string())
    }

    #[test]
    fn what_may_be_asked_is_a_method_and_a_prefix_of_whole_segments() {
        let client = client(Injection::Bearer, &["/repos/me", "/user"]);
        for (path, url) in [
            ("/repos/me", "https://api.github.com/base/repos/me"),
            ("/repos/me/x?per_page=1", "https://api.github.com/base/repos/me/x?per_page=1"),
            ("/user/", "https://api.github.com/base/user/"),
        ] {
            assert_eq!(target(&client, "GET", path).as_deref(), Some(url));
        }
        for (method, path) in [
            ("GET", "/repos"),
            ("GET", "/repos/mean"),
            ("GET", "/users"),
            ("GET", ""),
            ("GET", "/"),
            ("DELETE", "/user"),
            ("TRACE", "/user"),
        ] {
            assert_eq!(target(&client, method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn a_path_that_two_readers_take_for_different_ones_is_refused() {
        let client = client(Injection::Bearer, &["/user", "/"]);
        for path in [
            "/user/../orgs",
            "/user/..",
            "/user/./x",
            "/user/%2e%2e/orgs",
            "/user/.%2E/orgs",
            "/user//x",
            "//user",
            "/user%2fx",
            "/user%5c..%5corgs",
            "/user\\..\\orgs",
            "/user/..;/orgs",
            "/user%252e",
            "/user%00",
            "user",
        ] {
            assert_eq!(target(&client, "GET", path), None, "{path}");
        }
        assert!(target(&client, "GET", "/user/a%20b/x.y").is_some());
    }

    #[test]
    fn a_credential_in_the_query_takes_the_place_of_the_agents_own() {
        let client = client(Injection::Query("key".to_owned()), &["/"]);
        let url = target(&client, "GET", "/x?key=mine&a=1&%6bey=mine&b=2").unwrap();
        assert_eq!(url, "https://api.github.com/base/x?a=1&b=2&key=REAL");
    }

    #[test]
    fn basic_has_the_user_and_the_secret_in_base64() {
        let client = client(Injection::Basic("me".to_owned()), &["/"]);
        assert_eq!(client.presented().unwrap().header.unwrap().1, "Basic bWU6UkVBTA==");
    }

    #[test]
    fn a_secret_can_be_replaced_and_taken_away_and_a_bad_one_changes_nothing() {
        let client = client(Injection::Bearer, &["/"]);
        let bearer = || client.presented().map(|presented| presented.header.unwrap().1);
        client.set_secret(Some(Secret::new("NEW"))).unwrap();
        assert_eq!(bearer().unwrap(), "Bearer NEW");
        for bad in ["", "a\nb"] {
            assert!(matches!(client.set_secret(Some(Secret::new(bad))), Err(GatewayError::BadCredential { .. })));
        }
        assert_eq!(bearer().unwrap(), "Bearer NEW");
        client.set_secret(None).unwrap();
        assert_eq!(bearer().unwrap_err(), Refusal::NoSecret { name: "github".to_owned() });
    }
}
