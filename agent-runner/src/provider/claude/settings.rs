//! What Claude Code is started with besides a prompt: the server of our [tools](crate::mcp), and settings in which nothing
//! stands in its way.
//!
//! The settings lie in the agent's home and in the group's folder, where the agent can write, so what one run leaves there is
//! not to take the tools from the next. A server of the same name does not replace ours, which is named on the command line; but
//! settings can switch it off. These are taken out before each start, and what else stands there stays.

use std::{fs, io::Read as _, path::Path};

use nanoclaw_core::group::GroupRole;
use nanoclaw_core::protocol::environment::{CHAT, FOLDER, GROUP_DIR, IPC_DIR, IS_MAIN};
use serde_json::{Map, Value, json};

use super::super::Start;
use crate::{
    log::say,
    places::{Places, set},
    random::random_hex,
};

/// The name of the server; its tools are `mcp__nanoclaw__…`.
const SERVER: &str = "nanoclaw";
/// The most bytes of a settings file that are looked at.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// The value of `--mcp-config`: our server, by this very program, and `more`. All that ours goes by is said here, because
/// settings can change the environment it would have otherwise.
pub(super) fn servers(start: &Start, mut more: Map<String, Value>) -> std::io::Result<String> {
    let program = std::env::current_exe()?;
    let Places { mailbox, group, home, .. } = &start.places;
    let is_main = if start.role == GroupRole::Main { "1" } else { "0" };
    let zone = set("TZ").map(|zone| zone.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = start.folder.as_str();
    let server = json!({
        "type": "stdio",
        "command": program,
        "args": ["mcp"],
        "env": {
            CHAT: start.chat, FOLDER: folder, IS_MAIN: is_main, IPC_DIR: mailbox.root(), GROUP_DIR: group, "HOME": home, "TZ": zone,
        },
        // Otherwise the model would have to look for them by name.
        "alwaysLoad": true,
    });
    more.insert(SERVER.to_owned(), server);
    Ok(json!({"mcpServers": more}).to_string())
}

/// Takes out of the settings what would switch our tools off. What cannot be read or written is left, and said.
pub(super) fn clear_the_way(places: &Places) {
    for (file, clean) in [
        (places.home.join(".claude.json"), clean_state as fn(&mut Map<String, Value>) -> bool),
        (places.home.join(".claude/settings.json"), clean_settings),
        (places.group.join(".claude/settings.json"), clean_settings),
    ] {
        match mend(&file, clean) {
            Ok(false) => {}
            Ok(true) => say!("{} switched NanoClaw's tools off; that is taken out of it", file.display()),
            Err(error) => say!("cannot look whether {} switches NanoClaw's tools off: {error}", file.display()),
        }
    }
}

/// Whether there was something to mend, and it is mended.
fn mend(file: &Path, clean: fn(&mut Map<String, Value>) -> bool) -> std::io::Result<bool> {
    let mut bytes = Vec::new();
    match fs::metadata(file) {
        Ok(metadata) if metadata.is_file() && metadata.len() <= MOST_BYTES => {
            fs::File::open(file)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(false),
    }
    // What Claude Code cannot read either switches nothing off.
    let Ok(Value::Object(mut settings)) = serde_json::from_slice(&bytes) else { return Ok(false) };
    if !clean(&mut settings) {
        return Ok(false);
    }
    let temporary = file.with_extension(format!("nanoclaw-{}", random_hex::<4>()));
    fs::write(&temporary, serde_json::to_vec_pretty(&settings)?)?;
    fs::rename(&temporary, file).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    Ok(true)
}

/// `.claude.json`: servers that somebody switched off, in the list of each folder.
fn clean_state(state: &mut Map<String, Value>) -> bool {
    let mut mended = keep(state.get_mut("disabledMcpServers"), |name| name != SERVER);
    for project in state.get_mut("projects").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        mended |= keep(project.get_mut("disabledMcpServers"), |name| name != SERVER);
    }
    mended
}

/// `settings.json`: which servers an organisation allows and denies (an agent is none), rules against our tools, and variables
/// that hinder servers.
fn clean_settings(settings: &mut Map<String, Value>) -> bool {
    let mut mended = false;
    for name in ["allowedMcpServers", "deniedMcpServers", "allowManagedMcpServersOnly"] {
        mended |= settings.remove(name).is_some();
    }
    if let Some(permissions) = settings.get_mut("permissions").and_then(Value::as_object_mut) {
        // The tools are allowed by skipping permissions, which this forbids.
        mended |= permissions.remove("disableBypassPermissionsMode").is_some();
        for list in ["deny", "ask"] {
            mended |= keep(permissions.get_mut(list), |rule| !is_against_us(rule));
        }
    }
    if let Some(variables) = settings.get_mut("env").and_then(Value::as_object_mut) {
        let before = variables.len();
        variables.retain(|name, _| !name.starts_with("MCP_") && !name.starts_with("NANOCLAW_"));
        mended |= variables.len() != before;
    }
    mended
}

fn is_against_us(rule: &str) -> bool {
    let rule = rule.trim();
    rule.starts_with("mcp__nanoclaw") || rule.starts_with('*') || (rule.starts_with("mcp__") && rule.contains('*'))
}

/// Keeps the texts of a list for which `wanted` holds; whether one went.
fn keep(list: Option<&mut Value>, wanted: impl Fn(&str) -> bool) -> bool {
    let Some(list) = list.and_then(Value::as_array_mut) else { return false };
    let before = list.len();
    list.retain(|entry| entry.as_str().is_none_or(&wanted));
    list.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str, clean: fn(&mut Map<String, Value>) -> bool) -> (bool, Value) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.json");
        fs::write(&file, text).unwrap();
        let mended = mend(&file, clean).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left there");
        (mended, serde_json::from_slice(&fs::read(&file).unwrap()).unwrap_or_default())
    }

    #[test]
    fn what_would_switch_our_tools_off_is_taken_out_and_the_rest_stays() {
        let (mended, settings) = cleaned(
            r#"{"model": "opus", "deniedMcpServers": [{"serverName": "nanoclaw"}], "allowedMcpServers": [],
                "env": {"MCP_TIMEOUT": "1", "NANOCLAW_IPC_DIR": "/tmp", "FOO": "1"},
                "permissions": {"deny": ["mcp__nanoclaw__send_message", "mcp__*", "Bash(rm:*)", "mcp__other"], "ask": ["*"],
                "disableBypassPermissionsMode": "disable", "allow": ["Read"]}}"#,
            clean_settings,
        );
        let expected = json!({"model": "opus", "env": {"FOO": "1"},
            "permissions": {"deny": ["Bash(rm:*)", "mcp__other"], "ask": [], "allow": ["Read"]}});
        assert_eq!((mended, settings), (true, expected));

        let (mended, state) = cleaned(
            r#"{"projects": {"/workspace/group": {"disabledMcpServers": ["nanoclaw", "other"], "a": 1}, "/x": 7}}"#,
            clean_state,
        );
        let expected = json!({"projects": {"/workspace/group": {"disabledMcpServers": ["other"], "a": 1}, "/x": 7}});
        assert_eq!((mended, state), (true, expected));
    }

    #[test]
    fn settings_that_hinder_nothing_and_such_that_nobody_can_read_are_left_alone() {
        for text in [
            r#"{"permissions": {"deny": ["Bash"]}, "env": {"A": "b"}}"#,
            "{torn",
            "[]",
            "",
            r#"{"permissions": 7, "env": []}"#,
        ] {
            assert!(!cleaned(text, clean_settings).0, "{text}");
            assert!(!cleaned(text, clean_state).0, "{text}");
        }
        assert!(!mend(Path::new("/nowhere/settings.json"), clean_settings).unwrap());
        let folder = tempfile::tempdir().unwrap();
        assert!(!mend(folder.path(), clean_settings).unwrap(), "a folder in its place");
    }
}
