//! Plays the scenario on a stage, and compares what its chats show.

use std::collections::BTreeMap;

use rustix::process::Signal;

use super::{
    Chat, Said, Stage,
    script::{Step, steps},
};
use crate::{
    place::{On, Place},
    process::{Running, until},
};

const SCENARIO: &str = include_str!("every_channel.scenario");

/// Plays it in a new place, in the sandbox.
pub(super) fn play_on<S: Stage>(stage: impl FnOnce(&Place) -> S) {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let stage = stage(&place);
    for chat in Chat::ALL {
        let (address, word) = (stage.address(chat), chat.word());
        place.run(["groups", "add", &address, "--name", word, "--folder", word]).succeeded();
    }
    let mut play = Play { place: &place, stage: &stage, host: None, shown: BTreeMap::new(), said: 0 };
    let mut about = String::new();
    for (line, step) in steps(SCENARIO) {
        match step {
            Step::About(title) => about = title,
            step => play.act(&step, &format!("line {line}, {about}")),
        }
    }
    play.look_back();
}

struct Play<'a, S> {
    place: &'a Place,
    stage: &'a S,
    host: Option<Running>,
    /// What each chat has to have shown by now, line by line.
    shown: BTreeMap<Chat, Vec<String>>,
    said: usize,
}

impl<S: Stage> Play<'_, S> {
    fn act(&mut self, step: &Step, line: &str) {
        match step {
            Step::About(_) => {}
            Step::Says(said) => self.say(said),
            Step::Shows(chat, lines) => {
                self.shown.entry(*chat).or_default().extend(lines.iter().cloned());
                self.compare(*chat, line);
            }
            Step::HostStarts(dies_at) => {
                self.host = Some(match dies_at {
                    Some(point) => self.place.service_that_dies_at(&format!("{point}:{}", self.passing(point))),
                    None => self.place.service(),
                });
                self.stage.host_is_up(self.place);
            }
            Step::HostIsDead => {
                let host = self.host.take().expect("a host was started");
                assert_eq!(host.ended().code, None, "{line}: it was killed");
            }
            Step::HostEnds => {
                self.all_is_sent();
                let host = self.host.take().expect("a host was started");
                host.signal(Signal::TERM);
                assert_eq!(host.ended().code, Some(0), "{line}");
            }
            Step::ConnectionsDrop => self.stage.drop_connections(),
            Step::MinutesPass => self.stage.minutes_pass(),
            Step::FileIsPut { chat, name, content } => {
                std::fs::write(self.place.group(chat.word()).join(name), content).unwrap();
            }
        }
    }

    /// At which passing of a failpoint a host has something new in its hands.
    fn passing(&self, point: &str) -> usize {
        1 + if point.starts_with("store.accept.") { self.stage.heard_again() } else { 0 }
    }

    fn say(&mut self, said: &Said) {
        self.said += 1;
        self.stage.say(self.place, said);
    }

    /// Waits until a chat shows as much as it has to; it must be just that.
    fn compare(&self, chat: Chat, line: &str) {
        let expected = &self.shown[&chat];
        let seen = until(&format!("{line}: {chat} shows {:?}", expected.last()), || {
            let seen = self.seen(chat);
            // What is wrong is told at once, not when the patience ends.
            let is_more = seen.len() < expected.len() && expected.starts_with(&seen);
            (!is_more).then_some(seen)
        });
        let beginning = &seen[..expected.len().min(seen.len())];
        if beginning != expected.as_slice() {
            let same = beginning.iter().zip(expected).take_while(|(seen, expected)| seen == expected).count();
            panic!("{line}: {chat} shows {:#?} where {:#?} was to come", &seen[same..], &expected[same..]);
        }
    }

    /// What a chat shows, as lines without their indentation, with the chat's word for its id.
    fn seen(&self, chat: Chat) -> Vec<String> {
        let address = self.stage.address(chat);
        let shown = self.stage.shown(chat);
        let lines = shown.iter().flat_map(|text| text.lines());
        lines.map(|line| line.trim_start().replace(&address, chat.word())).collect()
    }

    fn all_is_sent(&self) {
        until("everything is sent", || {
            self.place.rows("SELECT text FROM outbox WHERE state != 'sent'").is_empty().then_some(())
        });
    }

    /// After the last line: nothing more is shown, everything was heard once, and nobody was told a secret.
    fn look_back(&self) {
        for chat in Chat::ALL {
            assert_eq!(self.seen(chat), self.shown[&chat], "{chat} shows nothing else");
        }
        let heard = self.place.rows("SELECT CAST(count(*) AS TEXT) FROM messages");
        assert_eq!(heard, [self.said.to_string()], "each message is there once");
        for entry in std::fs::read_dir(self.place.home().store().join("logs")).unwrap().flatten() {
            if entry.path().is_file() {
                let log = std::fs::read_to_string(entry.path()).unwrap();
                assert!(!self.stage.secrets().iter().any(|secret| log.contains(secret)), "{log}");
            }
        }
        self.stage.look_back();
        self.place.nothing_is_left();
    }
}
