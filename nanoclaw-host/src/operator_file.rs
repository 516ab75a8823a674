//! Files in which the operator says what is allowed, in `~/.config/nanoclaw/`: read so that nobody else can have written them,
//! and without any key that nobody knows; and written so that nobody reads half of one.

use std::{
    fs::{File, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use serde_json::{Map, Value};

use crate::config::nearest;

/// Longer than any list that a person keeps.
const MOST_BYTES: u64 = 1 << 20;

/// The file's text, if it is one that nobody else can write; `None` when there is none. `Err` says what is wrong and, where
/// there is one, the command that mends it; it does not name the file.
pub(crate) fn text(file: &Path) -> Result<Option<String>, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
    // Not blocking, so that a FIFO in its place does not hold anybody up.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(file);
    let opened = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return match file.symlink_metadata() {
                Ok(_) => Err("it is a link that leads nowhere".to_owned()),
                Err(_) => Ok(None),
            };
        }
        other => other.map_err(unreadable)?,
    };
    let metadata = opened.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    refuse_others(file, &metadata)?;
    // Whoever can write the folder can put another file there.
    let folder = file.parent().unwrap_or(Path::new("/"));
    refuse_others(folder, &std::fs::metadata(folder).map_err(unreadable)?)?;
    let mut bytes = Vec::new();
    opened.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err("it is longer than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map(Some).map_err(|_| "it is not UTF-8".to_owned())
}

/// Writes the whole of `file`, whose folder is there, by another file beside it and a rename, so that nobody ever reads half of it. It is of
/// `mode` then, but for what the process's mask takes from that.
pub(crate) fn replace(file: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut new = tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(folder)?;
    new.write_all(text)?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

fn refuse_others(path: &Path, metadata: &std::fs::Metadata) -> Result<(), String> {
    let me = rustix::process::geteuid().as_raw();
    let shown = path.display();
    if metadata.uid() != me && metadata.uid() != 0 {
        return Err(format!("{shown} belongs to another user; run `chown {me} {shown}`"));
    }
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(format!("others than its owner can write {shown} (mode {mode:04o}); run `chmod go-w {shown}`"));
    }
    Ok(())
}

/// A flag of `object`, `default` when it is left out.
pub(crate) fn flag(object: &Map<String, Value>, key: &str, default: bool) -> Result<bool, String> {
    match object.get(key) {
        None => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(format!("{key:?} must be true or false")),
    }
}

/// The object that `value` is, if it has no other keys than these; `what` is what it is to a person.
pub(crate) fn object<'v>(value: &'v Value, what: &str, keys: &[&str]) -> Result<&'v Map<String, Value>, String> {
    let Value::Object(object) = value else { return Err(format!("{what} must be an object with {}", keys.join(", "))) };
    for key in object.keys() {
        if !keys.contains(&key.as_str()) {
            let hint = match nearest(key, keys.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("there are {}", keys.join(", ")),
            };
            return Err(format!("{what} has no key {key:?}; {hint}"));
        }
    }
    Ok(object)
}
