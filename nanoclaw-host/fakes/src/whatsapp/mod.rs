//! A fake of WhatsApp on loopback: a server of the multi-device protocol, as far as a linked device needs it, with people who encrypt what they
//! say and decrypt what the device says, and faults on command.
//!
//! **Licence.** This module is behind the feature `whatsapp`, which is off by default. It links `wacore` and its parts, many files of which
//! carry the header `AGPL-3.0-only`, whatever their manifests say. So it is for tests and tours, and nothing that is shipped turns it on.
//!
//! A client reaches it at [`FakeWhatsApp::url`], a `ws://` address of 127.0.0.1. It is told its version, so that it does not ask the real
//! service for it. There are two ways to be let in:
//!
//! * [`FakeWhatsApp::link`] makes a new device of the client's store look as after it was linked. The client knows the server's key then, and
//!   no certificate is checked. This needs nothing that a program that is shipped does not have:
//!   ```no_run
//!   # async fn example(store: &dyn wacore::store::traits::Backend) -> Result<(), Box<dyn std::error::Error>> {
//!   use nanoclaw_fakes::whatsapp::FakeWhatsApp;
//!   let whatsapp = FakeWhatsApp::start().await?;
//!   let mut device = wacore::store::Device::new();
//!   whatsapp.link(&mut device);
//!   store.create().await?;
//!   store.save(&device).await?;
//!   // … start the client with this store and whatsapp.url() …
//!   # Ok(()) }
//!   ```
//! * [`FakeWhatsApp::scan`] is the owner's phone in front of the QR code that a client shows. The first handshake checks a certificate
//!   against WhatsApp's own key, which a fake cannot have, and so does the one after it: such a test needs the feature `danger-skip-cert-chain-verify` of `whatsapp-rust`,
//!   in `[dev-dependencies]` and nowhere else.
//!
//! Chats and people are named by their addresses: a person by number, as [`FakeWhatsApp::ANN`], who has another by which they are known where
//! numbers are hidden ([`FakeWhatsApp::lid_of`]), and a group as `120363000000000001@g.us`. People are made to write with
//! [`FakeWhatsApp::say`]; what the client sends is in [`FakeWhatsApp::posted`]. What is said is encrypted once, and told on every connection
//! until the client said that it has it, by a receipt or an acknowledgement: whoever missed it, because it was away or died before that, hears
//! it at its next login.
//!
//! Ids make messages one: what the client sends again with an id that was there is acknowledged, counted in [`Seen::repeats`], and shown no
//! second time. Who cannot read a message asks for it again, and so does the client: a message that was lost or refused in a group may have had
//! the key in it to those after it.
//!
//! Files are kept at the same address, without TLS. The client library asks for them at `https://` and the host that it is told, so the
//! `HttpClient` that a program gives it has to leave TLS away for this host, as [`FakeWhatsApp::plain`] does.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use nanoclaw_fakes::whatsapp::{FakeWhatsApp, Fault};
//! const FAMILY: &str = "120363000000000001@g.us";
//! let whatsapp = FakeWhatsApp::start().await?;
//! whatsapp.group(FAMILY, "Family");
//! whatsapp.fail_next("message", Fault::DropAfter);
//! // … link and start what is to be tested …
//! whatsapp.wait_until("it is there", |seen| seen.active > 0).await;
//! whatsapp.say(FAMILY, FakeWhatsApp::ANN, "@Andy hello");
//! whatsapp.wait_until("an answer", |seen| !seen.posted(FAMILY).is_empty()).await;
//! # Ok(()) }
//! ```

mod account;
mod commands;
mod connection;
mod delivery;
mod faults;
mod link;
mod linking;
mod login;
mod media;
mod nodes;
mod noise;
mod party;
mod people;
mod queries;
mod said;
mod seen;
mod sent;
mod server;
mod stanzas;
mod stores;
mod world;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use wacore::libsignal::protocol::KeyPair;

use self::world::World;
pub use self::{
    faults::Fault,
    media::{File, FileKind},
    noise::Handshake,
    people::Addressing,
    said::Said,
    seen::{Receipt, Seen, Sent},
};
/// What [`FakeWhatsApp::link`] is given, and what a client's store does to keep it.
pub use wacore::store::{Device, traits::DeviceStore};

/// How long [`FakeWhatsApp::wait_until`] waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The running fake. It stops listening when it is dropped.
pub struct FakeWhatsApp {
    state: Arc<State>,
    worker: JoinHandle<()>,
    address: SocketAddr,
}

/// What the server and the handle share.
struct State {
    /// The server's own, by which clients know it.
    keys: KeyPair,
    world: Mutex<World>,
    /// Counts up when the world has changed.
    changed: watch::Sender<u64>,
    /// Counts up when slow answers are let go.
    released: watch::Sender<u64>,
}

