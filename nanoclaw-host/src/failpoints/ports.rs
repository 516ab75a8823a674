//! The methods of the ports, each passed on between two points.
//!
//! A method that a port gets is added here, in the port's order: without it the port is not implemented, or, when it has a
//! default body, a test fails.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use nanoclaw_core::{
    attachment::{NewFile, SpoolName},
    channel::{Channel, ChannelCapabilities, SendError, Typing},
    chat::{ChannelName, ChatId, ChatMetadata},
    delivery::{Delivery, DeliveryKey, NewDelivery, OutboxId, Sent},
    group::{Group, GroupFolder},
    launch::{KeptFile, Launch, LaunchError, Launcher, Rejoined, Tuning},
    mailbox::GroupFile,
    message::{InboundMessage, PlatformMessageId, Seq, StoredMessage, Wakes},
    pairing::{Heard, Pairing, PairingId, SaidCode},
    run::{Handed, RunEnding, RunId, RunKind, TaskId},
    runtime::{
        AdoptedContainer, Capabilities, Container, ContainerId, ContainerRuntime, ContainerSpec, ContainerStats,
        ContainerSummary, ImageRef, InstallId, RuntimeError, RuntimeKind, StopOutcome,
    },
    session::SessionId,
    store::{
        Accepted, AfterTry, BlockCommit, BlockOutcome, DeliveryFilter, GiveUp, GroupRecovery, GroupSessions, NewRun,
        NextSession, Resolution, Resolved, SessionContext, SessionEnded, SetAside, StopWork, Stopped, Store,
        StoreError, StoredDelivery, StoredRun, StoredTurn, TurnResolution, TurnResolved,
    },
    tasks::{Claim, Firing, FiringEnd, NewTask, Task, TaskChange, Tasks},
    time::Timestamp,
};

use super::{Moment, pass};

/// A port with a point before and after each of its calls.
pub(super) struct AtPort<P: ?Sized>(pub(super) Arc<P>);

/// Passes on the methods of ports: first those that answer at once, which have no points, then those that are waited for.
macro_rules! pass_on {
    ($($word:literal: $port:ident {
        $(fn $plain:ident(&self $(, $plain_name:ident: $plain_type:ty)*) -> $plain_result:ty;)*
        $(async fn $method:ident(&self $(, $name:ident: $type:ty)*) -> $result:ty;)*
    })*) => {
        /// The ports' names with their methods that have points.
        pub(super) const ALL: &[(&str, &[&str])] = &[$(($word, &[$(stringify!($method)),*])),*];
        /// The ports' names with their methods that have none.
        #[cfg(test)]
        pub(super) const WITHOUT_POINTS: &[(&str, &[&str])] = &[$(($word, &[$(stringify!($plain)),*])),*];

        $(
            #[async_trait]
            impl $port for AtPort<dyn $port> {
                $(fn $plain(&self $(, $plain_name: $plain_type)*) -> $plain_result {
                    self.0.$plain($($plain_name),*)
                })*
                $(async fn $method(&self $(, $name: $type)*) -> $result {
                    pass($word, stringify!($method), Moment::Before);
                    let result = self.0.$method($($name),*).await;
                    pass($word, stringify!($method), Moment::After);
                    result
                })*
            }
        )*
    };
}

