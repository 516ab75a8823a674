//! What programs must be told to reach the hosts that the operator allowed, and further upstreams, through the gateway,
//! without knowing that there is one.
//!
//! The variables are those that programs have agreed on, in both cases because some read only one. Node's own `fetch` reads
//! them when it is told to. They are set only where any host is allowed: a program that is given a proxy uses it for
//! everything, and would otherwise learn by refusals what it learns now by having no network.

use std::{collections::BTreeMap, ffi::OsString};

use nanoclaw_core::protocol::environment::{EGRESS, UPSTREAMS, upstream_variable};

const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
const NO_PROXIES: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// The gateway itself, and what else may listen inside.
const INSIDE: &str = "127.0.0.1,localhost,::1";
const NODE: &str = "NODE_USE_ENV_PROXY";

/// What to add to the environment of a command whose gateway is on the loopback port `port`; `set` tells what is in the
/// environment already and not empty. A proxy that is there stays only if it is inside: no other can be reached.
pub(crate) fn environment(port: u16, set: impl Fn(&str) -> Option<OsString>) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
    let gateway = format!("http://127.0.0.1:{port}");
    for name in text(UPSTREAMS).unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
        environment.insert(upstream_variable(name), format!("{gateway}/upstream/{name}"));
    }
    if set(EGRESS).is_none() {
        return environment;
    }
    for name in PROXIES {
        if !text(name).is_some_and(|proxy| is_inside(&proxy)) {
            environment.insert(name.to_owned(), gateway.clone());
        }
    }
    for name in NO_PROXIES {
        let own = text(name).map(|list| format!("{list},")).unwrap_or_default();
        environment.insert(name.to_owned(), format!("{own}{INSIDE}"));
    }
    if set(NODE).is_none() {
        environment.insert(NODE.to_owned(), "1".to_owned());
    }
    environment
}

fn is_inside(proxy: &str) -> bool {
    let rest = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    ["127.0.0.1", "localhost", "[::1]"]
        .iter()
        .any(|host| rest.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added<const COUNT: usize>(variables: [(&str, &str); COUNT]) -> BTreeMap<String, String> {
        environment(4000, |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn without_an_allowed_host_there_is_no_proxy() {
        assert_eq!(added([("HTTP_PROXY", "http://corp:3128")]), BTreeMap::new());
    }

    #[test]
    fn the_gateway_is_the_proxy_for_all_but_what_is_inside() {
        let added = added([(EGRESS, "1"), ("NO_PROXY", "db.local")]);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            assert_eq!(added[name], "http://127.0.0.1:4000", "{name}");
        }
        assert_eq!(added["NO_PROXY"], "db.local,127.0.0.1,localhost,::1");
        assert_eq!(added["no_proxy"], "127.0.0.1,localhost,::1");
        assert_eq!(added["NODE_USE_ENV_PROXY"], "1");
    }

    #[test]
    fn a_proxy_that_is_there_stays_only_if_it_can_be_reached() {
        let given = added([
            (EGRESS, "1"),
            ("HTTP_PROXY", "http://127.0.0.1:3128"),
            ("http_proxy", "localhost:3128"),
            ("HTTPS_PROXY", "http://corp:3128"),
            ("https_proxy", "http://127.0.0.1.corp:3128"),
            ("NODE_USE_ENV_PROXY", "0"),
        ]);
        let names: Vec<_> = given.keys().map(String::as_str).collect();
        assert_eq!(names, ["HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy"]);
    }

    #[test]
    fn each_further_upstream_has_a_variable() {
        let added = added([(UPSTREAMS, "github,my-search")]);
        assert_eq!(added["NANOCLAW_UPSTREAM_GITHUB"], "http://127.0.0.1:4000/upstream/github");
        assert_eq!(added["NANOCLAW_UPSTREAM_MY_SEARCH"], "http://127.0.0.1:4000/upstream/my-search");
        assert_eq!(added.len(), 2);
    }
}
