//! Reads a folder of NanoClaw v1. Nothing is written there, not even beside its database: that is copied, with its log and its
//! journal, and the copy is read.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nanoclaw_core::{group::GroupFolder, secret::Secret};

use super::{
    ImportError, at, database,
    trees::{Kind, Tree},
    v1::{Lists, Mail, V1},
};
use crate::credentials::{Line, key_and_value};

/// The name that v1's assistant has when nobody gave it one.
pub const DEFAULT_NAME: &str = "Andy";
/// The project folder of Claude Code for conversations in `/workspace/group`, which is where v1's agents work, and ours.
pub(super) const PROJECT: &str = "projects/-workspace-group";
/// The skills for agents that v1 brings.
const SHIPPED_SKILLS: [&str; 4] = ["agent-browser", "capabilities", "slack-formatting", "status"];
/// The longest `.env`.
const LONGEST_ENV: u64 = 1 << 20;

/// Reads the folder at `root`, and the lists in `private`, v1's `~/.config/nanoclaw`. Blocks while it reads files.
///
/// # Errors
/// [`ImportError`]: it is no such folder, somebody works on it, or it cannot be read.
pub async fn read(root: &Path, private: Option<&Path>) -> Result<V1, ImportError> {
    let root = std::path::absolute(root).map_err(at(root))?;
    let database = database_of(&root)?;
    let mut v1 = V1 { env: env(&root)?, ..V1::default() };
    let assistant = v1.env.get("ASSISTANT_NAME").map_or(DEFAULT_NAME.to_owned(), |name| name.reveal().to_owned());
    let copy = copy_database(&root, &database)?;
    database::read(&copy.path().join(NAME), &database, &assistant, &mut v1).await?;
    v1.lists = private.map(lists).unwrap_or_default();
    v1.root = root;
    look_around(&mut v1)?;
    Ok(v1)
}

const NAME: &str = "messages.db";

fn database_of(root: &Path) -> Result<PathBuf, ImportError> {
    let foreign = |why| ImportError::Foreign { path: root.to_owned(), why };
    match fs::metadata(root) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(foreign("it is no folder")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(foreign("it is not there")),
        Err(error) => return Err(at(root)(error)),
    }
    let database = root.join("store").join(NAME);
    match fs::symlink_metadata(&database) {
        Ok(found) if found.is_file() => Ok(database),
        Ok(_) => Err(foreign("store/messages.db in it is no regular file")),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(at(&database)(error)),
        Err(_) if root.join("data/v2.db").exists() => Err(ImportError::SecondVersion(root.to_owned())),
        Err(_) if root.join("nanoclaw.toml").exists() => Err(foreign("it is a home of this program")),
        Err(_) => Err(foreign("there is no store/messages.db in it")),
    }
}

/// Copies the database with what lies beside it. It is read twice when that takes no longer than anybody needs to write to it.
fn copy_database(root: &Path, database: &Path) -> Result<tempfile::TempDir, ImportError> {
    if let Some((pid, program)) = holder(database) {
        let who = format!("process {pid} ({program}) has its database open");
        return Err(ImportError::InUse { path: root.to_owned(), who });
    }
    let copy = tempfile::Builder::new().prefix("nanoclaw-import-").tempdir().map_err(at(&std::env::temp_dir()))?;
    let before = states(database);
    for ending in ENDINGS {
        let from = beside(database, ending);
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&from);
        let mut file = match open {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !ending.is_empty() => continue,
            other => other.map_err(at(&from))?,
        };
        let to = copy.path().join(format!("{NAME}{ending}"));
        let mut into = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to).map_err(at(&to))?;
        io::copy(&mut file, &mut into).map_err(at(&from))?;
    }
    if states(database) != before {
        let who = "its database changed while it was read".to_owned();
        return Err(ImportError::InUse { path: root.to_owned(), who });
    }
    Ok(copy)
}

/// What a database is made of: itself, its write-ahead log, or its journal.
const ENDINGS: [&str; 3] = ["", "-wal", "-journal"];

fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// How the files of a database stand.
fn states(database: &Path) -> Vec<Option<(u64, u64, i64, i64)>> {
    let state = |found: Metadata| (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
    ENDINGS.map(|ending| fs::metadata(beside(database, ending)).ok().map(state)).into()
}

/// A process that has this file open, and what it is, as far as this user may see.
fn holder(file: &Path) -> Option<(u32, String)> {
    let wanted = fs::metadata(file).ok()?;
    let is_it = |found: &Metadata| found.dev() == wanted.dev() && found.ino() == wanted.ino();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        let Ok(open) = fs::read_dir(process.path().join("fd")) else { continue };
        if open.flatten().any(|descriptor| fs::metadata(descriptor.path()).is_ok_and(|found| is_it(&found))) {
            let program = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((pid, program.trim().to_owned()));
        }
    }
    None
}

/// What `.env` sets; nothing when there is none.
fn env(root: &Path) -> Result<BTreeMap<String, Secret>, ImportError> {
    let file = root.join(".env");
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&file);
    let opened = match open {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.map_err(at(&file))?,
    };
    let text = read_text(opened).map_err(at(&file))?;
    let mut found = BTreeMap::new();
    for line in text.reveal().lines() {
        if let Line::Pair(name, value) = key_and_value(line)
            && !value.is_empty()
        {
            found.insert(name.to_owned(), Secret::new(value));
        }
    }
    Ok(found)
}

fn read_text(file: File) -> io::Result<Secret> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, LONGEST_ENV), &mut text)?;
    Ok(Secret::new(text))
}

fn lists(private: &Path) -> Lists {
    let there = |name: &str| Some(private.join(name)).filter(|path| path.exists());
    Lists { mounts: there("mount-allowlist.json"), senders: there("sender-allowlist.json") }
}

/// What lies in the folder besides its database.
fn look_around(v1: &mut V1) -> Result<(), ImportError> {
    let root = v1.root.clone();
    for name in names_in(&root.join("groups"))? {
        // No other name can be a group's folder. Of `global` one exists, and it has no group.
        if name == "global" || GroupFolder::new(name.as_str()).is_ok() {
            let path = root.join("groups").join(&name);
            if path.is_dir()
                && let Some(tree) = Tree::of(&path, Kind::Memory).map_err(at(&path))?
            {
                v1.memories.insert(name, tree);
            }
        }
    }
    for name in names_in(&root.join("data/sessions"))? {
        if GroupFolder::new(name.as_str()).is_err() {
            continue;
        }
        let folder = root.join("data/sessions").join(&name);
        v1.own_runners |= folder.join("agent-runner-src").is_dir();
        let path = folder.join(".claude");
        if let Some(tree) = Tree::of(&path, Kind::State).map_err(at(&path))? {
            if let Some(session) = v1.sessions.get(&name).filter(|session| is_plain(session))
                && tree.is_usable()
                && fs::symlink_metadata(path.join(PROJECT).join(format!("{session}.jsonl")))
                    .is_ok_and(|found| found.is_file())
            {
                v1.transcripts.insert((name.clone(), session.clone()));
            }
            v1.states.insert(name, tree);
        }
    }
    for name in names_in(&root.join("data/ipc"))? {
        let folder = root.join("data/ipc").join(&name);
        let waiting = |part: &str| -> Result<usize, ImportError> {
            Ok(names_in(&folder.join(part))?.iter().filter(|name| name.ends_with(".json")).count())
        };
        if name == "errors" {
            v1.failed_requests = names_in(&folder)?.len();
        } else {
            let mail = Mail { follow_ups: waiting("input")?, requests: waiting("messages")? + waiting("tasks")? };
            if mail != Mail::default() {
                v1.mail.insert(name, mail);
            }
        }
    }
    v1.whatsapp_login = !names_in(&root.join("store/auth"))?.is_empty();
    v1.own_skills = names_in(&root.join("container/skills"))?;
    v1.own_skills.retain(|name| !SHIPPED_SKILLS.contains(&name.as_str()));
    Ok(())
}

/// Whether it is one plain name, such as those of sessions.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The names in a folder that are text, in order; none when it is not there.
fn names_in(folder: &Path) -> Result<Vec<String>, ImportError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        other => other.map_err(at(folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(at(folder))?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}
