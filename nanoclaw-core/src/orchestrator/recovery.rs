//! Brings the world back to what the store says when the host starts: the containers that outlived the last host are taken
//! over, what dead ones said is committed, what belongs to nobody is removed.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::run::{Adoptee, RunContext, finish};
use crate::{
    group::Group,
    run::{RunEnding, RunId, RunKind},
    runtime::{ContainerSummary, RuntimeError},
    store::{StoreError, StoredRun, StoredTurn},
    time::Timestamp,
};

/// Why nobody knows how the runs stand that an earlier host left.
#[derive(Debug, thiserror::Error)]
pub(super) enum SurveyError {
    /// The runtime does not say which containers there are, or does not do with them what it is asked. Nothing was concluded
    /// from that: the runs are open.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of the runs that an earlier host left open.
pub(super) struct Survey {
    /// Their containers live.
    pub(super) adopted: Vec<Adoptee>,
    /// They are closed.
    pub(super) ended: Vec<(RunId, RunEnding)>,
}

/// Looks what became of the runs in `left`, which an earlier host left open, and acts on it: those whose containers live are
/// returned, to be adopted; the others are finished, and returned with how they ended. Then there is no container of this installation but of those and of
/// runs that are open and not in `left`. Containers of others are never touched (fault F33).
///
/// # Errors
/// [`SurveyError`]; it can be tried again.
pub(super) async fn survey(context: &RunContext, left: &[StoredRun]) -> Result<Survey, SurveyError> {
    let install = context.store.install_id().await?;
    let listed = context.runtime.list(&install).await?;
    // Some engine may name a container twice.
    let mut containers: BTreeMap<_, _> = listed.into_iter().map(|one| (one.id.clone(), one)).collect();
    // Asked after the containers: each that this host started meanwhile is of a run that was open before.
    let open: BTreeSet<RunId> = context.store.open_runs().await?.into_iter().map(|run| run.id).collect();
    let groups = context.store.groups().await?;

    let (mut adopted, mut ended, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    for run in left.iter().filter(|run| open.contains(&run.id)) {
        let Some(group) = groups.iter().find(|group| group.folder == run.id.group) else {
            let ending = RunEnding::Lost { reason: "its group was removed".to_owned() };
            context.store.close_run(&run.id, &ending, Timestamp::now()).await?;
            ended.push((run.id.clone(), ending));
            continue;
        };
        let turns = context.store.turns(&run.id).await?;
        let container = containers.values().find(|one| is_of(one, run)).cloned();
        match container {
            Some(container) if adoptable(context, run, &container, &turns) => {
                match take(context, group, run, turns.clone(), &container).await? {
                    Some(adoptee) => {
                        containers.remove(&container.id);
                        adopted.push(adoptee);
                    }
                    None => dead.push((group, run, turns)),
                }
            }
            _ => dead.push((group, run, turns)),
        }
    }

    let of_others = |one: &ContainerSummary| {
        let of_a_run = |run: &RunId| run.group == one.group && run.number == one.number;
        open.iter().any(of_a_run) && !left.iter().any(|run| of_a_run(&run.id))
    };
    let unwanted: Vec<_> = containers.values().filter(|one| !of_others(one)).collect();
    // Side by side: each may take the engine a while (fault F34).
    for (container, removed) in
        unwanted.iter().zip(join_all(unwanted.iter().map(|one| context.runtime.remove(&one.id))).await)
    {
        let ContainerSummary { id, group, number, .. } = container;
        match removed {
            Ok(()) => tracing::info!(container = %id, %group, run = %number, "removed an earlier host's container"),
            Err(error) => {
                tracing::error!(container = %id, %error, "cannot remove an earlier host's container");
                if dead.iter().any(|(_, run, _)| is_of(container, run)) {
                    return Err(error.into());
                }
            }
        }
    }
    for (group, run, turns) in dead {
        let ending = finish(context, group, run, &turns).await?;
        ended.push((run.id.clone(), ending));
    }
    Ok(Survey { adopted, ended })
}

fn is_of(container: &ContainerSummary, run: &StoredRun) -> bool {
    container.group == run.id.group && container.number == run.id.number
}

fn adoptable(context: &RunContext, run: &StoredRun, container: &ContainerSummary, turns: &[StoredTurn]) -> bool {
    container.running && run.runtime == context.runtime.kind() && run.kind == RunKind::Chat && !turns.is_empty()
}

/// Watches the container and opens what its run needs; `None` when it has ended, or cannot be given what it needs.
async fn take(
    context: &RunContext,
    group: &Group,
    run: &StoredRun,
    turns: Vec<StoredTurn>,
    container: &ContainerSummary,
) -> Result<Option<Adoptee>, SurveyError> {
    let exit = match context.runtime.adopt(&container.id).await {
        Ok(exit) => exit,
        Err(RuntimeError::Gone { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match context.launcher.rejoin(group, &run.id).await {
        Ok(rejoined) => Ok(Some(Adoptee { run: run.clone(), turns, container: container.id.clone(), exit, rejoined })),
        Err(error) => {
            tracing::error!(run = %run.id, %error, "cannot go on with a container that outlived its host; it is removed");
            Ok(None)
        }
    }
}
