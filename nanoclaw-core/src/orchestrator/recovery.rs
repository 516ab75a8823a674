//! Brings the world back to what the store says, when the host starts: before any channel connects.

use super::{
    blocks::{Ledger, commit_of},
    run::{JOURNAL_LIMITS, RunContext},
};
use crate::{
    group::Group,
    mailbox::{Folder, Mailbox},
    message::Seq,
    protocol::output::JournalEntry,
    run::{Handed, RunEnding},
    store::{BlockOutcome, GroupRecovery, StoreError, StoredRun},
    time::Timestamp,
};

/// Removes the containers that an earlier host of this installation left behind, of this installation alone (fault F33).
pub(super) async fn remove_orphans(context: &RunContext) -> Result<(), StoreError> {
    let install = context.store.install_id().await?;
    let orphans = match context.runtime.list(&install).await {
        Ok(orphans) => orphans,
        Err(error) => {
            tracing::warn!(%error, "cannot list containers of an earlier host; none is removed");
            return Ok(());
        }
    };
    for orphan in orphans {
        tracing::info!(container = %orphan.id, group = %orphan.group, run = %orphan.number, "removing an earlier host's container");
        if let Err(error) = context.runtime.remove(&orphan.id).await {
            tracing::error!(container = %orphan.id, %error, "cannot remove it");
        }
    }
    Ok(())
}

/// Commits what a run said while nobody listened, from its journal, and closes it as lost: what it did not answer is
/// pending again.
async fn finish_lost_run(context: &RunContext, group: &Group, run: &StoredRun) -> Result<(), StoreError> {
    if let Ok(journal) = Mailbox::new(context.launcher.mailbox(&group.folder)).output() {
        commit_journal(context, group, run, &journal).await?;
    }
    let ending = RunEnding::Lost { reason: "the host ended while it ran".to_owned() };
    context.store.close_run(&run.id, &ending, Timestamp::now()).await
}

/// Files are looked at in portions; each is removed when its block is stored, so that the next portion holds others.
async fn commit_journal(
    context: &RunContext,
    group: &Group,
    run: &StoredRun,
    journal: &Folder,
) -> Result<(), StoreError> {
    loop {
        let files = match journal.claim(&JOURNAL_LIMITS) {
            Ok(files) if files.is_empty() => return Ok(()),
            Ok(files) => files,
            Err(error) => {
                tracing::error!(run = %run.id, %error, "cannot read the journal; what the run said in it is not known");
                return Ok(());
            }
        };
        for file in files {
            let entry = file.content.ok().and_then(|bytes| serde_json::from_slice::<JournalEntry>(&bytes).ok());
            if let Some(entry) = entry.filter(|entry| entry.run == run.id.number) {
                commit(context, group, run, &entry).await?;
            }
            if let Err(error) = journal.remove(&file.name) {
                tracing::error!(run = %run.id, %error, "cannot empty the journal");
                return Ok(());
            }
        }
    }
}

async fn commit(context: &RunContext, group: &Group, run: &StoredRun, entry: &JournalEntry) -> Result<(), StoreError> {
    // Which turns the run held is in the store alone, which lets a block answer no more than those. A block that names
    // nothing answers nothing here: what it meant cannot be known without its turns.
    let mut ledger = Ledger::new(Handed { first: Seq::ZERO, last: Seq(i64::MAX) });
    let mut commit = commit_of(&run.id, &group.chat, entry.number, &entry.block, &mut ledger);
    commit.answers = commit.answers.filter(|_| entry.block.answered_seq.is_some());
    match context.store.commit_block(&run.id, &commit).await? {
        BlockOutcome::Committed(_) => {
            tracing::info!(run = %run.id, block = entry.number.0, "committed from the journal")
        }
        BlockOutcome::Duplicate | BlockOutcome::Fenced => {}
    }
    Ok(())
}

/// All groups as they stand after every run that a dead host left open is finished.
pub(super) async fn groups(context: &RunContext) -> Result<Vec<GroupRecovery>, StoreError> {
    let open = context.store.open_runs().await?;
    // A host that ended well left none open, and then there is nothing to look up.
    let groups = if open.is_empty() { Vec::new() } else { context.store.groups().await? };
    for run in open {
        match groups.iter().find(|group| group.folder == run.id.group) {
            Some(group) => finish_lost_run(context, group, &run).await?,
            None => {
                let ending = RunEnding::Lost { reason: "its group was removed".to_owned() };
                context.store.close_run(&run.id, &ending, Timestamp::now()).await?;
            }
        }
    }
    context.store.recover().await
}
