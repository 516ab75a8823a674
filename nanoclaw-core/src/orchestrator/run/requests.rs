//! What an agent asks for, and whether it may. The sender is the mailbox's group, whatever a file says.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    RunContext,
    complaints::{Complaints, in_short},
    files::{Folders, off_the_loop},
    live::Live,
};
use crate::{
    chat::ChatId,
    delivery::{DeliveryKey, NewDelivery},
    group::{Group, GroupRole},
    mailbox::{Claimed, Limits},
    orchestrator::event::RunWord,
    pace::Pace,
    protocol::requests::{Answer, MessageRequest},
    run::RunId,
    store::StoreError,
    time::Timestamp,
};

/// Decides whether the request is one, and whether `group` may make it.
fn allowed_message(group: &Group, run: &RunId, claimed: &Claimed) -> Result<NewDelivery, String> {
    let bytes = claimed.content.as_ref().map_err(ToString::to_string)?;
    let MessageRequest::Message { chat_jid, text, .. } = serde_json::from_slice(bytes)
        .map_err(|error| format!("the file is no request: {}", in_short(&error.to_string())))?;
    let chat = ChatId::new(chat_jid).map_err(|error| error.to_string())?;
    if text.trim().is_empty() {
        return Err("the text is empty".to_owned());
    }
    if chat != group.chat && group.role != GroupRole::Main {
        return Err(format!(
            "this group may write to its own chat {} only; the main group may write to any",
            group.chat
        ));
    }
    Ok(NewDelivery { key: DeliveryKey::request(run, &claimed.name), chat, text })
}

/// What a file in `tasks/` asks for; the rest of it is passed over unbuilt.
#[derive(serde::Deserialize)]
struct TaskRequest {
    #[serde(rename = "type")]
    kind: String,
}

/// Tasks and registrations are not served by files yet; the agent is told instead of left waiting.
fn task(claimed: &Claimed) -> Answer {
    let request = claimed.content.as_ref().ok().and_then(|bytes| serde_json::from_slice::<TaskRequest>(bytes).ok());
    let reason = match request.map(|request| request.kind).as_deref() {
        Some("register_group" | "refresh_groups") => {
            "this host registers groups on its command line only: nanoclaw groups add".to_owned()
        }
        Some(kind) => format!("this host does not take {:?} requests", in_short(kind)),
        None => "the file is no request".to_owned(),
    };
    Answer::Refused { reason }
}

/// How many requests are answered at a time, and the pause after as many.
const REQUEST_LIMITS: Limits = Limits { file_bytes: 1024 * 1024, names: 50 };
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

/// Stores the messages that a run asked for and no host answered, under that run's name; nobody is there to be answered. What
/// goes beyond [`REQUESTS_AT_ONCE`] is removed unread, a few thousand files at most: other groups wait for this.
///
/// # Errors
/// When the store fails; what is left stays for the next try.
pub(in crate::orchestrator) async fn finish_requests(
    context: &RunContext,
    group: &Group,
    run: &RunId,
    folders: &Arc<Folders>,
) -> Result<(), StoreError> {
    let mut pace = request_pace();
    let mut complaints = Complaints::new();
    for _ in 0..LAST_LOOKS {
        let claimed = folders.clone();
        let files = match off_the_loop(move || claimed.messages.claim(&REQUEST_LIMITS)).await {
            Ok(files) if files.is_empty() => return Ok(()),
            Ok(files) => files,
            Err(error) => {
                tracing::error!(%run, %error, "cannot read what the agent asked for");
                return Ok(());
            }
        };
        for claimed in files {
            let allowed = match pace.wait() {
                None => allowed_message(group, run, &claimed),
                Some(_) => Err(TOO_MANY.to_owned()),
            };
            match allowed {
                Ok(delivery) => {
                    pace.spend(cost(&claimed));
                    context.store.post(&delivery, Timestamp::now()).await?;
                }
                Err(reason) => {
                    if let Some(unsaid) = complaints.one_more() {
                        let file = claimed.name.as_str();
                        tracing::warn!(%run, file, reason = in_short(&reason), unsaid, "refused an agent's request");
                    }
                }
            }
            if let Err(error) = folders.messages.remove(&claimed.name) {
                tracing::error!(%run, %error, "cannot remove a request");
                return Ok(());
            }
        }
    }
    tracing::warn!(%run, "the agent left more requests than a host looks at; the next run's mailbox begins without them");
    if let Err(error) = off_the_loop({
        let folders = folders.clone();
        move || folders.messages.clear()
    })
    .await
    {
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
        for claimed in messages {
            let answer = self.message(&claimed).await;
            let Some(answer) = answer else {
                // The store failed; the file stays and is tried again soon, before those that came after it.
                self.more_requests_at = Some(Instant::now() + REQUEST_PAUSE);
                break;
            };
            if !self.answer(&claimed.name, &answer, asker).await {
                break;
            }
            self.remove(|folders| &folders.messages, &claimed.name).await;
            self.words.say(RunWord::Progress).await;
        }
        for claimed in tasks {
            if !self.answer(&claimed.name, &task(&claimed), asker).await {
                break;
            }
            self.remove(|folders| &folders.tasks, &claimed.name).await;
        }
        if asker == Asker::Waits {
            self.rest_of_effort();
        }
    }

    /// Sends a message for the agent. `None` when the store failed and the request must be tried again.
    async fn message(&mut self, claimed: &Claimed) -> Option<Answer> {
        let (context, run) = (self.context, self.id);
        let allowed = match self.request_pace.wait() {
            None => allowed_message(self.group, run, claimed),
            Some(_) => Err(TOO_MANY.to_owned()),
        };
        let delivery = match allowed {
            Ok(delivery) => delivery,
            Err(reason) => {
                self.complain("refused an agent's request", &claimed.name, &reason);
                return Some(Answer::Refused { reason });
            }
        };
        match context.store.post(&delivery, Timestamp::now()).await {
            Ok(_) => {
                self.request_pace.spend(cost(claimed));
                context.nudges.chat(&delivery.chat);
                Some(Answer::Done { detail: format!("stored for delivery to {}", delivery.chat) })
            }
            Err(error) => {
                tracing::error!(%run, file = claimed.name, %error, "cannot store an agent's message; trying again");
                // If it happened all the same, it is to be sent.
                context.nudges.chat(&delivery.chat);
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
