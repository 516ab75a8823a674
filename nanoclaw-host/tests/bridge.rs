//! Bridges over a real socket, with a fake host behind it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod channel_fakes;

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use channel_fakes::{Client, FakeHost, FakeIntake, delivery, soon};
use nanoclaw_core::{
    attachment::{Attachment, Fetched, OutgoingFile, SpoolName, SpooledFile},
    channel::{Channel, ChannelCapabilities, Repeat, SendError, Typing},
    chat::{ChatId, ChatKind},
    delivery::{Answered, Delivery, ReplyTo, Sent},
    message::{Author, PlatformMessageId},
    time::Timestamp,
};
use nanoclaw_host::{
    channels::{
        bridge::{BridgeConfig, BridgeListener, Bridges},
        status::ChannelState,
    },
    files::{FileLimits, Spool},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Host {
    intake: Arc<FakeIntake>,
    host: Arc<FakeHost>,
    bridges: Bridges,
    path: PathBuf,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    _home: tempfile::TempDir,
}

impl Host {
    fn start() -> Self {
        Self::with(BridgeConfig::default())
    }

    fn with(config: BridgeConfig) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("bridge.sock");
        let (intake, host) = (FakeIntake::new(), FakeHost::new());
        let listener = BridgeListener::bind(&path, config, intake.clone(), host.clone()).unwrap();
        let bridges = listener.bridges();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(stop.clone()));
        Self { intake, host, bridges, path, stop, serving, _home: home }
    }

    /// A bridge for `tg:` chats that has been welcomed.
    async fn telegram(&self) -> Client {
        self.bridge(json!({"type": "hello", "name": "telegram", "prefixes": ["tg:"], "capabilities": ["typing"]})).await
    }

    async fn bridge(&self, hello: Value) -> Client {
        let call = format!("connected {}", hello["name"].as_str().unwrap());
        let before = self.host.calls().iter().filter(|made| **made == call).count();
        let mut client = Client::connect(&self.path).await;
        client.say(hello).await;
        let welcome = client.hear().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        assert_eq!(welcome["protocol"], 1);
        assert_eq!(welcome["answers"], json!(["is_registered"]));
        self.host.wait_for(&call, before + 1).await;
        client
    }

    /// The error that answers `hello`.
    async fn refusal(&self, hello: Value) -> String {
        let mut client = Client::connect(&self.path).await;
        client.say(hello).await;
        let error = client.hear().await;
        assert_eq!(error["type"], "error", "{error}");
        assert_eq!(client.hear_end().await, None, "the connection is closed");
        error["reason"].as_str().unwrap().to_owned()
    }
}

fn message(id: &str, text: &str) -> Value {
    json!({
        "type": "message", "chat": "tg:-100", "id": id, "sender": "u1", "sender_name": "Ann", "text": text,
        "timestamp_ms": 1_700_000_000_000_i64, "is_group": true,
    })
}

/// Sends in the background, as the orchestrator does.
fn send(channel: &Arc<dyn Channel>, number: i64, text: &str) -> JoinHandle<Result<Sent, SendError>> {
    let (channel, delivery) = (channel.clone(), delivery(number, "tg:-100", text));
    tokio::spawn(async move { channel.send(&delivery).await })
}

async fn outcome(sending: JoinHandle<Result<Sent, SendError>>) -> Result<Sent, SendError> {
    soon("the end of a send", sending).await.unwrap()
}

#[tokio::test]
async fn a_message_reaches_the_inbox_with_everything_the_bridge_said() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let mut said = message("7", "hello");
    said["reply_to"] = json!({"id": "5", "sender_name": "Bob\nEvil", "text": "what?"});
    said["thread"] = json!("t-1");
    said["attachments"] = json!([{"kind": "photo", "name": "a.jpg", "error": "the service\nlost it"}]);
    said["is_from_me"] = json!(true);
    said["some_later_field"] = json!({"x": 1});
    bridge.say(said).await;
    assert_eq!(bridge.hear().await, json!({"type": "accepted", "chat": "tg:-100", "id": "7", "registered": true}));
    let message = host.intake.messages().remove(0);
    assert_eq!((message.chat.as_str(), message.channel.as_str(), message.id.as_str()), ("tg:-100", "telegram", "7"));
    assert_eq!((message.sender.as_str(), message.sender_name.as_str(), message.text.as_str()), ("u1", "Ann", "hello"));
    assert_eq!(message.sent_at, Timestamp::from_ms(1_700_000_000_000));
    assert_eq!((message.chat_kind, message.author), (Some(ChatKind::Group), Author::Owner));
    assert_eq!(message.thread.as_ref().map(PlatformMessageId::as_str), Some("t-1"));
    let quote = message.quote.unwrap();
    assert_eq!((quote.id.as_str(), quote.sender_name.as_deref()), ("5", Some("Bob Evil")));
    let fetched = Fetched::No { reason: Some("the service lost it".to_owned()) };
    assert_eq!(message.attachments, [Attachment { kind: "photo".to_owned(), name: Some("a.jpg".to_owned()), fetched }]);
}

