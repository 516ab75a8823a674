//! A store that keeps everything in memory and behaves as [`Store`] promises: the contract suite runs on it as well.
//!
//! No method ever waits, so it can be used under tokio's paused clock. Its writes can be made to fail, as those of a full
//! disk would.

mod tasks;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;

use self::tasks::Scheduled;
use crate::{
    attachment::{Fetched, SpoolName},
    chat::{ChatId, ChatMetadata},
    delivery::{Answered, Answers, Delivery, DeliveryKey, NewDelivery, OutboxId, Sent},
    group::{Group, GroupFolder, GroupRole},
    message::{InboundMessage, PlatformMessageId, Seq, StoredMessage, Wakes},
    pairing::{Heard, Pairing, PairingId, SaidCode},
    run::{BlockNumber, Handed, RunEnding, RunId, RunKind, RunNumber},
    runtime::InstallId,
    session::{SessionId, SessionName},
    store::{
        Accepted, AfterTry, BlockCommit, BlockOutcome, DeliveryFilter, DeliveryState, GiveUp, GroupRecovery,
        GroupSessions, LATEST_WITH_THREADS, NewRun, NextSession, Resolution, Resolved, SessionContext, SessionEnded,
        SetAside, SetAsideState, StopWork, Stopped, Store, StoreError, StoredDelivery, StoredRun, StoredTurn,
        TurnResolution, TurnResolved, TurnState, superseded,
    },
    time::Timestamp,
};

/// A store in memory.
pub struct MemoryStore {
    state: Mutex<State>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// What a call has done of which an error is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    NotDone,
    /// Everything.
    Done,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let random = RandomState::new().hash_one("install id");
        let install = InstallId::new(format!("{random:016x}")).expect("16 hex digits are a valid install id");
        Self { state: Mutex::new(State::new(install)) }
    }

    /// From now on every write fails with `reason` and changes nothing, as on a full disk; reads go on.
    pub fn fail_writes(&self, reason: &str) {
        self.read().broken = Some(reason.to_owned());
    }

    /// Writes work again.
    pub fn mend(&self) {
        self.read().broken = None;
    }

    /// Makes the next question for a cursor fail.
    pub fn fail_next_cursor(&self, reason: &str) {
        self.read().next_cursor_failure = Some(reason.to_owned());
    }

    /// Makes the next question for messages fail.
    pub fn fail_next_messages(&self, reason: &str) {
        self.read().next_messages_failure = Some(reason.to_owned());
    }

    /// Makes the next so many hand-overs fail. With [`Effect::Done`] they happen all the same.
    pub fn fail_next_hand_overs(&self, times: u32, effect: Effect) {
        self.read().hand_over_failures = (times, effect);
    }

    fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn write(&self, action: &'static str) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.read();
        match &state.broken {
            Some(reason) => Err(StoreError::Failed { action, reason: reason.clone() }),
            None => Ok(state),
        }
    }
}

struct State {
    install: InstallId,
    broken: Option<String>,
    next_cursor_failure: Option<String>,
    next_messages_failure: Option<String>,
    hand_over_failures: (u32, Effect),
    chats: BTreeMap<ChatId, ChatMetadata>,
    groups: Vec<Registration>,
    pairing: Option<Pairing>,
    /// In the order of their sequence numbers, which are their places in it counted from 1.
    messages: Vec<StoredMessage>,
    seen: HashMap<(ChatId, PlatformMessageId), Seq>,
    given_up: HashSet<Seq>,
    /// In the order in which they were set aside.
    set_aside: Vec<SetAside>,
    /// In the order in which they were opened.
    runs: Vec<StoredRun>,
    /// In the order in which they were handed over.
    turns: Vec<(RunId, StoredTurn)>,
    blocks: HashSet<(RunId, BlockNumber)>,
    sessions: HashMap<(GroupFolder, SessionContext), SessionId>,
    /// What a chat's conversation is called, where it is not the default.
    names: HashMap<GroupFolder, SessionName>,
    /// Under which name the conversation of an open run was put aside.
    aside: HashMap<RunId, SessionName>,
    /// In the order of their ids, which are their places in it counted from 1.
    outbox: Vec<StoredDelivery>,
    scheduled: Scheduled,
    /// The messages to which something in the outbox is an answer.
    answered: HashSet<Seq>,
}

struct Registration {
    group: Group,
    cursor: Seq,
    failures: u32,
}

impl State {
    fn new(install: InstallId) -> Self {
        Self {
            install,
            broken: None,
            next_cursor_failure: None,
            next_messages_failure: None,
            hand_over_failures: (0, Effect::NotDone),
            chats: BTreeMap::new(),
            groups: Vec::new(),
            pairing: None,
            messages: Vec::new(),
            seen: HashMap::new(),
            given_up: HashSet::new(),
            set_aside: Vec::new(),
            runs: Vec::new(),
            turns: Vec::new(),
            blocks: HashSet::new(),
            sessions: HashMap::new(),
            names: HashMap::new(),
            aside: HashMap::new(),
            outbox: Vec::new(),
            scheduled: Scheduled::default(),
            answered: HashSet::new(),
        }
    }

    fn last_seq(&self) -> Seq {
        self.messages.last().map_or(Seq::ZERO, |message| message.seq)
    }

