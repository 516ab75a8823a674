//! A bridge from outside, by nothing but `docs/bridge-protocol.md`.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    place::{On, Place, on_each_runtime},
    process::{SOON, until},
};

on_each_runtime! {
    a_host_killed_between_accepting_and_answering_answers_once_in_the_end,
    what_is_stopped_in_the_chat_is_answered_by_that_and_what_is_asked_next_is_answered,
    a_command_is_obeyed_and_answered_once_wherever_the_host_dies,
    a_file_that_came_with_a_message_outlives_a_killed_host_and_is_read_by_the_agent,
    f21_a_file_that_an_agent_sends_reaches_the_bridge_whole_and_once_wherever_the_host_dies,
}

/// A chat service with a bridge: shows each key once, as services with idempotent sends do.
#[derive(Default)]
pub struct Chat {
    pub shown: Vec<String>,
    keys: BTreeSet<String>,
}

/// A connection of the bridge.
pub struct Bridge {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Bridge {
    /// Connects as often as it takes: the host may not know yet that this bridge's last connection is gone.
    pub fn connect(place: &Place) -> Self {
        Self::connect_as(place, "net")
    }

    /// The same for a bridge of this name, whose chats begin with that and `:`.
    pub fn connect_as(place: &Place, name: &str) -> Self {
        until("the bridge is welcome", || Self::try_to_connect(place, name))
    }

