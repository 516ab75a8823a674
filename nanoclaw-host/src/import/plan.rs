//! Decides what becomes of everything that was found. Pure.
//!
//! What v1's cursor is past was handed to an agent, and is history here. What came after it is not answered yet: it wakes the agent here if
//! it would have in v1 and is young; older messages are context of the next one, so that nothing old is answered by surprise.

use std::{collections::BTreeMap, time::Duration};

use jiff::tz::TimeZone;
use nanoclaw_core::{
    chat::{ChatId, ChatMetadata},
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    message::Wakes,
    schedule::shown,
    senders::SenderVerdict,
    session::SessionId,
    time::Timestamp,
    trigger,
};

use super::{
    here::Here,
    read::DEFAULT_NAME,
    settings::{self, KNOWN},
    step::Step,
    tasks,
    trees::{Kind, Tree},
    v1::{V1, V1Group, V1Message},
    view::{GroupRow, ListRow, NamedRow, PlanView, State, TaskRow, Unmoved},
    words::{channel_of, kind_of, message_of, metadata_of, said_of, unknown_channel},
};
use crate::{
    config::Line,
    credentials::{checked, is_name},
    stores::sqlite::Conversation,
};

/// The secrets of v1 that we have under the same name.
const SECRETS: [&str; 7] = [
    "ANTHROPIC_API_KEY",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "ANTHROPIC_AUTH_TOKEN",
    "TELEGRAM_BOT_TOKEN",
    "SLACK_BOT_TOKEN",
    "SLACK_APP_TOKEN",
    "DISCORD_BOT_TOKEN",
];
/// What Telegram wants of a client besides, and v1's did not need.
const OF_TELEGRAM: [&str; 2] = ["TELEGRAM_API_ID", "TELEGRAM_API_HASH"];

/// By what is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Now.
    pub now: Timestamp,
    /// How old what waits may be to be answered, and what is due to be done.
    pub answer_within: Duration,
}

impl Rules {
    /// Whether it was no longer ago than what is still answered.
    pub(super) fn is_recent(&self, at: Timestamp) -> bool {
        at.plus(self.answer_within) >= self.now
    }
}

/// What is to be done, and how that looks.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How it looks.
    pub view: PlanView,
    /// What is to be done, in this order: what a group needs comes before the group.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Decides.
    #[must_use]
    pub fn of(v1: &V1, here: &Here, rules: &Rules) -> Self {
        let mut planner = Planner {
            v1,
            here,
            rules,
            view: PlanView {
                from: v1.root.clone(),
                home: here.home.root().to_owned(),
                steps: 0,
                answer_within_ms: u64::try_from(rules.answer_within.as_millis()).unwrap_or(u64::MAX),
                groups: Vec::new(),
                tasks: Vec::new(),
                chats: 0,
                settings: Vec::new(),
                secrets: Vec::new(),
                lists: Vec::new(),
                left: Vec::new(),
            },
            lines: Vec::new(),
            assistant: here.config.assistant.name.value.clone(),
            zone: here.config.time.zone.value.clone(),
            copies: Vec::new(),
            taken: BTreeMap::new(),
            conversations: Vec::new(),
            last: Vec::new(),
        };
        planner.settings();
        planner.secrets();
        planner.lists();
        planner.groups();
        planner.shared_memory();
        planner.chats();
        planner.tasks();
        planner.the_rest();
        planner.finish()
    }
}

struct Planner<'a> {
    v1: &'a V1,
    here: &'a Here,
    rules: &'a Rules,
    view: PlanView,
    lines: Vec<Line>,
    /// The assistant's name, and the zone, that will hold.
    assistant: String,
    zone: TimeZone,
    copies: Vec<Step>,
    /// The groups that are here or will be, by v1's folder.
    taken: BTreeMap<String, GroupFolder>,
    conversations: Vec<Step>,
    last: Vec<Step>,
}