    fn add_group(&mut self, group: &Group) -> Result<(), StoreError> {
        if let Some(taken) = self.groups.iter().find(|known| known.group.chat == group.chat) {
            return Err(StoreError::ChatTaken { chat: group.chat.clone(), folder: taken.group.folder.clone() });
        }
        if let Some(taken) = self.groups.iter().find(|known| known.group.folder == group.folder) {
            return Err(StoreError::FolderTaken { folder: group.folder.clone(), chat: taken.group.chat.clone() });
        }
        if group.role == GroupRole::Main
            && let Some(taken) = self.groups.iter().find(|known| known.group.role == GroupRole::Main)
        {
            return Err(StoreError::MainTaken { folder: taken.group.folder.clone() });
        }
        self.close_open_runs_of(&group.folder, group.added_at);
        let cursor = self.last_seq();
        self.groups.push(Registration { group: group.clone(), cursor, failures: 0 });
        Ok(())
    }

    /// Which conversation an open run means by `context`; `None`: one that is not kept any more.
    fn conversation_of(&self, run: &RunId, context: &SessionContext) -> Option<SessionContext> {
        let open = self.open_run(run)?;
        match (context, self.aside.get(run)) {
            (SessionContext::Chat, Some(name)) if *name == self.name_of(&run.group) => Some(SessionContext::Chat),
            (SessionContext::Chat, Some(name)) => Some(SessionContext::Aside(name.clone())),
            (SessionContext::Chat, None) if open.session_ended => None,
            (context, _) => Some(context.clone()),
        }
    }

    /// What the chat's conversation of a group is called.
    fn name_of(&self, group: &GroupFolder) -> SessionName {
        self.names.get(group).cloned().unwrap_or_default()
    }

    fn registration(&self, folder: &GroupFolder) -> Result<&Registration, StoreError> {
        self.groups
            .iter()
            .find(|known| known.group.folder == *folder)
            .ok_or_else(|| StoreError::NoGroup { folder: folder.clone() })
    }

    fn registration_mut(&mut self, folder: &GroupFolder) -> Result<&mut Registration, StoreError> {
        self.groups
            .iter_mut()
            .find(|known| known.group.folder == *folder)
            .ok_or_else(|| StoreError::NoGroup { folder: folder.clone() })
    }

    fn beyond_cursor<'a>(&'a self, known: &'a Registration) -> impl Iterator<Item = &'a StoredMessage> {
        self.messages.iter().filter(|stored| stored.message.chat == known.group.chat && stored.seq > known.cursor)
    }

    fn between<'a>(&'a self, chat: &'a ChatId, messages: Handed) -> impl Iterator<Item = &'a StoredMessage> {
        let within = messages.first..=messages.last;
        self.messages.iter().filter(move |stored| stored.message.chat == *chat && within.contains(&stored.seq))
    }

    fn last_run(&self, folder: &GroupFolder) -> RunNumber {
        self.runs.iter().filter(|run| run.id.group == *folder).map(|run| run.id.number).max().unwrap_or(RunNumber::ZERO)
    }

    /// The run, when it is the open one of a registered group.
    fn open_run(&self, run: &RunId) -> Option<&StoredRun> {
        self.registration(&run.group).ok()?;
        self.runs.iter().find(|stored| stored.id == *run && stored.ended_at.is_none())
    }

    fn open_chat_run(&mut self, group: &GroupFolder) -> Option<&mut StoredRun> {
        let open = |run: &&mut StoredRun| run.id.group == *group && run.ended_at.is_none() && run.kind == RunKind::Chat;
        self.runs.iter_mut().find(open)
    }

    fn note_chat(&mut self, chat: &ChatMetadata) {
        let Some(known) = self.chats.get_mut(&chat.chat) else {
            self.chats.insert(chat.chat.clone(), chat.clone());
            return;
        };
        known.channel = chat.channel.clone();
        known.name = chat.name.clone().or_else(|| known.name.take());
        known.kind = chat.kind.or(known.kind);
        known.last_seen = known.last_seen.max(chat.last_seen);
    }

    fn close_run(&mut self, run: &RunId, ending: &RunEnding, at: Timestamp) {
        let Some(stored) = self.runs.iter_mut().find(|stored| stored.id == *run && stored.ended_at.is_none()) else {
            return;
        };
        stored.ended_at = Some(at);
        stored.ending = Some(ending.word().to_owned());
        stored.detail = Some(ending.to_string());
        let of_chat = stored.kind == RunKind::Chat;
        for (of, turn) in &mut self.turns {
            if of == run && turn.state != TurnState::Answered {
                turn.state = TurnState::Unanswered;
                turn.ended_at = Some(at);
            }
        }
        if let Ok(known) = self.registration_mut(&run.group)
            && of_chat
            && ending.counts_as_try()
        {
            known.failures += 1;
        }
    }

    fn open(&mut self, run: &NewRun, action: &'static str) -> Result<(), StoreError> {
        self.registration(&run.id.group)?;
        let last = self.last_run(&run.id.group);
        if run.id.number <= last {
            let reason = format!("the run {} comes after the group's last run, which was number {last}", run.id);
            return Err(StoreError::Failed { action, reason });
        }
        self.close_open_runs_of(&run.id.group, run.at);
        let NewRun { id, kind, runtime, handed, at } = run.clone();
        self.runs.push(StoredRun {
            id,
            kind,
            runtime,
            started_at: at,
            ended_at: None,
            ending: None,
            detail: None,
            names_messages: None,
            session_ended: false,
        });
        if let Some(handed) = handed {
            let turn = StoredTurn { handed, handed_at: at, state: TurnState::Handed, taken_at: None, ended_at: None };
            self.turns.push((run.id.clone(), turn));
        }
        Ok(())
    }