    fn try_to_connect(place: &Place, name: &str) -> Option<Self> {
        let stream = UnixStream::connect(place.home().bridge_socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut bridge = Self { lines: BufReader::new(stream.try_clone().unwrap()), stream };
        bridge.say(
            &json!({"type": "hello", "name": name, "prefixes": [format!("{name}:")], "capabilities": ["deduplicates", "files"]}),
        );
        (bridge.next()["type"] == "welcome").then_some(bridge)
    }

    fn say(&mut self, line: &Value) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn message(&mut self, id: &str, text: &str) {
        self.message_of("99", id, text);
    }

    fn message_of(&mut self, sender: &str, id: &str, text: &str) {
        self.say(&json!({
            "type": "message", "chat": "net:-1", "id": id, "sender": sender, "sender_name": "Ann", "text": text,
            "timestamp_ms": 1_700_000_000_000_u64, "is_group": true,
        }));
    }

    /// A message in a chat with the assistant alone.
    pub fn private_message(&mut self, chat: &str, id: &str, text: &str) {
        self.say(&json!({
            "type": "message", "chat": chat, "id": id, "sender": chat, "sender_name": "Ann", "text": text,
            "timestamp_ms": 1_700_000_000_000_u64, "is_group": false,
        }));
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the host says something");
        assert!(!line.is_empty(), "the host hung up");
        serde_json::from_str(&line).unwrap()
    }

    /// Reads until a line of this type.
    pub fn until(&mut self, kind: &str) -> Value {
        loop {
            let line = self.next();
            assert_ne!(line["type"], "error", "{line}");
            if line["type"] == kind {
                return line;
            }
        }
    }

    /// Confirms what is to be sent, until something is that was not shown before, and shows that.
    pub fn show(&mut self, chat: &mut Chat) -> String {
        loop {
            let send = self.until("send");
            let (key, text) = (send["key"].as_str().unwrap(), send["text"].as_str().unwrap());
            let is_new = chat.keys.insert(key.to_owned());
            if is_new {
                chat.shown.push(text.to_owned());
            }
            self.say(&json!({"type": "sent", "key": key, "platform_id": chat.shown.len().to_string()}));
            if is_new {
                return text.to_owned();
            }
        }
    }
}

impl Bridge {
    /// Confirms what is to be sent next and shows it, unless it was shown before. The file that was with it, when it is new: its
    /// name, type and bytes.
    fn take_file(&mut self, chat: &mut Chat) -> Option<(String, String, Vec<u8>)> {
        let send = self.until("send");
        let (key, text) = (send["key"].as_str().unwrap(), send["text"].as_str().unwrap());
        let file = send.get("files").map(|files| {
            let file = &files[0];
            let content = std::fs::read(file["path"].as_str().unwrap()).unwrap();
            assert_eq!(file["bytes"], content.len());
            (file["name"].as_str().unwrap().to_owned(), file["media_type"].as_str().unwrap().to_owned(), content)
        });
        let is_new = chat.keys.insert(key.to_owned());
        if is_new {
            chat.shown.push(text.to_owned());
        }
        self.say(&json!({"type": "sent", "key": key, "platform_id": chat.shown.len().to_string()}));
        file.filter(|_| is_new)
    }
}

pub fn register(place: &Place) {
    place.run(["groups", "add", "net:-1", "--name", "Family", "--no-trigger"]).succeeded();
}

#[test]
fn the_log_names_the_steps_of_a_message_when_it_is_asked_to_and_never_a_text() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    place.configure("[log]\nlevel = \"info,nanoclaw::steps=debug\"\n");
    register(&place);
    let service = place.service();
    let mut bridge = Bridge::connect(&place);
    let mut chat = Chat::default();
    for (id, sent) in [("m1", 1), ("m2", 2)] {
        bridge.message(id, "a secret");
        assert_eq!(bridge.show(&mut chat), "heard a secret");
        until("the reply counts as sent", || {
            (place.rows("SELECT state FROM outbox") == vec!["sent"; sent]).then_some(())
        });
    }
    service.signal(Signal::TERM);
    let log = service.ended().stderr;
    let steps: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("nanoclaw::steps: ")).map(|(_, step)| step).collect();
    let mut rest = steps.iter();
    for step in [
        "told by a bridge chat=net:-1 id=m1",
        "committed chat=net:-1 id=m1 seq=1",
        "prompt written run=net_family#1 through=1",
        "reply decoded run=net_family#1 block=1",
        "reply committed run=net_family#1 block=1 key=",
        "handed to the channel chat=net:-1 key=",
        "sent chat=net:-1 key=",
        "told by a bridge chat=net:-1 id=m2",
        "committed chat=net:-1 id=m2 seq=2",
        "follow-up written run=net_family#1 through=2",
        "reply decoded run=net_family#1 block=2",
    ] {
        assert!(rest.any(|line| line.starts_with(step)), "{step} is not in its place: {steps:#?}");
    }
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn a_message_of_an_unregistered_chat_is_kept_as_metadata_only_until_it_is_registered() {
    // What runs the containers makes no difference to it.
    let Some(place) = Place::on(On::Sandbox) else { return };
    let service = place.service();
    let mut bridge = Bridge::connect(&place);
    bridge.message("1", "a secret of strangers");
    assert_eq!(bridge.until("accepted")["registered"], false);
    assert_eq!(place.rows("SELECT text FROM messages"), Vec::<String>::new());
    assert_eq!(place.rows("SELECT chat || ' ' || channel FROM chats"), ["net:-1 net"]);
    assert_eq!(place.json(["groups", "chats", "--json"])[0]["chat"], "net:-1");

    register(&place);
    bridge.message("2", "@Andy hello");
    let accepted = bridge.until("accepted");
    assert_eq!((accepted["id"].as_str(), accepted["registered"].as_bool()), (Some("2"), Some(true)));
    let mut chat = Chat::default();
    assert_eq!(bridge.show(&mut chat), "heard @Andy hello");
    until("the reply counts as sent", || (place.rows("SELECT state FROM outbox") == ["sent"]).then_some(()));
    assert_eq!(place.rows("SELECT platform_id FROM outbox"), ["1"]);

    // The same message again is accepted again and not answered again.
    bridge.message("2", "@Andy hello");
    assert_eq!(bridge.until("accepted")["id"], "2");
    bridge.message("3", "next");
    assert_eq!(bridge.show(&mut chat), "heard next");
    assert_eq!(place.rows("SELECT text FROM messages ORDER BY seq"), ["@Andy hello", "next"]);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

fn at_work(place: &Place) {
    until("the agent is at work", || place.json(["ps", "--json"]).to_string().contains("busy").then_some(()));
}

fn a_command_is_obeyed_and_answered_once_wherever_the_host_dies(place: &Place) {
    place.run(["init"]).succeeded();
    register(place);
    let mut chat = Chat::default();
    for (number, point) in ["store.stop_work.before", "store.stop_work.after"].into_iter().enumerate() {
        let dying = place.service_that_dies_at(&format!("{point}:1"));
        let mut bridge = Bridge::connect(place);
        bridge.message(&format!("work-{number}"), "!sleep 600");
        at_work(place);
        bridge.message(&format!("stop-{number}"), "/stop");
        assert_eq!(dying.ended().code, None, "it was killed at {point}");

        let service = place.service();
        let mut bridge = Bridge::connect(place);
        // Nobody told it that it was heard.
        bridge.message(&format!("stop-{number}"), "/stop");
        assert!(bridge.show(&mut chat).starts_with("Stopped."));
        bridge.message(&format!("next-{number}"), "hello");
        assert_eq!(bridge.show(&mut chat), "heard hello");
        assert_eq!(place.rows("SELECT key FROM outbox WHERE text LIKE 'Stopped.%'").len(), number + 1);
        assert_eq!(place.rows("SELECT state FROM set_aside"), vec!["dropped"; number + 1]);
        service.signal(Signal::TERM);
        assert_eq!(service.ended().code, Some(0));
    }
    place.nothing_is_left();
}

fn what_is_stopped_in_the_chat_is_answered_by_that_and_what_is_asked_next_is_answered(place: &Place) {
    let service = place.service();
    register(place);
    let mut bridge = Bridge::connect(place);
    let mut chat = Chat::default();
    bridge.message("1", "!sleep 600");
    at_work(place);
    bridge.message("2", "/stop");
    assert!(bridge.show(&mut chat).starts_with("Stopped."));
    bridge.message("3", "hello");
    assert_eq!(bridge.show(&mut chat), "heard hello");
    // It was said already; nothing is stopped again.
    bridge.message("2", "/stop");
    bridge.message("4", "and now?");
    assert_eq!(bridge.show(&mut chat), "heard and now?");
    assert_eq!(place.rows("SELECT ending FROM runs WHERE number = 1"), ["stopped"]);
    assert_eq!(place.rows("SELECT state FROM set_aside"), ["dropped"]);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

#[test]
fn f69_who_is_on_the_list_of_senders_is_answered_and_a_change_of_it_holds_at_once() {
    // What runs the containers makes no difference to it.
    let Some(place) = Place::on(On::Sandbox) else { return };
    let list = |text: &str| {
        let folder = place.folder().join(".config/nanoclaw");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("sender-allowlist.json"), text).unwrap();
    };
    let service = place.service();
    register(&place);
    let mut bridge = Bridge::connect(&place);
    let mut chat = Chat::default();
    list(r#"{"default":{"allow":["99"],"mode":"trigger"},"chats":{"net:-1":{"allow":["99"],"mode":"drop"}}}"#);
    bridge.message_of("7", "1", "a secret of strangers");
    assert_eq!(bridge.until("accepted")["registered"], true);
    bridge.message("2", "hello");
    assert_eq!(bridge.show(&mut chat), "heard hello");
    assert_eq!(place.rows("SELECT text FROM messages"), ["hello"]);

    list("not a list");
    bridge.message("3", "are you there?");
    assert_eq!(bridge.until("accepted")["id"], "3");
    assert_eq!(place.rows("SELECT text || ' ' || wakes FROM messages WHERE id = '3'"), ["are you there? 0"]);

    list(r#"{"default":{"allow":"*","mode":"trigger"}}"#);
    bridge.message_of("7", "4", "and now?");
    assert_eq!(bridge.show(&mut chat), "heard are you there?\nheard and now?");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

fn a_host_killed_between_accepting_and_answering_answers_once_in_the_end(place: &Place) {
    let service = place.service();
    register(place);
    let mut bridge = Bridge::connect(place);
    // A first answer, so that a container lives when the host dies.
    let mut chat = Chat::default();
    bridge.message("1", "hello");
    assert_eq!(bridge.show(&mut chat), "heard hello");
    bridge.message("2", "!sleep 2");
    assert_eq!(bridge.until("accepted")["id"], "2");
    service.kill();

    let service = place.service();
    let mut bridge = Bridge::connect(place);
    // A bridge that does not know whether it was heard says it again.
    bridge.message("2", "!sleep 2");
    assert_eq!(bridge.show(&mut chat), "slept 2s");
    bridge.message("3", "and now?");
    assert_eq!(bridge.show(&mut chat), "heard and now?");
    let once_each = ["heard hello", "slept 2s", "heard and now?"];
    assert_eq!(chat.shown, once_each);
    assert_eq!(place.rows("SELECT text FROM outbox ORDER BY id"), once_each);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

#[test]
fn a_reply_that_nobody_confirmed_before_the_host_was_killed_is_sent_with_the_same_key() {
    // What runs the containers makes no difference to it.
    let Some(place) = Place::on(On::Sandbox) else { return };
    let service = place.service();
    register(&place);
    let mut bridge = Bridge::connect(&place);
    bridge.message("1", "hello");
    let first = bridge.until("send");
    service.kill();

    let service = place.service();
    let mut bridge = Bridge::connect(&place);
    let second = bridge.until("send");
    assert_eq!((&first["key"], &first["text"]), (&second["key"], &second["text"]));
    bridge.say(&json!({"type": "sent", "key": second["key"], "platform_id": "1"}));
    until("the reply counts as sent", || (place.rows("SELECT state FROM outbox") == ["sent"]).then_some(()));
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

fn a_file_that_came_with_a_message_outlives_a_killed_host_and_is_read_by_the_agent(place: &Place) {
    let service = place.service();
    register(place);
    let mut bridge = Bridge::connect(place);
    let mut chat = Chat::default();
    let arriving = place.home().files().join("arriving");
    let with_file = |bridge: &mut Bridge, id: &str, text: &str| {
        bridge.say(&json!({
            "type": "message", "chat": "net:-1", "id": id, "sender": "99", "sender_name": "Ann", "text": text,
            "timestamp_ms": 1_700_000_000_000_u64, "is_group": true,
            "attachments": [{"kind": "document", "name": "../no te.txt", "file": format!("f{id}")}],
        }));
    };
    std::fs::write(arriving.join("f1"), "a first file").unwrap();
    with_file(&mut bridge, "1", "look");
    let heard = "heard look\n[document: attachments/1-1-_no_te.txt, text/plain, 12 bytes]";
    assert_eq!(bridge.show(&mut chat), heard);
    bridge.message("2", "!read attachments/1-1-_no_te.txt");
    assert_eq!(bridge.show(&mut chat), "read attachments/1-1-_no_te.txt: a first file");

    // The agent is at work, so that this waits when the host dies.
    bridge.message("3", "!sleep 2");
    assert_eq!(bridge.until("accepted")["id"], "3");
    std::fs::write(arriving.join("f4"), "a second file").unwrap();
    with_file(&mut bridge, "4", "and this");
    assert_eq!(bridge.until("accepted")["id"], "4");
    service.kill();

    let service = place.service();
    let mut bridge = Bridge::connect(place);
    // A bridge that does not know whether it was heard says it again; its file is gone by now.
    assert_eq!(std::fs::read_dir(&arriving).unwrap().count(), 0);
    with_file(&mut bridge, "4", "and this");
    bridge.message("5", "!read attachments/4-1-_no_te.txt");
    until("the second file is read", || {
        bridge.show(&mut chat);
        chat.shown.join("\n").contains("read attachments/4-1-_no_te.txt: a second file").then_some(())
    });
    let shown = chat.shown.join("\n");
    let named = "heard and this\n[document: attachments/4-1-_no_te.txt, text/plain, 13 bytes]";
    assert_eq!(shown.matches(named).count(), 1, "{shown}");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

fn f21_a_file_that_an_agent_sends_reaches_the_bridge_whole_and_once_wherever_the_host_dies(place: &Place) {
    register_when_served(place);
    let group = place.group("net_family");
    std::fs::create_dir_all(&group).unwrap();
    // Every byte there is, and more than one look at a pipe takes.
    let content: Vec<u8> = (0..=255_u8).cycle().take(3_000_001).collect();
    let (mut chat, mut settled) = (Chat::default(), BTreeSet::new());
    // Between copy and commit, commit and send, send and record.
    let points = ["launcher.keep_file.after", "store.post.after", "store.delivery_sent.before"];
    for (number, point) in points.into_iter().enumerate() {
        let name = format!("report-{number}.bin");
        std::fs::write(group.join(&name), &content).unwrap();
        let dying = place.service_that_dies_at(&format!("{point}:1"));
        let mut bridge = Bridge::connect(place);
        bridge.message(
            &format!("{number}"),
            &format!(r#"!tool send_file {{"path": "{name}", "caption": "look {number}"}}"#),
        );
        bridge.until("accepted");
        let mut files = Vec::new();
        if point == "store.delivery_sent.before" {
            files.extend(bridge.take_file(&mut chat));
        }
        assert_eq!(dying.ended().code, None, "it was killed at {point}");

        let service = place.service();
        let mut bridge = Bridge::connect(place);
        until("the agent tells what came of it", || {
            files.extend(bridge.take_file(&mut chat));
            let told = |text: &String| text.contains("of the outbox") && text.contains(&format!("{name}, "));
            chat.shown.last().is_some_and(told).then_some(())
        });
        // Once for each time that it was asked for: an agent whose container ended with its host is asked again, and asks again.
        let runs: BTreeSet<_> = place
            .rows("SELECT key FROM outbox WHERE file IS NOT NULL ORDER BY id")
            .into_iter()
            .filter(|key| !settled.contains(key))
            .collect();
        assert_eq!(files.len(), runs.len(), "{point}: {:?}", chat.shown);
        let of_runs: BTreeSet<_> = runs.iter().filter_map(|key| key.split('/').nth(2)).collect();
        assert_eq!(of_runs.len(), runs.len(), "{point}: no run asks twice: {runs:?}");
        settled.extend(runs);
        for (came_as, media_type, came) in &files {
            assert_eq!((came_as, &**media_type), (&name, "application/octet-stream"), "{point}");
            assert!(*came == content, "{point}: {} bytes came", came.len());
        }
        until("all is sent", || {
            (place.rows("SELECT DISTINCT state FROM outbox WHERE chat = 'net:-1'") == ["sent"]).then_some(())
        });
        service.signal(Signal::TERM);
        assert_eq!(service.ended().code, Some(0));
    }
    // A host looks when it starts for what nobody needs any more.
    let service = place.service();
    let out = place.home().files().join("out/net_family");
    until("the copies are swept away", || (std::fs::read_dir(&out).unwrap().count() == 0).then_some(()));
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

fn register_when_served(place: &Place) {
    let service = place.service();
    register(place);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}
