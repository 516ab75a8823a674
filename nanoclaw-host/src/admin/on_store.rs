//! Answers from the store alone: what the commands use while no service runs, and what the service's own handler builds on.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use nanoclaw_core::{
    chat::ChannelName,
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    message::Seq,
    pairing::{PairingId, Registers},
    run::{Handed, RunEnding},
    store::{GiveUp, Resolution, SetAsideState, Store, StoreError, StoredRun, TurnResolution, TurnResolved},
    tasks::Tasks,
    time::Timestamp,
};

use super::{
    folder_name,
    handler::{AdminHandler, Explain},
    outbox::{self, DeliveryView, OutboxQuery},
    sessions::{self, SessionView, SessionWish},
    stats,
    tasks::{self, AddTask, TaskDetails, TaskView, TaskWish, Unattended},
    turns::{self, Standings},
    types::{
        AdminError, ChatView, CleanedView, CredentialCheck, CredentialsView, ErrorKind, Explanation, FailedRun,
        GroupDetails, GroupStatus, GroupView, MessageView, NewGroup, NewPairing, PairingState, PairingView, RunView,
        Stats, Status, TurnDetails, TurnState, TurnView,
    },
};
use crate::{
    config::{Config, nearest},
    credentials::Ask,
    home::{self, Home},
    retention::Tidier,
    stores::Ledger,
};

/// Answers from the store. Whoever makes one holds the home's lock.
#[derive(Clone)]
pub struct OnStore {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The same, for what is scheduled.
    pub tasks: Arc<dyn Tasks>,
    /// What the store tells beside that; `None`: nothing.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// What is configured.
    pub config: Arc<Config>,
    /// The home.
    pub home: Home,
    /// Says what comes out for a group.
    pub explainer: Arc<dyn Explain>,
}

impl OnStore {
    /// Whoever tidies up the home; `None` for a store that knows nothing of that.
    pub(crate) fn tidier(&self) -> Option<Tidier> {
        Some(Tidier {
            store: self.store.clone(),
            ledger: self.ledger.clone()?,
            home: self.home.clone(),
            rules: self.config.retention.rules(),
            configured: self.config.groups.keys().cloned().collect(),
        })
    }

    /// The group with this folder or chat id.
    ///
    /// # Errors
    /// `NotFound`, with a similar one as the remedy where there is one.
    pub async fn find(&self, group: &str) -> Result<Group, AdminError> {
        let groups = self.store.groups().await?;
        if let Some(found) = groups
            .iter()
            .find(|g| g.folder.as_str() == group)
            .or_else(|| groups.iter().find(|g| g.chat.as_str() == group))
        {
            return Ok(found.clone());
        }
        let shown: String = group.chars().filter(|c| !c.is_control()).take(80).collect();
        let help = match nearest(&shown, groups.iter().map(|g| g.folder.as_str())) {
            Some(near) => format!("did you mean {near}?"),
            None if groups.is_empty() => {
                "there are none yet; `nanoclaw groups add CHAT --name NAME` adds one".to_owned()
            }
            None => "`nanoclaw groups list` shows them all".to_owned(),
        };
        Err(AdminError::new(ErrorKind::NotFound, format!("there is no group {shown}")).with_help(help))
    }

    /// What would be registered for `new`: its folder and trigger decided, everything checked, nothing stored.
    ///
    /// # Errors
    /// `BadRequest` for what no group can be, `Conflict` for what another group has.
    pub async fn new_group(&self, new: NewGroup) -> Result<Group, AdminError> {
        check(&new)?;
        let groups = self.store.groups().await?;
        if let Some(other) = groups.iter().find(|group| group.chat == new.chat) {
            return Err(StoreError::ChatTaken { chat: new.chat, folder: other.folder.clone() }.into());
        }
        if let Some(main) = groups.iter().find(|group| new.role == GroupRole::Main && group.role == GroupRole::Main) {
            return Err(StoreError::MainTaken { folder: main.folder.clone() }.into());
        }
        let folder = match new.folder {
            Some(folder) => folder,
            // A folder on disk that belongs to nobody now may be a former group's memory: not for a group of that name.
            None => folder_name::propose(&new.chat, &new.name, new.role, |folder| {
                let memory_of_another = new.role == GroupRole::Ordinary && self.home.group(folder).exists();
                memory_of_another || groups.iter().any(|group| group.folder == *folder)
            })
            .ok_or_else(|| {
                AdminError::new(ErrorKind::Conflict, "no folder name is left that fits this group's name")
                    .with_help("choose one with --folder")
            })?,
        };
        let by_role = match new.role {
            GroupRole::Main => TriggerPolicy::Always,
            GroupRole::Ordinary => TriggerPolicy::AssistantName,
        };
        Ok(Group {
            folder,
            chat: new.chat,
            name: new.name,
            trigger: new.trigger.unwrap_or(by_role),
            role: new.role,
            added_at: Timestamp::now(),
        })
    }

