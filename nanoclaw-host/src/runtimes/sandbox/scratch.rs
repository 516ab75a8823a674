//! A private temporary folder for a container that has no mount table of its own.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use nanoclaw_core::runtime::RunAs;

use super::owner;
use crate::remove_tree::remove_tree;

/// The folder; removed with everything in it when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one below `state` that only `user` can enter, and removes those of hosts that are gone.
    pub(super) fn make(state: &Path, user: RunAs) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let parent = state.join("sandbox-tmp");
        fs::create_dir_all(&parent)?;
        for entry in fs::read_dir(&parent)?.flatten() {
            if entry.file_name().to_str().is_some_and(owner::is_gone) {
                let _ = remove_tree(&entry.path());
            }
        }
        let path = std::path::absolute(parent.join(owner::name(COUNT.fetch_add(1, Ordering::Relaxed))))?;
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let scratch = Self(path);
        if rustix::process::geteuid().is_root() {
            chown(&scratch.0, Some(user.uid), Some(user.gid))?;
        }
        Ok(scratch)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by a later host.
        let _ = remove_tree(&self.0);
    }
}
