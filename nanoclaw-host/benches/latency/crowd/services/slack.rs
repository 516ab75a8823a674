//! Slack, as its fake has it.

use std::{cell::RefCell, sync::Arc};

use nanoclaw_fakes::{
    kill::Chance,
    slack::{FakeSlack, Fault},
};
use serde_json::Value;
use tokio::runtime::Handle;

use super::{Service, number_after};

/// The call by which a message is posted.
const POST: &str = "chat.postMessage";

pub(crate) struct Slack {
    pub(crate) fake: Arc<FakeSlack>,
    seen: usize,
    on: Handle,
}

impl Slack {
    /// With so many chats.
    pub(crate) async fn start(chats: usize) -> Self {
        let fake = Arc::new(FakeSlack::start().await.unwrap());
        (0..chats).for_each(|chat| fake.conversation(&id_of(chat), "group"));
        Self { fake, seen: 0, on: Handle::current() }
    }
}

impl Service for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn address(&self, chat: usize) -> String {
        format!("slack:{}", id_of(chat))
    }

    fn configuration(&self) -> String {
        format!("[channels.slack]\napi_url = \"{}\"\n", self.fake.api_url())
    }

    fn say(&mut self, chat: usize, text: &str) {
        self.fake.say(&id_of(chat), "U1", text);
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
            0 => (Fault::Limited { seconds: 1 }, "429 on posting"),
            1 => (Fault::DropBefore, "a post dropped before it is handled"),
            2 => (Fault::DropAfter, "a post dropped after it is handled"),
            3 => (Fault::Half, "half an answer to a post"),
            4 => (Fault::Slow, "a slow answer to a post"),
            5 => (Fault::Status(503), "503 on posting"),
            6 => {
                self.fake.fail_next("conversations.history", Fault::Limited { seconds: 1 });
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

fn id_of(chat: usize) -> String {
    format!("C{chat}")
}
