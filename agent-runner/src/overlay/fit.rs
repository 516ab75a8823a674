//! What of an overlay this container can do, as far as the environment tells. An overlay that asks for more would only fail, turn
//! after turn.

use std::{ffi::OsString, path::Path};

use nanoclaw_core::protocol::{
    agent::ModelApi,
    environment::{CLAUDE, GATEWAY_SOCKET, PROVIDER, upstream_variable},
};

use crate::{model_access::is_for_claude_alone, search_path::is_program_in};

/// Why the provider `wanted` cannot think here; `None` when it can.
pub(super) fn cannot_think(wanted: &str, variable: &impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let offline = variable(PROVIDER).is_some_and(|given| given == "offline");
    let way_to_a_model = ["ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"].into_iter().any(|name| variable(name).is_some());
    let gateway = variable(GATEWAY_SOCKET).is_some();
    match wanted {
        "claude" | "native" if offline || !(gateway || way_to_a_model) => {
            Some("the operator gives this group no way to a model".to_owned())
        }
        "claude" if !has_claude(variable) => Some("the program claude is not in this container".to_owned()),
        "native" if is_for_claude_alone(variable) => {
            Some("the operator's credential is a subscription's, which is for Claude Code alone".to_owned())
        }
        "claude" | "native" | "offline" => None,
        _ => Some("there is none of that name; there are claude, native and offline".to_owned()),
    }
}

fn has_claude(variable: &impl Fn(&str) -> Option<OsString>) -> bool {
    variable(CLAUDE).is_some_and(|program| Path::new(&program).is_file())
        || is_program_in(&variable("PATH").unwrap_or_default(), "claude")
}

/// Why a model cannot be asked by `api` here; `None` when it can.
pub(super) fn no_way_to(api: &ModelApi, variable: &impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let ModelApi::Openai { upstream: Some(name), .. } = api else { return None };
    variable(&upstream_variable(name))
        .is_none()
        .then(|| format!("`{name}` is none of the upstreams that the operator gives this group"))
}

#[cfg(test)]
mod tests {
    use nanoclaw_core::protocol::environment::MODEL_AUTH;

    use super::*;

    fn environment(variables: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    }

    #[test]
    fn a_provider_is_taken_only_where_it_can_think() {
        let claude = environment(&[(GATEWAY_SOCKET, "/s"), (PROVIDER, "claude"), (MODEL_AUTH, "api_key")]);
        assert_eq!(cannot_think("native", &claude), None);
        assert_eq!(cannot_think("offline", &claude), None);
        assert!(cannot_think("claude", &claude).unwrap().contains("not in this container"));
        assert!(cannot_think("gemini", &claude).unwrap().contains("none of that name"));
        let subscription = environment(&[(GATEWAY_SOCKET, "/s"), (PROVIDER, "claude"), (MODEL_AUTH, "oauth")]);
        assert!(cannot_think("native", &subscription).unwrap().contains("for Claude Code alone"));
        // A gateway that is there for other hosts has no way to a model.
        let offline = environment(&[(GATEWAY_SOCKET, "/s"), (PROVIDER, "offline")]);
        assert!(cannot_think("native", &offline).unwrap().contains("no way to a model"));
        assert!(cannot_think("native", &environment(&[])).unwrap().contains("no way to a model"));
    }

    #[test]
    fn an_upstream_has_to_be_the_groups() {
        let local = ModelApi::Openai { upstream: Some("local".to_owned()), base_url: None };
        assert_eq!(no_way_to(&local, &environment(&[("NANOCLAW_UPSTREAM_LOCAL", "http://x")])), None);
        assert!(no_way_to(&local, &environment(&[])).unwrap().contains("`local` is none"));
        assert_eq!(no_way_to(&ModelApi::Anthropic, &environment(&[])), None);
    }
}