/// The fake itself, and what there is in it.
impl FakeWhatsApp {
    /// The account's address by number.
    pub const BOT: &str = "15550009999@s.whatsapp.net";
    /// The account's address where numbers are hidden.
    pub const BOT_LID: &str = "900000000000001@lid";
    /// The client's own address: the account's, with the number of the device.
    pub const BOT_DEVICE: &str = "15550009999:7@s.whatsapp.net";
    /// The same where numbers are hidden.
    pub const BOT_LID_DEVICE: &str = "900000000000001:7@lid";
    /// The account's name.
    pub const BOT_NAME: &str = "Andy";
    /// The chat in which people tell something to all that know them.
    pub const STATUS: &str = "status@broadcast";
    /// Somebody who is there from the beginning.
    pub const ANN: &str = "15550001001@s.whatsapp.net";
    /// Somebody else.
    pub const BOB: &str = "15550001002@s.whatsapp.net";

    /// Listens on a free port of 127.0.0.1. There are Ann and Bob, and no groups.
    ///
    /// # Errors
    /// When loopback cannot be listened on.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            keys: KeyPair::generate(&mut rand::rng()),
            world: Mutex::new(World::new()),
            changed: watch::Sender::new(0),
            released: watch::Sender::new(0),
        });
        let worker = tokio::spawn(server::serve(listener, state.clone()));
        let fake = Self { state, worker, address };
        fake.change(|world| world.media.host = address.to_string());
        fake.person(Self::ANN, "Ann");
        fake.person(Self::BOB, "Bob");
        Ok(fake)
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/ws/chat", self.address)
    }

    /// Where a file is in truth of which the client library thinks that it is at `url`: the same without TLS. Others stay as they are.
    #[must_use]
    pub fn plain(&self, url: &str) -> String {
        url.replacen(&format!("https://{}/", self.address), &format!("http://{}/", self.address), 1)
    }

    /// There is a person of this address, by number, and this name. They are in groups that are made later.
    pub fn person(&self, address: &str, name: &str) {
        self.change(|world| world.people.add(address, name));
    }

    /// There is a group of this address and name with everybody in it, the bot too; one that was there stays as it is.
    pub fn group(&self, address: &str, name: &str) {
        self.change(|world| world.people.add_group(address, name, Addressing::Numbers, true));
    }

    /// The same in which numbers are hidden: everybody is addressed by the other address.
    pub fn group_of_lids(&self, address: &str, name: &str) {
        self.change(|world| world.people.add_group(address, name, Addressing::Lids, true));
    }

    /// The same as [`FakeWhatsApp::group`] without the bot in it.
    pub fn group_without_bot(&self, address: &str, name: &str) {
        self.change(|world| world.people.add_group(address, name, Addressing::Numbers, false));
    }

    /// The address by which somebody is known where numbers are hidden.
    ///
    /// # Panics
    /// When there is no such person.
    #[must_use]
    pub fn lid_of(&self, address: &str) -> String {
        let world = self.state.world();
        world.people.get(address).expect("a test asks of people whom it added").lid.clone()
    }
}

/// What was seen.
impl FakeWhatsApp {
    /// What was seen until now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.state.world().seen.clone()
    }

    /// What the client sent to a chat, oldest first, each as [`Sent::shown`].
    #[must_use]
    pub fn posted(&self, chat: &str) -> Vec<String> {
        self.seen().posted(chat)
    }

    /// Waits until what was seen is so. `so` must not ask the fake, which waits for it.
    ///
    /// # Panics
    /// When it is not so within 20 seconds; `what` is said then, with all that was seen. Also when the client asks for something that this
    /// fake does not know.
    pub async fn wait_until(&self, what: &str, so: impl Fn(&Seen) -> bool) {
        let mut changed = self.state.changed.subscribe();
        let waiting = async {
            loop {
                changed.borrow_and_update();
                {
                    let seen = &self.state.world().seen;
                    assert!(seen.unknown.is_empty(), "the client asks what the fake does not know: {:?}", seen.unknown);
                    if so(seen) {
                        return;
                    }
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

impl Drop for FakeWhatsApp {
    fn drop(&mut self) {
        self.worker.abort();
        // Connections outlive the worker.
        self.change(World::drop_all);
    }
}

impl State {
    fn world(&self) -> MutexGuard<'_, World> {
        // A test that panics while it is held has failed already.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world();
        let changed = change(&mut world);
        world.seen.keys_left = world.account.keys_left();
        world.seen.waiting = world.queue.len();
        drop(world);
        self.changed.send_modify(|count| *count += 1);
        changed
    }
}
