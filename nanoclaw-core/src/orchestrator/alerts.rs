//! What the host itself has to say to people: to the owner in the main chat, or to the people of one chat.
//!
//! An alert goes through the outbox like everything else that is said: it survives a crash, and its key sees to it that
//! it is said once, however often the reason for it is met.

use std::sync::Arc;

use super::{deliverer::Nudges, directory::Directory};
use crate::{
    chat::ChatId,
    delivery::{DeliveryKey, NewDelivery},
    store::Store,
    time::Timestamp,
};

/// Tells people. Cheap to clone.
#[derive(Clone)]
pub(super) struct Alerts {
    pub(super) store: Arc<dyn Store>,
    pub(super) directory: Directory,
    pub(super) nudges: Nudges,
}

impl Alerts {
    /// Tells the owner, in the main chat; says whether the word is in the outbox now. It is not when there is no main
    /// group or the store fails; then it is in the log.
    pub(super) async fn owner(&self, key: DeliveryKey, text: String) -> bool {
        match self.for_owner(key, text) {
            Some(alert) => self.post(alert).await,
            None => false,
        }
    }

    /// Tells the people of `chat`; says whether the word is in the outbox now. It is not when the store fails; then it is
    /// in the log.
    pub(super) async fn chat(&self, chat: &ChatId, key: DeliveryKey, text: String) -> bool {
        self.post(NewDelivery { key, chat: chat.clone(), text, file: None, answers: None }).await
    }

    /// A word to the owner, for whoever posts it in one transaction with what it is about, and [nudges](Nudges::chat) its
    /// chat. `None`, and a line in the log, when there is no main group.
    pub(super) fn for_owner(&self, key: DeliveryKey, text: String) -> Option<NewDelivery> {
        let Some(main) = self.directory.main() else {
            tracing::error!(%key, text, "there is no main group, so nobody can be told but this log");
            return None;
        };
        Some(NewDelivery { key, chat: main.chat.clone(), text, file: None, answers: None })
    }

    async fn post(&self, alert: NewDelivery) -> bool {
        let posted = self.store.post(&alert, Timestamp::now()).await;
        // Also when an error is told: if it happened all the same, it is to be sent.
        self.nudges.chat(&alert.chat);
        if let Err(error) = &posted {
            let NewDelivery { key, chat, text, .. } = alert;
            tracing::error!(%key, %chat, text, %error, "cannot store what people should be told");
        }
        posted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        group::{Group, GroupFolder, GroupRole, TriggerPolicy},
        testing::MemoryStore,
    };

    fn group(name: &str, role: GroupRole) -> Group {
        Group {
            folder: GroupFolder::new(name).unwrap(),
            chat: ChatId::new(format!("tg:{name}")).unwrap(),
            name: name.to_owned(),
            trigger: TriggerPolicy::Always,
            role,
            added_at: Timestamp::from_ms(1),
        }
    }

    fn alerts() -> (Alerts, Arc<MemoryStore>) {
        let store = Arc::new(MemoryStore::new());
        let alerts = Alerts { store: store.clone(), directory: Directory::default(), nudges: Nudges::default() };
        (alerts, store)
    }

    async fn told(store: &MemoryStore) -> Vec<(String, String)> {
        let rows = store.pending_deliveries().await.unwrap();
        rows.into_iter().map(|row| (row.delivery.chat.to_string(), row.delivery.text)).collect()
    }

    #[tokio::test]
    async fn the_owner_is_told_in_the_main_chat_once_for_each_key() {
        let (alerts, store) = alerts();
        alerts.directory.insert(group("family", GroupRole::Ordinary));
        alerts.directory.insert(group("home", GroupRole::Main));
        assert!(alerts.owner(DeliveryKey::alert("login"), "log in again".to_owned()).await);
        assert!(alerts.owner(DeliveryKey::alert("login"), "log in again".to_owned()).await);
        assert_eq!(told(&store).await, [("tg:home".to_owned(), "log in again".to_owned())]);
    }

    #[tokio::test]
    async fn without_a_main_group_nothing_is_posted() {
        let (alerts, store) = alerts();
        alerts.directory.insert(group("family", GroupRole::Ordinary));
        assert!(!alerts.owner(DeliveryKey::alert("login"), "log in again".to_owned()).await);
        assert!(told(&store).await.is_empty());
    }

    #[tokio::test]
    async fn a_chat_is_told_and_a_store_that_fails_is_survived() {
        let (alerts, store) = alerts();
        let chat = ChatId::new("tg:family").unwrap();
        assert!(alerts.chat(&chat, DeliveryKey::alert("one"), "one".to_owned()).await);
        store.fail_writes("the disk is full");
        alerts.nudges.take();
        assert!(!alerts.chat(&chat, DeliveryKey::alert("two"), "two".to_owned()).await);
        // A commit of which an error was told may have happened all the same: somebody looks.
        assert!(alerts.nudges.take().0.contains(&chat));
        assert_eq!(told(&store).await, [("tg:family".to_owned(), "one".to_owned())]);
    }
}
