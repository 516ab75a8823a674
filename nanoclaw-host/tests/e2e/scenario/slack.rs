//! Slack, as its fake has it.

use nanoclaw_fakes::slack::FakeSlack;
use tokio::runtime::Runtime;

use super::{ANDY, Chat, Person, Said, Stage, dropped, runtime};
use crate::place::Place;

pub(crate) struct Slack {
    pub(crate) fake: FakeSlack,
    _runtime: Runtime,
}

impl Slack {
    pub(crate) fn at(place: &Place) -> Self {
        let runtime = runtime();
        let fake = runtime.block_on(FakeSlack::start()).unwrap();
        for chat in Chat::ALL {
            fake.conversation(id(chat), chat.word());
        }
        place.configure(&format!("[channels.slack]\napi_url = \"{}\"\n", fake.api_url()));
        let (bot, app) = (FakeSlack::BOT_TOKEN, FakeSlack::APP_TOKEN);
        place.credential(&format!("SLACK_BOT_TOKEN={bot}\nSLACK_APP_TOKEN={app}"));
        Self { fake, _runtime: runtime }
    }
}

impl Stage for Slack {
    fn channel(&self) -> &'static str {
        "slack"
    }

    fn address(&self, chat: Chat) -> String {
        format!("slack:{}", id(chat))
    }

    fn say(&self, _place: &Place, said: &Said) {
        let user = match said.who {
            Person::Ann => "U1",
            Person::Bob => "U2",
        };
        let text = said.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let text = text.replace(ANDY, &format!("<@{}>", FakeSlack::BOT_USER));
        match &said.file {
            None => self.fake.say(id(said.chat), user, &text),
            Some((name, content)) => self.fake.say_file(id(said.chat), user, &text, name, content.as_bytes()),
        };
    }

    fn shown(&self, chat: Chat) -> Vec<String> {
        let plain =
            |text: String| text.replace('*', "").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        self.fake.posted(id(chat)).into_iter().map(plain).collect()
    }

    fn drop_connections(&self) {
        let counts = || {
            let seen = self.fake.seen();
            (seen.open, seen.connections)
        };
        dropped(counts, || self.fake.drop_connections());
    }

    /// How far a chat was heard is known to the millisecond, so the last one of each is asked for again.
    fn heard_again(&self) -> usize {
        Chat::ALL.len()
    }

    fn secrets(&self) -> Vec<&'static str> {
        vec![FakeSlack::BOT_TOKEN, FakeSlack::APP_TOKEN]
    }
}

fn id(chat: Chat) -> &'static str {
    match chat {
        Chat::Family => "C1",
        Chat::Club => "C2",
    }
}
