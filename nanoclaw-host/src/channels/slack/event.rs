//! What an event of Slack's means for us.
//!
//! Events are read with the few fields we need, each as leniently as can be: what Slack adds to them one day must not cost a
//! message.

use nanoclaw_core::{chat::ChatKind, time::Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::client::Identity;

/// A line on the socket.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// What people write arrives from now on.
    Hello,
    /// The session ends, and why in Slack's word.
    Disconnect(String),
    /// Something to acknowledge, with what happened if it is of a kind that we know.
    Envelope {
        id: String,
        /// `payload.event`.
        event: Option<Value>,
    },
    /// Nothing for us; why.
    Odd(&'static str),
}

/// Reads a line on the socket.
pub(super) fn line(text: &str) -> Line {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return Line::Odd("no JSON") };
    match value.get("type").and_then(Value::as_str) {
        Some("hello") => return Line::Hello,
        Some("disconnect") => {
            return Line::Disconnect(value["reason"].as_str().unwrap_or("no reason given").to_owned());
        }
        _ => {}
    }
    let Some(id) = value.get("envelope_id").and_then(Value::as_str).map(str::to_owned) else {
        return Line::Odd("neither an envelope nor a word that is known");
    };
    let event = (value["type"] == "events_api").then(|| value["payload"]["event"].take()).filter(Value::is_object);
    Line::Envelope { id, event }
}

/// What happened.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// Somebody wrote something.
    Said(Box<Said>),
    /// The assistant was let in.
    Joined { conversation: String },
    /// The assistant is not there any more, or nobody is; in words.
    Left { conversation: String, how: &'static str, at: Timestamp },
    /// The conversation has a new name.
    Renamed { conversation: String, name: String },
    /// Nothing for us; why.
    Nothing(&'static str),
}

/// What somebody wrote.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub(super) conversation: String,
    pub(super) kind: ChatKind,
    /// Unique in the conversation: the message's own timestamp, and that of the change when it is one.
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) user: String,
    pub(super) text: String,
    /// It is what an earlier message says now.
    pub(super) edited: bool,
    /// The first message of the thread that it was said in.
    pub(super) thread: Option<Thread>,
    pub(super) files: Vec<File>,
}

/// The first message of a thread.
#[derive(Debug, PartialEq)]
pub(super) struct Thread {
    pub(super) id: String,
    pub(super) user: Option<String>,
}

/// A file as Slack tells of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct File {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) mimetype: Option<String>,
    #[serde(default)]
    pub(super) subtype: Option<String>,
    #[serde(default)]
    pub(super) size: Option<u64>,
    #[serde(default)]
    pub(super) url_private: Option<String>,
    #[serde(default)]
    pub(super) url_private_download: Option<String>,
    /// "hosted", "external", "tombstone", "hidden_by_limit", …
    #[serde(default)]
    pub(super) mode: Option<String>,
}