    /// What a pairing for `new` registers; everything checked, nothing stored.
    ///
    /// # Errors
    /// `BadRequest` for what no group can be, `Conflict` for what another group has.
    pub(crate) async fn registers(&self, new: NewPairing) -> Result<Registers, AdminError> {
        let NewPairing { folder, name, role } = new;
        check_name(&name)?;
        let groups = self.store.groups().await?;
        if let Some(main) = groups.iter().find(|group| role == GroupRole::Main && group.role == GroupRole::Main) {
            let folder = &main.folder;
            let message = StoreError::MainTaken { folder: folder.clone() }.to_string();
            return Err(AdminError::new(ErrorKind::Conflict, message).with_help(format!(
                "`nanoclaw groups remove {folder}` frees its place (its memory stays), or make the chat an ordinary group with \
                 --ordinary --folder NAME"
            )));
        }
        if let Some(taken) = groups.into_iter().find(|group| group.folder == folder) {
            return Err(StoreError::FolderTaken { folder, chat: taken.chat }.into());
        }
        Ok(Registers { folder, name, trigger: TriggerPolicy::Always, role })
    }

    /// What wakes a group's agent, in words.
    #[must_use]
    pub fn wakes_on(&self, group: &Group) -> String {
        wakes_on(group, &self.config)
    }
}

/// Who carries out what is decided about turns: the orchestrator while a service runs, else the store.
#[async_trait]
pub(crate) trait Resolver: Send + Sync {
    /// What is known of the groups that do not get their answers.
    async fn standings(&self) -> Standings;
    /// Decides about what was set aside.
    async fn resolve(&self, group: &GroupFolder, last: Seq, wish: TurnResolution) -> Result<TurnResolved, StoreError>;
    /// Tries at once what waits in a group.
    async fn try_now(&self, group: &GroupFolder);
    /// Goes on without what waits in a group, up to `through`.
    async fn drop_waiting(&self, group: &GroupFolder, through: Seq) -> Result<(), StoreError>;
}

/// How many messages of a turn are shown.
const MESSAGES_SHOWN: u32 = 100;

impl OnStore {
    /// See [`AdminHandler::turns`].
    pub(crate) async fn turns_with(
        &self,
        group: Option<&str>,
        all: bool,
        standings: &Standings,
    ) -> Result<Vec<TurnView>, AdminError> {
        let group = match group {
            Some(group) => Some(self.find(group).await?),
            None => None,
        };
        Ok(turns::list(&*self.store, group.as_ref(), all, standings).await?)
    }

    /// See [`AdminHandler::turn`].
    pub(crate) async fn turn_with(&self, id: &str, standings: &Standings) -> Result<TurnDetails, AdminError> {
        let (turn, chat) = turns::find(&*self.store, id, standings).await?;
        let messages = Handed { first: turn.first, last: turn.last };
        let messages = self.store.messages_between(&chat, messages, MESSAGES_SHOWN).await?;
        Ok(TurnDetails { turn, messages: messages.into_iter().map(MessageView::from).collect() })
    }

