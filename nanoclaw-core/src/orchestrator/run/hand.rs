//! What the agent is handed: follow-ups, and the wish that it end.

use tokio::time::Instant;

use super::{bring_files, limits_of, live::Live, tries::Tries, wanted};
use crate::{
    message::PlatformMessageId,
    orchestrator::{
        batch::{Missing, next_batch},
        blocks::Size,
        event::{RunWord, StopReason},
    },
    protocol::input::{CLOSE_FILE, FollowUp, follow_up_name},
    run::Handed,
    steps::STEPS,
    time::Timestamp,
};

/// A follow-up on its way to the agent's mailbox, when a step of it has failed and is to be tried again.
///
/// The steps are: read what waits, stage the file, note the turn in the store, publish the file. What a failure, or the end of
/// the host meanwhile, leaves of it:
///
/// | failed | left | the next try, or the next host that adopts the container |
/// | --- | --- | --- |
/// | reading | nothing | begins anew |
/// | staging | nothing | begins anew |
/// | noting | the staged file, and the turn *perhaps*: a store may have done what it says has failed | notes the same turn, which changes nothing when it is there; a host that adopts publishes the file if the turn is there, and removes it if not |
/// | publishing | the staged file and the turn | publishes |
///
/// So while it is not known whether a turn is noted, the file stays and nothing else is handed over: the same messages in
/// another turn would be asked twice, and a turn without a file would pass for one that the agent has. When the run ends
/// first, its turns are unanswered, the messages pending again, and the next run removes the file.
#[derive(Debug)]
pub(super) struct Feeding {
    step: Step,
    tries: Tries,
    again_at: Instant,
}

/// What is to be done next.
#[derive(Debug)]
enum Step {
    Read,
    /// The file is staged.
    Note(Staged),
    /// The turn is noted.
    Publish(Staged),
}

#[derive(Debug, Clone)]
struct Staged {
    handed: Handed,
    name: String,
    size: Size,
    /// Where it was written.
    thread: Option<PlatformMessageId>,
}

/// What became of a step.
enum Done {
    /// The dispatcher has its answer.
    Said(RunWord),
    Next(Step),
}

/// Why a step failed.
struct Failed {
    /// The step to be tried again; `None` when no try can help.
    step: Option<Step>,
    reason: String,
}

impl Failed {
    fn at(step: Step, reason: &dyn std::fmt::Display) -> Self {
        Self { step: Some(step), reason: reason.to_string() }
    }
}

