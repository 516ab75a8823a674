//! A connected bridge as the orchestrator sees it: one more channel.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use nanoclaw_core::{
    attachment::{OutgoingFile, SpooledFile},
    channel::{Channel, ChannelCapabilities, Repeat, SendError, Typing},
    chat::{ChannelName, ChatId},
    delivery::{Delivery, DeliveryKey, Sent},
    message::PlatformMessageId,
    time::Timestamp,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    claim::Claim,
    pending::{Begin, Outcome, Pending, Settled},
    wire::{FileSent, ToBridge},
};
use crate::{
    channels::status::{ChannelState, StatusKeeper},
    files::{Spool, is_there},
    json_lines::to_line,
};

/// The channel that one connection of a bridge is. When the connection ends it stays closed; the next is a new one.
#[derive(Debug)]
pub(super) struct BridgeChannel {
    pub(super) name: ChannelName,
    pub(super) claim: Claim,
    pub(super) capabilities: ChannelCapabilities,
    pub(super) send_timeout: Duration,
    /// Where the files are that it sends.
    files: Option<Arc<Spool>>,
    lines: mpsc::Sender<String>,
    pending: Pending,
    /// How it stands with its service, as it says itself.
    pub(super) status: StatusKeeper,
}

impl BridgeChannel {
    pub(super) fn new(
        name: ChannelName,
        claim: Claim,
        capabilities: ChannelCapabilities,
        send_timeout: Duration,
        files: Option<Arc<Spool>>,
        lines: mpsc::Sender<String>,
    ) -> Self {
        // One that never says so has a service that it can reach.
        let status = StatusKeeper::new(name.clone(), ChannelState::Connected { since: Timestamp::now() });
        Self { name, claim, capabilities, send_timeout, files, lines, pending: Pending::default(), status }
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
    async fn ask(&self, key: &DeliveryKey, line: &ToBridge<'_>, limit: Duration, late: &str) -> Outcome {
        // Waited for before it is written: the answer may be faster than this worker.
        let mut waiting = match self.pending.begin(key) {
            Begin::Wait(waiting) => waiting,
            Begin::AlreadySent(sent) => return Ok(Some(sent)),
            Begin::Busy => {
                return Err(SendError::Retry { reason: "it is being sent at this moment".to_owned(), after: None });
            }
            Begin::Closed => return Err(self.not_connected()),
        };
        let within = |what: &str| format!("the bridge {} {what} within {limit:?}", self.name);
        let deadline = Instant::now() + limit;
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

    /// Where the copy of a file is, which is looked at first: a bridge is told of no file that is not there.
    async fn path_of(&self, spool: &Spool, file: &OutgoingFile) -> Result<String, SendError> {
        let permanent = |reason| SendError::Permanent { reason };
        let path = spool.path_of(file);
        is_there(&path, &file.spooled).await.map_err(permanent)?;
        let text = path.to_str().ok_or_else(|| permanent(format!("the path {} is no text", path.display())))?;
        Ok(text.to_owned())
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
        let Delivery { key, chat, text, answered, .. } = delivery;
        let (path, file) = match (&delivery.file, &self.files) {
            (None, _) => (String::new(), None),
            (Some(file), Some(spool)) => (self.path_of(spool, file).await?, Some(file)),
            (Some(_), None) => {
                return Err(SendError::Permanent { reason: "this host sends no files".to_owned() });
            }
        };
        let files: Vec<FileSent<'_>> = file
            .map(|OutgoingFile { name, spooled: SpooledFile { media_type, bytes, .. }, .. }| FileSent {
                path: &path,
                name,
                media_type,
                bytes: *bytes,
            })
            .into_iter()
            .collect();
        let (reply_to, thread) = (answered.reply_to.as_ref(), answered.thread.as_ref());
        let line = ToBridge::Send { key, chat, text, reply_to, thread, files: &files };
        let within = self.send_timeout + delivery.more_time();
        let sent = self.ask(key, &line, within, "did not say whether it sent the message").await?;
        sent.ok_or_else(|| SendError::Retry {
            reason: format!("the bridge {} did not send it", self.name),
            after: None,
        })
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Sent>, SendError> {
        let Delivery { key, chat, text, .. } = delivery;
        let within = self.send_timeout + delivery.more_time();
        self.ask(key, &ToBridge::Find { key, chat, text }, within, "did not say whether it had sent the message").await
    }

    async fn set_typing(&self, chat: &ChatId, thread: Option<&PlatformMessageId>, typing: Typing) {
        if self.capabilities.typing {
            // Not worth waiting for: when the queue is full the bridge has better things to read.
            let _ = self.lines.try_send(to_line(&ToBridge::Typing { chat, thread, on: typing == Typing::On }));
        }
    }
}
