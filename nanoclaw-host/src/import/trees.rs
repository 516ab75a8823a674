//! Folders that agents of v1 wrote into: looked through, and copied, by handles of folders. No link is followed, and none is copied
//! that could lead out of its tree.

use std::{
    ffi::{CStr, OsStr},
    fs::{self, DirBuilder, File, FileTimes, OpenOptions, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt as _,
            fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
        },
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, FileType, Mode, OFlags},
    io::Errno,
};

use crate::{
    held_folder::{names, open_folder},
    home,
    remove_tree::remove_tree,
};

/// How deep a tree is copied.
const DEEPEST: usize = 128;
/// How many of what is left out is named.
const MOST_NAMED: usize = 20;

/// What a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A group's folder.
    Memory,
    /// The `.claude` of an agent's home: its sessions.
    State,
}

/// A tree that was looked through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// Where it is.
    pub path: PathBuf,
    /// How many files are in it.
    pub files: u64,
    /// How long they are together.
    pub bytes: u64,
    /// What is not copied of it, by its place in it, and why; the first twenty. An empty place is the tree itself.
    pub left_out: Vec<(PathBuf, &'static str)>,
    /// How many more of those there are.
    pub left_out_besides: u64,
}

impl Tree {
    /// Looks through the tree at `path`; `None` when it is not there.
    ///
    /// # Errors
    /// The system's.
    pub fn of(path: &Path, kind: Kind) -> io::Result<Option<Self>> {
        let mut tree = Self { path: path.to_owned(), ..Self::default() };
        match open_folder(CWD, path) {
            Ok(top) => walk(&top, kind, &mut |place, entry| {
                match entry {
                    Entry::File { bytes, .. } => {
                        tree.files += 1;
                        tree.bytes += bytes;
                    }
                    Entry::LeftOut(why) => tree.leave_out(place, why),
                    Entry::Folder { .. } | Entry::Link { .. } => {}
                }
                Ok(())
            })?,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => tree.leave_out(Path::new(""), "it is a link, or no folder"),
            Err(Errno::ACCESS) => tree.leave_out(Path::new(""), UNREADABLE),
            Err(errno) => return Err(errno.into()),
        }
        Ok(Some(tree))
    }

    fn leave_out(&mut self, place: &Path, why: &'static str) {
        match self.left_out.len() < MOST_NAMED {
            true => self.left_out.push((place.to_owned(), why)),
            false => self.left_out_besides += 1,
        }
    }

    /// Whether it can be copied at all.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.left_out.iter().all(|(place, _)| !place.as_os_str().is_empty())
    }
}

/// Whether nothing is at `to` that a tree of this kind would replace: nothing, or what a home was made with.
///
/// # Errors
/// The system's.
pub(super) fn is_free(to: &Path, kind: Kind) -> io::Result<bool> {
    let found = match fs::symlink_metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    if !found.is_dir() {
        return Ok(false);
    }
    let entries: Vec<_> = fs::read_dir(to)?.take(2).collect::<Result<_, _>>()?;
    Ok(match &*entries {
        [] => true,
        [one] => kind == Kind::Memory && one.file_name() == MEMORY && home::is_first_memory(&one.path()),
        _ => false,
    })
}

const MEMORY: &str = "CLAUDE.md";

/// Copies the tree at `from` to `to`, which appears in one step, if that [is free](is_free); else nothing is done. Times of files stay.
///
/// # Errors
/// The system's; then there is no `to`, or what was there before.
pub(super) fn bring(from: &Path, to: &Path, kind: Kind) -> io::Result<()> {
    if !is_free(to, kind)? {
        return Ok(());
    }
    let folder = to.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let mut name = OsStr::new(".importing-").to_owned();
    name.push(to.file_name().unwrap_or_default());
    let unfinished = folder.join(name);
    // What an import that died has left.
    remove_tree(&unfinished)?;
    copy(from, &unfinished, kind).inspect_err(|_| {
        let _ = remove_tree(&unfinished);
    })?;
    rustix::fs::syncfs(open_folder(CWD, &unfinished)?)?;
    if to.exists() {
        // The first memory file alone, or nothing.
        remove_tree(to)?;
    }
    fs::rename(&unfinished, to)?;
    File::open(folder)?.sync_all()
}

