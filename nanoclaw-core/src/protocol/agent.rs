//! How a group's agent thinks: the settings that the host hands to the agent as JSON in
//! [`AGENT`](super::environment::AGENT). There is no secret among them: credentials are added by the gateway.
//!
//! Every field may be absent. Fields that are not known are ignored, so that an older agent works under a newer host; a
//! value that cannot be used is an error and never a default, because a list of tools that is not understood must not be
//! taken for "all of them".

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use serde::{Deserialize, Serialize};

/// The settings of one group's agent. What the host sends is this object; [`AgentSettings::default`] is an empty one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentSettings {
    /// Which kind of API the model is asked by, and where that is.
    pub api: ModelApi,
    /// The model's name, as its API spells it. `None` takes the provider's default, which only the Anthropic API has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How much the model is to think before it answers; `None` leaves that to the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// The most tokens of one answer; `None` takes what the model can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<NonZeroU32>,
    /// How many tokens of conversation the model takes, before it is compacted; `None`: 200 000 for the Anthropic API,
    /// 32 768 for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<NonZeroU32>,
    /// How often one turn may go from the model to its tools and back; `None`: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tool_rounds: Option<NonZeroU32>,
    /// How often a request that failed for a passing reason is repeated; `None`: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Which tools the agent has.
    pub tools: ToolRules,
    /// Further tools: programs that speak MCP on standard input and output, by a name of `a-z A-Z 0-9 _ -`. Their tools are
    /// called `mcp__<name>__<tool>`. The name `nanoclaw` is taken.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_servers: BTreeMap<String, McpServer>,
    /// What is added to the end of the system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// Where a model is, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelApi {
    /// The Anthropic Messages API, at `ANTHROPIC_BASE_URL`, which is the gateway.
    #[default]
    Anthropic,
    /// An API in the form of OpenAI's chat completions, as local model servers have it.
    Openai {
        /// The further upstream of the gateway that it is (`[[gateway.upstreams]]`, `methods = ["POST"]`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upstream: Option<String>,
        /// Its address, where it can be reached without the gateway (a server inside the container). It is what stands
        /// before `chat/completions`, such as `http://127.0.0.1:8080/v1`. With `upstream` it is the path there; default `/v1`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base_url: Option<String>,
    },
}

/// How much a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// Not at all, where the model can be told so.
    None,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// As much as the model can.
    Max,
}

/// Which tools an agent has. A name is exact, or ends in `*` and means every name that begins so (`mcp__github__*`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolRules {
    /// Only these; `None` is all, an empty list none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Never these, whatever is allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl ToolRules {
    /// Whether the agent has the tool `name`.
    #[must_use]
    pub fn permit(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        self.allow.as_deref().is_none_or(any) && !any(&self.deny)
    }

    /// The rules that permit what both permit.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let allow = match (&self.allow, &other.allow) {
            (Some(own), Some(others)) => {
                let pairs = own.iter().flat_map(|own| others.iter().filter_map(|other| common(own, other)));
                let names: BTreeSet<&str> = pairs.collect();
                Some(names.into_iter().map(str::to_owned).collect())
            }
            (own, others) => own.clone().or_else(|| others.clone()),
        };
        let deny: BTreeSet<&String> = self.deny.iter().chain(&other.deny).collect();
        Self { allow, deny: deny.into_iter().cloned().collect() }
    }
}

/// What both patterns mean; `None` when they have nothing in common.
fn common<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    match (one.strip_suffix('*'), other.strip_suffix('*')) {
        (Some(beginning), None) => other.starts_with(beginning).then_some(other),
        (None, Some(beginning)) => one.starts_with(beginning).then_some(one),
        (None, None) => (one == other).then_some(one),
        (Some(a), Some(b)) if b.starts_with(a) => Some(other),
        (Some(a), Some(b)) => a.starts_with(b).then_some(one),
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

/// A program that offers tools by MCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpServer {
    /// The program: a path inside the container, or a name on the path.
    pub command: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// What is added to its environment. No secrets: the agent can read them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// How long one use of a tool of it may take, in seconds; `None`: 300. To start, it may take as long, and 30 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<NonZeroU32>,
}

impl AgentSettings {
    /// Reads what stands in the environment.
    ///
    /// # Errors
    /// It is no such object, or a field has a value that cannot be used; the text names it.
    pub fn parse(text: &str) -> Result<Self, AgentSettingsError> {
        let settings: Self = serde_json::from_str(text).map_err(AgentSettingsError::Unreadable)?;
        settings.check()?;
        Ok(settings)
    }

    /// Whether an agent can use them: what [`parse`](Self::parse) asks beyond the form.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn check(&self) -> Result<(), AgentSettingsError> {
        if self.model.as_deref().is_some_and(|model| model.trim().is_empty()) {
            return Err(AgentSettingsError::NoModel);
        }
        if let Some(name) = self.mcp_servers.keys().find(|name| !is_server_name(name)) {
            return Err(AgentSettingsError::ServerName { name: name.clone() });
        }
        match &self.api {
            ModelApi::Openai { upstream: None, base_url: None } => Err(AgentSettingsError::NoAddress),
            ModelApi::Openai { .. } if self.model.is_none() => Err(AgentSettingsError::NoModel),
            _ => Ok(()),
        }
    }
}

