//! The project that the main group can read: opt-in, read-only, with what is secret in it covered.

use std::path::{Path, PathBuf};

use nanoclaw_core::mounts::{Guard, Refusal, blocked, refuse_guarded};

use super::{
    Hidden, Judge,
    guards::guarded,
    open::{Opened, open},
    real,
    table::MountTable,
};

/// The project, held open.
#[derive(Debug)]
pub struct Project {
    /// What is mounted.
    pub opened: Opened,
    /// What in it is covered: what looks like a secret, and NanoClaw's own state.
    pub hidden: Vec<Hidden>,
}

/// Judges the configured path. The owner named it in the configuration, so no allowlist is asked; it may contain NanoClaw's
/// home (NanoClaw v1 lies in its project), which is covered then.
pub(super) fn judge(judge: &Judge<'_>, path: &Path) -> Result<Project, Refusal> {
    if !judge.own_mounts {
        return Err(Refusal::NoMounts);
    }
    let Some(written) = path.to_str() else { return Err(Refusal::BadPath { why: "it is not UTF-8" }) };
    let table = MountTable::read();
    let opened = open(written, judge.config.user_home.as_deref(), &table)?;
    let top = &opened.found.path;
    judge.sayable(top)?;
    let (home, store) = (real(judge.home.root()), real(&judge.home.store()));
    // What of ours is below the project can be covered; where the project is below what is ours, nothing can.
    let below = |path: &Path| path.starts_with(top) && path != top;
    let coverable = |path: &Path| below(path) || (*path == home && home == *top);
    let guards: Vec<_> = guarded(judge.home, judge.config)
        .into_iter()
        .filter(|guard| guard.what != Guard::Home || !coverable(&guard.path))
        .collect();
    refuse_guarded(&opened.found, &guards)?;
    if let Some((pattern, part)) = blocked().iter().find_map(|pattern| Some((pattern, pattern.part_of(top)?))) {
        return Err(Refusal::Blocked { pattern: pattern.to_string(), part, built_in: true });
    }
    let ours: Vec<PathBuf> = [home, store]
        .iter()
        .filter(|path| below(path))
        .filter_map(|path| path.strip_prefix(top).ok().map(Path::to_owned))
        .collect();
    let mut hidden = judge.hide(&opened, |path| ours.iter().any(|ours| path == ours))?;
    for path in &ours {
        // What lies in another that is covered is covered with it.
        if !ours.iter().any(|other| path != other && path.starts_with(other)) && top.join(path).is_dir() {
            hidden.push(Hidden { path: path.clone(), folder: true });
        }
    }
    Ok(Project { opened, hidden })
}
