//! Additional mounts: finds out what a group's requests lead to, and has [`nanoclaw_core::mounts`] judge that.
//!
//! What is judged is what was opened, and it stays open for as long as the run lives: its path is the kernel's word for what
//! is held, not what somebody wrote. The sandbox mounts from the handle
//! ([`HeldSources`](nanoclaw_core::runtime::HeldSources)). An engine mounts by path later, so process 1 of the container compares
//! what it got with what was held ([`nanoclaw_core::protocol::mounts`]). The allowlist is read anew for every judgement.

mod allowlist;
mod guards;
mod open;
mod project;
mod report;
mod secrets;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use nanoclaw_core::{
    group::GroupRole,
    mounts::{Allowlist, Granted, Guarded, MountRequest, Refusal, judge, name_of},
    runtime::RuntimeKind,
};

pub(crate) use self::table::unescaped;
pub use self::{
    allowlist::{Allowed, allow, read as read_allowlist},
    open::{Opened, expand},
    project::Project,
    report::{Report, Rule},
    secrets::{Bounds, Hidden, Search, search},
};
use self::{guards::guarded, open::open, table::MountTable};
use crate::{config::MountsConfig, home::Home};

/// What judgements depend on besides the request.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// What is configured.
    pub config: &'a MountsConfig,
    /// This installation.
    pub home: &'a Home,
    /// What mounts, if that is known: some runtimes cannot be told every path.
    pub runtime: Option<RuntimeKind>,
    /// Whether containers have mounts of their own.
    pub own_mounts: bool,
}

/// A request and what became of it.
#[derive(Debug)]
pub struct Judged {
    /// What was asked for.
    pub request: MountRequest,
    /// What is mounted, or why it is not.
    pub verdict: Result<Accepted, Refusal>,
}

/// A mount that is allowed, held open.
#[derive(Debug)]
pub struct Accepted {
    /// How it is mounted.
    pub granted: Granted,
    /// What is mounted.
    pub opened: Opened,
    /// What in it is covered.
    pub hidden: Vec<Hidden>,
}

impl Judge<'_> {
    /// Judges the requests of one group, in their order. Blocking: it looks at the file system, and for requests that hide
    /// secrets it walks through them.
    #[must_use]
    pub fn all(&self, requests: &[MountRequest], role: GroupRole) -> Vec<Judged> {
        if requests.is_empty() {
            return Vec::new();
        }
        let allowlist = read_allowlist(self.config);
        let (table, guarded) = (MountTable::read(), guarded(self.home, self.config));
        let mut names: Vec<String> = Vec::new();
        let mut judged = Vec::new();
        for request in requests {
            let verdict = name_of(request).and_then(|name| {
                if names.contains(&name) {
                    return Err(Refusal::NameTaken { name });
                }
                let accepted = self.one(request, role, allowlist.as_ref().map_err(Clone::clone), &table, &guarded)?;
                names.push(name);
                Ok(accepted)
            });
            judged.push(Judged { request: request.clone(), verdict });
        }
        judged
    }

    /// The project of the main group; `None` when there is none to be mounted. Blocking, as [`all`](Self::all).
    #[must_use]
    pub fn project(&self, role: GroupRole) -> Option<Result<Project, Refusal>> {
        let path = self.config.project.value.as_deref().filter(|_| role == GroupRole::Main)?;
        Some(project::judge(self, path))
    }

    fn one(
        &self,
        request: &MountRequest,
        role: GroupRole,
        allowlist: Result<&Allowlist, Refusal>,
        table: &MountTable,
        guarded: &[Guarded],
    ) -> Result<Accepted, Refusal> {
        if !self.own_mounts {
            return Err(Refusal::NoMounts);
        }
        // Before anything of the host is looked at: without an allowlist nobody learns what is there.
        let allowlist = allowlist?;
        let opened = open(&request.host, self.config.user_home.as_deref(), table)?;
        let granted = judge(request, &opened.found, allowlist, guarded, role)?;
        self.sayable(&opened.found.path)?;
        let hidden = match request.hide_secrets {
            true => self.hide(&opened, |_| false)?,
            false => Vec::new(),
        };
        Ok(Accepted { granted, opened, hidden })
    }

    /// What is to be covered in a folder that was opened, but for what `skip` names, which is not looked into.
    fn hide(&self, opened: &Opened, skip: impl Fn(&Path) -> bool) -> Result<Vec<Hidden>, Refusal> {
        let cannot = |reason: String| Refusal::CannotHide { reason };
        let search = search(opened, Bounds::OF_A_START, skip);
        if let Some(reason) = search.gave_up {
            return Err(cannot(reason));
        }
        for hidden in &search.found {
            if hidden.path.to_str().is_none_or(|path| path.contains(char::is_control)) {
                return Err(cannot(format!("no runtime can be told the path {:?}", hidden.path)));
            }
            self.sayable(&hidden.path)?;
        }
        Ok(search.found)
    }

    /// Whether the runtime can be told this path.
    fn sayable(&self, path: &Path) -> Result<(), Refusal> {
        // Podman makes a list with commas of a mount and reads that again.
        match self.runtime {
            Some(RuntimeKind::Podman) if path.to_string_lossy().contains([',', '"']) => {
                Err(Refusal::BadPath { why: "Podman cannot be told a path with a comma or a quotation mark in it" })
            }
            _ => Ok(()),
        }
    }
}

/// The path without links, as far as it is there; the rest of it as it stands.
fn real(path: &Path) -> PathBuf {
    let mut rest = PathBuf::new();
    for ancestor in path.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
        if let Some(name) = ancestor.file_name() {
            rest = if rest.as_os_str().is_empty() { PathBuf::from(name) } else { Path::new(name).join(rest) };
        }
    }
    path.to_owned()
}
