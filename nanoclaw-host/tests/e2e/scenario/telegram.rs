//! Telegram, as its fake has it: a supergroup and a basic group.

use nanoclaw_fakes::telegram::{FakeTelegram, File};
use tokio::runtime::Runtime;

use super::{ANDY, Chat, Person, Said, Stage, dropped, runtime};
use crate::{place::Place, telegram_state};

pub(crate) struct Telegram {
    pub(crate) fake: FakeTelegram,
    _runtime: Runtime,
}

impl Telegram {
    pub(crate) fn at(place: &Place) -> Self {
        let runtime = runtime();
        let fake = runtime.block_on(FakeTelegram::start()).unwrap();
        for chat in Chat::ALL {
            fake.chat(id(chat), chat.word());
        }
        place.configure("[channels.telegram]\nenabled = true\n");
        let (id, hash, token) = (FakeTelegram::API_ID, FakeTelegram::API_HASH, FakeTelegram::BOT_TOKEN);
        place.credential(&format!("TELEGRAM_API_ID={id}\nTELEGRAM_API_HASH={hash}\nTELEGRAM_BOT_TOKEN={token}"));
        runtime.block_on(telegram_state::know(&place.home().auth().join("telegram.db"), &fake.access()));
        Self { fake, _runtime: runtime }
    }
}

impl Stage for Telegram {
    fn channel(&self) -> &'static str {
        "telegram"
    }

    fn address(&self, chat: Chat) -> String {
        format!("tg:{}", id(chat))
    }

    fn say(&self, _place: &Place, said: &Said) {
        let user = match said.who {
            Person::Ann => 1001,
            Person::Bob => 1002,
        };
        let text = said.text.replace(ANDY, &format!("@{}", FakeTelegram::BOT_USERNAME));
        match &said.file {
            None => self.fake.say(id(said.chat), user, &text),
            Some((name, content)) => {
                let file = File::document(name, "text/plain", content.as_bytes());
                self.fake.say_file(id(said.chat), user, &text, file)
            }
        };
    }

    /// What is bold is so by an entity, not by signs.
    fn shown(&self, chat: Chat) -> Vec<String> {
        self.fake.posted(id(chat))
    }

    fn drop_connections(&self) {
        let counts = || {
            let seen = self.fake.seen();
            (seen.open, seen.connections)
        };
        dropped(counts, || self.fake.drop_connections());
    }

    fn secrets(&self) -> Vec<&'static str> {
        vec![FakeTelegram::BOT_TOKEN, FakeTelegram::API_HASH]
    }

    fn look_back(&self) {
        let seen = self.fake.seen();
        assert_eq!(seen.unknown, [] as [&str; 0], "the fake knows all that was asked");
        assert!(seen.actions.iter().any(|(chat, ..)| *chat == id(Chat::Family)), "that it is at work is shown");
        assert!(seen.repeats >= 1, "what nobody recorded was sent again, and shown once");
        assert!(seen.sent.iter().any(|sent| sent.reply_to.is_some()), "answers reply to what was asked");
    }
}

fn id(chat: Chat) -> i64 {
    match chat {
        Chat::Family => FakeTelegram::SUPERGROUP - 55,
        Chat::Club => -42,
    }
}
