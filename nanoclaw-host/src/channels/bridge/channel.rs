//! A connected bridge as the orchestrator sees it: one more channel.

use std::time::Duration;

use async_trait::async_trait;
use nanoclaw_core::{
    channel::{Channel, ChannelCapabilities, Repeat, SendError, Typing},
    chat::{ChannelName, ChatId},
    delivery::{Delivery, DeliveryKey, Sent},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    claim::Claim,
    pending::{Begin, Outcome, Pending, Settled},
    wire::ToBridge,
};
use crate::json_lines::to_line;

/// The channel that one connection of a bridge is. When the connection ends it stays closed; the next is a new one.
#[derive(Debug)]
pub(super) struct BridgeChannel {
    pub(super) name: ChannelName,
    pub(super) claim: Claim,
    pub(super) capabilities: ChannelCapabilities,
    pub(super) send_timeout: Duration,
    lines: mpsc::Sender<String>,
    pending: Pending,
}

impl BridgeChannel {
    pub(super) fn new(
        name: ChannelName,
        claim: Claim,
        capabilities: ChannelCapabilities,
        send_timeout: Duration,
        lines: mpsc::Sender<String>,
    ) -> Self {
        Self { name, claim, capabilities, send_timeout, lines, pending: Pending::default() }
    }

    /// The bridge told what became of a send. Returned is what it means when nobody waits for it: it was sent, or it was not.
    ///
    /// A bridge that can be asked may mean by `failed` that it cannot tell, of a question that nobody waits for any more:
    /// nothing is concluded from that, and it is asked again.
    pub(super) fn settle(&self, key: &DeliveryKey, outcome: Outcome) -> Option<Result<Sent, SendError>> {
        let late = match &outcome {
            Ok(sent) => sent.clone().map(Ok),
            Err(error @ (SendError::Retry { .. } | SendError::Permanent { .. }))
                if self.capabilities.repeat != Repeat::LookedUp =>
            {
                Some(Err(error.clone()))
            }
            Err(_) => None,
        };
        match self.pending.settle(key, outcome) {
            Settled::InTime => None,
            Settled::Late | Settled::Unknown => late,
        }
    }

    /// The connection is gone: sends that wait fail, and so do all later ones.
    pub(super) fn close(&self) {
        self.pending.close();
    }

    /// Asks the bridge to tell the names of its chats again. Best effort.
    pub(super) fn sync_groups(&self) {
        let _ = self.lines.try_send(to_line(&ToBridge::SyncGroups));
    }

    /// Says `line` and waits for the bridge's word on `key`; `late` is what a bridge that says none did.
    async fn ask(&self, key: &DeliveryKey, line: &ToBridge<'_>, late: &str) -> Outcome {
        // Waited for before it is written: the answer may be faster than this worker.
        let mut waiting = match self.pending.begin(key) {
            Begin::Wait(waiting) => waiting,
            Begin::AlreadySent(sent) => return Ok(Some(sent)),
            Begin::Busy => {
                return Err(SendError::Retry { reason: "it is being sent at this moment".to_owned(), after: None });
            }
            Begin::Closed => return Err(self.not_connected()),
        };
        let within = |what: &str| format!("the bridge {} {what} within {:?}", self.name, self.send_timeout);
        let deadline = Instant::now() + self.send_timeout;
        match timeout_at(deadline, self.lines.send(to_line(line))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.not_connected()),
            Err(_) => return Err(SendError::Retry { reason: within("took no more lines"), after: None }),
        }
        // From here on the bridge may have read the line.
        match timeout_at(deadline, waiting.outcome()).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(SendError::Unknown {
                reason: format!("the connection of the bridge {} broke meanwhile", self.name),
            }),
            Err(_) => Err(SendError::Unknown { reason: within(late) }),
        }
    }

    fn not_connected(&self) -> SendError {
        SendError::NotConnected { reason: format!("the bridge {} is not connected", self.name) }
    }
}

#[async_trait]
impl Channel for BridgeChannel {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn owns(&self, chat: &ChatId) -> bool {
        self.claim.covers(chat)
    }

    fn capabilities(&self) -> ChannelCapabilities {
        self.capabilities
    }

    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let Delivery { key, chat, text, .. } = delivery;
        let sent =
            self.ask(key, &ToBridge::Send { key, chat, text }, "did not say whether it sent the message").await?;
        sent.ok_or_else(|| SendError::Retry {
            reason: format!("the bridge {} did not send it", self.name),
            after: None,
        })
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Sent>, SendError> {
        let Delivery { key, chat, text, .. } = delivery;
        self.ask(key, &ToBridge::Find { key, chat, text }, "did not say whether it had sent the message").await
    }

    async fn set_typing(&self, chat: &ChatId, typing: Typing) {
        if self.capabilities.typing {
            // Not worth waiting for: when the queue is full the bridge has better things to read.
            let _ = self.lines.try_send(to_line(&ToBridge::Typing { chat, on: typing == Typing::On }));
        }
    }
}
