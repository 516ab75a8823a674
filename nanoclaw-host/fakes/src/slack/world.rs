//! The workspace: people, conversations, what was said, files, and what is still to be told to the app.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{FakeSlack, Fault, api::thread_of};

/// What was seen of the app.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How many sockets were opened.
    pub connections: usize,
    /// How many are open.
    pub open: usize,
    /// How many were refused.
    pub refused: usize,
    /// The events that were acknowledged, by their number from 0, in the order of acknowledgements.
    pub acknowledged: Vec<usize>,
    /// How often an event was delivered, all together.
    pub delivered: usize,
    /// How often a file was asked for.
    pub downloads: usize,
    /// Every call of the Web API, in order.
    pub calls: Vec<Call>,
    /// What was posted, in order: conversation and message.
    pub posts: Vec<(String, Value)>,
}

/// A call of the Web API.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its method.
    pub method: String,
    /// The token that came with it; empty without one.
    pub token: String,
    /// What came with it.
    pub arguments: Value,
}

impl Seen {
    /// The texts that the app posted in a conversation, oldest first; of a file, its caption and `[title: its content]`.
    #[must_use]
    pub fn posted(&self, conversation: &str) -> Vec<String> {
        let here = self.posts.iter().filter(|(place, _)| place == conversation);
        here.map(|(_, message)| message["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The same, of what it posted in a thread, or outside threads.
    #[must_use]
    pub fn posted_in(&self, conversation: &str, thread: Option<&str>) -> Vec<String> {
        let posts = self.posts.iter().filter(|(_, message)| thread_of(message) == thread).cloned().collect();
        Self { posts, ..Self::default() }.posted(conversation)
    }

    /// How often a method was called.
    #[must_use]
    pub fn count(&self, method: &str) -> usize {
        self.calls.iter().filter(|call| call.method == method).count()
    }

    /// How often a method was called for a conversation.
    #[must_use]
    pub fn count_in(&self, method: &str, conversation: &str) -> usize {
        let here = |call: &&Call| call.method == method && call.arguments["channel"] == conversation;
        self.calls.iter().filter(here).count()
    }
}

#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) name: String,
    pub(super) archived: bool,
    pub(super) app_is_in: bool,
    /// Oldest first.
    pub(super) history: Vec<Value>,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) name: String,
    pub(super) length: usize,
    pub(super) content: Option<Vec<u8>>,
}

/// Something that happened.
#[derive(Debug)]
struct Event {
    event: Value,
    acknowledged: bool,
    /// The socket that it was last delivered on.
    on: Option<usize>,
    attempts: usize,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) users: BTreeMap<String, String>,
    pub(super) conversations: BTreeMap<String, Conversation>,
    pub(super) files: BTreeMap<String, Kept>,
    events: Vec<Event>,
    /// The order in which events are delivered.
    order: Vec<usize>,
    /// From which event on they wait.
    pub(super) held_from: Option<usize>,
    pub(super) faults: HashMap<String, VecDeque<Fault>>,
    pub(super) refusing: usize,
    pub(super) losing: usize,
    pub(super) revoked: BTreeSet<String>,
    /// The most messages of one page of a history.
    pub(super) longest_page: usize,
    pub(super) seen: Seen,
    /// In seconds; a second passes with everything that happens.
    clock: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let users = [("U1", "Ann"), ("U2", "Bob"), (FakeSlack::BOT_USER, "Andy")];
        Self {
            users: users.map(|(id, name)| (id.to_owned(), name.to_owned())).into(),
            conversations: BTreeMap::new(),
            files: BTreeMap::new(),
            events: Vec::new(),
            order: Vec::new(),
            held_from: None,
            faults: HashMap::new(),
            refusing: 0,
            losing: 0,
            revoked: BTreeSet::new(),
            longest_page: 999,
            seen: Seen::default(),
            clock: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
        }
    }

    pub(super) fn add_conversation(&mut self, id: &str, name: &str) {
        let conversation =
            Conversation { name: name.to_owned(), archived: false, app_is_in: true, history: Vec::new() };
        self.conversations.entry(id.to_owned()).or_insert(conversation);
    }

    pub(super) fn archive(&mut self, id: &str) {
        if let Some(conversation) = self.conversations.get_mut(id) {
            conversation.archived = true;
        }
        self.happen(json!({"type": "channel_archive", "channel": id, "user": "U1"}));
    }

    pub(super) fn remove_app(&mut self, id: &str) {
        if let Some(conversation) = self.conversations.get_mut(id) {
            conversation.app_is_in = false;
        }
        self.happen(
            json!({"type": "member_left_channel", "user": FakeSlack::BOT_USER, "channel": id, "channel_type": "C"}),
        );
    }

    pub(super) fn say(&mut self, conversation: &str, user: &str, text: &str, more: &Value) -> String {
        let ts = self.next_ts();
        let mut event = json!({
            "type": "message", "channel": conversation, "channel_type": kind_of(conversation), "user": user, "text": text,
            "ts": ts, "event_ts": ts, "team": "T1", "client_msg_id": format!("m-{ts}"),
        });
        if let (Some(event), Some(more)) = (event.as_object_mut(), more.as_object()) {
            event.extend(more.clone());
        }
        if let Some(conversation) = self.conversations.get_mut(conversation) {
            conversation.history.push(event.clone());
        }
        self.happen(event);
        ts
    }

    pub(super) fn delete(&mut self, conversation: &str, ts: &str) {
        if let Some(conversation) = self.conversations.get_mut(conversation) {
            conversation.history.retain(|message| message["ts"] != ts);
        }
    }

    pub(super) fn edit(&mut self, conversation: &str, ts: &str, text: &str) {
        let now = self.next_ts();
        let Some(place) = self.conversations.get_mut(conversation) else { return };
        let Some(message) = place.history.iter_mut().find(|message| message["ts"] == ts) else { return };
        let before = message.clone();
        message["text"] = json!(text);
        message["edited"] = json!({"user": message["user"], "ts": now});
        let after = message.clone();
        self.happen(json!({
            "type": "message", "subtype": "message_changed", "hidden": true, "channel": conversation,
            "channel_type": kind_of(conversation), "ts": now, "event_ts": now, "message": after, "previous_message": before,
        }));
    }

    /// Keeps a file that somebody shared; returns what Slack tells of it.
    pub(super) fn keep_file(&mut self, addr: SocketAddr, name: &str, content: &[u8]) -> Value {
        let id = self.new_file(name, content.len());
        if let Some(file) = self.files.get_mut(&id) {
            file.content = Some(content.to_owned());
        }
        let kind = if name.ends_with(".png") { "image/png" } else { "text/plain" };
        json!({
            "id": id, "name": name, "title": name, "mimetype": kind, "size": content.len(), "mode": "hosted",
            "url_private": format!("http://{addr}/files/{id}/{name}"),
            "url_private_download": format!("http://{addr}/files/{id}/download/{name}"),
        })
    }

    /// A place for a file; returns its id.
    pub(super) fn new_file(&mut self, name: &str, length: usize) -> String {
        let id = format!("F{}", self.files.len() + 1);
        self.files.insert(id.clone(), Kept { name: name.to_owned(), length, content: None });
        id
    }

    /// The app says something; it is heard by all, by the app too.
    pub(super) fn post(&mut self, conversation: &str, mut message: Value) -> String {
        let ts = self.next_ts();
        message["type"] = json!("message");
        message["user"] = json!(FakeSlack::BOT_USER);
        message["bot_id"] = json!("B1");
        message["ts"] = json!(ts);
        if let Some(conversation) = self.conversations.get_mut(conversation) {
            conversation.history.push(message.clone());
        }
        self.seen.posts.push((conversation.to_owned(), message.clone()));
        message["channel"] = json!(conversation);
        message["channel_type"] = json!(kind_of(conversation));
        message["event_ts"] = json!(ts);
        self.happen(message);
        ts
    }

    pub(super) fn happen(&mut self, event: Value) {
        self.order.push(self.events.len());
        self.events.push(Event { event, acknowledged: false, on: None, attempts: 0 });
    }

    pub(super) fn deliver_again(&mut self) {
        if let Some(last) = self.events.last_mut() {
            last.acknowledged = false;
            last.on = None;
        }
    }

    pub(super) fn give_up(&mut self) {
        self.events.iter_mut().for_each(|event| event.acknowledged = true);
    }

    pub(super) fn hold(&mut self) {
        self.held_from.get_or_insert(self.events.len());
    }

    pub(super) fn release_reversed(&mut self) {
        // What waited before for another reason, that nobody is connected, keeps its place.
        let first = self.held_from.take().unwrap_or(usize::MAX);
        let waits = |number: &usize| *number >= first && self.events[*number].attempts == 0;
        let waiting: Vec<usize> = self.order.iter().copied().filter(waits).collect();
        self.order.retain(|number| !waiting.contains(number));
        self.order.extend(waiting.into_iter().rev());
    }

    /// The next envelope for the socket `on`, as a line.
    pub(super) fn next_for(&mut self, on: usize) -> Option<String> {
        let held_from = self.held_from.unwrap_or(usize::MAX);
        let waits = |number: &usize| {
            let event = &self.events[*number];
            *number < held_from && !event.acknowledged && event.on != Some(on)
        };
        let number = self.order.iter().copied().find(waits)?;
        let event = &mut self.events[number];
        event.on = Some(on);
        event.attempts += 1;
        self.seen.delivered += 1;
        let mut envelope = json!({
            "type": "events_api", "envelope_id": format!("env-{number}-{}", event.attempts), "accepts_response_payload": false,
            "payload": {
                "token": "x", "team_id": "T1", "api_app_id": "A1", "type": "event_callback", "event_id": format!("Ev{number}"),
                "event_time": 1_700_000_000, "event": event.event,
            },
        });
        if event.attempts > 1 {
            envelope["retry_attempt"] = json!(event.attempts - 1);
            envelope["retry_reason"] = json!("timeout");
        }
        Some(envelope.to_string())
    }

    /// The app acknowledges an envelope; `false` when that is lost.
    pub(super) fn acknowledge(&mut self, envelope: &str) -> bool {
        if self.losing > 0 {
            self.losing -= 1;
            return false;
        }
        let number = envelope.split('-').nth(1).and_then(|number| number.parse::<usize>().ok());
        if let Some((number, event)) = number.and_then(|number| Some((number, self.events.get_mut(number)?))) {
            event.acknowledged = true;
            self.seen.acknowledged.push(number);
        }
        true
    }

    fn next_ts(&mut self) -> String {
        self.clock += 1;
        format!("{}.000100", self.clock)
    }
}

fn kind_of(conversation: &str) -> &'static str {
    match conversation.chars().next() {
        Some('D') => "im",
        Some('G') => "group",
        _ => "channel",
    }
}
