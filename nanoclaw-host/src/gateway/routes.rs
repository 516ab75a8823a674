//! Where a request goes: the one table. Everything that is not in it is refused.
//!
//! An agent needs messages and models. The rest of the model API (files, batches, skills, the organisation) belongs to the
//! operator's account, which all groups share: what one of them puts there the others would find. What goes elsewhere
//! ([`Route::Tunnel`], [`Route::PlainHttp`], [`Route::Further`]) is judged by the group's policy.

use http::{Method, Uri};

use super::egress::{
    allow::{AllowList, Host},
    plain::HTTP_PORT,
};

/// Below this path are further upstreams, each by its name.
const UPSTREAM: &str = "/upstream/";

/// What happens to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// The gateway answers "I am here" itself: Claude Code's first question, and that of every container's process 1.
    Alive,
    /// To the model API, by this path and query, with the credential.
    ModelApi(&'a str),
    /// To a further upstream, by this path and query.
    Further { name: &'a str, path_and_query: &'a str },
    /// A tunnel to a host.
    Tunnel(Host, u16),
    /// Plain HTTP to a host, through us as its proxy.
    PlainHttp(Host, u16),
    /// Means a host in a way that cannot be followed.
    BadTarget(&'static str),
    /// To nobody.
    Refused,
}

/// Finds a request's route. `allow` is what the group may reach: an address of loopback that is listed means the host's.
pub(super) fn route<'a>(method: &Method, uri: &'a Uri, allow: &AllowList) -> Route<'a> {
    if method == Method::CONNECT {
        if uri.scheme().is_some() || uri.path_and_query().is_some() {
            return Route::BadTarget("a tunnel is asked for by host and port, and nothing else");
        }
        return match target(uri, None) {
            Ok((host, port)) => Route::Tunnel(host, port),
            Err(problem) => Route::BadTarget(problem),
        };
    }
    let listed = || target(uri, Some(HTTP_PORT)).is_ok_and(|(host, port)| allow.rule(&host, port).is_some());
    if !names_the_gateway(uri) || (uri.authority().is_some() && listed()) {
        return match (uri.scheme_str(), target(uri, Some(HTTP_PORT))) {
            (Some("http"), Ok((host, port))) => Route::PlainHttp(host, port),
            (Some("http"), Err(problem)) => Route::BadTarget(problem),
            _ => Route::BadTarget("only http:// is carried by request; for https:// use CONNECT"),
        };
    }
    let path_and_query = uri.path_and_query().map_or_else(|| uri.path(), |both| both.as_str());
    let to_model_api = Route::ModelApi(path_and_query);
    match (method, uri.path()) {
        (&Method::HEAD, "/") => Route::Alive,
        (&Method::POST, "/v1/messages" | "/v1/messages/count_tokens") | (&Method::GET, "/v1/models") => to_model_api,
        (&Method::GET, path) if path.strip_prefix("/v1/models/").is_some_and(is_plain) => to_model_api,
        (&Method::TRACE, _) => Route::Refused,
        (_, path) if path.starts_with(UPSTREAM) => {
            let rest = &path_and_query[UPSTREAM.len()..];
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (name, path_and_query) = rest.split_at(end);
            Route::Further { name, path_and_query }
        }
        _ => Route::Refused,
    }
}

/// The host and port that a request names; `port` is what is meant when it names none.
fn target(uri: &Uri, port: Option<u16>) -> Result<(Host, u16), &'static str> {
    let authority = uri.authority().ok_or("it names no host")?;
    if authority.as_str().contains('@') {
        return Err("a user stands before the host");
    }
    let host = Host::of_request(authority.host())?;
    let port = match (authority.port(), port) {
        (Some(port), _) if port.as_u16() == 0 => return Err("there is no port 0"),
        // `+443` and `0443` are other numbers to other readers.
        (Some(port), _) if port.as_str() != port.as_u16().to_string() => return Err("its port is no plain number"),
        (Some(port), _) => port.as_u16(),
        // A port that cannot be read is not one that is missing.
        (None, Some(port)) if authority.as_str() == authority.host() => port,
        (None, _) => return Err("it names no port"),
    };
    Ok((host, port))
}

/// A client that takes the gateway for its proxy sends the whole address. As long as that is the gateway's own, loopback
/// inside the container, nothing else was meant (busybox wget does it whatever `NO_PROXY` says).
fn names_the_gateway(uri: &Uri) -> bool {
    uri.scheme_str().is_none_or(|scheme| scheme == "http")
        && uri.host().is_none_or(|host| matches!(host, "127.0.0.1" | "localhost" | "[::1]"))
}

