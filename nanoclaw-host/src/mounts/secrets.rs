//! Finds what looks like a secret by its name in a folder that is held open. Bounded, follows no link out of it, and never
//! opens a file.

use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nanoclaw_core::mounts::{Kind, secrets};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat};

use super::open::{Opened, by_number};

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Entries looked at.
    pub entries: usize,
    /// Time taken.
    pub time: Duration,
    /// Finds.
    pub found: usize,
}

impl Bounds {
    /// While a person waits for an answer.
    pub const OF_A_CHECK: Self = Self { entries: 50_000, time: Duration::from_secs(2), found: 1000 };
    /// Before a container starts: what is found is covered, a mount each, and what is not found is shown.
    pub const OF_A_START: Self = Self { entries: 500_000, time: Duration::from_secs(5), found: 200 };
}

/// What looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hidden {
    /// Where, from the top of the search.
    pub path: PathBuf,
    /// Whether it is a folder; what is in it is not looked at then.
    pub folder: bool,
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Search {
    /// In the order of their paths.
    pub found: Vec<Hidden>,
    /// Why it did not get to its end; `None` when it saw everything.
    pub gave_up: Option<String>,
}

/// Searches the folder `top`, without looking at what `skip` names (paths from the top) and what is in it. Nothing is found
/// in a file.
pub fn search(top: &Opened, bounds: Bounds, skip: impl Fn(&Path) -> bool) -> Search {
    let mut search = Search::default();
    if top.found.kind != Kind::Folder {
        return search;
    }
    let (until, secret) = (Instant::now() + bounds.time, secrets());
    let mut seen = 0;
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = match entries(top, &folder) {
            Ok(entries) => entries,
            // It was removed meanwhile; or who may not look into it will not be the container's user either.
            Err(_) => continue,
        };
        for (name, kind) in entries {
            seen += 1;
            if seen > bounds.entries || (seen % 256 == 0 && Instant::now() > until) {
                search.gave_up = Some(format!(
                    "it has more than can be looked through ({} entries in {:?} were seen)",
                    seen - 1,
                    bounds.time
                ));
                search.found.sort();
                return search;
            }
            let path = folder.join(name);
            if skip(&path) {
                continue;
            }
            match (secret(&path), kind) {
                (true, FileType::Symlink) => search.found.extend(led_to(top, &path)),
                (true, kind) => search.found.push(Hidden { path, folder: kind == FileType::Directory }),
                (false, FileType::Directory) => folders.push(path),
                (false, _) => {}
            }
            if search.found.len() > bounds.found {
                search.gave_up = Some(format!("it has more than {} of them", bounds.found));
                search.found.sort();
                return search;
            }
        }
    }
    search.found.sort();
    search.found.dedup();
    search
}

/// The names in a folder below `top`, reached without following a link.
fn entries(top: &Opened, folder: &Path) -> rustix::io::Result<Vec<(PathBuf, FileType)>> {
    use std::os::unix::ffi::OsStrExt as _;
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat2(top, here, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?;
    let mut found = Vec::new();
    for entry in Dir::read_from(&opened)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Not every file system says.
            FileType::Unknown => match statat(&opened, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(_) => continue,
            },
            kind => kind,
        };
        found.push((PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes())), kind));
    }
    Ok(found)
}

/// What a link that is named like a secret leads to, when that is below `top`; a link itself cannot be covered.
fn led_to(top: &Opened, link: &Path) -> Option<Hidden> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened = openat2(top.as_fd(), link, flags, Mode::empty(), resolve).ok()?;
    let real = std::fs::read_link(by_number(&opened)).ok()?;
    let path = real.strip_prefix(&top.found.path).ok().filter(|path| !path.as_os_str().is_empty())?.to_owned();
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&opened).ok()?.st_mode);
    Some(Hidden { path, folder: kind == FileType::Directory })
}
