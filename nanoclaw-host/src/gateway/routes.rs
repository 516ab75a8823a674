//! What a group may ask for: the one table. Everything that is not in it is refused.
//!
//! An agent needs messages and models. The rest of the model API (files, batches, skills, the organisation) belongs to the
//! operator's account, which all groups share: what one of them puts there the others would find.

use http::{Method, Uri};

/// What happens to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// The gateway answers "I am here" itself: Claude Code's first question.
    Alive,
    /// To the model API, by this path and query, with the credential.
    ModelApi(&'a str),
    /// To nobody.
    Refused,
}

/// Finds a request's route.
pub(super) fn route<'a>(method: &Method, uri: &'a Uri) -> Route<'a> {
    if !names_the_gateway(uri) {
        return Route::Refused;
    }
    let to_model_api = Route::ModelApi(uri.path_and_query().map_or_else(|| uri.path(), |both| both.as_str()));
    match (method, uri.path()) {
        (&Method::HEAD, "/") => Route::Alive,
        (&Method::POST, "/v1/messages" | "/v1/messages/count_tokens") | (&Method::GET, "/v1/models") => to_model_api,
        (&Method::GET, path) if path.strip_prefix("/v1/models/").is_some_and(is_plain) => to_model_api,
        _ => Route::Refused,
    }
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
        match route(&method.parse().unwrap(), &uri.parse().unwrap()) {
            Route::Alive => "alive".into(),
            Route::ModelApi(path) => path.into(),
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
        for uri in
            ["http://example.com/v1/messages", "https://127.0.0.1/v1/messages", "http://127.0.0.1.example.com/v1/x"]
        {
            assert_eq!(found("POST", uri), "refused", "{uri}");
        }
        assert_eq!(found("CONNECT", "example.com:443"), "refused");
        assert_eq!(found("TRACE", "/v1/messages"), "refused");
        assert_eq!(found("DELETE", "/v1/files/file_1"), "refused");
    }
}
