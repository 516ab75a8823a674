//! Programs in `tools/` that become tools. `tools/weather` is the tool `weather`; what it does is told by `tools/weather.json`
//! (`description`, `input_schema`, `timeout_seconds`), or by the first comment in it (lines that begin with `#`, after `#!`).
//!
//! A tool is given its input as JSON on standard input and works in the group's folder. What it writes to standard output is the
//! result; when it ends with another code than 0 the tool failed, and what it wrote to standard error is told too.

use std::{
    collections::BTreeMap,
    fs, io,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::program;

/// The most tools of one overlay.
const MOST_TOOLS: usize = 64;
/// The longest name: with `mcp__overlay__` before it a model's API takes 64 characters.
const LONGEST_NAME: usize = 50;
/// How long one use may take, unless its description says otherwise.
const PATIENCE: Duration = Duration::from_secs(120);
/// The most bytes of a description.
const MOST_DESCRIPTION_BYTES: u64 = 64 * 1024;
/// The most bytes of output that are told, of each of the two.
const MOST_OUTPUT_BYTES: usize = 1024 * 1024;

/// One program.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: String,
    /// A JSON schema of an object.
    pub(super) schema: Map<String, Value>,
    program: PathBuf,
    patience: Duration,
}

/// `NAME.json`.
#[derive(Deserialize)]
struct Description {
    description: String,
    #[serde(default)]
    input_schema: Option<Map<String, Value>>,
    #[serde(default)]
    timeout_seconds: Option<u32>,
}

/// The tools in `folder`, by name, and a sentence for each program that is none. Nothing where there is no such folder.
pub(super) fn find(folder: &Path) -> (Vec<Tool>, Vec<String>) {
    let (mut tools, mut troubles) = (BTreeMap::new(), Vec::new());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), Vec::new()),
        Err(error) => return (Vec::new(), vec![format!("tools/ cannot be read: {error}")]),
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let shown: String = name.to_string_lossy().chars().take(80).collect();
        if shown.starts_with('.') || shown.ends_with(".json") || shown.ends_with('~') {
            continue;
        }
        let path = folder.join(&name);
        // A folder is something that tools share.
        if path.is_dir() {
            continue;
        }
        if tools.len() == MOST_TOOLS {
            troubles.push(format!("tools/: there are more than {MOST_TOOLS}, and the rest is left out"));
            break;
        }
        match tool(&path, name.to_str()) {
            Ok(tool) => drop(tools.insert(tool.name.clone(), tool)),
            Err(reason) => troubles.push(format!("tools/{shown} is no tool: {reason}")),
        }
    }
    (tools.into_values().collect(), troubles)
}

fn tool(path: &Path, file_name: Option<&str>) -> Result<Tool, String> {
    // `weather.sh` is the tool `weather`.
    let name = file_name.and_then(|name| name.split('.').next()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
        return Err(format!("a name has 1 to {LONGEST_NAME} of a-z, A-Z, 0-9, _ and -"));
    }
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err("it cannot be executed (chmod +x makes it so)".to_owned());
    }
    let beside = path.with_file_name(format!("{name}.json"));
    let described = match read_bounded(&beside) {
        Ok(text) => Some(serde_json::from_str::<Description>(&text).map_err(|error| format!("{name}.json: {error}"))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(format!("{name}.json: {error}")),
    };
    let (description, schema, seconds) = match described {
        Some(Description { description, input_schema, timeout_seconds }) => {
            (description, input_schema.unwrap_or_else(any_input), timeout_seconds)
        }
        None => (first_comment(path).unwrap_or_default(), any_input(), None),
    };
    if description.trim().is_empty() {
        return Err(format!(
            "nothing says what it does: write {name}.json with a `description`, or begin it with a comment"
        ));
    }
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(format!("{name}.json: `input_schema` is a JSON schema with \"type\": \"object\""));
    }
    let patience = seconds.map_or(PATIENCE, |seconds| Duration::from_secs(seconds.max(1).into()));
    Ok(Tool {
        name: name.to_owned(),
        description: description.trim().to_owned(),
        schema,
        program: path.to_owned(),
        patience,
    })
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MOST_DESCRIPTION_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// What is taken by a program of which no more is known.
fn any_input() -> Map<String, Value> {
    let schema = json!({
        "type": "object",
        "properties": {"input": {"type": "string", "description": "What the program is to work on."}},
    });
    if let Value::Object(schema) = schema { schema } else { Map::new() }
}

