//! `mcp_servers` of `[agent]` and of a group: programs inside the container that give an agent further tools.
//!
//! What is said of them is in the container, where the agent can read it. So nothing that looks like a secret is taken.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use nanoclaw_core::protocol::agent::{AgentSettings, McpServer};
use toml::de::{DeTable, DeValue};

use super::{
    mistake::nearest,
    value::{self, Raw, Right},
};

/// The most servers of one group.
const MOST_SERVERS: usize = 32;

const RIGHT: &str =
    r#"tables such as notes = { command = "notes-mcp", args = ["--quiet"], env = { MODE = "full" }, timeout = "5m" }"#;

/// How the secrets of well-known services begin.
const TOKENS: [&str; 12] =
    ["sk-", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "xapp-", "AKIA", "AIza", "-----BEGIN"];
/// How the names of variables end that have secrets.
const SECRET_NAMES: [&str; 8] = ["token", "key", "secret", "password", "passwd", "credential", "credentials", "auth"];
/// What a client that insists on a secret is given. It opens nothing.
const PLACEHOLDER: &str = "placeholder";

/// Reads all of one group.
pub(super) fn rule(raw: &Raw<'_>) -> Result<BTreeMap<String, McpServer>, Right> {
    let Raw::Toml(DeValue::Table(table)) = raw else { return Err(RIGHT.into()) };
    if table.len() > MOST_SERVERS {
        return Err(format!("at most {MOST_SERVERS} servers").into());
    }
    let mut servers = BTreeMap::new();
    for (key, value) in table {
        let name = key.get_ref().to_string();
        let DeValue::Table(table) = value.get_ref() else {
            return Err(format!("{RIGHT}; {name:?} is no table").into());
        };
        let server = server(table).map_err(|why| format!("{RIGHT}; {name:?} {why}"))?;
        servers.insert(name, server);
    }
    let settings = AgentSettings { mcp_servers: servers, ..AgentSettings::default() };
    settings.check().map_err(|problem| format!("{RIGHT}; {problem}"))?;
    Ok(settings.mcp_servers)
}

fn server(table: &DeTable<'_>) -> Result<McpServer, String> {
    const KEYS: [&str; 4] = ["command", "args", "env", "timeout"];
    let mut server =
        McpServer { command: String::new(), args: Vec::new(), env: BTreeMap::new(), timeout_seconds: None };
    for (key, value) in table {
        let (key, value) = (key.get_ref().as_ref(), value.get_ref());
        match key {
            "command" => {
                server.command = value::line(1024)(&Raw::Toml(value)).map_err(|_| "has a command that is no path")?
            }
            "args" => server.args = texts(value).ok_or("has args that are no list of texts")?,
            "env" => server.env = variables(value).ok_or("has an env that is no table of texts")?,
            "timeout" => server.timeout_seconds = Some(seconds(value)?),
            _ => {
                let hint = nearest(key, KEYS).map_or_else(String::new, |near| format!("; did you mean {near}?"));
                return Err(format!("has a key {key}, which no server has{hint}"));
            }
        }
    }
    if server.command.is_empty() {
        Err("has no command, the program inside the container".to_owned())
    } else {
        Ok(server)
    }
}

fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    let items = value.as_array()?;
    let text = |text: &str| (!text.contains('\0')).then(|| text.to_owned());
    items.iter().map(|item| item.get_ref().as_str().and_then(text)).collect()
}

fn variables(value: &DeValue<'_>) -> Option<BTreeMap<String, String>> {
    let table = value.as_table()?;
    let name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    table
        .iter()
        .map(|(key, value)| {
            let text = value.get_ref().as_str().filter(|text| !text.contains('\0') && name(key.get_ref()))?;
            Some((key.get_ref().to_string(), text.to_owned()))
        })
        .collect()
}

fn seconds(value: &DeValue<'_>) -> Result<NonZeroU32, String> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(3600);
    let time =
        value::duration(bounds)(&Raw::Toml(value)).map_err(|right| format!("has a timeout that is not {right}"))?;
    // Whole seconds are what agents are told; a part of one more is no less than was asked for.
    let seconds = u32::try_from(time.as_millis().div_ceil(1000)).ok().and_then(NonZeroU32::new);
    seconds.ok_or_else(|| "has a timeout of nothing".to_owned())
}

/// What looks like a secret, as it follows the key; nothing of it is repeated.
pub(super) fn secrets_in(servers: &BTreeMap<String, McpServer>) -> Vec<String> {
    let is_token = |text: &str| TOKENS.iter().any(|mark| text.starts_with(mark) && text.len() > mark.len() + 8);
    let mut found = Vec::new();
    for (server, McpServer { command: _, args, env, .. }) in servers {
        let in_variables =
            env.iter().filter(|(name, value)| is_token(value) || (is_secret(name) && !is_harmless(value)));
        found.extend(in_variables.map(|(name, _)| format!("gives {server:?} a secret in {name}; {WHAT_TO_DO}")));
        // `--token=…`
        let word = |arg: &String| is_token(arg) || arg.split_once('=').is_some_and(|(_, value)| is_token(value));
        found.extend(args.iter().any(word).then(|| format!("gives {server:?} a secret in its args; {WHAT_TO_DO}")));
    }
    found
}

const WHAT_TO_DO: &str = "the agent could read it. Make the service one of [[gateway.upstreams]], whose secret no container \
                          sees, and have the server ask it there; where it insists on a secret, write \"placeholder\"";

/// Whether a variable of this name is one for secrets: `GITHUB_TOKEN`, `apiKey`; not `MAX_TOKENS`.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|word| name.ends_with(word))
}

/// What is too short to be a secret, or says that it is none.
fn is_harmless(value: &str) -> bool {
    value.len() < 8 || value.eq_ignore_ascii_case(PLACEHOLDER) || value.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_for_secrets_is_told_by_its_name() {
        for name in ["GITHUB_TOKEN", "apiKey", "DB_PASSWORD", "CLIENT_SECRET"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["MAX_TOKENS", "MODE", "KEYBOARD", "AUTHOR"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
