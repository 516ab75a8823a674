//! The outbox as people see it: messages that wait, that failed, or of which nobody knows whether they were shown.

use std::collections::HashMap;

use nanoclaw_core::{
    attachment::{OutgoingFile, SpooledFile},
    chat::ChatId,
    delivery::{DeliveryKey, OutboxId},
    group::GroupFolder,
    message::PlatformMessageId,
    store::{DeliveryFilter, DeliveryState, Resolution, Resolved, Store, StoreError, StoredDelivery},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::types::{AdminError, ErrorKind, OutboxStatus};

/// The most messages that one answer lists.
pub const MAX_LISTED: u32 = 1000;

/// Which messages are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxQuery {
    /// In one of these states; in any when it is empty.
    pub states: Vec<DeliveryState>,
    /// To this chat; to any when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatId>,
    /// The latest so many, [`MAX_LISTED`] at most.
    pub limit: u32,
}

/// How many messages are not settled.
pub(super) async fn counts(store: &dyn Store) -> Result<OutboxStatus, StoreError> {
    // Each kind by itself, so that those that wait do not hide those that somebody has to decide about.
    let count = async |states: &[DeliveryState]| -> Result<u32, StoreError> {
        let filter = DeliveryFilter { states: states.to_vec(), chat: None };
        Ok(u32::try_from(store.deliveries(&filter, MAX_LISTED).await?.len()).unwrap_or(u32::MAX))
    };
    Ok(OutboxStatus {
        waiting: count(&[DeliveryState::Pending, DeliveryState::Sending]).await?,
        failed: count(&[DeliveryState::Failed]).await?,
        unknown: count(&[DeliveryState::Unknown]).await?,
    })
}

/// An outgoing message and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Its number: what the commands take.
    pub id: OutboxId,
    /// Its stable key.
    pub key: DeliveryKey,
    /// Where to.
    pub chat: ChatId,
    /// The group of that chat; `None` when it is none.
    pub group: Option<GroupFolder>,
    /// How it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was put into the outbox.
    pub posted_at_ms: Timestamp,
    /// Not tried again before this; `None` when it is not tried again, or at once.
    pub next_try_at_ms: Option<Timestamp>,
    /// When it was sent; `None` when it was not.
    pub sent_at_ms: Option<Timestamp>,
    /// The service's id of it, when it told one.
    pub platform_id: Option<PlatformMessageId>,
    /// Why the last try failed; `None` when it did not.
    pub last_error: Option<String>,
    /// How it begins, on one line, its file first.
    pub begins: String,
    /// The file that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Box<FileView>>,
    /// All of it; only where one message is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A file that goes with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// Its name, as people see it.
    pub name: String,
    /// Its type by what is in it.
    pub media_type: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// The group whose agent sends it.
    pub group: GroupFolder,
    /// Where it was in the group's folder.
    pub path: String,
}

impl From<OutgoingFile> for FileView {
    fn from(file: OutgoingFile) -> Self {
        let OutgoingFile { name, group, path, spooled: SpooledFile { media_type, bytes, .. } } = file;
        Self { name, media_type, bytes, group, path }
    }
}

impl DeliveryView {
    fn new(row: StoredDelivery, groups: &HashMap<ChatId, GroupFolder>) -> Self {
        let retries = matches!(row.state, DeliveryState::Pending | DeliveryState::Sending) && row.delivery.attempts > 0;
        Self {
            begins: row.delivery.begins(),
            file: row.delivery.file.map(|file| Box::new(FileView::from(file))),
            id: row.delivery.id,
            group: groups.get(&row.delivery.chat).cloned(),
            key: row.delivery.key,
            chat: row.delivery.chat,
            state: row.state,
            attempts: row.delivery.attempts,
            posted_at_ms: row.delivery.posted_at,
            next_try_at_ms: retries.then_some(row.not_before),
            sent_at_ms: row.sent_at,
            platform_id: row.platform_id,
            last_error: row.last_error,
            text: None,
        }
    }
}

/// The messages that are meant, latest first.
pub(super) async fn list(store: &dyn Store, query: OutboxQuery) -> Result<Vec<DeliveryView>, AdminError> {
    let OutboxQuery { states, chat, limit } = query;
    let rows = store.deliveries(&DeliveryFilter { states, chat }, limit.min(MAX_LISTED)).await?;
    let groups = groups(store).await?;
    Ok(rows.into_iter().map(|row| DeliveryView::new(row, &groups)).collect())
}

/// The message with this number or key, with all its text.
pub(super) async fn show(store: &dyn Store, message: &str) -> Result<DeliveryView, AdminError> {
    let row = find(store, message).await?;
    let text = row.delivery.text.clone();
    Ok(DeliveryView { text: Some(text), ..DeliveryView::new(row, &groups(store).await?) })
}

/// The row with this number or key.
pub(crate) async fn find(store: &dyn Store, message: &str) -> Result<StoredDelivery, AdminError> {
    let row = match message.parse() {
        Ok(number) => store.delivery_at(OutboxId(number)).await?,
        Err(_) => match DeliveryKey::new(message) {
            Ok(key) => store.delivery(&key).await?,
            Err(_) => None,
        },
    };
    row.ok_or_else(|| no_message(message))
}

/// What is shown of what a person decided, or why it was not done.
pub(crate) async fn resolved(
    store: &dyn Store,
    message: &str,
    resolution: Resolution,
    resolved: Resolved,
) -> Result<DeliveryView, AdminError> {
    let refused = |row: &StoredDelivery, why: &str| {
        AdminError::new(ErrorKind::Conflict, format!("the message {} {why}", row.delivery.id.0))
    };
    match resolved {
        Resolved::Done(row) => Ok(DeliveryView::new(row, &groups(store).await?)),
        Resolved::Refused(row) if row.state == DeliveryState::Sent => Err(refused(
            &row,
            match resolution {
                Resolution::SendAgain => "was sent already",
                Resolution::Drop => "was sent already, which cannot be taken back",
            },
        )),
        Resolved::Refused(row) => Err(refused(&row, "is being sent, or was when the host ended").with_help(
            "what became of it is found out when its channel is there; `nanoclaw outbox drop` leaves it as it is",
        )),
        Resolved::NoRow => Err(no_message(message)),
    }
}

fn no_message(message: &str) -> AdminError {
    let shown: String = message.chars().filter(|c| !c.is_control()).take(80).collect();
    AdminError::new(ErrorKind::NotFound, format!("there is no message {shown} in the outbox"))
        .with_help("`nanoclaw outbox list --all` shows them")
}

async fn groups(store: &dyn Store) -> Result<HashMap<ChatId, GroupFolder>, AdminError> {
    Ok(store.groups().await?.into_iter().map(|group| (group.chat, group.folder)).collect())
}
