//! The local channel as the orchestrator sees it, and the terminals that are attached to its chats.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use nanoclaw_core::{
    attachment::OutgoingFile,
    channel::{Channel, ChannelCapabilities, Repeat, SendError, Typing},
    chat::{ChannelName, ChatId},
    delivery::{Delivery, DeliveryKey, OutboxId, Sent},
    message::{PlatformMessageId, Seq},
    orchestrator::Notice,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::wire::{ReplyFile, ToTerminal};
use crate::{channels::ports::AnsweredSoFar, json_lines::to_line};

/// How many shown keys of a chat are remembered, to know whether the notice of a give-up was among them.
const REMEMBERED_KEYS: usize = 16;

/// How many notes may wait for replies to be shown.
const MAX_HELD: usize = 256;

/// How long word of a give-up or a trouble waits for the message that tells the chat of it.
const TOLD_PATIENCE: Duration = Duration::from_secs(5);

/// How long a terminal may take to show a reply before it counts as not there: one that was suspended shows it when it goes
/// on, which may be tomorrow. Less than the orchestrator waits, so that this is no failed try.
const SHOWING_PATIENCE: Duration = Duration::from_secs(30);

/// The channel of `local:` chats. What is sent counts as sent when one of the terminals attached to the chat has shown it;
/// with none attached, or none that shows anything, it waits in the outbox.
#[derive(Debug)]
pub struct LocalChannel {
    name: ChannelName,
    /// The folder in which the groups' folders are.
    groups: PathBuf,
    chats: Mutex<HashMap<ChatId, ChatState>>,
}

/// One chat's terminals, and what they are owed.
#[derive(Debug, Default)]
struct ChatState {
    terminals: Vec<Terminal>,
    typing: bool,
    /// The reply that is being shown; the orchestrator sends one at a time.
    showing: Option<Showing>,
    last_shown: Option<OutboxId>,
    shown_keys: VecDeque<DeliveryKey>,
    /// What may be said only after certain replies were shown, in order.
    held: VecDeque<Held>,
}

/// A terminal's end of its queue.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) number: u64,
    pub(super) lines: mpsc::Sender<String>,
    /// Cancelled when it does not keep up.
    pub(super) gone: CancellationToken,
}

#[derive(Debug)]
struct Showing {
    id: OutboxId,
    key: DeliveryKey,
    line: String,
    /// Shown; when nobody waited any more, the next try of the same key is told.
    shown: bool,
    waiting: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Held {
    /// `None` when it only waits for those before it: the order of notices is the order in which things happened.
    until: Option<HeldUntil>,
    line: String,
}

#[derive(Debug)]
enum HeldUntil {
    /// Everything up to this row was shown.
    Row(OutboxId),
    /// This message was shown, or it is this late.
    Key(DeliveryKey, Instant),
}

impl LocalChannel {
    /// The channel, with nobody attached; the groups' folders are in `groups`.
    #[must_use]
    pub fn new(groups: &Path) -> Self {
        Self { name: super::name(), groups: groups.to_owned(), chats: Mutex::default() }
    }

    /// Lets a terminal take part in `chat`; its first line is `attached`, then comes what is being shown at the moment.
    pub(super) fn attach(&self, chat: &ChatId, terminal: Terminal, attached: &ToTerminal) {
        let mut chats = self.lock();
        let state = chats.entry(chat.clone()).or_default();
        terminal.offer(to_line(attached));
        if state.typing {
            terminal.offer(to_line(&ToTerminal::Typing { on: true }));
        }
        if let Some(showing) = state.showing.as_ref().filter(|showing| !showing.shown) {
            terminal.offer(showing.line.clone());
        }
        state.terminals.push(terminal);
    }

    /// A terminal left. When it was the chat's last, what was being shown waits for the next.
    pub(super) fn detach(&self, chat: &ChatId, number: u64) {
        let mut chats = self.lock();
        let Some(state) = chats.get_mut(chat) else { return };
        state.terminals.retain(|terminal| terminal.number != number);
        if state.terminals.is_empty() {
            state.held.clear();
            if let Some(showing) = &mut state.showing {
                // A dropped sender is how the one who waits learns it.
                showing.waiting = None;
            }
        }
    }

