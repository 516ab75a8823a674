//! Messages and files to chats.

use super::{Desk, No};
use crate::{
    attachment::OutgoingFile,
    chat::ChatId,
    delivery::{Answers, DeliveryKey, NewDelivery, OutboxId},
    mailbox::GroupFile,
    orchestrator::run::off_the_loop,
    protocol::{environment::guest, requests::MOST_FILE_BYTES},
    time::Timestamp,
};

impl Desk<'_> {
    /// Stores a message for delivery.
    pub(super) async fn message(
        &self,
        key: DeliveryKey,
        chat: String,
        text: String,
        sender: Option<String>,
    ) -> Result<String, No> {
        let chat = self.chat(chat)?;
        if text.trim().is_empty() {
            return Err("the text is empty".into());
        }
        let mut detail = self.posted(self.asked_for(key, chat, text, None)).await?;
        if sender.is_some() {
            detail.push_str("; this host shows no sender's name");
        }
        Ok(detail)
    }

    /// Copies a file into the spool and stores it for delivery.
    pub(super) async fn file(
        &self,
        key: DeliveryKey,
        chat: String,
        path: String,
        caption: Option<String>,
    ) -> Result<String, No> {
        // What is decided once stays so: by now the file may be gone, and the copy of it is on its way.
        if let Some(row) = self.context.store.delivery(&key).await? {
            return Ok(self.stored(&row.delivery.chat, row.delivery.id, row.delivery.file.as_ref()));
        }
        let chat = self.chat(chat)?;
        if let Some(channel) = self.context.channels.of(&chat)
            && !channel.capabilities().files
        {
            return Err(format!(
                "the channel {} takes no files, so none can be sent to {chat}. Nothing was sent, no caption either; say in a \
                 message what is in it",
                channel.name()
            )
            .into());
        }
        let launcher = &self.context.registrar.launcher;
        let folder = launcher.group_folder(&self.group.folder);
        let inside = path.strip_prefix(guest::GROUP_DIR).and_then(|rest| rest.strip_prefix('/'));
        let inside = inside.unwrap_or(&path).to_owned();
        let from = inside.clone();
        let file = off_the_loop(move || GroupFile::open(&folder, &from, MOST_FILE_BYTES)).await;
        let shown: String = path.chars().take(200).collect();
        let not_sent = |reason: &dyn std::fmt::Display| No::from(format!("the file {shown:?} is not sent: {reason}"));
        let file = file.map_err(|refused| not_sent(&refused))?;
        // First the copy, then the row that names it: a host that dies in between leaves a copy that is swept away, and the
        // request, which is decided again.
        let kept = launcher.keep_file(&self.group.folder, file).await.map_err(|reason| not_sent(&reason))?;
        let file = OutgoingFile::new(self.group.folder.clone(), &inside, kept.file);
        let text = caption.unwrap_or_default();
        let detail = self.posted(self.asked_for(key, chat, text, Some(file))).await;
        drop(kept.guard);
        detail
    }

    /// What the agent says in the middle of its work is an answer to what it works on, when it says it there.
    fn asked_for(&self, key: DeliveryKey, chat: ChatId, text: String, file: Option<OutgoingFile>) -> NewDelivery {
        let answers = Some(Answers::Run { run: self.run.clone(), through: None });
        NewDelivery { key, chat, text, file, answers }
    }

    /// Puts it into the outbox; what its agent is told.
    async fn posted(&self, new: NewDelivery) -> Result<String, No> {
        let posted = self.context.store.post(&new, Timestamp::now()).await;
        // Also when an error is told: if it happened all the same, it is to be sent.
        self.context.nudges.chat(&new.chat);
        Ok(self.stored(&new.chat, posted?, new.file.as_ref()))
    }

    fn stored(&self, chat: &ChatId, id: OutboxId, file: Option<&OutgoingFile>) -> String {
        let mut detail = format!("stored for delivery to {chat} as message {} of the outbox", id.0);
        if let Some(OutgoingFile { name, spooled, .. }) = file {
            detail.push_str(&format!(": {name}, {}, {} bytes", spooled.media_type, spooled.bytes));
        }
        if self.context.channels.of(chat).is_none() {
            detail.push_str("; no channel that carries this chat is connected now, so it is sent when one is");
        }
        detail
    }

    /// The chat, if this group may write to it.
    fn chat(&self, chat: String) -> Result<ChatId, No> {
        let chat = ChatId::new(chat).map_err(|error| error.to_string())?;
        if chat == self.group.chat {
            return Ok(chat);
        }
        if !self.is_main() {
            let own = &self.group.chat;
            return Err(format!(
                "this group may write to its own chat {own} only; the main group may write to any that is registered"
            )
            .into());
        }
        match self.context.registrar.directory.of_chat(&chat) {
            Some(_) => Ok(chat),
            None => Err(format!(
                "the chat {chat} is not registered as a group; list_groups shows which are, and register_group registers one"
            )
            .into()),
        }
    }
}
