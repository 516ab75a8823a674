//! A fake of Discord on loopback: the REST API and the gateway, as far as an assistant needs them, with a guild that remembers what
//! was said in it, and faults on command.
//!
//! People are made to write with [`FakeDiscord::say`]; what the bot posts is in [`FakeDiscord::posted`]. Events go to each session,
//! whether somebody is connected or not: one that is gone on with is told what it missed, as Discord does, until
//! [`FakeDiscord::end_sessions`]. What the bot posts comes back to it as an event, with its nonce.
//!
//! | call | what is checked |
//! | --- | --- |
//! | all | the token |
//! | `GET /gateway/bot` | |
//! | `POST /channels/{id}/messages`, as JSON or with a file | that there is such a channel, that the bot sees it and may write; the text's length; that a nonce has 25 characters at most; that what it replies to is there, or `fail_if_not_exists` is `false`. With `enforce_nonce` a message of the same nonce is told in place of a second one, until [`FakeDiscord::forget_nonces`] |
//! | `GET /channels/{id}/messages` | the same; `limit`, `before`, `after`; newest first, without nonces |
//! | `POST /channels/{id}/typing` | the same |
//! | `GET /attachments/…` | |
//! | the gateway | the token, the privileged intent, the session and its number, that heartbeats come |
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use nanoclaw_fakes::discord::{FakeDiscord, Fault, POST};
//! let discord = FakeDiscord::start().await?;
//! discord.channel("20", "general");
//! discord.fail_next(POST, Fault::Limited { seconds: 1 });
//! // … start what is to be tested with discord.api_url() and FakeDiscord::BOT_TOKEN …
//! discord.wait_until("a session", |seen| seen.identified > 0).await;
//! discord.say("20", "11", "<@99> hello");
//! discord.wait_until("an answer", |seen| !seen.posted("20").is_empty()).await;
//! # Ok(()) }
//! ```

mod api;
mod gateway;
mod server;
mod world;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
    task::JoinHandle,
};

use self::world::World;
pub use self::world::{Call, Seen};
pub use crate::faults::Fault;

/// The call that posts a message, for [`FakeDiscord::fail_next`].
pub const POST: &str = "POST messages";
/// The call that reads a history.
pub const HISTORY: &str = "GET messages";
/// The call that shows that the bot is typing.
pub const TYPING: &str = "POST typing";
/// The call that asks where the gateway is.
pub const GATEWAY: &str = "GET bot";

/// How long [`FakeDiscord::wait_until`] waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The running fake. It stops listening when it is dropped.
pub struct FakeDiscord {
    /// Where it listens: a port of 127.0.0.1.
    pub addr: SocketAddr,
    state: Arc<State>,
    worker: JoinHandle<()>,
}

/// What is done to the connections that are open.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kick {
    Drop,
    Close(u16),
    Reconnect,
    Invalid { resumable: bool },
    BeatNow,
}

/// What the server and the handle share.
struct State {
    addr: SocketAddr,
    world: Mutex<World>,
    /// Counts up when the world has changed.
    changed: watch::Sender<u64>,
    kicks: broadcast::Sender<Kick>,
    /// Counts up when slow answers are let go.
    released: watch::Sender<u64>,
}

impl FakeDiscord {
    /// The bot's token that is taken.
    pub const BOT_TOKEN: &str = "fake.bot.token";
    /// The user that the bot is.
    pub const BOT_USER: &str = "99";
    /// The role that the bot has by being in the guild.
    pub const BOT_ROLE: &str = "77";
    /// The guild, named Home.
    pub const GUILD: &str = "30";