/// A host that takes files of up to 100 bytes, two of a message.
fn host_with_files() -> (Host, Arc<Spool>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let limits = FileLimits { file_bytes: 100, per_message: 2, spool_bytes: 1000, out_bytes: 1000 };
    let spool = Arc::new(Spool::open(folder.path(), limits).unwrap());
    (Host::with(BridgeConfig { files: Some(spool.clone()), ..BridgeConfig::default() }), spool, folder)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn with_files(id: &str, files: &[&str]) -> Value {
    let mut said = message(id, "look");
    said["attachments"] = files.iter().map(|file| json!({"kind": "photo", "name": file, "file": file})).collect();
    said
}

#[tokio::test]
async fn the_files_of_a_message_are_in_the_spool_before_it_is_accepted_and_the_bridges_own_are_gone_after() {
    let (host, spool, folder) = host_with_files();
    let mut bridge = Client::connect(&host.path).await;
    bridge.say(json!({"type": "hello", "name": "telegram", "prefixes": ["tg:"]})).await;
    let welcome = bridge.hear().await;
    assert_eq!(welcome["files"], json!({"folder": "files/arriving", "max_bytes": 100, "max_per_message": 2}));
    for (name, size) in [("a.png", 10), ("large", 101), ("third", 10)] {
        std::fs::write(spool.arriving().join(name), vec![b'x'; size]).unwrap();
    }
    bridge.say(with_files("7", &["a.png", "large", "third", "../secret"])).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
    let message = host.intake.messages().remove(0);
    let [first, large, third, secret] = &message.attachments[..] else { panic!("{message:?}") };
    let Fetched::Yes(file) = &first.fetched else { panic!("{first:?}") };
    assert_eq!((&*file.media_type, file.bytes), ("text/plain", 10));
    assert_eq!(names(&folder.path().join("in")), [file.spool.as_str()]);
    for (attachment, part) in [(large, "larger than 100"), (third, "only 2 files"), (secret, "only 2 files")] {
        let Fetched::No { reason: Some(reason) } = &attachment.fetched else { panic!("{attachment:?}") };
        assert!(reason.contains(part), "{reason}");
    }
    // They go before the word that the message is stored.
    assert_eq!(names(&spool.arriving()), [""; 0]);
}

#[tokio::test]
async fn a_mention_is_what_the_assistant_is_called_in_the_chat() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    bridge
        .say(
            json!({"type": "message", "chat": "tg:1", "id": "7", "sender": "9", "timestamp_ms": 0, "text": "hello @42",
            "mentions": ["@42"]}),
        )
        .await;
    assert_eq!(bridge.hear().await["type"], "accepted");
    assert_eq!(host.intake.messages()[0].text, "@Andy hello @Andy");
}

#[tokio::test]
async fn a_message_that_was_not_stored_is_said_again_with_its_files() {
    let (host, spool, folder) = host_with_files();
    let mut bridge = host.telegram().await;
    std::fs::write(spool.arriving().join("a"), "a file").unwrap();
    host.intake.fail(true);
    bridge.say(with_files("7", &["a"])).await;
    let error = bridge.hear().await;
    assert_eq!((&error["type"], &error["retry"]), (&json!("error"), &json!(true)), "{error}");
    assert_eq!(names(&spool.arriving()), ["a"], "it is still there");
    host.intake.fail(false);
    bridge.say(with_files("7", &["a"])).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
    // Said again after a crash: the bridge has its file no more, and needs none.
    bridge.say(with_files("7", &["a"])).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
    let messages = host.intake.messages();
    let Fetched::Yes(file) = &messages[0].attachments[0].fetched else { panic!("{messages:?}") };
    assert_eq!(std::fs::read(folder.path().join("in").join(file.spool.as_str())).unwrap(), b"a file");
}

#[tokio::test]
async fn a_host_that_cannot_keep_a_file_does_not_take_its_message_either() {
    let (host, spool, folder) = host_with_files();
    let mut bridge = host.telegram().await;
    std::fs::write(spool.arriving().join("a"), "a file").unwrap();
    std::fs::remove_dir(folder.path().join("in")).unwrap();
    bridge.say(with_files("7", &["a"])).await;
    let error = bridge.hear().await;
    assert_eq!((&error["type"], &error["retry"]), (&json!("error"), &json!(true)), "{error}");
    assert!(host.intake.messages().is_empty());
    std::fs::create_dir(folder.path().join("in")).unwrap();
    bridge.say(with_files("7", &["a"])).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
    assert!(matches!(host.intake.messages()[0].attachments[0].fetched, Fetched::Yes(_)));
}

#[tokio::test]
async fn a_host_without_a_spool_says_in_the_message_that_it_takes_no_files() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    bridge.say(with_files("7", &["a"])).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
    let Fetched::No { reason } = &host.intake.messages()[0].attachments[0].fetched else { panic!("no file is taken") };
    assert_eq!(reason.as_deref(), Some("this host takes no files"));
}

