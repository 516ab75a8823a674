//! A file that an agent wants to have sent: found in its group's folder without trust, opened, and held.
//!
//! The agent can write in that folder at any moment. So the way there is walked from the folder's handle, a name at a time and
//! through no link, and what was opened is what is looked at.

use std::{fs::File, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
};

use super::{Folder, MailboxError, names::Names};

/// How many bytes of a file tell its type.
pub const TELLING_BYTES: usize = 8192;
/// How many names a path may have.
const MOST_NAMES: usize = 64;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FileRefused {
    /// The path leads out of the folder, or is none.
    #[error("{0}")]
    BadPath(&'static str),
    /// There is nothing.
    #[error("there is no such file in the group's folder")]
    NotThere,
    /// A link stands in its place, or on the way.
    #[error("a link is not followed; name the file itself, or copy it into the group's folder")]
    Link,
    /// A folder, FIFO, socket or device.
    #[error("it is not a regular file")]
    NotRegular,
    /// A file that has another name besides: it may be somebody else's.
    #[error("it has several names (hard links); make a copy of it and send that")]
    SeveralNames,
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// There is too much in it.
    #[error("it has {bytes} bytes; a file that is sent may have {most}")]
    TooLarge {
        /// How much.
        bytes: u64,
        /// How much may be.
        most: u64,
    },
    /// The system will not have it.
    #[error("it cannot be opened: {0}")]
    Unreadable(std::io::Error),
    /// The group's folder itself cannot be opened.
    #[error(transparent)]
    Folder(#[from] MailboxError),
}

/// A file of a group's folder.
#[derive(Debug)]
pub struct GroupFile {
    /// The file, open for reading.
    pub file: File,
    /// Its own name, without the way to it.
    pub name: String,
    /// How many bytes it had when it was opened.
    pub bytes: u64,
    /// Its type by what is in it, never by its name: `image/png`; `text/plain` for what is text, and
    /// `application/octet-stream` for what nobody knows.
    pub media_type: &'static str,
}

impl GroupFile {
    /// Opens `path`, which is relative to the group's folder `group`, a regular file of 1 to `most` bytes.
    ///
    /// # Errors
    /// [`FileRefused`].
    pub fn open(group: &Path, path: &str, most: u64) -> Result<Self, FileRefused> {
        let names = names(path)?;
        let (name, way) = names.split_last().ok_or(FileRefused::BadPath("no file is named"))?;
        let mut folder = Folder::open(group)?.handle;
        for name in way {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            folder = open(&folder, name, flags)?;
        }
        // Without blocking, because opening a FIFO waits for its other end (fault F49).
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = open(&folder, name, flags)?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| FileRefused::Unreadable(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FileRefused::NotRegular);
        }
        match Names::of(&folder, name, &file, &stat) {
            Names::Own => {}
            Names::Several => return Err(FileRefused::SeveralNames),
            Names::Gone => return Err(FileRefused::NotThere),
        }
        let bytes = u64::try_from(stat.st_size).unwrap_or_default();
        match bytes {
            0 => return Err(FileRefused::Empty),
            bytes if bytes > most => return Err(FileRefused::TooLarge { bytes, most }),
            _ => {}
        }
        let file = File::from(file);
        let media_type = media_type(&beginning(&file)?);
        Ok(Self { file, name: (*name).to_owned(), bytes, media_type })
    }
}

fn names(path: &str) -> Result<Vec<&str>, FileRefused> {
    if path.starts_with('/') {
        return Err(FileRefused::BadPath("only files of the group's own folder, /workspace/group, can be sent"));
    }
    if path.contains('\0') || path.len() > 4096 {
        return Err(FileRefused::BadPath("the path is none"));
    }
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.contains(&"..") {
        return Err(FileRefused::BadPath("a path may not lead upwards (..)"));
    }
    if names.len() > MOST_NAMES {
        return Err(FileRefused::BadPath("the path is too long"));
    }
    Ok(names)
}

fn open(folder: &OwnedFd, name: &str, flags: OFlags) -> Result<OwnedFd, FileRefused> {
    rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP => FileRefused::Link,
        // A link that is to be a folder is this as well.
        Errno::NOTDIR if is_link(folder, name) => FileRefused::Link,
        Errno::NOENT | Errno::NOTDIR => FileRefused::NotThere,
        Errno::NXIO | Errno::NODEV => FileRefused::NotRegular,
        errno => FileRefused::Unreadable(errno.into()),
    })
}

