//! The guild: people, channels, what was said, files, and what sessions are told.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{FakeDiscord, Fault};

/// When Discord's ids begin to count, in milliseconds since 1970.
const FIRST_MOMENT: u64 = 1_420_070_400_000;

/// What was seen of the bot.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How many sockets were opened.
    pub connections: usize,
    /// How many are open.
    pub open: usize,
    /// How many were refused.
    pub refused: usize,
    /// How many sessions were begun.
    pub identified: usize,
    /// With which number sessions were gone on with, in order.
    pub resumed: Vec<u64>,
    /// The heartbeats, by how far they said that the bot is.
    pub beats: Vec<Option<u64>>,
    /// How many events went out, all together.
    pub delivered: usize,
    /// Every call of the REST API, in order.
    pub calls: Vec<Call>,
    /// What was posted, in order: channel and message.
    pub posts: Vec<(String, Value)>,
}

/// A call of the REST API.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method, and the last part of the path.
    pub what: String,
    /// The channel that it is for; empty without one.
    pub channel: String,
    /// The header `Authorization`.
    pub authorization: String,
    /// The body as JSON, or the query.
    pub arguments: Value,
}

impl Seen {
    /// The words of the message that each of those in a channel replies to, oldest first; `None` for one that replies to none.
    #[must_use]
    pub fn replied_to(&self, channel: &str) -> Vec<Option<String>> {
        let here = self.posts.iter().filter(|(place, _)| place == channel);
        here.map(|(_, message)| message["referenced_message"]["content"].as_str().map(str::to_owned)).collect()
    }