    fn close_open_runs_of(&mut self, folder: &GroupFolder, at: Timestamp) {
        let open = |run: &&StoredRun| run.id.group == *folder && run.ended_at.is_none();
        let open: Vec<RunId> = self.runs.iter().filter(open).map(|run| run.id.clone()).collect();
        for run in open {
            self.close_run(&run, &superseded(), at);
        }
    }

    /// Marks the turns that `through` answers, and says how far it counts: no further than what was handed over.
    fn answer_turns(&mut self, run: &RunId, through: Seq, at: Timestamp) -> Option<Seq> {
        let turns = self.turns.iter_mut().filter(|(of, _)| of == run).map(|(_, turn)| turn);
        let mut handed = None;
        for turn in turns {
            handed = handed.max(Some(turn.handed.last));
            if turn.state != TurnState::Answered && turn.handed.last <= through {
                turn.state = TurnState::Answered;
                turn.taken_at.get_or_insert(at);
                turn.ended_at = Some(at);
            }
        }
        handed.map(|handed| handed.min(through))
    }

    fn take_turns(&mut self, run: &RunId, through: Seq, at: Timestamp) {
        for (of, turn) in &mut self.turns {
            if of == run && turn.state == TurnState::Handed && turn.handed.last <= through {
                turn.state = TurnState::Taken;
                turn.taken_at = Some(at);
            }
        }
    }

    fn post(&mut self, delivery: &NewDelivery, at: Timestamp) -> OutboxId {
        if let Some(known) = self.outbox.iter().find(|row| row.delivery.key == delivery.key) {
            return known.delivery.id;
        }
        let id = OutboxId(place(self.outbox.len()));
        let NewDelivery { key, chat, text, file, answers } = delivery.clone();
        let answered = answers.map_or_else(Answered::default, |answers| self.answered_by_next(&chat, answers));
        self.outbox.push(StoredDelivery {
            delivery: Delivery { id, key, chat, text, file, answered, attempts: 0, posted_at: at },
            state: DeliveryState::Pending,
            not_before: at,
            last_error: None,
            sent_at: None,
            platform_id: None,
            decisions: 0,
        });
        id
    }

    /// What the next row shows, which is to `chat`.
    fn answered_by_next(&mut self, chat: &ChatId, answers: Answers) -> Answered {
        let (run, through) = match answers {
            Answers::Message(answered) => return answered,
            Answers::Run { run, through } => (run, through),
        };
        let Some(answered) = self.answered_by_run(chat, &run, through).cloned() else { return Answered::default() };
        let first = self.answered.insert(answered.seq);
        Answered::to(&answered.message, first)
    }

    /// The message that [`Answers::Run`] means.
    fn answered_by_run(&self, chat: &ChatId, run: &RunId, through: Option<Seq>) -> Option<&StoredMessage> {
        self.registration(&run.group).ok().filter(|known| known.group.chat == *chat)?;
        self.runs.iter().find(|stored| stored.id == *run && stored.kind == RunKind::Chat)?;
        let turns = || self.turns.iter().filter(|(of, _)| of == run).map(|(_, turn)| turn);
        let first = turns().map(|turn| turn.handed.first).min()?;
        let handed = turns().map(|turn| turn.handed.last).max()?;
        let taken = turns().filter(|turn| turn.taken_at.is_some()).map(|turn| turn.handed.last).max();
        let taken = taken.or_else(|| turns().next().map(|turn| turn.handed.last))?;
        let last = through.map_or(taken, |through| through.min(handed));
        let of_chat = self.messages.iter().filter(|stored| stored.message.chat == *chat);
        let mut within =
            of_chat.filter(|stored| stored.wakes == Wakes::Yes && stored.seq >= first && stored.seq <= last);
        let mut found = within.next_back()?;
        while let Some(original) = found.message.id.says_again().filter(|original| *original < found.seq) {
            found = self.messages.iter().find(|stored| stored.seq == original && stored.message.chat == *chat)?;
        }
        Some(found)
    }

    /// What follows on a try with this row.
    fn follow(&mut self, id: OutboxId, error: &str, after: &AfterTry, at: Timestamp) {
        let Some(row) = self.outbox.iter_mut().find(|row| row.delivery.id == id) else { return };
        row.last_error = Some(error.to_owned());
        let (next, not_before, notice) = match after {
            AfterTry::TryAgain(not_before) => (DeliveryState::Pending, Some(*not_before), &None),
            AfterTry::LookUp(not_before) => (DeliveryState::Sending, Some(*not_before), &None),
            AfterTry::GiveUp(notice) => (DeliveryState::Failed, None, notice),
            AfterTry::Ask(notice) => (DeliveryState::Unknown, None, notice),
        };
        row.state = next;
        row.not_before = not_before.unwrap_or(row.not_before);
        if let Some(notice) = notice {
            self.post(notice, at);
        }
    }