fn is_server_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    // The model's API takes names of tools up to 64 characters, the server's name among them.
    (1..=32).contains(&name.len()) && name != "nanoclaw" && name.chars().all(plain) && !name.contains("__")
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AgentSettingsError {
    /// Not the JSON object that is expected.
    #[error("they are not the object that is expected")]
    Unreadable(#[source] serde_json::Error),
    /// No model is named where one has to be.
    #[error("`model` is missing or empty; an API of kind `openai` needs the name of a model")]
    NoModel,
    /// Nobody says where the model is.
    #[error("`api` of kind `openai` needs `upstream` (one of the gateway's) or `base_url`")]
    NoAddress,
    /// A server's name cannot be part of a tool's name.
    #[error(
        "`mcp_servers` has the name {name:?}; a name has 1 to 32 of a-z, A-Z, 0-9, `-` and single `_`, and is not `nanoclaw`"
    )]
    ServerName {
        /// The name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_all_defaults_and_back() {
        assert_eq!(AgentSettings::parse("{}").unwrap(), AgentSettings::default());
        let text = serde_json::to_string(&AgentSettings::default()).unwrap();
        assert_eq!(text, r#"{"api":{"kind":"anthropic"},"tools":{}}"#);
        assert_eq!(AgentSettings::parse(&text).unwrap(), AgentSettings::default());
    }

    #[test]
    fn what_a_host_sends_is_read_and_what_is_unknown_ignored() {
        let settings = AgentSettings::parse(
            r#"{"api":{"kind":"openai","upstream":"local","later":1},"model":"qwen3","effort":"low","max_tokens":4096,
                "context_window":32768,"max_tool_rounds":10,"max_retries":0,"tools":{"allow":["Read","mcp__*"],"deny":["mcp__x__*"]},
                "mcp_servers":{"x":{"command":"x-mcp","args":["--quiet"],"env":{"A":"b"}}},"prompt":"Be brief.","later":{}}"#,
        )
        .unwrap();
        assert_eq!(settings.api, ModelApi::Openai { upstream: Some("local".into()), base_url: None });
        assert_eq!(settings.max_retries, Some(0));
        assert_eq!(settings.mcp_servers["x"].args, ["--quiet"]);
        let again = AgentSettings::parse(&serde_json::to_string(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
    }

    #[test]
    fn a_value_that_cannot_be_used_is_an_error_that_names_it() {
        for (text, part) in [
            ("", "EOF"),
            (r#"{"effort":"enormous"}"#, "enormous"),
            (r#"{"max_tokens":0}"#, "nonzero"),
            (r#"{"tools":{"allow":"Bash"}}"#, "sequence"),
            (r#"{"api":{"kind":"carrier-pigeon"}}"#, "carrier-pigeon"),
            (r#"{"api":{"kind":"openai"},"model":"m"}"#, "upstream"),
            (r#"{"api":{"kind":"openai","upstream":"local"}}"#, "model"),
            (r#"{"model":" "}"#, "model"),
            (r#"{"mcp_servers":{"a b":{"command":"x"}}}"#, "a b"),
            (r#"{"mcp_servers":{"nanoclaw":{"command":"x"}}}"#, "nanoclaw"),
            (r#"{"mcp_servers":{"a__b":{"command":"x"}}}"#, "a__b"),
        ] {
            let error = AgentSettings::parse(text).unwrap_err();
            let told = crate::causes::with_causes(&error).to_string();
            assert!(told.contains(part), "{text}: {told}");
        }
    }

    #[test]
    fn a_tool_is_permitted_when_it_is_allowed_and_not_denied() {
        let rules = |allow: Option<&[&str]>, deny: &[&str]| ToolRules {
            allow: allow.map(|names| names.iter().map(ToString::to_string).collect()),
            deny: deny.iter().map(ToString::to_string).collect(),
        };
        assert!(rules(None, &[]).permit("Bash"));
        assert!(!rules(Some(&[]), &[]).permit("Bash"));
        assert!(rules(Some(&["Read", "mcp__*"]), &["mcp__x__*"]).permit("mcp__y__z"));
        assert!(!rules(Some(&["Read", "mcp__*"]), &["mcp__x__*"]).permit("mcp__x__z"));
        assert!(!rules(Some(&["Read"]), &[]).permit("ReadAll"));
        assert!(!rules(None, &["Bash"]).permit("Bash"));
    }

    mod properties {
        use proptest::prelude::*;

        use super::super::ToolRules;

        fn rules() -> impl Strategy<Value = ToolRules> {
            let patterns = || prop::collection::vec("[ab]{0,3}\\*?", 0..4);
            (prop::option::of(patterns()), patterns()).prop_map(|(allow, deny)| ToolRules { allow, deny })
        }

        proptest! {
            #[test]
            fn rules_together_permit_what_each_of_them_permits(one in rules(), other in rules(), name in "[ab]{1,4}") {
                prop_assert_eq!(one.and(&other).permit(&name), one.permit(&name) && other.permit(&name));
            }
        }
    }
}
