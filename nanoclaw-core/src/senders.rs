//! Who may speak to agents: the operator's list of senders, and what it makes of a message.
//!
//! The list narrows what a registration opens. Of a chat that is no group nothing is kept, whoever writes there.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::{
    chat::ChatId,
    message::{Author, InboundMessage, SenderId},
};

/// Which senders a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// Everybody.
    All,
    /// These; nobody when it is empty.
    These(BTreeSet<SenderId>),
}

/// What becomes of what others write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// It is kept as context and never wakes the agent (v1's mode `trigger`).
    Kept,
    /// It is not kept (v1's mode `drop`).
    Dropped,
}

/// Who may speak to the agent of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderRule {
    /// Who may.
    pub allow: Allow,
    /// What becomes of what all others write.
    pub others: Others,
}

/// The operator's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderPolicy {
    /// For chats that have no rule of their own.
    pub default: SenderRule,
    /// For one chat each, in place of the default.
    pub chats: BTreeMap<ChatId, SenderRule>,
    /// Whether the log says when somebody is not heard.
    pub log_denied: bool,
}

/// What becomes of a message on account of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderVerdict {
    /// It is taken like any other.
    Allowed,
    /// It is kept as context and does not wake the agent.
    KeptOnly,
    /// It is not kept: of what was written there is nothing anywhere.
    Dropped,
}

impl SenderPolicy {
    /// What holds where there is no list: everybody may.
    #[must_use]
    pub fn everybody() -> Self {
        Self::of_default(Allow::All)
    }

    /// What holds while the list cannot be read: nobody may, and what is written is kept.
    #[must_use]
    pub fn nobody() -> Self {
        Self::of_default(Allow::These(BTreeSet::new()))
    }

    fn of_default(allow: Allow) -> Self {
        Self { default: SenderRule { allow, others: Others::Kept }, chats: BTreeMap::new(), log_denied: true }
    }

    /// The rule that holds in a chat.
    #[must_use]
    pub fn rule(&self, chat: &ChatId) -> &SenderRule {
        self.chats.get(chat).unwrap_or(&self.default)
    }

    /// What becomes of what `sender` writes in `chat`. The owner is always heard (rule: NanoClaw v1).
    #[must_use]
    pub fn verdict(&self, chat: &ChatId, sender: &SenderId, author: Author) -> SenderVerdict {
        let rule = self.rule(chat);
        let allowed = match &rule.allow {
            Allow::All => true,
            Allow::These(senders) => senders.contains(sender),
        };
        match (author, allowed, rule.others) {
            (Author::Owner, ..) | (_, true, _) => SenderVerdict::Allowed,
            (_, false, Others::Kept) => SenderVerdict::KeptOnly,
            (_, false, Others::Dropped) => SenderVerdict::Dropped,
        }
    }

    /// What becomes of `message`.
    #[must_use]
    pub fn of_message(&self, message: &InboundMessage) -> SenderVerdict {
        self.verdict(&message.chat, &message.sender, message.author)
    }
}

/// The operator's list cannot be read, or has a mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadSenders {
    /// Where it is, what is wrong, and what would be right.
    pub reason: String,
    /// Names this state of the list: another one when it was changed. The owner is told once of each.
    pub version: String,
}

/// Where the operator's list is.
#[async_trait]
pub trait Senders: Send + Sync + 'static {
    /// The list as it is now. Asked for each message, so that a change holds at once.
    ///
    /// # Errors
    /// [`BadSenders`]: then [`nobody`](SenderPolicy::nobody) but the owner may speak to agents.
    async fn policy(&self) -> Result<SenderPolicy, BadSenders>;
}

/// What somebody is told who writes to the assistant privately, in a chat that is no group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownPrivate {
    /// Nothing.
    #[default]
    Ignore,
    /// How the owner can register the chat: once a day in each chat, and in a few chats a day.
    Hint,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::sample;

    fn rule(senders: &[&str], others: Others) -> SenderRule {
        let senders = senders.iter().map(|id| SenderId::new(*id).unwrap()).collect();
        SenderRule { allow: Allow::These(senders), others }
    }

    fn from(sender: &str, chat: &str) -> InboundMessage {
        InboundMessage { sender: sender.parse().unwrap(), chat: chat.parse().unwrap(), ..sample("hello") }
    }

    #[test]
    fn a_chats_own_rule_takes_the_place_of_the_default() {
        let policy = SenderPolicy {
            default: rule(&["ann"], Others::Kept),
            chats: [("tg:work".parse().unwrap(), rule(&["bob"], Others::Dropped))].into(),
            log_denied: true,
        };
        for (sender, chat, verdict) in [
            ("ann", "tg:home", SenderVerdict::Allowed),
            ("bob", "tg:home", SenderVerdict::KeptOnly),
            ("bob", "tg:work", SenderVerdict::Allowed),
            ("ann", "tg:work", SenderVerdict::Dropped),
            ("Bob", "tg:work", SenderVerdict::Dropped),
        ] {
            assert_eq!(policy.of_message(&from(sender, chat)), verdict, "{sender} in {chat}");
        }
    }

    #[test]
    fn the_owner_is_always_heard() {
        let dropping = SenderPolicy { default: rule(&[], Others::Dropped), ..SenderPolicy::nobody() };
        for policy in [dropping, SenderPolicy::nobody(), SenderPolicy::everybody()] {
            let message = InboundMessage { author: Author::Owner, ..from("ann", "tg:home") };
            assert_eq!(policy.of_message(&message), SenderVerdict::Allowed, "{policy:?}");
        }
    }

    #[test]
    fn without_a_list_everybody_is_heard_and_with_a_bad_one_nobody_is_and_nothing_is_lost() {
        let message = from("ann", "tg:home");
        assert_eq!(SenderPolicy::everybody().of_message(&message), SenderVerdict::Allowed);
        assert_eq!(SenderPolicy::nobody().of_message(&message), SenderVerdict::KeptOnly);
    }
}
