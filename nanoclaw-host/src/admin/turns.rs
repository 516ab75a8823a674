//! What is being answered, what waits, and what was set aside: as `nanoclaw turns` shows it and resolves it.
//!
//! Everything comes from the store; what only a running orchestrator knows (the state of a group, its next try) is handed in.

use std::collections::HashMap;

use nanoclaw_core::{
    chat::ChatId,
    group::{Group, GroupFolder},
    message::{Seq, Wakes},
    run::{Handed, Trouble},
    store::{GroupRecovery, SetAside, SetAsideState, Store, StoreError, TurnState as StoredState},
    time::Timestamp,
};

use super::types::{AdminError, ErrorKind, TurnState, TurnView};

/// How many turns that were set aside are listed at most.
const MOST_LISTED: u32 = 10_000;

/// What a running orchestrator knows of a group that does not get its answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// It waits for the end of this.
    pub(crate) trouble: Option<Trouble>,
    /// A try failed and the next one comes later.
    pub(crate) backing_off: bool,
    /// Nobody knows whether its container, an earlier service's, lives: the runtime does not answer.
    pub(crate) held: bool,
    /// When the next try is.
    pub(crate) next_try: Option<Timestamp>,
}

/// What a running orchestrator knows of its groups; empty without one.
pub(crate) type Standings = HashMap<GroupFolder, Standing>;

/// The name of a turn, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TurnName {
    pub(crate) group: GroupFolder,
    pub(crate) last: Seq,
}

impl TurnName {
    /// # Errors
    /// `BadRequest` when it is no name of a turn.
    pub(crate) fn parse(id: &str) -> Result<Self, AdminError> {
        let parts = id.rsplit_once('/').and_then(|(group, last)| {
            Some(Self { group: GroupFolder::new(group).ok()?, last: Seq(last.parse().ok()?) })
        });
        parts.ok_or_else(|| {
            let shown: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
            AdminError::new(ErrorKind::BadRequest, format!("{shown:?} is no name of a turn"))
                .with_help("a turn is named as family/17; `nanoclaw turns list` shows them")
        })
    }
}

/// The turns of `group`, or of all groups: what is being answered, what waits, what was set aside, the oldest first.
pub(super) async fn list(
    store: &dyn Store,
    group: Option<&Group>,
    all: bool,
    standings: &Standings,
) -> Result<Vec<TurnView>, StoreError> {
    let folder = group.map(|group| &group.folder);
    let aside = store.set_aside(folder, all, MOST_LISTED).await?;
    let mut turns: Vec<TurnView> = aside.into_iter().map(TurnView::from).collect();
    let handed = with_agents(store, folder, standings).await?;
    for recovery in store.recover().await? {
        if folder.is_none_or(|folder| recovery.group.folder == *folder) {
            let answering = handed.iter().filter(|turn| turn.group == recovery.group.folder);
            let beyond = answering.map(|turn| turn.last).max().unwrap_or(Seq::ZERO);
            turns.extend(waiting(store, &recovery, beyond, standings).await?);
        }
    }
    turns.extend(handed);
    turns.sort_by_key(|turn| turn.last);
    Ok(turns)
}

/// What is in agents' hands.
async fn with_agents(
    store: &dyn Store,
    only: Option<&GroupFolder>,
    standings: &Standings,
) -> Result<Vec<TurnView>, StoreError> {
    let mut turns = Vec::new();
    for run in store.open_runs().await? {
        if only.is_some_and(|only| run.id.group != *only) {
            continue;
        }
        let held = standings.get(&run.id.group).is_some_and(|standing| standing.held);
        for turn in store.turns(&run.id).await? {
            let state = match turn.state {
                StoredState::Handed => TurnState::HandedOver,
                StoredState::Taken => TurnState::Answering,
                StoredState::Answered | StoredState::Unanswered => continue,
            };
            turns.push(TurnView {
                run: Some(run.id.number),
                since_ms: Some(turn.handed_at),
                reason: held
                    .then(|| format!("{} does not answer, so nobody knows whether its container lives", run.runtime)),
                ..view(&run.id.group, state, turn.handed)
            });
        }
    }
    Ok(turns)
}

