//! A fake of Slack on loopback: the Web API and Socket Mode, as far as an assistant needs them, with a workspace that remembers
//! what was said in it, and faults on command.
//!
//! People are made to write with [`FakeSlack::say`]; what an app posts is in [`FakeSlack::posted`]. An event is delivered until it
//! is acknowledged: on a new connection everything is said again that was not, as Slack does. What an app posts comes back to it
//! as an event, as Slack does.
//!
//! | method | what is checked |
//! | --- | --- |
//! | `auth.test`, `apps.connections.open` | the token and its kind |
//! | `chat.postMessage` | that the conversation is there, is not archived, and has the app in it; that the thread is there; the text's length |
//! | `conversations.history`, `conversations.replies` | that there is such a conversation, with the app in it, and such a thread; `oldest`, `latest` |
//! | `conversations.info`, `users.conversations`, `users.info` | that there is such a one |
//! | `files.getUploadURLExternal`, the upload, `files.completeUploadExternal` | the length that was told; that it was uploaded |
//! | a file's `url_private` | the token; without it the answer is a redirection to a page, as Slack's is |
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use nanoclaw_fakes::slack::{FakeSlack, Fault};
//! let slack = FakeSlack::start().await?;
//! slack.conversation("C1", "general");
//! slack.fail_next("chat.postMessage", Fault::Limited { seconds: 1 });
//! // … start what is to be tested with slack.api_url(), FakeSlack::BOT_TOKEN and FakeSlack::APP_TOKEN …
//! slack.wait_until("a connection", |seen| seen.connections > 0).await;
//! slack.say("C1", "U1", "<@UBOT> hello");
//! slack.wait_until("an answer", |seen| !seen.posted("C1").is_empty()).await;
//! # Ok(()) }
//! ```

mod api;
mod server;
mod socket;
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

/// How long [`FakeSlack::wait_until`] waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The running fake. It stops listening when it is dropped.
pub struct FakeSlack {
    /// Where it listens: a port of 127.0.0.1.
    pub addr: SocketAddr,
    state: Arc<State>,
    worker: JoinHandle<()>,
}

/// What is done to the connections that are open.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kick {
    Drop,
    Close,
    Disconnect(String),
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

impl FakeSlack {
    /// The bot's token that is taken.
    pub const BOT_TOKEN: &str = "xoxb-fake-bot";
    /// The app's token that is taken.
    pub const APP_TOKEN: &str = "xapp-fake-app";
    /// The user that the bot is.
    pub const BOT_USER: &str = "UBOT";

