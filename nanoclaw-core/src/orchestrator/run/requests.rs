//! What an agent asks for by files: taken in their order and at a bounded pace, decided at the [desk](super::super::desk),
//! answered, and removed only then.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    RunContext,
    complaints::{Complaints, in_short},
    files::{Folders, off_the_loop},
    live::Live,
};
use crate::{
    mailbox::{Claimed, Folder, Limits},
    orchestrator::{desk, event::RunWord},
    pace::Pace,
    protocol::requests::{Answer, MOST_REQUEST_BYTES},
    run::RunId,
    store::StoreError,
};

/// Which of an agent's two folders of requests.
#[derive(Debug, Clone, Copy)]
enum Tray {
    Messages,
    Tasks,
}

impl Tray {
    fn folder(self) -> fn(&Folders) -> &Folder {
        match self {
            Self::Messages => |folders| &folders.messages,
            Self::Tasks => |folders| &folders.tasks,
        }
    }

    async fn decide(self, context: &RunContext, run: &RunId, claimed: &Claimed) -> Result<Answer, StoreError> {
        match self {
            Self::Messages => desk::message(context, run, claimed).await,
            Self::Tasks => desk::task(context, run, claimed).await,
        }
    }
}

/// How many requests are answered at a time, and the pause after as many.
const REQUEST_LIMITS: Limits = Limits { file_bytes: MOST_REQUEST_BYTES, names: 50 };
const REQUEST_PAUSE: Duration = Duration::from_millis(250);
/// How much a run may ask for: so much at once, and then one a second. More is refused, and costs the store nothing.
const REQUESTS_AT_ONCE: u32 = 120;
const REQUEST_EVERY: Duration = Duration::from_secs(1);
/// A large request counts as several: one more for each so many bytes of it.
const REQUEST_COST_BYTES: usize = 16 * 1024;
/// How often requests are looked for after the container has ended.
const LAST_ROUNDS: u32 = 8;
/// The same for a run of an earlier host.
const LAST_LOOKS: u32 = 40;
/// What an agent is told that asks too often.
const TOO_MANY: &str = "this agent asks for too much: 120 requests at once and then one a second, where large ones count as \
                        several; wait a minute and ask again";
/// How long an answer that cannot be written is tried again: as long as our own agent waits for it. After that it is missing,
/// so that an agent that spoils its folder of answers delays nothing but its own requests, and those for a while.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// A request whose answer cannot be written.
pub(super) struct Unanswered {
    name: String,
    since: Instant,
}

/// How much a run may ask for.
pub(super) fn request_pace() -> Pace {
    Pace::new(REQUESTS_AT_ONCE, REQUEST_EVERY)
}

/// What a request costs of it.
fn cost(claimed: &Claimed) -> u32 {
    let bytes = claimed.content.as_ref().map_or(0, Vec::len);
    1 + u32::try_from(bytes / REQUEST_COST_BYTES).unwrap_or(u32::MAX / 2)
}

/// Whether anybody waits for answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Waits,
    Gone,
}

/// Does what a run asked for and no host has done, under that run's name; nobody is there to be answered. What goes beyond
/// [`REQUESTS_AT_ONCE`] is removed unread, a few thousand files at most: other groups wait for this.
///
/// # Errors
/// When the store fails; what is left stays for the next try.
pub(in crate::orchestrator) async fn finish_requests(
    context: &RunContext,
    run: &RunId,
    folders: &Arc<Folders>,
) -> Result<(), StoreError> {
    let (mut pace, mut complaints) = (request_pace(), Complaints::new());
    for tray in [Tray::Messages, Tray::Tasks] {
        finish_tray(context, run, folders, tray, &mut pace, &mut complaints).await?;
    }
    Ok(())
}

async fn finish_tray(
    context: &RunContext,
    run: &RunId,
    folders: &Arc<Folders>,
    tray: Tray,
    pace: &mut Pace,
    complaints: &mut Complaints,
) -> Result<(), StoreError> {
    let folder = tray.folder();
    for _ in 0..LAST_LOOKS {
        let claimed = folders.clone();
        let files = match off_the_loop(move || folder(&claimed).claim(&REQUEST_LIMITS)).await {
            Ok(files) if files.is_empty() => return Ok(()),
            Ok(files) => files,
            Err(error) => {
                tracing::error!(%run, %error, "cannot read what the agent asked for");
                return Ok(());
            }
        };
        for claimed in files {
            let answer = match pace.wait() {
                None => tray.decide(context, run, &claimed).await?,
                Some(_) => Answer::Refused { reason: TOO_MANY.to_owned() },
            };
            match answer {
                Answer::Done { .. } => pace.spend(cost(&claimed)),
                Answer::Refused { reason } | Answer::Failed { reason } => {
                    if let Some(unsaid) = complaints.one_more() {
                        let file = claimed.name.as_str();
                        tracing::warn!(%run, file, reason = in_short(&reason), unsaid, "refused an agent's request");
                    }
                }
            }
            if let Err(error) = folder(folders).remove(&claimed.name) {
                tracing::error!(%run, %error, "cannot remove a request");
                return Ok(());
            }
        }
    }
    tracing::warn!(%run, "the agent left more requests than a host looks at; the next run's mailbox begins without them");
    let cleared = folders.clone();
    if let Err(error) = off_the_loop(move || folder(&cleared).clear()).await {
        tracing::warn!(%run, %error, "cannot clear an agent's requests away");
    }
    Ok(())
}

