//! What a message of Discord's means for us.
//!
//! Messages are read with the few fields we need, each as leniently as can be: what Discord adds to them one day must not cost a
//! message.

use std::collections::HashMap;

use nanoclaw_core::{chat::ChatKind, time::Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::channels::clean_name;

/// What `MESSAGE_CREATE`, `MESSAGE_UPDATE` or a history tell.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// Somebody wrote something.
    Said(Box<Said>),
    /// Nothing for us; why.
    Nothing(&'static str),
}

/// What somebody wrote.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) channel: String,
    /// `None` when nobody told.
    pub(super) kind: Option<ChatKind>,
    /// Unique in the channel: the message's own id, and the moment of the change when it is one.
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) user: String,
    pub(super) name: String,
    pub(super) text: String,
    /// It is what an earlier message says now.
    pub(super) edited: bool,
    /// It mentions the bot: by its name, by its role, or by replying to it with a ping.
    pub(super) calls_us: bool,
    /// The names of people whom it or its quote mentions, by their ids.
    pub(super) names: HashMap<String, String>,
    pub(super) reply_to: Option<Quoted>,
    pub(super) files: Vec<File>,
}

/// The message that another one replies to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quoted {
    pub(super) id: String,
    pub(super) user: Option<String>,
    pub(super) name: Option<String>,
    pub(super) text: Option<String>,
}

/// A file as Discord tells of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct File {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) filename: Option<String>,
    #[serde(default)]
    pub(super) content_type: Option<String>,
    #[serde(default)]
    pub(super) size: Option<u64>,
    #[serde(default)]
    pub(super) url: Option<String>,
    /// A voice message has one.
    #[serde(default)]
    pub(super) duration_secs: Option<f64>,
}

/// Messages of ours and of others, as a history has them.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Message {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) channel_id: String,
    #[serde(default)]
    guild_id: Option<String>,
    #[serde(default)]
    pub(super) author: Option<User>,
    #[serde(default)]
    member: Option<Member>,
    #[serde(default)]
    pub(super) content: String,
    #[serde(default)]
    edited_timestamp: Option<String>,
    #[serde(default)]
    mentions: Vec<Value>,
    #[serde(default)]
    mention_roles: Vec<String>,
    #[serde(default)]
    pub(super) attachments: Vec<Value>,
    #[serde(default)]
    r#type: u64,
    #[serde(default)]
    webhook_id: Option<String>,
    #[serde(default)]
    referenced_message: Option<Box<Message>>,
    #[serde(default)]
    message_reference: Option<Reference>,
    #[serde(default)]
    message_snapshots: Vec<Snapshot>,
    #[serde(default)]
    sticker_items: Vec<Sticker>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct User {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    global_name: Option<String>,
    #[serde(default)]
    bot: bool,
    /// In the list of those who are mentioned.
    #[serde(default)]
    member: Option<Member>,
}

