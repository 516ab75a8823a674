//! How agents think: `model`, `effort`, `tools` and so on of `[agent]` and of a group. They reach the agent as
//! [`AgentSettings`]; what a group says takes the place of what is said for all, key by key.

use std::{collections::BTreeMap, num::NonZeroU32, path::Path};

use nanoclaw_core::{
    group::GroupFolder,
    protocol::agent::{AgentSettings, Effort, McpServer, ModelApi, ToolRules},
};
use toml::de::{DeTable, DeValue};

use super::{
    Config,
    agent::{Provider, ProviderChoice},
    gateway::{Groups, UpstreamConfig},
    mcp_servers,
    mistake::{Mistake, Place, nearest},
    reader::Section,
    setting::{Setting, Source},
    value::{self, Raw, Right},
};

/// The longest addition to the prompt, in characters.
const LONGEST_PROMPT: usize = 16 * 1024;
/// The most bytes that all of it may come to: it is one variable of the environment, of which Linux takes 128 KiB.
const MOST_BYTES: usize = 96 * 1024;

/// What is said of how agents think; `None` where nothing is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Thinking {
    /// See [`AgentSettings::api`].
    pub api: Option<Setting<ModelApi>>,
    /// See [`AgentSettings::model`].
    pub model: Option<Setting<String>>,
    /// See [`AgentSettings::effort`].
    pub effort: Option<Setting<Effort>>,
    /// See [`AgentSettings::max_tokens`].
    pub max_tokens: Option<Setting<NonZeroU32>>,
    /// See [`AgentSettings::context_window`].
    pub context_window: Option<Setting<NonZeroU32>>,
    /// See [`AgentSettings::tools`].
    pub tools: Option<Setting<ToolRules>>,
    /// See [`AgentSettings::mcp_servers`].
    pub mcp_servers: Option<Setting<BTreeMap<String, McpServer>>>,
    /// See [`AgentSettings::prompt`].
    pub prompt: Option<Setting<String>>,
}

impl Thinking {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            api: section.lookup("api", None, api),
            model: section.lookup("model", None, value::line(200)),
            effort: section.lookup("effort", None, effort),
            max_tokens: section.lookup("max_tokens", None, tokens(1)),
            context_window: section.lookup("context_window", None, tokens(1024)),
            tools: section.lookup("tools", None, tools),
            mcp_servers: section.lookup("mcp_servers", None, mcp_servers::rule),
            prompt: section.lookup("prompt", None, prompt),
        }
    }

    /// What holds where `self` is said for one and `general` for all.
    fn over(&self, general: &Self) -> Self {
        fn pick<T: Clone>(own: &Option<Setting<T>>, general: &Option<Setting<T>>) -> Option<Setting<T>> {
            own.as_ref().or(general.as_ref()).cloned()
        }
        Self {
            api: pick(&self.api, &general.api),
            model: pick(&self.model, &general.model),
            effort: pick(&self.effort, &general.effort),
            max_tokens: pick(&self.max_tokens, &general.max_tokens),
            context_window: pick(&self.context_window, &general.context_window),
            tools: pick(&self.tools, &general.tools),
            mcp_servers: pick(&self.mcp_servers, &general.mcp_servers),
            prompt: pick(&self.prompt, &general.prompt),
        }
    }

    /// The same as agents take it.
    #[must_use]
    pub fn settings(&self) -> AgentSettings {
        fn value<T: Clone>(setting: &Option<Setting<T>>) -> Option<T> {
            setting.as_ref().map(|setting| setting.value.clone())
        }
        AgentSettings {
            api: value(&self.api).unwrap_or_default(),
            model: value(&self.model),
            effort: value(&self.effort),
            max_tokens: value(&self.max_tokens),
            context_window: value(&self.context_window),
            tools: value(&self.tools).unwrap_or_default(),
            mcp_servers: value(&self.mcp_servers).unwrap_or_default(),
            prompt: value(&self.prompt),
            ..AgentSettings::default()
        }
    }

    /// What is said, for people: name, value, source.
    #[must_use]
    pub fn explained(&self) -> Vec<(&'static str, String, &Source)> {
        fn shown<'a, T>(
            name: &'static str,
            setting: &'a Option<Setting<T>>,
            show: impl Fn(&T) -> String,
        ) -> Option<(&'static str, String, &'a Source)> {
            setting.as_ref().map(|setting| (name, show(&setting.value), &setting.source))
        }
        let names = |servers: &BTreeMap<String, McpServer>| match servers.is_empty() {
            true => "none".to_owned(),
            false => servers.keys().cloned().collect::<Vec<_>>().join(", "),
        };
        let said = [
            shown("api", &self.api, show_api),
            shown("model", &self.model, String::clone),
            shown("effort", &self.effort, |effort| format!("{effort:?}").to_lowercase()),
            shown("max tokens", &self.max_tokens, ToString::to_string),
            shown("context window", &self.context_window, |tokens| format!("{tokens} tokens")),
            shown("tools", &self.tools, show_tools),
            shown("mcp servers", &self.mcp_servers, names),
            shown("prompt", &self.prompt, |text| format!("{} characters are added to it", text.chars().count())),
        ];
        said.into_iter().flatten().collect()
    }

    /// The upstream of the gateway that is asked for answers; `None`: the gateway's model API, or nobody that it knows.
    #[must_use]
    pub fn upstream(&self) -> Option<&str> {
        match self.api.as_deref() {
            Some(ModelApi::Openai { upstream, .. }) => upstream.as_deref(),
            _ => None,
        }
    }

    /// Whether answers come from the API that Anthropic has, which is the gateway's model API.
    #[must_use]
    pub fn asks_model_api(&self) -> bool {
        !matches!(self.api.as_deref(), Some(ModelApi::Openai { .. }))
    }
}