/// Whether every reader of this last segment of a path reads the same: not empty, no dots alone, no slash, escape or
/// backslash. No model's name needs them, and `/v1/models/..` must not lead anywhere else.
fn is_plain(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:@".contains(&byte);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, uri: &str) -> String {
        let allow = AllowList::parse(["127.0.0.1:3000"]).unwrap();
        match route(&method.parse().unwrap(), &uri.parse().unwrap(), &allow) {
            Route::Alive => "alive".into(),
            Route::ModelApi(path) => path.into(),
            Route::Further { name, path_and_query } => format!("{name} {path_and_query}"),
            Route::Tunnel(host, port) => format!("tunnel {host} {port}"),
            Route::PlainHttp(host, port) => format!("plain {host} {port}"),
            Route::BadTarget(_) => "bad target".into(),
            Route::Refused => "refused".into(),
        }
    }

    #[test]
    fn the_model_api_is_reached_by_path() {
        assert_eq!(found("POST", "/v1/messages?beta=true"), "/v1/messages?beta=true");
        assert_eq!(found("POST", "/v1/messages/count_tokens"), "/v1/messages/count_tokens");
        assert_eq!(found("GET", "/v1/models?limit=5"), "/v1/models?limit=5");
        assert_eq!(found("GET", "/v1/models/claude-x.1"), "/v1/models/claude-x.1");
        assert_eq!(found("POST", "http://127.0.0.1:8788/v1/messages"), "/v1/messages");
        assert_eq!(found("HEAD", "/"), "alive");
    }

    #[test]
    fn what_belongs_to_the_operators_account_is_not_shared_between_groups() {
        for path in [
            "/v1/files",
            "/v1/files/file_1/content",
            "/v1/messages/batches",
            "/v1/messages/batches/b_1/results",
            "/v1/skills",
            "/v1/organizations/users",
            "/v1/complete",
        ] {
            for method in ["GET", "POST", "DELETE"] {
                assert_eq!(found(method, path), "refused", "{method} {path}");
            }
        }
    }

    #[test]
    fn a_path_of_the_table_is_reached_by_its_own_method_alone() {
        // TRACE is answered with the request as it arrived: the group would read the credential.
        for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            assert_eq!(found(method, "/v1/messages"), "refused", "{method}");
            assert_eq!(found(method, "/v1/messages/count_tokens"), "refused", "{method}");
        }
        for method in ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            assert_eq!(found(method, "/v1/models"), "refused", "{method}");
            assert_eq!(found(method, "/v1/models/claude-x.1"), "refused", "{method}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for uri in
            ["/", "/v1", "/v1/", "/v2/messages", "/v1/../admin", "/v1/./x", "/v1/%2e%2e/admin", "/v1//x", "/v1/a%2fb"]
        {
            assert_eq!(found("GET", uri), "refused", "{uri}");
        }
        for model in ["", ".", "..", "../files", "a/b", "a%2fb", "%2e%2e", "a\\b"] {
            let uri = format!("/v1/models/{model}");
            // What is no address at all does not come this far.
            if uri.parse::<Uri>().is_ok() {
                assert_eq!(found("GET", &uri), "refused", "{uri}");
            }
        }
        for uri in ["/v1/messages/", "//v1/messages", "/v1/messages/../files", "/V1/messages", "/v1/messages%2fbatches"]
        {
            assert_eq!(found("POST", uri), "refused", "{uri}");
        }
        assert_eq!(found("TRACE", "/v1/messages"), "refused");
        assert_eq!(found("TRACE", "/upstream/github/x"), "refused");
        assert_eq!(found("DELETE", "/v1/files/file_1"), "refused");
    }

    #[test]
    fn a_host_is_meant_in_one_way_or_not_at_all() {
        assert_eq!(found("CONNECT", "Example.com.:443"), "tunnel example.com 443");
        assert_eq!(found("CONNECT", "[::1]:443"), "tunnel [::1] 443");
        assert_eq!(found("GET", "http://example.com/v1/messages"), "plain example.com 80");
        assert_eq!(found("GET", "http://127.0.0.1.example.com:81/"), "plain 127.0.0.1.example.com 81");
        assert_eq!(found("GET", "http://127.0.0.1:3000/v1/models"), "plain 127.0.0.1 3000", "the operator listed it");
        assert_eq!(found("GET", "http://127.0.0.1:3001/v1/models"), "/v1/models");
        for (method, uri) in [
            ("CONNECT", "example.com"),
            ("CONNECT", "example.com:0"),
            ("CONNECT", "user@example.com:443"),
            ("CONNECT", "example.com:+443"),
            ("CONNECT", "example.com:0443"),
            ("CONNECT", "http://example.com:443"),
            ("CONNECT", "https://example.com:443/path"),
            ("GET", "http://example.com:+80/"),
            ("GET", "http://example.com:080/"),
            ("CONNECT", "2130706433:443"),
            ("CONNECT", "0x7f.1:443"),
            ("GET", "http://user:password@example.com/"),
            ("GET", "http://0177.0.0.1/"),
            ("GET", "https://example.com/"),
            ("POST", "https://127.0.0.1/v1/messages"),
            ("GET", "ftp://example.com/"),
        ] {
            // What is no address at all does not come this far.
            if uri.parse::<Uri>().is_ok() {
                assert_eq!(found(method, uri), "bad target", "{method} {uri}");
            }
        }
    }

    #[test]
    fn a_further_upstream_is_reached_by_its_name() {
        assert_eq!(found("GET", "/upstream/github/repos/x?per_page=1"), "github /repos/x?per_page=1");
        assert_eq!(found("GET", "/upstream/github"), "github ");
        assert_eq!(found("GET", "/upstream/github?x=1"), "github ?x=1");
        assert_eq!(found("GET", "/upstream"), "refused");
    }
}
