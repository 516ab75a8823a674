//! What a container is made of, as a text: two that differ in nothing have the same one.

use std::{
    fmt::Write as _,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nanoclaw_core::{
    group::Group,
    launch::LaunchError,
    run::RunId,
    runtime::{HeldSources, Labels, Mount},
};

use super::{HostLauncher, failed, plan, plan_is_sound, skills::LayOut};

/// The most entries of an overlay that are looked at; an agent can fill its own with any number.
const MOST_ENTRIES: usize = 4096;

impl HostLauncher {
    /// Reads all that [`prepare`](nanoclaw_core::launch::Launcher::prepare) reads, and makes nothing but what covers secrets.
    pub(super) async fn fingerprint_of(&self, group: &Group, run: &RunId) -> Result<String, LaunchError> {
        let machine = self.machine()?;
        let mut plan = plan(group, &self.home, &self.config, &machine);
        plan_is_sound(&plan)?;
        let (additional, skills, image) = tokio::join!(
            self.additional_mounts(group, &machine),
            self.group_skills(&group.folder, LayOut::No),
            self.image_now(group, &machine),
        );
        let (additional, skills, image) = (additional?, skills?, image?);
        plan.add(&additional, &self.home);
        plan.add_skills(&skills);
        let mut spec = plan.spec(Labels { install: self.install.clone(), run: run.clone() });
        // Opened anew each time. What they are of is told to process 1, and so is in the environment.
        spec.held = HeldSources::default();
        let policy = plan.gateway.then_some(&plan.policy);
        let mut text = format!("{spec:?}\n{policy:?}\n{:?}\n{image:?}\n", skills.names);
        // What is laid out is named by what is in it, and is not there yet when it is the first time.
        let kept = spec.mounts.into_iter().filter(|mount| Some(&mount.source) != skills.folder.as_ref()).collect();
        // Our own agent reads its overlay once it has its prompt; of another nobody knows.
        let foreign = self.config.for_group(&group.folder).command.value.is_some();
        let overlay = (plan.overlay && foreign).then(|| self.home.overlay(&group.folder));
        let work = tokio::task::spawn_blocking(move || identities(kept, overlay.as_deref()));
        text.push_str(&work.await.map_err(|error| failed("look at what is mounted", &error))?);
        Ok(text)
    }
}

/// Which files and folders these paths are of at this moment: what is replaced keeps its path, and a container sees what it
/// was given. Blocking.
fn identities(mounts: Vec<Mount>, overlay: Option<&Path>) -> String {
    let mut text = String::new();
    for Mount { source, .. } in mounts {
        let found = fs::metadata(&source).map(|found| {
            // What is in a folder a container sees as it changes.
            let content = found.is_file().then(|| (found.len(), found.mtime(), found.mtime_nsec()));
            (found.dev(), found.ino(), content)
        });
        let _ = writeln!(text, "{source:?} {:?}", found.ok());
    }
    let mut entries = Vec::new();
    if let Some(overlay) = overlay {
        // What cannot be read of it is not there.
        let _ = list(overlay, &mut entries);
    }
    entries.sort();
    for (path, state) in entries {
        let _ = writeln!(text, "{path:?} {state:?}");
    }
    text
}

/// What tells one state of a file from another: kind and rights, size, when it was changed.
type FileState = (u32, u64, i64, i64);

/// Everything below `folder`, no link followed.
fn list(folder: &Path, entries: &mut Vec<(PathBuf, FileState)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        if entries.len() >= MOST_ENTRIES {
            return Ok(());
        }
        let entry = entry?;
        let found = entry.metadata()?;
        entries.push((entry.path(), (found.mode(), found.len(), found.mtime(), found.mtime_nsec())));
        if found.is_dir() {
            let _ = list(&entry.path(), entries);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