impl Config {
    /// How the agent of `group` thinks, everything considered.
    #[must_use]
    pub fn thinking(&self, group: &GroupFolder) -> Thinking {
        match self.groups.get(group) {
            Some(own) => own.thinking.over(&self.agent.thinking),
            None => self.agent.thinking.clone(),
        }
    }

    /// What cannot work of what is said of how agents think, for all and for each group.
    pub(super) fn check_thinking(&self, file: &Path) -> Vec<Mistake> {
        let all = Said {
            section: "agent".to_owned(),
            group: None,
            provider: &self.agent.provider,
            thinking: self.agent.thinking.clone(),
        };
        let mut mistakes = all.mistakes(&self.gateway.upstreams, file);
        for (folder, own) in &self.groups {
            let said = Said {
                section: format!("groups.{folder}"),
                group: Some(folder),
                provider: own.provider.as_ref().unwrap_or(&self.agent.provider),
                thinking: own.thinking.over(&self.agent.thinking),
            };
            // What is wrong for all is told once.
            let own = |mistake: &Mistake| own.thinking.says(mistake, own.provider.is_some());
            mistakes.extend(said.mistakes(&self.gateway.upstreams, file).into_iter().filter(own));
        }
        mistakes
    }
}

/// What is said for all, or comes out for one group.
struct Said<'a> {
    section: String,
    group: Option<&'a GroupFolder>,
    provider: &'a Setting<ProviderChoice>,
    thinking: Thinking,
}