/// The comment at a script's beginning.
fn first_comment(path: &Path) -> Option<String> {
    let lines = BufReader::new(fs::File::open(path).ok()?.take(MOST_DESCRIPTION_BYTES)).lines();
    let comment: Vec<String> = lines
        .map_while(Result::ok)
        .skip_while(|line| line.starts_with("#!") || line.trim().is_empty())
        .map_while(|line| line.trim().strip_prefix('#').map(|words| words.trim().to_owned()))
        .collect();
    Some(comment.join(" "))
}

impl Tool {
    /// Runs it in `folder`: its words, or in words why it failed.
    pub(super) async fn call(&self, input: &Value, folder: &Path) -> Result<String, String> {
        let command = Command::new(&self.program);
        let ended = program::run(command, folder, &input.to_string(), self.patience, MOST_OUTPUT_BYTES)
            .await
            .map_err(|reason| format!("{} failed: {reason}", self.name))?;
        if ended.status.success() {
            return Ok(ended.said);
        }
        let parts = [ended.said.trim_end(), ended.errors.trim_end(), &format!("({})", ended.status)];
        Err(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, name: &str, text: &str, mode: u32) {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn programs_are_tools_when_something_says_what_they_do() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        put(folder, "weather.sh", "#!/bin/sh\n# Tells the weather\n# of a town.\necho sunny\n", 0o755);
        put(folder, "add", "#!/bin/sh\n", 0o755);
        let schema = r#"{"type": "object", "properties": {"a": {"type": "integer"}}}"#;
        put(folder, "add.json", &format!(r#"{{"description": "Adds.", "input_schema": {schema}}}"#), 0o644);
        put(folder, "mute", "#!/bin/sh\necho\n", 0o755);
        put(folder, "still", "#!/bin/sh\n# Cannot be run.\n", 0o644);
        put(folder, "odd name", "#!/bin/sh\n# x\n", 0o755);
        put(folder, "broken", "#!/bin/sh\n# x\n", 0o755);
        put(folder, "broken.json", "{", 0o644);
        put(folder, "list", "#!/bin/sh\n# x\n", 0o755);
        put(folder, "list.json", r#"{"description": "x", "input_schema": {"type": "array"}}"#, 0o644);
        put(folder, ".hidden", "", 0o755);
        fs::create_dir(folder.join("library")).unwrap();
        let (tools, troubles) = find(folder);
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["add", "weather"]);
        assert_eq!(tools[1].description, "Tells the weather of a town.");
        assert!(tools[0].schema["properties"]["a"].is_object() && tools[1].schema["properties"]["input"].is_object());
        let troubles = troubles.join("\n");
        for part in
            ["mute is no tool: nothing says", "chmod +x", "odd name is no tool", "broken.json: EOF", "JSON schema"]
        {
            assert!(troubles.contains(part), "{part}: {troubles}");
        }
        assert_eq!(troubles.lines().count(), 5, "{troubles}");
    }

    #[tokio::test]
    async fn a_tool_reads_its_input_and_its_failure_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        put(folder, "echo", "#!/bin/sh\n# Says it back.\npwd >&2\ncat\n", 0o755);
        put(folder, "fail", "#!/bin/sh\n# Fails.\necho some; echo why >&2; exit 3\n", 0o755);
        put(folder, "deaf", "#!/bin/sh\n# Reads nothing.\necho done\n", 0o755);
        put(folder, "much", "#!/bin/sh\n# Says much.\nhead -c 10485760 /dev/zero | tr '\\0' x\n", 0o755);
        put(folder, "slow", "#!/bin/sh\n# Hangs.\nsleep 1000 & wait\n", 0o755);
        put(folder, "slow.json", r#"{"description": "Hangs.", "timeout_seconds": 1}"#, 0o644);
        let (tools, troubles) = find(folder);
        assert_eq!(troubles, Vec::<String>::new());
        let call = async |name: &str, input: Value| {
            tools.iter().find(|tool| tool.name == name).unwrap().call(&input, folder).await
        };
        assert_eq!(call("echo", json!({"input": "ä"})).await.unwrap(), r#"{"input":"ä"}"#);
        assert_eq!(call("fail", json!({})).await.unwrap_err(), "some\nwhy\n(exit status: 3)");
        assert_eq!(call("deaf", json!({"input": "x".repeat(1_000_000)})).await.unwrap(), "done\n");
        let much = call("much", json!({})).await.unwrap();
        assert!(much.len() < 1_100_000 && much.contains("bytes are left out here.]"), "{}", much.len());
        let slow = call("slow", json!({})).await.unwrap_err();
        assert!(slow.contains("was killed, because it took longer than 1s"), "{slow}");
    }
}