/// A message with this file of the group family.
fn file_out(number: i64, content: &[u8], spool: &Spool) -> Delivery {
    let spooled = SpooledFile {
        spool: SpoolName::new(format!("f{number}")).unwrap(),
        media_type: "application/pdf".to_owned(),
        bytes: content.len() as u64,
    };
    let file = OutgoingFile::new("family".parse().unwrap(), "out/Report 1.pdf", spooled);
    let path = spool.path_of(&file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    Delivery { file: Some(file), ..delivery(number, "tg:-100", "") }
}

#[tokio::test]
async fn a_file_that_is_sent_is_read_by_the_bridge_where_the_host_says_that_it_is() {
    let (host, spool, _folder) = host_with_files();
    let hello = json!({"type": "hello", "name": "telegram", "prefixes": ["tg:"], "capabilities": ["files"]});
    let mut bridge = host.bridge(hello).await;
    let channel = host.host.channel("telegram");
    assert!(channel.capabilities().files);
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let with_file = file_out(1, &content, &spool);
    let sending = {
        let (channel, with_file) = (channel.clone(), with_file.clone());
        tokio::spawn(async move { channel.send(&with_file).await })
    };
    let said = bridge.hear().await;
    assert_eq!((&said["type"], &said["text"]), (&json!("send"), &json!("")));
    let files = said["files"].as_array().unwrap();
    assert_eq!(files.len(), 1);
    let path = files[0]["path"].as_str().unwrap();
    assert!(path.starts_with('/'), "{path}");
    assert_eq!(std::fs::read(path).unwrap(), content);
    assert_eq!(
        (&files[0]["name"], &files[0]["media_type"], &files[0]["bytes"]),
        (&json!("Report 1.pdf"), &json!("application/pdf"), &json!(100_000))
    );
    bridge.say(json!({"type": "sent", "key": said["key"]})).await;
    outcome(sending).await.unwrap();
    // A message without a file has no such field.
    let sending = send(&channel, 2, "words");
    let said = bridge.hear().await;
    assert!(said.get("files").is_none(), "{said}");
    bridge.say(json!({"type": "sent", "key": said["key"]})).await;
    outcome(sending).await.unwrap();

    // What is not there, or not whole, is not said at all.
    std::fs::remove_file(spool.path_of(with_file.file.as_ref().unwrap())).unwrap();
    let gone = channel.send(&with_file).await.unwrap_err();
    assert!(matches!(&gone, SendError::Permanent { reason } if reason == "its file is not kept any more"), "{gone:?}");
    let half = file_out(3, b"whole", &spool);
    std::fs::write(spool.path_of(half.file.as_ref().unwrap()), b"hal").unwrap();
    let half = channel.send(&half).await.unwrap_err();
    assert!(matches!(&half, SendError::Permanent { reason } if reason == "its file is damaged"), "{half:?}");
}

#[tokio::test]
async fn a_bridge_takes_files_only_when_it_says_so_and_the_host_has_some() {
    let (host, _spool, _folder) = host_with_files();
    let _bridge = host.telegram().await;
    assert!(!host.host.channel("telegram").capabilities().files);
    let host = Host::start();
    let hello = json!({"type": "hello", "name": "telegram", "prefixes": ["tg:"], "capabilities": ["files"]});
    let _bridge = host.bridge(hello).await;
    assert!(!host.host.channel("telegram").capabilities().files);
}

#[tokio::test]
async fn accepted_is_said_only_after_the_commit() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    host.intake.hold_commits(true);
    bridge.say(message("1", "hello")).await;
    let early = tokio::time::timeout(Duration::from_millis(100), bridge.reader.next_line()).await;
    assert!(early.is_err(), "said before the commit: {early:?}");
    host.intake.hold_commits(false);
    assert_eq!(bridge.hear().await["type"], "accepted");
    assert_eq!(host.intake.texts(), ["hello"]);
}

#[tokio::test]
async fn a_fault_while_a_bridge_is_served_ends_its_connection_and_it_may_come_again() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    host.intake.panic_next();
    bridge.say(message("1", "hello")).await;
    assert_eq!(bridge.hear_end().await, None);
    host.host.wait_for("remove telegram", 1).await;
    soon("its name is free", async {
        while !host.bridges.connected().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut bridge = host.telegram().await;
    bridge.say(message("1", "hello")).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
    assert_eq!(host.intake.texts(), ["hello"]);
    assert!(!host.serving.is_finished());
}

#[tokio::test]
async fn a_message_said_twice_is_accepted_twice_and_kept_once() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    for _ in 0..2 {
        bridge.say(message("1", "hello")).await;
        assert_eq!(bridge.hear().await, json!({"type": "accepted", "chat": "tg:-100", "id": "1", "registered": true}));
    }
    assert_eq!(host.intake.texts(), ["hello"]);
}

#[tokio::test]
async fn a_message_of_an_unregistered_chat_is_accepted_as_such() {
    let host = Host::start();
    host.intake.unregister("tg:-100");
    let mut bridge = host.telegram().await;
    bridge.say(message("1", "hello")).await;
    assert_eq!(bridge.hear().await, json!({"type": "accepted", "chat": "tg:-100", "id": "1", "registered": false}));
}

#[tokio::test]
async fn a_message_that_could_not_be_stored_is_not_accepted_and_may_be_said_again() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    host.intake.fail(true);
    bridge.say(message("1", "hello")).await;
    let error = bridge.hear().await;
    assert_eq!((&error["type"], &error["retry"], &error["id"]), (&json!("error"), &json!(true), &json!("1")));
    assert!(error["reason"].as_str().unwrap().contains("the disk is full"), "{error}");
    host.intake.fail(false);
    bridge.say(message("1", "hello")).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
}

#[tokio::test]
async fn what_is_known_of_a_chat_is_kept() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    bridge.say(json!({"type": "chat", "chat": "tg:5", "name": "Family", "is_group": false, "timestamp_ms": 5})).await;
    // Lines are acted on in order, so when the message is accepted the chat was noted.
    bridge.say(message("1", "x")).await;
    bridge.hear().await;
    let chat = host.intake.chats().remove(0);
    assert_eq!(
        (chat.chat.as_str(), chat.name.as_deref(), chat.kind),
        ("tg:5", Some("Family"), Some(ChatKind::Private))
    );
    assert_eq!(chat.last_seen, Timestamp::from_ms(5));
}

