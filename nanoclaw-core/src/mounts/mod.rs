//! Additional mounts: folders and files of the host that a group's container may see besides its own. Rules alone.
//!
//! Somebody asks for a mount ([`MountRequest`]); the host opens what is asked for and says what it found ([`Found`]);
//! [`judge`] decides by the owner's [`Allowlist`] and by what nobody can allow ([`Guarded`]). Whoever asks never decides: the
//! allowlist lies outside every mount. A refusal says why in words for people.

mod pattern;
mod refusal;
#[cfg(test)]
mod tests;

use std::path::{Component, Path, PathBuf};

use serde::Serialize;

pub use self::{
    pattern::{BLOCKED, BadPattern, Pattern, SECRETS, blocked, secrets},
    refusal::Refusal,
};
use crate::{group::GroupRole, runtime::Access};

/// The longest name of a mount, in bytes: that of a file.
const LONGEST_NAME: usize = 255;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountRequest {
    /// The path on the host as it was written: absolute, or `~` and what follows.
    pub host: String,
    /// Its name inside, under `/workspace/extra/`; `None`: the last part of the path.
    pub name: Option<String>,
    /// What may be done with it.
    pub access: Access,
    /// Whether files in it that look like secrets are covered with empty ones.
    pub hide_secrets: bool,
}

/// A folder under which mounts are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedRoot {
    /// As it was written.
    pub written: String,
    /// Where it is, without links; `None` when it is not there.
    pub path: Option<PathBuf>,
    /// The most that is allowed.
    pub access: Access,
}

/// What the owner of the machine allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowlist {
    /// Where mounts may be. Of several that fit, the deepest decides, and of the same one twice the read-only one.
    pub roots: Vec<AllowedRoot>,
    /// What is never mounted, in addition to [`BLOCKED`].
    pub blocked: Vec<Pattern>,
    /// Whether groups other than the main one can only read.
    pub non_main_read_only: bool,
}

/// What was found where the request points, by looking at what was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is, without links and `..`.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Where it is in its file system, and where everything is that is mounted below it: two paths of the host can lead to
    /// one place (a bind mount). Empty when the system does not tell.
    pub places: Vec<Place>,
}

/// What can be found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A socket, a device, a FIFO.
    Other,
}

/// A place in a file system, whatever path of the host leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which file system: major and minor number as the kernel shows them (`254:1`).
    pub device: String,
    /// The path from the file system's own root.
    pub path: PathBuf,
}

/// What no mount may show, lie in or contain, whatever is allowed; [`Guard::Program`] is kept from being written only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// What it is.
    pub what: Guard,
    /// Where it is, without links as far as it is there.
    pub path: PathBuf,
    /// Where it is in its file system, when it is there.
    pub place: Option<Place>,
}

/// The things that are guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The home of this installation.
    Home,
    /// The folder of its security configuration.
    Private,
    /// An engine's socket, by which everything on the machine can be had.
    Engine,
    /// A part of the system itself.
    System,
    /// A program that runs outside of containers: nobody inside may change it, and everybody may see it.
    Program,
}

/// A mount that was allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Its name under `/workspace/extra/`.
    pub name: String,
    /// What may be done with it.
    pub access: Access,
    /// Why that is less than was asked for.
    pub reduced: Option<Reduced>,
    /// The root that allows it, as it was written.
    pub root: String,
}

/// Why a mount that was asked for read-write is read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reduced {
    /// The root allows no more.
    Root {
        /// As it was written.
        root: String,
    },
    /// Only the main group may write (`nonMainReadOnly`).
    NotMain,
    /// A program that runs outside of containers is or lies there.
    Program {
        /// Where that is.
        path: PathBuf,
    },
}

impl std::fmt::Display for Reduced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root { root } => write!(f, "the allowed root {root} has no \"allowReadWrite\": true"),
            Self::NotMain => f.write_str("\"nonMainReadOnly\" is true and this is not the main group"),
            Self::Program { path } => {
                write!(f, "the program {} lies there, and whoever changes it has this machine", path.display())
            }
        }
    }
}

