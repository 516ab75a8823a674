//! Which headers pass, in each direction. All pass that are not named here, `anthropic-version` and `anthropic-beta` word
//! for word among them: the model API's list of headers is open, and a new one must not need a new gateway.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Marks an answer that is the gateway's own, and says why it was given.
pub(in crate::gateway) const GATEWAY: HeaderName = HeaderName::from_static("x-nanoclaw-gateway");

/// `false` on an answer that no repetition can change. Without it, Claude Code asks ten times more, for some minutes, before
/// it says what is wrong (seen with 2.1.329, 401).
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What concerns one connection and not the next (RFC 9110, 7.6.1), with the old names that are still met.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Makes a group's headers fit for the model API: what could be a credential goes, whatever is in it, and `credential`
/// comes.
pub(super) fn to_upstream(headers: &mut HeaderMap, credential: Option<(HeaderName, HeaderValue)>) {
    remove_hop_by_hop(headers);
    // The client sets the host itself; `expect` was met by the gateway's server.
    for name in [header::HOST, header::EXPECT, header::AUTHORIZATION, header::COOKIE] {
        headers.remove(name);
    }
    headers.remove("x-api-key");
    headers.remove(GATEWAY);
    if let Some((name, value)) = credential {
        headers.insert(name, value);
    }
}

/// Makes the model API's headers fit for a group. Cookies stay here: the host has no use for them and the group no right to
/// them.
pub(super) fn to_group(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.remove(header::SET_COOKIE);
    headers.remove(GATEWAY);
}

/// Makes a group's headers fit for a host that it may reach by itself: all pass but those of this connection. The host's
/// name is put in anew by the sender, from the target and not from what the group says.
pub(super) fn to_plain_host(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in [header::HOST, header::EXPECT, GATEWAY] {
        headers.remove(name);
    }
}

pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let proxy: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("proxy-")).cloned().collect();
    for name in named.iter().chain(&proxy).chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn nothing_that_a_group_calls_a_credential_leaves() {
        let mut headers = map(&[
            ("authorization", "Bearer placeholder"),
            ("x-api-key", "placeholder"),
            ("cookie", "a=b"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("host", "127.0.0.1:8788"),
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "a-2025-01-01,oauth-2025-04-20"),
            ("x-claude-code-session-id", "s"),
        ]);
        to_upstream(&mut headers, Some(("x-api-key".parse().unwrap(), "REAL".parse().unwrap())));
        let expected = map(&[
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "a-2025-01-01,oauth-2025-04-20"),
            ("x-claude-code-session-id", "s"),
            ("x-api-key", "REAL"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn no_cookie_and_no_false_mark_reaches_a_group() {
        let mut headers = map(&[("set-cookie", "a=b"), ("x-nanoclaw-gateway", "refused"), ("request-id", "req_1")]);
        to_group(&mut headers);
        assert_eq!(headers, map(&[("request-id", "req_1")]));
    }
}
