//! The store in SQLite, through sqlx.
//!
//! One connection writes, in transactions that writes share which come at the same time; a few others read. The journal is a
//! write-ahead log that is synced at each commit, because a message that was acknowledged must survive a power cut.
//!
//! This file is the map from the port to the files that know the tables: `groups`, `pairing`, `inbox`, `runs`,
//! `sessions`, `set_aside`, `outbox`, `tasks`, `firings`; `moved_in` takes over what another program kept. How a database is opened is in `open` and `before_migration`, how it is written in `writer`,
//! what its failures mean to people in `failure`; `inspect` looks into one without writing, and `old_rows` forgets old records.

mod before_migration;
mod commands;
mod failure;
mod firings;
mod groups;
mod inbox;
mod inspect;
mod ledger;
mod moved_in;
mod old_rows;
mod open;
mod outbox;
mod pairing;
mod rows;
mod runs;
mod sessions;
mod set_aside;
mod tasks;
#[cfg(test)]
mod tests;
mod writer;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use nanoclaw_core::{
    attachment::SpoolName,
    chat::{ChatId, ChatMetadata},
    delivery::{DeliveryKey, NewDelivery, OutboxId, Sent},
    group::{Group, GroupFolder},
    message::{InboundMessage, PlatformMessageId, Seq, StoredMessage, Wakes},
    pairing::{Heard, Pairing, PairingId, SaidCode},
    run::{Handed, RunEnding, RunId},
    runtime::InstallId,
    session::SessionId,
    store::{
        Accepted, AfterTry, BlockCommit, BlockOutcome, DeliveryFilter, GiveUp, GroupRecovery, GroupSessions, NewRun,
        NextSession, Resolution, Resolved, SessionContext, SessionEnded, SetAside, StopWork, Stopped, Store,
        StoreError, StoredDelivery, StoredRun, StoredTurn, TurnResolution, TurnResolved,
    },
    time::Timestamp,
};
use sqlx::SqlitePool;

use self::{
    failure::Problem,
    writer::{Write, Writer},
};
pub use self::{
    inspect::{Inspected, files_of, inspect, is_damaged},
    moved_in::{Conversation, PastFiring, PastTask, Said},
    open::newest_known as newest_schema,
    writer::Written,
};