pass_on! {
    "store": Store {
        async fn install_id(&self) -> Result<InstallId, StoreError>;
        async fn note_chat(&self, chat: &ChatMetadata) -> Result<(), StoreError>;
        async fn chats(&self) -> Result<Vec<ChatMetadata>, StoreError>;
        async fn groups(&self) -> Result<Vec<Group>, StoreError>;
        async fn add_group(&self, group: &Group) -> Result<(), StoreError>;
        async fn remove_group(&self, folder: &GroupFolder) -> Result<(), StoreError>;
        async fn recover(&self) -> Result<Vec<GroupRecovery>, StoreError>;
        async fn begin_pairing(&self, pairing: &Pairing) -> Result<(), StoreError>;
        async fn pairing(&self) -> Result<Option<Pairing>, StoreError>;
        async fn withdraw_pairing(&self, id: &PairingId) -> Result<(), StoreError>;
        async fn hear_code(&self, code: &SaidCode, at: Timestamp) -> Result<Heard, StoreError>;
        async fn accept(&self, message: &InboundMessage, wakes: Wakes, at: Timestamp) -> Result<Accepted, StoreError>;
        async fn said_until(&self, chat: &ChatId) -> Result<Option<Timestamp>, StoreError>;
        async fn threads_since(&self, chat: &ChatId, since: Timestamp, limit: u32) -> Result<Vec<PlatformMessageId>, StoreError>;
        async fn messages_after(&self, group: &GroupFolder, after: Seq, limit: u32) -> Result<Vec<StoredMessage>, StoreError>;
        async fn unanswered(&self, group: &GroupFolder) -> Result<u64, StoreError>;
        async fn cursor(&self, group: &GroupFolder) -> Result<Seq, StoreError>;
        async fn given_up(&self, group: &GroupFolder, limit: u32) -> Result<Vec<StoredMessage>, StoreError>;
        async fn files_in_use(&self) -> Result<Vec<SpoolName>, StoreError>;
        async fn open_run(&self, run: &NewRun) -> Result<(), StoreError>;
        async fn hand_over(&self, run: &RunId, handed: Handed, at: Timestamp) -> Result<(), StoreError>;
        async fn commit_block(&self, run: &RunId, block: &BlockCommit) -> Result<BlockOutcome, StoreError>;
        async fn turns_taken(&self, run: &RunId, through: Seq, at: Timestamp) -> Result<(), StoreError>;
        async fn close_run(&self, run: &RunId, ending: &RunEnding, at: Timestamp) -> Result<(), StoreError>;
        async fn give_up(&self, group: &GroupFolder, given_up: &GiveUp, at: Timestamp) -> Result<Option<SetAside>, StoreError>;
        async fn set_aside(&self, group: Option<&GroupFolder>, resolved: bool, limit: u32) -> Result<Vec<SetAside>, StoreError>;
        async fn resolve_set_aside(&self, group: &GroupFolder, last: Seq, resolution: TurnResolution, at: Timestamp) -> Result<TurnResolved, StoreError>;
        async fn messages_between(&self, chat: &ChatId, messages: Handed, limit: u32) -> Result<Vec<StoredMessage>, StoreError>;
        async fn runs(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<StoredRun>, StoreError>;
        async fn open_runs(&self) -> Result<Vec<StoredRun>, StoreError>;
        async fn turns(&self, run: &RunId) -> Result<Vec<StoredTurn>, StoreError>;
        async fn session(&self, group: &GroupFolder, context: &SessionContext) -> Result<Option<SessionId>, StoreError>;
        async fn forget_session(&self, run: &RunId, context: &SessionContext) -> Result<(), StoreError>;
        async fn sessions(&self, group: &GroupFolder) -> Result<Option<GroupSessions>, StoreError>;
        async fn drop_session(&self, group: &GroupFolder, context: &SessionContext) -> Result<bool, StoreError>;
        async fn end_session(&self, group: &GroupFolder, next: &NextSession, answer: Option<&NewDelivery>, at: Timestamp) -> Result<SessionEnded, StoreError>;
        async fn stop_work(&self, group: &GroupFolder, stop: &StopWork, at: Timestamp) -> Result<Stopped, StoreError>;
        async fn post(&self, delivery: &NewDelivery, at: Timestamp) -> Result<OutboxId, StoreError>;
        async fn pending_deliveries(&self) -> Result<Vec<StoredDelivery>, StoreError>;
        async fn pending_deliveries_of(&self, chat: &ChatId, limit: u32) -> Result<Vec<StoredDelivery>, StoreError>;
        async fn delivery_begun(&self, id: OutboxId) -> Result<(), StoreError>;
        async fn delivery_postponed(&self, id: OutboxId) -> Result<(), StoreError>;
        async fn delivery_sent(&self, id: OutboxId, sent: &Sent, at: Timestamp) -> Result<(), StoreError>;
        async fn delivery_failed(&self, id: OutboxId, error: &str, after: &AfterTry, at: Timestamp) -> Result<(), StoreError>;
        async fn delivery_not_sent(&self, id: OutboxId, error: &str, after: &AfterTry, at: Timestamp) -> Result<(), StoreError>;
        async fn resolve_delivery(&self, id: OutboxId, resolution: Resolution, at: Timestamp) -> Result<Resolved, StoreError>;
        async fn delivery(&self, key: &DeliveryKey) -> Result<Option<StoredDelivery>, StoreError>;
        async fn delivery_at(&self, id: OutboxId) -> Result<Option<StoredDelivery>, StoreError>;
        async fn deliveries(&self, filter: &DeliveryFilter, limit: u32) -> Result<Vec<StoredDelivery>, StoreError>;
    }
    "tasks": Tasks {
        async fn add(&self, task: &NewTask, at: Timestamp) -> Result<TaskId, StoreError>;
        async fn task(&self, id: &TaskId) -> Result<Option<Task>, StoreError>;
        async fn list(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, StoreError>;
        async fn standing(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, StoreError>;
        async fn change(&self, id: &TaskId, change: &TaskChange, at: Timestamp) -> Result<Option<Task>, StoreError>;
        async fn earliest_due(&self) -> Result<Option<Timestamp>, StoreError>;
        async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Task>, StoreError>;
        async fn claim(&self, claim: &Claim, at: Timestamp) -> Result<Option<Vec<Firing>>, StoreError>;
        async fn fire_now(&self, id: &TaskId, key: &DeliveryKey, at: Timestamp) -> Result<Option<Firing>, StoreError>;
        async fn waiting(&self) -> Result<Vec<Firing>, StoreError>;
        async fn bring_forward(&self, now: Timestamp) -> Result<(), StoreError>;
        async fn has_waiting(&self, task: &TaskId) -> Result<bool, StoreError>;
        async fn running(&self) -> Result<Vec<Firing>, StoreError>;
        async fn begin(&self, run: &NewRun) -> Result<Option<(Task, Firing)>, StoreError>;
        async fn firing_of(&self, run: &RunId) -> Result<Option<(Task, Firing)>, StoreError>;
        async fn end(&self, end: &FiringEnd, at: Timestamp) -> Result<bool, StoreError>;
        async fn last_claimed(&self) -> Result<Option<Timestamp>, StoreError>;
        async fn firings(&self, task: &TaskId, limit: u32) -> Result<Vec<Firing>, StoreError>;
    }
    "runtime": ContainerRuntime {
        fn kind(&self) -> RuntimeKind;
        async fn probe(&self) -> Result<Capabilities, RuntimeError>;
        async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError>;
        async fn image_id(&self, image: &ImageRef) -> Result<Option<String>, RuntimeError>;
        async fn start(&self, spec: &ContainerSpec) -> Result<Container, RuntimeError>;
        async fn adopt(&self, id: &ContainerId) -> Result<AdoptedContainer, RuntimeError>;
        async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<StopOutcome, RuntimeError>;
        async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError>;
        async fn list(&self, install: &InstallId) -> Result<Vec<ContainerSummary>, RuntimeError>;
        async fn stats(&self, id: &ContainerId) -> Result<Option<ContainerStats>, RuntimeError>;
    }
    "launcher": Launcher {
        fn mailbox(&self, group: &GroupFolder) -> PathBuf;
        fn group_folder(&self, group: &GroupFolder) -> PathBuf;
        fn tuning(&self, group: &GroupFolder) -> Tuning;
        async fn prepare(&self, group: &Group, run: &RunId, kind: &RunKind) -> Result<Launch, LaunchError>;
        async fn fingerprint(&self, group: &Group, run: &RunId, kind: &RunKind) -> Result<String, LaunchError>;
        async fn rejoin(&self, group: &Group, run: &RunId) -> Result<Rejoined, LaunchError>;
        async fn bring_files(&self, group: &GroupFolder, files: &[NewFile]) -> Vec<Option<String>>;
        async fn keep_file(&self, group: &GroupFolder, file: GroupFile) -> Result<KeptFile, String>;
    }
    "channel": Channel {
        fn name(&self) -> &ChannelName;
        fn owns(&self, chat: &ChatId) -> bool;
        fn capabilities(&self) -> ChannelCapabilities;
        async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError>;
        async fn find(&self, delivery: &Delivery) -> Result<Option<Sent>, SendError>;
        async fn set_typing(&self, chat: &ChatId, thread: Option<&PlatformMessageId>, typing: Typing) -> ();
    }
}