    /// A terminal has shown a reply; the first one counts. Says whether nobody waited for it any more: then the outbox has
    /// to be told that it can go on.
    pub(super) fn shown(&self, chat: &ChatId, key: &DeliveryKey) -> bool {
        let mut chats = self.lock();
        let Some(state) = chats.get_mut(chat) else { return false };
        let Some(showing) = state.showing.as_mut().filter(|showing| showing.key == *key && !showing.shown) else {
            return false;
        };
        showing.shown = true;
        state.last_shown = state.last_shown.max(Some(showing.id));
        if state.shown_keys.len() == REMEMBERED_KEYS {
            state.shown_keys.pop_front();
        }
        state.shown_keys.push_back(key.clone());
        let heard = showing.waiting.take().is_some_and(|waiting| waiting.send(()).is_ok());
        state.release(Instant::now());
        !heard
    }

    /// Tells the terminals what happened, once the replies that belong to it were shown.
    pub(super) fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Answered { chat, through, reply, .. } => {
                self.tell_after(chat, reply.map(HeldUntil::Row), &ToTerminal::Answered { through: *through });
            }
            Notice::RunFailed { chat, reason, retry_in, .. } => {
                let retry_in_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
                self.tell_after(chat, None, &ToTerminal::Trouble { reason: reason.clone(), retry_in_ms });
            }
            Notice::Paused { chat, trouble, reason, retry_in, told, .. } => {
                let until = told.clone().map(|key| HeldUntil::Key(key, Instant::now() + TOLD_PATIENCE));
                let retry_in_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
                let paused = ToTerminal::Paused { trouble: *trouble, reason: reason.clone(), retry_in_ms };
                self.tell_after(chat, until, &paused);
            }
            Notice::GaveUp { group, chat, through, reason } => {
                // Should the message never come, the terminal must not wait for ever.
                let until = HeldUntil::Key(DeliveryKey::gave_up(group, *through), Instant::now() + TOLD_PATIENCE);
                self.tell_after(chat, Some(until), &ToTerminal::GaveUp { through: *through, reason: reason.clone() });
            }
        }
    }

    /// Tells the terminals of `chat` how far it is answered, after notices were missed.
    pub(super) fn answered(&self, chat: &ChatId, so_far: AnsweredSoFar) {
        if so_far.through > Seq::ZERO {
            let until = so_far.unshown.map(HeldUntil::Row);
            self.tell_after(chat, until, &ToTerminal::Answered { through: so_far.through });
        }
    }

    /// The chats with a terminal.
    pub(super) fn attached_chats(&self) -> Vec<ChatId> {
        let chats = self.lock();
        chats.iter().filter(|(_, state)| !state.terminals.is_empty()).map(|(chat, _)| chat.clone()).collect()
    }

    /// When [`Self::release_late`] has something to do; `None` when nothing waits for a time.
    pub(super) fn next_late(&self) -> Option<Instant> {
        let chats = self.lock();
        let late = |held: &Held| match held.until {
            Some(HeldUntil::Key(_, at)) => Some(at),
            Some(HeldUntil::Row(_)) | None => None,
        };
        chats.values().flat_map(|state| &state.held).filter_map(late).min()
    }

    /// Says what waited long enough.
    pub(super) fn release_late(&self, now: Instant) {
        self.lock().values_mut().for_each(|state| state.release(now));
    }

    /// Whoever sits at the terminal has the group's folder on the same machine, so no copy is handed over.
    fn shown_file(&self, file: &OutgoingFile) -> ReplyFile {
        let OutgoingFile { name, group, path, spooled } = file;
        ReplyFile {
            name: name.clone(),
            media_type: spooled.media_type.clone(),
            bytes: spooled.bytes,
            path: self.groups.join(group.as_str()).join(path).display().to_string(),
        }
    }

    fn tell_after(&self, chat: &ChatId, until: Option<HeldUntil>, message: &ToTerminal) {
        let mut chats = self.lock();
        let Some(state) = chats.get_mut(chat).filter(|state| !state.terminals.is_empty()) else { return };
        if state.held.len() == MAX_HELD {
            // A terminal that shows nothing (a stopped one). Each note of an answer includes those before it.
            state.held.pop_front();
        }
        state.held.push_back(Held { until, line: to_line(message) });
        state.release(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChatId, ChatState>> {
        // Each change is whole, so a panic elsewhere leaves it right.
        self.chats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Channel for LocalChannel {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn owns(&self, chat: &ChatId) -> bool {
        super::is_local(chat)
    }

    /// Deduplicating: a terminal knows the keys that it has shown and shows none twice. What a terminal showed that died
    /// before it said so went with its screen, and the next one shows it.
    fn capabilities(&self) -> ChannelCapabilities {
        ChannelCapabilities { repeat: Repeat::Deduplicated, typing: true, files: true }
    }

    /// Waits a while for a terminal to show it. One that does not, because it is suspended, counts as not there, and the
    /// orchestrator hears when it goes on.
    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let Delivery { id, key, chat, text, file, .. } = delivery;
        let nobody = || SendError::NotConnected { reason: format!("no terminal is attached to {chat}") };
        let outcome = {
            let mut chats = self.lock();
            let Some(state) = chats.get_mut(chat) else { return Err(nobody()) };
            if state.showing.as_ref().is_some_and(|showing| showing.key == *key && showing.shown) {
                state.showing = None;
                return Ok(Sent::default());
            }
            if state.terminals.is_empty() {
                return Err(nobody());
            }
            let (waiting, outcome) = oneshot::channel();
            match state.showing.as_mut().filter(|showing| showing.key == *key) {
                // Every terminal has it in its queue already, or was given it when it attached.
                Some(showing) => showing.waiting = Some(waiting),
                None => {
                    let file = file.as_ref().map(|file| self.shown_file(file));
                    let line = to_line(&ToTerminal::Reply { key: key.clone(), text: text.clone(), file });
                    state.offer(&line);
                    let waiting = Some(waiting);
                    state.showing = Some(Showing { id: *id, key: key.clone(), line, shown: false, waiting });
                }
            }
            outcome
        };
        match tokio::time::timeout(SHOWING_PATIENCE, outcome).await {
            Ok(Ok(())) => {
                if let Some(state) = self.lock().get_mut(chat) {
                    state.showing.take_if(|showing| showing.key == *key);
                }
                Ok(Sent::default())
            }
            Ok(Err(_)) => Err(nobody()),
            Err(_) => Err(SendError::NotConnected {
                reason: format!("no terminal of {chat} shows anything; is it suspended? `fg` brings it back"),
            }),
        }
    }

    async fn set_typing(&self, chat: &ChatId, _thread: Option<&PlatformMessageId>, typing: Typing) {
        if !self.owns(chat) {
            return;
        }
        let mut chats = self.lock();
        let state = chats.entry(chat.clone()).or_default();
        let on = typing == Typing::On;
        if state.typing != on {
            state.typing = on;
            state.offer(&to_line(&ToTerminal::Typing { on }));
        }
    }
}

impl ChatState {
    fn offer(&self, line: &str) {
        self.terminals.iter().for_each(|terminal| terminal.offer(line.to_owned()));
    }

    /// Says what is held and due. In order: what is due waits for what is not.
    fn release(&mut self, now: Instant) {
        while let Some(held) = self.held.front() {
            let due = match &held.until {
                None => true,
                Some(HeldUntil::Row(row)) => self.last_shown >= Some(*row),
                Some(HeldUntil::Key(key, late)) => *late <= now || self.shown_keys.contains(key),
            };
            if !due {
                return;
            }
            if let Some(held) = self.held.pop_front() {
                self.offer(&held.line);
            }
        }
    }
}

impl Terminal {
    /// Queues a line; a terminal that lets its queue fill up is disconnected, so that it holds up nobody else.
    fn offer(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.gone.cancel();
        }
    }
}
