//! The services of a crowd: what people do on them, what they show, and what goes wrong.

use std::cell::RefCell;

use nanoclaw_fakes::{
    discord::{self, FakeDiscord},
    kill::Chance,
    slack::{self, FakeSlack},
    telegram::{self, FakeTelegram},
};
use nanoclaw_host::home::Home;
use serde_json::Value;
use tokio::runtime::Handle;

use crate::{lines::Socket, telegram_state};

/// The call by which a message is posted.
const SLACK_POST: &str = "chat.postMessage";
const TELEGRAM_POST: &str = "messages.sendMessage";

/// A service with so many chats, numbered from 0.
pub(super) trait Service {
    /// The channel's name.
    fn name(&self) -> &'static str;

    /// A chat's id, as the host has it.
    fn address(&self, chat: usize) -> String;

    /// What it needs in the configuration.
    fn configuration(&self) -> String {
        String::new()
    }

    /// Whether it is welcome at the host; `None` where only the host knows.
    fn is_welcome(&self) -> Option<bool> {
        None
    }

    /// Somebody writes.
    fn say(&mut self, chat: usize, text: &str);

    /// Somebody writes in each of several chats, and the host is told in another order. `None`: in this one.
    fn say_reordered(&mut self, messages: &[(usize, String)]) -> Option<&'static str> {
        messages.iter().for_each(|(chat, text)| self.say(*chat, text));
        None
    }

    /// What was shown since this was asked last: chat and text.
    fn news(&mut self) -> Vec<(usize, String)>;

    /// A call is to go wrong, or something is told twice or never; what.
    fn trip(&mut self, chance: &mut Chance) -> &'static str;

    /// The connection is lost; how.
    fn lose_connections(&mut self, chance: &mut Chance) -> &'static str;

    /// Slow answers are let go.
    fn release(&mut self) {}

    /// Nothing goes wrong any more.
    fn be_well(&mut self) {}
}

/// One of each.
pub(super) async fn all_services(home: &Home, chats: usize) -> Vec<Box<dyn Service>> {
    let terminals = (0..chats).map(|chat| Socket::terminal(home.local_socket(), &format!("local:{chat}")));
    let slack = FakeSlack::start().await.unwrap();
    let discord = FakeDiscord::start().await.unwrap();
    let telegram = FakeTelegram::start().await.unwrap();
    for chat in 0..chats {
        slack.conversation(&slack_id(chat), "group");
        discord.channel(&discord_id(chat), "group");
        telegram.chat(telegram_id(chat), "group");
    }
    telegram_state::know(&home.auth().join("telegram.db"), &telegram.access()).await;
    let on = Handle::current();
    vec![
        Box::new(Terminals { terminals: terminals.map(|socket| (socket, 0)).collect(), said: 0 }),
        Box::new(Bridge { socket: Socket::bridge(home.bridge_socket(), "net"), seen: 0, said: 0 }),
        Box::new(Slack { fake: slack, seen: 0, on: on.clone() }),
        Box::new(Discord { fake: discord, seen: 0, on: on.clone() }),
        Box::new(Telegram { fake: telegram, seen: 0, on }),
    ]
}

/// What all of them need in the configuration.
pub(super) fn configuration(services: &[Box<dyn Service>]) -> String {
    services.iter().map(|service| service.configuration()).collect()
}

/// What all of them need as credentials.
pub(super) fn credentials() -> String {
    let (bot, app) = (FakeSlack::BOT_TOKEN, FakeSlack::APP_TOKEN);
    let (id, hash, token) = (FakeTelegram::API_ID, FakeTelegram::API_HASH, FakeTelegram::BOT_TOKEN);
    format!(
        "SLACK_BOT_TOKEN={bot}\nSLACK_APP_TOKEN={app}\nDISCORD_BOT_TOKEN={}\n\
         TELEGRAM_API_ID={id}\nTELEGRAM_API_HASH={hash}\nTELEGRAM_BOT_TOKEN={token}",
        FakeDiscord::BOT_TOKEN
    )
}