    /// Listens on a free port of 127.0.0.1. The workspace has the users U1 (Ann) and U2 (Bob), and no conversation.
    ///
    /// # Errors
    /// When loopback cannot be listened on.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same at this address, at which another was before.
    ///
    /// # Errors
    /// As [`start`](Self::start), and while somebody else listens there.
    pub async fn start_at(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            addr,
            world: Mutex::new(World::new()),
            changed: watch::Sender::new(0),
            kicks: broadcast::Sender::new(64),
            released: watch::Sender::new(0),
        });
        let worker = tokio::spawn(server::serve(listener, state.clone()));
        Ok(Self { addr, state, worker })
    }

    /// The address of the Web API.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}/api", self.addr)
    }

    /// There is a person of this id and name.
    pub fn user(&self, id: &str, name: &str) {
        self.change(|world| drop(world.users.insert(id.to_owned(), name.to_owned())));
    }

    /// There is a conversation of this id and name, and the app is in it; one that was there stays as it is. An id that begins with `D` is a private one, whose
    /// name is the user's that it is with.
    pub fn conversation(&self, id: &str, name: &str) {
        self.change(|world| world.add_conversation(id, name));
    }

    /// From now on nobody can write in a conversation.
    pub fn archive(&self, id: &str) {
        self.change(|world| world.archive(id));
    }

    /// The app is removed from a conversation, which it is told.
    pub fn remove_app(&self, id: &str) {
        self.change(|world| world.remove_app(id));
    }

    /// Somebody writes; returns the message's timestamp, which is its id.
    pub fn say(&self, conversation: &str, user: &str, text: &str) -> String {
        self.say_more(conversation, user, text, &json!({}))
    }

    /// The same, with further fields of the event, or others in place of the usual.
    pub fn say_more(&self, conversation: &str, user: &str, text: &str, more: &Value) -> String {
        self.change(|world| world.say(conversation, user, text, more))
    }

    /// Somebody writes with a file of this name and content.
    pub fn say_file(&self, conversation: &str, user: &str, text: &str, name: &str, content: &[u8]) -> String {
        let addr = self.addr;
        self.change(|world| {
            let file = world.keep_file(addr, name, content);
            world.say(conversation, user, text, &json!({"subtype": "file_share", "files": [file]}))
        })
    }

    /// Somebody writes in the thread that begins with the message `thread`.
    pub fn say_in_thread(&self, conversation: &str, user: &str, text: &str, thread: &str) -> String {
        self.say_more(conversation, user, text, &json!({"thread_ts": thread}))
    }

    /// Somebody deletes a message, with which its thread goes.
    pub fn delete(&self, conversation: &str, ts: &str) {
        self.change(|world| world.delete(conversation, ts));
    }

    /// Somebody changes what they wrote.
    pub fn edit(&self, conversation: &str, ts: &str, text: &str) {
        self.change(|world| world.edit(conversation, ts, text));
    }

    /// An event of any kind happens.
    pub fn event(&self, event: Value) {
        self.change(|world| world.happen(event));
    }

    /// The event that happened last is delivered once more, though it was acknowledged.
    pub fn deliver_again(&self) {
        self.change(World::deliver_again);
    }

    /// Events that nobody acknowledged until now are given up: an hour passes.
    pub fn give_up_events(&self) {
        self.change(World::give_up);
    }

    /// From now on a page of a history has at most so many messages, whatever is asked for; for some apps Slack does so.
    pub fn limit_pages(&self, messages: usize) {
        self.change(|world| world.longest_page = messages);
    }

    /// What happens from now on waits.
    pub fn hold_events(&self) {
        self.change(World::hold);
    }

    /// Events that waited for this are delivered, the latest first, and later ones at once.
    pub fn release_events_reversed(&self) {
        self.change(World::release_reversed);
    }

    /// The next call of `method` goes wrong; those after it by what was said later.
    pub fn fail_next(&self, method: &str, fault: Fault) {
        self.change(|world| world.faults.entry(method.to_owned()).or_default().push_back(fault));
    }

    /// The next call of `method` for `conversation` goes wrong; those for others do not.
    pub fn fail_next_in(&self, method: &str, conversation: &str, fault: Fault) {
        self.fail_next(&format!("{method} {conversation}"), fault);
    }

    /// Slow answers are let go.
    pub fn release(&self) {
        self.state.released.send_modify(|count| *count += 1);
    }

    /// The next `count` sockets are refused.
    pub fn refuse_connections(&self, count: usize) {
        self.change(|world| world.refusing = count);
    }

    /// The next `count` acknowledgements are lost, each with its connection.
    pub fn lose_acknowledgements(&self, count: usize) {
        self.change(|world| world.losing = count);
    }

    /// From now on calls with the bot's token, or the app's, are refused.
    pub fn revoke(&self, token: &str) {
        let _ = self.change(|world| world.revoked.insert(token.to_owned()));
    }

    /// From now on a token that was refused is taken.
    pub fn restore(&self, token: &str) {
        let _ = self.change(|world| world.revoked.remove(token));
    }

    /// Open sockets are dropped without a word.
    pub fn drop_connections(&self) {
        let _ = self.state.kicks.send(Kick::Drop);
    }

    /// Open sockets are closed.
    pub fn close_connections(&self) {
        let _ = self.state.kicks.send(Kick::Close);
    }

    /// Open sockets are asked to go, for this reason.
    pub fn disconnect(&self, reason: &str) {
        let _ = self.state.kicks.send(Kick::Disconnect(reason.to_owned()));
    }

    /// What was seen until now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.state.world().seen.clone()
    }

    /// What the app posted in a conversation, oldest first.
    #[must_use]
    pub fn posted(&self, conversation: &str) -> Vec<String> {
        self.seen().posted(conversation)
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

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        self.state.change(change)
    }
}

impl Drop for FakeSlack {
    fn drop(&mut self) {
        self.worker.abort();
        // Sockets are served by workers of their own.
        let _ = self.state.kicks.send(Kick::Drop);
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