impl Live<'_> {
    /// Hands over what waits, or some of it. An agent takes everything that lies in its mailbox as one prompt, so no more
    /// lies there than fits one. So a flood of one group stays in the inbox, and its agent can be asked to end, for somebody
    /// else's sake, after a turn or two.
    ///
    /// A step that fails is tried again for a while ([`Feeding`]), at [`Live::feed_again_at`], so that the worker hears its
    /// container and its commands meanwhile. The dispatcher has its answer when it has succeeded; when it does not, the run
    /// ends.
    pub(super) async fn feed(&mut self) {
        let (mut step, mut tries) = match self.feeding.take() {
            Some(Feeding { step, tries, .. }) => (step, tries),
            None => (Step::Read, Tries::default()),
        };
        loop {
            let done = match step {
                Step::Read => self.stage_next().await,
                Step::Note(staged) => self.note_staged(staged).await,
                Step::Publish(staged) => self.publish(staged).await,
            };
            let Failed { step: again, reason } = match done {
                Ok(Done::Next(next)) => {
                    step = next;
                    continue;
                }
                Ok(Done::Said(word)) => return self.words.say(word).await,
                Err(failed) => failed,
            };
            let (Some(step), Some(pause)) = (again, tries.pause()) else { return self.lost = Some(reason) };
            tracing::error!(run = %self.id, %reason, ?pause, "cannot hand over what waits; trying again");
            return self.feeding = Some(Feeding { step, tries, again_at: Instant::now() + pause });
        }
    }

    /// When [`Live::feed`] is to be called again; `None` when no step has failed, or the agent is to end.
    pub(super) fn feed_again_at(&self) -> Option<Instant> {
        let ends = self.closing || self.lost.is_some() || self.asked_to_end.is_some();
        self.feeding.as_ref().filter(|_| !ends).map(|feeding| feeding.again_at)
    }

    async fn stage_next(&mut self) -> Result<Done, Failed> {
        let store = &*self.context.store;
        let after = self.ledger.handed_through();
        let mut limits = limits_of(self.context, self.group, self.prompt);
        self.ledger.note_taken(|name| self.folders.input.has(name).unwrap_or(true));
        if !self.ledger.takes_more() {
            return Ok(Done::Said(RunWord::Full));
        }
        let lying = self.ledger.untaken();
        if lying.messages >= limits.messages.max(1) {
            return Ok(Done::Said(RunWord::Full));
        }
        limits.messages = limits.messages.max(1) - lying.messages;
        let wanted = wanted(self.context, self.group, after, limits);
        let batch = next_batch(store, wanted, &Missing::new()).await;
        let Some(batch) = batch.map_err(|error| Failed::at(Step::Read, &error))? else {
            return Ok(Done::Said(RunWord::Handed { through: after }));
        };
        let batch = bring_files(self.context, wanted, batch).await;
        let Some(batch) = batch.map_err(|error| Failed::at(Step::Read, &error))? else {
            return Ok(Done::Said(RunWord::Handed { through: after }));
        };
        if lying.messages > 0 && lying.bytes + batch.text.len() > limits.bytes {
            return Ok(Done::Said(RunWord::Full));
        }
        let size = Size { messages: batch.messages, bytes: batch.text.len() };
        let follow_up = FollowUp::Message {
            text: batch.text,
            first_seq: Some(batch.handed.first),
            last_seq: Some(batch.handed.last),
            files: batch.files.into_iter().map(Into::into).collect(),
        };
        let thread = batch.thread;
        let json = serde_json::to_vec(&follow_up).expect("a follow-up has text keys and plain values");
        let staged = Staged { handed: batch.handed, name: follow_up_name(batch.handed.last), size, thread };
        let name = staged.name.clone();
        match self.with_folders(move |folders| folders.input.stage(&name, &json)).await {
            Ok(()) => Ok(Done::Next(Step::Note(staged))),
            Err(error) => Err(Failed::at(Step::Read, &error)),
        }
    }

    async fn note_staged(&mut self, staged: Staged) -> Result<Done, Failed> {
        match self.context.store.hand_over(self.id, staged.handed, Timestamp::now()).await {
            Ok(()) => {
                self.ledger.handed(staged.handed, staged.name.clone(), staged.size);
                Ok(Done::Next(Step::Publish(staged)))
            }
            Err(error) => Err(Failed::at(Step::Note(staged), &error)),
        }
    }

    async fn publish(&mut self, staged: Staged) -> Result<Done, Failed> {
        let name = staged.name.clone();
        match self.with_folders(move |folders| folders.input.publish(&name)).await {
            Ok(true) => {
                let through = staged.handed.last.0;
                tracing::debug!(target: STEPS, run = %self.id, through, "follow-up written");
                self.typing.show(staged.thread);
                Ok(Done::Said(RunWord::Handed { through: staged.handed.last }))
            }
            Ok(false) => {
                Err(Failed { step: None, reason: "somebody took a follow-up before it had its name".to_owned() })
            }
            Err(error) => Err(Failed::at(Step::Publish(staged), &error)),
        }
    }

    /// Notes in the store which turns the agent has by now, as far as that is not noted. Nothing depends on it but what is
    /// known of the run afterwards, so a failure is told and no more.
    pub(super) async fn note_taken(&mut self) {
        self.ledger.note_taken(|name| self.folders.input.has(name).unwrap_or(true));
        if self.prompt_in_doubt {
            return;
        }
        let Some(through) = self.ledger.taken_not_noted() else { return };
        match self.context.store.turns_taken(self.id, through, Timestamp::now()).await {
            Ok(()) => self.ledger.noted_taken(through),
            Err(error) => tracing::warn!(run = %self.id, %error, "cannot note what the agent has taken"),
        }
    }

    pub(super) async fn ask_to_end(&mut self) {
        if let Err(error) = self.with_folders(|folders| folders.input.write_fleeting(CLOSE_FILE, b"")).await {
            tracing::warn!(run = %self.id, %error, "cannot ask the agent to end; its container is stopped");
            self.asked_to_end = Some(StopReason::Wanted);
        }
    }
}
