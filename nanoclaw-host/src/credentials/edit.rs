//! Writes the credentials file: one line of it at a time, in one step, and everything else in it stays.

use std::{
    fmt::Write as _,
    io::Write as _,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use nanoclaw_core::secret::Secret;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use zeroize::Zeroizing;

use super::file::{self, Line, key_and_value};
use crate::config::Environment;

/// The credentials file could not be changed; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Nothing says where it is.
    #[error("it is not known where the credentials file is: neither XDG_CONFIG_HOME nor HOME is set")]
    NoPlace,
    /// It is not fit to be used.
    #[error("the credentials file {path:?} is not used: {problem}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// The system refused.
    #[error("failed to {action} {path:?}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

/// What became of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The file.
    pub path: PathBuf,
    /// Whether the name was in it before.
    pub was_there: bool,
}

/// Stores `secret` under `name`, which must be a [name](super::is_name); makes file and folder where they are missing.
///
/// # Errors
/// [`EditError`]; the file is as it was.
pub fn set(environment: &dyn Environment, name: &str, secret: &Secret) -> Result<Edited, EditError> {
    let path = place(environment)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    if !folder.exists() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| EditError::Io { action: "make the folder", path: folder.to_owned(), source })?;
    }
    change(&path, |text| Some(with_line(text, name, Some(secret)))).map(|was| Edited { was_there: was, path })
}

/// Takes the line of `name` out of the file.
///
/// # Errors
/// [`EditError`]; the file is as it was.
pub fn remove(environment: &dyn Environment, name: &str) -> Result<Edited, EditError> {
    let path = place(environment)?;
    let was_there = change(&path, |text| {
        let (changed, was_there) = with_line(text, name, None);
        was_there.then_some((changed, true))
    })?;
    Ok(Edited { path, was_there })
}

fn place(environment: &dyn Environment) -> Result<PathBuf, EditError> {
    file::private_folder(environment).map(|folder| folder.join(file::NAME)).ok_or(EditError::NoPlace)
}

/// Replaces the file by what `edit` makes of it, unless that is `None`; returns what `edit` says besides.
fn change(path: &Path, edit: impl FnOnce(&str) -> Option<(Zeroizing<String>, bool)>) -> Result<bool, EditError> {
    let refused = |problem| EditError::Refused { path: path.to_owned(), problem };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let Some(open) = file::open_folder(folder).map_err(refused)? else { return Ok(false) };
    let failed = |action| {
        move |source: rustix::io::Errno| EditError::Io { action, path: path.to_owned(), source: source.into() }
    };
    // Two who change it at once do so one after the other.
    rustix::fs::flock(&open, FlockOperation::LockExclusive).map_err(failed("lock the folder of"))?;
    let text = file::text_of(&open, path).map_err(refused)?.map(|(text, _)| text).unwrap_or_default();
    let Some((changed, was_there)) = edit(&text) else { return Ok(false) };
    let temporary = format!(".{}.{}.new", file::NAME, std::process::id());
    let written = write(&open, &temporary, &changed)
        .and_then(|()| rustix::fs::renameat(&open, &temporary, &open, file::NAME).map_err(std::io::Error::from))
        .and_then(|()| rustix::fs::fsync(&open).map_err(std::io::Error::from));
    written.map_err(|source| {
        // Gone already when only the last step failed.
        let _ = rustix::fs::unlinkat(&open, &temporary, AtFlags::empty());
        EditError::Io { action: "write", path: path.to_owned(), source }
    })?;
    Ok(was_there)
}

fn write(folder: &OwnedFd, name: &str, text: &str) -> std::io::Result<()> {
    // What an earlier process of the same number left behind.
    let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = std::fs::File::from(file);
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// `text` with the line of `name` replaced, appended, or taken out; and whether there was one.
fn with_line(text: &str, name: &str, secret: Option<&Secret>) -> (Zeroizing<String>, bool) {
    let value = secret.map(|secret| Zeroizing::new(quoted(secret.reveal())));
    let mut changed = Zeroizing::new(String::with_capacity(text.len() + 512));
    let mut value = value.as_deref();
    let mut was_there = false;
    for line in text.lines() {
        if matches!(key_and_value(line), Line::Pair(key, _) if key == name) {
            was_there = true;
            // Of several lines of the name, one stays.
            if let Some(value) = value.take() {
                let _ = writeln!(*changed, "{name}={value}");
            }
        } else {
            changed.push_str(line);
            changed.push('\n');
        }
    }
    if let Some(value) = value {
        let _ = writeln!(*changed, "{name}={value}");
    }
    (changed, was_there)
}

/// The value as it is read back: what has quotes around it, which reading takes off, is given others.
fn quoted(value: &str) -> String {
    let has = |quote: char| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
    if has('"') {
        format!("'{value}'")
    } else if has('\'') {
        format!("\"{value}\"")
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::environment_of;

    fn user() -> (tempfile::TempDir, impl Environment + use<>, PathBuf) {
        let user = tempfile::tempdir().unwrap();
        let environment = environment_of([("HOME", user.path().to_str().unwrap())]);
        let file = user.path().join(".config/nanoclaw/credentials");
        (user, environment, file)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_first_secret_makes_a_private_file_in_a_private_folder() {
        let (_user, environment, file) = user();
        let edited = set(&environment, "ANTHROPIC_API_KEY", &Secret::new("k")).unwrap();
        assert_eq!(edited, Edited { path: file.clone(), was_there: false });
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "ANTHROPIC_API_KEY=k\n");
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn other_lines_and_comments_stay_and_of_several_lines_one_is_left() {
        let (_user, environment, file) = user();
        set(&environment, "A", &Secret::new("1")).unwrap();
        std::fs::write(&file, "# mine\nexport B=2\n\nwhat is this\nA=1\nB=3").unwrap();
        assert!(set(&environment, "B", &Secret::new("new")).unwrap().was_there);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine\nB=new\n\nwhat is this\nA=1\n");
        assert!(remove(&environment, "A").unwrap().was_there);
        assert!(!remove(&environment, "A").unwrap().was_there);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine\nB=new\n\nwhat is this\n");
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing temporary is left");
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let (_user, environment, _) = user();
        for value in ["x", "\"", "'", "\"y\"", "'y'", "a=b", "#c", "=", "\"'"] {
            set(&environment, "KEY", &Secret::new(value)).unwrap();
            let found = file::read(&environment, &mut Vec::new(), &mut Vec::new());
            assert_eq!(found[0].secret.reveal(), value);
        }
    }

    #[test]
    fn a_file_that_is_not_private_is_not_written_to() {
        let (_user, environment, file) = user();
        set(&environment, "A", &Secret::new("1")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = set(&environment, "B", &Secret::new("TOPSECRET")).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains("SECRET"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "A=1\n");
    }

    #[test]
    fn of_many_who_write_at_once_none_loses_what_another_wrote() {
        let (_user, environment, file) = user();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let environment = &environment;
                scope.spawn(move || set(environment, &format!("KEY_{number}"), &Secret::new("v")).unwrap());
            }
        });
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 8);
    }
}