#[tokio::test]
async fn a_refused_line_is_named_and_the_connection_goes_on() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let with = |field: &str, value: Value| {
        let mut line = message("1", "hello");
        line[field] = value;
        line.to_string().into_bytes()
    };
    let without_text = with("text", json!(""));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"{\"type\":\"message\",\"chat\":".to_vec(), "EOF while parsing"),
        (b"not json".to_vec(), "expected"),
        (b"[1,2]".to_vec(), "invalid"),
        (b"{\"chat\":\"tg:1\"}".to_vec(), "missing field `type`"),
        (b"{\"type\":\"dance\"}".to_vec(), "unknown variant `dance`"),
        (b"{\"type\":\"message\",\"chat\":\"tg:\xff\"}".to_vec(), "not UTF-8"),
        (b"\x00\x01\x02".to_vec(), "expected"),
        (vec![b'x'; (1 << 20) + 1], "the line has 1048577 bytes; at most 1048576 are taken"),
        (
            [&b"{\"type\":\"sent\",\"key\":\"k\",\"platform_id\":"[..], &b"[".repeat(100_000)].concat(),
            "recursion limit",
        ),
        (with("chat", json!("tg:\u{7}")), "control character"),
        (with("id", json!("1\n2")), "control character"),
        (with("id", json!("")), "is empty"),
        (with("id", json!("x".repeat(257))), "is too long"),
        (with("sender", json!("\u{0}")), "control character"),
        (with("chat", json!("slack:C1")), "the chat slack:C1 is not one of telegram's (tg:)"),
        (with("timestamp_ms", json!(-1)), "timestamp_ms -1 is out of range"),
        (with("timestamp_ms", json!(253_402_300_800_000_i64)), "out of range"),
        (with("timestamp_ms", json!(1e300)), "invalid type: floating point"),
        (with("timestamp_ms", json!("now")), "invalid type: string"),
        (without_text, "neither text nor attachments"),
        (with("attachments", json!([{"kind": " \n"}])), "needs a kind"),
        (b"{\"type\":\"hello\",\"name\":\"telegram\",\"prefixes\":[\"tg:\"]}".to_vec(), "hello was said already"),
        (b"{\"type\":\"chat\",\"chat\":\"dc:1\"}".to_vec(), "the chat dc:1 is not one of telegram's"),
        (b"{\"type\":\"sent\",\"key\":\"\"}".to_vec(), "is empty"),
    ];
    for (index, (line, reason)) in cases.iter().enumerate() {
        bridge.say_raw(line).await;
        bridge.say_raw(b"\n").await;
        let error = bridge.hear().await;
        let shown = String::from_utf8_lossy(&line[..line.len().min(80)]);
        assert_eq!(error["type"], "error", "{shown}: {error}");
        assert!(error["reason"].as_str().unwrap().contains(reason), "{shown}: {error}");
        assert_eq!(error["line"], json!(index + 2), "the hello was line 1");
        assert_eq!(error.get("retry"), None);
    }
    bridge.say(message("2", "still here")).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
    assert_eq!(host.intake.texts(), ["still here"]);
}

#[tokio::test]
async fn a_line_without_end_closes_the_connection_after_an_error() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let chunk = vec![b'x'; 1 << 20];
    let Client { reader, writer } = &mut bridge;
    let flood = async {
        use tokio::io::AsyncWriteExt;
        while writer.write_all(&chunk).await.is_ok() {}
    };
    let error = soon("the error", async { tokio::join!(flood, reader.next_line()).1 }).await.unwrap().unwrap();
    assert!(error.contains("the line does not end"), "{error}");
    host.host.wait_for("remove telegram", 1).await;
}

#[tokio::test]
async fn a_torn_last_line_is_not_acted_on() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let line = message("1", "hello").to_string();
    bridge.say_raw(line.as_bytes()).await;
    drop(bridge);
    host.host.wait_for("remove telegram", 1).await;
    assert_eq!(host.intake.texts(), Vec::<String>::new());
}

#[tokio::test]
async fn a_bridge_becomes_a_channel_with_what_it_can() {
    let host = Host::start();
    let hello = json!({
        "type": "hello", "name": "whatsapp", "protocol": 1, "suffixes": ["@g.us", "@s.whatsapp.net"],
        "capabilities": ["deduplicates", "flies"],
    });
    let _bridge = host.bridge(hello).await;
    assert_eq!(host.host.calls(), ["add whatsapp", "connected whatsapp"]);
    let channel = host.host.channel("whatsapp");
    assert_eq!(
        channel.capabilities(),
        ChannelCapabilities { repeat: Repeat::Deduplicated, typing: false, files: false }
    );
    assert!(channel.owns(&ChatId::new("1203@g.us").unwrap()));
    assert!(!channel.owns(&ChatId::new("tg:1203@g.us").unwrap()));
    let connected = host.bridges.connected();
    assert_eq!(connected.len(), 1);
    assert_eq!(connected[0].chats(), "@g.us, @s.whatsapp.net");
    assert!(connected[0].state().is_connected(), "it never says how its service stands");
}

#[tokio::test]
async fn a_bridge_says_how_it_stands_with_its_service_and_the_owner_is_told_when_it_is_refused() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let watch = host.bridges.connected().remove(0);
    for (said, expected) in [
        (json!({"type": "status", "state": "connecting"}), ChannelState::Connecting),
        (
            json!({"type": "status", "state": "connecting", "reason": "no route\nto it"}),
            ChannelState::Waiting { reason: "no route to it".to_owned(), next_try: None },
        ),
        (
            json!({"type": "status", "state": "refused", "reason": "logged out", "remedy": "link it again"}),
            ChannelState::Refused { reason: "logged out".to_owned(), remedy: "link it again".to_owned() },
        ),
    ] {
        bridge.say(said).await;
        soon("its word", watch.wait_for(|state| *state == expected)).await.unwrap();
    }
    assert_eq!(host.intake.told(1).await, ["refused telegram: logged out; link it again"]);
    bridge.say(json!({"type": "status", "state": "connected"})).await;
    soon("the connection", watch.wait_for(ChannelState::is_connected)).await.unwrap();
    host.host.wait_for("connected telegram", 2).await;
    assert_eq!(host.intake.told(1).await.len(), 1);
}