/// The terminal: one for each chat, with the number of texts that were seen.
struct Terminals {
    terminals: Vec<(Socket, usize)>,
    said: usize,
}

impl Terminals {
    fn any(&self, chance: &mut Chance) -> &Socket {
        let (socket, _) = chance.one_of(&self.terminals).expect("there are chats");
        socket
    }
}

impl Service for Terminals {
    fn name(&self) -> &'static str {
        "local"
    }

    fn address(&self, chat: usize) -> String {
        format!("local:{chat}")
    }

    fn is_welcome(&self) -> Option<bool> {
        Some(self.terminals.iter().all(|(socket, _)| socket.is_welcome()))
    }

    fn say(&mut self, chat: usize, text: &str) {
        self.said += 1;
        self.terminals[chat].0.say("", &format!("m{}", self.said), "Ann", text, &Value::Null);
    }

    fn news(&mut self) -> Vec<(usize, String)> {
        let mut news = Vec::new();
        for (chat, (socket, seen)) in self.terminals.iter_mut().enumerate() {
            let shown = socket.shown(*seen);
            *seen += shown.len();
            news.extend(shown.into_iter().map(|(_, text)| (chat, text)));
        }
        news
    }

    fn trip(&mut self, chance: &mut Chance) -> &'static str {
        if chance.below(2) == 0 {
            self.any(chance).say_again();
            return "a message said again on another connection";
        }
        self.any(chance).lose_confirmations(1);
        "shown, and the connection lost before that was said"
    }

    fn lose_connections(&mut self, _: &mut Chance) -> &'static str {
        self.terminals.iter().for_each(|(socket, _)| socket.drop_connection());
        "all connections dropped"
    }
}

struct Bridge {
    socket: Socket,
    seen: usize,
    said: usize,
}

impl Service for Bridge {
    fn name(&self) -> &'static str {
        "net"
    }

    fn address(&self, chat: usize) -> String {
        format!("net:{chat}")
    }

    fn is_welcome(&self) -> Option<bool> {
        Some(self.socket.is_welcome())
    }

    fn say(&mut self, chat: usize, text: &str) {
        self.said += 1;
        let nothing = Value::Array(Vec::new());
        self.socket.say(&self.address(chat), &format!("m{}", self.said), "Ann", text, &nothing);
    }

    fn news(&mut self) -> Vec<(usize, String)> {
        let shown = self.socket.shown(self.seen);
        self.seen += shown.len();
        shown.into_iter().map(|(chat, text)| (number_after("net:", &chat), text)).collect()
    }

    fn trip(&mut self, chance: &mut Chance) -> &'static str {
        match chance.below(3) {
            0 => {
                self.socket.say_again();
                "a message said again on another connection"
            }
            1 => {
                self.socket.lose_confirmations(1);
                "shown, and the connection lost before that was said"
            }
            _ => {
                self.socket.fail_next(2);
                "two messages refused for a moment"
            }
        }
    }

    fn lose_connections(&mut self, _: &mut Chance) -> &'static str {
        self.socket.drop_connection();
        "the connection dropped"
    }
}

struct Slack {
    fake: FakeSlack,
    seen: usize,
    on: Handle,
}