    fn outbox_row(&mut self, id: OutboxId, action: &'static str) -> Result<&mut StoredDelivery, StoreError> {
        self.outbox
            .iter_mut()
            .find(|row| row.delivery.id == id)
            .ok_or_else(|| StoreError::Failed { action, reason: format!("the outbox has no row {}", id.0) })
    }
}

/// The number of the row after `len` rows.
fn place(len: usize) -> i64 {
    i64::try_from(len).expect("a vector has fewer than 2^63 elements") + 1
}

fn limited(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[async_trait]
impl Store for MemoryStore {
    async fn install_id(&self) -> Result<InstallId, StoreError> {
        Ok(self.read().install.clone())
    }

    async fn note_chat(&self, chat: &ChatMetadata) -> Result<(), StoreError> {
        self.write("note a chat")?.note_chat(chat);
        Ok(())
    }

    async fn chats(&self) -> Result<Vec<ChatMetadata>, StoreError> {
        let mut chats: Vec<ChatMetadata> = self.read().chats.values().cloned().collect();
        chats.sort_by_key(|chat| std::cmp::Reverse(chat.last_seen));
        Ok(chats)
    }

    async fn groups(&self) -> Result<Vec<Group>, StoreError> {
        Ok(self.read().groups.iter().map(|known| known.group.clone()).collect())
    }

    async fn add_group(&self, group: &Group) -> Result<(), StoreError> {
        self.write("add a group")?.add_group(group)
    }

    async fn remove_group(&self, folder: &GroupFolder) -> Result<(), StoreError> {
        let mut state = self.write("remove a group")?;
        state.registration(folder)?;
        state.groups.retain(|known| known.group.folder != *folder);
        state.sessions.retain(|(of, _), _| of != folder);
        state.names.remove(folder);
        Ok(())
    }

    async fn recover(&self) -> Result<Vec<GroupRecovery>, StoreError> {
        let state = self.read();
        let mut groups: Vec<(Option<Seq>, GroupRecovery)> = state
            .groups
            .iter()
            .map(|known| {
                let waiting =
                    state.beyond_cursor(known).find(|stored| stored.wakes == Wakes::Yes).map(|stored| stored.seq);
                let recovery = GroupRecovery {
                    group: known.group.clone(),
                    last_run: state.last_run(&known.group.folder),
                    waiting: state
                        .beyond_cursor(known)
                        .filter(|stored| stored.wakes == Wakes::Yes)
                        .last()
                        .map(|stored| stored.seq),
                    failures: known.failures,
                };
                (waiting, recovery)
            })
            .collect();
        groups.sort_by_key(|(waiting, _)| waiting.unwrap_or(Seq(i64::MAX)));
        Ok(groups.into_iter().map(|(_, recovery)| recovery).collect())
    }

    async fn begin_pairing(&self, pairing: &Pairing) -> Result<(), StoreError> {
        self.write("begin a pairing")?.pairing = Some(pairing.clone());
        Ok(())
    }

    async fn pairing(&self) -> Result<Option<Pairing>, StoreError> {
        Ok(self.read().pairing.clone())
    }

    async fn withdraw_pairing(&self, id: &PairingId) -> Result<(), StoreError> {
        if let Some(pairing) = self.write("withdraw a pairing")?.pairing.as_mut().filter(|last| last.id == *id) {
            pairing.withdraw();
        }
        Ok(())
    }

    async fn hear_code(&self, code: &SaidCode, at: Timestamp) -> Result<Heard, StoreError> {
        let mut state = self.write("hear a pairing code")?;
        let Some(mut pairing) = state.pairing.clone() else { return Ok(Heard::Nothing) };
        let mut heard = pairing.hear(code, at);
        if let Heard::Claims(group) = &heard
            && let Err(taken) = state.add_group(group)
        {
            pairing.refuse(code, taken.to_string());
            heard = Heard::Refused;
        }
        if matches!(heard, Heard::Claims(_) | Heard::Refused) {
            state.post(&pairing.answer(code), at);
        }
        state.pairing = Some(pairing);
        Ok(heard)
    }

    async fn accept(&self, message: &InboundMessage, wakes: Wakes, at: Timestamp) -> Result<Accepted, StoreError> {
        let mut state = self.write("accept a message")?;
        let key = (message.chat.clone(), message.id.clone());
        if let Some(seq) = state.seen.get(&key) {
            return Ok(Accepted::Duplicate(*seq));
        }
        state.note_chat(&ChatMetadata {
            chat: message.chat.clone(),
            channel: message.channel.clone(),
            name: None,
            kind: message.chat_kind,
            last_seen: at,
        });
        if !state.groups.iter().any(|known| known.group.chat == message.chat) {
            return Ok(Accepted::Unregistered);
        }
        let seq = Seq(place(state.messages.len()));
        state.messages.push(StoredMessage { seq, wakes, message: message.clone() });
        state.seen.insert(key, seq);
        Ok(Accepted::Stored(seq))
    }

    async fn messages_after(
        &self,
        group: &GroupFolder,
        after: Seq,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let mut state = self.read();
        if let Some(reason) = state.next_messages_failure.take() {
            return Err(StoreError::Failed { action: "read messages", reason });
        }
        let known = state.registration(group)?;
        Ok(state.beyond_cursor(known).filter(|stored| stored.seq > after).take(limited(limit)).cloned().collect())
    }

    async fn unanswered(&self, group: &GroupFolder) -> Result<u64, StoreError> {
        let state = self.read();
        let known = state.registration(group)?;
        Ok(state.beyond_cursor(known).fold(0, |count, _| count + 1))
    }

    async fn said_until(&self, chat: &ChatId) -> Result<Option<Timestamp>, StoreError> {
        let state = self.read();
        Ok(state
            .messages
            .iter()
            .filter(|stored| stored.message.chat == *chat)
            .map(|stored| stored.message.sent_at)
            .max())
    }

    async fn threads_since(
        &self,
        chat: &ChatId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<PlatformMessageId>, StoreError> {
        let state = self.read();
        let latest = state.messages.iter().rev().filter(|stored| stored.message.chat == *chat);
        let latest = latest.take(LATEST_WITH_THREADS as usize).filter(|stored| stored.message.sent_at >= since);
        let mut threads = Vec::new();
        for thread in latest.filter_map(|stored| stored.message.thread.clone()) {
            if !threads.contains(&thread) {
                threads.push(thread);
            }
        }
        threads.truncate(limit as usize);
        Ok(threads)
    }

    async fn cursor(&self, group: &GroupFolder) -> Result<Seq, StoreError> {
        let mut state = self.read();
        match state.next_cursor_failure.take() {
            Some(reason) => Err(StoreError::Failed { action: "read a cursor", reason }),
            None => Ok(state.registration(group)?.cursor),
        }
    }

    async fn given_up(&self, group: &GroupFolder, limit: u32) -> Result<Vec<StoredMessage>, StoreError> {
        let state = self.read();
        let chat = &state.registration(group)?.group.chat;
        let given_up = |stored: &&StoredMessage| stored.message.chat == *chat && state.given_up.contains(&stored.seq);
        Ok(state.messages.iter().rev().filter(given_up).take(limited(limit)).cloned().collect())
    }

    async fn files_in_use(&self) -> Result<Vec<SpoolName>, StoreError> {
        let state = self.read();
        let waiting = state.groups.iter().flat_map(|known| state.beyond_cursor(known));
        let kept = state.set_aside.iter().filter(|one| one.state == SetAsideState::Kept);
        let kept = kept.flat_map(|one| state.between(&one.chat, one.messages));
        let attachments = waiting.chain(kept).flat_map(|stored| &stored.message.attachments);
        let came = attachments.filter_map(|attachment| match &attachment.fetched {
            Fetched::Yes(file) => Some(file.spool.clone()),
            Fetched::No { .. } => None,
        });
        let goes = state.outbox.iter().filter(may_be_sent).filter_map(|row| row.delivery.file.as_ref());
        Ok(came.chain(goes.map(|file| file.spooled.spool.clone())).collect())
    }

    async fn open_run(&self, run: &NewRun) -> Result<(), StoreError> {
        let action = "open a run";
        self.write(action)?.open(run, action)
    }

    async fn hand_over(&self, run: &RunId, handed: Handed, at: Timestamp) -> Result<(), StoreError> {
        let action = "hand messages to a run";
        let mut state = self.write(action)?;
        if state.open_run(run).is_none() {
            return Err(StoreError::Failed { action, reason: format!("{run} is not the group's open run") });
        }
        let (failures, effect) = state.hand_over_failures;
        let told = match failures.checked_sub(1) {
            None => Ok(()),
            Some(left) => {
                state.hand_over_failures.0 = left;
                Err(StoreError::Failed { action, reason: "busy, as the test wants it".to_owned() })
            }
        };
        let known = state.turns.iter().any(|(of, turn)| of == run && turn.handed == handed);
        if !known && (told.is_ok() || effect == Effect::Done) {
            let turn = StoredTurn { handed, handed_at: at, state: TurnState::Handed, taken_at: None, ended_at: None };
            state.turns.push((run.clone(), turn));
        }
        told
    }

    async fn commit_block(&self, run: &RunId, block: &BlockCommit) -> Result<BlockOutcome, StoreError> {
        let mut state = self.write("commit a block")?;
        if state.blocks.contains(&(run.clone(), block.number)) {
            return Ok(BlockOutcome::Duplicate);
        }
        let Some(open) = state.open_run(run) else {
            return Ok(BlockOutcome::Fenced);
        };
        let of_chat = open.kind == RunKind::Chat;
        state.blocks.insert((run.clone(), block.number));
        if let Some((context, session)) = &block.session
            && let Some(context) = state.conversation_of(run, context)
        {
            state.sessions.insert((run.group.clone(), context), session.clone());
        }
        if let Some(word) = &block.firing {
            state.scheduled.said(run, word);
        }
        if let Some(stored) = state.runs.iter_mut().find(|stored| stored.id == *run) {
            stored.names_messages = Some(stored.names_messages == Some(true) || block.names_messages);
        }
        if let Some(taken) = block.taken {
            state.take_turns(run, taken, block.at);
        }
        let answered = block.answers.and_then(|through| state.answer_turns(run, through, block.at));
        let known = state.registration_mut(&run.group)?;
        if of_chat {
            known.failures = 0;
        }
        known.cursor = known.cursor.max(answered.unwrap_or(Seq::ZERO));
        Ok(BlockOutcome::Committed(block.reply.as_ref().map(|reply| state.post(reply, block.at))))
    }

    async fn turns_taken(&self, run: &RunId, through: Seq, at: Timestamp) -> Result<(), StoreError> {
        let mut state = self.write("note what a run has taken")?;
        if state.open_run(run).is_some() {
            state.take_turns(run, through, at);
        }
        Ok(())
    }

    async fn close_run(&self, run: &RunId, ending: &RunEnding, at: Timestamp) -> Result<(), StoreError> {
        let action = "close a run";
        let mut state = self.write(action)?;
        if !state.runs.iter().any(|stored| stored.id == *run) {
            return Err(StoreError::Failed { action, reason: format!("there is no run {run}") });
        }
        state.close_run(run, ending, at);
        Ok(())
    }

    async fn give_up(
        &self,
        group: &GroupFolder,
        given_up: &GiveUp,
        at: Timestamp,
    ) -> Result<Option<SetAside>, StoreError> {
        let mut state = self.write("give up messages")?;
        let through = given_up.through.min(state.last_seq());
        let known = state.registration(group)?;
        let chat = known.group.chat.clone();
        let marked: Vec<Seq> =
            state.beyond_cursor(known).map(|stored| stored.seq).filter(|seq| *seq <= through).collect();
        let (Some(first), Some(last)) = (marked.first(), marked.last()) else { return Ok(None) };
        let set_aside = SetAside {
            group: group.clone(),
            chat,
            messages: Handed { first: *first, last: *last },
            reason: given_up.reason.clone(),
            run: given_up.run,
            at,
            state: given_up.state,
        };
        state.given_up.extend(marked);
        state.set_aside.push(set_aside.clone());
        let known = state.registration_mut(group)?;
        known.cursor = through;
        known.failures = 0;
        if let Some(notice) = &given_up.notice {
            state.post(notice, at);
        }
        Ok(Some(set_aside))
    }

    async fn set_aside(
        &self,
        group: Option<&GroupFolder>,
        resolved: bool,
        limit: u32,
    ) -> Result<Vec<SetAside>, StoreError> {
        let state = self.read();
        let wanted = |one: &&SetAside| {
            group.is_none_or(|folder| one.group == *folder) && (resolved || one.state == SetAsideState::Kept)
        };
        Ok(state.set_aside.iter().rev().filter(wanted).take(limited(limit)).cloned().collect())
    }

    async fn resolve_set_aside(
        &self,
        group: &GroupFolder,
        last: Seq,
        resolution: TurnResolution,
        at: Timestamp,
    ) -> Result<TurnResolved, StoreError> {
        let mut state = self.write("decide about messages that were set aside")?;
        let named = |one: &SetAside| one.group == *group && one.messages.last == last;
        let Some(place) = state.set_aside.iter().position(named) else { return Ok(TurnResolved::Unknown) };
        let one = state.set_aside[place].clone();
        match (resolution, one.state) {
            (_, SetAsideState::Retried) | (TurnResolution::Drop, SetAsideState::Dropped) => {
                return Ok(TurnResolved::Already(one.state));
            }
            (TurnResolution::Drop, SetAsideState::Kept) => {
                state.set_aside[place].state = SetAsideState::Dropped;
                return Ok(TurnResolved::Dropped);
            }
            (TurnResolution::Retry, SetAsideState::Kept | SetAsideState::Dropped) => {}
        }
        if state.registration(group)?.group.chat != one.chat {
            return Err(StoreError::NoGroup { folder: group.clone() });
        }
        let _ = at;
        let again: Vec<StoredMessage> = state.between(&one.chat, one.messages).cloned().collect();
        let mut newest = None;
        for StoredMessage { seq: original, wakes, mut message } in again {
            message.id = PlatformMessageId::said_again(original);
            let seq = Seq(self::place(state.messages.len()));
            if state.seen.contains_key(&(message.chat.clone(), message.id.clone())) {
                continue;
            }
            state.seen.insert((message.chat.clone(), message.id.clone()), seq);
            state.messages.push(StoredMessage { seq, wakes, message });
            if wakes == Wakes::Yes {
                newest = Some(seq);
            }
        }
        state.set_aside[place].state = SetAsideState::Retried;
        Ok(TurnResolved::Retried { newest })
    }

    async fn messages_between(
        &self,
        chat: &ChatId,
        messages: Handed,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        Ok(self.read().between(chat, messages).take(limited(limit)).cloned().collect())
    }

    async fn runs(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<StoredRun>, StoreError> {
        let state = self.read();
        let wanted = |run: &&StoredRun| group.is_none_or(|folder| run.id.group == *folder);
        Ok(state.runs.iter().rev().filter(wanted).take(limited(limit)).cloned().collect())
    }

    async fn open_runs(&self) -> Result<Vec<StoredRun>, StoreError> {
        Ok(self.read().runs.iter().filter(|run| run.ended_at.is_none()).cloned().collect())
    }

    async fn turns(&self, run: &RunId) -> Result<Vec<StoredTurn>, StoreError> {
        let state = self.read();
        Ok(state.turns.iter().filter(|(of, _)| of == run).map(|(_, turn)| turn.clone()).collect())
    }

    async fn session(&self, group: &GroupFolder, context: &SessionContext) -> Result<Option<SessionId>, StoreError> {
        Ok(self.read().sessions.get(&(group.clone(), context.clone())).cloned())
    }

    async fn forget_session(&self, run: &RunId, context: &SessionContext) -> Result<(), StoreError> {
        let mut state = self.write("forget a session")?;
        if let Some(context) = state.conversation_of(run, context) {
            state.sessions.remove(&(run.group.clone(), context));
        }
        Ok(())
    }

    async fn sessions(&self, group: &GroupFolder) -> Result<Option<GroupSessions>, StoreError> {
        let state = self.read();
        if state.registration(group).is_err() {
            return Ok(None);
        }
        let of_group = state.sessions.iter().filter(|((of, _), _)| of == group);
        let sessions = of_group.map(|((_, context), session)| (context.clone(), session.clone())).collect();
        Ok(Some(GroupSessions { current: state.name_of(group), sessions }))
    }

    async fn drop_session(&self, group: &GroupFolder, context: &SessionContext) -> Result<bool, StoreError> {
        Ok(self.write("drop a session")?.sessions.remove(&(group.clone(), context.clone())).is_some())
    }

    async fn end_session(
        &self,
        group: &GroupFolder,
        next: &NextSession,
        answer: Option<&NewDelivery>,
        at: Timestamp,
    ) -> Result<SessionEnded, StoreError> {
        let mut state = self.write("end a session")?;
        let state = &mut *state;
        state.registration(group)?;
        if answer.is_some_and(|answer| state.outbox.iter().any(|row| row.delivery.key == answer.key)) {
            return Ok(SessionEnded::Before);
        }
        let current = state.name_of(group);
        let open = state.runs.iter_mut().find(|run| run.id.group == *group && run.ended_at.is_none());
        let of = |context| (group.clone(), context);
        let ended = match next {
            NextSession::New => {
                state.sessions.remove(&of(SessionContext::Chat));
                if let Some(open) = open {
                    open.session_ended = true;
                    if state.aside.get(&open.id) == Some(&current) {
                        state.aside.remove(&open.id);
                    }
                }
                SessionEnded::Now
            }
            NextSession::Named(name) if *name == current => SessionEnded::Same,
            NextSession::Named(name) => {
                if let Some(session) = state.sessions.remove(&of(SessionContext::Chat)) {
                    state.sessions.insert(of(SessionContext::Aside(current.clone())), session);
                }
                if let Some(session) = state.sessions.remove(&of(SessionContext::Aside(name.clone()))) {
                    state.sessions.insert(of(SessionContext::Chat), session);
                }
                state.names.insert(group.clone(), name.clone());
                if let Some(open) = open.filter(|open| !open.session_ended) {
                    open.session_ended = true;
                    state.aside.insert(open.id.clone(), current);
                }
                SessionEnded::Now
            }
        };
        if let Some(answer) = answer {
            state.post(answer, at);
        }
        Ok(ended)
    }

    async fn stop_work(&self, group: &GroupFolder, stop: &StopWork, at: Timestamp) -> Result<Stopped, StoreError> {
        let (chat, newest, run, task) = {
            let mut state = self.write("stop what is worked on")?;
            let known = state.registration(group)?;
            let chat = known.group.chat.clone();
            let waking = state.beyond_cursor(known).filter(|stored| stored.wakes == Wakes::Yes);
            let newest = waking.map(|stored| stored.seq).last();
            if state.outbox.iter().any(|row| row.delivery.key == stop.key) {
                return Ok(Stopped::Before);
            }
            let task = state.stop_task(group, &stop.reason, at);
            (chat, newest, state.open_chat_run(group).map(|open| open.id.clone()), task)
        };
        // No method waits, so nothing comes between these.
        if let Some((_, run)) = &task {
            self.close_run(run, &RunEnding::Stopped, at).await?;
        }
        let task = task.map(|(task, _)| task);
        let answer = NewDelivery {
            key: stop.key.clone(),
            chat,
            text: stop.answer(newest.is_some(), task.is_some()),
            file: None,
            answers: Some(Answers::Message(stop.command.clone())),
        };
        let Some(through) = newest else {
            self.post(&answer, at).await?;
            return Ok(match task {
                None => Stopped::Nothing,
                task => Stopped::Work { through: None, run: None, task },
            });
        };
        let notice = Some(answer);
        let given_up = GiveUp {
            run: run.as_ref().map(|run| run.number),
            reason: stop.reason.clone(),
            notice,
            ..GiveUp::dropped(through)
        };
        self.give_up(group, &given_up, at).await?;
        if let Some(run) = &run {
            self.close_run(run, &RunEnding::Stopped, at).await?;
        }
        Ok(Stopped::Work { through: Some(through), run: run.map(|run| run.number), task })
    }

    async fn post(&self, delivery: &NewDelivery, at: Timestamp) -> Result<OutboxId, StoreError> {
        Ok(self.write("post a message")?.post(delivery, at))
    }

    async fn pending_deliveries(&self) -> Result<Vec<StoredDelivery>, StoreError> {
        Ok(self.read().outbox.iter().filter(to_be_sent).cloned().collect())
    }

    async fn pending_deliveries_of(&self, chat: &ChatId, limit: u32) -> Result<Vec<StoredDelivery>, StoreError> {
        let state = self.read();
        let of_chat = state.outbox.iter().filter(to_be_sent).filter(|row| row.delivery.chat == *chat);
        Ok(of_chat.take(limited(limit)).cloned().collect())
    }

    async fn delivery_begun(&self, id: OutboxId) -> Result<(), StoreError> {
        let action = "note that a message is being sent";
        let mut state = self.write(action)?;
        let row = state.outbox_row(id, action)?;
        if row.state == DeliveryState::Pending {
            row.state = DeliveryState::Sending;
        }
        Ok(())
    }

    async fn delivery_postponed(&self, id: OutboxId) -> Result<(), StoreError> {
        let action = "note that a message was not sent";
        let mut state = self.write(action)?;
        let row = state.outbox_row(id, action)?;
        if row.state == DeliveryState::Sending {
            row.state = DeliveryState::Pending;
        }
        Ok(())
    }

    async fn delivery_sent(&self, id: OutboxId, sent: &Sent, at: Timestamp) -> Result<(), StoreError> {
        let action = "mark a message as sent";
        let mut state = self.write(action)?;
        let row = state.outbox_row(id, action)?;
        if row.state != DeliveryState::Sent {
            row.state = DeliveryState::Sent;
            row.delivery.attempts += 1;
            row.last_error = None;
            row.sent_at = Some(at);
            row.platform_id = sent.platform_id.clone();
        }
        Ok(())
    }

    async fn delivery_failed(
        &self,
        id: OutboxId,
        error: &str,
        after: &AfterTry,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let action = "note a failed delivery";
        let mut state = self.write(action)?;
        let row = state.outbox_row(id, action)?;
        if to_be_sent(&&*row) {
            row.delivery.attempts += 1;
            state.follow(id, error, after, at);
        }
        Ok(())
    }

    async fn delivery_not_sent(
        &self,
        id: OutboxId,
        error: &str,
        after: &AfterTry,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let action = "note that a message was not sent after all";
        let mut state = self.write(action)?;
        if state.outbox_row(id, action)?.state == DeliveryState::Unknown {
            state.follow(id, error, after, at);
        }
        Ok(())
    }

    async fn resolve_delivery(
        &self,
        id: OutboxId,
        resolution: Resolution,
        at: Timestamp,
    ) -> Result<Resolved, StoreError> {
        let action = "resolve a delivery";
        let mut state = self.write(action)?;
        let Ok(row) = state.outbox_row(id, action) else { return Ok(Resolved::NoRow) };
        match (resolution, row.state) {
            (_, DeliveryState::Sent) | (Resolution::SendAgain, DeliveryState::Sending) => {
                return Ok(Resolved::Refused(row.clone()));
            }
            (Resolution::SendAgain, _) => {
                row.state = DeliveryState::Pending;
                row.delivery.attempts = 0;
                row.not_before = at;
            }
            (Resolution::Drop, _) => row.state = DeliveryState::Dropped,
        }
        row.decisions += 1;
        Ok(Resolved::Done(row.clone()))
    }

    async fn delivery(&self, key: &DeliveryKey) -> Result<Option<StoredDelivery>, StoreError> {
        Ok(self.read().outbox.iter().find(|row| row.delivery.key == *key).cloned())
    }

    async fn delivery_at(&self, id: OutboxId) -> Result<Option<StoredDelivery>, StoreError> {
        Ok(self.read().outbox.iter().find(|row| row.delivery.id == id).cloned())
    }

    async fn deliveries(&self, filter: &DeliveryFilter, limit: u32) -> Result<Vec<StoredDelivery>, StoreError> {
        let DeliveryFilter { states, chat } = filter;
        let meant = |row: &&StoredDelivery| {
            (states.is_empty() || states.contains(&row.state))
                && chat.as_ref().is_none_or(|chat| row.delivery.chat == *chat)
        };
        Ok(self.read().outbox.iter().rev().filter(meant).take(limited(limit)).cloned().collect())
    }
}

fn may_be_sent(row: &&StoredDelivery) -> bool {
    !matches!(row.state, DeliveryState::Sent | DeliveryState::Dropped)
}

fn to_be_sent(row: &&StoredDelivery) -> bool {
    matches!(row.state, DeliveryState::Pending | DeliveryState::Sending)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    async fn make() -> (Arc<dyn Store>, ()) {
        (Arc::new(MemoryStore::new()), ())
    }

    crate::store_suite!(make);

    async fn make_for_tasks() -> (Arc<dyn crate::testing::task_suite::TaskStore>, ()) {
        (Arc::new(MemoryStore::new()), ())
    }

    mod tasks {
        crate::task_suite!(super::make_for_tasks);
    }

    #[tokio::test]
    async fn writes_that_fail_change_nothing_and_reads_go_on() {
        let store = MemoryStore::new();
        let post = |key: &str| NewDelivery {
            key: DeliveryKey::new(key).unwrap(),
            chat: ChatId::new("local:main").unwrap(),
            text: "hello".into(),
            file: None,
            answers: None,
        };
        store.fail_writes("the disk is full");
        let error = store.post(&post("one"), Timestamp::from_ms(1)).await.unwrap_err();
        assert_eq!(error.to_string(), "the database failed to post a message: the disk is full");
        assert!(store.pending_deliveries().await.unwrap().is_empty());
        store.mend();
        store.post(&post("one"), Timestamp::from_ms(1)).await.unwrap();
        assert_eq!(store.pending_deliveries().await.unwrap().len(), 1);
    }
}
