//! The SQLite store: the contract of the port, its files, and how it stands beside the store in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod files;
mod model;

use std::{path::PathBuf, sync::Arc};

use nanoclaw_core::{
    chat::{ChannelName, ChatId},
    delivery::{DeliveryKey, NewDelivery},
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    message::{Author, InboundMessage, PlatformMessageId, SenderId},
    store::Store,
    testing::task_suite::TaskStore,
    time::Timestamp,
};
use nanoclaw_host::stores::sqlite::SqliteStore;
use tempfile::TempDir;

mod contract {
    nanoclaw_core::store_suite!(super::empty_store);
}

mod contract_of_tasks {
    nanoclaw_core::task_suite!(super::empty_task_store);
}

async fn empty_task_store() -> (Arc<dyn TaskStore>, TempDir) {
    let (store, folder) = empty_sqlite().await;
    (Arc::new(store), folder)
}

async fn empty_store() -> (Arc<dyn Store>, TempDir) {
    let (store, folder) = empty_sqlite().await;
    (Arc::new(store), folder)
}

async fn empty_sqlite() -> (SqliteStore, TempDir) {
    let folder = TempDir::new().unwrap();
    (SqliteStore::open(&database(&folder)).await.unwrap(), folder)
}

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("store").join("nanoclaw.db")
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn folder(name: &str) -> GroupFolder {
    GroupFolder::new(name).unwrap()
}

fn group(name: &str, chat: &str) -> Group {
    Group {
        folder: folder(name),
        chat: ChatId::new(chat).unwrap(),
        name: name.to_owned(),
        trigger: TriggerPolicy::AssistantName,
        role: GroupRole::Ordinary,
        added_at: at(1),
    }
}

fn message(chat: &str, id: &str) -> InboundMessage {
    InboundMessage {
        chat: ChatId::new(chat).unwrap(),
        channel: ChannelName::new("telegram").unwrap(),
        chat_kind: None,
        id: PlatformMessageId::new(id).unwrap(),
        sender: SenderId::new("u-1").unwrap(),
        sender_name: "Ann".into(),
        author: Author::Person,
        text: format!("text of {id}"),
        sent_at: at(1),
        quote: None,
        thread: None,
        attachments: Vec::new(),
    }
}

fn delivery(key: &str, chat: &str) -> NewDelivery {
    NewDelivery {
        key: DeliveryKey::new(key).unwrap(),
        chat: ChatId::new(chat).unwrap(),
        text: format!("text of {key}"),
        file: None,
        answers: None,
    }
}
