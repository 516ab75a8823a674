//! What the environment says about how to think, made ready to be used.

use std::ffi::OsString;

use nanoclaw_core::protocol::{
    agent::{AgentSettings, Effort, ModelApi},
    environment::{GATEWAY_PORT, upstream_variable},
    output::FailureKind,
};

use super::super::{Failure, Start};
use crate::model_access;

/// The model of the Anthropic API that is asked when none is named.
const DEFAULT_MODEL: &str = "claude-sonnet-4-6";
const DEFAULT_WINDOW: u64 = 200_000;
/// What local models are usually started with.
const DEFAULT_WINDOW_ELSEWHERE: u64 = 32_768;
const DEFAULT_ROUNDS: u32 = 100;
const DEFAULT_RETRIES: u32 = 5;

/// How to think.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) address: Address,
    pub(super) model: String,
    pub(super) effort: Option<Effort>,
    pub(super) max_tokens: Option<u32>,
    /// In tokens.
    pub(super) context_window: u64,
    pub(super) max_tool_rounds: u32,
    pub(super) max_retries: u32,
    /// The rest, as it was given.
    pub(super) given: AgentSettings,
}

/// Where a model is; addresses end with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// An API of Anthropic's form.
    Messages { base_url: String, key: String },
    /// An API of OpenAI's form.
    ChatCompletions { base_url: String, key: String },
}

