//! Telegram, as its fake has it.

use std::{cell::RefCell, sync::Arc};

use nanoclaw_fakes::{
    kill::Chance,
    telegram::{FakeTelegram, Fault},
};
use nanoclaw_host::home::Home;
use tokio::runtime::Handle;

use super::Service;
use crate::telegram_state;

/// The call by which a message is posted.
const POST: &str = "messages.sendMessage";

/// Supergroups and basic groups in turns.
pub(crate) struct Telegram {
    pub(crate) fake: Arc<FakeTelegram>,
    seen: usize,
    on: Handle,
}

impl Telegram {
    /// With so many chats. The client in `home` has been there before.
    pub(crate) async fn start(home: &Home, chats: usize) -> Self {
        let fake = Arc::new(FakeTelegram::start().await.unwrap());
        (0..chats).for_each(|chat| fake.chat(id_of(chat), "group"));
        telegram_state::know(&home.auth().join("telegram.db"), &fake.access()).await;
        Self { fake, seen: 0, on: Handle::current() }
    }
}

impl Service for Telegram {
    fn name(&self) -> &'static str {
        "telegram"
    }

    fn address(&self, chat: usize) -> String {
        format!("tg:{}", id_of(chat))
    }

    fn configuration(&self) -> String {
        "[channels.telegram]\nenabled = true\n".to_owned()
    }

    fn say(&mut self, chat: usize, text: &str) {
        self.fake.say(id_of(chat), 1001, text);
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
            news.replace(seen.sent[from..].iter().map(|sent| (chat_of(sent.chat), sent.shown())).collect());
            true
        }));
        self.seen += news.borrow().len();
        news.into_inner()
    }

    fn trip(&mut self, chance: &mut Chance) -> &'static str {
        let (fault, name) = match chance.below(4) {
            0 => (Fault::FloodWait { seconds: 1 }, "FLOOD_WAIT on sending"),
            1 => (Fault::Slow, "a slow answer to a message"),
            2 => (Fault::Stuck, "a message stuck on its way"),
            _ => {
                self.fake.push_again();
                return "an update told twice";
            }
        };
        self.fake.fail_next(POST, fault);
        name
    }

    /// There is one connection, so a call that is dropped takes it along.
    fn lose_connections(&mut self, chance: &mut Chance) -> &'static str {
        let (fault, name) = match chance.below(5) {
            0 => (Fault::DropBefore, "dropped before a message is handled"),
            1 => (Fault::DropAfter, "dropped after a message is handled"),
            2 => (Fault::Half, "dropped in the middle of an answer"),
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

fn id_of(chat: usize) -> i64 {
    let number = 100 + i64::try_from(chat).expect("chats are few");
    if chat.is_multiple_of(2) { FakeTelegram::SUPERGROUP - number } else { -number }
}

fn chat_of(id: i64) -> usize {
    let number = if id < FakeTelegram::SUPERGROUP { FakeTelegram::SUPERGROUP - id } else { -id };
    usize::try_from(number - 100).expect("it is one of ours")
}