impl Said<'_> {
    fn mistakes(&self, upstreams: &[UpstreamConfig], file: &Path) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let settings = self.thinking.settings();
        let at = |key: &str, source: &Source, problem: String| {
            let key = format!("{}.{key}", self.section);
            Mistake { place: place_of(source, file), message: format!("{key} {problem}"), key: Some(key) }
        };
        if let Some(servers) = &self.thinking.mcp_servers {
            let problems = mcp_servers::secrets_in(servers);
            mistakes.extend(problems.into_iter().map(|problem| at("mcp_servers", &servers.source, problem)));
        }
        if let Some(api) = &self.thinking.api {
            mistakes.extend(self.wrong_with_api(&settings, upstreams).map(|problem| at("api", &api.source, problem)));
        }
        let bytes = serde_json::to_string(&settings).map_or(0, |text| text.len());
        if bytes > MOST_BYTES {
            let source = self.thinking.mcp_servers.as_ref().map(|servers| &servers.source);
            let source =
                source.or(self.thinking.prompt.as_ref().map(|prompt| &prompt.source)).unwrap_or(&Source::Default);
            let problem = format!("and what goes with it come to {bytes} bytes; the most is {MOST_BYTES}: say less");
            mistakes.push(at("mcp_servers", source, problem));
        }
        mistakes
    }

    /// What cannot work about `api`, as it follows the key.
    fn wrong_with_api(&self, settings: &AgentSettings, upstreams: &[UpstreamConfig]) -> Option<String> {
        let ModelApi::Openai { upstream, .. } = &settings.api else { return None };
        if let ProviderChoice::Fixed(provider @ (Provider::Claude | Provider::Offline)) = self.provider.value {
            return Some(format!(
                "is of kind openai, which the provider {provider} ({}) does not ask; write provider = \"native\"",
                self.provider.source
            ));
        }
        if let Err(problem) = settings.check() {
            return Some(format!("cannot be used: {problem}"));
        }
        let name = upstream.as_deref()?;
        let Some(found) = upstreams.iter().find(|one| one.name.as_str() == name) else {
            let names: Vec<&str> = upstreams.iter().map(|one| one.name.as_str()).collect();
            let hint = match (nearest(name, names.iter().copied()), names.is_empty()) {
                (Some(near), _) => format!("did you mean {near:?}?"),
                (None, true) => "there are none; add it as [[gateway.upstreams]]".to_owned(),
                (None, false) => format!("there are {}", names.join(", ")),
            };
            return Some(format!("asks the upstream {name:?}, which is none of [[gateway.upstreams]]; {hint}"));
        };
        let asks = match (self.group, &found.groups) {
            (_, Groups::All) => None,
            (Some(group), groups) if groups.has(group) => None,
            (Some(group), _) => Some(format!("this group may not use; add {:?} to its groups", group.as_str())),
            (None, _) => Some(
                "not every group may use; write groups = [\"*\"] there, or api in the [groups.<folder>] that may"
                    .to_owned(),
            ),
        };
        let asks = asks.or_else(|| {
            let posts = found.methods.contains(&http::Method::POST);
            (!posts).then(|| "takes no POST, as an answer needs; write methods = [\"POST\"] there".to_owned())
        });
        asks.map(|why| format!("asks the upstream {name:?}, which {why}"))
    }
}

impl Thinking {
    /// Whether the mistake is about something that is said here, or about who is asked where the provider is said here.
    fn says(&self, mistake: &Mistake, provider: bool) -> bool {
        let key = mistake.key.as_deref().unwrap_or_default();
        (key.ends_with(".api") && (provider || self.api.is_some()))
            || (key.ends_with(".mcp_servers") && (self.mcp_servers.is_some() || self.prompt.is_some()))
    }
}

fn place_of(source: &Source, file: &Path) -> Place {
    match source {
        Source::File { file, line } => Place::Line { file: file.clone(), line: *line },
        Source::Variable(name) => Place::Variable(name.clone()),
        Source::Default | Source::Because(_) => Place::File(file.to_owned()),
    }
}

fn show_api(api: &ModelApi) -> String {
    match api {
        ModelApi::Anthropic => "anthropic".to_owned(),
        ModelApi::Openai { upstream: Some(name), .. } => format!("openai, the gateway's upstream {name}"),
        ModelApi::Openai { base_url, .. } => format!("openai, at {}", base_url.as_deref().unwrap_or("nobody knows")),
    }
}

fn show_tools(rules: &ToolRules) -> String {
    let allowed = match rules.allow.as_deref() {
        None => "all".to_owned(),
        Some([]) => "none".to_owned(),
        Some(names) => names.join(", "),
    };
    match rules.deny.is_empty() {
        true => allowed,
        false => format!("{allowed}, but never {}", rules.deny.join(", ")),
    }
}

fn effort(raw: &Raw<'_>) -> Result<Effort, Right> {
    value::word(&[
        ("none", Effort::None),
        ("low", Effort::Low),
        ("medium", Effort::Medium),
        ("high", Effort::High),
        ("max", Effort::Max),
    ])(raw)
}