fn is_link(folder: &OwnedFd, name: &str) -> bool {
    rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

fn beginning(file: &File) -> Result<Vec<u8>, FileRefused> {
    let mut bytes = vec![0; TELLING_BYTES];
    // At its place, so that whoever sends the file begins at its beginning.
    let read = std::os::unix::fs::FileExt::read_at(file, &mut bytes, 0).map_err(FileRefused::Unreadable)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The type of a file by what is in it, of which [`TELLING_BYTES`] tell: `image/png`; `text/plain` for what is text, and
/// `application/octet-stream` for what nobody knows.
#[must_use]
pub fn media_type(beginning: &[u8]) -> &'static str {
    if let Some(known) = infer::get(beginning) {
        return known.mime_type();
    }
    // The last character may be cut.
    let text = match std::str::from_utf8(beginning) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    if text && !beginning.contains(&0) { "text/plain" } else { "application/octet-stream" }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const MOST: u64 = 1000;

    fn group() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("group/reports")).unwrap();
        std::fs::write(folder.path().join("secret"), "root's own").unwrap();
        folder
    }

    #[track_caller]
    fn refused(folder: &tempfile::TempDir, path: &str, part: &str) {
        let error = GroupFile::open(&folder.path().join("group"), path, MOST).unwrap_err().to_string();
        assert!(error.contains(part), "{path}: {error}");
    }

    #[test]
    fn a_file_of_the_group_is_opened_and_its_type_is_told_by_what_is_in_it() {
        let folder = group();
        let group = folder.path().join("group");
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        for (name, content, expected) in [
            ("reports/a.txt", &png[..], "image/png"),
            ("b.png", b"just words, and an e with an accent: \xc3", "text/plain"),
            ("c", b"\0\x01\x02\xff", "application/octet-stream"),
            ("d.pdf", b"%PDF-1.7\n", "application/pdf"),
        ] {
            std::fs::write(group.join(name), content).unwrap();
            let found = GroupFile::open(&group, name, MOST).unwrap();
            assert_eq!((found.media_type, found.bytes), (expected, content.len() as u64), "{name}");
            assert_eq!(std::io::read_to_string(found.file).is_ok(), std::str::from_utf8(content).is_ok());
        }
        assert_eq!(GroupFile::open(&group, "./reports//a.txt", MOST).unwrap().name, "a.txt");
    }

    #[test]
    fn f54_a_path_out_of_the_groups_folder_is_refused() {
        let folder = group();
        for path in ["../secret", "reports/../../secret", ".."] {
            refused(&folder, path, "upwards");
        }
        refused(&folder, "/etc/passwd", "own folder");
        refused(&folder, "", "no file is named");
        refused(&folder, "./", "no file is named");
        refused(&folder, "a\0b", "is none");
        refused(&folder, &"a/".repeat(100), "too long");
        refused(&folder, "none", "no such file");
    }

    #[test]
    fn f54_no_link_is_followed_in_its_place_or_on_the_way() {
        let folder = group();
        let group = folder.path().join("group");
        symlink("../secret", group.join("link")).unwrap();
        symlink("..", group.join("up")).unwrap();
        symlink("reports", group.join("inside")).unwrap();
        std::fs::write(group.join("reports/a"), "a").unwrap();
        for path in ["link", "up/secret", "inside/a"] {
            refused(&folder, path, "a link is not followed");
        }
        std::fs::hard_link(folder.path().join("secret"), group.join("hard")).unwrap();
        refused(&folder, "hard", "several names");
        symlink(&group, folder.path().join("swapped")).unwrap();
        let swapped = GroupFile::open(&folder.path().join("swapped"), "reports/a", MOST).unwrap_err();
        assert!(matches!(swapped, FileRefused::Folder(_)), "{swapped}");
    }

    #[test]
    fn what_is_no_file_is_refused_and_waited_for_by_nobody() {
        let folder = group();
        let group = folder.path().join("group");
        rustix::fs::mknodat(rustix::fs::CWD, group.join("fifo"), FileType::Fifo, 0o600.into(), 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(group.join("socket")).unwrap();
        for path in ["fifo", "socket", "reports"] {
            refused(&folder, path, "not a regular file");
        }
        refused(&folder, "fifo/a", "no such file");
    }

    #[test]
    fn an_empty_file_and_one_that_is_too_large_are_refused() {
        let folder = group();
        std::fs::write(folder.path().join("group/empty"), "").unwrap();
        refused(&folder, "empty", "is empty");
        std::fs::write(folder.path().join("group/large"), vec![b'x'; 1001]).unwrap();
        refused(&folder, "large", "1001 bytes; a file that is sent may have 1000");
    }
}
