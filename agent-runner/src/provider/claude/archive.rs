//! Before Claude Code cuts a conversation that has become too long (compaction), what was said is put into
//! `conversations/`.
//!
//! Not by a hook of the program's: its settings lie where the agent can write, and can switch hooks off. It says when it
//! begins to compact, and when it has; what goes into a file is what was said since the last time. When it has, the file is
//! made good: the program may not have written everything to its transcript when it began, or have written more already.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    super::{Start, archive, archive::Entry},
    transcript,
};
use crate::log::say;

/// Archives what the session's transcript has since it was last compacted, into a new file or, once it is known where the
/// conversation was cut (`until`, the boundary's id), into that of a moment ago; the file. What goes wrong is said, and costs the
/// archive alone: the transcript stays. Blocking.
pub(super) fn conversation(
    start: &Start,
    session: &str,
    until: Option<&str>,
    written: Option<PathBuf>,
) -> Option<PathBuf> {
    let folder = start.places.group.join("conversations");
    let Some(path) = transcript::path(start, session) else {
        say!(
            "the session {session} is compacted, and its transcript is not where it is looked for: nothing is archived"
        );
        return written;
    };
    let archived = entries(&path, until).and_then(|entries| {
        let text = archive::text(entries, archive::ARCHIVED_CHARACTERS);
        match &written {
            _ if text.is_empty() => Ok(written.clone()),
            Some(file) => archive::replace(file, &text).map(|()| written.clone()),
            None => archive::write(&folder, &text).map(Some),
        }
    });
    archived.unwrap_or_else(|error| {
        say!("the conversation is compacted, and cannot be archived in {}: {error}", folder.display());
        written
    })
}

/// What was said up to the boundary `until`, from the one before it on; without one, what was said last.
fn entries(transcript: &Path, until: Option<&str>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut before = Vec::new();
    for line in fs::read(transcript)?.split(|byte| *byte == b'\n') {
        // Line by line: the last one may be on its way.
        let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
        if line["type"] == "system" && line["subtype"] == "compact_boundary" {
            if until.is_some_and(|until| line["uuid"] == until) {
                return Ok(entries);
            }
            before = std::mem::take(&mut entries);
        }
        // The words of sub-agents, of the program itself, and the summary of what was archived before.
        if ["isSidechain", "isMeta", "isCompactSummary"].iter().any(|mark| line[mark] == true) {
            continue;
        }
        let who = match line["type"].as_str() {
            Some("user") => "User",
            Some("assistant") => "Assistant",
            _ => continue,
        };
        match &line["message"]["content"] {
            Value::String(text) if is_ours(text) => {}
            Value::String(text) => entries.push(Entry::new(who, text.as_str())),
            Value::Array(blocks) => entries.extend(blocks.iter().filter_map(|block| entry(who, block))),
            _ => {}
        }
    }
    // Where nothing follows a boundary, it is the one of the compaction that has just begun.
    Ok(if entries.is_empty() && until.is_none() { before } else { entries })
}

/// What the program says in the user's name when it is told a command.
fn is_ours(text: &str) -> bool {
    text.starts_with("<command-name>") || text.starts_with("<local-command-")
}

fn entry(who: &str, block: &Value) -> Option<Entry> {
    match block["type"].as_str()? {
        "text" => Some(Entry::new(who, block["text"].as_str()?)),
        "tool_use" => Some(Entry::new(format!("{who} uses {}", block["name"].as_str()?), block["input"].to_string())),
        "tool_result" => {
            let who = if block["is_error"] == true { "Failed" } else { "Result" };
            let parts = block["content"].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
            let words = block["content"].as_str().map_or_else(|| parts.collect::<Vec<_>>().join("\n"), str::to_owned);
            Some(Entry::new(who, words))
        }
        "image" => Some(Entry::new(who, "(a picture)")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_since_the_last_time_is_read_and_what_nobody_said_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.jsonl");
        let lines = r#"{"type":"user","message":{"role":"user","content":"long ago"}}
{"type":"system","subtype":"compact_boundary","uuid":"1"}
{"type":"user","isCompactSummary":true,"message":{"role":"user","content":"a summary"}}
{"type":"user","isMeta":true,"message":{"role":"user","content":"a caveat"}}
{"type":"user","message":{"role":"user","content":"<command-name>/compact</command-name>"}}
{"type":"user","message":{"role":"user","content":"how many?"}}
{"type":"attachment","attachment":{"type":"date"}}
{"type":"assistant","message":{"role":"assistant","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"I look."},{"type":"tool_use","id":"t","name":"Bash","input":{"command":"ls"}}]}}
{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"a\nb"}]}}
{"type":"assistant","isSidechain":true,"message":{"role":"assistant","content":[{"type":"text","text":"a sub-agent"}]}}
{"type":"assistant","message":{"role":"assistant","content":[{"type":"text","text":"two"}]}}
{"type":"assi"#;
        fs::write(&file, lines).unwrap();
        let told = |until: Option<&str>| -> Vec<String> {
            let found = entries(&file, until).unwrap();
            found.into_iter().map(|Entry { who, words }| format!("{who}: {words}")).collect()
        };
        let expected = [
            "User: how many?",
            "Assistant: I look.",
            r#"Assistant uses Bash: {"command":"ls"}"#,
            "Result: a\nb",
            "Assistant: two",
        ];
        assert_eq!(told(None), expected);
        assert_eq!(told(Some("not written yet")), expected);
        assert_eq!(told(Some("1")), ["User: long ago"]);
        // It was quicker than we.
        let boundary = "\n{\"type\":\"system\",\"subtype\":\"compact_boundary\",\"uuid\":\"2\"}\n";
        fs::write(&file, format!("{lines}{boundary}")).unwrap();
        assert_eq!(
            (told(None), told(Some("2"))),
            (expected.map(str::to_owned).to_vec(), expected.map(str::to_owned).to_vec())
        );
    }
}