impl Settings {
    /// What `start` says; `variable` tells what is in the environment and not empty.
    pub(super) fn new(start: &Start, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Failure> {
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
        let given = start.settings.clone();
        let secret = |name: &str| start.secrets.get(name).map(|secret| secret.reveal().to_owned());
        let either = |name: &str| secret(name).or_else(|| text(name));
        let (address, window) = match &given.api {
            ModelApi::Anthropic => {
                if model_access::is_for_claude_alone(|name| either(name).map(Into::into)) {
                    return Err(no_key());
                }
                // As init has it, for an agent that was started without init.
                let access = start.places.gateway.as_ref().map(|_| model_access::environment(GATEWAY_PORT, &variable));
                let given = |name: &'static str| either(name).or_else(|| access.as_ref()?.get(name).cloned());
                let base_url = given("ANTHROPIC_BASE_URL").ok_or_else(|| {
                    Failure::other(
                        "there is no gateway and ANTHROPIC_BASE_URL is not set: nobody says where the model is",
                    )
                })?;
                let key = given("ANTHROPIC_API_KEY").or_else(|| given("ANTHROPIC_AUTH_TOKEN")).ok_or_else(no_key)?;
                (Address::Messages { base_url: format!("{}/v1/", base_url.trim_end_matches('/')), key }, DEFAULT_WINDOW)
            }
            ModelApi::Openai { upstream, base_url } => {
                let key = text("OPENAI_API_KEY").unwrap_or_else(|| "placeholder".to_owned());
                (
                    Address::ChatCompletions { base_url: openai_address(upstream, base_url, text)?, key },
                    DEFAULT_WINDOW_ELSEWHERE,
                )
            }
        };
        Ok(Self {
            address,
            model: given.model.clone().unwrap_or_else(|| DEFAULT_MODEL.to_owned()),
            effort: given.effort,
            max_tokens: given.max_tokens.map(Into::into),
            context_window: given.context_window.map_or(window, |tokens| tokens.get().into()),
            max_tool_rounds: given.max_tool_rounds.map_or(DEFAULT_ROUNDS, Into::into),
            max_retries: given.max_retries.unwrap_or(DEFAULT_RETRIES),
            given,
        })
    }
}

fn openai_address(
    upstream: &Option<String>,
    base_url: &Option<String>,
    text: impl Fn(&str) -> Option<String>,
) -> Result<String, Failure> {
    let address = match (upstream, base_url) {
        (Some(name), path) => {
            let variable = upstream_variable(name);
            let address = text(&variable).ok_or_else(|| {
                Failure::other(format!(
                    "the upstream {name:?}, where the model is, is none of this group's: {variable} is not set; add the \
                     group to `groups` of `[[gateway.upstreams]]` with that name"
                ))
            })?;
            let path = path.as_deref().unwrap_or("/v1").trim_matches('/');
            format!("{}/{path}", address.trim_end_matches('/'))
        }
        (None, Some(address)) => address.trim_end_matches('/').to_owned(),
        (None, None) => return Err(Failure::other("the settings do not say where the model is")),
    };
    if !address.starts_with("http://") {
        let reason = format!(
            "the model is at {address:?}; only plain HTTP inside the container is spoken: use an upstream of the gateway"
        );
        return Err(Failure::other(reason));
    }
    Ok(format!("{address}/"))
}

fn no_key() -> Failure {
    let reason = "the provider native needs an API key; a subscription's token is for Claude Code alone: store a key with \
                  `nanoclaw auth set ANTHROPIC_API_KEY`, or choose the provider claude for this group";
    Failure::new(FailureKind::Login, reason)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use nanoclaw_core::{
        group::GroupRole,
        mailbox::Mailbox,
        protocol::environment::{AGENT, MODEL_AUTH},
    };

    use super::*;
    use crate::places::Places;

    fn settings(gateway: bool, variables: &[(&str, &str)]) -> Result<Settings, Failure> {
        let places = Places {
            group: PathBuf::new(),
            global: PathBuf::new(),
            extra: PathBuf::new(),
            mailbox: Mailbox::new(PathBuf::new()),
            home: PathBuf::new(),
            gateway: gateway.then(PathBuf::new),
            run: None,
        };
        let (chat, role) = ("local:x".to_owned(), GroupRole::Ordinary);
        let folder = nanoclaw_core::group::GroupFolder::new("family").unwrap();
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        let settings = variable(AGENT).map_or_else(AgentSettings::default, |text| AgentSettings::parse(text).unwrap());
        let (provider, secrets) = ("native".to_owned(), BTreeMap::new());
        let start = Start { session: None, chat, folder, role, places, secrets, provider, settings };
        Settings::new(&start, |name| variable(name).map(Into::into))
    }

    #[test]
    fn without_any_word_the_gateway_is_asked_for_the_default_model() {
        let settings = settings(true, &[]).unwrap();
        let (base_url, key) = ("http://127.0.0.1:8788/v1/".to_owned(), "placeholder".to_owned());
        assert_eq!(settings.address, Address::Messages { base_url, key });
        assert_eq!((settings.model.as_str(), settings.context_window), (DEFAULT_MODEL, DEFAULT_WINDOW));
    }

    #[test]
    fn a_local_model_is_an_upstream_of_the_gateway() {
        let agent = r#"{"api":{"kind":"openai","upstream":"my-local"},"model":"qwen3"}"#;
        let upstream = ("NANOCLAW_UPSTREAM_MY_LOCAL", "http://127.0.0.1:8788/upstream/my-local");
        let found = settings(true, &[(AGENT, agent), upstream]).unwrap();
        let (base_url, key) = ("http://127.0.0.1:8788/upstream/my-local/v1/".to_owned(), "placeholder".to_owned());
        assert_eq!(found.address, Address::ChatCompletions { base_url, key });
        assert_eq!(found.context_window, DEFAULT_WINDOW_ELSEWHERE);
        let refused = settings(true, &[(AGENT, agent)]).unwrap_err();
        assert!(refused.reason.contains("NANOCLAW_UPSTREAM_MY_LOCAL is not set"), "{}", refused.reason);
        let far = r#"{"api":{"kind":"openai","base_url":"https://api.example.com/v1"},"model":"m"}"#;
        assert!(settings(true, &[(AGENT, far)]).unwrap_err().reason.contains("upstream of the gateway"));
    }

    #[test]
    fn what_cannot_work_is_said_with_what_to_do() {
        let token = settings(true, &[(MODEL_AUTH, "oauth"), ("CLAUDE_CODE_OAUTH_TOKEN", "placeholder")]).unwrap_err();
        assert_eq!(token.kind, FailureKind::Login);
        assert!(token.reason.contains("needs an API key"), "{}", token.reason);
        assert!(settings(false, &[]).unwrap_err().reason.contains("ANTHROPIC_BASE_URL"));
    }
}
