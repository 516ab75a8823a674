//! A run that does a scheduled task: it takes no follow-ups, and ends when the task is done.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};

use super::{
    Command, HOST, RunContext, Words, leave,
    live::{Left, Live},
    make_ready, not_started,
};
use crate::{
    group::Group,
    prompt::visible_reply,
    protocol::output::{Block, Status},
    run::{Retry, RunEnding, RunId, RunKind, TaskId},
    store::{BlockCommit, NewRun, SessionContext},
    tasks::{FiringWord, Task, TaskContext},
    time::Timestamp,
};

/// How long an agent that has answered may go on before it is asked to end: it may have more to say (number: NanoClaw v1).
const AFTER_ANSWER: Duration = Duration::from_secs(10);
/// The same of one that gives signs of life: it ends by itself when what it left in the background is done.
const AFTER_ANSWER_OF_OURS: Duration = Duration::from_secs(11 * 60);

/// What is to be known of a firing whose script said that there is nothing to do.
const ASLEEP: &str = "its script let the agent sleep";

/// What a run does that is not the chat's.
#[derive(Debug, Clone)]
pub(in crate::orchestrator) struct Errand {
    pub(super) task: Task,
}

impl Errand {
    /// The conversation that it goes on with; `None`: a new one, which is not kept.
    pub(super) fn session_context(&self) -> Option<SessionContext> {
        match self.task.terms.context {
            TaskContext::Group => Some(SessionContext::Chat),
            TaskContext::Isolated => None,
            TaskContext::Own => Some(SessionContext::Task(self.task.id.clone())),
        }
    }

    /// Makes what a block means for a chat what it means for this.
    pub(super) fn adapt(&self, commit: &mut BlockCommit, block: &Block) {
        commit.session = commit.session.take().and_then(|(_, session)| Some((self.session_context()?, session)));
        if self.task.terms.silent {
            commit.reply = None;
        }
        if block.status == Status::Success {
            commit.firing = Some(FiringWord {
                text: block.result.as_deref().and_then(visible_reply),
                remark: (block.woke == Some(false)).then(|| ASLEEP.to_owned()),
                cost_micros: block.cost_usd.map(|cost| i64::try_from(cost.millionths()).unwrap_or(i64::MAX)),
            });
        }
    }
}

impl Live<'_> {
    /// The task is done, as far as is known.
    pub(super) fn errand_done(&mut self) {
        let more = if self.beats.given() { AFTER_ANSWER_OF_OURS } else { AFTER_ANSWER };
        self.errand_done_at = Some(Instant::now() + more);
    }
}

pub(super) async fn start_and_serve(
    context: &RunContext,
    group: &Group,
    id: &RunId,
    task: TaskId,
    commands: &mut mpsc::Receiver<Command>,
    words: &Words,
) -> Left {
    let Some(agenda) = &context.agenda else {
        let reason = "this host does not run scheduled tasks".to_owned();
        return Left::Ended(RunEnding::NotStarted { reason, retry: Retry::Never });
    };
    let kind = RunKind::Task(task.clone());
    let new_run = NewRun { id: id.clone(), kind, runtime: context.runtime.kind(), handed: None, at: Timestamp::now() };
    // Neither needs the other. What is made ready for a run that has nothing to do is made ready anew for the next.
    let ready = make_ready(context, group, id, &new_run.kind, words);
    let (begun, ready) = tokio::join!(agenda.tasks.begin(&new_run), ready);
    let left = match begun {
        Ok(Some((task, firing))) => {
            tracing::info!(run = %id, runtime = %new_run.runtime, task = %task.id, firing = firing.id.0, "run opened");
            let started = async {
                let (live, spec) = ready?;
                live.start_errand(&spec, Errand { task }).await
            };
            match started.await {
                Ok((live, container)) => live.serve(container, commands).await,
                Err(ending) => Left::Ended(ending),
            }
        }
        // It was paused or cancelled meanwhile, or its time is not yet.
        Ok(None) => {
            tracing::info!(run = %id, %task, "a task has nothing to do any more");
            return Left::Ended(RunEnding::Finished);
        }
        Err(error) => {
            agenda.try_again(group, &task);
            Left::Ended(not_started(&error, HOST))
        }
    };
    leave(&*context.store, id, &left).await;
    if let Left::Ended(ending) = &left {
        context.errand_ended(id, group, ending).await;
    }
    left
}

impl RunContext {
    /// A run is over, which may have been at a task.
    pub(super) async fn errand_ended(&self, id: &RunId, group: &Group, ending: &RunEnding) {
        if let Some(agenda) = &self.agenda
            && let Err(error) = agenda.run_ended(id, group, ending).await
        {
            tracing::error!(run = %id, %error, "cannot note how a task's run ended; trying again");
            agenda.see_to(id, ending.clone());
        }
    }

    /// The same of a run that nobody has served to its end; the scheduler sees to it.
    pub(in crate::orchestrator) fn errand_is_over(&self, id: &RunId, ending: RunEnding) {
        if let Some(agenda) = &self.agenda {
            agenda.see_to(id, ending);
        }
    }

    /// What a run is at, when it is a task.
    pub(in crate::orchestrator) async fn errand_of(
        &self,
        run: &RunId,
        kind: &RunKind,
    ) -> Result<Option<Errand>, crate::store::StoreError> {
        match (&self.agenda, kind) {
            (Some(agenda), RunKind::Task(_)) => {
                let found = agenda.tasks.firing_of(run).await?;
                Ok(found.map(|(task, _)| Errand { task }))
            }
            _ => Ok(None),
        }
    }
}