impl Service for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn address(&self, chat: usize) -> String {
        format!("slack:{}", slack_id(chat))
    }

    fn configuration(&self) -> String {
        format!("[channels.slack]\napi_url = \"{}\"\n", self.fake.api_url())
    }

    fn say(&mut self, chat: usize, text: &str) {
        self.fake.say(&slack_id(chat), "U1", text);
    }

    fn say_reordered(&mut self, messages: &[(usize, String)]) -> Option<&'static str> {
        self.fake.hold_events();
        messages.iter().for_each(|(chat, text)| self.say(*chat, text));
        self.fake.release_events_reversed();
        Some("messages of several chats in reversed order")
    }

    fn news(&mut self) -> Vec<(usize, String)> {
        let news = RefCell::new(Vec::new());
        let from = self.seen;
        self.on.block_on(self.fake.wait_until("a look", |seen| {
            let text = |message: &Value| message["text"].as_str().unwrap_or_default().to_owned();
            news.replace(
                seen.posts[from..].iter().map(|(chat, message)| (number_after("C", chat), text(message))).collect(),
            );
            true
        }));
        self.seen += news.borrow().len();
        news.into_inner()
    }

    fn trip(&mut self, chance: &mut Chance) -> &'static str {
        let (fault, name) = match chance.below(8) {
            0 => (slack::Fault::Limited { seconds: 1 }, "429 on posting"),
            1 => (slack::Fault::DropBefore, "a post dropped before it is handled"),
            2 => (slack::Fault::DropAfter, "a post dropped after it is handled"),
            3 => (slack::Fault::Half, "half an answer to a post"),
            4 => (slack::Fault::Slow, "a slow answer to a post"),
            5 => (slack::Fault::Status(503), "503 on posting"),
            6 => {
                self.fake.fail_next("conversations.history", slack::Fault::Limited { seconds: 1 });
                return "429 on looking up";
            }
            _ => {
                self.fake.deliver_again();
                return "an event delivered twice";
            }
        };
        self.fake.fail_next(SLACK_POST, fault);
        name
    }

    fn lose_connections(&mut self, chance: &mut Chance) -> &'static str {
        match chance.below(3) {
            0 => {
                self.fake.lose_acknowledgements(1);
                "an acknowledgement lost with its connection"
            }
            1 => {
                self.fake.refuse_connections(1);
                self.fake.drop_connections();
                "the connection dropped and the next refused"
            }
            _ => {
                self.fake.drop_connections();
                "the connection dropped"
            }
        }
    }

    fn release(&mut self) {
        self.fake.release();
    }

    fn be_well(&mut self) {
        self.fake.lose_acknowledgements(0);
        self.fake.refuse_connections(0);
    }
}

struct Discord {
    fake: FakeDiscord,
    seen: usize,
    on: Handle,
}

impl Service for Discord {
    fn name(&self) -> &'static str {
        "discord"
    }

    fn address(&self, chat: usize) -> String {
        format!("dc:{}", discord_id(chat))
    }

    fn configuration(&self) -> String {
        format!("[channels.discord]\napi_url = \"{}\"\n", self.fake.api_url())
    }

    fn say(&mut self, chat: usize, text: &str) {
        self.fake.say(&discord_id(chat), "11", text);
    }

    fn news(&mut self) -> Vec<(usize, String)> {
        let news = RefCell::new(Vec::new());
        let from = self.seen;
        self.on.block_on(self.fake.wait_until("a look", |seen| {
            let text = |message: &Value| message["shown"].as_str().unwrap_or_default().to_owned();
            news.replace(
                seen.posts[from..].iter().map(|(chat, message)| (number_after("1", chat), text(message))).collect(),
            );
            true
        }));
        self.seen += news.borrow().len();
        news.into_inner()
    }

    fn trip(&mut self, chance: &mut Chance) -> &'static str {
        let (fault, name) = match chance.below(8) {
            0 => (discord::Fault::Limited { seconds: 1 }, "429 on posting"),
            1 => (discord::Fault::DropBefore, "a post dropped before it is handled"),
            2 => (discord::Fault::DropAfter, "a post dropped after it is handled"),
            3 => (discord::Fault::Half, "half an answer to a post"),
            4 => (discord::Fault::Slow, "a slow answer to a post"),
            5 => (discord::Fault::Status(502), "502 on posting"),
            6 => {
                self.fake.fail_next(discord::HISTORY, discord::Fault::Limited { seconds: 1 });
                return "429 on looking up";
            }
            _ => {
                self.fake.deliver_again();
                return "an event delivered twice";
            }
        };
        self.fake.fail_next(discord::POST, fault);
        name
    }

    fn lose_connections(&mut self, chance: &mut Chance) -> &'static str {
        match chance.below(4) {
            0 => {
                self.fake.end_sessions();
                self.fake.drop_connections();
                "the connection dropped, and its session gone"
            }
            1 => {
                self.fake.refuse_connections(1);
                self.fake.drop_connections();
                "the connection dropped and the next refused"
            }
            2 => {
                self.fake.ask_to_reconnect();
                "asked to connect anew"
            }
            _ => {
                self.fake.drop_connections();
                "the connection dropped"
            }
        }
    }

    fn release(&mut self) {
        self.fake.release();
    }

    fn be_well(&mut self) {
        self.fake.refuse_connections(0);
    }
}

