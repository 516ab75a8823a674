//! The credentials file: `KEY=value` lines that its owner alone can read, in a folder that nobody else can write to.
//!
//! It lies outside the home, because homes are mounted into containers in parts.

use std::{
    io::Read as _,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nanoclaw_core::time::Timestamp;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use zeroize::Zeroizing;

use super::{
    Found, Origin,
    kind::{self, CredentialKind},
};
use crate::config::{Environment, Mistake, Place, nearest};

/// The name of the file in its folder.
pub(super) const NAME: &str = "credentials";
const LONGEST_BYTES: u64 = 64 * 1024;

/// A file's text, and since when it is so.
type Text = (Zeroizing<String>, Option<Timestamp>);

/// The folder of what no container may ever see: `$XDG_CONFIG_HOME/nanoclaw`, else `~/.config/nanoclaw`; `None` when
/// neither is known.
#[must_use]
pub fn private_folder(environment: &dyn Environment) -> Option<PathBuf> {
    let configured = environment.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let parent = configured.or_else(|| users_folder(environment))?;
    Some(parent.join("nanoclaw"))
}

/// `~/.config`, whatever `XDG_CONFIG_HOME` says.
pub(crate) fn users_folder(environment: &dyn Environment) -> Option<PathBuf> {
    environment.get("HOME").map(|home| PathBuf::from(home).join(".config"))
}

/// Reads the secrets of the file; nothing when there is no file.
pub(super) fn read(
    environment: &dyn Environment,
    mistakes: &mut Vec<Mistake>,
    remarks: &mut Vec<String>,
) -> Vec<Found> {
    let Some(folder) = private_folder(environment) else { return Vec::new() };
    let path = folder.join(NAME);
    let mut refuse = |message| mistakes.push(Mistake { place: Place::File(path.clone()), key: None, message });
    if let Some(other) = second_file(environment, &path) {
        refuse(format!(
            "there is another credentials file, {}, and which of them is meant cannot be told; remove one",
            other.display()
        ));
        return Vec::new();
    }
    let (text, since) = match open_folder(&folder).and_then(|open| open.map_or(Ok(None), |open| text_of(&open, &path)))
    {
        Ok(Some(found)) => found,
        Ok(None) => return Vec::new(),
        Err(message) => {
            refuse(message);
            return Vec::new();
        }
    };
    parse(&text, &path, since, mistakes, remarks)
}

/// Where `XDG_CONFIG_HOME` leads elsewhere than `~/.config`, and a file lies in both.
fn second_file(environment: &dyn Environment, path: &Path) -> Option<PathBuf> {
    let other = users_folder(environment)?.join("nanoclaw").join(NAME);
    let (first, second) = (path.canonicalize().ok()?, other.canonicalize().ok()?);
    (first != second).then_some(other)
}

/// Opens the file's folder, which nobody but its owner may write to: whoever can could put another file in place.
/// `None` when there is none.
pub(super) fn open_folder(folder: &Path) -> Result<Option<OwnedFd>, String> {
    let shown = folder.display();
    let opened = rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let open = match opened {
        Ok(open) => open,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(format!("its folder {shown} cannot be opened: {error}")),
    };
    let found = rustix::fs::fstat(&open).map_err(|error| format!("its folder {shown} cannot be looked at: {error}"))?;
    let me = rustix::process::geteuid().as_raw();
    if found.st_uid != me && found.st_uid != 0 {
        let owner = found.st_uid;
        return Err(format!("its folder belongs to user {owner}; run `chown {me} {shown}`"));
    }
    if found.st_mode & 0o022 != 0 {
        let mode = found.st_mode & 0o7777;
        return Err(format!("others can write to its folder (mode {mode:04o}); run `chmod 700 {shown}`"));
    }
    Ok(Some(open))
}

/// The text of the file that its owner alone can read, and since when it is so; `None` when there is none. `Err` says what is
/// wrong with it and what to do.
pub(super) fn text_of(folder: &OwnedFd, path: &Path) -> Result<Option<Text>, String> {
    let shown = path.display();
    // Not blocking, so that a FIFO in its place does not hold up the start.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, NAME, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => {
            return Err("it is a symbolic link, whose target others could choose; put the file itself there".to_owned());
        }
        Err(error) => return Err(format!("it cannot be read: {}", std::io::Error::from(error))),
    };
    let metadata = file.metadata().map_err(|error| format!("it cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        return Err(format!("it belongs to user {}; run `chown {me} {shown}`", metadata.uid()));
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(format!("others than its owner can read it (mode {mode:04o}); run `chmod 600 {shown}`"));
    }
    let text = text(file).map_err(|problem| format!("it {problem}"))?;
    Ok(Some((text, since(&metadata))))
}

