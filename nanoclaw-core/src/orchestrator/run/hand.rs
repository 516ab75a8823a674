//! What the agent is handed: follow-ups, and the wish that it end.

use super::live::Live;
use crate::{
    channel::Typing,
    orchestrator::{
        batch::next_batch,
        event::{RunWord, StopReason},
    },
    protocol::input::{CLOSE_FILE, FollowUp, follow_up_name},
    time::Timestamp,
};

impl Live<'_> {
    pub(super) async fn feed(&mut self) {
        let (store, settings) = (&*self.context.store, &self.context.settings);
        let after = self.ledger.handed_through();
        let batch = match next_batch(
            store,
            &self.group.folder,
            after,
            self.context.launcher.tuning(&self.group.folder).prompt,
            &settings.zone,
        )
        .await
        {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                self.words.say(RunWord::Handed { through: after }).await;
                return;
            }
            Err(error) => return self.lost = Some(error.to_string()),
        };
        if let Err(error) = store.hand_over(self.id, batch.handed, Timestamp::now()).await {
            return self.lost = Some(error.to_string());
        }
        let follow_up = FollowUp::Message {
            text: batch.text,
            first_seq: Some(batch.handed.first),
            last_seq: Some(batch.handed.last),
        };
        let json = serde_json::to_vec(&follow_up).expect("a follow-up has text keys and plain values");
        let name = follow_up_name(batch.handed.last);
        self.ledger.handed(batch.handed, name.clone());
        if let Err(error) = self.with_folders(move |folders| folders.input.write_fleeting(&name, &json)).await {
            return self.lost = Some(error.to_string());
        }
        self.typing.show(Typing::On);
        self.words.say(RunWord::Handed { through: batch.handed.last }).await;
    }

    pub(super) async fn ask_to_end(&mut self) {
        if let Err(error) = self.with_folders(|folders| folders.input.write_fleeting(CLOSE_FILE, b"")).await {
            tracing::warn!(run = %self.id, %error, "cannot ask the agent to end; its container is stopped");
            self.asked_to_end = Some(StopReason::Wanted);
        }
    }
}
