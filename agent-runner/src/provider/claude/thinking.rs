//! How Claude Code is told how to think: the group's [settings](AgentSettings) as its arguments, its environment and its
//! servers of tools.
//!
//! Rules about tools are handed over as what the program denies and what it is not given: an agent that writes settings of its
//! own cannot take that back. What the program cannot do is said in the log; where it is a rule about tools, the agent has
//! fewer tools then, never more.

use std::ffi::OsString;

use nanoclaw_core::protocol::{
    agent::{AgentSettings, Effort, McpServer, ModelApi},
    output::FailureKind,
};
use serde_json::{Map, Value, json};

use super::super::Failure;
use crate::log::say;

/// What stands before the names of our own tools.
const OURS: &str = "mcp__nanoclaw__";
/// The least window that Claude Code compacts by.
const LEAST_WINDOW: u32 = 100_000;
/// Its own tools that a pattern can mean (version 2.1.329, and those that NanoClaw v1 names). One that is missing here can be
/// allowed by its whole name.
const BUILT_IN: [&str; 28] = [
    "Bash",
    "CronCreate",
    "CronDelete",
    "CronList",
    "Edit",
    "EnterWorktree",
    "ExitWorktree",
    "Glob",
    "Grep",
    "ListAgents",
    "Monitor",
    "NotebookEdit",
    "Read",
    "ScheduleWakeup",
    "SendMessage",
    "Skill",
    "Task",
    "TaskOutput",
    "TaskStop",
    "TeamCreate",
    "TeamDelete",
    "TodoWrite",
    "ToolSearch",
    "WebFetch",
    "WebSearch",
    "Workflow",
    "Write",
    "ReportFindings",
];

/// How to think.
#[derive(Debug, Clone, Default)]
pub(super) struct Thinking {
    settings: AgentSettings,
}

impl Thinking {
    /// # Errors
    /// The settings ask for what is none of Claude Code's.
    pub(super) fn new(settings: AgentSettings) -> Result<Self, Failure> {
        if settings.api != ModelApi::Anthropic {
            let reason =
                "the provider claude asks Anthropic's API alone; for an API of another kind choose the provider native";
            return Err(Failure::new(FailureKind::Other, reason));
        }
        Ok(Self { settings })
    }

