//! Messages and files to chats.

use super::{Desk, No};
use crate::{
    chat::ChatId,
    delivery::{DeliveryKey, NewDelivery},
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
        let posted = self.context.store.post(&NewDelivery { key, chat: chat.clone(), text }, Timestamp::now()).await;
        // Also when an error is told: if it happened all the same, it is to be sent.
        self.context.nudges.chat(&chat);
        let id = posted?;
        let mut detail = format!("stored for delivery to {chat} as message {} of the outbox", id.0);
        if self.context.channels.of(&chat).is_none() {
            detail.push_str("; no channel that carries this chat is connected now, so it is sent when one is");
        }
        if sender.is_some() {
            detail.push_str("; this host shows no sender's name");
        }
        Ok(detail)
    }

    /// Looks at a file that is to be sent, and says why it is not.
    pub(super) async fn file(&self, chat: String, path: String) -> Result<String, No> {
        let chat = self.chat(chat)?;
        let folder = self.context.registrar.launcher.group_folder(&self.group.folder);
        let inside = path.strip_prefix(guest::GROUP_DIR).and_then(|rest| rest.strip_prefix('/'));
        let inside = inside.unwrap_or(&path).to_owned();
        let file = off_the_loop(move || GroupFile::open(&folder, &inside, MOST_FILE_BYTES)).await;
        let shown: String = path.chars().take(200).collect();
        let GroupFile { bytes, media_type, .. } =
            file.map_err(|refused| format!("the file {shown:?} is not sent: {refused}"))?;
        // A channel has no way for files yet. The words that were to go with it would say that it is there.
        Err(format!(
            "the file {shown:?} ({media_type}, {bytes} bytes) could be sent, but files cannot be sent to {chat} yet: no channel of \
             this host carries files. Nothing was sent, no caption either; say in a message what is in it"
        )
        .into())
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