/// A message as a history tells of it.
#[derive(Debug, PartialEq)]
pub(super) struct Recalled {
    /// Its timestamp, which is its id and that of the thread that begins with it.
    pub(super) id: String,
    pub(super) at: Timestamp,
    /// What was said, as it reads now; `None`: nothing for us.
    pub(super) said: Option<Said>,
    /// The latest change of it, as the event of that tells it.
    pub(super) change: Option<Said>,
    /// When the thread that begins with it was last spoken in.
    pub(super) latest_reply: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Event {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    subtype: Option<String>,
    /// An id, or an object that has one.
    #[serde(default)]
    channel: Value,
    #[serde(default)]
    channel_type: Option<String>,
    #[serde(default)]
    user: Value,
    #[serde(default)]
    bot_id: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    ts: Option<String>,
    #[serde(default)]
    event_ts: Option<String>,
    #[serde(default)]
    thread_ts: Option<String>,
    #[serde(default)]
    parent_user_id: Option<String>,
    #[serde(default)]
    files: Vec<Value>,
    #[serde(default)]
    latest_reply: Option<String>,
    #[serde(default)]
    edited: Option<Edited>,
    #[serde(default)]
    message: Option<Box<Event>>,
    #[serde(default)]
    previous_message: Option<Box<Event>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Edited {
    #[serde(default)]
    ts: Option<String>,
}

/// The subtypes of messages that are people's own words.
const PEOPLES: [&str; 3] = ["file_share", "me_message", "thread_broadcast"];

/// What `event` means for `me`.
pub(super) fn meaning(event: Value, me: &Identity) -> Meaning {
    let Ok(event) = serde_json::from_value::<Event>(event) else { return Meaning::Nothing("its form is not known") };
    let channel = event.channel.as_str().or_else(|| event.channel["id"].as_str()).map(str::to_owned);
    let Some(conversation) = channel else { return Meaning::Nothing("it is about no conversation") };
    let ours = event.user.as_str() == Some(me.user_id.as_str());
    let left = |conversation: String, how: &'static str| {
        let at = event.event_ts.as_deref().and_then(time_of).unwrap_or_else(Timestamp::now);
        Meaning::Left { conversation, how, at }
    };
    match (event.r#type.as_str(), event.subtype.as_deref()) {
        ("message", Some("message_changed")) => changed(event, conversation, me),
        ("message" | "app_mention", subtype) if subtype.is_none_or(|subtype| PEOPLES.contains(&subtype)) => {
            said(event, conversation, me)
        }
        ("message" | "app_mention", _) => Meaning::Nothing("it is nobody's own words"),
        ("member_joined_channel", _) if ours => Meaning::Joined { conversation },
        ("member_left_channel", _) if ours => left(conversation, "the assistant was removed from it"),
        ("channel_left" | "group_left", _) => left(conversation, "the assistant was removed from it"),
        ("channel_archive" | "group_archive", _) => left(conversation, "it was archived"),
        ("channel_deleted" | "group_deleted", _) => left(conversation, "it was deleted"),
        ("channel_unarchive" | "group_unarchive", _) => Meaning::Joined { conversation },
        ("channel_rename" | "group_rename", _) => match event.channel["name"].as_str() {
            Some(name) => Meaning::Renamed { conversation, name: name.to_owned() },
            None => Meaning::Nothing("it has no name"),
        },
        _ => Meaning::Nothing("it is of a kind that is not asked for"),
    }
}

fn said(event: Event, conversation: String, me: &Identity) -> Meaning {
    let Some(user) = event.user.as_str().map(str::to_owned) else { return Meaning::Nothing("nobody said it") };
    if user == me.user_id || event.bot_id.is_some() {
        return Meaning::Nothing("a program said it");
    }
    let Some((id, at)) = event.ts.and_then(|ts| Some((ts.clone(), time_of(&ts)?))) else {
        return Meaning::Nothing("it has no timestamp");
    };
    let files: Vec<File> = event.files.into_iter().filter_map(|file| serde_json::from_value(file).ok()).collect();
    let text = event.text.unwrap_or_default();
    if text.is_empty() && files.is_empty() {
        return Meaning::Nothing("it says nothing");
    }
    let thread = event.thread_ts.filter(|first| *first != id);
    Meaning::Said(Box::new(Said {
        kind: kind_of(&conversation, event.channel_type.as_deref()),
        conversation,
        id,
        at,
        user,
        text,
        edited: false,
        thread: thread.map(|id| Thread { id, user: event.parent_user_id }),
        files,
    }))
}

/// A message was changed. Slack says so too when it adds a preview of an address, which nobody wrote.
fn changed(event: Event, conversation: String, me: &Identity) -> Meaning {
    let (Some(now), before) = (event.message, event.previous_message) else {
        return Meaning::Nothing("it does not say what was changed");
    };
    let Some(edited_at) = now.edited.as_ref().and_then(|edited| edited.ts.clone()) else {
        return Meaning::Nothing("nobody changed it");
    };
    if before.is_some_and(|before| before.text == now.text) {
        return Meaning::Nothing("its text is as it was");
    }
    let mut now = *now;
    now.channel_type = event.channel_type;
    // What it came with it had before.
    now.files.clear();
    match said(now, conversation, me) {
        Meaning::Said(said) => {
            let at = event.event_ts.as_deref().and_then(time_of);
            Meaning::Said(Box::new(said.changed(&edited_at, at)))
        }
        other => other,
    }
}

impl Said {
    /// The same as a change that was made at `edited_at`, and told `at`.
    fn changed(self, edited_at: &str, at: Option<Timestamp>) -> Self {
        let id = format!("{}/edited/{edited_at}", self.id);
        let at = at.or_else(|| time_of(edited_at)).unwrap_or(self.at);
        Self { id, at, edited: true, ..self }
    }
}

/// Reads a message of the history of `conversation`; `None`: it is none.
pub(super) fn recalled(message: Value, conversation: &str, me: &Identity) -> Option<Recalled> {
    let event = serde_json::from_value::<Event>(message).ok()?;
    let id = event.ts.clone()?;
    let at = time_of(&id)?;
    let latest_reply = event.latest_reply.as_deref().and_then(time_of);
    let are_words = event.subtype.as_deref().is_none_or(|subtype| PEOPLES.contains(&subtype));
    let of = |event: Event| match said(event, conversation.to_owned(), me) {
        Meaning::Said(said) if are_words => Some(*said),
        _ => None,
    };
    let edited_at = event.edited.as_ref().and_then(|edited| edited.ts.clone());
    let change = edited_at.and_then(|edited_at| {
        // What it came with it had before.
        let event = Event { files: Vec::new(), ..event.clone() };
        Some(of(event)?.changed(&edited_at, None))
    });
    Some(Recalled { id, at, said: of(event), change, latest_reply })
}

fn kind_of(conversation: &str, told: Option<&str>) -> ChatKind {
    match told {
        Some("im") => ChatKind::Private,
        Some("channel" | "group" | "mpim") => ChatKind::Group,
        _ if conversation.starts_with('D') => ChatKind::Private,
        _ => ChatKind::Group,
    }
}

/// The time that a timestamp of Slack's is: seconds, a point, and six digits, of which the first three are milliseconds.
fn time_of(ts: &str) -> Option<Timestamp> {
    let (seconds, rest) = ts.split_once('.').unwrap_or((ts, ""));
    let seconds: i64 = seconds.parse().ok().filter(|seconds| (0..=253_402_300_799).contains(seconds))?;
    let thousandths: i64 = rest.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    Some(Timestamp::from_ms(seconds * 1000 + thousandths))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn me() -> Identity {
        Identity { user_id: "UBOT".to_owned(), bot_id: Some("B1".to_owned()), team: None }
    }

    fn message(more: Value) -> Value {
        let mut event = json!({
            "type": "message", "channel": "C1", "channel_type": "channel", "user": "U1", "text": "hello",
            "ts": "1700000000.123400", "event_ts": "1700000000.123400",
        });
        more.as_object().unwrap().iter().for_each(|(key, value)| event[key] = value.clone());
        event
    }

    fn of(event: Value) -> Meaning {
        meaning(event, &me())
    }

    fn said(event: Value) -> Said {
        match of(event) {
            Meaning::Said(said) => *said,
            other => panic!("nobody said anything: {other:?}"),
        }
    }

    #[test]
    fn a_message_is_read_with_its_time_and_kind() {
        let said = said(message(json!({})));
        assert_eq!((said.conversation.as_str(), said.user.as_str(), said.text.as_str()), ("C1", "U1", "hello"));
        assert_eq!((said.id.as_str(), said.at), ("1700000000.123400", Timestamp::from_ms(1_700_000_000_123)));
        assert_eq!((said.kind, said.edited, said.thread), (ChatKind::Group, false, None));
        for (channel, told, kind) in
            [("D1", "im", ChatKind::Private), ("G1", "group", ChatKind::Group), ("G1", "mpim", ChatKind::Group)]
        {
            assert_eq!(super::tests::said(message(json!({"channel": channel, "channel_type": told}))).kind, kind);
        }
        assert_eq!(kind_of("D1", None), ChatKind::Private);
    }

    #[test]
    fn a_mention_and_its_message_are_the_same_message() {
        let mention = json!({"type": "app_mention", "channel_type": null});
        assert_eq!(said(message(mention)).id, said(message(json!({}))).id);
    }

    #[test]
    fn what_programs_say_is_not_heard() {
        for more in [
            json!({"user": "UBOT"}),
            json!({"bot_id": "B1"}),
            json!({"bot_id": "B2", "user": "U9"}),
            json!({"subtype": "bot_message", "user": null, "bot_id": "B2"}),
            json!({"subtype": "channel_join"}),
            json!({"subtype": "message_deleted"}),
            json!({"subtype": "something_new"}),
            json!({"user": null}),
            json!({"text": ""}),
            json!({"ts": "soon"}),
            json!({"type": "reaction_added"}),
        ] {
            assert!(matches!(of(message(more.clone())), Meaning::Nothing(_)), "{more}");
        }
        for subtype in PEOPLES {
            assert!(matches!(of(message(json!({"subtype": subtype}))), Meaning::Said(_)), "{subtype}");
        }
    }

    #[test]
    fn a_reply_in_a_thread_names_the_first_message() {
        let reply = said(message(json!({"thread_ts": "1699999999.000100", "parent_user_id": "U2"})));
        assert_eq!(reply.thread, Some(Thread { id: "1699999999.000100".into(), user: Some("U2".into()) }));
        let first = said(message(json!({"thread_ts": "1700000000.123400"})));
        assert_eq!(first.thread, None, "the first message of a thread replies to nothing");
    }

    #[test]
    fn an_edit_is_a_message_of_its_own_and_a_preview_is_none() {
        let changed = |before: &str, edited: Value| {
            json!({
                "type": "message", "subtype": "message_changed", "channel": "C1", "channel_type": "channel",
                "event_ts": "1700000009.000200", "ts": "1700000009.000200",
                "message": {"type": "message", "user": "U1", "text": "better", "ts": "1700000000.123400", "edited": edited},
                "previous_message": {"type": "message", "user": "U1", "text": before, "ts": "1700000000.123400"},
            })
        };
        let edit = said(changed("good", json!({"user": "U1", "ts": "1700000009.000000"})));
        assert_eq!((edit.edited, edit.text.as_str()), (true, "better"));
        assert_eq!(edit.id, "1700000000.123400/edited/1700000009.000000");
        assert_eq!(edit.at, Timestamp::from_ms(1_700_000_009_000));
        assert!(matches!(of(changed("better", json!({"ts": "1700000009.000000"}))), Meaning::Nothing(_)));
        assert!(matches!(of(changed("good", Value::Null)), Meaning::Nothing(_)));
    }

    #[test]
    fn a_history_tells_the_same_messages_and_changes_as_the_events_and_who_was_answered() {
        // A history says neither where it is nor when it is told.
        let mut past = message(json!({"edited": {"user": "U1", "ts": "1700000009.000000"}, "files": [{"id": "F1"}]}));
        for told in ["channel", "channel_type", "event_ts"] {
            past.as_object_mut().unwrap().remove(told);
        }
        past["latest_reply"] = json!("1700000020.000000");
        let of = |past: &Value, conversation| recalled(past.clone(), conversation, &me());
        let recalled = of(&past, "C1").unwrap();
        let live = said(message(json!({"files": [{"id": "F1"}]})));
        assert_eq!((&recalled.id, recalled.at, recalled.said.as_ref()), (&live.id, live.at, Some(&live)));
        assert_eq!(recalled.latest_reply, Some(Timestamp::from_ms(1_700_000_020_000)));
        let change = recalled.change.unwrap();
        assert_eq!(change.id, "1700000000.123400/edited/1700000009.000000");
        assert_eq!((change.edited, change.at), (true, Timestamp::from_ms(1_700_000_009_000)));
        assert!(change.files.is_empty());
        assert_eq!(of(&past, "D1").unwrap().said.unwrap().kind, ChatKind::Private);

        past["user"] = json!("UBOT");
        let ours = of(&past, "C1").unwrap();
        assert!(ours.said.is_none() && ours.change.is_none() && ours.latest_reply.is_some(), "{ours:?}");
        past["user"] = json!("U1");
        past["subtype"] = json!("channel_join");
        assert_eq!(of(&past, "C1").unwrap().said, None);
        assert_eq!(of(&json!({"ts": "soon"}), "C1"), None);
        assert_eq!(of(&json!(7), "C1"), None);
    }

    #[test]
    fn files_are_read_one_by_one() {
        let files = json!([{"id": "F1", "name": "a.png", "size": 3, "mimetype": "image/png"}, 7, {"id": "F2", "mode": "external"}]);
        let said = said(message(json!({"subtype": "file_share", "text": "", "files": files})));
        assert_eq!(said.files.iter().map(|file| file.id.as_str()).collect::<Vec<_>>(), ["F1", "F2"]);
    }

    #[test]
    fn coming_and_going_is_told_of_us_alone() {
        let left = |user: &str| of(json!({"type": "member_left_channel", "channel": "C1", "user": user}));
        assert!(matches!(left("UBOT"), Meaning::Left { .. }) && matches!(left("U1"), Meaning::Nothing(_)));
        assert!(matches!(of(json!({"type": "channel_left", "channel": "C1"})), Meaning::Left { .. }));
        assert!(matches!(of(json!({"type": "channel_archive", "channel": "C1", "user": "U1"})), Meaning::Left { .. }));
        let renamed = of(json!({"type": "channel_rename", "channel": {"id": "C1", "name": "new", "created": 1}}));
        assert_eq!(renamed, Meaning::Renamed { conversation: "C1".into(), name: "new".into() });
    }

    #[test]
    fn lines_are_told_apart_and_a_strange_envelope_can_be_acknowledged() {
        assert_eq!(line(r#"{"type":"hello","num_connections":1}"#), Line::Hello);
        assert_eq!(line(r#"{"type":"disconnect","reason":"warning"}"#), Line::Disconnect("warning".into()));
        let event = line(r#"{"type":"events_api","envelope_id":"e1","payload":{"event":{"type":"message"}}}"#);
        assert_eq!(event, Line::Envelope { id: "e1".into(), event: Some(json!({"type": "message"})) });
        for strange in [r#"{"type":"interactive","envelope_id":"e1","payload":{}}"#, r#"{"envelope_id":"e1"}"#] {
            assert_eq!(line(strange), Line::Envelope { id: "e1".into(), event: None });
        }
        assert!(matches!(line("{}"), Line::Odd(_)) && matches!(line("hello"), Line::Odd(_)));
    }
}