#[tokio::test]
async fn a_bridge_says_of_which_chat_it_hears_nothing_any_more() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    bridge.say(json!({"type": "chat", "chat": "tg:1", "left": true, "reason": "the group was deleted"})).await;
    bridge.say(json!({"type": "chat", "chat": "tg:2", "left": true, "timestamp_ms": 1})).await;
    let told = host.intake.told(2).await;
    assert_eq!(told, ["left tg:1: the group was deleted", "left tg:2: the assistant is not in it any more"]);
    assert!(host.intake.chats().is_empty(), "nothing is known of it but that");
}

#[tokio::test]
async fn a_bad_hello_is_refused_with_the_reason_and_the_connection_closed() {
    let host = Host::start();
    let hello = |name: &str, prefixes: Value| json!({"type": "hello", "name": name, "prefixes": prefixes});
    let cases = [
        (message("1", "first"), "the first line must be a hello"),
        (json!("?"), "the first line must be a hello"),
        (hello("Tele gram", json!(["tg:"])), "lower-case letters"),
        (hello("telegram", json!([])), "at least one prefix"),
        (hello("telegram", json!(["tg"])), "must end with `:`"),
        (hello("telegram", json!(["local:"])), "local: overlaps local:, which belongs to local"),
        (hello("local", json!(["tg:"])), "belongs to a channel of the host itself"),
        (json!({"type": "hello", "name": "x", "prefixes": ["x:"], "protocol": 2}), "speaks version 1"),
    ];
    for (hello, reason) in cases {
        let refusal = host.refusal(hello.clone()).await;
        assert!(refusal.contains(reason), "{hello}: {refusal}");
    }
    assert_eq!(host.host.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let host = Host::with(BridgeConfig { hello_timeout: Duration::from_millis(50), ..BridgeConfig::default() });
    let mut client = Client::connect(&host.path).await;
    assert!(client.hear().await["reason"].as_str().unwrap().contains("no hello came within 50ms"));
    assert_eq!(client.hear_end().await, None);
}

#[tokio::test]
async fn one_connection_too_many_is_turned_away() {
    let host = Host::with(BridgeConfig { max_connections: 1, ..BridgeConfig::default() });
    let bridge = host.telegram().await;
    let mut client = Client::connect(&host.path).await;
    assert_eq!(client.hear().await["reason"], "too many bridges are connected");
    assert_eq!(client.hear_end().await, None);
    drop(bridge);
    host.host.wait_for("remove telegram", 1).await;
}

#[tokio::test]
async fn two_bridges_cannot_have_the_same_name_or_chats() {
    let host = Host::start();
    let bridge = host.telegram().await;
    let same_name = json!({"type": "hello", "name": "telegram", "prefixes": ["other:"]});
    assert_eq!(host.refusal(same_name).await, "a bridge named telegram is connected already");
    let same_chats = json!({"type": "hello", "name": "second", "prefixes": ["dc:", "tg:"]});
    assert_eq!(host.refusal(same_chats).await, "tg: overlaps tg:, which belongs to telegram");
    drop(bridge);
    host.host.wait_for("remove telegram", 1).await;
    let _second = host.bridge(json!({"type": "hello", "name": "second", "prefixes": ["dc:", "tg:"]})).await;
}

#[tokio::test]
async fn a_reply_is_sent_with_its_key_and_counts_when_the_bridge_says_so() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let sending = send(&host.host.channel("telegram"), 1, "hi \"there\"\n");
    let line = bridge.hear().await;
    assert_eq!(line, json!({"type": "send", "key": "reply/family/1/1", "chat": "tg:-100", "text": "hi \"there\"\n"}));
    assert!(!sending.is_finished());
    bridge.say(json!({"type": "sent", "key": line["key"], "platform_id": "99"})).await;
    assert_eq!(outcome(sending).await.unwrap().platform_id.unwrap().as_str(), "99");
    // Again, and for a key that never was: nothing happens.
    bridge.say(json!({"type": "sent", "key": line["key"], "platform_id": "100"})).await;
    bridge.say(json!({"type": "sent", "key": "unheard of"})).await;
    bridge.say(message("1", "x")).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
}

#[tokio::test]
async fn an_answer_is_said_with_the_message_that_it_answers() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let channel = host.host.channel("telegram");
    let reply_to = ReplyTo { id: "7".parse().unwrap(), sender: "99".parse().unwrap(), text: "what?".to_owned() };
    let in_thread = Answered { reply_to: None, thread: Some("t-1".parse().unwrap()) };
    for (number, answered, expected) in [
        (1, Answered::default(), [Value::Null, Value::Null]),
        (2, in_thread.clone(), [Value::Null, json!("t-1")]),
        (
            3,
            Answered { reply_to: Some(reply_to), ..in_thread },
            [json!({"id": "7", "sender": "99", "text": "what?"}), json!("t-1")],
        ),
    ] {
        let delivery = Delivery { answered, ..delivery(number, "tg:-100", "words") };
        let sending = {
            let channel = channel.clone();
            tokio::spawn(async move { channel.send(&delivery).await })
        };
        let said = bridge.hear().await;
        // What is not there is not said either.
        assert_eq!(["reply_to", "thread"].map(|field| said.get(field).cloned().unwrap_or_default()), expected);
        assert!(said.as_object().unwrap().values().all(|value| !value.is_null()), "{said}");
        bridge.say(json!({"type": "sent", "key": said["key"]})).await;
        outcome(sending).await.unwrap();
    }
}

