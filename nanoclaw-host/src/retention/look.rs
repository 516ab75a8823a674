//! Looks what could go. Trees in which an agent writes are looked at without following a link.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nanoclaw_core::{
    attachment::ATTACHMENTS_DIR,
    group::GroupFolder,
    message::Seq,
    run::RunNumber,
    store::{Store, StoreError},
    time::Timestamp,
};

use super::facts::{Attachment, Facts, GroupFact, KeptFor, LastRun, RunLog};
use crate::{home::Home, stores::Ledger};

/// How many messages that were set aside are looked at. Beyond that nothing of files goes, since one of the others may need them.
const MOST_SET_ASIDE: u32 = 10_000;
/// The most entries of a tree that are counted.
const MOST_COUNTED: usize = 200_000;
/// The most files that came with messages that are looked at in one group.
const MOST_ATTACHMENTS: usize = 100_000;

/// What there is at `at`. `with_attachments`: whether files that came with messages are looked at.
pub(super) async fn look(
    home: &Home,
    store: &dyn Store,
    ledger: &dyn Ledger,
    configured: Vec<GroupFolder>,
    with_attachments: bool,
    at: Timestamp,
) -> Result<Facts, StoreError> {
    let set_aside = store.set_aside(None, false, MOST_SET_ASIDE).await?;
    let complete = set_aside.len() < MOST_SET_ASIDE as usize;
    let open_runs = store.open_runs().await?;
    let mut groups = BTreeMap::new();
    for group in store.groups().await? {
        let fact = GroupFact {
            answered_through: store.cursor(&group.folder).await?,
            set_aside: set_aside.iter().filter(|one| one.group == group.folder).map(|one| one.messages).collect(),
            open_run: open_runs.iter().find(|run| run.id.group == group.folder).map(|run| run.id.number),
        };
        groups.insert(group.folder, fact);
    }
    let (of_home, known) = (home.clone(), groups.keys().cloned().collect::<Vec<_>>());
    let looked = tokio::task::spawn_blocking(move || {
        let attachments = if with_attachments && complete { attachments(&of_home, &known) } else { Vec::new() };
        (logs(&of_home), folders_of_none(&of_home, &known), attachments)
    });
    let (logs, folders, attachments) =
        looked.await.map_err(|error| StoreError::Failed { action: "look at files", reason: error.to_string() })?;
    let removed: BTreeMap<GroupFolder, Timestamp> = ledger.removed_groups().await?.into_iter().collect();
    let mut last_runs = BTreeMap::new();
    let (mut kept_for, others) =
        (Vec::new(), logs.iter().map(|log| &log.group).chain(folders.iter().map(|(group, _)| group)));
    let mut others: Vec<GroupFolder> = others.filter(|group| !groups.contains_key(*group)).cloned().collect();
    others.sort();
    others.dedup();
    for group in others {
        if let Some(last) = store.runs(Some(&group), 1).await?.into_iter().next() {
            let removed_at = removed.get(&group).copied();
            last_runs.insert(group, LastRun { ended_at: last.ended_at, removed_at });
        }
    }
    for (group, path) in folders.into_iter().filter(|(group, _)| last_runs.contains_key(group)) {
        let counted = path.clone();
        let bytes = tokio::task::spawn_blocking(move || size_of(&counted)).await.unwrap_or(0);
        kept_for.push(KeptFor { group, path, bytes });
    }
    Ok(Facts { at, groups, configured, last_runs, logs, kept_for, attachments })
}

/// What lies right in a folder of the host's that is named like a group.
fn by_group(folder: &Path) -> Vec<(GroupFolder, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| Some((GroupFolder::new(entry.file_name().to_str()?).ok()?, entry.path())))
        .collect()
}

fn logs(home: &Home) -> Vec<RunLog> {
    let mut found = Vec::new();
    for (group, folder) in by_group(&home.store().join("logs")) {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if !metadata.is_file() || path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let run = path.file_stem().and_then(|name| name.to_str()?.parse().ok()).map(RunNumber);
            let bytes = on_disk(&metadata);
            found.push(RunLog { group: group.clone(), run, bytes, changed: changed(&metadata), path });
        }
    }
    found
}

/// The folders that the host keeps for what is no group now.
fn folders_of_none(home: &Home, groups: &[GroupFolder]) -> Vec<(GroupFolder, PathBuf)> {
    let parts = ["sessions", "overlays", "ipc", "gateway", "logs"];
    let all = parts.iter().flat_map(|part| by_group(&home.store().join(part)));
    all.filter(|(group, _)| !groups.contains(group)).collect()
}

fn attachments(home: &Home, groups: &[GroupFolder]) -> Vec<Attachment> {
    let mut found = Vec::new();
    for group in groups {
        let folder = home.group(group).join(ATTACHMENTS_DIR);
        // An agent may have put a link there, which leads to what is not its own.
        if !fs::symlink_metadata(&folder).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten().take(MOST_ATTACHMENTS) {
            let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
            if metadata.is_file() {
                let message = message_of(&name);
                let (bytes, changed) = (on_disk(&metadata), changed(&metadata));
                found.push(Attachment { group: group.clone(), name, message, bytes, changed });
            }
        }
    }
    found
}

/// The message that a file came with, by the name that the host gives such files: `<message>-<number>-<name>`.
fn message_of(name: &str) -> Option<Seq> {
    let mut parts = name.splitn(3, '-');
    let (message, number) = (parts.next()?, parts.next()?);
    parts.next().filter(|rest| !rest.is_empty())?;
    number.parse::<u32>().ok()?;
    message.parse().ok().map(Seq)
}

fn changed(metadata: &fs::Metadata) -> Timestamp {
    Timestamp::from_ms(metadata.mtime().saturating_mul(1000))
}

fn on_disk(metadata: &fs::Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// What a tree takes on the disk, as far as it is counted.
fn size_of(tree: &Path) -> u64 {
    let (mut total, mut counted, mut folders) = (0_u64, 0, vec![tree.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            counted += 1;
            if counted > MOST_COUNTED {
                return total;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            total = total.saturating_add(on_disk(&metadata));
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    total
}

/// Removes a file of this name among those that came with messages, through no link that an agent has put there.
pub(super) fn remove_attachment(home: &Home, group: &GroupFolder, name: &str) -> io::Result<()> {
    let folder = crate::held_folder::open_folder(rustix::fs::CWD, home.group(group))?;
    let folder = crate::held_folder::open_folder(&folder, ATTACHMENTS_DIR)?;
    match rustix::fs::unlinkat(&folder, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_the_host_has_named_is_told_from_the_agents_own() {
        assert_eq!(message_of("12-1-beach.jpg"), Some(Seq(12)));
        assert_eq!(message_of("12-1-a-b"), Some(Seq(12)));
        for own in ["notes.md", "12-beach.jpg", "2026-plan", "12-1-", "a-1-b", ".12-1-x.tmp", "12-x-y"] {
            assert_eq!(message_of(own), None, "{own}");
        }
    }
}
