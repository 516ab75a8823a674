//! Makes a home of a backup.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown, symlink},
    path::{Path, PathBuf},
};

use super::{
    BackupError, at,
    create::sync_folder,
    read::{Item, Verified, verify, walk},
};
use crate::{
    home::{Home, HomeLock},
    remove_tree::remove_tree,
    stores::sqlite::newest_schema,
};

/// What a restored home is put together in, inside of it.
const UNFINISHED: &str = ".restoring";
/// What a home has besides, and what goes aside.
const PARTS: [&str; 4] = ["nanoclaw.toml", "groups", "skills", "store"];

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The backup.
    pub from: Verified,
    /// Where what was there before is now; `None`: there was nothing.
    pub aside: Option<PathBuf>,
}

/// What becomes of a home that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    /// Nothing is restored.
    Refuse,
    /// It goes aside, into a folder of the home.
    MoveAside,
}

/// Makes the home at `root` of the backup at `backup`, which is read to its end first: one that is damaged changes nothing. Nothing that is
/// there is deleted. When it fails half-way, or this process dies, it can be done again with [`Used::MoveAside`].
///
/// # Errors
/// [`BackupError`]; [`HomeLock`]'s, when a service works on the home.
pub fn restore(backup: &Path, root: &Path, used: Used) -> anyhow::Result<Restored> {
    let from = verify(backup)?;
    if from.label.schema > newest_schema() {
        return Err(BackupError::Newer { path: backup.to_owned(), version: from.label.version }.into());
    }
    let home = Home::at(root).map_err(at(root))?;
    let there: Vec<&str> = PARTS.into_iter().filter(|part| home.root().join(part).exists()).collect();
    if !there.is_empty() && used == Used::Refuse {
        return Err(BackupError::Used(home.root().to_owned()).into());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(home.root()).map_err(at(home.root()))?;
    // Whoever works on this home keeps us out, and we it. The lock's file goes aside with the store, and ends with this process.
    let lock = if there.contains(&"store") { Some(HomeLock::acquire(&home)?) } else { None };

    let unfinished = home.root().join(UNFINISHED);
    remove_tree(&unfinished).map_err(at(&unfinished))?;
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(at(&unfinished))?;
    let mut making = Making { root: unfinished.clone(), modes: Vec::new() };
    walk(backup, |item, content| making.put(&item, content))?;
    making.finish().map_err(at(&unfinished))?;

    let aside = if there.is_empty() { None } else { Some(move_aside(&home, &there)?) };
    for part in PARTS {
        let (new, place) = (unfinished.join(part), home.root().join(part));
        if new.exists() {
            fs::rename(&new, &place).map_err(at(&place))?;
        }
    }
    remove_tree(&unfinished).map_err(at(&unfinished))?;
    sync_folder(&home.config_file()).map_err(at(home.root()))?;
    drop(lock);
    Ok(Restored { from, aside })
}

/// Moves the parts of a home that are there into a new folder in it, whose name tells when.
fn move_aside(home: &Home, there: &[&str]) -> Result<PathBuf, BackupError> {
    let now = nanoclaw_core::time::Timestamp::now();
    let aside = home.root().join(format!("before-restore-{}", now.as_ms()));
    DirBuilder::new().mode(0o700).create(&aside).map_err(at(&aside))?;
    for part in there {
        let place = home.root().join(part);
        fs::rename(&place, aside.join(part)).map_err(at(&place))?;
    }
    Ok(aside)
}

/// A home that is being put together, in a folder that nobody else writes into.
struct Making {
    root: PathBuf,
    /// Of folders, which have to be writable until all is in them: deepest last.
    modes: Vec<(PathBuf, u32)>,
}

impl Making {
    fn put(&mut self, item: &Item<'_>, content: &mut dyn Read) -> io::Result<()> {
        match *item {
            Item::Folder { place, mode, owner } => {
                let path = self.root.join(place);
                self.folder_for(&path)?;
                match DirBuilder::new().mode(0o700).create(&path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
                give(&path, owner)?;
                self.modes.push((path, mode));
            }
            Item::Link { place, target, owner } => {
                let path = self.root.join(place);
                self.folder_for(&path)?;
                symlink(target, &path)?;
                give(&path, owner)?;
            }
            Item::File { place, mode, owner } => {
                let path = self.root.join(place);
                self.folder_for(&path)?;
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                io::copy(content, &mut file)?;
                give(&path, owner)?;
                file.set_permissions(Permissions::from_mode(mode))?;
                file.sync_all()?;
            }
        }
        Ok(())
    }

    /// Sees to it that the folder in which `path` is to be is one, and not a link that something in the archive has put there.
    fn folder_for(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        let within = folder.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let mut so_far = self.root.clone();
        for part in within {
            so_far.push(part);
            match fs::symlink_metadata(&so_far) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => return Err(io::Error::other(format!("{} is no folder", so_far.display()))),
                // Those of databases have no entry of their own.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    DirBuilder::new().mode(0o700).create(&so_far)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        for (path, mode) in self.modes.into_iter().rev() {
            fs::File::open(&path)?.sync_all()?;
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

/// Gives what is at `path`, and not what it leads to, to whom it belonged. Only root can, and others need not: all of it is theirs.
fn give(path: &Path, (uid, gid): (u64, u64)) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let id = |number: u64| u32::try_from(number).map_err(|_| io::Error::other("an owner's number is too large"));
    lchown(path, Some(id(uid)?), Some(id(gid)?))
}