#[tokio::test]
async fn a_strange_platform_id_does_not_make_a_sent_message_unsent() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    for (number, (id, kept, complaint)) in [
        (json!(99), Some("99"), false),
        (json!("a\u{1}"), None, true),
        (json!([]), None, true),
        (Value::Null, None, false),
    ]
    .into_iter()
    .enumerate()
    {
        let sending = send(&host.host.channel("telegram"), i64::try_from(number).unwrap(), "hi");
        let key = bridge.hear().await["key"].clone();
        bridge.say(json!({"type": "sent", "key": key, "platform_id": id})).await;
        assert_eq!(outcome(sending).await.unwrap().platform_id.as_ref().map(|id| id.as_str()), kept);
        if complaint {
            assert!(bridge.hear().await["reason"].as_str().unwrap().contains("counts as sent"));
        }
    }
}

#[tokio::test]
async fn f18_a_send_that_failed_is_reported_as_failed() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let channel = host.host.channel("telegram");

    let sending = send(&channel, 1, "hi");
    let key = bridge.hear().await["key"].clone();
    bridge.say(json!({"type": "failed", "key": key, "error": "slow down", "retry_after_ms": 1500})).await;
    let error = outcome(sending).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Retry { reason, after: Some(after) } if reason == "slow down" && after.as_millis() == 1500),
        "{error:?}"
    );

    let sending = send(&channel, 1, "hi");
    let key = bridge.hear().await["key"].clone();
    bridge.say(json!({"type": "failed", "key": key, "error": "the chat is gone", "permanent": true})).await;
    let error = outcome(sending).await.unwrap_err();
    assert!(matches!(&error, SendError::Permanent { reason } if reason == "the chat is gone"), "{error:?}");
}

#[tokio::test]
async fn a_bridge_may_say_that_it_does_not_know_whether_a_message_was_sent() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let sending = send(&host.host.channel("telegram"), 1, "hi");
    let key = bridge.hear().await["key"].clone();
    bridge.say(json!({"type": "failed", "key": key, "error": "a timeout", "unknown": true})).await;
    let error = outcome(sending).await.unwrap_err();
    assert!(matches!(&error, SendError::Unknown { reason } if reason == "a timeout"), "{error:?}");
}

#[tokio::test]
async fn f20_a_send_that_was_acknowledged_cannot_fail_any_more() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let channel = host.host.channel("telegram");
    let sending = send(&channel, 1, "hi");
    let key = bridge.hear().await["key"].clone();
    bridge.say(json!({"type": "sent", "key": key, "platform_id": "7"})).await;
    bridge.say(json!({"type": "failed", "key": key, "error": "it was not"})).await;
    assert_eq!(outcome(sending).await.unwrap().platform_id.unwrap().as_str(), "7");
    // The connection goes on.
    bridge.say(message("1", "x")).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
}

#[tokio::test]
async fn a_bridge_that_finds_is_asked_and_says_what_became_of_a_message() {
    let host = Host::start();
    let hello = json!({"type": "hello", "name": "telegram", "prefixes": ["tg:"], "capabilities": ["finds"]});
    let mut bridge = host.bridge(hello).await;
    let channel = host.host.channel("telegram");
    assert_eq!(channel.capabilities().repeat, Repeat::LookedUp);
    let find = || {
        let channel = channel.clone();
        tokio::spawn(async move { channel.find(&delivery(1, "tg:1", "hi")).await })
    };

    let finding = find();
    let asked = bridge.hear().await;
    assert_eq!(asked, json!({"type": "find", "key": "reply/family/1/1", "chat": "tg:1", "text": "hi"}));
    bridge.say(json!({"type": "sent", "key": asked["key"], "platform_id": 7})).await;
    let found = soon("an answer", finding).await.unwrap().unwrap();
    assert_eq!(found.unwrap().platform_id.unwrap().as_str(), "7");

    let finding = find();
    bridge.hear().await;
    bridge.say(json!({"type": "not_found", "key": asked["key"]})).await;
    assert!(soon("an answer", finding).await.unwrap().unwrap().is_none());

    let finding = find();
    bridge.hear().await;
    bridge.say(json!({"type": "failed", "key": asked["key"], "error": "no history", "permanent": true})).await;
    assert!(matches!(soon("an answer", finding).await.unwrap(), Err(SendError::Permanent { .. })));

    let finding = find();
    bridge.hear().await;
    drop(bridge);
    assert!(matches!(soon("an answer", finding).await.unwrap(), Err(SendError::Unknown { .. })));
}

#[tokio::test]
async fn sends_are_answered_in_any_order() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let channel = host.host.channel("telegram");
    let sendings: Vec<_> = (0..50).map(|number| send(&channel, number, "hi")).collect();
    let mut keys = Vec::new();
    for _ in 0..50 {
        keys.push(bridge.hear().await["key"].as_str().unwrap().to_owned());
    }
    keys.reverse();
    for (index, key) in keys.iter().enumerate() {
        bridge.say(message(&index.to_string(), "in between")).await;
        bridge.say(json!({"type": "sent", "key": key, "platform_id": key})).await;
    }
    for (number, sending) in sendings.into_iter().enumerate() {
        assert_eq!(outcome(sending).await.unwrap().platform_id.unwrap().as_str(), format!("reply/family/1/{number}"));
    }
    host.intake.wait_for(50).await;
}