impl Planner<'_> {
    fn left(&mut self, what: impl Into<String>, help: impl Into<Option<String>>) {
        self.view.left.push(Unmoved { what: what.into(), help: help.into() });
    }

    fn settings(&mut self) {
        for known in &KNOWN {
            let Some(said) = self.v1.env.get(known.variable) else { continue };
            let line = known.line(said.reveal());
            let becomes = format!("{} = {}", line.name(), line.value);
            let config = &self.here.config;
            let (state, why) = match line.alone() {
                Err(why) => (State::Left, Some(why)),
                Ok(alone) if (known.is_same)(&alone, config) => (State::Here, None),
                Ok(_) if (known.is_set)(config) => {
                    (State::Left, Some("another value is set here, which stays".to_owned()))
                }
                Ok(alone) => {
                    match known.variable {
                        "ASSISTANT_NAME" => self.assistant.clone_from(&alone.assistant.name.value),
                        "TZ" => self.zone = alone.time.zone.value.clone(),
                        _ => {}
                    }
                    self.lines.push(line);
                    (State::New, None)
                }
            };
            self.view.settings.push(NamedRow { name: known.variable.to_owned(), becomes, state, why });
        }
    }

    fn secrets(&mut self) {
        for name in SECRETS {
            let Some(said) = self.v1.env.get(name) else { continue };
            let (state, why) = match (checked(said.reveal()), self.here.config.credentials.secret_named(name)) {
                (Err(problem), _) => (State::Left, Some(format!("it {problem}"))),
                (Ok(secret), Some(ours)) if secret == ours => (State::Here, None),
                (Ok(_), Some(_)) => (State::Left, Some("another one is set here, which stays".to_owned())),
                (Ok(secret), None) => {
                    self.copies.push(Step::Secret { name: name.to_owned(), secret });
                    (State::New, None)
                }
            };
            let becomes = "the credentials file".to_owned();
            self.view.secrets.push(NamedRow { name: name.to_owned(), becomes, state, why });
        }
    }

    fn lists(&mut self) {
        for (theirs, ours, state) in &self.here.lists {
            if *state == State::New {
                self.copies.push(Step::List { from: theirs.clone(), to: ours.clone() });
            }
            self.view.lists.push(ListRow { path: theirs.clone(), state: *state });
        }
        for wrong in &self.here.wrong_with_lists {
            let help = "until it is mended a list of senders lets nobody speak but you, and one of mounts allows none; v1 took such a \
                        list of senders for none. `nanoclaw senders check` and `nanoclaw mounts check` show how it stands";
            self.view.left.push(Unmoved { what: wrong.clone(), help: Some(help.to_owned()) });
        }
    }

    fn groups(&mut self) {
        let mut main_taken = self.here.groups.iter().find(|group| group.role == GroupRole::Main).cloned();
        let mut taken: Vec<Group> = self.here.groups.clone();
        for group in &self.v1.groups {
            let decided = self.group(group, &taken, main_taken.as_ref());
            let row = match decided {
                Ok((registered, is_here)) => {
                    if registered.role == GroupRole::Main {
                        main_taken = Some(registered.clone());
                    }
                    taken.push(registered.clone());
                    self.taken.insert(group.folder.clone(), registered.folder.clone());
                    self.take(group, &registered, is_here)
                }
                Err(why) => GroupRow { state: State::Left, why: Some(why), ..self.bare_row(group) },
            };
            self.view.groups.push(row);
        }
    }

    fn bare_row(&self, group: &V1Group) -> GroupRow {
        GroupRow {
            folder: group.folder.clone(),
            name: group.name.clone(),
            chat: group.jid.clone(),
            main: group.is_main,
            trigger: None,
            state: State::New,
            why: None,
            answered: 0,
            said: 0,
            to_answer: 0,
            context: 0,
            too_old: 0,
            session: None,
            files: 0,
            bytes: 0,
        }
    }

    /// The group as it is registered here, and whether it is already; `Err` says why it cannot be.
    fn group(&self, group: &V1Group, taken: &[Group], main: Option<&Group>) -> Result<(Group, bool), String> {
        let folder = GroupFolder::new(group.folder.as_str()).map_err(|error| error.to_string())?;
        let chat = ChatId::new(group.jid.as_str()).map_err(|error| error.to_string())?;
        channel_of(&chat).ok_or_else(|| {
            "no channel here carries chats of its service; a bridge can (docs/bridge-protocol.md)".to_owned()
        })?;
        if let Some(here) = taken.iter().find(|other| other.chat == chat) {
            if here.folder == folder {
                return Ok((here.clone(), true));
            }
            let here = &here.folder;
            return Err(format!("its chat is the group {here} here; `nanoclaw groups remove {here}` makes room"));
        }
        if let Some(other) = taken.iter().find(|other| other.folder == folder) {
            let other = &other.chat;
            return Err(format!(
                "the chat {other} has the folder {folder} here; `nanoclaw groups remove {folder}` makes room, and rename groups/{folder}/"
            ));
        }
        if let (true, Some(main)) = (group.is_main, main) {
            let main = &main.folder;
            return Err(format!(
                "{main} is the main group here, and there is one; `nanoclaw groups remove {main}` makes room"
            ));
        }
        let registered = Group {
            trigger: self.trigger(group),
            folder,
            chat,
            name: group.name.clone(),
            role: if group.is_main { GroupRole::Main } else { GroupRole::Ordinary },
            added_at: group.added_at.unwrap_or(self.rules.now),
        };
        Ok((registered, false))
    }

    fn trigger(&self, group: &V1Group) -> TriggerPolicy {
        let words = group.trigger.as_deref().map(str::trim).filter(|words| !words.is_empty());
        match words {
            _ if group.is_main || !group.requires_trigger => TriggerPolicy::Always,
            Some(words) if words.to_lowercase() != format!("@{}", self.assistant.trim()).to_lowercase() => {
                TriggerPolicy::Words(words.to_owned())
            }
            _ => TriggerPolicy::AssistantName,
        }
    }

    /// Plans what is taken along of a group.
    fn take(&mut self, group: &V1Group, registered: &Group, is_here: bool) -> GroupRow {
        let folder = &registered.folder;
        let mut row = GroupRow { trigger: Some(registered.trigger.clone()), ..self.bare_row(group) };
        if is_here {
            row.state = State::Here;
        }
        let trees = [
            (self.v1.memories.get(&group.folder), self.here.memory(&group.folder), Kind::Memory),
            (self.v1.states.get(&group.folder), self.here.state(&group.folder), Kind::State),
        ];
        let mut state_comes = false;
        for (tree, to, kind) in trees {
            let Some(tree) = tree else { continue };
            self.say_what_is_left_out(tree);
            if let Some(as_much) = self.here.used.get(&to) {
                // What an import that was interrupted has copied needs no word.
                if !is_here && !as_much {
                    let (from, to) = (tree.path.display(), to.display());
                    let help = format!("copy what you want by hand from {from} to {to}");
                    self.left(format!("{from}: there is something else at its place here, which stays"), help);
                }
            } else if tree.is_usable() {
                row.files += tree.files;
                row.bytes += tree.bytes;
                state_comes |= kind == Kind::State;
                self.copies.push(Step::Copy { from: tree.path.clone(), to, kind });
            }
        }
        if let Some(config) = &group.container_config {
            self.own_settings(folder, config);
        }
        let session = self.session(&group.folder, state_comes);
        let mut conversation = self.conversation(group, registered, session, &mut row);
        if self.here.heard.contains(&registered.chat) {
            // What is here has its own order and its own cursor.
            let theirs = conversation.answered.len() + conversation.waiting.len();
            if theirs > 0 {
                row.why = Some("its chat was heard here, so that conversation stays as it is".to_owned());
            }
            row = GroupRow { answered: 0, said: 0, to_answer: 0, context: 0, too_old: 0, session: None, ..row };
            (conversation.answered, conversation.waiting, conversation.said) = (Vec::new(), Vec::new(), Vec::new());
            conversation.session = None;
        }
        let changes = !is_here
            || !conversation.answered.is_empty()
            || !conversation.waiting.is_empty()
            || (conversation.session.is_some() && conversation.session.as_ref() != self.here.sessions.get(folder));
        if changes {
            self.conversations.push(Step::Conversation(Box::new(conversation)));
        }
        row
    }

    fn own_settings(&mut self, folder: &GroupFolder, config: &str) {
        let (lines, left) = settings::of_group(folder, config);
        for what in left {
            self.left(format!("{folder}: {what}"), None);
        }
        let own = self.here.config.groups.get(folder);
        for line in lines {
            let is_set = own.is_some_and(|own| match line.key {
                "mounts" => own.mounts.is_some(),
                _ => own.run_timeout.is_some(),
            });
            let same = line.alone().ok().and_then(|alone| alone.groups.get(folder).cloned()).is_some_and(|alone| {
                own.is_some_and(|own| match line.key {
                    "mounts" => own.mounts.as_ref().map(|it| &it.value) == alone.mounts.as_ref().map(|it| &it.value),
                    _ => own.run_timeout.as_ref().map(|it| it.value) == alone.run_timeout.as_ref().map(|it| it.value),
                })
            });
            let (state, why) = match (same, is_set) {
                (true, _) => (State::Here, None),
                (false, true) => (State::Left, Some("another value is set here, which stays".to_owned())),
                (false, false) => (State::New, None),
            };
            let becomes = format!("{} = {}", line.name(), line.value);
            let name = format!("containerConfig of {folder}");
            self.view.settings.push(NamedRow { name, becomes, state, why });
            if state == State::New {
                self.lines.push(line);
            }
        }
    }

    /// The session that goes on, if its transcript comes along or did.
    fn session(&mut self, folder: &str, state_comes: bool) -> Option<SessionId> {
        let id = self.v1.sessions.get(folder)?;
        let help = "its conversation begins anew; what it remembers in its folder stays".to_owned();
        let Ok(session) = SessionId::new(id.as_str()) else {
            self.left(format!("{folder}: its session has an id that is none"), help);
            return None;
        };
        if !self.v1.transcripts.contains(&(folder.to_owned(), id.clone())) {
            self.left(format!("{folder}: the transcript of its session {id} is not where Claude Code keeps it"), help);
            return None;
        }
        if !state_comes && !self.here.transcripts.contains(&(folder.to_owned(), id.clone())) {
            self.left(format!("{folder}: its agent has another state here, in which its session {id} is not"), help);
            return None;
        }
        Some(session)
    }

    fn conversation(
        &mut self,
        group: &V1Group,
        registered: &Group,
        session: Option<SessionId>,
        row: &mut GroupRow,
    ) -> Conversation {
        let known = self.v1.chats.iter().find(|chat| chat.jid == group.jid);
        let is_group = known.is_some_and(|chat| chat.is_group);
        let channel = channel_of(&registered.chat).unwrap_or_else(unknown_channel);
        let kind = kind_of(&registered.chat, is_group);
        let own: Vec<&V1Message> = self.v1.messages.iter().filter(|message| message.jid == group.jid).collect();
        // The first v1 knew no place of a chat whose agent was never called; a later one began after its own last word.
        let last_word = own.iter().filter(|message| message.is_bot).map(|message| message.at).max();
        let answered_through = self.v1.cursors.get(&group.jid).copied().or(last_word);
        let (mut answered, mut waiting, mut said) = (Vec::new(), Vec::new(), Vec::new());
        let (mut odd, mut empty) = (0_usize, 0_usize);
        for message in own {
            if message.text.trim().is_empty() {
                empty += 1;
                continue;
            }
            if message.is_bot {
                match said_of(message, &registered.chat) {
                    Some(word) => said.push(word),
                    None => odd += 1,
                }
                continue;
            }
            let Some(here) = message_of(message, &registered.chat, &channel, kind) else {
                odd += 1;
                continue;
            };
            if answered_through.is_some_and(|through| message.at <= through) {
                answered.push(here);
                continue;
            }
            let would_wake = trigger::wakes(registered, &here, &self.assistant) == Wakes::Yes
                && self.here.senders.of_message(&here) == SenderVerdict::Allowed;
            let wakes = would_wake && self.rules.is_recent(message.at);
            match (would_wake, wakes) {
                (_, true) => row.to_answer += 1,
                (too_old, false) => {
                    row.context += 1;
                    row.too_old += usize::from(too_old);
                }
            }
            waiting.push((here, if wakes { Wakes::Yes } else { Wakes::No }));
        }
        for (count, why) in [(odd, "have an id or a sender that is no plain text"), (empty, "have no text")] {
            if count > 0 {
                self.left(format!("{}: messages that {why}: {count}", group.folder), None);
            }
        }
        row.answered = answered.len();
        row.said = said.len();
        row.session.clone_from(&session);
        let last_seen = known.and_then(|chat| chat.last_message).unwrap_or(registered.added_at);
        Conversation {
            group: registered.clone(),
            chat: ChatMetadata {
                chat: registered.chat.clone(),
                channel,
                name: known.and_then(|chat| chat.name.clone()),
                kind,
                last_seen,
            },
            answered,
            waiting,
            said,
            session,
        }
    }

    /// What all groups share.
    fn shared_memory(&mut self) {
        let Some(tree) = self.v1.memories.get("global") else { return };
        self.say_what_is_left_out(tree);
        let to = self.here.home.global();
        if !self.here.used.contains_key(&to) && tree.is_usable() {
            self.copies.push(Step::Copy { from: tree.path.clone(), to, kind: Kind::Memory });
        } else if tree.is_usable() && !self.here.shares_memory {
            let (from, to) = (tree.path.display(), to.display());
            let help = format!("copy what you want by hand from {from} to {to}");
            self.left("groups/global: the home has a memory of its own that all groups share, which stays", help);
        }
    }

    fn chats(&mut self) {
        let mut others = 0;
        let mut new = Vec::new();
        for chat in &self.v1.chats {
            let Some(metadata) = metadata_of(chat) else {
                others += 1;
                continue;
            };
            let is_group =
                self.v1.groups.iter().any(|group| group.jid == chat.jid && self.taken.contains_key(&group.folder));
            if !is_group && !self.here.chats.contains(&metadata.chat) {
                new.push(metadata);
            }
        }
        if others > 0 {
            self.left(format!("chats that were seen, of services that no channel here carries: {others}"), None);
        }
        self.view.chats = new.len();
        if !new.is_empty() {
            self.last.push(Step::Chats(new));
        }
    }

    fn tasks(&mut self) {
        for task in &self.v1.tasks {
            let decided = match self.taken.get(&task.folder) {
                Some(group) => tasks::moved(task, group, &self.zone, self.rules),
                None => Err("its group is not imported".to_owned()),
            };
            let is_here = tasks::key_of(&task.id).is_some_and(|key| self.here.tasks.contains(&key));
            let mut row = TaskRow {
                id: task.id.clone(),
                group: task.folder.clone(),
                schedule: format!("{} {}", task.kind, task.value),
                prompt: task.prompt.clone(),
                state: State::Here,
                why: None,
                status: None,
                next_due_ms: None,
                next_due: None,
                runs: task.runs.len(),
            };
            match decided {
                _ if is_here => {}
                Ok(moved) => {
                    row.state = State::New;
                    row.status = Some(moved.status);
                    row.why.clone_from(&moved.paused_why);
                    row.next_due_ms = moved.next_due;
                    row.next_due = moved.next_due.map(|at| shown(at, &self.zone));
                    self.last.push(Step::Task(Box::new(moved)));
                }
                Err(why) => {
                    row.state = State::Left;
                    row.why = Some(why);
                }
            }
            self.view.tasks.push(row);
        }
    }

    fn the_rest(&mut self) {
        let v1 = self.v1;
        let has = |channel: &str| {
            v1.groups.iter().any(|group| {
                let chat = ChatId::new(group.jid.as_str()).ok();
                chat.and_then(|chat| channel_of(&chat)).is_some_and(|found| found.as_str() == channel)
            })
        };
        if (has("whatsapp") || v1.whatsapp_login) && !self.here.has_whatsapp {
            let help = "`nanoclaw channels link whatsapp` links the phone anew; then remove v1's device on the phone"
                .to_owned();
            self.left("the login of WhatsApp: its keys are those of another client", help);
        }
        let missing: Vec<&str> =
            OF_TELEGRAM.into_iter().filter(|name| self.here.config.credentials.secret_named(name).is_none()).collect();
        if (has("telegram") || v1.env.contains_key("TELEGRAM_BOT_TOKEN")) && !missing.is_empty() {
            let help =
                "`nanoclaw auth set NAME` stores each; docs/channels/telegram.md says where they come from".to_owned();
            self.left(format!("Telegram needs {} besides, which v1 did not", missing.join(" and ")), help);
        }
        let known = |name: &str| SECRETS.contains(&name) || KNOWN.iter().any(|known| known.variable == name);
        let others: Vec<&str> = v1.env.keys().map(String::as_str).filter(|name| !known(name)).collect();
        if !others.is_empty() {
            let shown: Vec<&str> = others.iter().copied().filter(|name| is_name(name)).collect();
            let more = others.len() - shown.len();
            let more = if more > 0 { format!(" and {more} that are no plain names") } else { String::new() };
            let help =
                "what a service that agents ask wants, `nanoclaw auth set NAME` stores (docs/gateway.md)".to_owned();
            self.left(format!(".env has further values: {}{more}", shown.join(", ")), help);
        }
        for (folder, mail) in &v1.mail {
            if mail.follow_ups > 0 {
                let what = format!(
                    "{folder}: what lies in its mailbox for an agent that did not read it: {}",
                    mail.follow_ups
                );
                let help =
                    "what they say is among its messages, which count as answered; ask again what matters".to_owned();
                self.view.left.push(Unmoved { what, help: Some(help) });
            }
            if mail.requests > 0 {
                let what = format!("{folder}: requests of its agent that v1 had not come to: {}", mail.requests);
                let help = format!("they are in {}", v1.root.join("data/ipc").join(folder).display());
                self.view.left.push(Unmoved { what, help: Some(help) });
            }
        }
        if v1.failed_requests > 0 {
            let help = format!("they are in {}", v1.root.join("data/ipc/errors").display());
            self.left(format!("requests of agents that had failed: {}", v1.failed_requests), help);
        }
        if v1.own_runners {
            let help = "what you changed in them goes into a group's overlay (docs/overlay.md)".to_owned();
            self.left("the groups' copies of v1's runner, data/sessions/*/agent-runner-src", help);
        }
        for skill in v1.own_skills.iter().filter(|name| !self.here.skills.contains(*name)) {
            let path = v1.root.join("container/skills").join(skill);
            self.left(format!("the skill {skill}"), format!("`nanoclaw skills add {}` adds it", path.display()));
        }
        let registered = |folder: &str| folder == "global" || v1.groups.iter().any(|group| group.folder == folder);
        for (folder, tree) in v1.memories.iter().filter(|(folder, tree)| !registered(folder) && tree.files > 0) {
            let what = format!("groups/{folder}, which no group has: files: {}", tree.files);
            self.view.left.push(Unmoved { what, help: None });
        }
        let strangers = v1.messages.iter().filter(|message| !v1.groups.iter().any(|group| group.jid == message.jid));
        let strangers = strangers.count();
        if strangers > 0 {
            self.left(format!("messages of chats that are no groups: {strangers}"), None);
        }
        for (table, count) in &v1.unreadable {
            let what = format!("rows of the table {table} that lack what makes sense of them: {count}");
            self.view.left.push(Unmoved { what, help: None });
        }
        if !self.v1.env.contains_key("ASSISTANT_NAME") && self.assistant != DEFAULT_NAME && !v1.groups.is_empty() {
            let what = format!("v1's assistant is called {DEFAULT_NAME}, and here it is {}", self.assistant);
            self.left(what, None);
        }
    }

    fn say_what_is_left_out(&mut self, tree: &Tree) {
        for (place, why) in &tree.left_out {
            self.left(format!("{}: {why}", tree.path.join(place).display()), None);
        }
        if tree.left_out_besides > 0 {
            self.left(format!("{}: more like these: {}", tree.path.display(), tree.left_out_besides), None);
        }
    }

    fn finish(mut self) -> Plan {
        let mut steps = self.copies;
        if !self.lines.is_empty() {
            steps.push(Step::Settings(self.lines));
        }
        steps.extend(self.conversations);
        steps.extend(self.last);
        self.view.steps = steps.len();
        Plan { view: self.view, steps }
    }
}
