//! WhatsApp, as its fake has it, and the program `nanoclaw-whatsapp`, which the host starts.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    sync::Arc,
};

use nanoclaw_fakes::{
    kill::Chance,
    whatsapp::{FakeWhatsApp, Fault},
};
use nanoclaw_host::home::Home;
use tokio::runtime::Handle;

use super::{Service, number_after};
use crate::whatsapp_account;

/// How a group's id begins.
const GROUP: &str = "120363000000";
/// The stanza by which a message is sent.
const POST: &str = "message";

pub(crate) struct WhatsApp {
    pub(crate) fake: Arc<FakeWhatsApp>,
    /// What is to be started.
    pub(crate) script: PathBuf,
    /// The latest that somebody wrote: its chat and id.
    last: Option<(String, String)>,
    seen: usize,
    on: Handle,
}

impl WhatsApp {
    /// With so many chats, and an account in all of them that is linked in `home`.
    pub(crate) async fn start(home: &Home, program: &Path, chats: usize) -> Self {
        let fake = Arc::new(FakeWhatsApp::start().await.unwrap());
        (0..chats).for_each(|chat| fake.group(&id_of(chat), "group"));
        whatsapp_account::link(&home.auth().join("whatsapp.db"), &fake).await;
        let script = home.root().join("nanoclaw-whatsapp");
        whatsapp_account::script(&script, program, &fake);
        Self { fake, script, last: None, seen: 0, on: Handle::current() }
    }
}

impl Service for WhatsApp {
    fn name(&self) -> &'static str {
        "whatsapp"
    }

    fn address(&self, chat: usize) -> String {
        id_of(chat)
    }

    fn configuration(&self) -> String {
        format!("[channels.whatsapp]\nenabled = true\nprogram = {:?}\n", self.script)
    }

    fn say(&mut self, chat: usize, text: &str) {
        let chat = id_of(chat);
        let id = self.fake.say(&chat, FakeWhatsApp::ANN, text);
        self.last = Some((chat, id));
    }

    fn news(&mut self) -> Vec<(usize, String)> {
        let news = RefCell::new(Vec::new());
        let from = self.seen;
        self.on.block_on(self.fake.wait_until("a look", |seen| {
            news.replace(seen.sent[from..].iter().map(|sent| (chat_of(&sent.chat), sent.shown())).collect());
            true
        }));
        self.seen += news.borrow().len();
        news.into_inner()
    }

    fn trip(&mut self, chance: &mut Chance) -> &'static str {
        let (fault, name) = match chance.below(3) {
            0 => (Fault::Error(500), "500 on sending"),
            1 => (Fault::Slow, "a slow acknowledgement of a message"),
            _ => {
                if let Some((chat, id)) = &self.last {
                    self.fake.say_twice(chat, id);
                }
                return "a message told twice";
            }
        };
        self.fake.fail_next(POST, fault);
        name
    }

    fn lose_connections(&mut self, chance: &mut Chance) -> &'static str {
        let (fault, name) = match chance.below(5) {
            0 => (Fault::DropBefore, "dropped before a message is handled"),
            1 => (Fault::DropAfter, "dropped after a message is handled"),
            2 => {
                self.fake.refuse_connections(1);
                self.fake.drop_connections();
                return "the connection dropped and the next refused";
            }
            3 => {
                self.fake.end_stream(515);
                return "asked to connect anew";
            }
            _ => {
                self.fake.drop_connections();
                return "the connection dropped";
            }
        };
        self.fake.fail_next(POST, fault);
        name
    }

    fn release(&mut self) {
        self.fake.release();
    }

    fn be_well(&mut self) {
        self.fake.refuse_connections(0);
    }
}

fn id_of(chat: usize) -> String {
    format!("{GROUP}{chat:06}@g.us")
}

fn chat_of(id: &str) -> usize {
    number_after(GROUP, id.trim_end_matches("@g.us"))
}