#[tokio::test]
async fn a_bridge_that_vanishes_fails_its_sends_at_once() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let channel = host.host.channel("telegram");
    let sending = send(&channel, 1, "hi");
    bridge.hear().await;
    drop(bridge);
    let error = outcome(sending).await.unwrap_err();
    assert!(matches!(&error, SendError::Unknown { .. }), "the bridge may have sent it: {error:?}");
    host.host.wait_for("remove telegram", 1).await;
    assert!(matches!(outcome(send(&channel, 1, "hi")).await, Err(SendError::NotConnected { .. })));
    // The next connection is a channel of its own, and gets it.
    let mut bridge = host.telegram().await;
    let sending = send(&host.host.channel("telegram"), 1, "hi");
    let key = bridge.hear().await["key"].clone();
    bridge.say(json!({"type": "sent", "key": key})).await;
    outcome(sending).await.unwrap();
    assert_eq!(
        host.host.calls(),
        ["add telegram", "connected telegram", "remove telegram", "add telegram", "connected telegram"]
    );
}

#[tokio::test]
async fn a_bridge_that_does_not_answer_is_tried_again_and_late_word_counts() {
    let host = Host::with(BridgeConfig { send_timeout: Duration::from_millis(50), ..BridgeConfig::default() });
    let mut bridge = host.telegram().await;
    let channel = host.host.channel("telegram");
    let error = outcome(send(&channel, 1, "hi")).await.unwrap_err();
    assert!(matches!(&error, SendError::Unknown { .. }), "{error:?}");
    assert!(error.to_string().contains("did not say whether it sent the message within 50ms"), "{error}");
    let key = bridge.hear().await["key"].clone();
    bridge.say(json!({"type": "sent", "key": key, "platform_id": "7"})).await;
    bridge.say(message("1", "x")).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
    // The user has it already: it is not sent again.
    assert_eq!(outcome(send(&channel, 1, "hi")).await.unwrap().platform_id.unwrap().as_str(), "7");
}

#[tokio::test]
async fn word_that_nobody_waits_for_goes_to_the_host_whichever_connection_it_comes_by() {
    let host = Host::with(BridgeConfig { send_timeout: Duration::from_millis(50), ..BridgeConfig::default() });
    let mut bridge = host.telegram().await;
    outcome(send(&host.host.channel("telegram"), 1, "hi")).await.unwrap_err();
    let key = bridge.hear().await["key"].clone();
    bridge.say(json!({"type": "sent", "key": key, "platform_id": "7"})).await;
    host.host.wait_for("late reply/family/1/1 sent 7 by telegram", 1).await;
    drop(bridge);
    host.host.wait_for("remove telegram", 1).await;
    let mut bridge = host.telegram().await;
    bridge.say(json!({"type": "failed", "key": key, "error": "slow down", "retry_after_ms": 5})).await;
    host.host.wait_for("late reply/family/1/1 failed slow down by telegram", 1).await;
    bridge.say(json!({"type": "failed", "key": key, "error": "no idea", "unknown": true})).await;
    bridge.say(json!({"type": "not_found", "key": key})).await;
    bridge.say(message("1", "x")).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
    let late = host.host.calls().into_iter().filter(|call| call.starts_with("late")).count();
    assert_eq!(late, 2, "what says nothing of the message goes nowhere");
}

#[tokio::test]
async fn a_bridge_that_can_be_asked_is_asked_again_when_it_says_late_that_something_failed() {
    let host = Host::start();
    let hello = json!({"type": "hello", "name": "telegram", "prefixes": ["tg:"], "capabilities": ["finds"]});
    let mut bridge = host.bridge(hello).await;
    // It may mean a question that nobody waits for any more.
    bridge.say(json!({"type": "failed", "key": "reply/family/1/1", "error": "no history"})).await;
    bridge.say(json!({"type": "sent", "key": "reply/family/1/1"})).await;
    host.host.wait_for("late reply/family/1/1 sent  by telegram", 1).await;
    assert!(!host.host.calls().iter().any(|call| call.contains("failed")), "{:?}", host.host.calls());
}

#[tokio::test]
async fn word_of_a_send_that_was_called_off_counts() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let channel = host.host.channel("telegram");
    let sending = send(&channel, 1, "hi");
    let key = bridge.hear().await["key"].clone();
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    bridge.say(json!({"type": "sent", "key": key, "platform_id": "7"})).await;
    bridge.say(message("1", "x")).await;
    assert_eq!(bridge.hear().await["type"], "accepted");
    assert_eq!(outcome(send(&channel, 1, "hi")).await.unwrap().platform_id.unwrap().as_str(), "7");
}

#[tokio::test]
async fn a_bridge_that_does_not_read_holds_up_nobody_else_and_is_disconnected() {
    let host = Host::with(BridgeConfig {
        send_timeout: Duration::from_millis(200),
        stall_timeout: Duration::from_millis(400),
        ..BridgeConfig::default()
    });
    let stuck = host.bridge(json!({"type": "hello", "name": "stuck", "prefixes": ["stuck:"]})).await;
    let mut bridge = host.telegram().await;
    let channel = host.host.channel("stuck");
    // More than the socket and the queue take.
    let big = "x".repeat(100_000);
    let sendings: Vec<_> = (0..100).map(|number| send(&channel, number, &big)).collect();
    let sending = send(&host.host.channel("telegram"), 1, "hi");
    let key = bridge.hear().await["key"].clone();
    bridge.say(json!({"type": "sent", "key": key})).await;
    outcome(sending).await.unwrap();
    for sending in sendings {
        let error = outcome(sending).await.unwrap_err();
        assert!(!matches!(error, SendError::Permanent { .. }), "{error:?}");
    }
    host.host.wait_for("remove stuck", 1).await;
    drop(stuck);
}

