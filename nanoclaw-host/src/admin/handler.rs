//! What can be asked of an installation, whoever answers: the running service, its socket's client, or the bare store.

use async_trait::async_trait;
use nanoclaw_core::{chat::ChannelName, group::Group, pairing::PairingId, store::Resolution};

use crate::gateway::GroupCounts;

use super::{
    outbox::{DeliveryView, OutboxQuery},
    sessions::{SessionView, SessionWish},
    tasks::{AddTask, TaskDetails, TaskView, TaskWish},
    types::{
        AdminError, ChatView, CleanedView, CredentialCheck, CredentialsView, ErrorKind, Explanation, GroupDetails,
        GroupView, NewGroup, NewPairing, PairingState, PairingView, Stats, Status, TurnDetails, TurnView,
    },
};

/// Answers the commands. `group` is a group's folder or its chat id everywhere.
#[async_trait]
pub trait AdminHandler: Send + Sync + 'static {
    /// How everything stands.
    async fn status(&self) -> Result<Status, AdminError>;

    /// All groups, in the order in which they were registered.
    async fn groups(&self) -> Result<Vec<GroupView>, AdminError>;

    /// One group and how things stand in it.
    async fn group(&self, group: &str) -> Result<GroupDetails, AdminError>;

    /// Registers a group. Never replaces one.
    async fn add_group(&self, new: NewGroup) -> Result<GroupView, AdminError>;

    /// Forgets a group's registration and session; its folder and messages stay.
    async fn remove_group(&self, group: &str) -> Result<GroupView, AdminError>;

    /// Makes a code by which a private chat becomes a group; the code before it is void. Only a running service hears codes.
    async fn pair(&self, new: NewPairing) -> Result<PairingView, AdminError>;

    /// Waits until a pairing is over, and says how it ended. Only a running service hears codes.
    async fn pairing_over(&self, id: &PairingId) -> Result<PairingState, AdminError>;

    /// Makes a pairing's code void, unless it is over; says how it stands then.
    async fn withdraw_pairing(&self, id: &PairingId) -> Result<PairingState, AdminError>;

    /// Has a channel connected at once that waits for somebody to do something: somebody did. Nothing where there is no such channel.
    async fn connect_channel(&self, channel: &ChannelName) -> Result<(), AdminError>;

    /// All chats ever seen, last seen first.
    async fn chats(&self) -> Result<Vec<ChatView>, AdminError>;

    /// What comes out for a group, and why.
    async fn explain(&self, group: &str) -> Result<Explanation, AdminError>;

    /// Messages of the outbox, latest first, without their whole text.
    async fn outbox(&self, query: OutboxQuery) -> Result<Vec<DeliveryView>, AdminError>;

    /// One message of the outbox, with its text. `message` is its number or its key here and below.
    async fn delivery(&self, message: &str) -> Result<DeliveryView, AdminError>;

    /// Does what a person decided about a message of the outbox, and shows it as it is then.
    async fn resolve_delivery(&self, message: &str, resolution: Resolution) -> Result<DeliveryView, AdminError>;
    /// What is being answered, waits, or was set aside, in one group or all; with `all` also what was retried or dropped.
    async fn turns(&self, group: Option<&str>, all: bool) -> Result<Vec<TurnView>, AdminError>;

    /// One turn, by its name.
    async fn turn(&self, id: &str) -> Result<TurnDetails, AdminError>;

    /// Has a turn tried again: what waits at once, what was set aside by being said again; all of them when `None`. Returns
    /// those that are tried.
    async fn retry_turns(&self, id: Option<&str>) -> Result<Vec<TurnView>, AdminError>;

    /// Goes on without a turn that waits or was set aside.
    async fn drop_turn(&self, id: &str) -> Result<TurnView, AdminError>;

    /// The tasks of a group, or of all, in the order in which they were made.
    async fn tasks(&self, group: Option<&str>) -> Result<Vec<TaskView>, AdminError>;

    /// One task and its last `limit` firings, latest first. One that was cancelled is shown too.
    async fn task(&self, id: &str, limit: u32) -> Result<TaskDetails, AdminError>;

    /// Schedules a task for a group.
    async fn add_task(&self, new: AddTask) -> Result<TaskView, AdminError>;

    /// Does with a task what is wished; as it is then.
    async fn change_task(&self, id: &str, wish: TaskWish) -> Result<TaskView, AdminError>;

    /// The conversations of a group, or of all groups in their order; of each the current one first.
    async fn sessions(&self, group: Option<&str>) -> Result<Vec<SessionView>, AdminError>;

    /// Does with a group's conversations what is wished; as they are then.
    async fn change_session(&self, group: &str, wish: SessionWish) -> Result<Vec<SessionView>, AdminError>;

    /// What the runs of a group, or of all, came to on the last `days` days, today included.
    async fn stats(&self, group: Option<&str>, days: u32) -> Result<Stats, AdminError>;

    /// Removes what nobody needs any more, or with `dry_run` only says what would go. Where this is not known: nothing does.
    async fn cleanup(&self, dry_run: bool) -> Result<Vec<CleanedView>, AdminError> {
        let _ = dry_run;
        Ok(Vec::new())
    }

    /// What each group used of the gateway since the service started, by group. Only a running service knows.
    async fn gateway(&self) -> Result<Vec<GroupCounts>, AdminError> {
        let message = "no service runs, and what groups use of the gateway is counted while one does";
        Err(AdminError::new(ErrorKind::Failed, message).with_help("`nanoclaw run` starts it"))
    }
    /// Which credentials are used, and where they come from; nothing of themselves.
    async fn credentials(&self) -> Result<CredentialsView, AdminError>;

    /// Asks the model API whether it takes the credential.
    async fn check_credentials(&self) -> Result<CredentialCheck, AdminError>;

    /// Reads the credentials again, has what waited for them tried at once, and says which are used then.
    async fn reload_credentials(&self) -> Result<CredentialsView, AdminError>;
}

/// Says what comes out for a group. Whoever makes runs ready implements it, so that what is explained is what is done.
#[async_trait]
pub trait Explain: Send + Sync + 'static {
    /// What comes out for `group`, and why; nothing is made or started.
    async fn explain(&self, group: &Group) -> Result<Explanation, AdminError>;
}
