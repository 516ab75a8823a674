//! What is said on the gateway, Discord's WebSocket: its payloads, ours, and how far we are.
//!
//! *Source*: Discord's documentation, "Gateway" (version 10, JSON, uncompressed).

use std::{collections::BTreeSet, time::Duration};

use nanoclaw_core::secret::Secret;
use serde_json::{Value, json};
use serenity::model::gateway::GatewayIntents;

/// A payload of Discord's.
#[derive(Debug, PartialEq)]
pub(super) enum Payload {
    /// The first word: how often it wants to hear of us.
    Hello(Duration),
    /// Something happened.
    Dispatch {
        seq: u64,
        /// Its kind, in Discord's capitals.
        kind: String,
        data: Value,
    },
    /// It wants to hear of us now.
    BeatNow,
    /// It heard of us.
    Beaten,
    /// It wants a new connection in place of this one.
    Reconnect,
    /// The session is over, or this connection of it.
    Invalid {
        /// Whether it can be gone on with.
        resumable: bool,
    },
    /// Nothing for us.
    Odd,
}

/// Reads a line.
pub(super) fn payload(line: &str) -> Payload {
    let Ok(mut value) = serde_json::from_str::<Value>(line) else { return Payload::Odd };
    match value["op"].as_u64() {
        Some(0) => match (value["s"].as_u64(), value["t"].as_str().map(str::to_owned)) {
            (Some(seq), Some(kind)) => Payload::Dispatch { seq, kind, data: value["d"].take() },
            _ => Payload::Odd,
        },
        Some(1) => Payload::BeatNow,
        Some(7) => Payload::Reconnect,
        Some(9) => Payload::Invalid { resumable: value["d"] == true },
        Some(10) => match value["d"]["heartbeat_interval"].as_u64() {
            // Nothing sensible is below; it keeps a strange answer from being a storm.
            Some(every) => Payload::Hello(Duration::from_millis(every.max(100))),
            None => Payload::Odd,
        },
        Some(11) => Payload::Beaten,
        _ => Payload::Odd,
    }
}

/// What we want to be told: guilds with their channels, what is written in them and to us, and its words.
fn intents() -> u64 {
    let intents = GatewayIntents::GUILDS
        | GatewayIntents::GUILD_MESSAGES
        | GatewayIntents::DIRECT_MESSAGES
        | GatewayIntents::MESSAGE_CONTENT;
    intents.bits()
}

/// Begins a session.
pub(super) fn identify(token: &Secret) -> String {
    let properties = json!({"os": std::env::consts::OS, "browser": "nanoclaw", "device": "nanoclaw"});
    json!({"op": 2, "d": {"token": token.reveal(), "intents": intents(), "properties": properties}}).to_string()
}

/// Goes on with a session, after `seq`.
pub(super) fn resume(token: &Secret, session: &str, seq: u64) -> String {
    json!({"op": 6, "d": {"token": token.reveal(), "session_id": session, "seq": seq}}).to_string()
}

/// Says that we are there and how far we are.
pub(super) fn beat(seq: Option<u64>) -> String {
    json!({"op": 1, "d": seq}).to_string()
}

/// How far we are: up to which number all that Discord said is done with. Discord has no acknowledgement; a session that is gone
/// on with is told what came after the number that we say, so we say this one and not that of what was heard last.
#[derive(Debug, Default)]
pub(super) struct DoneWith {
    heard: Option<u64>,
    undone: BTreeSet<u64>,
}

impl DoneWith {
    /// All up to `seq` is.
    pub(super) fn up_to(seq: u64) -> Self {
        Self { heard: Some(seq), undone: BTreeSet::new() }
    }

    /// It was heard, and something is to be done with it.
    pub(super) fn begin(&mut self, seq: u64) {
        self.hear(seq);
        self.undone.insert(seq);
    }

    /// It was heard, and nothing is to be done with it.
    pub(super) fn hear(&mut self, seq: u64) {
        self.heard = self.heard.max(Some(seq));
    }

    /// What was to be done with it is done.
    pub(super) fn done(&mut self, seq: u64) {
        self.undone.remove(&seq);
    }

    /// Up to which number; `None` before the first.
    pub(super) fn seq(&self) -> Option<u64> {
        match self.undone.first() {
            Some(first) => Some(first.saturating_sub(1)),
            None => self.heard,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_told_apart() {
        let of = |value: Value| payload(&value.to_string());
        let hello = of(json!({"op": 10, "s": null, "t": null, "d": {"heartbeat_interval": 41250}}));
        assert_eq!(hello, Payload::Hello(Duration::from_millis(41250)));
        let said = of(json!({"op": 0, "s": 7, "t": "MESSAGE_CREATE", "d": {"id": "1"}}));
        assert_eq!(said, Payload::Dispatch { seq: 7, kind: "MESSAGE_CREATE".into(), data: json!({"id": "1"}) });
        assert_eq!(of(json!({"op": 9, "d": true})), Payload::Invalid { resumable: true });
        assert_eq!(of(json!({"op": 9, "d": false})), Payload::Invalid { resumable: false });
        assert_eq!(of(json!({"op": 9})), Payload::Invalid { resumable: false });
        assert_eq!(
            (of(json!({"op": 7})), of(json!({"op": 1})), of(json!({"op": 11}))),
            (Payload::Reconnect, Payload::BeatNow, Payload::Beaten)
        );
        for odd in ["", "[]", "{}", r#"{"op":0}"#, r#"{"op":10,"d":{}}"#, r#"{"op":99}"#] {
            assert_eq!(payload(odd), Payload::Odd, "{odd}");
        }
    }

    #[test]
    fn we_ask_for_what_is_written_and_for_nothing_else_that_is_privileged() {
        let identify: Value = serde_json::from_str(&identify(&Secret::new("x"))).unwrap();
        // GUILD_MEMBERS is 1 << 1, GUILD_PRESENCES 1 << 8.
        let intents = identify["d"]["intents"].as_u64().unwrap();
        assert_eq!((intents & (1 << 15), intents & (1 << 1), intents & (1 << 8)), (1 << 15, 0, 0));
        assert_eq!(identify["d"]["token"], "x");
    }

    #[test]
    fn we_are_as_far_as_the_first_thing_that_is_not_done() {
        let mut so_far = DoneWith::default();
        assert_eq!(so_far.seq(), None);
        so_far.hear(1);
        so_far.begin(2);
        so_far.begin(3);
        so_far.hear(4);
        assert_eq!(so_far.seq(), Some(1));
        so_far.done(3);
        assert_eq!(so_far.seq(), Some(1), "what came before it is not done");
        so_far.done(2);
        assert_eq!(so_far.seq(), Some(4));
        assert_eq!(DoneWith::up_to(9).seq(), Some(9));
    }
}