    /// Its arguments; `ours`: the names of our own tools, without what stands before them.
    pub(super) fn arguments(&self, ours: &[&'static str]) -> Vec<OsString> {
        let AgentSettings { model, effort, tools, prompt, .. } = &self.settings;
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([OsString::from(name), OsString::from(value)]);
        if let Some(model) = model {
            add("--model", model.clone());
        }
        if let Some(word) = effort.and_then(effort_word) {
            add("--effort", word.to_owned());
        }
        if let Some(prompt) = prompt {
            add("--append-system-prompt", prompt.clone());
        }
        let mut denied = tools.deny.clone();
        if let Some(allowed) = &tools.allow {
            add("--tools", built_in(allowed).join(","));
            let ours = ours.iter().map(|name| format!("{OURS}{name}"));
            denied.extend(ours.filter(|name| !tools.permit(name)));
            // Servers that somebody, the agent itself for one, named in a file have tools that nobody allowed.
            arguments.push("--strict-mcp-config".into());
        }
        if !denied.is_empty() {
            arguments.extend(["--disallowedTools".into(), denied.join(",").into()]);
        }
        arguments
    }

    /// What is added to its environment.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let AgentSettings { effort, max_tokens, context_window, max_retries, .. } = &self.settings;
        let mut environment: Vec<(&'static str, OsString)> = Vec::new();
        if *effort == Some(Effort::None) {
            environment.push(("MAX_THINKING_TOKENS", "0".into()));
        }
        let mut number =
            |name, number: Option<u32>| environment.extend(number.map(|number| (name, number.to_string().into())));
        number("CLAUDE_CODE_MAX_OUTPUT_TOKENS", max_tokens.map(Into::into));
        number("CLAUDE_CODE_AUTO_COMPACT_WINDOW", context_window.map(|tokens| tokens.get().max(LEAST_WINDOW)));
        number("CLAUDE_CODE_MAX_RETRIES", *max_retries);
        environment
    }

    /// Further servers of tools, in its own terms.
    pub(super) fn servers(&self) -> Map<String, Value> {
        let entry = |(name, server): (&String, &McpServer)| {
            let McpServer { command, args, env, timeout_seconds } = server;
            // The model need not look for them by name, which would take a tool that may not be allowed.
            let mut entry = json!({"type": "stdio", "command": command, "args": args, "env": env, "alwaysLoad": true});
            if let Some(seconds) = timeout_seconds {
                entry["timeout"] = (u64::from(seconds.get()) * 1000).into();
            }
            (name.clone(), entry)
        };
        self.settings.mcp_servers.iter().filter(|(name, _)| self.whole_server(name)).map(entry).collect()
    }

    /// Whether every tool of a server is allowed, but for those that are denied. Claude Code can be told to deny a tool of a
    /// server, and not to allow one and no others.
    fn whole_server(&self, server: &str) -> bool {
        let all = format!("mcp__{server}__");
        let Some(allowed) = &self.settings.tools.allow else { return true };
        allowed.iter().any(|pattern| pattern.strip_suffix('*').is_some_and(|beginning| all.starts_with(beginning)))
    }

    /// Says in the log what is asked for and cannot be had.
    pub(super) fn say_what_cannot_be(&self) {
        let AgentSettings { context_window, max_tool_rounds, tools, mcp_servers, .. } = &self.settings;
        if let Some(window) = context_window.filter(|window| window.get() < LEAST_WINDOW) {
            say!("claude compacts by windows of {LEAST_WINDOW} tokens and more: so it does, and not by {window}");
        }
        if max_tool_rounds.is_some() {
            say!("claude has no limit on rounds of tools: max_tool_rounds is without effect");
        }
        for server in mcp_servers.keys().filter(|server| !self.whole_server(server)) {
            let some = format!("mcp__{server}__");
            if tools.allow.iter().flatten().any(|name| name.starts_with(&some)) {
                say!(
                    "claude cannot be given some tools of the MCP server {server} and no others, so it has none of them: allow \
                     {some}* and deny those that it is not to have"
                );
            }
        }
    }
}

/// Its own tools that a list allows.
fn built_in(allowed: &[String]) -> Vec<&str> {
    if allowed.iter().any(|pattern| pattern == "*") {
        return vec!["default"];
    }
    let mut names: Vec<&str> = Vec::new();
    for pattern in allowed.iter().filter(|pattern| !pattern.starts_with("mcp__")) {
        match pattern.strip_suffix('*') {
            None => names.push(pattern),
            Some(beginning) => names.extend(BUILT_IN.iter().filter(|name| name.starts_with(beginning))),
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn effort_word(effort: Effort) -> Option<&'static str> {
    match effort {
        // Told by the environment.
        Effort::None => None,
        Effort::Low => Some("low"),
        Effort::Medium => Some("medium"),
        Effort::High => Some("high"),
        Effort::Max => Some("max"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thinking(text: &str) -> Thinking {
        Thinking::new(AgentSettings::parse(text).unwrap()).unwrap()
    }

    fn arguments(text: &str) -> String {
        let arguments = thinking(text).arguments(&["send_message", "list_tasks"]);
        arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn where_nothing_is_said_nothing_is_told() {
        assert_eq!(arguments("{}"), "");
        assert_eq!(thinking("{}").environment(), []);
        assert!(thinking("{}").servers().is_empty());
    }

    #[test]
    fn rules_about_tools_become_what_is_not_given_and_what_is_denied() {
        assert_eq!(arguments(r#"{"tools":{"deny":["Web*","mcp__x__y"]}}"#), "--disallowedTools Web*,mcp__x__y");
        assert_eq!(
            arguments(r#"{"tools":{"allow":["Read","Task*","mcp__nanoclaw__send*"],"deny":["TaskStop"]}}"#),
            "--tools Read,Task,TaskOutput,TaskStop --strict-mcp-config --disallowedTools TaskStop,mcp__nanoclaw__list_tasks"
        );
        let none =
            "--tools  --strict-mcp-config --disallowedTools mcp__nanoclaw__send_message,mcp__nanoclaw__list_tasks";
        assert_eq!(arguments(r#"{"tools":{"allow":[]}}"#), none);
        assert_eq!(arguments(r#"{"tools":{"allow":["*"]}}"#), "--tools default --strict-mcp-config");
    }

    #[test]
    fn a_server_of_which_only_some_tools_are_allowed_is_not_given() {
        let with = |tools: &str| {
            let text =
                format!(r#"{{"tools":{tools},"mcp_servers":{{"x":{{"command":"x-mcp","timeout_seconds":5}}}}}}"#);
            thinking(&text).servers().get("x").map(|server| server["timeout"].clone())
        };
        for given in
            ["{}", r#"{"allow":["mcp__x__*"]}"#, r#"{"allow":["mcp__*"],"deny":["mcp__x__a"]}"#, r#"{"allow":["*"]}"#]
        {
            assert_eq!(with(given), Some(5000.into()), "{given}");
        }
        for not in [r#"{"allow":[]}"#, r#"{"allow":["Read","mcp__x__a"]}"#, r#"{"allow":["mcp__x__a*"]}"#] {
            assert_eq!(with(not), None, "{not}");
        }
    }

    #[test]
    fn an_api_of_another_kind_is_refused_with_what_to_do() {
        let text = r#"{"api":{"kind":"openai","upstream":"local"},"model":"m"}"#;
        let refused = Thinking::new(AgentSettings::parse(text).unwrap()).unwrap_err();
        assert!(refused.reason.contains("choose the provider native"), "{}", refused.reason);
    }
}
