//! Judges who writes: asks the operator's list, tells the owner when it cannot be read, and tells strangers, where that is
//! wanted, how they are let in.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use super::alerts::Alerts;
use crate::{
    chat::{ChatId, ChatKind},
    delivery::DeliveryKey,
    message::{Author, InboundMessage, Wakes},
    senders::{BadSenders, SenderPolicy, SenderVerdict, Senders, UnknownPrivate},
    time::Timestamp,
};

/// In how many chats a day strangers are told how they are let in. Whoever writes from many accounts makes the host say no
/// more than this.
const MOST_HINTS_A_DAY: usize = 20;

/// Judges who writes. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Doorkeeper(Arc<Inner>);

struct Inner {
    /// `None`: there is no list, and everybody may.
    senders: Option<Arc<dyn Senders>>,
    unknown_private: UnknownPrivate,
    alerts: Alerts,
    /// The state of the list that people know of; `None` when it is good.
    bad: Mutex<Option<BadSenders>>,
    hints: Mutex<Hints>,
}

/// Who was told today how to be let in.
#[derive(Default)]
struct Hints {
    day: i64,
    chats: HashSet<ChatId>,
}

impl Doorkeeper {
    pub(super) fn new(senders: Option<Arc<dyn Senders>>, unknown_private: UnknownPrivate, alerts: Alerts) -> Self {
        let (bad, hints) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { senders, unknown_private, alerts, bad, hints }))
    }

    /// What becomes of a message to a group on account of who wrote it; `wakes` says whether it would wake the agent.
    pub(super) async fn verdict(&self, message: &InboundMessage, wakes: Wakes) -> SenderVerdict {
        let policy = self.policy().await;
        let verdict = policy.of_message(message);
        // Who was not heard, and never what was said.
        let InboundMessage { chat, sender, .. } = message;
        match (verdict, wakes) {
            _ if !policy.log_denied => {}
            (SenderVerdict::Dropped, _) => tracing::info!(%chat, %sender, "not kept: its sender may not write there"),
            (SenderVerdict::KeptOnly, Wakes::Yes) => tracing::info!(%chat, %sender, "wakes nobody: its sender may not"),
            (SenderVerdict::KeptOnly, Wakes::No) | (SenderVerdict::Allowed, _) => {}
        }
        verdict
    }

    /// The list as it is now; who has to know that it cannot be read is told.
    pub(super) async fn policy(&self) -> SenderPolicy {
        let Some(senders) = &self.0.senders else { return SenderPolicy::everybody() };
        match senders.policy().await {
            Ok(policy) => {
                if self.note(None) {
                    tracing::info!("the list of senders is good again");
                }
                policy
            }
            Err(bad) => {
                if self.note(Some(&bad)) {
                    self.tell_owner(&bad).await;
                }
                SenderPolicy::nobody()
            }
        }
    }

    /// Keeps how the list stands; says whether that is news.
    fn note(&self, now: Option<&BadSenders>) -> bool {
        let mut known = self.0.bad.lock().unwrap_or_else(PoisonError::into_inner);
        let news = known.as_ref() != now;
        *known = now.cloned();
        news
    }

    async fn tell_owner(&self, bad: &BadSenders) {
        tracing::error!(reason = bad.reason, "the list of senders cannot be used, so nobody but the owner is answered");
        let text = format!(
            "Nobody but you is answered: the list of who may speak to agents cannot be used. {bad}\n\nMend it, or remove it, \
             and the next message is judged by what stands there then; what others write meanwhile is kept, as context. \
             `nanoclaw senders check` on the machine that I run on tells whether it is good."
        );
        // Named after this state of the list, so that a restart says nothing twice.
        self.0.alerts.owner(DeliveryKey::alert(format!("senders/{}", bad.version)), text).await;
    }

    /// Somebody wrote in a chat that is no group.
    pub(super) async fn stranger(&self, message: &InboundMessage, now: Timestamp) {
        let private = message.chat_kind == Some(ChatKind::Private) && message.author == Author::Person;
        if self.0.unknown_private == UnknownPrivate::Ignore || !private {
            return;
        }
        let (chat, day) = (&message.chat, now.day());
        if !self.may_hint(chat, day) {
            return;
        }
        let text = format!(
            "Nobody reads what you write here: this chat is not registered with the assistant. Its owner can do that, on the \
             machine that it runs on, with\n\nnanoclaw groups add '{chat}' --name NAME"
        );
        // The day is in the key, so that a host that starts again says nothing twice.
        self.0.alerts.chat(chat, DeliveryKey::alert(format!("stranger/{day}/{chat}")), text).await;
    }

    fn may_hint(&self, chat: &ChatId, day: i64) -> bool {
        let mut hints = self.0.hints.lock().unwrap_or_else(PoisonError::into_inner);
        if hints.day != day {
            *hints = Hints { day, chats: HashSet::new() };
        }
        hints.chats.len() < MOST_HINTS_A_DAY && hints.chats.insert(chat.clone())
    }
}
