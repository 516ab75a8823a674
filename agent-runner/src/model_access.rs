//! What a client of the model's API must be told to reach it through the gateway, without knowing that there is one.
//!
//! The credential is the host's and is put in by the gateway, whatever a client sends. But clients insist on having one, and
//! what kind it is changes what they ask: Claude Code adds the words that a subscription's token needs only when it believes
//! that it has such a token. So each gets a placeholder of the right kind.

use std::{collections::BTreeMap, ffi::OsString};

use nanoclaw_core::protocol::environment::{GATEWAY_PORT, MODEL_AUTH, ModelAuth};

use crate::log::say;

/// Where the model API is, for every client that is made by its vendor's rules.
const BASE_URL: &str = "ANTHROPIC_BASE_URL";
const API_KEY: &str = "ANTHROPIC_API_KEY";
const OAUTH_TOKEN: &str = "CLAUDE_CODE_OAUTH_TOKEN";
/// Any of these tells a client that it has a login.
const LOGINS: [&str; 3] = [API_KEY, "ANTHROPIC_AUTH_TOKEN", OAUTH_TOKEN];
/// Stands where clients insist on a login. It opens nothing.
const PLACEHOLDER: &str = "placeholder";

/// What to add to the environment of a client that reaches the gateway on the loopback port `port`; `set` tells what is in
/// the environment already and not empty. A login that is there stays, and so does a base address, as long as it can be
/// right.
pub(crate) fn environment(port: u16, set: impl Fn(&'static str) -> Option<OsString>) -> BTreeMap<&'static str, String> {
    let mut environment = BTreeMap::new();
    if set(BASE_URL).is_none() || port != GATEWAY_PORT {
        environment.insert(BASE_URL, format!("http://127.0.0.1:{port}"));
    }
    if LOGINS.into_iter().all(|name| set(name).is_none()) {
        let name = match model_auth(&set) {
            ModelAuth::ApiKey => API_KEY,
            ModelAuth::OAuth => OAUTH_TOKEN,
        };
        environment.insert(name, PLACEHOLDER.to_owned());
    }
    environment
}

/// Whether the login that the host has is a subscription's token, which other programs than Claude Code may not use, and there
/// is no key besides; `set` as for [`environment`].
pub(crate) fn is_for_claude_alone(set: impl Fn(&'static str) -> Option<OsString>) -> bool {
    set(API_KEY).is_none() && model_auth(set) == ModelAuth::OAuth
}

fn model_auth(set: impl Fn(&'static str) -> Option<OsString>) -> ModelAuth {
    let Some(word) = set(MODEL_AUTH) else { return ModelAuth::default() };
    word.to_str().and_then(ModelAuth::of_word).unwrap_or_else(|| {
        say!("{MODEL_AUTH} is {word:?}, which is neither api_key nor oauth: it is taken for api_key");
        ModelAuth::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is added to an environment that has `variables`.
    fn added<const COUNT: usize>(port: u16, variables: [(&str, &str); COUNT]) -> Vec<(&'static str, String)> {
        let set = |name| variables.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        environment(port, set).into_iter().collect()
    }

    fn pairs<const COUNT: usize>(pairs: [(&'static str, &str); COUNT]) -> Vec<(&'static str, String)> {
        pairs.map(|(name, value)| (name, value.to_owned())).into()
    }

    const HERE: (&str, &str) = ("ANTHROPIC_BASE_URL", "http://127.0.0.1:8788");

    #[test]
    fn a_client_gets_a_placeholder_of_the_kind_that_the_host_has() {
        let key = pairs([("ANTHROPIC_API_KEY", "placeholder"), HERE]);
        assert_eq!(added(GATEWAY_PORT, []), key);
        assert_eq!(added(GATEWAY_PORT, [("NANOCLAW_MODEL_AUTH", "api_key")]), key);
        assert_eq!(added(GATEWAY_PORT, [("NANOCLAW_MODEL_AUTH", "a word of a later version")]), key);
        let token = pairs([HERE, ("CLAUDE_CODE_OAUTH_TOKEN", "placeholder")]);
        assert_eq!(added(GATEWAY_PORT, [("NANOCLAW_MODEL_AUTH", "oauth")]), token);
    }

    #[test]
    fn a_login_that_is_there_stays_the_only_one() {
        for name in ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"] {
            assert_eq!(added(GATEWAY_PORT, [(name, "x"), ("NANOCLAW_MODEL_AUTH", "oauth")]), pairs([HERE]), "{name}");
        }
    }

    #[test]
    fn a_base_address_that_is_there_stays_unless_the_gateway_is_on_another_port() {
        let given = ("ANTHROPIC_BASE_URL", "http://127.0.0.1:8788/prefix");
        assert_eq!(added(GATEWAY_PORT, [given, ("ANTHROPIC_API_KEY", "x")]), []);
        let moved = pairs([("ANTHROPIC_BASE_URL", "http://127.0.0.1:4000")]);
        assert_eq!(added(4000, [given, ("ANTHROPIC_API_KEY", "x")]), moved);
    }
}