fn copy(from: &Path, to: &Path, kind: Kind) -> io::Result<()> {
    let top = open_folder(CWD, from)?;
    DirBuilder::new().mode(0o700).create(to)?;
    // Writable until all is in them.
    let mut modes = vec![(to.to_owned(), if kind == Kind::Memory { 0o755 } else { 0o700 })];
    walk(&top, kind, &mut |place, entry| {
        let path = to.join(place);
        match entry {
            Entry::Folder { mode } => {
                DirBuilder::new().mode(0o700).create(&path)?;
                modes.push((path, mode | 0o700));
            }
            Entry::Link { target } => symlink(target, &path)?,
            Entry::File { folder, name, mode, .. } => copy_file(folder, name, &path, mode)?,
            Entry::LeftOut(_) => {}
        }
        Ok(())
    })?;
    for (path, mode) in modes.into_iter().rev() {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn copy_file(folder: &OwnedFd, name: &CStr, to: &Path, mode: u32) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut from = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
    let found = from.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other(format!("{} became something else meanwhile", to.display())));
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut from, &mut file)?;
    file.set_permissions(Permissions::from_mode(mode | 0o600))?;
    // Claude Code removes conversations by their age.
    file.set_times(FileTimes::new().set_modified(found.modified()?))
}

/// What is met on a walk.
enum Entry<'a> {
    Folder { mode: u32 },
    File { folder: &'a OwnedFd, name: &'a CStr, mode: u32, bytes: u64 },
    Link { target: &'a Path },
    LeftOut(&'static str),
}

const UNREADABLE: &str = "this user cannot read it";

/// Shows everything below `top` to `visit` with its place there, a folder before what is in it, names in order.
fn walk(top: &OwnedFd, kind: Kind, visit: &mut impl FnMut(&Path, Entry<'_>) -> io::Result<()>) -> io::Result<()> {
    walk_folder(top, Path::new(""), kind, 0, visit)
}

fn walk_folder(
    folder: &OwnedFd,
    place: &Path,
    kind: Kind,
    depth: usize,
    visit: &mut impl FnMut(&Path, Entry<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut all = names(folder, usize::MAX)?;
    all.sort();
    for name in all {
        let here = place.join(OsStr::from_bytes(name.to_bytes()));
        if kind == Kind::State && here == Path::new(".credentials.json") {
            visit(&here, Entry::LeftOut("it is a credential, which no container is given"))?;
            continue;
        }
        let stat = match rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let mode = stat.st_mode & 0o777;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth + 1 >= DEEPEST => {
                visit(&here, Entry::LeftOut("it is deeper than 128 folders"))?;
            }
            FileType::Directory => match open_folder(folder, &*name) {
                Ok(below) => {
                    visit(&here, Entry::Folder { mode })?;
                    walk_folder(&below, &here, kind, depth + 1, visit)?;
                }
                Err(Errno::ACCESS) => visit(&here, Entry::LeftOut(UNREADABLE))?,
                Err(errno) => return Err(errno.into()),
            },
            FileType::RegularFile => {
                if rustix::fs::accessat(folder, &*name, Access::READ_OK, AtFlags::empty()).is_err() {
                    visit(&here, Entry::LeftOut(UNREADABLE))?;
                    continue;
                }
                let bytes = u64::try_from(stat.st_size).unwrap_or(0);
                visit(&here, Entry::File { folder, name: &name, mode, bytes })?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, &*name, Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                match stays_inside(target, depth) {
                    true => visit(&here, Entry::Link { target })?,
                    false => visit(&here, Entry::LeftOut("it is a link that leads out of the folder"))?,
                }
            }
            _ => visit(&here, Entry::LeftOut("it is neither a file nor a folder"))?,
        }
    }
    Ok(())
}

/// Whether a link that lies `depth` folders deep cannot lead out of its tree, if no other link in it does. What goes up has to come first:
/// behind the name of another link it would go up from where that leads.
fn stays_inside(target: &Path, depth: usize) -> bool {
    let mut parts = target.components().filter(|part| *part != Component::CurDir).peekable();
    let mut up = 0;
    while parts.next_if_eq(&Component::ParentDir).is_some() {
        up += 1;
    }
    up <= depth && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_inside_when_it_goes_up_no_further_than_its_tree_and_only_first() {
        for (target, depth) in [("a", 0), ("./a/b", 0), ("../a", 1), ("../../a", 2), ("..", 1)] {
            assert!(stays_inside(Path::new(target), depth), "{target} at {depth}");
        }
        for (target, depth) in [("/a", 0), ("..", 0), ("../a", 0), ("../../a", 1), ("a/../b", 5), ("../a/..", 5)] {
            assert!(!stays_inside(Path::new(target), depth), "{target} at {depth}");
        }
    }

    #[test]
    fn a_tree_is_copied_without_what_leads_out_or_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("into/to"));
        fs::create_dir_all(from.join("notes/deep")).unwrap();
        fs::write(from.join("notes/deep/a.md"), "a").unwrap();
        fs::write(from.join("run.sh"), "#!").unwrap();
        fs::set_permissions(from.join("run.sh"), Permissions::from_mode(0o4755)).unwrap();
        fs::write(folder.path().join("outside"), "secret").unwrap();
        symlink("../notes/deep/a.md", from.join("notes/to-a")).unwrap();
        symlink(folder.path().join("outside"), from.join("absolute")).unwrap();
        symlink("../outside", from.join("up")).unwrap();
        rustix::fs::mknodat(CWD, from.join("pipe"), FileType::Fifo, 0o600.into(), 0).unwrap();
        let odd = OsStr::from_bytes(b"odd \xff\n name");
        fs::write(from.join(odd), "odd").unwrap();

        let tree = Tree::of(&from, Kind::Memory).unwrap().unwrap();
        assert_eq!((tree.files, tree.bytes), (3, 6));
        let left: Vec<_> = tree.left_out.iter().map(|(place, _)| place.to_str().unwrap()).collect();
        assert_eq!(left, ["absolute", "pipe", "up"]);

        bring(&from, &to, Kind::Memory).unwrap();
        assert_eq!(fs::read_to_string(to.join("notes/to-a")).unwrap(), "a");
        assert_eq!(fs::read_to_string(to.join(odd)).unwrap(), "odd");
        assert_eq!(fs::metadata(to.join("run.sh")).unwrap().permissions().mode() & 0o7777, 0o755);
        for name in ["absolute", "up", "pipe"] {
            assert!(fs::symlink_metadata(to.join(name)).is_err(), "{name}");
        }
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(modified(&from.join("notes/deep/a.md")), modified(&to.join("notes/deep/a.md")));
        assert_eq!(fs::read_dir(folder.path().join("into")).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn what_is_there_stays_and_what_an_import_that_died_has_left_is_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("CLAUDE.md"), "theirs").unwrap();
        fs::create_dir(folder.path().join(".importing-to")).unwrap();
        fs::write(folder.path().join(".importing-to/half"), "").unwrap();
        bring(&from, &to, Kind::Memory).unwrap();
        assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
        fs::write(to.join("CLAUDE.md"), "changed since").unwrap();
        bring(&from, &to, Kind::Memory).unwrap();
        assert_eq!(fs::read_to_string(to.join("CLAUDE.md")).unwrap(), "changed since");
    }

    #[test]
    fn a_link_in_the_place_of_a_tree_is_not_looked_through() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/etc", folder.path().join("link")).unwrap();
        let tree = Tree::of(&folder.path().join("link"), Kind::Memory).unwrap().unwrap();
        assert!(!tree.is_usable());
        assert_eq!(tree.files, 0);
        assert_eq!(Tree::of(&folder.path().join("missing"), Kind::Memory).unwrap(), None);
    }
}
