//! The files in which agents keep their conversations. They lie where agents write, so they are found, read and removed by handle, and no link
//! is followed.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nanoclaw_core::{session::SessionId, time::Timestamp};
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags},
    io::Errno,
};

use crate::held_folder::{names, open_folder};

/// Where a provider has a file for each conversation, below the agent's home: the offline one, the native one, and Claude Code, which has a folder
/// for each place that it works in.
const PLACES: [(&str, bool); 3] = [(".claude/offline", false), (".claude/native", false), (".claude/projects", true)];
/// The most of those places that are looked through: an agent has one, and can make as many as it likes.
const MOST_PROJECTS: usize = 1000;

/// One file with a conversation, as lines of JSON.
#[derive(Debug)]
pub(crate) struct Transcript {
    /// Where it is, for people.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// When it was last written to.
    pub(crate) changed: Timestamp,
    folder: OwnedFd,
    name: CString,
}

/// The files of a conversation below the agent's home at `home`; none when it has none.
///
/// # Errors
/// The system's, other than that something is not there.
pub(crate) fn find(home: &Path, session: &SessionId) -> io::Result<Vec<Transcript>> {
    // An agent names its session itself.
    let Some(name) = file_name(session) else { return Ok(Vec::new()) };
    let Some(home_folder) = there(open_folder(CWD, home))? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (place, has_projects) in PLACES {
        let Some((folder, path)) = walk(&home_folder, home, place)? else { continue };
        if !has_projects {
            found.extend(transcript(folder, path, &name)?);
            continue;
        }
        for project in names(&folder, MOST_PROJECTS)? {
            if let Some(inner) = there(open_folder(&folder, &*project))? {
                found.extend(transcript(inner, path.join(&*project.to_string_lossy()), &name)?);
            }
        }
    }
    Ok(found)
}

impl Transcript {
    /// Opens it to be read.
    ///
    /// # Errors
    /// The system's; that a link or something else than a file is there now is one.
    pub(crate) fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.folder, &*self.name, flags, Mode::empty())?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is no file any more")),
        }
    }

    /// Removes it. That it is gone is fine.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.folder, &*self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// `None` for what names no file of one folder.
fn file_name(session: &SessionId) -> Option<CString> {
    let plain = !session.as_str().contains('/') && !session.as_str().starts_with('.');
    plain.then(|| CString::new(format!("{session}.jsonl")).ok()).flatten()
}

fn walk(home: &OwnedFd, path: &Path, place: &str) -> io::Result<Option<(OwnedFd, PathBuf)>> {
    let (mut folder, mut path) = (home.try_clone()?, path.to_owned());
    for part in place.split('/') {
        let Some(next) = there(open_folder(&folder, part))? else { return Ok(None) };
        (folder, path) = (next, path.join(part));
    }
    Ok(Some((folder, path)))
}

fn transcript(folder: OwnedFd, path: PathBuf, name: &CString) -> io::Result<Option<Transcript>> {
    let Some(stat) = there(rustix::fs::statat(&folder, &**name, AtFlags::SYMLINK_NOFOLLOW))? else { return Ok(None) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    Ok(Some(Transcript {
        path: path.join(&*name.to_string_lossy()),
        bytes: u64::try_from(stat.st_size).unwrap_or(0),
        changed: Timestamp::from_ms(stat.st_mtime.saturating_mul(1000)),
        folder,
        name: name.clone(),
    }))
}

/// `None` for what is not there, or is something else than was wanted: a link, a file in a folder's place.
fn there<T>(found: Result<T, Errno>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn session(id: &str) -> SessionId {
        SessionId::new(id).unwrap()
    }

    #[test]
    fn a_conversation_is_found_wherever_a_provider_keeps_it_and_nothing_by_a_link() {
        let home = tempfile::tempdir().unwrap();
        let claude = home.path().join(".claude");
        for (folder, name) in [("projects/-workspace-group", "a"), ("native", "b"), ("offline", "c")] {
            fs::create_dir_all(claude.join(folder)).unwrap();
            fs::write(claude.join(folder).join(format!("{name}.jsonl")), name).unwrap();
        }
        let outside = home.path().join("outside.jsonl");
        fs::write(&outside, "secret").unwrap();
        symlink(&outside, claude.join("native/link.jsonl")).unwrap();
        symlink(home.path(), claude.join("projects/link")).unwrap();
        for (id, found) in [("a", "a"), ("b", "b"), ("c", "c"), ("d", ""), ("link", ""), ("outside", "")] {
            let files = find(home.path(), &session(id)).unwrap();
            let texts: Vec<_> = files.iter().map(|file| io::read_to_string(file.open().unwrap()).unwrap()).collect();
            assert_eq!(texts.concat(), found, "{id}");
        }
        for id in ["../outside", "..", ".", "/etc/passwd"] {
            assert!(find(home.path(), &session(id)).unwrap().is_empty(), "{id}");
        }
        let file = find(home.path(), &session("b")).unwrap().remove(0);
        assert_eq!((file.bytes, file.path.as_path()), (1, &*claude.join("native/b.jsonl")));
        file.remove().unwrap();
        file.remove().unwrap();
        assert!(find(home.path(), &session("b")).unwrap().is_empty());
        assert!(find(&home.path().join("nowhere"), &session("b")).unwrap().is_empty());
    }

    #[test]
    fn what_has_become_a_link_since_it_was_found_is_not_read() {
        let home = tempfile::tempdir().unwrap();
        let native = home.path().join(".claude/native");
        fs::create_dir_all(&native).unwrap();
        fs::write(native.join("a.jsonl"), "a").unwrap();
        let file = find(home.path(), &session("a")).unwrap().remove(0);
        fs::remove_file(native.join("a.jsonl")).unwrap();
        symlink("/etc/passwd", native.join("a.jsonl")).unwrap();
        assert!(file.open().is_err());
    }
}
