//! The conversation: one line of JSON for each message heard, in a file per session in the session folder.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use nanoclaw_core::session::SessionId;
use serde::{Deserialize, Serialize};

use super::prompt::Heard;
use crate::random::random_hex;

/// One session's conversation.
#[derive(Debug)]
pub(super) struct Memory {
    folder: PathBuf,
    session: SessionId,
    lines: Vec<Line>,
    /// How many of the lines are in the file.
    kept: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    sender: String,
    time: String,
    text: String,
}

impl Memory {
    /// A conversation that begins.
    pub(super) fn new(folder: PathBuf) -> Self {
        let session = SessionId::new(format!("offline-{}", random_hex::<8>()))
            .expect("it is short and has letters, digits and - only");
        Self { folder, session, lines: Vec::new(), kept: 0 }
    }

    /// The conversation `session`; `None` when there is none.
    pub(super) fn open(folder: &Path, session: &SessionId) -> io::Result<Option<Self>> {
        let Some(path) = path(folder, session) else { return Ok(None) };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // A line that was torn by a crash was not answered either; its message comes again.
        let lines: Vec<Line> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let kept = lines.len();
        Ok(Some(Self { folder: folder.to_owned(), session: session.clone(), lines, kept }))
    }

    pub(super) fn session(&self) -> &SessionId {
        &self.session
    }

    /// Adds a message; [`Self::keep`] makes it last.
    pub(super) fn hear(&mut self, message: &Heard) {
        let Heard { sender, time, text } = message.clone();
        self.lines.push(Line { sender, time, text });
    }

    /// Appends what was heard to the file.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        let Some(path) = path(&self.folder, &self.session) else { return Err(io::ErrorKind::InvalidFilename.into()) };
        fs::create_dir_all(&self.folder)?;
        let mut text = String::new();
        for line in &self.lines[self.kept..] {
            // A new line first as well: what a crash tore must not swallow it.
            text.push_str(&format!("\n{}\n", serde_json::to_string(line)?));
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(text.as_bytes())?;
        self.kept = self.lines.len();
        Ok(())
    }

    /// The conversation for people: a head line, then a numbered line for each message.
    pub(super) fn recall(&self) -> String {
        if self.lines.is_empty() {
            return "I recall nothing".to_owned();
        }
        let mut text = format!("I recall {}:", count(self.lines.len(), "message"));
        for (number, Line { sender, text: words, .. }) in (1..).zip(&self.lines) {
            let sender = if sender.is_empty() { "(nobody)" } else { sender };
            text.push_str(&format!("\n{number}. {sender}: {words}"));
        }
        text
    }
}

fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// The session's file; `None` for an id that is none of ours, and could name any path.
fn path(folder: &Path, session: &SessionId) -> Option<PathBuf> {
    let plain = session.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain.then(|| folder.join(format!("{session}.jsonl")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Heard {
        Heard { sender: "Ann".to_owned(), time: "now".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn what_was_heard_is_recalled_in_the_next_run_even_after_a_torn_line() {
        let home = tempfile::tempdir().unwrap();
        let mut memory = Memory::new(home.path().to_owned());
        memory.hear(&heard("one"));
        memory.keep().unwrap();
        let file = path(home.path(), memory.session()).unwrap();
        OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"sender\":\"An").unwrap();

        let mut memory = Memory::open(home.path(), memory.session()).unwrap().unwrap();
        memory.hear(&heard("two"));
        memory.keep().unwrap();
        let memory = Memory::open(home.path(), memory.session()).unwrap().unwrap();
        assert_eq!(memory.recall(), "I recall 2 messages:\n1. Ann: one\n2. Ann: two");
    }

    #[test]
    fn a_session_id_is_no_path() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("x.jsonl"), "").unwrap();
        let id = SessionId::new("sub/../x").unwrap();
        assert!(Memory::open(home.path(), &id).unwrap().is_none());
    }
}
