//! What a home has already, as far as it matters to an import.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use nanoclaw_core::{
    chat::ChatId,
    delivery::DeliveryKey,
    group::{Group, GroupFolder},
    mounts::Refusal,
    senders::SenderPolicy,
    session::SessionId,
    store::{SessionContext, Store as _},
};

use super::{
    ImportError, at,
    read::PROJECT,
    tasks,
    trees::{self, Kind, Tree},
    v1::V1,
    view::State,
};
use crate::{config::Config, home::Home, senders, stores::sqlite::SqliteStore};

/// What the home has, as far as it matters.
#[derive(Debug, Clone)]
pub struct Here {
    pub(super) home: Home,
    pub(super) config: Config,
    pub(super) groups: Vec<Group>,
    /// Chats of which there are messages here.
    pub(super) heard: BTreeSet<ChatId>,
    pub(super) sessions: BTreeMap<GroupFolder, SessionId>,
    pub(super) chats: BTreeSet<ChatId>,
    pub(super) tasks: BTreeSet<DeliveryKey>,
    /// Places at which there is something already, and whether that is as much as v1 has for them.
    pub(super) used: BTreeMap<PathBuf, bool>,
    /// Folders and session ids whose transcript is here.
    pub(super) transcripts: BTreeSet<(String, String)>,
    /// v1's lists, where they belong, and what becomes of them.
    pub(super) lists: Vec<(PathBuf, PathBuf, State)>,
    pub(super) senders: SenderPolicy,
    pub(super) wrong_with_lists: Vec<String>,
    pub(super) shares_memory: bool,
    pub(super) has_whatsapp: bool,
    pub(super) skills: BTreeSet<String>,
}

impl Here {
    /// Looks at `home`, with its `store` where it has one: what of it that which is in `v1` could meet.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn of(home: &Home, config: &Config, store: Option<&SqliteStore>, v1: &V1) -> Result<Self, ImportError> {
        let mut here = Self {
            home: home.clone(),
            config: config.clone(),
            groups: Vec::new(),
            heard: BTreeSet::new(),
            sessions: BTreeMap::new(),
            chats: BTreeSet::new(),
            tasks: BTreeSet::new(),
            used: BTreeMap::new(),
            transcripts: BTreeSet::new(),
            lists: Vec::new(),
            senders: SenderPolicy::everybody(),
            wrong_with_lists: Vec::new(),
            shares_memory: false,
            has_whatsapp: home.auth().join("whatsapp.db").exists(),
            skills: v1.own_skills.iter().filter(|name| home.skills().join(name).exists()).cloned().collect(),
        };
        if let Some(store) = store {
            here.groups = store.groups().await?;
            here.heard = store.heard_chats().await?.into_iter().collect();
            here.chats = store.chats().await?.into_iter().map(|chat| chat.chat).collect();
            here.tasks = store.task_keys(tasks::KEY).await?.into_iter().collect();
            for group in &here.groups {
                if let Some(session) = store.session(&group.folder, &SessionContext::Chat).await? {
                    here.sessions.insert(group.folder.clone(), session);
                }
            }
        }
        let memories = v1.memories.iter().map(|(name, tree)| (here.memory(name), Kind::Memory, tree));
        let states = v1.states.iter().map(|(name, tree)| (here.state(name), Kind::State, tree));
        for (place, kind, theirs) in memories.chain(states).collect::<Vec<_>>() {
            if !trees::is_free(&place, kind).map_err(at(&place))? {
                let ours = Tree::of(&place, kind).map_err(at(&place))?.unwrap_or_default();
                here.used.insert(place, (ours.files, ours.bytes) == (theirs.files, theirs.bytes));
            }
        }
        for (folder, session) in &v1.transcripts {
            if here.state(folder).join(PROJECT).join(format!("{session}.jsonl")).exists() {
                here.transcripts.insert((folder.clone(), session.clone()));
            }
        }
        if let Some(tree) = v1.memories.get("global") {
            here.shares_memory = same_text(&tree.path.join("CLAUDE.md"), &home.global().join("CLAUDE.md"));
        }
        here.look_at_lists(v1);
        Ok(here)
    }

    /// Reads the lists that will hold: ours, or v1's where we have none.
    fn look_at_lists(&mut self, v1: &V1) {
        let places =
            [(&v1.lists.mounts, &self.config.mounts.allowlist), (&v1.lists.senders, &self.config.senders.list)];
        for (theirs, ours) in places {
            let (Some(theirs), Some(ours)) = (theirs, ours) else { continue };
            let state = match ours.exists() {
                false => State::New,
                true if same_file(theirs, ours) => State::Here,
                true => State::Left,
            };
            self.lists.push((theirs.clone(), ours.clone(), state));
        }
        let mut senders = self.config.senders.clone();
        senders.elsewhere = None;
        if !senders.list.as_ref().is_some_and(|list| list.exists()) && v1.lists.senders.is_some() {
            senders.list.clone_from(&v1.lists.senders);
        }
        match senders::read(&senders) {
            Ok(list) => self.senders = list.unwrap_or_else(SenderPolicy::everybody),
            Err(bad) => {
                self.senders = SenderPolicy::nobody();
                self.wrong_with_lists.push(bad.reason);
            }
        }
        let mut mounts = self.config.mounts.clone();
        if !mounts.allowlist.as_ref().is_some_and(|list| list.exists()) && v1.lists.mounts.is_some() {
            mounts.allowlist.clone_from(&v1.lists.mounts);
        }
        if let Err(refusal @ Refusal::BadAllowlist { .. }) = crate::mounts::read_allowlist(&mounts) {
            self.wrong_with_lists.push(refusal.to_string());
        }
    }

    pub(super) fn memory(&self, folder: &str) -> PathBuf {
        self.home.groups().join(folder)
    }

    pub(super) fn state(&self, folder: &str) -> PathBuf {
        self.home.store().join("sessions").join(folder).join(".claude")
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other) || same_text(one, other)
}

fn same_text(one: &Path, other: &Path) -> bool {
    matches!((std::fs::read(one), std::fs::read(other)), (Ok(one), Ok(other)) if one == other)
}