impl Live<'_> {
    /// Answers some requests; a flood is answered bit by bit, so that it costs the store no more than a lively chat does.
    pub(super) async fn answer_requests(&mut self) {
        self.answer_some(Asker::Waits).await;
    }

    async fn answer_some(&mut self, asker: Asker) {
        let messages = self.claim(|folders| &folders.messages, REQUEST_LIMITS).await;
        let tasks = self.claim(|folders| &folders.tasks, REQUEST_LIMITS).await;
        let more = messages.len().max(tasks.len()) >= REQUEST_LIMITS.names;
        self.more_requests_at = more.then(|| Instant::now() + REQUEST_PAUSE);
        self.answer_tray(Tray::Messages, messages, asker).await;
        self.answer_tray(Tray::Tasks, tasks, asker).await;
        if asker == Asker::Waits {
            self.rest_of_effort();
        }
    }

    async fn answer_tray(&mut self, tray: Tray, files: Vec<Claimed>, asker: Asker) {
        for claimed in files {
            let Some(answer) = self.decide(tray, &claimed).await else {
                // The store failed; the file stays and is tried again soon, before those that came after it.
                self.more_requests_at = Some(Instant::now() + REQUEST_PAUSE);
                return;
            };
            if !self.answer(&claimed.name, &answer, asker).await {
                return;
            }
            self.remove(tray.folder(), &claimed.name).await;
            self.words.say(RunWord::Progress).await;
        }
    }

    /// Grants a request or refuses it. `None` when the store failed and it must be tried again.
    async fn decide(&mut self, tray: Tray, claimed: &Claimed) -> Option<Answer> {
        let answer = match self.request_pace.wait() {
            None => tray.decide(self.context, self.id, claimed).await,
            Some(_) => Ok(Answer::Refused { reason: TOO_MANY.to_owned() }),
        };
        match answer {
            Ok(Answer::Refused { reason }) => {
                if matches!(tray, Tray::Tasks) {
                    // What is refused there may have been looked up before.
                    self.request_pace.spend(1);
                }
                self.complain("refused an agent's request", &claimed.name, &reason);
                Some(Answer::Refused { reason })
            }
            Ok(answer) => {
                self.request_pace.spend(cost(claimed));
                Some(answer)
            }
            Err(error) => {
                tracing::error!(run = %self.id, file = claimed.name, %error, "cannot do what an agent asks for; trying again");
                None
            }
        }
    }

    /// Answers what is left when the container has ended, trying again for a while: what the next run found of it would go
    /// out under that run's name, and a second time if it had been stored.
    pub(super) async fn answer_last_requests(&mut self) {
        for _ in 0..LAST_ROUNDS {
            self.answer_some(Asker::Gone).await;
            match self.more_requests_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => return,
            }
        }
    }

    /// Writes the answer. `false` when that cannot be done, because the disk is full say: the request is to stay and be tried
    /// again soon. An agent that hears nothing of what was done takes it for failed, and asks once more.
    async fn answer(&mut self, name: &str, answer: &Answer, asker: Asker) -> bool {
        let json = serde_json::to_vec(answer).expect("an answer has text keys and plain values");
        let file = name.to_owned();
        let written = self.with_folders(move |folders| folders.answers.write_fleeting(&file, &json)).await;
        let Err(error) = written else {
            self.unanswered = None;
            return true;
        };
        let now = Instant::now();
        let since = match &self.unanswered {
            Some(unanswered) if unanswered.name == name => unanswered.since,
            _ => {
                tracing::warn!(run = %self.id, %error, "cannot answer the agent's request");
                self.unanswered = Some(Unanswered { name: name.to_owned(), since: now });
                now
            }
        };
        let try_again = asker == Asker::Waits && now.duration_since(since) < ANSWER_PATIENCE;
        if try_again {
            self.more_requests_at = Some(now + REQUEST_PAUSE);
        }
        !try_again
    }
}
