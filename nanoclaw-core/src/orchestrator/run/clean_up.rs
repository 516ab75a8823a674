//! After a worker that failed (it panicked): its container is seen gone, what it said is kept, its run is closed.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    Command, RunContext, Words, finish,
    leftover::{Fate, Leftover, Waited, containers_of, wait},
};
use crate::{
    group::Group,
    message::Seq,
    orchestrator::{control::Input, event::RunWord, retry::runtime_retry_delay},
    run::{Retry, RunEnding, RunId},
    runtime::Exit,
    store::StoreError,
};

/// How a run ends whose worker failed. It counts as a try: what makes workers fail is set aside in the end like anything
/// else that fails each time.
pub(in crate::orchestrator) fn worker_failed() -> RunEnding {
    RunEnding::Failed { reason: "its worker failed; see the log".to_owned(), retry: Retry::Later }
}

/// Cleans up after the failed worker of `id` and returns its last word. `group` is `None` when it was removed meanwhile.
pub(in crate::orchestrator) async fn clean_up(
    context: Arc<RunContext>,
    group: Option<Arc<Group>>,
    id: RunId,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Input>,
) -> RunWord {
    let words = Words { run: id.clone(), events };
    words.say(RunWord::Ending).await;
    let mut failed = 0;
    let containers = loop {
        match containers_of(&context, &id).await {
            Ok(containers) => break containers,
            Err(error) => {
                failed += 1;
                tracing::error!(run = %id, error, "cannot learn whether the container of a failed worker lives");
                if wait(&mut commands, runtime_retry_delay(failed)).await == Waited::Detached {
                    return RunWord::Detached;
                }
            }
        }
    };
    for container in &containers {
        tracing::warn!(run = %id, %container, "ending the container of a failed worker");
        let leftover = Leftover::new(&context, &words, container, Exit::Unknown);
        if leftover.see_gone(&mut commands, false).await == Fate::LetGo {
            return RunWord::Detached;
        }
    }
    let mut failed = 0;
    loop {
        match close(&context, group.as_deref(), &id).await {
            Ok(Some(through)) => words.say(RunWord::Answered { through }).await,
            Ok(None) => {}
            Err(error) => {
                failed += 1;
                tracing::error!(run = %id, %error, "cannot close the run of a failed worker; trying again");
                if wait(&mut commands, runtime_retry_delay(failed)).await == Waited::Detached {
                    return RunWord::Detached;
                }
                continue;
            }
        }
        return RunWord::Ended { ending: worker_failed() };
    }
}

/// Keeps what the run said and asked for and closes it; up to where more is answered now than before.
async fn close(context: &RunContext, group: Option<&Group>, id: &RunId) -> Result<Option<Seq>, StoreError> {
    let Some(run) = context.store.open_runs().await?.into_iter().find(|run| run.id == *id) else { return Ok(None) };
    let Some(group) = group else {
        super::close(&*context.store, id, &worker_failed()).await;
        return Ok(None);
    };
    let before = context.store.cursor(&id.group).await?;
    let turns = context.store.turns(id).await?;
    finish(context, group, &run, &turns, Some(worker_failed())).await?;
    let after = context.store.cursor(&id.group).await?;
    Ok((after > before).then_some(after))
}