fn tokens(least: u32) -> impl value::Rule<NonZeroU32> {
    let rule = value::count(least..=10_000_000);
    move |raw| rule(raw).and_then(|number| NonZeroU32::new(number).ok_or_else(|| "more than nothing".into()))
}

fn prompt(raw: &Raw<'_>) -> Result<String, Right> {
    let text = match raw {
        Raw::Variable(text) | Raw::Toml(DeValue::String(text)) => text.as_ref(),
        Raw::Toml(_) => "",
    };
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t' | '\r');
    let good = !text.trim().is_empty() && text.chars().count() <= LONGEST_PROMPT && text.chars().all(plain);
    good.then(|| text.to_owned())
        .ok_or_else(|| format!("a text of 1 to {LONGEST_PROMPT} characters, of several lines if need be").into())
}

/// `"all"`, a list of those that are allowed, or `{ allow, deny }`.
fn tools(raw: &Raw<'_>) -> Result<ToolRules, Right> {
    const RIGHT: &str =
        r#""all", a list of tools such as ["Read", "mcp__notes__*"], or { allow = ["Read"], deny = ["WebFetch"] }"#;
    if value::word(&[("all", ())])(raw).is_ok() {
        return Ok(ToolRules::default());
    }
    let names = |raw: &Raw<'_>| -> Result<Vec<String>, Right> {
        let names = value::texts()(raw).map_err(|_| RIGHT)?;
        let plain = |name: &&String| {
            let name = name.strip_suffix('*').unwrap_or(name);
            name.len() <= 128 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        match names.iter().find(|name| !plain(name)) {
            Some(_) => Err(format!("{RIGHT}; a name has letters, digits, _ and -, and * at its end alone").into()),
            None => Ok(names),
        }
    };
    let Raw::Toml(DeValue::Table(table)) = raw else {
        return Ok(ToolRules { allow: Some(names(raw)?), deny: Vec::new() });
    };
    let mut rules = ToolRules::default();
    for (key, value) in table {
        let value = Raw::Toml(value.get_ref());
        match key.get_ref().as_ref() {
            "allow" if value::word(&[("all", ())])(&value).is_ok() => rules.allow = None,
            "allow" => rules.allow = Some(names(&value)?),
            "deny" => rules.deny = names(&value)?,
            other => return Err(format!("{RIGHT}; there is no {other}").into()),
        }
    }
    Ok(rules)
}

/// `"anthropic"`, or `{ kind = "openai", upstream = "…" }`.
fn api(raw: &Raw<'_>) -> Result<ModelApi, Right> {
    const RIGHT: &str = r#""anthropic", or a table such as { kind = "openai", upstream = "local" }"#;
    if value::word(&[("anthropic", ())])(raw).is_ok() {
        return Ok(ModelApi::Anthropic);
    }
    let Raw::Toml(DeValue::Table(table)) = raw else { return Err(RIGHT.into()) };
    let text = |key: &str| texts_of(table, key).map_err(|()| Right::from(RIGHT));
    let unknown =
        table.iter().map(|(key, _)| key.get_ref().as_ref()).find(|key| !["kind", "upstream", "base_url"].contains(key));
    if let Some(unknown) = unknown {
        return Err(format!("{RIGHT}; there is no {unknown}").into());
    }
    match (text("kind")?.as_deref(), text("upstream")?, text("base_url")?) {
        (Some("anthropic"), None, None) => Ok(ModelApi::Anthropic),
        (Some("openai"), None, Some(address)) if !address.starts_with("http://") => {
            Err(format!("{RIGHT}; a base_url alone is a server inside the container, at http://").into())
        }
        (Some("openai"), upstream, base_url) if upstream.is_some() || base_url.is_some() => {
            Ok(ModelApi::Openai { upstream, base_url })
        }
        _ => Err(RIGHT.into()),
    }
}

fn texts_of(table: &DeTable<'_>, key: &str) -> Result<Option<String>, ()> {
    match table.iter().find(|(name, _)| name.get_ref() == key) {
        None => Ok(None),
        Some((_, value)) => value::line(1024)(&Raw::Toml(value.get_ref())).map(Some).map_err(|_| ()),
    }
}
