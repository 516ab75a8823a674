//! The group's overlay: the folder `/app/src`, by which a group shapes its own agent. NanoClaw v1 had the sources of its agent
//! there, which an agent could change; here it is settings, tools and hooks.
//!
//! * [`mod@file`] is `agent.toml`: settings and hooks.
//! * [`tools`] are programs in `tools/`; [`server`] serves them to whoever thinks.
//! * [`hooks`] are commands that run at moments of the agent's life.
//!
//! The agent starts whatever stands there. What cannot be used is left out, and the group is told of it, once for the same
//! fault.

mod file;
mod fit;
pub(crate) mod hooks;
pub(crate) mod server;
mod telling;
mod tools;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use nanoclaw_core::{
    causes::with_causes,
    protocol::agent::{AgentSettings, McpServer},
};

pub(crate) use self::telling::tell;
use self::{file::File, hooks::Hooks, tools::Tool};

/// The server of the overlay's tools, which are therefore called `mcp__overlay__…`.
const SERVER: &str = "overlay";

/// What a group's overlay says.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    file: File,
    tools: Vec<Tool>,
    /// What cannot be used, a sentence each; empty when all is well.
    troubles: Vec<String>,
}

impl Overlay {
    /// Reads the overlay in `folder`; an empty one where there is none.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut troubles = Vec::new();
        let file = match file::read(&folder.join("agent.toml")) {
            Ok(Some((file, unknown))) => {
                troubles.extend(unknown.into_iter().map(|name| {
                    format!("agent.toml: `{name}` means nothing to this agent and is left out; see docs/overlay.md for what there is")
                }));
                file
            }
            Ok(None) => {
                troubles.extend(sources_of_v1(folder));
                File::default()
            }
            Err(error) => {
                troubles.push(format!("agent.toml cannot be used, and nothing of it is in force: {error}"));
                File::default()
            }
        };
        let (tools, left_out) = tools::find(&folder.join("tools"));
        troubles.extend(left_out);
        Self { file, tools, troubles }
    }

    /// The commands to run at moments.
    pub(crate) fn hooks(&self) -> &Hooks {
        &self.file.hooks
    }

    /// What cannot be used.
    pub(crate) fn troubles(&self) -> &[String] {
        &self.troubles
    }

    /// `given`, which is the operator's provider and settings, with the group's own on top. Tools can only become fewer, a server
    /// of the operator's keeps its name, and what this container cannot do is left out. `variable` tells what is in the environment
    /// and not empty.
    pub(crate) fn on(
        &mut self,
        given: (String, AgentSettings),
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> (String, AgentSettings) {
        let (provider, given) = given;
        let provider = self.provider(provider, &variable);
        if let Some(reason) = self.file.api.as_ref().and_then(|api| fit::no_way_to(api, &variable)) {
            // The model is that API's.
            (self.file.api, self.file.model) = (None, None);
            self.troubles.push(format!("agent.toml: `api` and `model` are left out: {reason}"));
        }
        let settings = self.settings(given.clone());
        match settings.check() {
            Ok(()) => (provider, settings),
            Err(error) => {
                self.troubles.push(format!("agent.toml: its settings are left out: {}", with_causes(&error)));
                (provider, given)
            }
        }
    }

    fn provider(&mut self, given: String, variable: &impl Fn(&str) -> Option<OsString>) -> String {
        let Some(wanted) = self.file.provider.clone().filter(|wanted| *wanted != given) else { return given };
        match fit::cannot_think(&wanted, variable) {
            None => wanted,
            Some(reason) => {
                self.troubles
                    .push(format!("agent.toml: the provider `{wanted}` is not taken, but `{given}`: {reason}"));
                given
            }
        }
    }

    fn settings(&mut self, given: AgentSettings) -> AgentSettings {
        let own = &self.file;
        let mut settings = AgentSettings {
            api: own.api.clone().unwrap_or(given.api),
            model: own.model.clone().or(given.model),
            effort: own.effort.or(given.effort),
            max_tokens: own.max_tokens.or(given.max_tokens),
            context_window: own.context_window.or(given.context_window),
            max_tool_rounds: own.max_tool_rounds.or(given.max_tool_rounds),
            max_retries: own.max_retries.or(given.max_retries),
            tools: given.tools.and(&own.tools),
            mcp_servers: given.mcp_servers,
            prompt: joined(given.prompt, own.prompt.clone()),
        };
        for (name, server) in &own.mcp_servers {
            if name == SERVER || settings.mcp_servers.contains_key(name) {
                self.troubles.push(format!(
                    "agent.toml: the MCP server `{name}` is left out, because there is one of that name"
                ));
            } else {
                settings.mcp_servers.insert(name.clone(), server.clone());
            }
        }
        if !self.tools.is_empty() {
            match own_server() {
                Ok(server) => drop(settings.mcp_servers.insert(SERVER.to_owned(), server)),
                Err(error) => self.troubles.push(format!("the tools of the overlay are not there: {error}")),
            }
        }
        settings
    }
}

/// This program, as a server of the overlay's tools.
fn own_server() -> io::Result<McpServer> {
    let command = std::env::current_exe()?.into_os_string().into_string();
    let command = command.map_err(|_| io::Error::other("this program's path is not UTF-8"))?;
    Ok(McpServer {
        command,
        args: vec![server::WORD.to_owned()],
        env: std::collections::BTreeMap::new(),
        timeout_seconds: None,
    })
}

fn joined(first: Option<String>, second: Option<String>) -> Option<String> {
    match (first, second) {
        (Some(first), Some(second)) => Some(format!("{first}\n\n{second}")),
        (first, second) => first.or(second),
    }
}

/// What a group that comes from NanoClaw v1 has to know.
fn sources_of_v1(folder: &Path) -> Option<String> {
    folder.join("index.ts").is_file().then(|| {
        "the folder has the sources of a NanoClaw v1 agent (index.ts). This agent does not run them: what was changed there \
         belongs into agent.toml and tools/ (docs/overlay.md says what goes where); an image of v1 runs them as before"
            .to_owned()
    })
}

/// Where the overlay lies inside the container.
pub(crate) fn folder() -> PathBuf {
    use nanoclaw_core::protocol::environment::{OVERLAY_DIR, guest};
    crate::places::set(OVERLAY_DIR).map_or_else(|| PathBuf::from(guest::OVERLAY_DIR), PathBuf::from)
}

#[cfg(test)]
mod tests;