/// The text of an opened file; `Err` says what is wrong with it.
fn text(file: std::fs::File) -> Result<Zeroizing<String>, String> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = file.take(LONGEST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > LONGEST_BYTES {
        return Err("is longer than 64 KiB, which no file of credentials is".to_owned());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "is not UTF-8".to_owned())?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The text of a file that somebody else answers for (systemd), and since when it is so.
pub(super) fn trusted_text(path: &Path) -> Result<Text, String> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let file = options.open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let metadata = file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    Ok((text(file)?, since(&metadata)))
}

fn since(metadata: &std::fs::Metadata) -> Option<Timestamp> {
    let age = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(age.as_millis()).ok().map(Timestamp::from_ms)
}

fn parse(
    text: &str,
    path: &Path,
    since: Option<Timestamp>,
    mistakes: &mut Vec<Mistake>,
    remarks: &mut Vec<String>,
) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = Place::Line { file: path.to_owned(), line: index + 1 };
        let (name, value) = match key_and_value(line) {
            Line::Nothing => continue,
            Line::Pair(name, value) => (name, value),
            Line::Torn => {
                // The line is not repeated: it may be a credential that was pasted without its key.
                let message = "the line is not KEY=value".to_owned();
                mistakes.push(Mistake { place, key: None, message });
                continue;
            }
        };
        if !kind::is_name(name) {
            // Not repeated either.
            let message = "what stands before = is no name of capital letters, digits and _".to_owned();
            mistakes.push(Mistake { place, key: None, message });
            continue;
        }
        if let Some(first) = found.iter().find(|found| found.name == name) {
            let message = format!("{name} stands at {} already; remove one of them", first.origin);
            mistakes.push(Mistake { place, key: Some(name.to_owned()), message });
            continue;
        }
        match kind::checked(value) {
            Ok(secret) => {
                if let Some(near) = misspelt(name) {
                    remarks.push(format!(
                        "{place}: {name} is kept for whoever asks for it by this name; did you mean {near}?"
                    ));
                }
                let origin = Origin::File { file: path.to_owned(), line: index + 1 };
                found.push(Found { name: name.to_owned(), secret, origin, since });
            }
            Err(problem) => {
                let message = format!("{name} {problem}");
                mistakes.push(Mistake { place, key: Some(name.to_owned()), message });
            }
        }
    }
    found
}

/// One line of the file.
pub(crate) enum Line<'a> {
    /// Empty, or a comment.
    Nothing,
    /// A name and its value, without the quotes around it.
    Pair(&'a str, &'a str),
    /// Something else.
    Torn,
}

pub(crate) fn key_and_value(line: &str) -> Line<'_> {
    let line = line.trim();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    if line.is_empty() || line.starts_with('#') {
        return Line::Nothing;
    }
    match line.split_once('=') {
        Some((key, value)) => Line::Pair(key.trim(), unquoted(value.trim())),
        None => Line::Torn,
    }
}

/// One pair of quotes around a value is not part of it; a lone quote is (fault F72: values of one character).
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    value
}

/// The name of a model credential that is likely to be meant by this one.
pub(super) fn misspelt(name: &str) -> Option<&'static str> {
    if CredentialKind::of_variable(name).is_some() || of_a_channel(name) {
        return None;
    }
    nearest(name, CredentialKind::ALL.map(CredentialKind::variable))
}

/// The names of channels' tokens, which may lie in the same file.
fn of_a_channel(key: &str) -> bool {
    ["TELEGRAM_", "SLACK_", "DISCORD_", "ONECLI_"].iter().any(|prefix| key.starts_with(prefix))
}