    /// Listens on a free port of 127.0.0.1. There are the users 11 (Ann) and 12 (Bob), and no channel.
    ///
    /// # Errors
    /// When loopback cannot be listened on.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            addr,
            world: Mutex::new(World::new(addr)),
            changed: watch::Sender::new(0),
            kicks: broadcast::Sender::new(64),
            released: watch::Sender::new(0),
        });
        let worker = tokio::spawn(server::serve(listener, state.clone()));
        Ok(Self { addr, state, worker })
    }

    /// What stands for `https://discord.com`.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// There is a channel of this id and name in the guild; one that was there stays as it is.
    pub fn channel(&self, id: &str, name: &str) {
        self.change(|world| world.add_channel(id, name, Some(Self::GUILD)));
    }

    /// There is a channel between the bot and a user.
    pub fn direct(&self, id: &str) {
        self.change(|world| world.add_channel(id, "", None));
    }

    /// A channel is deleted, which the bot is told.
    pub fn delete_channel(&self, id: &str) {
        self.change(|world| world.delete_channel(id));
    }

    /// The bot is removed from the guild, which it is told.
    pub fn remove_bot(&self) {
        self.change(World::remove_bot);
    }

    /// From now on the bot may read and not write in a channel.
    pub fn mute(&self, id: &str) {
        self.change(|world| world.mute(id));
    }

    /// Somebody writes; returns the message's id.
    pub fn say(&self, channel: &str, user: &str, text: &str) -> String {
        self.say_more(channel, user, text, &json!({}))
    }

    /// The same, with further fields of the message, or others in place of the usual.
    pub fn say_more(&self, channel: &str, user: &str, text: &str, more: &Value) -> String {
        self.change(|world| world.say(channel, user, text, more))
    }

    /// Somebody writes with a file of this name and content.
    pub fn say_file(&self, channel: &str, user: &str, text: &str, name: &str, content: &[u8]) -> String {
        self.change(|world| {
            let file = world.keep_file(channel, name, content);
            world.say(channel, user, text, &json!({ "attachments": [file] }))
        })
    }

    /// Somebody changes what they wrote.
    pub fn edit(&self, channel: &str, id: &str, text: &str) {
        self.change(|world| world.edit(channel, id, text));
    }

    /// An event of any kind happens.
    pub fn event(&self, kind: &str, data: Value) {
        self.change(|world| world.happen(kind, data));
    }

    /// What happened last happens once more.
    pub fn deliver_again(&self) {
        self.change(World::deliver_again);
    }

    /// The next call of this kind goes wrong; those after it by what was said later.
    pub fn fail_next(&self, call: &str, fault: Fault) {
        self.change(|world| world.faults.entry(call.to_owned()).or_default().push_back(fault));
    }

    /// The next call of this kind for `channel` goes wrong; those for others do not.
    pub fn fail_next_in(&self, call: &str, channel: &str, fault: Fault) {
        self.fail_next(&format!("{call} {channel}"), fault);
    }

    /// Slow answers are let go.
    pub fn release(&self) {
        self.state.released.send_modify(|count| *count += 1);
    }

    /// What was posted until now is not known by its nonce any more: minutes pass.
    pub fn forget_nonces(&self) {
        self.change(|world| world.nonces.clear());
    }

    /// The next `count` sockets are refused.
    pub fn refuse_connections(&self, count: usize) {
        self.change(|world| world.refusing = count);
    }

    /// From now on the bot's token is refused.
    pub fn revoke(&self) {
        self.change(|world| world.revoked = true);
    }

    /// From now on it is taken.
    pub fn restore(&self) {
        self.change(|world| world.revoked = false);
    }

    /// Whether the bot may read what people write: "Message Content Intent".
    pub fn allow_content(&self, allowed: bool) {
        self.change(|world| world.content_allowed = allowed);
    }

    /// From now on no session can begin for so many milliseconds.
    pub fn allow_no_session(&self, reset_after_ms: u64) {
        self.change(|world| world.no_session_for = Some(reset_after_ms));
    }

    /// How often connections that open from now on are to beat, and whether they are answered.
    pub fn heartbeats(&self, every: Duration, answered: bool) {
        self.change(|world| {
            world.beat_every = every;
            world.beats_answered = answered;
        });
    }

    /// Sessions that are there cannot be gone on with.
    pub fn end_sessions(&self) {
        self.change(|world| world.sessions.clear());
    }

    /// Open sockets are dropped without a word.
    pub fn drop_connections(&self) {
        self.kick(Kick::Drop);
    }

    /// Open sockets are closed, with this number.
    pub fn close_connections(&self, code: u16) {
        self.kick(Kick::Close(code));
    }

    /// Open sockets are asked to connect anew.
    pub fn ask_to_reconnect(&self) {
        self.kick(Kick::Reconnect);
    }

    /// Open sockets are told that their session is over, or this connection of it.
    pub fn invalidate(&self, resumable: bool) {
        self.kick(Kick::Invalid { resumable });
    }

    /// Open sockets are asked for a heartbeat.
    pub fn ask_for_heartbeat(&self) {
        self.kick(Kick::BeatNow);
    }

    /// What was seen until now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.state.world().seen.clone()
    }

    /// What the bot posted in a channel, oldest first.
    #[must_use]
    pub fn posted(&self, channel: &str) -> Vec<String> {
        self.seen().posted(channel)
    }

    /// Waits until what was seen is so.
    ///
    /// # Panics
    /// When it is not so within 20 seconds; `what` is said then, with all that was seen.
    pub async fn wait_until(&self, what: &str, so: impl Fn(&Seen) -> bool) {
        let mut changed = self.state.changed.subscribe();
        let waiting = async {
            while !so(&self.state.world().seen) {
                // The sender lives in `self.state`, so the wait cannot fail.
                let _ = changed.changed().await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(ended.is_ok(), "{what} did not happen; seen was {:#?}", self.seen());
    }

    fn kick(&self, kick: Kick) {
        let _ = self.state.kicks.send(kick);
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        self.state.change(change)
    }
}

impl Drop for FakeDiscord {
    fn drop(&mut self) {
        self.worker.abort();
        // Sockets are served by workers of their own.
        self.kick(Kick::Drop);
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