#[derive(Debug, Clone, Deserialize)]
struct Member {
    #[serde(default)]
    nick: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Reference {
    /// 0: a reply, 1: a message that was passed on.
    #[serde(default)]
    r#type: u64,
    #[serde(default)]
    message_id: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Snapshot {
    #[serde(default)]
    message: Option<Box<Message>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Sticker {
    #[serde(default)]
    name: String,
}

/// The kinds of messages that are people's own words: plain ones, and replies.
const PEOPLES: [u64; 2] = [0, 19];
/// The kind of reference that passes a message on.
const PASSED_ON: u64 = 1;

/// What a message means. `change`: it is said to have changed. `is_our_role`: whether a role is the bot's own.
pub(super) fn meaning(message: Value, change: bool, me: &str, is_our_role: impl Fn(&str) -> bool) -> Meaning {
    let Ok(message) = serde_json::from_value::<Message>(message) else {
        return Meaning::Nothing("its form is not known");
    };
    let Some(author) = &message.author else { return Meaning::Nothing("nobody said it") };
    if author.id == me || author.bot || message.webhook_id.is_some() {
        return Meaning::Nothing("a program said it");
    }
    if !PEOPLES.contains(&message.r#type) {
        return Meaning::Nothing("it is nobody's own words");
    }
    let Some(said_at) = time_of(&message.id) else { return Meaning::Nothing("it has no id") };
    let (id, at) = match (change, &message.edited_timestamp) {
        (false, _) => (message.id.clone(), said_at),
        // The same moment again is the same change: Discord says so when it adds a preview of an address.
        (true, Some(edited)) => match moment(edited) {
            Some(moment) => (format!("{}/edited/{edited}", message.id), moment.max(said_at)),
            None => return Meaning::Nothing("nobody knows when it was changed"),
        },
        (true, None) => return Meaning::Nothing("nobody changed it"),
    };
    let mentions: Vec<User> = users(&message.mentions);
    let calls_us =
        mentions.iter().any(|user| user.id == me) || message.mention_roles.iter().any(|role| is_our_role(role));
    let mut names = names_of(&mentions);
    let reply_to = message.reply(&mut names);
    let mut files = files(&message.attachments);
    let mut text = message.content.clone();
    for snapshot in message.message_snapshots.iter().filter_map(|snapshot| snapshot.message.as_ref()) {
        add(&mut text, &format!("[forwarded] {}", snapshot.content));
        files.extend(self::files(&snapshot.attachments));
        names.extend(names_of(&users(&snapshot.mentions)));
    }
    for sticker in &message.sticker_items {
        add(&mut text, &format!("[sticker: {}]", sticker.name));
    }
    if change {
        // What it came with it had before.
        files.clear();
    }
    if text.is_empty() && files.is_empty() {
        return Meaning::Nothing("it says nothing");
    }
    let name = author.name(message.member.as_ref());
    // Without a guild it is between the two of us. A history does not say, and who reads one knows.
    let kind = if message.guild_id.is_some() { ChatKind::Group } else { ChatKind::Private };
    Meaning::Said(Box::new(Said {
        kind: Some(kind),
        id,
        at,
        name,
        text,
        edited: change,
        calls_us,
        names,
        reply_to,
        files,
        user: author.id.clone(),
        channel: message.channel_id,
    }))
}

impl Message {
    fn reply(&self, names: &mut HashMap<String, String>) -> Option<Quoted> {
        let reference = self.message_reference.as_ref().filter(|reference| reference.r#type != PASSED_ON)?;
        let id = reference.message_id.clone()?;
        let quoted = self.referenced_message.as_ref();
        if let Some(quoted) = quoted {
            for (id, name) in names_of(&users(&quoted.mentions)) {
                names.entry(id).or_insert(name);
            }
        }
        let author = quoted.and_then(|quoted| quoted.author.as_ref());
        Some(Quoted {
            id,
            user: author.map(|author| author.id.clone()),
            name: author.map(|author| author.name(None)),
            text: quoted.map(|quoted| quoted.content.clone()).filter(|text| !text.is_empty()),
        })
    }
}

impl User {
    /// The name that people know them by, in a guild if they have one of their own there.
    fn name(&self, member: Option<&Member>) -> String {
        let member = member.or(self.member.as_ref());
        let names =
            [member.and_then(|member| member.nick.as_deref()), self.global_name.as_deref(), Some(&self.username)];
        names.into_iter().flatten().find_map(clean_name).unwrap_or_else(|| self.id.clone())
    }
}

fn users(list: &[Value]) -> Vec<User> {
    list.iter().filter_map(|user| serde_json::from_value(user.clone()).ok()).collect()
}

fn names_of(users: &[User]) -> HashMap<String, String> {
    users.iter().map(|user| (user.id.clone(), user.name(None))).collect()
}

/// One by one: a strange one costs no other.
fn files(list: &[Value]) -> Vec<File> {
    list.iter().filter_map(|file| serde_json::from_value(file.clone()).ok()).collect()
}

fn add(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line.trim_end());
}

/// When Discord's ids begin to count: 2015, in milliseconds since 1970.
const FIRST_MOMENT: i64 = 1_420_070_400_000;

/// The moment at which something of this id was made.
pub(super) fn time_of(id: &str) -> Option<Timestamp> {
    let number: u64 = id.parse().ok().filter(|number| *number > 0)?;
    Some(Timestamp::from_ms(i64::try_from(number >> 22).ok()? + FIRST_MOMENT))
}

/// The number before every id of this moment and later ones.
pub(super) fn before(moment: Timestamp) -> u64 {
    let ms = u64::try_from(moment.as_ms().saturating_sub(FIRST_MOMENT)).unwrap_or(0).min(u64::MAX >> 22);
    (ms << 22).saturating_sub(1)
}

/// A moment as Discord writes it, such as `2026-03-04T12:30:00.123000+00:00`.
fn moment(text: &str) -> Option<Timestamp> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_ms(moment.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 2026-03-04T12:30:00.123Z.
    const ID: &str = "1478731235843899392";

    fn message(more: Value) -> Value {
        let mut message = json!({
            "id": ID, "channel_id": "20", "guild_id": "30", "content": "hello", "type": 0, "edited_timestamp": null,
            "author": {"id": "11", "username": "ann", "global_name": "Ann"}, "member": {"nick": null},
            "mentions": [], "mention_roles": [], "attachments": [],
        });
        more.as_object().unwrap().iter().for_each(|(key, value)| message[key] = value.clone());
        message
    }

    fn of(message: Value) -> Meaning {
        meaning(message, false, "99", |role| role == "77")
    }

    fn said(message: Value) -> Said {
        match of(message) {
            Meaning::Said(said) => *said,
            other => panic!("nobody said anything: {other:?}"),
        }
    }

    #[test]
    fn a_message_is_read_with_its_time_and_kind_and_the_name_that_people_know() {
        let said = said(message(json!({})));
        assert_eq!((said.channel.as_str(), said.user.as_str(), said.text.as_str()), ("20", "11", "hello"));
        assert_eq!((said.id.as_str(), said.kind, said.edited), (ID, Some(ChatKind::Group), false));
        assert_eq!(said.at, time_of(ID).unwrap());
        for (more, name) in [
            (json!({"member": {"nick": "Annie"}}), "Annie"),
            (json!({"author": {"id": "11", "username": "ann", "global_name": null}}), "ann"),
            (json!({"author": {"id": "11"}}), "11"),
        ] {
            assert_eq!(super::tests::said(message(more)).name, name);
        }
        let private = super::tests::said(message(json!({"guild_id": null})));
        assert_eq!(private.kind, Some(ChatKind::Private));
    }

    #[test]
    fn ids_tell_the_moment_and_a_moment_the_ids_after_it() {
        // The example of Discord's documentation.
        let id = "175928847299117063";
        assert_eq!(time_of(id).unwrap().to_string(), "2016-04-30T11:18:25.796Z");
        let number: u64 = id.parse().unwrap();
        assert!(before(time_of(id).unwrap()) < number);
        assert!(before(Timestamp::from_ms(time_of(id).unwrap().as_ms() + 1)) > number);
        assert_eq!((before(Timestamp::from_ms(0)), time_of("x"), time_of("0")), (0, None, None));
    }

    #[test]
    fn what_programs_say_is_not_heard() {
        for more in [
            json!({"author": {"id": "99", "username": "andy"}}),
            json!({"author": {"id": "12", "username": "other", "bot": true}}),
            json!({"webhook_id": "5"}),
            json!({"type": 7}),
            json!({"type": 20}),
            json!({"author": null}),
            json!({"content": ""}),
            json!({"id": "soon"}),
            json!({"content": 7}),
        ] {
            assert!(matches!(of(message(more.clone())), Meaning::Nothing(_)), "{more}");
        }
        assert!(matches!(of(json!(7)), Meaning::Nothing(_)));
    }

    #[test]
    fn the_bot_is_called_by_a_mention_by_its_role_and_by_a_reply_that_pings() {
        assert!(!said(message(json!({}))).calls_us);
        for more in
            [json!({"mentions": [{"id": "99", "username": "andy", "bot": true}]}), json!({"mention_roles": ["77"]})]
        {
            assert!(said(message(more)).calls_us);
        }
        assert!(!said(message(json!({"mention_roles": ["78"]}))).calls_us);
    }

    #[test]
    fn a_reply_has_the_words_it_replies_to() {
        let reply = said(message(json!({
            "type": 19, "message_reference": {"message_id": "5", "channel_id": "20"},
            "referenced_message": {
                "id": "5", "content": "the plan <@13>", "author": {"id": "12", "username": "bob", "global_name": "Bob"},
                "mentions": [{"id": "13", "username": "eve"}],
            },
        })));
        let quoted = reply.reply_to.unwrap();
        assert_eq!((quoted.id.as_str(), quoted.name.as_deref()), ("5", Some("Bob")));
        assert_eq!((quoted.text.as_deref(), reply.names["13"].as_str()), (Some("the plan <@13>"), "eve"));
        let deleted =
            said(message(json!({"type": 19, "message_reference": {"message_id": "5"}, "referenced_message": null})));
        assert_eq!(deleted.reply_to, Some(Quoted { id: "5".into(), user: None, name: None, text: None }));
    }

    #[test]
    fn what_is_passed_on_and_stickers_are_said_in_words() {
        let passed_on = said(message(json!({
            "content": "", "message_reference": {"type": 1, "message_id": "5"},
            "message_snapshots": [{"message": {"content": "the news", "attachments": [{"id": "1"}]}}],
        })));
        assert_eq!((passed_on.text.as_str(), passed_on.files.len()), ("[forwarded] the news", 1));
        assert_eq!(passed_on.reply_to, None);
        let sticker = said(message(json!({"content": "", "sticker_items": [{"id": "1", "name": "Wave"}]})));
        assert_eq!(sticker.text, "[sticker: Wave]");
    }

    #[test]
    fn an_edit_is_a_message_of_its_own_and_a_preview_is_none() {
        let changed = |edited: Value| {
            let file = json!([{"id": "1"}]);
            let message = message(json!({"content": "better", "edited_timestamp": edited, "attachments": file}));
            meaning(message, true, "99", |_| false)
        };
        let Meaning::Said(edit) = changed(json!("2026-03-05T12:30:00.500000+00:00")) else { panic!("it was changed") };
        assert_eq!((edit.edited, edit.text.as_str(), edit.files.len()), (true, "better", 0));
        assert_eq!(edit.id, format!("{ID}/edited/2026-03-05T12:30:00.500000+00:00"));
        assert_eq!(edit.at.to_string(), "2026-03-05T12:30:00.500Z");
        assert!(matches!(changed(Value::Null), Meaning::Nothing(_)));
        assert!(matches!(changed(json!("soon")), Meaning::Nothing(_)));
    }

    #[test]
    fn files_are_read_one_by_one() {
        let files = json!([{"id": "1", "filename": "a.png", "size": 3}, 7, {"id": "2"}]);
        let said = said(message(json!({"content": "", "attachments": files})));
        assert_eq!(said.files.iter().map(|file| file.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    }
}
