//! Tools of others: programs that speak MCP on standard input and output, started with the agent.
//!
//! A server that does not start, or hangs, costs its tools and a bounded time, never the agent.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use futures_util::future::join_all;
use nanoclaw_core::protocol::{
    agent::{AgentSettings, McpServer},
    environment::AHEAD,
};
use rmcp::{
    RoleClient, ServiceExt as _,
    model::{CallToolRequestParams, ContentBlock},
    service::RunningService,
    transport::TokioChildProcess,
};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use super::{super::super::Start, Outcome, ToolSpec};
use crate::{log::say, provider::native::conversation::Seen};

/// How long a server may take to start and tell what it has, at most.
const START: Duration = Duration::from_secs(30);
/// How long one call may take, unless the settings say otherwise.
const CALL: Duration = Duration::from_secs(300);
/// How long one may take to end.
const END: Duration = Duration::from_secs(2);
/// The longest name of a tool that the Messages API takes.
const NAME: usize = 64;

/// The servers that run.
pub(in super::super) struct Servers {
    running: Vec<Running>,
    /// Which server has a tool, and what it calls it.
    tools: BTreeMap<String, (usize, String)>,
    specs: Vec<ToolSpec>,
    troubles: Vec<String>,
}

struct Running {
    service: RunningService<RoleClient, ()>,
    /// How long one call may take.
    call: Duration,
}

impl Servers {
    /// Starts all, side by side.
    pub(super) async fn start(start: &Start, settings: &AgentSettings) -> Self {
        let begun = settings.mcp_servers.iter().map(|(name, server)| async move {
            let call = server.timeout_seconds.map_or(CALL, |seconds| Duration::from_secs(seconds.get().into()));
            let time = START.min(call);
            match timeout(time, begin(start, server)).await {
                Ok(told) => told,
                Err(_) => Err(format!("it did not tell its tools within {time:?}")),
            }
            .map_err(|reason| (name, reason))
            .map(|(service, tools)| (name, Running { service, call }, tools))
        });
        let mut servers = Self { running: Vec::new(), tools: BTreeMap::new(), specs: Vec::new(), troubles: Vec::new() };
        for begun in join_all(begun).await {
            match begun {
                Ok((name, running, tools)) => servers.add(name, running, tools),
                Err((name, reason)) => {
                    let trouble = format!("The tools of the MCP server {name:?} are not there: {reason}");
                    say!("{trouble}");
                    servers.troubles.push(trouble);
                }
            }
        }
        servers
    }

    fn add(&mut self, server: &str, running: Running, tools: Vec<rmcp::model::Tool>) {
        for tool in tools {
            let name = format!("mcp__{server}__{}", tool.name);
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.len() > NAME || !name.chars().all(plain) || self.tools.contains_key(&name) {
                say!("the tool {:?} of the MCP server {server:?} is left out: models take no such name", tool.name);
                continue;
            }
            let description = tool.description.map(Into::into).unwrap_or_default();
            let schema = Value::Object((*tool.input_schema).clone());
            self.tools.insert(name.clone(), (self.running.len(), tool.name.into_owned()));
            self.specs.push(ToolSpec { name, description, schema });
        }
        self.running.push(running);
    }

    pub(super) fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.specs.iter()
    }

    pub(super) fn troubles(&self) -> &[String] {
        &self.troubles
    }

    pub(super) async fn call(&self, name: &str, input: Value) -> Outcome {
        let (server, tool) = match self.tools.get(name) {
            Some((server, tool)) => (&self.running[*server], tool.clone()),
            None => return Err(format!("there is no tool {name:?}")),
        };
        let mut call = CallToolRequestParams::new(tool);
        call.arguments = input.as_object().cloned();
        let given = match timeout(server.call, server.service.call_tool(call)).await {
            Ok(Ok(given)) => given,
            Ok(Err(error)) => return Err(format!("{name} failed: {error}")),
            Err(_) => {
                return Err(format!(
                    "{name} did not answer within {:?}; what it was to do may be done or not",
                    server.call
                ));
            }
        };
        let mut seen: Vec<Seen> = given.content.into_iter().map(shown).collect();
        if seen.is_empty() {
            seen.push(Seen::text(
                given.structured_content.map_or_else(|| "(nothing)".to_owned(), |value| value.to_string()),
            ));
        }
        if given.is_error == Some(true) {
            let texts =
                seen.into_iter().filter_map(|part| if let Seen::Text { text } = part { Some(text) } else { None });
            return Err(texts.collect::<Vec<_>>().join("\n"));
        }
        Ok(seen)
    }

    pub(super) async fn stop(self) {
        join_all(self.running.into_iter().map(|server| timeout(END, server.service.cancel()))).await;
    }
}

async fn begin(
    start: &Start,
    server: &McpServer,
) -> Result<(RunningService<RoleClient, ()>, Vec<rmcp::model::Tool>), String> {
    let mut command = Command::new(&server.command);
    command.args(&server.args).env_remove(AHEAD).envs(&server.env).current_dir(&start.places.group).kill_on_drop(true);
    // What it says besides is the agent's log.
    let (process, _) = TokioChildProcess::builder(command)
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("{:?} cannot be started: {error}", server.command))?;
    let service = ().serve(process).await.map_err(|error| format!("it does not speak MCP: {error}"))?;
    let tools = service.list_all_tools().await.map_err(|error| format!("it does not tell its tools: {error}"))?;
    Ok((service, tools))
}

fn shown(part: ContentBlock) -> Seen {
    match part {
        ContentBlock::Text(text) => Seen::text(text.text),
        ContentBlock::Image(image) => Seen::Image { media_type: image.mime_type, data: image.data },
        other => {
            Seen::text(serde_json::to_string(&other).unwrap_or_else(|_| "(something that cannot be shown)".to_owned()))
        }
    }
}
