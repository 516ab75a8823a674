//! What the agent is handed: follow-ups, and the wish that it end.

use super::{limits_of, live::Live};
use crate::{
    channel::Typing,
    orchestrator::{
        batch::next_batch,
        blocks::Size,
        event::{RunWord, StopReason},
    },
    protocol::input::{CLOSE_FILE, FollowUp, follow_up_name},
    time::Timestamp,
};

impl Live<'_> {
    /// Hands over what waits, or some of it. An agent takes everything that lies in its mailbox as one prompt, so no more
    /// lies there than fits one. So a flood of one group stays in the inbox,
    /// and its agent can be asked to end, for somebody else's sake, after a turn or two.
    pub(super) async fn feed(&mut self) {
        let (store, settings) = (&*self.context.store, &self.context.settings);
        let after = self.ledger.handed_through();
        let mut limits = limits_of(self.context, self.group, self.prompt);
        self.ledger.note_taken(|name| self.folders.input.has(name).unwrap_or(true));
        let lying = self.ledger.untaken();
        if lying.messages >= limits.messages.max(1) {
            return self.words.say(RunWord::Full).await;
        }
        limits.messages = limits.messages.max(1) - lying.messages;
        let batch = match next_batch(store, &self.group.folder, after, limits, &settings.zone).await {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                self.words.say(RunWord::Handed { through: after }).await;
                return;
            }
            Err(error) => return self.lost = Some(error.to_string()),
        };
        if lying.messages > 0 && lying.bytes + batch.text.len() > limits.bytes {
            return self.words.say(RunWord::Full).await;
        }
        let size = Size { messages: batch.messages, bytes: batch.text.len() };
        let follow_up = FollowUp::Message {
            text: batch.text,
            first_seq: Some(batch.handed.first),
            last_seq: Some(batch.handed.last),
        };
        let json = serde_json::to_vec(&follow_up).expect("a follow-up has text keys and plain values");
        let name = follow_up_name(batch.handed.last);
        // Staged, noted, published: a host that dies between any two of these leaves something by which the next one knows
        // whether the agent has it.
        let staged = name.clone();
        if let Err(error) = self.with_folders(move |folders| folders.input.stage(&staged, &json)).await {
            return self.lost = Some(error.to_string());
        }
        if let Err(error) = self.context.store.hand_over(self.id, batch.handed, Timestamp::now()).await {
            // It may be noted all the same. As the file stays, whoever takes the run over knows that the agent does not
            // have it, and the next run clears it away.
            return self.lost = Some(error.to_string());
        }
        self.ledger.handed(batch.handed, name.clone(), size);
        match self.with_folders(move |folders| folders.input.publish(&name)).await {
            Ok(true) => {}
            Ok(false) => return self.lost = Some("somebody took a follow-up before it had its name".to_owned()),
            Err(error) => return self.lost = Some(error.to_string()),
        }
        self.typing.show(Typing::On);
        self.words.say(RunWord::Handed { through: batch.handed.last }).await;
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