    /// The texts that the bot posted in a channel, oldest first; of a file, its caption and `[name: its content]`.
    #[must_use]
    pub fn posted(&self, channel: &str) -> Vec<String> {
        let here = self.posts.iter().filter(|(place, _)| place == channel);
        here.map(|(_, message)| message["shown"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// How often a call was made.
    #[must_use]
    pub fn count(&self, what: &str) -> usize {
        self.calls.iter().filter(|call| call.what == what).count()
    }
}

#[derive(Debug)]
pub(super) struct Channel {
    name: String,
    guild: Option<String>,
    pub(super) muted: bool,
    /// Oldest first.
    pub(super) history: Vec<Value>,
}

#[derive(Debug)]
pub(super) struct World {
    addr: SocketAddr,
    users: BTreeMap<String, String>,
    pub(super) channels: BTreeMap<String, Channel>,
    /// By their paths.
    pub(super) files: HashMap<String, Vec<u8>>,
    /// What each session is told, in order; the number of the first is 1.
    pub(super) sessions: BTreeMap<String, Vec<(String, Value)>>,
    /// What was posted, by its nonce.
    pub(super) nonces: HashMap<String, Value>,
    pub(super) faults: HashMap<String, VecDeque<Fault>>,
    pub(super) in_guild: bool,
    pub(super) refusing: usize,
    pub(super) revoked: bool,
    pub(super) content_allowed: bool,
    pub(super) no_session_for: Option<u64>,
    pub(super) beat_every: Duration,
    pub(super) beats_answered: bool,
    pub(super) seen: Seen,
    last_id_ms: u64,
}

impl World {
    pub(super) fn new(addr: SocketAddr) -> Self {
        let users = [("11", "Ann"), ("12", "Bob")];
        Self {
            addr,
            users: users.map(|(id, name)| (id.to_owned(), name.to_owned())).into(),
            channels: BTreeMap::new(),
            files: HashMap::new(),
            sessions: BTreeMap::new(),
            nonces: HashMap::new(),
            faults: HashMap::new(),
            in_guild: true,
            refusing: 0,
            revoked: false,
            content_allowed: true,
            no_session_for: None,
            beat_every: Duration::from_secs(40),
            beats_answered: true,
            seen: Seen::default(),
            last_id_ms: 0,
        }
    }

    pub(super) fn add_channel(&mut self, id: &str, name: &str, guild: Option<&str>) {
        if self.channels.contains_key(id) {
            return;
        }
        let channel =
            Channel { name: name.to_owned(), guild: guild.map(str::to_owned), muted: false, history: Vec::new() };
        self.channels.insert(id.to_owned(), channel);
        if let Some(guild) = guild {
            self.happen("CHANNEL_CREATE", json!({"id": id, "guild_id": guild, "name": name, "type": 0}));
        }
    }

    pub(super) fn delete_channel(&mut self, id: &str) {
        self.channels.remove(id);
        self.happen("CHANNEL_DELETE", json!({"id": id, "guild_id": FakeDiscord::GUILD, "type": 0}));
    }

    pub(super) fn remove_bot(&mut self) {
        self.in_guild = false;
        self.happen("GUILD_DELETE", json!({"id": FakeDiscord::GUILD}));
    }

    pub(super) fn mute(&mut self, id: &str) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.muted = true;
        }
    }

    pub(super) fn say(&mut self, channel: &str, user: &str, text: &str, more: &Value) -> String {
        let id = self.next_id();
        let author = self.user(user);
        let mut message = message(&id, channel, author, text);
        let mentioned: Vec<Value> = self
            .users
            .keys()
            .map(String::as_str)
            .chain([FakeDiscord::BOT_USER])
            .filter(|id| text.contains(&format!("<@{id}>")))
            .map(|id| self.user(id))
            .collect();
        message["mentions"] = json!(mentioned);
        if let (Some(message), Some(more)) = (message.as_object_mut(), more.as_object()) {
            message.extend(more.clone());
        }
        self.keep(channel, message.clone());
        self.tell("MESSAGE_CREATE", channel, message);
        id
    }

    pub(super) fn edit(&mut self, channel: &str, id: &str, text: &str) {
        let now = timestamp(self.next_ms());
        let Some(place) = self.channels.get_mut(channel) else { return };
        let Some(message) = place.history.iter_mut().find(|message| message["id"] == id) else { return };
        message["content"] = json!(text);
        message["edited_timestamp"] = json!(now);
        let message = message.clone();
        self.tell("MESSAGE_UPDATE", channel, message);
    }

    /// Keeps a file that somebody sent; returns what Discord tells of it.
    pub(super) fn keep_file(&mut self, channel: &str, name: &str, content: &[u8]) -> Value {
        let id = self.next_id();
        let path = format!("/attachments/{channel}/{id}/{name}");
        self.files.insert(path.clone(), content.to_owned());
        let kind = if name.ends_with(".png") { "image/png" } else { "text/plain; charset=utf-8" };
        json!({
            "id": id, "filename": name, "size": content.len(), "content_type": kind,
            "url": format!("http://{}{path}", self.addr), "proxy_url": format!("http://{}{path}", self.addr),
        })
    }

    /// The bot says something; it is heard by all, by the bot too.
    pub(super) fn post(
        &mut self,
        channel: &str,
        text: &str,
        nonce: &Value,
        files: &[(String, Vec<u8>)],
        replied_to: Option<Value>,
    ) -> Value {
        let id = self.next_id();
        let author =
            json!({"id": FakeDiscord::BOT_USER, "username": "andy", "discriminator": "0", "bot": true, "avatar": null});
        let mut posted = message(&id, channel, author, text.trim());
        let kept: Vec<Value> = files.iter().map(|(name, content)| self.keep_file(channel, name, content)).collect();
        posted["attachments"] = json!(kept);
        if let Some(replied_to) = replied_to {
            posted["type"] = json!(19);
            posted["message_reference"] = json!({"message_id": replied_to["id"], "channel_id": channel});
            posted["referenced_message"] = replied_to;
        }
        // Discord tells a nonce with the message that is made, and not in its history.
        self.keep(channel, posted.clone());
        posted["nonce"] = nonce.clone();
        self.tell("MESSAGE_CREATE", channel, posted.clone());
        let shown: String =
            files.iter().map(|(name, content)| format!(" [{name}: {}]", String::from_utf8_lossy(content))).collect();
        let mut seen = posted.clone();
        seen["shown"] = json!(format!("{}{shown}", text.trim()).trim_start());
        self.seen.posts.push((channel.to_owned(), seen));
        posted
    }

    pub(super) fn happen(&mut self, kind: &str, data: Value) {
        for told in self.sessions.values_mut() {
            told.push((kind.to_owned(), data.clone()));
        }
    }

    pub(super) fn deliver_again(&mut self) {
        for told in self.sessions.values_mut() {
            told.extend(told.last().cloned());
        }
    }

    /// A new session; returns its id. Those before it are over.
    pub(super) fn begin_session(&mut self) -> String {
        self.seen.identified += 1;
        let id = format!("session-{}", self.seen.identified);
        let guilds = if self.in_guild { json!([{"id": FakeDiscord::GUILD, "unavailable": true}]) } else { json!([]) };
        let ready = json!({
            "v": 10, "guilds": guilds, "session_id": id, "resume_gateway_url": format!("ws://{}/gateway", self.addr),
            "user": {"id": FakeDiscord::BOT_USER, "username": "andy", "discriminator": "0", "bot": true, "avatar": null},
            "application": {"id": FakeDiscord::BOT_USER, "flags": 0},
        });
        let mut told = vec![("READY".to_owned(), ready)];
        if self.in_guild {
            told.push(("GUILD_CREATE".to_owned(), self.guild()));
        }
        self.sessions = BTreeMap::from([(id.clone(), told)]);
        id
    }

    pub(super) fn takes(&self, token: &str) -> bool {
        !self.revoked && token == FakeDiscord::BOT_TOKEN
    }

    fn guild(&self) -> Value {
        let here = self.channels.iter().filter(|(_, channel)| channel.guild.is_some());
        let channels: Vec<Value> =
            here.map(|(id, channel)| json!({"id": id, "name": channel.name, "type": 0, "position": 0})).collect();
        json!({
            "id": FakeDiscord::GUILD, "name": "Home", "channels": channels, "threads": [], "members": [], "emojis": [],
            "roles": [{"id": FakeDiscord::BOT_ROLE, "name": "Andy", "tags": {"bot_id": FakeDiscord::BOT_USER}}],
        })
    }

    /// As a message is told on the gateway: with the guild, and what its author is there.
    fn tell(&mut self, kind: &str, channel: &str, mut message: Value) {
        if let Some(guild) = self.channels.get(channel).and_then(|channel| channel.guild.clone()) {
            message["guild_id"] = json!(guild);
            if message["member"].is_null() {
                message["member"] = json!({"nick": null, "roles": []});
            }
        }
        self.happen(kind, message);
    }

    fn keep(&mut self, channel: &str, mut message: Value) {
        if let Some(message) = message.as_object_mut() {
            message.remove("member");
        }
        if let Some(channel) = self.channels.get_mut(channel) {
            channel.history.push(message);
        }
    }

    fn user(&self, id: &str) -> Value {
        let bot = id == FakeDiscord::BOT_USER;
        let name = if bot { Some("Andy") } else { self.users.get(id).map(String::as_str) };
        let username = name.unwrap_or("somebody").to_lowercase();
        json!({"id": id, "username": username, "global_name": name, "discriminator": "0", "avatar": null, "bot": bot})
    }

    /// Rising, by the clock.
    fn next_id(&mut self) -> String {
        (self.next_ms().saturating_sub(FIRST_MOMENT) << 22).to_string()
    }

    fn next_ms(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
        self.last_id_ms = u64::try_from(now).unwrap_or(0).max(self.last_id_ms + 1);
        self.last_id_ms
    }
}

fn message(id: &str, channel: &str, author: Value, text: &str) -> Value {
    let ms = id.parse::<u64>().map_or(0, |id| (id >> 22) + FIRST_MOMENT);
    json!({
        "id": id, "channel_id": channel, "author": author, "content": text, "timestamp": timestamp(ms),
        "edited_timestamp": null, "tts": false, "mention_everyone": false, "mentions": [], "mention_roles": [],
        "attachments": [], "embeds": [], "pinned": false, "type": 0, "flags": 0, "components": [],
    })
}

/// As Discord writes a moment of a day of 1970 and later.
fn timestamp(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    // From the count of days to the calendar. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes, seconds, thousandths) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{thousandths:03}000+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_the_calendar_has_it() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000+00:00");
        assert_eq!(timestamp(1_772_627_400_123), "2026-03-04T12:30:00.123000+00:00");
        assert_eq!(timestamp(1_709_210_096_000), "2024-02-29T12:34:56.000000+00:00");
    }
}
