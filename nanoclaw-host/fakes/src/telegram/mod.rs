//! A fake of Telegram on loopback: one data centre that speaks MTProto 2.0, as far as a bot's client needs it, with a world that remembers
//! what was said in it, and faults on command.
//!
//! A client reaches it with what [`FakeTelegram::access`] tells: an address and an authorization key that both sides have already, which is
//! put into the client's session. Agreeing upon a key is the one thing that cannot be done here: clients know the real servers' RSA keys by
//! heart. The transport is "full", without obfuscation.
//!
//! Chats are named as the Bot API names them: a person by their id, the basic group 42 by `-42`, and the supergroup 55 by
//! [`FakeTelegram::SUPERGROUP`]` - 55`. People are made to write with [`FakeTelegram::say`]; what a client sends is in
//! [`FakeTelegram::posted`]. News are pushed once, to the connection on which the client last asked for something; whoever misses them asks
//! for the difference, which is exactly what they missed.
//!
//! | function | what is checked |
//! | --- | --- |
//! | all | the key; that the client is signed in; that bots may call it; access hashes of people and supergroups |
//! | `help.getConfig` | the application's id. The answer names no addresses |
//! | `auth.importBotAuthorization`, `auth.logOut` | the application, the token |
//! | `updates.getState`, `.getDifference`, `.getChannelDifference` | slices, too long differences, that the bot is in the supergroup |
//! | `messages.sendMessage`, `.sendMedia`, `.sendMultiMedia`, `.uploadMedia` | the random id, the length, entities, the answered message, that the bot may write there, that photos are pictures |
//! | `messages.editMessage`, `.deleteMessages`, `.setTyping` | whose message it is, that it is changed |
//! | `messages.getMessages`, `.getChats`, `.getFullChat`, `.deleteChatUser` | that there is such a one |
//! | `channels.getMessages`, `.getChannels`, `.getFullChannel`, `.getParticipant`, `.deleteMessages`, `.leaveChannel` | the same |
//! | `upload.saveFilePart`, `.saveBigFilePart`, `.getFile` | sizes, that all parts are there, file references |
//! | `users.getUsers`, `contacts.resolveUsername`, `bots.setBotCommands`, `help.getNearestDc`, `help.getAppConfig` | |
//!
//! Any other function is refused, and noted in [`Seen::unknown`]; [`FakeTelegram::wait_until`] fails with its name.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use nanoclaw_fakes::telegram::{FakeTelegram, Fault};
//! const FAMILY: i64 = -42;
//! let telegram = FakeTelegram::start().await?;
//! telegram.chat(FAMILY, "Family");
//! telegram.fail_next("messages.sendMessage", Fault::FloodWait { seconds: 1 });
//! // … start what is to be tested with telegram.access() …
//! telegram.wait_until("it signs in", |seen| seen.logins > 0).await;
//! telegram.say(FAMILY, 1001, "@andy_bot hello");
//! telegram.wait_until("an answer", |seen| !seen.posted(FAMILY).is_empty()).await;
//! # Ok(()) }
//! ```

mod answers;
mod changes;
mod commands;
mod connection;
mod crypto;
mod entities;
mod faults;
mod files;
mod frames;
mod nouns;
mod objects;
mod packets;
mod people;
mod pushes;
mod requests;
mod said;
mod seen;
mod tl;
mod world;

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
    task::{JoinHandle, JoinSet},
};

use self::world::World;
pub use self::{
    entities::Entity,
    faults::Fault,
    files::{File, FileKind},
    said::Said,
    seen::{Call, Seen, Sent},
};

/// How long [`FakeTelegram::wait_until`] waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The running fake. It stops listening when it is dropped.
pub struct FakeTelegram {
    state: Arc<State>,
    worker: JoinHandle<()>,
    address: SocketAddrV4,
}

/// What a client needs to reach the fake and to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Where the data centre listens: a port of 127.0.0.1.
    pub address: SocketAddrV4,
    /// Its number.
    pub dc_id: i32,
    /// The authorization key that both sides have.
    pub auth_key: [u8; 256],
    /// The application's id that is taken.
    pub api_id: i32,
    /// The application's hash that is taken.
    pub api_hash: &'static str,
    /// The bot's token that is taken.
    pub bot_token: &'static str,
}

/// What the server and the handle share.
struct State {
    world: Mutex<World>,
    /// Counts up when the world has changed.
    changed: watch::Sender<u64>,
    kicks: broadcast::Sender<()>,
    /// Counts up when slow answers are let go.
    released: watch::Sender<u64>,
}