/// What waits in a group beyond what is being answered, as one turn; `None` when nothing does.
async fn waiting(
    store: &dyn Store,
    recovery: &GroupRecovery,
    beyond: Seq,
    standings: &Standings,
) -> Result<Option<TurnView>, StoreError> {
    let Some(newest) = recovery.waiting.filter(|newest| *newest > beyond) else { return Ok(None) };
    let group = &recovery.group.folder;
    let first = first_waking(store, group, beyond).await?.unwrap_or(newest);
    let standing = standings.get(group).cloned().unwrap_or_default();
    let failed = standing.trouble.is_some() || standing.backing_off || recovery.failures > 0;
    let last_run = if failed { store.runs(Some(group), 1).await?.into_iter().next() } else { None };
    let state = match &standing {
        Standing { trouble: Some(_), .. } => TurnState::Paused,
        Standing { backing_off: true, .. } => TurnState::BackingOff,
        Standing { .. } => TurnState::Waiting,
    };
    Ok(Some(TurnView {
        run: last_run.as_ref().map(|run| run.id.number),
        tries: recovery.failures,
        trouble: standing.trouble,
        reason: last_run.and_then(|run| run.detail),
        next_try_at_ms: standing.next_try,
        ..view(group, state, Handed { first, last: newest })
    }))
}

async fn first_waking(store: &dyn Store, group: &GroupFolder, beyond: Seq) -> Result<Option<Seq>, StoreError> {
    let mut after = beyond;
    loop {
        let page = store.messages_after(group, after, 64).await?;
        let Some(last) = page.last() else { return Ok(None) };
        after = last.seq;
        if let Some(found) = page.iter().find(|stored| stored.wakes == Wakes::Yes) {
            return Ok(Some(found.seq));
        }
    }
}

/// A turn that somebody named: what it is, and the chat with its messages.
pub(super) async fn find(store: &dyn Store, id: &str, standings: &Standings) -> Result<(TurnView, ChatId), AdminError> {
    let name = TurnName::parse(id)?;
    let aside = store.set_aside(Some(&name.group), true, MOST_LISTED).await?;
    if let Some(one) = aside.into_iter().find(|one| one.messages.last == name.last) {
        let chat = one.chat.clone();
        return Ok((one.into(), chat));
    }
    let group = store.groups().await?.into_iter().find(|group| group.folder == name.group);
    let Some(group) = group else { return Err(StoreError::NoGroup { folder: name.group }.into()) };
    let turns = list(store, Some(&group), false, standings).await?;
    // What waits grows while somebody reads the list: its name of then still means what waited then.
    let named = |turn: &TurnView| match turn.state {
        TurnState::HandedOver
        | TurnState::Answering
        | TurnState::SetAside
        | TurnState::Retried
        | TurnState::Dropped => turn.last == name.last,
        TurnState::Waiting | TurnState::BackingOff | TurnState::Paused => (turn.first..=turn.last).contains(&name.last),
    };
    match turns.into_iter().find(named) {
        Some(turn) => Ok((TurnView { id: id.to_owned(), last: name.last, ..turn }, group.chat)),
        None => Err(AdminError::new(
            ErrorKind::NotFound,
            format!("nothing that is called {}/{} waits or was set aside", name.group, name.last),
        )
        .with_help("`nanoclaw turns list` shows what does; what is not there is answered")),
    }
}

impl From<SetAside> for TurnView {
    fn from(one: SetAside) -> Self {
        let state = match one.state {
            SetAsideState::Kept => TurnState::SetAside,
            SetAsideState::Retried => TurnState::Retried,
            SetAsideState::Dropped => TurnState::Dropped,
        };
        let reason = Some(one.reason);
        Self { run: one.run, reason, since_ms: Some(one.at), ..view(&one.group, state, one.messages) }
    }
}

fn view(group: &GroupFolder, state: TurnState, messages: Handed) -> TurnView {
    TurnView {
        id: format!("{group}/{}", messages.last),
        group: group.clone(),
        state,
        first: messages.first,
        last: messages.last,
        run: None,
        tries: 0,
        trouble: None,
        reason: None,
        next_try_at_ms: None,
        since_ms: None,
    }
}

/// Why a turn in this state cannot be retried or dropped.
pub(super) fn refused(turn: &TurnView, wish: &str) -> AdminError {
    let (id, state) = (&turn.id, turn.state.word());
    let help = match turn.state {
        TurnState::HandedOver | TurnState::Answering => "it waits again when its run ends without an answer",
        TurnState::Retried => "what was said again has a name of its own; `nanoclaw turns list` shows it if it waits",
        _ => "`nanoclaw turns show` shows it",
    };
    AdminError::new(ErrorKind::Conflict, format!("{id} cannot be {wish}: it is {state}")).with_help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_named_by_its_group_and_its_last_message() {
        let name = TurnName::parse("family/17").unwrap();
        assert_eq!((name.group.as_str(), name.last), ("family", Seq(17)));
        for bad in ["", "family", "family/", "/17", "family/x", "../17", "a/b/17"] {
            assert_eq!(TurnName::parse(bad).unwrap_err().kind, ErrorKind::BadRequest, "{bad:?}");
        }
    }
}