    /// See [`AdminHandler::retry_turns`].
    pub(crate) async fn retry_with(&self, id: Option<&str>, by: &dyn Resolver) -> Result<Vec<TurnView>, AdminError> {
        let standings = by.standings().await;
        let Some(id) = id else {
            let mut tried = Vec::new();
            for turn in turns::list(&*self.store, None, false, &standings).await? {
                match self.retry_one(turn, by).await {
                    Ok(turn) => tried.push(turn),
                    // What an agent has is being tried; what belongs to no group any more stays where it is.
                    Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
            return Ok(tried);
        };
        let (turn, _) = turns::find(&*self.store, id, &standings).await?;
        Ok(vec![self.retry_one(turn, by).await?])
    }

    async fn retry_one(&self, turn: TurnView, by: &dyn Resolver) -> Result<TurnView, AdminError> {
        match turn.state {
            TurnState::SetAside | TurnState::Dropped => {
                match by.resolve(&turn.group, turn.last, TurnResolution::Retry).await? {
                    TurnResolved::Retried { .. } => Ok(TurnView { state: TurnState::Retried, ..turn }),
                    _ => Err(turns::refused(&TurnView { state: TurnState::Retried, ..turn }, "retried")),
                }
            }
            TurnState::Waiting | TurnState::BackingOff | TurnState::Paused => {
                by.try_now(&turn.group).await;
                Ok(TurnView { state: TurnState::Waiting, next_try_at_ms: None, ..turn })
            }
            TurnState::HandedOver | TurnState::Answering | TurnState::Retried => Err(turns::refused(&turn, "retried")),
        }
    }

    /// See [`AdminHandler::drop_turn`].
    pub(crate) async fn drop_with(&self, id: &str, by: &dyn Resolver) -> Result<TurnView, AdminError> {
        let (turn, _) = turns::find(&*self.store, id, &by.standings().await).await?;
        match turn.state {
            TurnState::SetAside => match by.resolve(&turn.group, turn.last, TurnResolution::Drop).await? {
                TurnResolved::Dropped | TurnResolved::Already(SetAsideState::Dropped) => {}
                _ => return Err(turns::refused(&TurnView { state: TurnState::Retried, ..turn }, "dropped")),
            },
            TurnState::Waiting | TurnState::BackingOff | TurnState::Paused => {
                // What an agent has in its hands lies before it and would be dropped with it.
                let turns = turns::list(&*self.store, None, false, &Standings::new()).await?;
                let mut busy = turns.into_iter().filter(|other| other.group == turn.group);
                if let Some(busy) = busy.find(|other| other.state.is_with_an_agent()) {
                    return Err(turns::refused(&busy, "dropped"));
                }
                by.drop_waiting(&turn.group, turn.last).await?;
            }
            TurnState::Dropped => {}
            TurnState::HandedOver | TurnState::Answering | TurnState::Retried => {
                return Err(turns::refused(&turn, "dropped"));
            }
        }
        Ok(TurnView { state: TurnState::Dropped, next_try_at_ms: None, ..turn })
    }
}

/// How many runs are looked at for those that failed.
const RUNS_LOOKED_AT: u32 = 200;
/// How many of those are shown.
const FAILURES_SHOWN: usize = 5;

fn failed(run: &StoredRun) -> bool {
    run.ending.as_ref().is_some_and(|word| !RunEnding::is_word_of_success(word))
}

/// What wakes a group's agent, in words.
pub(super) fn wakes_on(group: &Group, config: &Config) -> String {
    match (&group.role, &group.trigger) {
        (GroupRole::Main, _) | (_, TriggerPolicy::Always) => "every message".to_owned(),
        (_, TriggerPolicy::AssistantName) => format!("a message that starts with @{}", *config.assistant.name),
        (_, TriggerPolicy::Words(words)) => format!("a message that starts with {words}"),
    }
}

#[async_trait]
impl AdminHandler for OnStore {
    async fn status(&self) -> Result<Status, AdminError> {
        let recovered = self.store.recover().await?;
        let recovered: HashMap<GroupFolder, (u32, bool)> = recovered
            .into_iter()
            .map(|recovery| (recovery.group.folder, (recovery.failures, recovery.waiting.is_some())))
            .collect();
        let mut groups = Vec::new();
        for group in self.store.groups().await? {
            let unanswered = self.store.unanswered(&group.folder).await?;
            let last_run = self.store.runs(Some(&group.folder), 1).await?.into_iter().next().map(RunView::from);
            let Group { folder, name, .. } = group;
            let (failures, waits) = recovered.get(&folder).copied().unwrap_or_default();
            groups.push(GroupStatus {
                folder,
                name,
                state: None,
                since_ms: None,
                trouble: None,
                next_try_at_ms: None,
                failures,
                unanswered,
                waits,
                connected: None,
                last_run,
                memory_bytes: None,
            });
        }
        let outbox = outbox::counts(&*self.store).await?;
        let set_aside = self.store.set_aside(None, false, outbox::MAX_LISTED).await?.len();
        let set_aside = u32::try_from(set_aside).unwrap_or(u32::MAX);
        let tasks = tasks::status(&*self.tasks).await?;
        let last_failures =
            self.store.runs(None, RUNS_LOOKED_AT).await?.into_iter().filter(failed).take(FAILURES_SHOWN);
        let last_failures =
            last_failures.map(|run| FailedRun { group: run.id.group.clone(), run: run.into() }).collect();
        Ok(Status { service: None, groups, outbox, set_aside, tasks, last_failures })
    }

    async fn groups(&self) -> Result<Vec<GroupView>, AdminError> {
        Ok(self.store.groups().await?.into_iter().map(GroupView::from).collect())
    }

    async fn group(&self, group: &str) -> Result<GroupDetails, AdminError> {
        let group = self.find(group).await?;
        Ok(GroupDetails {
            wakes_on: self.wakes_on(&group),
            path: self.home.group(&group.folder),
            unanswered: self.store.unanswered(&group.folder).await?,
            runs: self.store.runs(Some(&group.folder), 5).await?.into_iter().map(RunView::from).collect(),
            group: group.into(),
        })
    }

    async fn add_group(&self, new: NewGroup) -> Result<GroupView, AdminError> {
        let group = self.new_group(new).await?;
        self.store.add_group(&group).await?;
        home::write_group_memory(&self.home, &group).map_err(|error| {
            let reason = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            AdminError::new(ErrorKind::Failed, format!("the group is registered, but {error}: {reason}"))
                .with_help("make the folder writable; it is made when the group first runs")
        })?;
        Ok(group.into())
    }

    async fn remove_group(&self, group: &str) -> Result<GroupView, AdminError> {
        let group = self.find(group).await?;
        self.store.remove_group(&group.folder).await?;
        Ok(group.into())
    }

    async fn pair(&self, _: NewPairing) -> Result<PairingView, AdminError> {
        Err(nobody_hears())
    }

    async fn pairing_over(&self, _: &PairingId) -> Result<PairingState, AdminError> {
        Err(nobody_hears())
    }

    async fn withdraw_pairing(&self, id: &PairingId) -> Result<PairingState, AdminError> {
        self.store.withdraw_pairing(id).await?;
        let last = self.store.pairing().await?;
        Ok(PairingState::of(id, last.as_ref(), Timestamp::now()))
    }

    async fn connect_channel(&self, _: &ChannelName) -> Result<(), AdminError> {
        Ok(())
    }

    async fn chats(&self) -> Result<Vec<ChatView>, AdminError> {
        let groups = self.store.groups().await?;
        let group_of = |chat| groups.iter().find(|group| group.chat == chat).map(|group| group.folder.clone());
        let chats = self.store.chats().await?;
        Ok(chats.into_iter().map(|chat| ChatView::new(chat.clone(), group_of(chat.chat))).collect())
    }

    async fn explain(&self, group: &str) -> Result<Explanation, AdminError> {
        self.explainer.explain(&self.find(group).await?).await
    }

    async fn outbox(&self, query: OutboxQuery) -> Result<Vec<DeliveryView>, AdminError> {
        outbox::list(&*self.store, query).await
    }

    async fn delivery(&self, message: &str) -> Result<DeliveryView, AdminError> {
        outbox::show(&*self.store, message).await
    }

    async fn resolve_delivery(&self, message: &str, resolution: Resolution) -> Result<DeliveryView, AdminError> {
        let row = outbox::find(&*self.store, message).await?;
        let resolved = self.store.resolve_delivery(row.delivery.id, resolution, Timestamp::now()).await?;
        outbox::resolved(&*self.store, message, resolution, resolved).await
    }

    async fn turns(&self, group: Option<&str>, all: bool) -> Result<Vec<TurnView>, AdminError> {
        self.turns_with(group, all, &Standings::new()).await
    }

    async fn turn(&self, id: &str) -> Result<TurnDetails, AdminError> {
        self.turn_with(id, &Standings::new()).await
    }

    /// Without a service what waits needs nothing: the next start tries it at once.
    async fn retry_turns(&self, id: Option<&str>) -> Result<Vec<TurnView>, AdminError> {
        self.retry_with(id, self).await
    }

    async fn drop_turn(&self, id: &str) -> Result<TurnView, AdminError> {
        self.drop_with(id, self).await
    }

    async fn tasks(&self, group: Option<&str>) -> Result<Vec<TaskView>, AdminError> {
        let group = match group {
            Some(group) => Some(self.find(group).await?.folder),
            None => None,
        };
        tasks::list(&*self.tasks, group.as_ref()).await
    }

    async fn task(&self, id: &str, limit: u32) -> Result<TaskDetails, AdminError> {
        tasks::details(&*self.tasks, id, limit).await
    }

    /// Without a service a task waits until one runs.
    async fn add_task(&self, new: AddTask) -> Result<TaskView, AdminError> {
        let group = self.find(&new.group).await?;
        let (zone, settings) = (&self.config.time.zone.value, self.config.tasks.settings());
        tasks::add(&Unattended(self.tasks.clone()), new, group.folder, zone, &settings).await
    }

    async fn change_task(&self, id: &str, wish: TaskWish) -> Result<TaskView, AdminError> {
        tasks::change(&Unattended(self.tasks.clone()), id, wish, &self.config.tasks.settings()).await
    }

    async fn sessions(&self, group: Option<&str>) -> Result<Vec<SessionView>, AdminError> {
        if let Some(group) = group {
            return sessions::of_group(&*self.store, &self.find(group).await?.folder).await;
        }
        let mut all = Vec::new();
        for group in self.store.groups().await? {
            all.extend(sessions::of_group(&*self.store, &group.folder).await?);
        }
        Ok(all)
    }

    async fn change_session(&self, group: &str, wish: SessionWish) -> Result<Vec<SessionView>, AdminError> {
        sessions::change(&*self.store, &*self.store, &self.find(group).await?, wish).await
    }

    async fn stats(&self, group: Option<&str>, days: u32) -> Result<Stats, AdminError> {
        let Some(ledger) = &self.ledger else {
            return Err(AdminError::new(ErrorKind::Failed, "this store keeps no such figures"));
        };
        let group = match group {
            // One that is removed has its figures still.
            Some(group) => Some(match self.find(group).await {
                Ok(found) => found.folder,
                Err(unknown) => GroupFolder::new(group).map_err(|_| unknown)?,
            }),
            None => None,
        };
        Ok(stats::read(&**ledger, group.as_ref(), days, &self.config.time.zone.value, Timestamp::now()).await?)
    }

    async fn cleanup(&self, dry_run: bool) -> Result<Vec<CleanedView>, AdminError> {
        let Some(tidier) = self.tidier() else { return Ok(Vec::new()) };
        Ok(tidier.tidy(dry_run).await?.into_iter().map(CleanedView::from).collect())
    }

    async fn credentials(&self) -> Result<CredentialsView, AdminError> {
        Ok(CredentialsView::of(&self.config.credentials))
    }

    async fn check_credentials(&self) -> Result<CredentialCheck, AdminError> {
        Err(AdminError::new(
            ErrorKind::Failed,
            "only a running service, or `nanoclaw auth status --check`, asks the model API",
        ))
    }

    async fn reload_credentials(&self) -> Result<CredentialsView, AdminError> {
        // Kept as the problem of the view when it fails.
        let _ = self.config.credentials.reload(Ask::Everything).await;
        Ok(CredentialsView::of(&self.config.credentials))
    }
}

#[async_trait]
impl Resolver for OnStore {
    async fn standings(&self) -> Standings {
        Standings::new()
    }

    async fn resolve(&self, group: &GroupFolder, last: Seq, wish: TurnResolution) -> Result<TurnResolved, StoreError> {
        self.store.resolve_set_aside(group, last, wish, Timestamp::now()).await
    }

    async fn try_now(&self, _group: &GroupFolder) {}

    async fn drop_waiting(&self, group: &GroupFolder, through: Seq) -> Result<(), StoreError> {
        self.store.give_up(group, &GiveUp::dropped(through), Timestamp::now()).await.map(drop)
    }
}

fn nobody_hears() -> AdminError {
    AdminError::new(ErrorKind::Failed, "no service runs, so nobody would hear the code")
        .with_help("`nanoclaw run` starts it; then ask for a code again")
}

/// What the types cannot say of a group that is to be added. Checked here, because requests come by the socket too.
fn check_name(name: &str) -> Result<(), AdminError> {
    if is_line(name, 100) {
        return Ok(());
    }
    let message = "the group's name must have 1 to 100 characters, no control characters among them";
    Err(AdminError::new(ErrorKind::BadRequest, message))
}

fn check(new: &NewGroup) -> Result<(), AdminError> {
    let bad = |message: String| AdminError::new(ErrorKind::BadRequest, message);
    if !new.chat.as_str().contains([':', '@']) {
        return Err(bad(format!("{} is no chat id", new.chat)).with_help(
            "a chat id has its service in it, such as tg:-100123 or 1203@g.us; `nanoclaw groups chats` shows those that \
             were seen",
        ));
    }
    check_name(&new.name)?;
    if let Some(TriggerPolicy::Words(words)) = &new.trigger
        && !is_line(words, 64)
    {
        return Err(bad("the trigger must have 1 to 64 characters, no control characters among them".to_owned())
            .with_help("for a group whose agent wakes on every message use --no-trigger"));
    }
    Ok(())
}

fn is_line(text: &str, longest: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= longest && !text.chars().any(char::is_control)
}
