//! `conversations/` of the group's folder: what was said before a conversation became too long, word for word, for people and
//! for agents that want to look it up.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use nanoclaw_core::time::Timestamp;

/// Between the head and the conversation.
const RULE: &str = "\n\n---\n\n";

/// How much of a message is kept in the archive (number: NanoClaw v1).
pub(super) const ARCHIVED_CHARACTERS: usize = 2000;

/// Something that was said or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// `User`, `Assistant`, `Assistant uses Bash`, `Result`, `Failed`.
    pub(super) who: String,
    pub(super) words: String,
}

impl Entry {
    pub(super) fn new(who: impl Into<String>, words: impl Into<String>) -> Self {
        Self { who: who.into(), words: words.into() }
    }
}

/// What was said as Markdown, at most `characters` of each entry.
pub(super) fn text(entries: impl IntoIterator<Item = Entry>, characters: usize) -> String {
    let mut text = String::new();
    for Entry { who, words } in entries {
        let words = words.trim();
        if words.is_empty() {
            continue;
        }
        let kept: String = words.chars().take(characters).collect();
        let cut = if kept.len() < words.len() { " […]" } else { "" };
        text.push_str(&format!("**{who}**: {kept}{cut}\n\n"));
    }
    text
}

/// Puts a conversation into a file that [`write()`] made, in the place of what it has.
pub(super) fn replace(path: &Path, conversation: &str) -> io::Result<()> {
    let written = fs::read_to_string(path)?;
    let (head, before) = written.split_once(RULE).ok_or(io::ErrorKind::InvalidData)?;
    if before == conversation {
        return Ok(());
    }
    let new = path.with_extension("new");
    fs::write(&new, format!("{head}{RULE}{conversation}"))?;
    fs::rename(new, path)
}

/// Puts a conversation into a new file of `folder` and says which. The folder's owner may have put anything there: what is
/// there already is never written to.
pub(super) fn write(folder: &Path, conversation: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let now = Timestamp::now().to_string();
    // 2026-11-21T20:51:07.123Z
    let day = now.get(..10).unwrap_or("undated");
    let minute = now.get(11..16).unwrap_or_default().replace(':', "");
    for number in 1..1000 {
        let more = if number == 1 { String::new() } else { format!("-{number}") };
        let path = folder.join(format!("{day}-conversation-{minute}{more}.md"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                write!(file, "# Conversation\n\nArchived: {now}{RULE}{conversation}")?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