#[tokio::test]
async fn a_flood_of_one_bridge_holds_up_nobody_else_and_loses_nothing() {
    let host = Host::start();
    let mut flooder = host.bridge(json!({"type": "hello", "name": "flooder", "prefixes": ["fl:"]})).await;
    let mut bridge = host.telegram().await;
    let flood = tokio::spawn(async move {
        let mut lines = String::new();
        for id in 0..5000 {
            let mut line = message(&id.to_string(), "flood");
            line["chat"] = json!("fl:1");
            lines.push_str(&format!("{line}\nrubbish\n"));
        }
        let Client { reader, writer } = &mut flooder;
        let write = async {
            use tokio::io::AsyncWriteExt;
            writer.write_all(lines.as_bytes()).await.unwrap();
        };
        let read = async {
            let (mut accepted, mut errors) = (0, 0);
            while accepted + errors < 10_000 {
                let line = reader.next_line().await.unwrap().unwrap();
                if line.contains("\"accepted\"") { accepted += 1 } else { errors += 1 }
            }
            (accepted, errors)
        };
        tokio::join!(write, read).1
    });
    for id in 0..20 {
        bridge.say(message(&id.to_string(), "calm")).await;
        assert_eq!(bridge.hear().await["type"], "accepted");
    }
    assert_eq!(soon("the flood's end", flood).await.unwrap(), (5000, 5000));
    assert_eq!(host.intake.texts().iter().filter(|text| *text == "flood").count(), 5000);
}

#[tokio::test]
async fn a_bridge_is_told_which_chats_are_groups_when_it_asks() {
    let host = Host::start();
    host.intake.unregister("tg:2");
    let mut bridge = host.telegram().await;
    for (chat, registered) in [("tg:1", true), ("tg:2", false)] {
        bridge.say(json!({"type": "is_registered", "chat": chat})).await;
        assert_eq!(bridge.hear().await, json!({"type": "registered", "chat": chat, "registered": registered}));
    }
    bridge.say(json!({"type": "is_registered", "chat": "slack:C1"})).await;
    let refused = bridge.hear().await;
    assert_eq!((&refused["type"], &refused["chat"]), (&json!("error"), &json!("slack:C1")), "{refused}");
}

#[tokio::test]
async fn typing_goes_only_to_a_bridge_that_can_show_it() {
    let host = Host::start();
    let mut bridge = host.telegram().await;
    let mut plain = host.bridge(json!({"type": "hello", "name": "plain", "prefixes": ["pl:"]})).await;
    let chat = ChatId::new("tg:-100").unwrap();
    let thread = "4700".parse().unwrap();
    host.host.channel("telegram").set_typing(&chat, Some(&thread), Typing::On).await;
    host.host.channel("telegram").set_typing(&chat, None, Typing::Off).await;
    host.host.channel("plain").set_typing(&ChatId::new("pl:1").unwrap(), None, Typing::On).await;
    host.bridges.sync_groups();
    assert_eq!(bridge.hear().await, json!({"type": "typing", "chat": "tg:-100", "thread": "4700", "on": true}));
    assert_eq!(bridge.hear().await, json!({"type": "typing", "chat": "tg:-100", "on": false}));
    assert_eq!(bridge.hear().await, json!({"type": "sync_groups"}));
    assert_eq!(plain.hear().await, json!({"type": "sync_groups"}));
}

#[tokio::test]
async fn stopping_ends_all_connections_and_removes_the_socket() {
    let host = Host::start();
    assert_eq!(std::fs::metadata(&host.path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut bridge = host.telegram().await;
    let sending = send(&host.host.channel("telegram"), 1, "hi");
    bridge.hear().await;
    host.stop.cancel();
    assert!(matches!(outcome(sending).await, Err(SendError::Unknown { .. })));
    assert_eq!(bridge.hear_end().await, None);
    soon("the end of the listener", host.serving).await.unwrap();
    assert!(!host.path.exists());
}

/// The bridge that `docs/bridge-protocol.md` shows is written to a file and run.
#[tokio::test]
async fn the_bridge_in_the_documentation_works_as_it_stands() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: needs python3");
        return;
    }
    let doc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bridge-protocol.md");
    let doc = std::fs::read_to_string(doc).unwrap();
    let program = doc.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a Python example");
    let host = Host::start();
    let script = host.path.with_file_name("bridge.py");
    std::fs::write(&script, program).unwrap();
    let mut python = std::process::Command::new("python3")
        .arg(&script)
        .arg(&host.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    host.host.wait_for("connected console", 1).await;
    let mut stdin = python.stdin.take().unwrap();
    writeln!(stdin, "hello Grüße").unwrap();
    host.intake.wait_for(1).await;
    let message = host.intake.messages().remove(0);
    assert_eq!((message.chat.as_str(), message.text.as_str()), ("console:main", "hello Grüße"));
    let channel = host.host.channel("console");
    // The same key twice, as after a crash of the host: shown once.
    for _ in 0..2 {
        let delivery = delivery(1, "console:main", "hi there");
        soon("the send", channel.send(&delivery)).await.unwrap();
    }
    // The end of its input ends it, and with it the connection.
    drop(stdin);
    host.host.wait_for("remove console", 1).await;
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "hi there\n");
}
