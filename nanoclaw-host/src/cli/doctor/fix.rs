//! What `doctor --fix` does: only what can be undone and touches no data. Each is looked at once more right before it is done.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown},
    path::{Path, PathBuf},
};

use nanoclaw_core::{
    run::RunId,
    runtime::{ContainerId, InstallId, RuntimeKind},
};
use serde::Serialize;

use super::{containers, quoted};
use crate::{
    config::Config,
    home::{Home, HomeLock, initialise},
};

/// Something that mends what a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fix {
    /// A file or folder of ours gets this mode.
    Mode { path: PathBuf, mode: u32 },
    /// A file or folder of ours gets the home's owner.
    Owner { path: PathBuf, uid: u32, gid: u32 },
    /// A socket on which nobody listens goes.
    Socket { path: PathBuf },
    /// What a home is made of and is missing is made.
    Folders,
    /// A container of this installation that belongs to no open run goes.
    Orphan { runtime: RuntimeKind, install: InstallId, id: ContainerId, run: RunId },
}

impl Fix {
    /// The command that does the same.
    pub(super) fn command(&self) -> String {
        match self {
            Self::Mode { path, mode } => if_there(path, format!("chmod {mode:o} {}", quoted(path))),
            Self::Owner { path, uid, gid } => if_there(path, format!("{}chown {uid}:{gid} {}", sudo(), quoted(path))),
            Self::Socket { path } => format!("rm {}", quoted(path)),
            Self::Folders => "nanoclaw init".to_owned(),
            Self::Orphan { runtime, id, .. } => match runtime {
                RuntimeKind::Docker | RuntimeKind::Podman => format!("{runtime} rm --force {id}"),
                RuntimeKind::Sandbox | RuntimeKind::Fake => "nanoclaw doctor --fix".to_owned(),
            },
        }
    }

    async fn done(&self, home: &Home, config: Option<&Config>) -> Result<(), String> {
        let told = |error: io::Error| error.to_string();
        let unless_gone = |done: io::Result<()>| match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(told),
        };
        match self {
            Self::Mode { path, mode } => unless_gone(set_mode(path, *mode)),
            Self::Owner { path, uid, gid } => unless_gone(lchown(path, Some(*uid), Some(*gid))),
            Self::Socket { path } => remove_socket(home, path),
            Self::Folders => initialise(home).map(drop).map_err(|error| format!("{error}: {}", error.source)),
            Self::Orphan { runtime, install, id, run } => match config {
                Some(config) => containers::remove(home, config, *runtime, install, id, run).await,
                None => Err("the configuration cannot be read".to_owned()),
            },
        }
    }
}

/// What SQLite keeps beside its database comes and goes with whoever works with it.
fn if_there(path: &Path, command: String) -> String {
    let passing = path.to_str().is_some_and(|path| path.ends_with("-wal") || path.ends_with("-shm"));
    if passing { format!("{{ [ ! -e {} ] || {command}; }}", quoted(path)) } else { command }
}

fn sudo() -> &'static str {
    if rustix::process::geteuid().is_root() { "" } else { "sudo " }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    // What a link leads to is somebody else's affair.
    if !(found.is_dir() || (found.is_file() && found.nlink() == 1)) {
        return Err(io::Error::other("it is no longer what it was"));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Only while nobody has the home, so that it is no socket that somebody has just made.
fn remove_socket(home: &Home, path: &Path) -> Result<(), String> {
    let _lock = HomeLock::acquire(home).map_err(|error| error.to_string())?;
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(|error| error.to_string()),
        Ok(_) => Err("it is no socket any more".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What came of a fix.
#[derive(Debug, Serialize)]
pub(super) struct Fixed {
    /// The check that found it.
    pub(super) check: &'static str,
    /// The command that does the same.
    pub(super) did: String,
    /// Why it was not done; `None`: it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// Does them all, in order; one that fails keeps none of the others from being done.
pub(super) async fn apply(fixes: Vec<(&'static str, Fix)>, home: &Home, config: Option<&Config>) -> Vec<Fixed> {
    let mut done = Vec::new();
    for (check, fix) in fixes {
        let error = fix.done(home, config).await.err();
        done.push(Fixed { check, did: fix.command(), error });
    }
    done
}
