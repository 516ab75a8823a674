//! `agent.toml`. The format is version 1; a file without a version is of that one.

use std::{collections::BTreeMap, fmt, fs, io, num::NonZeroU32, path::Path};

use nanoclaw_core::{
    causes::with_causes,
    protocol::agent::{AgentSettings, Effort, McpServer, ModelApi, ToolRules},
};
use serde::{
    Deserialize, Deserializer,
    de::{
        MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::hooks::Hooks;

/// The newest format that is understood.
const VERSION: u32 = 1;
/// The most bytes that are read.
const MOST_BYTES: u64 = 256 * 1024;

/// What stands in the file; what does not stand there is as the operator has it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    version: Option<u32>,
    pub(super) provider: Option<String>,
    pub(super) api: Option<ModelApi>,
    pub(super) model: Option<String>,
    pub(super) effort: Option<Effort>,
    pub(super) max_tokens: Option<NonZeroU32>,
    pub(super) context_window: Option<NonZeroU32>,
    pub(super) max_tool_rounds: Option<NonZeroU32>,
    pub(super) max_retries: Option<u32>,
    /// What is added to the end of the system prompt, after the operator's addition.
    pub(super) prompt: Option<String>,
    #[serde(deserialize_with = "tools")]
    pub(super) tools: ToolRules,
    pub(super) mcp_servers: BTreeMap<String, McpServer>,
    pub(super) hooks: Hooks,
}

/// `["Read"]`, which is all that is allowed, or `{ allow = […], deny = […] }`.
fn tools<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ToolRules, D::Error> {
    struct Form;

    impl<'de> Visitor<'de> for Form {
        type Value = ToolRules;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of tools, or a table with `allow` and `deny`")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<ToolRules, A::Error> {
            let allow = Vec::deserialize(SeqAccessDeserializer::new(names))?;
            Ok(ToolRules { allow: Some(allow), deny: Vec::new() })
        }

        fn visit_map<A: MapAccess<'de>>(self, rules: A) -> Result<ToolRules, A::Error> {
            ToolRules::deserialize(MapAccessDeserializer::new(rules))
        }
    }

    deserializer.deserialize_any(Form)
}

/// Reads the file, and the names in it that mean nothing; `None` when there is none.
///
/// # Errors
/// What is wrong, with the line and column, and what would be right where that is known.
pub(super) fn read(path: &Path) -> Result<Option<(File, Vec<String>)>, String> {
    let text = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err("it is no regular file".to_owned()),
        Ok(metadata) if metadata.len() > MOST_BYTES => {
            return Err(format!("it has {} bytes; at most {MOST_BYTES} are read", metadata.len()));
        }
        Ok(_) => fs::read_to_string(path).map_err(|error| error.to_string())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    parse(&text).map(Some)
}

fn parse(text: &str) -> Result<(File, Vec<String>), String> {
    let told = |error: &toml::de::Error| {
        let words = error.message().lines().next().unwrap_or_default();
        match error.span() {
            Some(span) => format!("{}: {words}", place(text, span.start)),
            None => words.to_owned(),
        }
    };
    // First of all: what a later version means by its words is not known.
    let table: toml::Table = text.parse().map_err(|error| told(&error))?;
    if let Some(version) = table.get("version").and_then(toml::Value::as_integer)
        && version > i64::from(VERSION)
    {
        return Err(format!(
            "it is of version {version}, and this agent understands up to {VERSION}: update NanoClaw, or write it as version {VERSION}"
        ));
    }
    let mut unknown = Vec::new();
    let deserializer = toml::Deserializer::parse(text).map_err(|error| told(&error))?;
    let file: File = serde_ignored::deserialize(deserializer, |path| unknown.push(path.to_string()))
        .map_err(|error| told(&error))?;
    check(&file)?;
    Ok((file, unknown))
}

/// Asks the settings themselves whether they can be used; the API's needs are looked at when the operator's are known.
fn check(file: &File) -> Result<(), String> {
    let settings = AgentSettings { mcp_servers: file.mcp_servers.clone(), ..AgentSettings::default() };
    settings.check().map_err(|error| with_causes(&error).to_string())?;
    match &file.model {
        Some(model) if model.trim().is_empty() => {
            Err("`model` is empty; leave it out to have the operator's".to_owned())
        }
        _ => Ok(()),
    }
}

/// `line 3, column 5` of a byte of `text`.
fn place(text: &str, byte: usize) -> String {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, parts) in [
            ("model = \"a\"\nprompt = x\n", vec!["line 2, column 10"]),
            ("[tools]\nallow = \"Read\"\n", vec!["line 2", "sequence"]),
            ("tools = 7\n", vec!["line 1", "a list of tools, or a table"]),
            ("effort = \"enormous\"\n", vec!["line 1", "enormous"]),
            ("version = 2\nwhatever = []\n", vec!["version 2", "update NanoClaw"]),
            ("model = \" \"\n", vec!["`model` is empty"]),
            ("[mcp_servers.nanoclaw]\ncommand = \"x\"\n", vec!["nanoclaw", "is not"]),
            ("[mcp_servers.x]\n", vec!["command"]),
        ] {
            let told = parse(text).unwrap_err();
            assert!(parts.iter().all(|part| told.contains(part)), "{text:?}: {told}");
        }
    }

    #[test]
    fn what_means_nothing_is_named_and_the_rest_is_in_force() {
        let (file, unknown) =
            parse("version = 1\nmodel = \"m\"\ntemperature = 1\n[tools]\ndeny = [\"Bash\"]\nalow = []\n").unwrap();
        assert_eq!(unknown, ["temperature", "tools.alow"]);
        assert_eq!(file.model.as_deref(), Some("m"));
        assert!(!file.tools.permit("Bash"));
        let (file, unknown) = parse("tools = [\"Read\"]\n").unwrap();
        assert!(file.tools.permit("Read") && !file.tools.permit("Bash") && unknown.is_empty());
    }

    #[test]
    fn a_file_that_is_none_or_too_large_is_said_and_no_file_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        assert_eq!(read(&path), Ok(None));
        fs::create_dir(&path).unwrap();
        assert!(read(&path).unwrap_err().contains("no regular file"));
        fs::remove_dir(&path).unwrap();
        fs::File::create(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert!(read(&path).unwrap_err().contains("at most"));
        fs::write(&path, "").unwrap();
        assert_eq!(read(&path), Ok(Some((File::default(), Vec::new()))));
    }
}
