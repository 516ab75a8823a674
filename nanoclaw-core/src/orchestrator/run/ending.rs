//! How a run ends, and how its container is ended.

use std::{future::Future, pin::Pin, time::Duration};

use super::{RunContext, live::Live};
use crate::{
    orchestrator::{
        blocks::LAST_NOTE,
        event::{RunWord, StopReason},
    },
    run::{Retry, RunEnding},
    runtime::{ContainerId, ContainerRuntime, Exit, StopOutcome},
    store::{BlockCommit, BlockOutcome},
    time::Timestamp,
};

/// How often stopping a container is tried, and the pause before the next try.
const STOP_TRIES: u32 = 3;
const STOP_PAUSE: Duration = Duration::from_secs(5);

impl Live<'_> {
    pub(super) async fn ending(&mut self, exit: Exit) -> RunEnding {
        let ending = self.ending_seen(exit).await;
        let about_messages =
            matches!(ending, RunEnding::Failed { .. } | RunEnding::Crashed { .. }) && ending.counts_as_try();
        // An agent that got half a prompt, because the host died while it wrote it, can only fail.
        if self.prompt_in_doubt && about_messages { RunEnding::HostEnded } else { ending }
    }

    async fn ending_seen(&mut self, exit: Exit) -> RunEnding {
        if let Some(reason) = self.lost.take() {
            return RunEnding::Lost { reason };
        }
        if let Some((reason, retry)) = self.failure.take() {
            return RunEnding::Failed { reason, retry };
        }
        match (self.asked_to_end, exit) {
            (Some(StopReason::TimedOut), _) => RunEnding::TimedOut,
            (Some(StopReason::Wanted), _) => RunEnding::Stopped,
            (None, Exit::Code(0)) => self.clean_ending().await,
            (None, Exit::Unknown) => {
                RunEnding::Lost { reason: "the runtime could not tell how the container ended".to_owned() }
            }
            (None, exit) => {
                let last_words: Vec<u8> = self.last_words.iter().copied().collect();
                RunEnding::Crashed { exit, last_words: String::from_utf8_lossy(&last_words).trim().to_owned() }
            }
        }
    }

    /// Code 0. An agent that names no messages in its blocks (v1) says by this that it is done with all it has taken.
    async fn clean_ending(&mut self) -> RunEnding {
        self.ledger.note_taken(|name| self.folders.input.has(name).unwrap_or(true));
        if let Some(through) = self.ledger.taken_by_silent_agent() {
            let commit = BlockCommit {
                number: LAST_NOTE,
                reply: None,
                answers: Some(through),
                session: None,
                taken: None,
                names_messages: false,
                at: Timestamp::now(),
            };
            match self.commit(&commit).await {
                Ok(BlockOutcome::Committed(_) | BlockOutcome::Duplicate) => {
                    self.ledger.answered(through);
                    self.words.say(RunWord::Answered { through }).await;
                }
                Ok(_) => {}
                Err(error) => return RunEnding::Lost { reason: error.to_string() },
            }
        }
        if self.ledger.all_answered() || self.closing {
            RunEnding::Finished
        } else {
            RunEnding::Failed { reason: "the agent ended without an answer".to_owned(), retry: Retry::Later }
        }
    }
}

/// The stopping of a container, tried again for as long as its end is not seen.
#[derive(Default)]
pub(super) struct Stopping {
    tries: u32,
    now: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stopping {
    /// Begins a try unless one goes on; `false` when it was tried too often.
    pub(super) fn begin(&mut self, context: &RunContext, container: &ContainerId) -> bool {
        if self.now.is_some() {
            return true;
        }
        if self.tries == STOP_TRIES {
            return false;
        }
        let pause = if self.tries == 0 { Duration::ZERO } else { STOP_PAUSE };
        self.tries += 1;
        let (runtime, container, grace) = (context.runtime.clone(), container.clone(), context.settings.stop_grace);
        self.now = Some(Box::pin(async move {
            tokio::time::sleep(pause).await;
            stop(&*runtime, &container, grace).await;
            // Its end is on its way; when it does not come, that was no success.
            tokio::time::sleep(STOP_PAUSE).await;
        }));
        true
    }

    /// Whether the container is being stopped.
    pub(super) fn begun(&self) -> bool {
        self.tries > 0
    }

    /// Waits for the end of a try; for ever when there is none.
    pub(super) async fn done(&mut self) {
        match &mut self.now {
            Some(stopping) => stopping.await,
            None => std::future::pending().await,
        }
        self.now = None;
    }
}

async fn stop(runtime: &dyn ContainerRuntime, container: &ContainerId, grace: Duration) {
    match runtime.stop(container, grace).await {
        Ok(StopOutcome::Killed) => {
            tracing::warn!(%container, ?grace, "the container did not end when stopped and was killed")
        }
        Ok(StopOutcome::Ended | StopOutcome::Gone) => {}
        Err(error) => {
            tracing::error!(%container, %error, "cannot stop the container; trying to remove it");
            if let Err(error) = runtime.remove(container).await {
                tracing::error!(%container, %error, "cannot remove the container");
            }
        }
    }
}
