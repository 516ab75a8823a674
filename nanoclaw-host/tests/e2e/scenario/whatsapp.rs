//! WhatsApp, as its fake has it, and its client, which the host runs.

use nanoclaw_fakes::whatsapp::{FakeWhatsApp, File, Said as SaidThere};
use tokio::runtime::Runtime;

use super::{ANDY, Chat, Person, Said, Stage, dropped, runtime};
use crate::{place::Place, programs, whatsapp_account};

pub(crate) struct WhatsApp {
    pub(crate) fake: FakeWhatsApp,
    pub(crate) on: Runtime,
}

impl WhatsApp {
    pub(crate) fn at(place: &Place) -> Self {
        let runtime = runtime();
        let fake = runtime.block_on(FakeWhatsApp::start()).unwrap();
        for chat in Chat::ALL {
            fake.group(id(chat), chat.word());
        }
        // It is told where WhatsApp is by its environment, which no configuration says.
        let script = place.home().root().join("nanoclaw-whatsapp");
        place.configure(&format!("[channels.whatsapp]\nprogram = {:?}\n", script.to_str().unwrap()));
        whatsapp_account::script(&script, programs::whatsapp(), &fake);
        runtime.block_on(link(place, &fake));
        Self { fake, on: runtime }
    }
}

/// A phone links the account.
pub(crate) async fn link(place: &Place, fake: &FakeWhatsApp) {
    whatsapp_account::link(&place.home().auth().join("whatsapp.db"), fake).await;
}

impl Stage for WhatsApp {
    fn channel(&self) -> &'static str {
        "whatsapp"
    }

    fn address(&self, chat: Chat) -> String {
        id(chat).to_owned()
    }

    fn say(&self, _place: &Place, said: &Said) {
        let user = match said.who {
            Person::Ann => FakeWhatsApp::ANN,
            Person::Bob => FakeWhatsApp::BOB,
        };
        let number = FakeWhatsApp::BOT.split('@').next().unwrap();
        let mut there = SaidThere::text(&said.text.replace(ANDY, &format!("@{number}")));
        if said.text.contains(ANDY) {
            there = there.mention(FakeWhatsApp::BOT);
        }
        if let Some((name, content)) = &said.file {
            there = there.file(File::document(name, "text/plain", content.as_bytes()));
        }
        self.fake.say_more(id(said.chat), user, there);
    }

    fn shown(&self, chat: Chat) -> Vec<String> {
        self.fake.posted(id(chat)).into_iter().map(|text| text.replace('*', "")).collect()
    }

    fn drop_connections(&self) {
        let counts = || {
            let seen = self.fake.seen();
            (seen.open, seen.connections)
        };
        dropped(counts, || self.fake.drop_connections());
    }

    fn look_back(&self) {
        let seen = self.fake.seen();
        assert_eq!(seen.unknown, [] as [&str; 0], "the fake knows all that was asked");
        assert_eq!(seen.unreadable, [] as [&str; 0], "everybody can read what it says");
        assert!(seen.typing.iter().any(|(chat, _)| chat == id(Chat::Family)), "that it is at work is shown");
        assert!(seen.repeats >= 1, "what nobody recorded was sent again, and shown once");
        assert!(seen.sent.iter().any(|sent| sent.answers.is_some()), "answers quote what was asked");
    }
}

fn id(chat: Chat) -> &'static str {
    match chat {
        Chat::Family => "120363000000000001@g.us",
        Chat::Club => "120363000000000002@g.us",
    }
}
