//! Hears pairing codes: registers the chat in which the right one is written, and answers there. Tells who waits for it how a
//! pairing ended.
//!
//! The store does all of it at once, so a repeat of the platform, or a crash in between, neither registers nor answers twice. A
//! code is never kept as a message and never logged.

use std::sync::Arc;

use tokio::sync::watch;

use super::{deliverer::Nudges, registrar::Registrar};
use crate::{
    delivery::DeliveryKey,
    group::Group,
    message::InboundMessage,
    pairing::{Heard, Pairing, PairingCode, PairingId, Place, SaidCode},
    store::{Store, StoreError},
    time::Timestamp,
};

/// Hears pairing codes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pairings {
    store: Arc<dyn Store>,
    registrar: Registrar,
    nudges: Nudges,
    /// Raised when the pairing may stand otherwise than before: whoever waits looks again.
    changed: watch::Sender<()>,
}

impl Pairings {
    pub(super) fn new(store: Arc<dyn Store>, registrar: Registrar, nudges: Nudges) -> Self {
        Self { store, registrar, nudges, changed: watch::Sender::new(()) }
    }

    /// See [`Store::begin_pairing`].
    pub(super) async fn begin(&self, pairing: &Pairing) -> Result<(), StoreError> {
        let begun = self.store.begin_pairing(pairing).await;
        // Also when it failed, here and below: it may have happened all the same.
        self.changed.send_replace(());
        begun
    }

    /// See [`Store::withdraw_pairing`]; the last pairing as it is then.
    pub(super) async fn withdraw(&self, id: &PairingId) -> Result<Option<Pairing>, StoreError> {
        let withdrawn = self.store.withdraw_pairing(id).await;
        self.changed.send_replace(());
        withdrawn?;
        self.store.pairing().await
    }

    /// Waits until the pairing of this id is not open, or is not the last one; the last pairing as it is then.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn over(&self, id: &PairingId) -> Result<Option<Pairing>, StoreError> {
        let mut changes = self.changed.subscribe();
        loop {
            // Before the look, so that nothing is missed that comes after it.
            changes.borrow_and_update();
            let last = self.store.pairing().await?;
            let now = Timestamp::now();
            let Some(open) = last.as_ref().filter(|last| last.id == *id && last.is_open(now)) else {
                return Ok(last);
            };
            // It cannot be closed: we have a sender.
            let _ = tokio::time::timeout(open.ends_at.since(now), changes.changed()).await;
        }
    }

    /// The key of the answer when `message` was the right code, or was answered as such before; `group` is that of its chat.
    /// `None`: it is a message like any other, and a wrong code is one too, so that whoever guesses learns nothing.
    ///
    /// # Errors
    /// The store's; the message may come again.
    pub(super) async fn hear(
        &self,
        message: &InboundMessage,
        group: Option<&Group>,
    ) -> Result<Option<DeliveryKey>, StoreError> {
        let Some(code) = PairingCode::in_message(message) else { return Ok(None) };
        let key = DeliveryKey::command(&message.chat, &message.id);
        let obeyed = self.obey(&code, &key, message, group).await;
        self.changed.send_replace(());
        let obeyed = obeyed?;
        if obeyed {
            self.nudges.chat(&message.chat);
        }
        Ok(obeyed.then_some(key))
    }

    /// Whether it was the right code, now or before.
    async fn obey(
        &self,
        code: &PairingCode,
        key: &DeliveryKey,
        message: &InboundMessage,
        group: Option<&Group>,
    ) -> Result<bool, StoreError> {
        if self.store.delivery(key).await?.is_some() {
            self.serve_what_was_claimed(message, group).await?;
            return Ok(true);
        }
        match self.store.pairing().await? {
            Some(pairing) if pairing.is_open(Timestamp::now()) => {
                let said = pairing.said(code, message, Place::of(message, group));
                self.hear_for(&pairing, &said, message, group).await
            }
            _ => Ok(false),
        }
    }

    /// Whether it was the right code.
    async fn hear_for(
        &self,
        pairing: &Pairing,
        said: &SaidCode,
        message: &InboundMessage,
        group: Option<&Group>,
    ) -> Result<bool, StoreError> {
        let chat = &message.chat;
        // Asked first: were it to fail afterwards, the group would be registered and nobody would serve it.
        let last_run = self.registrar.last_run(&pairing.registers.folder).await?;
        match self.store.hear_code(said, Timestamp::now()).await? {
            Heard::Claims(group) => {
                tracing::info!(group = %group.folder, %chat, "a chat was registered by a pairing code");
                self.registrar.serve(group, last_run).await;
                Ok(true)
            }
            Heard::Refused => {
                tracing::warn!(%chat, "the pairing code was written in a chat that cannot be registered");
                Ok(true)
            }
            Heard::Again => {
                self.serve_what_was_claimed(message, group).await?;
                Ok(true)
            }
            Heard::Wrong { tries_left } => {
                tracing::warn!(%chat, tries_left, "a wrong pairing code was written");
                Ok(false)
            }
            Heard::Nothing => Ok(false),
        }
    }

    /// Serves the group of a claim whose commit was told as failed and had happened.
    async fn serve_what_was_claimed(&self, message: &InboundMessage, group: Option<&Group>) -> Result<(), StoreError> {
        if group.is_some() {
            return Ok(());
        }
        let stored = self.store.groups().await?;
        if let Some(claimed) = stored.into_iter().find(|stored| stored.chat == message.chat) {
            let last_run = self.registrar.last_run(&claimed.folder).await?;
            self.registrar.serve(claimed, last_run).await;
        }
        Ok(())
    }
}
