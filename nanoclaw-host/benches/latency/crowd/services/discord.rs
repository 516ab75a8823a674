//! Discord, as its fake has it.

use std::{cell::RefCell, sync::Arc};

use nanoclaw_fakes::{
    discord::{FakeDiscord, Fault, HISTORY, POST},
    kill::Chance,
};
use serde_json::Value;
use tokio::runtime::Handle;

use super::{Service, number_after};

pub(crate) struct Discord {
    pub(crate) fake: Arc<FakeDiscord>,
    seen: usize,
    on: Handle,
}

impl Discord {
    /// With so many chats.
    pub(crate) async fn start(chats: usize) -> Self {
        let fake = Arc::new(FakeDiscord::start().await.unwrap());
        (0..chats).for_each(|chat| fake.channel(&id_of(chat), "group"));
        Self { fake, seen: 0, on: Handle::current() }
    }
}

impl Service for Discord {
    fn name(&self) -> &'static str {
        "discord"
    }

    fn address(&self, chat: usize) -> String {
        format!("dc:{}", id_of(chat))
    }

    fn configuration(&self) -> String {
        format!("[channels.discord]\napi_url = \"{}\"\n", self.fake.api_url())
    }

    fn say(&mut self, chat: usize, text: &str) {
        self.fake.say(&id_of(chat), "11", text);
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
            0 => (Fault::Limited { seconds: 1 }, "429 on posting"),
            1 => (Fault::DropBefore, "a post dropped before it is handled"),
            2 => (Fault::DropAfter, "a post dropped after it is handled"),
            3 => (Fault::Half, "half an answer to a post"),
            4 => (Fault::Slow, "a slow answer to a post"),
            5 => (Fault::Status(502), "502 on posting"),
            6 => {
                self.fake.fail_next(HISTORY, Fault::Limited { seconds: 1 });
                return "429 on looking up";
            }
            _ => {
                self.fake.deliver_again();
                return "an event delivered twice";
            }
        };
        self.fake.fail_next(POST, fault);
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

fn id_of(chat: usize) -> String {
    format!("1{chat:03}")
}