/// A database file, open. Dropping it loses nothing; [`close`](Self::close) also folds the log into the file.
#[derive(Debug)]
pub struct SqliteStore {
    path: Arc<Path>,
    /// Writers wait for each other here, in order, and not in SQLite's lock.
    writer: Writer,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it when it is not there (file 0600, folder 0700), and brings it to the newest
    /// schema. The file is for one host at a time, which the caller sees to; others may read it meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when it was written by a newer version (nothing is changed); `Failed` with the path and the
    /// remedy when it is no database of ours, cannot be written, or the disk is full.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let path: Arc<Path> = path.into();
        match open::open(&path).await {
            Ok((connection, options, readers)) => {
                Ok(Self { writer: Writer::new(Arc::clone(&path), connection, options), path, readers })
            }
            Err(problem) => Err(problem.explain("open the database", &path)),
        }
    }

    /// Closes all connections and folds the write-ahead log into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// How much was written since it was opened, and in how many commits.
    #[must_use]
    pub fn written(&self) -> Written {
        self.writer.written()
    }

    async fn begin(&self, action: &'static str) -> Result<Write, StoreError> {
        self.writer.begin(action).await
    }

    fn told<T>(&self, action: &'static str, read: Result<T, Problem>) -> Result<T, StoreError> {
        read.map_err(|problem| problem.explain(action, &self.path))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn install_id(&self) -> Result<InstallId, StoreError> {
        let action = "read the install id";
        if let Some(known) = self.told(action, groups::install_id(&self.readers).await)? {
            return Ok(known);
        }
        let mut write = self.begin(action).await?;
        let done = groups::make_install_id(&mut write.transaction).await;
        write.finish(done).await
    }

    async fn note_chat(&self, chat: &ChatMetadata) -> Result<(), StoreError> {
        let mut write = self.begin("note a chat").await?;
        let done = groups::note_chat(&mut write.transaction, chat).await;
        write.finish(done).await
    }

    async fn chats(&self) -> Result<Vec<ChatMetadata>, StoreError> {
        self.told("list the chats", groups::chats(&self.readers).await)
    }

    async fn groups(&self) -> Result<Vec<Group>, StoreError> {
        self.told("list the groups", groups::groups(&self.readers).await)
    }

    async fn add_group(&self, group: &Group) -> Result<(), StoreError> {
        let mut write = self.begin("add a group").await?;
        let done = groups::add(&mut write.transaction, group).await;
        write.finish(done).await
    }

    async fn remove_group(&self, folder: &GroupFolder) -> Result<(), StoreError> {
        let mut write = self.begin("remove a group").await?;
        let done = groups::remove(&mut write.transaction, folder).await;
        write.finish(done).await
    }

    async fn recover(&self) -> Result<Vec<GroupRecovery>, StoreError> {
        self.told("read what is waiting", groups::recover(&self.readers).await)
    }

    async fn begin_pairing(&self, pairing: &Pairing) -> Result<(), StoreError> {
        let mut write = self.begin("begin a pairing").await?;
        let done = pairing::keep(&mut write.transaction, pairing).await;
        write.finish(done).await
    }

    async fn pairing(&self) -> Result<Option<Pairing>, StoreError> {
        self.told("read the pairing", pairing::last(&self.readers).await)
    }

    async fn withdraw_pairing(&self, id: &PairingId) -> Result<(), StoreError> {
        let mut write = self.begin("withdraw a pairing").await?;
        let done = pairing::withdraw(&mut write.transaction, id).await;
        write.finish(done).await
    }

    async fn hear_code(&self, code: &SaidCode, at: Timestamp) -> Result<Heard, StoreError> {
        let mut write = self.begin("hear a pairing code").await?;
        let done = pairing::hear(&mut write.transaction, code, at).await;
        write.finish(done).await
    }

    async fn accept(&self, message: &InboundMessage, wakes: Wakes, at: Timestamp) -> Result<Accepted, StoreError> {
        let mut write = self.begin("accept a message").await?;
        let done = inbox::accept(&mut write.transaction, message, wakes, at).await;
        write.finish(done).await
    }

    async fn messages_after(
        &self,
        group: &GroupFolder,
        after: Seq,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.told("read messages", inbox::messages_after(&self.readers, group, after, limit).await)
    }

    async fn unanswered(&self, group: &GroupFolder) -> Result<u64, StoreError> {
        self.told("count messages", inbox::unanswered(&self.readers, group).await)
    }

    async fn said_until(&self, chat: &ChatId) -> Result<Option<Timestamp>, StoreError> {
        self.told("read when something was last said", inbox::said_until(&self.readers, chat).await)
    }

    async fn threads_since(
        &self,
        chat: &ChatId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<PlatformMessageId>, StoreError> {
        self.told(
            "read in which threads something was said",
            inbox::threads_since(&self.readers, chat, since, limit).await,
        )
    }

    async fn cursor(&self, group: &GroupFolder) -> Result<Seq, StoreError> {
        self.told("read a cursor", inbox::cursor(&self.readers, group).await)
    }

    async fn given_up(&self, group: &GroupFolder, limit: u32) -> Result<Vec<StoredMessage>, StoreError> {
        self.told("read messages that were given up", inbox::given_up(&self.readers, group, limit).await)
    }

    async fn files_in_use(&self) -> Result<Vec<SpoolName>, StoreError> {
        let names = async {
            let mut names = inbox::files_in_use(&self.readers).await?;
            names.extend(outbox::files_in_use(&self.readers).await?);
            Ok(names)
        };
        self.told("list the files that messages need", names.await)
    }

    async fn open_run(&self, run: &NewRun) -> Result<(), StoreError> {
        let mut write = self.begin("open a run").await?;
        let done = runs::open(&mut write.transaction, run).await;
        write.finish(done).await
    }

    async fn hand_over(&self, run: &RunId, handed: Handed, at: Timestamp) -> Result<(), StoreError> {
        let mut write = self.begin("hand messages to a run").await?;
        let done = runs::hand_over(&mut write.transaction, run, handed, at).await;
        write.finish(done).await
    }

    async fn commit_block(&self, run: &RunId, block: &BlockCommit) -> Result<BlockOutcome, StoreError> {
        let mut write = self.begin("commit a block").await?;
        let done = runs::commit_block(&mut write.transaction, run, block).await;
        write.finish(done).await
    }

    async fn turns_taken(&self, run: &RunId, through: Seq, at: Timestamp) -> Result<(), StoreError> {
        let mut write = self.begin("note what a run has taken").await?;
        let done = runs::turns_taken(&mut write.transaction, run, through, at).await;
        write.finish(done).await
    }

    async fn close_run(&self, run: &RunId, ending: &RunEnding, at: Timestamp) -> Result<(), StoreError> {
        let mut write = self.begin("close a run").await?;
        let done = runs::close(&mut write.transaction, run, ending, at).await;
        write.finish(done).await
    }

    async fn give_up(
        &self,
        group: &GroupFolder,
        given_up: &GiveUp,
        at: Timestamp,
    ) -> Result<Option<SetAside>, StoreError> {
        let mut write = self.begin("give up messages").await?;
        let done = set_aside::give_up(&mut write.transaction, group, given_up, at).await;
        write.finish(done).await
    }

    async fn set_aside(
        &self,
        group: Option<&GroupFolder>,
        resolved: bool,
        limit: u32,
    ) -> Result<Vec<SetAside>, StoreError> {
        self.told("list what was set aside", set_aside::list(&self.readers, group, resolved, limit).await)
    }

    async fn resolve_set_aside(
        &self,
        group: &GroupFolder,
        last: Seq,
        resolution: TurnResolution,
        at: Timestamp,
    ) -> Result<TurnResolved, StoreError> {
        let mut write = self.begin("decide about messages that were set aside").await?;
        let done = set_aside::resolve(&mut write.transaction, group, last, resolution, at).await;
        write.finish(done).await
    }

    async fn messages_between(
        &self,
        chat: &ChatId,
        messages: Handed,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.told("read messages", set_aside::messages_between(&self.readers, chat, messages, limit).await)
    }

    async fn runs(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<StoredRun>, StoreError> {
        self.told("list runs", runs::runs(&self.readers, group, limit).await)
    }

    async fn open_runs(&self) -> Result<Vec<StoredRun>, StoreError> {
        self.told("list open runs", runs::open_runs(&self.readers).await)
    }

    async fn turns(&self, run: &RunId) -> Result<Vec<StoredTurn>, StoreError> {
        self.told("list turns", runs::turns(&self.readers, run).await)
    }

    async fn session(&self, group: &GroupFolder, context: &SessionContext) -> Result<Option<SessionId>, StoreError> {
        self.told("read a session", sessions::session(&self.readers, group, context).await)
    }

    async fn forget_session(&self, run: &RunId, context: &SessionContext) -> Result<(), StoreError> {
        let mut write = self.begin("forget a session").await?;
        let done = runs::forget_session(&mut write.transaction, run, context).await;
        write.finish(done).await
    }

    async fn sessions(&self, group: &GroupFolder) -> Result<Option<GroupSessions>, StoreError> {
        self.told("list sessions", sessions::of_group(&self.readers, group).await)
    }

    async fn drop_session(&self, group: &GroupFolder, context: &SessionContext) -> Result<bool, StoreError> {
        let mut write = self.begin("drop a session").await?;
        let done = sessions::forget(&mut write.transaction, group, context).await;
        write.finish(done).await
    }

    async fn end_session(
        &self,
        group: &GroupFolder,
        next: &NextSession,
        answer: Option<&NewDelivery>,
        at: Timestamp,
    ) -> Result<SessionEnded, StoreError> {
        let mut write = self.begin("end a session").await?;
        let done = commands::end_session(&mut write.transaction, group, next, answer, at).await;
        write.finish(done).await
    }

    async fn stop_work(&self, group: &GroupFolder, stop: &StopWork, at: Timestamp) -> Result<Stopped, StoreError> {
        let mut write = self.begin("stop what is worked on").await?;
        let done = commands::stop_work(&mut write.transaction, group, stop, at).await;
        write.finish(done).await
    }

    async fn post(&self, delivery: &NewDelivery, at: Timestamp) -> Result<OutboxId, StoreError> {
        let mut write = self.begin("post a message").await?;
        let done = outbox::post(&mut write.transaction, delivery, at).await;
        write.finish(done).await
    }

    async fn pending_deliveries(&self) -> Result<Vec<StoredDelivery>, StoreError> {
        self.told("read the outbox", outbox::pending(&self.readers).await)
    }

    async fn pending_deliveries_of(&self, chat: &ChatId, limit: u32) -> Result<Vec<StoredDelivery>, StoreError> {
        self.told("read the outbox", outbox::pending_of(&self.readers, chat, limit).await)
    }

    async fn delivery_sent(&self, id: OutboxId, sent: &Sent, at: Timestamp) -> Result<(), StoreError> {
        let mut write = self.begin("mark a message as sent").await?;
        let done = outbox::sent(&mut write.transaction, id, sent, at).await;
        write.finish(done).await
    }

    async fn delivery_begun(&self, id: OutboxId) -> Result<(), StoreError> {
        let mut write = self.begin("note that a message is being sent").await?;
        let done = outbox::begun(&mut write.transaction, id).await;
        write.finish(done).await
    }

    async fn delivery_postponed(&self, id: OutboxId) -> Result<(), StoreError> {
        let mut write = self.begin("note that a message was not sent").await?;
        let done = outbox::postponed(&mut write.transaction, id).await;
        write.finish(done).await
    }

    async fn delivery_failed(
        &self,
        id: OutboxId,
        error: &str,
        after: &AfterTry,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.begin("note a failed delivery").await?;
        let done = outbox::failed(&mut write.transaction, id, error, after, at).await;
        write.finish(done).await
    }

    async fn delivery_not_sent(
        &self,
        id: OutboxId,
        error: &str,
        after: &AfterTry,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.begin("note that a message was not sent after all").await?;
        let done = outbox::not_sent(&mut write.transaction, id, error, after, at).await;
        write.finish(done).await
    }

    async fn resolve_delivery(
        &self,
        id: OutboxId,
        resolution: Resolution,
        at: Timestamp,
    ) -> Result<Resolved, StoreError> {
        let mut write = self.begin("resolve a delivery").await?;
        let done = outbox::resolve(&mut write.transaction, id, resolution, at).await;
        write.finish(done).await
    }

    async fn delivery(&self, key: &DeliveryKey) -> Result<Option<StoredDelivery>, StoreError> {
        self.told("read the outbox", outbox::by_key(&self.readers, key).await)
    }

    async fn delivery_at(&self, id: OutboxId) -> Result<Option<StoredDelivery>, StoreError> {
        self.told("read the outbox", outbox::by_id(&self.readers, id).await)
    }

    async fn deliveries(&self, filter: &DeliveryFilter, limit: u32) -> Result<Vec<StoredDelivery>, StoreError> {
        self.told("read the outbox", outbox::list(&self.readers, filter, limit).await)
    }
}
