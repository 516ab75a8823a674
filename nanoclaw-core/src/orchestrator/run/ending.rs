//! How a run ends.

use super::{HOST, complaints::on_one_line, live::Live};
use crate::{
    orchestrator::{
        blocks::LAST_NOTE,
        event::{RunWord, StopReason},
    },
    protocol::{gateway::NO_GATEWAY_CODE, mounts::MOUNT_CHANGED_CODE},
    run::{Retry, RunEnding, Trouble},
    runtime::Exit,
    store::{BlockCommit, BlockOutcome},
    time::Timestamp,
};

impl Live<'_> {
    pub(super) async fn ending(&mut self, exit: Exit) -> RunEnding {
        let ending = self.ending_seen(exit).await;
        let about_messages =
            matches!(ending, RunEnding::Failed { .. } | RunEnding::Crashed { .. }) && ending.counts_as_try();
        // An agent that got half a prompt, because the host died while it wrote it, can only fail.
        if self.prompt_in_doubt && about_messages { RunEnding::HostEnded } else { ending }
    }

    async fn ending_seen(&mut self, exit: Exit) -> RunEnding {
        if self.asked_to_end == Some(StopReason::Commanded) {
            return RunEnding::Stopped;
        }
        if let Some(reason) = self.lost.take() {
            return RunEnding::Lost { reason };
        }
        if let Some((reason, retry)) = self.failure.take() {
            return RunEnding::Failed { reason, retry };
        }
        match (self.asked_to_end, exit) {
            (Some(StopReason::TimedOut), _) => RunEnding::TimedOut,
            (Some(StopReason::Wanted | StopReason::Commanded), _) => RunEnding::Stopped,
            (None, Exit::Code(0)) => self.clean_ending().await,
            (None, Exit::Code(code)) if code == i32::from(MOUNT_CHANGED_CODE) => {
                let reason = format!("a mount is not what was checked: {}", self.last_words());
                let retry = Retry::WhenMended { trouble: Trouble::Setup, after: None };
                RunEnding::NotStarted { reason, retry }
            }
            // Its command was not started, so no message is to blame. One that has spoken was started, and means something
            // else by this code.
            (None, Exit::Code(code)) if code == i32::from(NO_GATEWAY_CODE) && !self.ledger.spoke() => {
                let words = self.last_words();
                let why = if words.is_empty() { "the gateway did not answer" } else { words.as_str() };
                RunEnding::NotStarted { reason: why.to_owned(), retry: HOST }
            }
            (None, Exit::Unknown) => {
                RunEnding::Lost { reason: "the runtime could not tell how the container ended".to_owned() }
            }
            (None, exit) => RunEnding::Crashed { exit, last_words: self.last_words() },
        }
    }

    /// The end of what it wrote to standard error, on one line: it gets into the log, where a line of its own would be taken
    /// for the host's.
    fn last_words(&self) -> String {
        let last_words: Vec<u8> = self.last_words.iter().copied().collect();
        on_one_line(String::from_utf8_lossy(&last_words).trim().chars())
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
                firing: None,
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
