//! Brings the world back to what the store says, when the host starts and whenever something is in doubt: the containers that
//! outlived the last host are taken over, what dead ones said is committed, what belongs to nobody is removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;

use super::run::{Adoptee, Errand, Held, Known, RunContext, finish, remedy, worker_failed};
use crate::{
    group::Group,
    run::{RunEnding, RunId},
    runtime::{AdoptedContainer, ContainerId, ContainerSummary, InstallId, RuntimeError},
    store::{StoreError, StoredRun, StoredTurn},
    time::Timestamp,
};

/// Why nobody knows how the runs stand that an earlier host left.
#[derive(Debug, thiserror::Error)]
pub(super) enum SurveyError {
    /// The runtime does not say which containers there are. Nothing was concluded from that: the runs are open.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of the runs that an earlier host left open.
#[derive(Default)]
pub(super) struct Survey {
    /// Their containers live.
    pub(super) adopted: Vec<Adoptee>,
    /// They are closed.
    pub(super) ended: Vec<(RunId, RunEnding)>,
    /// Their containers live, or may, and could be neither taken over nor removed: they are open.
    pub(super) held: Vec<StoredRun>,
    /// How many containers of no open run live, or may, and could not be removed. Their groups are in doubt.
    pub(super) left_over: usize,
}

/// A run whose container does not live, or is not to.
struct Over {
    /// `None` when it was removed.
    group: Option<Arc<Group>>,
    run: StoredRun,
    turns: Vec<StoredTurn>,
    errand: Option<Errand>,
}

/// Looks what became of the runs in `left`, which an earlier host left open, and acts on it: those whose containers live are
/// returned, to be adopted; the others are finished, and returned with how they ended. Then there is no container of this
/// installation but of those, of runs that are open and not in `left`, and those that could not be removed, which are
/// returned as well. Containers of others are never touched (fault F33). A container that is dead and cannot be removed
/// keeps nobody waiting.
///
/// # Errors
/// [`SurveyError`]; it can be tried again.
pub(super) async fn survey(context: &RunContext, left: &[StoredRun]) -> Result<Survey, SurveyError> {
    let (doubts, abandoned) = (context.doubts.now(), context.doubts.abandoned());
    let install = context.store.install_id().await?;
    let listed = context.runtime.list(&install).await?;
    // Some engine may name a container twice.
    let mut containers: BTreeMap<_, _> = listed.into_iter().map(|one| (one.id.clone(), one)).collect();
    // Asked after the containers: each that this host started meanwhile is of a run that was open before.
    let open: BTreeSet<RunId> = context.store.open_runs().await?.into_iter().map(|run| run.id).collect();
    let groups: Vec<Arc<Group>> = context.store.groups().await?.into_iter().map(Arc::new).collect();

    let (mut survey, mut over, mut alive) = (Survey::default(), Vec::new(), Vec::new());
    for run in left.iter().filter(|run| open.contains(&run.id)) {
        let group = groups.iter().find(|group| group.folder == run.id.group).cloned();
        let errand = context.errand_of(&run.id, &run.kind).await?;
        let run = Over { group, run: run.clone(), turns: context.store.turns(&run.id).await?, errand };
        match containers.values().find(|one| is_of(one, &run.run) && adoptable(context, &run, one)).cloned() {
            Some(container) => alive.push((run, container)),
            None => over.push(run),
        }
    }
    // Side by side, like the removals below: each may take the engine a while (fault F34).
    let taken = join_all(alive.iter().map(|(run, container)| take(context, run, container))).await;
    for ((run, container), taken) in alive.into_iter().zip(taken) {
        match taken {
            Ok(Some(adoptee)) => {
                containers.remove(&container.id);
                survey.adopted.push(adoptee);
            }
            Ok(None) => over.push(run),
            Err(error) => {
                tracing::error!(run = %run.run.id, container = %container.id, %error, "cannot take over a container");
                containers.remove(&container.id);
                survey.held.push(run.run);
            }
        }
    }

    let of_others = |one: &ContainerSummary| {
        let of_a_run = |run: &&RunId| run.group == one.group && run.number == one.number;
        open.difference(&abandoned).any(|run| of_a_run(&run)) && !left.iter().any(|run| of_a_run(&&run.id))
    };
    let unwanted: Vec<_> = containers.into_values().filter(|one| !of_others(one)).collect();
    let remaining = remove_all(context, &install, unwanted).await;
    let remaining_ids = remaining.iter().map(|(container, _)| container.id.clone()).collect();
    let living: Vec<&ContainerSummary> =
        remaining.iter().filter(|(_, known)| *known == Known::Alive).map(|(container, _)| container).collect();
    let in_doubt = living.iter().map(|container| container.group.clone()).collect();
    context.doubts.looked_into(&doubts, &in_doubt, &remaining_ids);
    // Their runs stay open, and are held.
    let (held, over): (Vec<Over>, Vec<Over>) =
        over.into_iter().partition(|over| living.iter().any(|container| is_of(container, &over.run)));
    let of_held = |container: &ContainerSummary| held.iter().any(|held| is_of(container, &held.run));
    survey.left_over = living.iter().filter(|container| !of_held(container)).count();
    survey.held.extend(held.into_iter().map(|held| held.run));

    for run in abandoned.intersection(&open) {
        if !living.iter().any(|one| one.group == run.group && one.number == run.number) {
            context.store.close_run(run, &worker_failed(), Timestamp::now()).await?;
            context.errand_is_over(run, worker_failed());
        }
    }
    for Over { group, run, turns, .. } in over {
        let ending = match group {
            Some(group) => finish(context, &group, &run, &turns, None).await?,
            None => {
                let ending = RunEnding::Lost { reason: "its group was removed".to_owned() };
                context.store.close_run(&run.id, &ending, Timestamp::now()).await?;
                context.errand_is_over(&run.id, ending.clone());
                ending
            }
        };
        survey.ended.push((run.id, ending));
    }
    Ok(survey)
}

/// Removes the containers; returns those that are left, dead ones and such that live or may live.
async fn remove_all(
    context: &RunContext,
    install: &InstallId,
    unwanted: Vec<ContainerSummary>,
) -> Vec<(ContainerSummary, Known)> {
    let results = join_all(unwanted.iter().map(|one| context.runtime.remove(&one.id))).await;
    let mut failed = Vec::new();
    for (container, removed) in unwanted.into_iter().zip(results) {
        let ContainerSummary { id, group, number, .. } = &container;
        match removed {
            Ok(()) => {
                tracing::info!(container = %id, %group, run = %number, "removed a container of a run that is over")
            }
            Err(error) => failed.push((container, error)),
        }
    }
    if failed.is_empty() {
        return Vec::new();
    }
    let listed = context.runtime.list(install).await;
    let known = |id: &ContainerId| listed.as_ref().map_or(Known::Alive, |listed| Known::of(id, listed));
    let mut left = Vec::new();
    for (container, error) in failed {
        let ContainerSummary { id, group, number, .. } = &container;
        let known = match known(id) {
            Known::Dead if !context.doubts.is_dead(id) => Known::Alive,
            known => known,
        };
        match known {
            Known::Gone => continue,
            Known::Dead => tracing::warn!(
                container = %id, %group, run = %number, %error,
                "a dead container cannot be removed; it hurts nobody, and is tried again"
            ),
            Known::Alive => tracing::error!(
                container = %id, %group, run = %number, %error, remedy = remedy(context.runtime.kind(), id),
                "cannot remove a container of a run that is over; its group waits and a slot is taken until it is gone"
            ),
        }
        left.push((container, known));
    }
    left
}

fn is_of(container: &ContainerSummary, run: &StoredRun) -> bool {
    container.group == run.id.group && container.number == run.id.number
}

fn adoptable(context: &RunContext, over: &Over, container: &ContainerSummary) -> bool {
    let Over { group, run, turns, errand } = over;
    group.is_some()
        && container.running
        && run.runtime == context.runtime.kind()
        && (errand.is_some() || !turns.is_empty())
}

/// Watches the container and opens what its run needs; `None` when it has ended, or cannot be given what it needs.
async fn take(
    context: &RunContext,
    over: &Over,
    container: &ContainerSummary,
) -> Result<Option<Adoptee>, RuntimeError> {
    let Over { group: Some(group), run, turns, errand } = over else { return Ok(None) };
    let AdoptedContainer { exit, errors } = match context.runtime.adopt(&container.id).await {
        Ok(adopted) => adopted,
        Err(RuntimeError::Gone { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    match context.launcher.rejoin(group, &run.id).await {
        Ok(rejoined) => {
            let container = Held { id: container.id.clone(), output: errors, exit };
            let (group, run, turns, errand) = (group.clone(), run.clone(), turns.clone(), errand.clone());
            Ok(Some(Adoptee { group, run, turns, errand, container, rejoined }))
        }
        Err(error) => {
            tracing::error!(run = %run.id, %error, "cannot go on with a container that outlived its host; it is removed");
            Ok(None)
        }
    }
}