/// Supergroups and basic groups in turns.
struct Telegram {
    fake: FakeTelegram,
    seen: usize,
    on: Handle,
}

impl Service for Telegram {
    fn name(&self) -> &'static str {
        "telegram"
    }

    fn address(&self, chat: usize) -> String {
        format!("tg:{}", telegram_id(chat))
    }

    fn configuration(&self) -> String {
        "[channels.telegram]\nenabled = true\n".to_owned()
    }

    fn say(&mut self, chat: usize, text: &str) {
        self.fake.say(telegram_id(chat), 1001, text);
    }

    fn say_reordered(&mut self, messages: &[(usize, String)]) -> Option<&'static str> {
        self.fake.hold_pushes();
        messages.iter().for_each(|(chat, text)| self.say(*chat, text));
        self.fake.release_pushes_reversed();
        Some("messages of several chats in reversed order")
    }

    fn news(&mut self) -> Vec<(usize, String)> {
        let news = RefCell::new(Vec::new());
        let from = self.seen;
        self.on.block_on(self.fake.wait_until("a look", |seen| {
            news.replace(seen.sent[from..].iter().map(|sent| (telegram_number(sent.chat), sent.shown())).collect());
            true
        }));
        self.seen += news.borrow().len();
        news.into_inner()
    }

    fn trip(&mut self, chance: &mut Chance) -> &'static str {
        let (fault, name) = match chance.below(4) {
            0 => (telegram::Fault::FloodWait { seconds: 1 }, "FLOOD_WAIT on sending"),
            1 => (telegram::Fault::Slow, "a slow answer to a message"),
            2 => (telegram::Fault::Stuck, "a message stuck on its way"),
            _ => {
                self.fake.push_again();
                return "an update told twice";
            }
        };
        self.fake.fail_next(TELEGRAM_POST, fault);
        name
    }

    /// There is one connection, so a call that is dropped takes it along.
    fn lose_connections(&mut self, chance: &mut Chance) -> &'static str {
        let (fault, name) = match chance.below(5) {
            0 => (telegram::Fault::DropBefore, "dropped before a message is handled"),
            1 => (telegram::Fault::DropAfter, "dropped after a message is handled"),
            2 => (telegram::Fault::Half, "dropped in the middle of an answer"),
            3 => {
                self.fake.refuse_connections(1);
                self.fake.drop_connections();
                return "the connection dropped and the next refused";
            }
            _ => {
                self.fake.drop_connections();
                return "the connection dropped";
            }
        };
        self.fake.fail_next(TELEGRAM_POST, fault);
        name
    }

    fn release(&mut self) {
        self.fake.release();
    }

    fn be_well(&mut self) {
        self.fake.refuse_connections(0);
    }
}

fn slack_id(chat: usize) -> String {
    format!("C{chat}")
}

fn discord_id(chat: usize) -> String {
    format!("1{chat:03}")
}

fn telegram_id(chat: usize) -> i64 {
    let number = 100 + i64::try_from(chat).expect("chats are few");
    if chat.is_multiple_of(2) { FakeTelegram::SUPERGROUP - number } else { -number }
}

fn telegram_number(id: i64) -> usize {
    let number = if id < FakeTelegram::SUPERGROUP { FakeTelegram::SUPERGROUP - id } else { -id };
    usize::try_from(number - 100).expect("it is one of ours")
}

fn number_after(prefix: &str, id: &str) -> usize {
    id.strip_prefix(prefix).and_then(|number| number.parse().ok()).expect("it is one of ours")
}
