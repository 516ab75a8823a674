//! One scenario on every channel: `every_channel.scenario`, which says what its lines mean, played with the real program, real
//! containers in the sandbox, and each channel's service as its fake has it. The chats must show the same everywhere.
//!
//! What differs by nature, and is made alike by each [`Stage`] before it is compared:
//!
//! * how the assistant is called (`@Andy`, `<@UBOT>`, `@andy_bot`), on the way in;
//! * how bold text is written (Slack's `*`, Telegram's entities, elsewhere Markdown's `**`): the signs are taken away;
//! * that Slack writes `&`, `<` and `>` as entities of HTML;
//! * how a long answer is split: what a chat shows is compared line by line, and all split between lines;
//! * that a further line of a list's item is indented where the service has no lists of its own;
//! * the chat's own id: where one is shown, the scenario's word for the chat stands;
//! * that nobody can hand a file to a terminal: who sits there puts it into the group's folder, and names it.

mod play;
mod script;
mod wire;

#[cfg(feature = "discord")]
mod discord;
#[cfg(feature = "slack")]
pub(crate) mod slack;
#[cfg(feature = "telegram")]
pub(crate) mod telegram;
pub(crate) mod whatsapp;

use std::fmt;

use self::play::play_on;
use crate::{place::Place, process::until};

/// A chat of the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chat {
    Family,
    Club,
}

impl Chat {
    const ALL: [Self; 2] = [Self::Family, Self::Club];

    /// The scenario's word for it; its group has a folder of this name.
    fn word(self) -> &'static str {
        match self {
            Self::Family => "family",
            Self::Club => "club",
        }
    }
}

impl fmt::Display for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Somebody who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Person {
    Ann,
    Bob,
}

/// What somebody writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    who: Person,
    chat: Chat,
    /// `@Andy` in it calls the assistant.
    text: String,
    /// Name and content of a file that comes with it.
    file: Option<(String, String)>,
}

/// How the assistant is called in the scenario.
const ANDY: &str = "@Andy";

/// A channel as people have it: a service with two chats, the home's configuration for it, and what can go wrong with it.
pub(crate) trait Stage {
    /// The channel's name, as `nanoclaw channels` shows it.
    fn channel(&self) -> &'static str;

    /// The chat's id, as `groups add` takes it.
    fn address(&self, chat: Chat) -> String;

    /// Waits until a host that has just started hears what is said.
    fn host_is_up(&self, place: &Place) {
        until("it is connected", || {
            let channels = place.json(["channels", "--json"]);
            let state = channels.as_array()?.iter().find(|channel| channel["name"] == self.channel())?;
            (state["connected"] == true).then_some(())
        });
    }

    /// Somebody writes, whether a host is there or not.
    fn say(&self, place: &Place, said: &Said);

    /// What a chat shows that came from the assistant, oldest first, without what differs by nature.
    fn shown(&self, chat: Chat) -> Vec<String>;

    /// All connections that the channel has are dropped without a farewell; what is said next finds none of them.
    fn drop_connections(&self);

    /// What the service remembers for some minutes only is forgotten.
    fn minutes_pass(&self) {}

    /// How many messages that were heard before are handed in again to each host that starts.
    fn heard_again(&self) -> usize {
        0
    }

    /// What the service keeps secret, and nobody may find in a log.
    fn secrets(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Looks at the end at what this service alone knows.
    fn look_back(&self) {}
}

#[test]
fn the_scenario_on_the_terminal() {
    play_on(wire::Terminals::at);
}

#[test]
fn the_scenario_on_a_bridge() {
    play_on(wire::Bridged::at);
}

#[cfg(feature = "slack")]
#[test]
fn the_scenario_on_slack() {
    play_on(slack::Slack::at);
}

#[cfg(feature = "discord")]
#[test]
fn the_scenario_on_discord() {
    play_on(discord::Discord::at);
}

#[cfg(feature = "telegram")]
#[test]
fn the_scenario_on_telegram() {
    play_on(telegram::Telegram::at);
}

#[test]
fn the_scenario_on_whatsapp() {
    play_on(whatsapp::WhatsApp::at);
}

/// Drops connections by `drop`, and waits until they are gone, or are made anew already; `counts` is how many are open, and were opened.
fn dropped(counts: impl Fn() -> (usize, usize), drop: impl FnOnce()) {
    let (_, before) = counts();
    drop();
    until("the connection is gone", || {
        let (open, opened) = counts();
        (open == 0 || opened > before).then_some(())
    });
}

/// What the fake services of a test run on.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
