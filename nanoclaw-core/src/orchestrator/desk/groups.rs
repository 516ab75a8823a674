//! Which chats and groups there are, and what the main group registers.

use std::fmt::Write as _;

use super::{Desk, LONGEST_NAME, LONGEST_TRIGGER, No, is_line};
use crate::{
    chat::ChatId,
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    orchestrator::run::in_short,
    schedule::shown,
    time::Timestamp,
};

/// How many groups are listed, and how many chats that are none.
const LISTED: usize = 200;

impl Desk<'_> {
    /// Registers a group. Never as the main one, and never in the place of another (faults F67, F68).
    pub(super) async fn register_group(
        &self,
        jid: String,
        name: String,
        folder: String,
        trigger: String,
        requires_trigger: Option<bool>,
    ) -> Result<String, No> {
        self.only_main("register groups")?;
        let chat = ChatId::new(jid).map_err(|error| error.to_string())?;
        if !chat.as_str().contains([':', '@']) {
            return Err(format!(
                "{chat} is no chat id: it has its service in it, such as tg:-100123 or 1203@g.us; list_groups shows those seen"
            )
            .into());
        }
        let folder = GroupFolder::new(folder).map_err(|error| error.to_string())?;
        if !is_line(&name, LONGEST_NAME) {
            return Err(format!("the name must have 1 to {LONGEST_NAME} characters and be one line").into());
        }
        let trigger = match trigger.trim() {
            _ if requires_trigger == Some(false) => TriggerPolicy::Always,
            "" => TriggerPolicy::AssistantName,
            words if words.eq_ignore_ascii_case(&self.usual_trigger()) => TriggerPolicy::AssistantName,
            words if is_line(words, LONGEST_TRIGGER) => TriggerPolicy::Words(words.to_owned()),
            _ => return Err(format!("the trigger must have up to {LONGEST_TRIGGER} characters and be one line").into()),
        };
        let group = Group { folder, chat, name, trigger, role: GroupRole::Ordinary, added_at: Timestamp::now() };
        let directory = &self.context.registrar.directory;
        if let Some(known) = directory.of_chat(&group.chat).filter(|known| known.folder == group.folder) {
            // Asked again, perhaps because the answer was lost with its host. Nothing of it is replaced.
            return Ok(format!("{} is registered already: {}", known.chat, self.described(&known)));
        }
        self.context.registrar.add(group.clone()).await?;
        tracing::info!(run = %self.run, group = %group.folder, chat = %group.chat, "the main group's agent registered a group");
        let mut detail = format!("registered {}: {}", group.chat, self.described(&group));
        if self.context.channels.of(&group.chat).is_none() {
            detail.push_str("; no channel that carries this chat is connected now, so nothing is heard from it yet");
        }
        Ok(detail)
    }

    /// There is nothing to be asked again.
    pub(super) async fn refresh_groups(&self) -> Result<String, No> {
        self.only_main("refresh the groups")?;
        let chats = self.context.store.chats().await?.len();
        Ok(format!(
            "there was nothing to refresh: this host knows a chat from when somebody writes in it, or its channel tells of it, and \
             knows {chats} now; list_groups lists them. For one that is missing, write something in it"
        ))
    }

    /// All groups and chats for the main group; for another, itself.
    pub(super) async fn list_groups(&self) -> Result<String, No> {
        if !self.is_main() {
            return Ok(format!(
                "this group is {} ({}): {}; only the main group is shown others",
                self.group.name,
                self.group.chat,
                self.described(&self.group)
            ));
        }
        let groups = self.context.store.groups().await?;
        let mut text = format!("{} groups:", groups.len());
        for group in groups.iter().take(LISTED) {
            let _ = write!(text, "\n- {} ({}): {}", group.chat, in_short(&group.name), self.described(group));
        }
        and_more(&mut text, groups.len());
        let chats = self.context.store.chats().await?;
        let others: Vec<_> = chats.iter().filter(|chat| groups.iter().all(|group| group.chat != chat.chat)).collect();
        let _ = write!(text, "\n{} chats that are not registered, last seen first:", others.len());
        for chat in others.iter().take(LISTED) {
            // On one line, since it is whatever somebody called their chat.
            let name = in_short(chat.name.as_deref().unwrap_or("no name"));
            let seen = shown(chat.last_seen, &self.context.settings.zone);
            let _ = write!(text, "\n- {} ({name}): last seen {seen}", chat.chat);
        }
        and_more(&mut text, others.len());
        Ok(text)
    }

    fn described(&self, group: &Group) -> String {
        let wakes = match (group.role, &group.trigger) {
            (GroupRole::Main, _) => "the main group, wakes on every message".to_owned(),
            (_, TriggerPolicy::Always) => "wakes on every message".to_owned(),
            (_, TriggerPolicy::AssistantName) => format!("wakes on messages that begin with {}", self.usual_trigger()),
            (_, TriggerPolicy::Words(words)) => format!("wakes on messages that begin with {words}"),
        };
        format!("group {}, {wakes}", group.folder)
    }
}

fn and_more(text: &mut String, count: usize) {
    if count > LISTED {
        let _ = write!(text, "\n- and {} more", count - LISTED);
    }
}