/// The fake itself, and what there is in it.
impl FakeTelegram {
    /// The bot's id.
    pub const BOT_ID: i64 = 777;
    /// The bot's name.
    pub const BOT_NAME: &str = "Andy";
    /// The name by which people mention the bot.
    pub const BOT_USERNAME: &str = "andy_bot";
    /// The bot's token that is taken.
    pub const BOT_TOKEN: &str = "777:fake-bot-token";
    /// The application's id that is taken.
    pub const API_ID: i32 = 12345;
    /// The application's hash that is taken.
    pub const API_HASH: &str = "0123456789abcdef0123456789abcdef";
    /// The number of the one data centre.
    pub const DC_ID: i32 = 2;
    /// What the ids of supergroups count down from.
    pub const SUPERGROUP: i64 = -1_000_000_000_000;
    /// The authorization key that both sides have.
    pub const AUTH_KEY: [u8; 256] = {
        let (mut key, mut at) = ([0; 256], 0);
        while at < key.len() {
            // Any bytes do, as long as they differ.
            key[at] = (at as u8).wrapping_mul(7).wrapping_add(3);
            at += 1;
        }
        key
    };

    /// Listens on a free port of 127.0.0.1. There are Ann (1001) and Bob (1002), and no chats.
    ///
    /// # Errors
    /// When loopback cannot be listened on.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port());
        let state = Arc::new(State {
            world: Mutex::new(World::new()),
            changed: watch::Sender::new(0),
            kicks: broadcast::Sender::new(16),
            released: watch::Sender::new(0),
        });
        let worker = tokio::spawn(serve(listener, state.clone()));
        Ok(Self { state, worker, address })
    }

    /// What a client needs to reach the fake and to be let in.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            address: self.address,
            dc_id: Self::DC_ID,
            auth_key: Self::AUTH_KEY,
            api_id: Self::API_ID,
            api_hash: Self::API_HASH,
            bot_token: Self::BOT_TOKEN,
        }
    }

    /// There is a person of this id and name.
    pub fn user(&self, id: i64, name: &str) {
        self.change(|world| world.add_user(id, name, None, false));
    }

    /// There is another bot, of this id, name and username.
    pub fn bot(&self, id: i64, name: &str, username: &str) {
        self.change(|world| world.add_user(id, name, Some(username), true));
    }

    /// There is a group of this id and title with everybody in it, the bot too; one that was there stays as it is. The id says whether it is a
    /// basic group or a supergroup. Private chats are there when somebody writes.
    pub fn chat(&self, chat: i64, title: &str) {
        self.change(|world| world.add_place(chat, title, true));
    }

    /// The same without the bot in it.
    pub fn chat_without_bot(&self, chat: i64, title: &str) {
        self.change(|world| world.add_place(chat, title, false));
    }
}

/// What was seen.
impl FakeTelegram {
    /// What was seen until now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.state.world().seen.clone()
    }

    /// What the client sent to a chat, oldest first, each as [`Sent::shown`].
    #[must_use]
    pub fn posted(&self, chat: i64) -> Vec<String> {
        self.seen().posted(chat)
    }

    /// Waits until what was seen is so.
    ///
    /// # Panics
    /// When it is not so within 20 seconds; `what` is said then, with all that was seen. Also when the client calls a function that this fake
    /// does not know.
    pub async fn wait_until(&self, what: &str, so: impl Fn(&Seen) -> bool) {
        let mut changed = self.state.changed.subscribe();
        let waiting = async {
            loop {
                let unknown = self.state.world().seen.unknown.clone();
                assert!(unknown.is_empty(), "the client calls what the fake does not know: {unknown:?}");
                if so(&self.state.world().seen) {
                    return;
                }
                // The sender lives in `self.state`, so the wait cannot fail.
                let _ = changed.changed().await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(ended.is_ok(), "{what} did not happen; seen was {:#?}", self.seen());
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        self.state.change(change)
    }
}

impl Drop for FakeTelegram {
    fn drop(&mut self) {
        // The connections are the worker's.
        self.worker.abort();
    }
}

impl State {
    fn world(&self) -> MutexGuard<'_, World> {
        // A test that panics while it is held has failed already.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let changed = change(&mut self.world());
        self.changed.send_modify(|count| *count += 1);
        changed
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection::serve(state.clone(), stream))),
                // Of a connection that is gone already.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
