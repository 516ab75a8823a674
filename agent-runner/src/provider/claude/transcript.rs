//! The transcript of a session: the file in which Claude Code keeps it, and whether it is still fit to be resumed.
//!
//! It grows with every turn and is read whole when the session is resumed: what the model is shown is cut (compaction), the
//! file is not. One that is too large makes each run slow at first, then ends the program for lack of memory, and the next
//! run again (fault F45). So beyond a bound it is left where it is, and a new session begins.

use std::{fs, path::PathBuf};

use super::super::Start;
use crate::places::set;

/// Read as JSON, line by line, a transcript takes several times its size in memory, beside the hundreds of MiB that the
/// program needs anyway, within 2 GiB by default. A long conversation has a few MiB; what has this many has pictures and
/// outputs of tools in it that the model has not been shown for a long time.
const LARGEST_BYTES: u64 = 64 * 1024 * 1024;

/// Says where Claude Code has its own files.
const CONFIG_DIR: &str = "CLAUDE_CONFIG_DIR";

/// Why the session that is to be resumed is not fit for it; `None` when it is, or nobody knows.
pub(super) fn unfit(start: &Start) -> Option<String> {
    let session = start.session.as_ref()?;
    let bytes = path(start, session.as_str())?.metadata().ok()?.len();
    (bytes > LARGEST_BYTES).then(|| {
        format!(
            "the session {session} is too large to be resumed: its transcript has {} MiB, and more than {} are not read",
            bytes >> 20,
            LARGEST_BYTES >> 20
        )
    })
}

/// `projects/<the working directory, in its own spelling>/<session>.jsonl`. The folder is looked for rather than spelled:
/// there is one for each group, and versions differ in the spelling.
pub(super) fn path(start: &Start, session: &str) -> Option<PathBuf> {
    if session.contains('/') {
        return None;
    }
    let name = format!("{session}.jsonl");
    let projects = fs::read_dir(own_folder(start).join("projects")).ok()?;
    let found = projects.flatten().map(|project| project.path().join(&name)).filter(|path| path.is_file());
    found.max_by_key(|path| path.metadata().map_or(0, |metadata| metadata.len()))
}

/// Where Claude Code has its own files.
pub(super) fn own_folder(start: &Start) -> PathBuf {
    set(CONFIG_DIR).map_or_else(|| start.places.home.join(".claude"), PathBuf::from)
}
