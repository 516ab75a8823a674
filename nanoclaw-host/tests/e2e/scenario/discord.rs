//! Discord, as its fake has it.

use nanoclaw_fakes::discord::FakeDiscord;
use tokio::runtime::Runtime;

use super::{ANDY, Chat, Person, Said, Stage, dropped, runtime};
use crate::place::Place;

pub(super) struct Discord {
    fake: FakeDiscord,
    _runtime: Runtime,
}

impl Discord {
    pub(super) fn at(place: &Place) -> Self {
        let runtime = runtime();
        let fake = runtime.block_on(FakeDiscord::start()).unwrap();
        for chat in Chat::ALL {
            fake.channel(id(chat), chat.word());
        }
        place.configure(&format!("[channels.discord]\napi_url = \"{}\"\n", fake.api_url()));
        place.credential(&format!("DISCORD_BOT_TOKEN={}", FakeDiscord::BOT_TOKEN));
        Self { fake, _runtime: runtime }
    }
}

impl Stage for Discord {
    fn channel(&self) -> &'static str {
        "discord"
    }

    fn address(&self, chat: Chat) -> String {
        format!("dc:{}", id(chat))
    }

    fn say(&self, _place: &Place, said: &Said) {
        let user = match said.who {
            Person::Ann => "11",
            Person::Bob => "12",
        };
        let text = said.text.replace(ANDY, &format!("<@{}>", FakeDiscord::BOT_USER));
        match &said.file {
            None => self.fake.say(id(said.chat), user, &text),
            Some((name, content)) => self.fake.say_file(id(said.chat), user, &text, name, content.as_bytes()),
        };
    }

    fn shown(&self, chat: Chat) -> Vec<String> {
        self.fake.posted(id(chat)).into_iter().map(|text| text.replace("**", "")).collect()
    }

    fn drop_connections(&self) {
        let counts = || {
            let seen = self.fake.seen();
            (seen.open, seen.connections)
        };
        dropped(counts, || self.fake.drop_connections());
    }

    /// After them Discord would show twice what is sent twice with the same nonce.
    fn minutes_pass(&self) {
        self.fake.forget_nonces();
    }

    /// How far a chat was heard is known to the millisecond, so the last one of each is asked for again.
    fn heard_again(&self) -> usize {
        Chat::ALL.len()
    }

    fn secrets(&self) -> Vec<&'static str> {
        vec![FakeDiscord::BOT_TOKEN]
    }

    fn look_back(&self) {
        assert!(!self.fake.seen().resumed.is_empty(), "a session was gone on with");
        let first = self.fake.seen().replied_to(id(Chat::Club)).remove(0);
        assert_eq!(first.as_deref(), Some("<@99> hello"), "an answer replies to what was asked");
    }
}

fn id(chat: Chat) -> &'static str {
    match chat {
        Chat::Family => "20",
        Chat::Club => "21",
    }
}
