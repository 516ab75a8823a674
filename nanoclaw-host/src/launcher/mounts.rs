//! A group's additional mounts and project for one run: judged, and held open.

use std::{fs, io, os::unix::fs::PermissionsExt, path::PathBuf};

use nanoclaw_core::{
    group::{Group, GroupFolder, GroupRole},
    launch::LaunchError,
    mounts::Refusal,
    runtime::Access,
};

use super::{HostLauncher, Machine, failed};
use crate::{
    config::Config,
    home::Home,
    mounts::{Judge, Judged, Project},
};

/// What was found out about a group's mounts.
#[derive(Debug)]
pub(super) struct Additional {
    /// The additional mounts that are asked for, in their order.
    pub(super) judged: Vec<Judged>,
    /// The project; `None` when the group has none.
    pub(super) project: Option<Result<Project, Refusal>>,
}

impl HostLauncher {
    /// Judges anew what the group asks for. Off the async threads: a folder may be on a slow disk.
    pub(super) async fn additional_mounts(&self, group: &Group, machine: &Machine) -> Result<Additional, LaunchError> {
        let (this, role) = (self.clone(), group.role);
        let (runtime, own_mounts) = (machine.runtime, machine.capabilities.own_mounts);
        let folder = group.folder.clone();
        let judging = tokio::task::spawn_blocking(move || {
            let judge = Judge { config: &this.config.mounts, home: &this.home, runtime: Some(runtime), own_mounts };
            let additional = Additional::of(&judge, &this.config, &folder, role);
            if additional.has_covers() {
                make_covers(&this.home).map_err(|error| failed("make what covers secrets", &error))?;
            }
            Ok(additional)
        });
        judging.await.map_err(|error| failed("look at the group's additional mounts", &error))?
    }
}

impl Additional {
    /// What becomes of what this group asks for. Blocking.
    pub(super) fn of(judge: &Judge<'_>, config: &Config, folder: &GroupFolder, role: GroupRole) -> Self {
        let requests = config.for_group(folder).mounts.value;
        Self { judged: judge.all(&requests, role), project: judge.project(role) }
    }

    /// What is not as it was asked for, a sentence each.
    pub(super) fn shortfalls(&self) -> Vec<String> {
        let mounts = self.judged.iter().filter_map(|judged| {
            let host = &judged.request.host;
            match &judged.verdict {
                Err(refusal) => Some(format!("{host} is not mounted, because {refusal}")),
                Ok(accepted) => accepted
                    .granted
                    .reduced
                    .as_ref()
                    .map(|reduced| format!("{host} is mounted read-only, not read-write, because {reduced}")),
            }
        });
        let project = self.project.as_ref().and_then(|project| project.as_ref().err());
        let project = project.map(|refusal| format!("the project is not mounted, because {refusal}"));
        mounts.chain(project).collect()
    }

    fn has_covers(&self) -> bool {
        let project = self.project.as_ref().and_then(|project| project.as_ref().ok());
        let accepted = self.judged.iter().filter_map(|judged| judged.verdict.as_ref().ok());
        project.is_some_and(|project| !project.hidden.is_empty())
            || accepted.into_iter().any(|accepted| !accepted.hidden.is_empty())
    }
}

/// Where the empty file and the empty folder are.
pub(super) fn cover(home: &Home, folder: bool) -> PathBuf {
    home.covers().join(if folder { "folder" } else { "file" })
}

/// Makes them. Nobody but this user can write them, and containers get them read-only.
fn make_covers(home: &Home) -> io::Result<()> {
    let (file, folder) = (cover(home, false), cover(home, true));
    fs::create_dir_all(&folder)?;
    if !fs::symlink_metadata(&file).is_ok_and(|found| found.is_file() && found.len() == 0) {
        fs::write(&file, "")?;
    }
    fs::set_permissions(&file, PermissionsExt::from_mode(0o444))?;
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o555))
}

/// How an access is said to people.
#[must_use]
pub fn said(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "read-write",
    }
}