/// The name of a mount inside: what was asked for, else the last part of the path as it was written.
///
/// # Errors
/// [`Refusal::BadName`] for everything that is not one plain name.
pub fn name_of(request: &MountRequest) -> Result<String, Refusal> {
    let name = match &request.name {
        Some(name) => name.as_str(),
        None => match Path::new(&request.host).file_name().and_then(|name| name.to_str()) {
            Some(name) => name,
            None => return Err(Refusal::BadName { name: request.host.clone(), why: "the path has no last part" }),
        },
    };
    match wrong_with_name(name) {
        None => Ok(name.to_owned()),
        Some(why) => Err(Refusal::BadName { name: name.to_owned(), why }),
    }
}

/// What keeps `name` from being the name of a mount; `None` when it is fit for one.
#[must_use]
pub fn wrong_with_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > LONGEST_NAME {
        Some("it is longer than 255 bytes")
    } else if name == "." || name == ".." {
        Some("it leads elsewhere")
    } else if name.contains('/') {
        Some("it must be one name, without /")
    } else if name.contains(':') {
        Some("it must not have : in it")
    } else if name.chars().any(|c| c.is_control() || c == ',' || c == '"') {
        Some("it must not have a comma, a quotation mark or control characters in it")
    } else {
        None
    }
}

/// Decides about a request whose path was opened.
///
/// # Errors
/// [`Refusal`], the first in the order in which a person would want to know.
pub fn judge(
    request: &MountRequest,
    found: &Found,
    allowlist: &Allowlist,
    guarded: &[Guarded],
    role: GroupRole,
) -> Result<Granted, Refusal> {
    let name = name_of(request)?;
    let plain = found.path.is_absolute()
        && found.path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !plain {
        return Err(Refusal::NotThere { reason: "its real path is not known".to_owned() });
    }
    refuse_guarded(found, guarded)?;
    if found.kind == Kind::Other {
        return Err(Refusal::NeitherFolderNorFile);
    }
    let own = blocked();
    let own = own.iter().map(|pattern| (pattern, true));
    let theirs = allowlist.blocked.iter().map(|pattern| (pattern, false));
    for (pattern, built_in) in own.chain(theirs) {
        if let Some(part) = pattern.part_of(&found.path) {
            return Err(Refusal::Blocked { pattern: pattern.to_string(), part, built_in });
        }
    }
    let root = allowlist
        .roots
        .iter()
        .filter(|root| root.path.as_ref().is_some_and(|path| found.path.starts_with(path)))
        .max_by_key(|root| {
            let depth = root.path.as_ref().map_or(0, |path| path.components().count());
            (depth, root.access == Access::ReadOnly)
        });
    let Some(root) = root else {
        let roots = allowlist.roots.iter().map(|root| root.written.clone()).collect();
        return Err(Refusal::NotUnderAllowedRoot { path: found.path.clone(), roots });
    };
    let reduced = match (request.access, root.access, role) {
        (Access::ReadOnly, _, _) => None,
        (Access::ReadWrite, Access::ReadOnly, _) => Some(Reduced::Root { root: root.written.clone() }),
        (Access::ReadWrite, Access::ReadWrite, GroupRole::Ordinary) if allowlist.non_main_read_only => {
            Some(Reduced::NotMain)
        }
        (Access::ReadWrite, Access::ReadWrite, _) => guarded
            .iter()
            .find(|guard| guard.what == Guard::Program && touches(found, guard))
            .map(|guard| Reduced::Program { path: guard.path.clone() }),
    };
    let access = if reduced.is_some() { Access::ReadOnly } else { request.access };
    Ok(Granted { name, access, reduced, root: root.written.clone() })
}

/// Refuses what shows, lies in or contains something that is guarded.
///
/// # Errors
/// [`Refusal::Guarded`].
pub fn refuse_guarded(found: &Found, guarded: &[Guarded]) -> Result<(), Refusal> {
    match guarded.iter().find(|guard| guard.what != Guard::Program && touches(found, guard)) {
        Some(guard) => Err(Refusal::Guarded { what: guard.what, path: guard.path.clone() }),
        None => Ok(()),
    }
}

/// Whether what was found shows, lies in or contains what is guarded, by its path or by its place.
fn touches(found: &Found, guard: &Guarded) -> bool {
    overlap(&found.path, &guard.path)
        || guard.place.as_ref().is_some_and(|place| {
            found.places.iter().any(|here| here.device == place.device && overlap(&here.path, &place.path))
        })
}

/// Whether one of the two is the other, or lies in it.
fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
