//! What a terminal that attaches is told, and the group that a first conversation makes.

use async_trait::async_trait;
use nanoclaw_core::{
    chat::ChatId,
    group::{GroupRole, TriggerPolicy},
    orchestrator::Orchestrator,
    store::StoreError,
};

use crate::{
    admin::{OnStore, types::NewGroup},
    channels::ports::{AnsweredSoFar, Reception, Welcome},
    config::Provider,
    credentials::Standing,
};

/// Receives terminals.
pub(super) struct Front {
    pub(super) on_store: OnStore,
    pub(super) orchestrator: Orchestrator,
}

/// The chat that `nanoclaw chat` talks in unless told otherwise.
const FIRST_CHAT: &str = "local:main";

#[async_trait]
impl Reception for Front {
    async fn welcome(&self, chat: &ChatId) -> Result<Welcome, StoreError> {
        if chat.as_str() == FIRST_CHAT && self.orchestrator.group_of(chat).is_none() {
            self.register(chat).await?;
        }
        let group = self.orchestrator.group_of(chat);
        let config = &self.on_store.config;
        let offline = group.as_ref().is_some_and(|group| {
            let settings = config.for_group(&group.folder);
            settings.command.is_none() && *settings.provider == Provider::Offline
        });
        let hint = (offline && config.credentials.standing() == Standing::Missing).then(|| {
            "no model is configured, so an offline agent answers; `nanoclaw auth set` (API key) or `nanoclaw auth \
             setup-token` (subscription) gives you a real one"
                .to_owned()
        });
        Ok(Welcome { assistant: config.assistant.name.value.clone(), registered: group.is_some(), hint })
    }

    async fn answered(&self, chat: &ChatId) -> Result<AnsweredSoFar, StoreError> {
        let through = match self.orchestrator.group_of(chat) {
            Some(group) => self.on_store.store.cursor(&group.folder).await?,
            None => nanoclaw_core::message::Seq::ZERO,
        };
        let waiting = self.on_store.store.pending_deliveries_of(chat, u32::MAX).await?;
        Ok(AnsweredSoFar { through, unshown: waiting.last().map(|row| row.delivery.id) })
    }
}

impl Front {
    /// The terminal belongs to the owner of this account, so its first conversation is the main group's, unless there is a
    /// main group already.
    async fn register(&self, chat: &ChatId) -> Result<(), StoreError> {
        let groups = self.on_store.store.groups().await?;
        let role = if groups.iter().any(|group| group.role == GroupRole::Main) {
            GroupRole::Ordinary
        } else {
            GroupRole::Main
        };
        let new = NewGroup {
            chat: chat.clone(),
            name: "Terminal".to_owned(),
            folder: None,
            trigger: Some(TriggerPolicy::Always),
            role,
        };
        match self.on_store.new_group(new).await {
            Ok(group) => self.orchestrator.add_group(group).await,
            Err(error) => Err(StoreError::Failed { action: "register the terminal", reason: error.to_string() }),
        }
    }
}
