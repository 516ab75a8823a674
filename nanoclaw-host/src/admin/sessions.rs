//! Conversations of groups, as the commands see and change them.

use async_trait::async_trait;
use nanoclaw_core::{
    group::{Group, GroupFolder},
    orchestrator::Orchestrator,
    run::TaskId,
    session::{SessionId, SessionName},
    store::{GroupSessions, NextSession, SessionContext, SessionEnded, Store, StoreError},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::types::{AdminError, ErrorKind};

/// What a task's conversation is called: this and the task's id.
const OF_TASK: &str = "task:";

/// One conversation of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Whose.
    pub group: GroupFolder,
    /// What it is called: its name, or `task:` and the id of the task whose own it is.
    pub name: String,
    /// Whether the chat goes on with it.
    pub current: bool,
    /// The provider's name for it; `None`: it begins with the next message.
    pub session: Option<SessionId>,
}

/// What is wished of a group's conversations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionWish {
    /// The chat goes on with the one of this name, or begins it.
    Use(SessionName),
    /// The one that is called so begins anew.
    Reset(String),
}

/// Who ends the conversation of a chat: the orchestrator while a service runs, else the store.
#[async_trait]
pub(crate) trait SessionKeeper: Send + Sync {
    /// See [`Store::end_session`].
    async fn end(&self, group: &GroupFolder, next: &NextSession) -> Result<SessionEnded, StoreError>;
}

#[async_trait]
impl SessionKeeper for Orchestrator {
    async fn end(&self, group: &GroupFolder, next: &NextSession) -> Result<SessionEnded, StoreError> {
        self.end_session(group, next).await
    }
}

/// The store, while no service runs.
#[async_trait]
impl SessionKeeper for dyn Store {
    async fn end(&self, group: &GroupFolder, next: &NextSession) -> Result<SessionEnded, StoreError> {
        self.end_session(group, next, None, Timestamp::now()).await
    }
}

/// Those of a group: the current one, then the others by name, then those of tasks.
pub(crate) async fn of_group(store: &dyn Store, group: &GroupFolder) -> Result<Vec<SessionView>, AdminError> {
    let Some(GroupSessions { current, sessions }) = store.sessions(group).await? else { return Ok(Vec::new()) };
    let view = |name, current, session| SessionView { group: group.clone(), name, current, session };
    let mut views = vec![view(current.to_string(), true, None)];
    for (context, session) in sessions {
        match context {
            SessionContext::Chat => views[0].session = Some(session),
            SessionContext::Aside(name) => views.push(view(name.to_string(), false, Some(session))),
            SessionContext::Task(task) => views.push(view(format!("{OF_TASK}{task}"), false, Some(session))),
        }
    }
    views[1..].sort_by(|a, b| (a.name.starts_with(OF_TASK), &a.name).cmp(&(b.name.starts_with(OF_TASK), &b.name)));
    Ok(views)
}

/// Does what is wished; the group's conversations as they are then.
pub(crate) async fn change(
    store: &dyn Store,
    keeper: &(impl SessionKeeper + ?Sized),
    group: &Group,
    wish: SessionWish,
) -> Result<Vec<SessionView>, AdminError> {
    let folder = &group.folder;
    match wish {
        SessionWish::Use(name) => {
            keeper.end(folder, &NextSession::Named(name)).await?;
        }
        SessionWish::Reset(name) => {
            let known = of_group(store, folder).await?;
            let wanted = known.iter().find(|view| view.name == name).ok_or_else(|| none(folder, &name))?;
            if wanted.current {
                keeper.end(folder, &NextSession::New).await?;
            } else {
                let context = match name.strip_prefix(OF_TASK) {
                    Some(task) => TaskId::new(task).map(SessionContext::Task),
                    None => SessionName::new(&*name).map(SessionContext::Aside),
                };
                store.drop_session(folder, &context.map_err(|_| none(folder, &name))?).await?;
            }
        }
    }
    of_group(store, folder).await
}

fn none(group: &GroupFolder, name: &str) -> AdminError {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    AdminError::new(ErrorKind::NotFound, format!("the group {group} has no conversation {shown}"))
        .with_help(format!("`nanoclaw sessions list {group}` shows them"))
}
