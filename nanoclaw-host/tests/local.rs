//! Terminals over a real socket, with a fake host behind it; and `nanoclaw chat` as their program.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod channel_fakes;

use std::{
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use channel_fakes::{Client, FakeHost, FakeIntake, FakeReception, delivery, soon};
use nanoclaw_core::{
    attachment::{OutgoingFile, SpoolName, SpooledFile},
    channel::{Channel, SendError, Typing},
    chat::ChatId,
    delivery::{Delivery, DeliveryKey, OutboxId, Sent},
    group::GroupFolder,
    message::{Author, Seq},
    orchestrator::Notice,
    run::Trouble,
};
use nanoclaw_host::{
    channels::{
        local::{LocalChannel, LocalListener, wire::PROTOCOL},
        ports::AnsweredSoFar,
    },
    cli::chat::{AtEnd, ChatArgs, Ending, Streams, converse, say_and_wait},
    unix_socket,
};
use serde_json::{Value, json};
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

const MAIN: &str = "local:main";

struct Host {
    channel: Arc<LocalChannel>,
    intake: Arc<FakeIntake>,
    host: Arc<FakeHost>,
    reception: Arc<FakeReception>,
    notices: broadcast::Sender<Notice>,
    path: PathBuf,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    _home: tempfile::TempDir,
}

impl Host {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("local.sock");
        let (channel, intake) = (Arc::new(LocalChannel::new(&home.path().join("groups"))), FakeIntake::new());
        let (host, reception) = (FakeHost::new(), FakeReception::new());
        let listener =
            LocalListener::bind(&path, channel.clone(), intake.clone(), host.clone(), reception.clone()).unwrap();
        let (notices, receiver) = broadcast::channel(4);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(receiver, stop.clone()));
        Self { channel, intake, host, reception, notices, path, stop, serving, _home: home }
    }

    /// A terminal that is attached to `local:main`.
    async fn terminal(&self) -> Client {
        let before = self.host.calls().len();
        let mut client = Client::connect(&self.path).await;
        client.say(json!({"type": "attach", "chat": MAIN, "protocol": PROTOCOL})).await;
        let attached = client.hear().await;
        assert_eq!(attached["type"], "attached", "{attached}");
        self.host.wait_for("connected local", before + 1).await;
        client
    }

    fn send(&self, number: i64, text: &str) -> JoinHandle<Result<Sent, SendError>> {
        self.send_delivery(delivery(number, MAIN, text))
    }

    fn send_delivery(&self, delivery: Delivery) -> JoinHandle<Result<Sent, SendError>> {
        let channel = self.channel.clone();
        tokio::spawn(async move { channel.send(&delivery).await })
    }

    fn answered(&self, through: i64, reply: Option<i64>) {
        let (group, chat) = (family(), MAIN.parse().unwrap());
        let notice = Notice::Answered { group, chat, through: Seq(through), reply: reply.map(OutboxId) };
        self.notices.send(notice).unwrap();
    }

    /// Answers each message as the orchestrator would: `heard TEXT`, by way of the outbox, `through` last.
    fn answer(self: &Arc<Self>) -> JoinHandle<()> {
        let host = self.clone();
        tokio::spawn(async move {
            for number in 1.. {
                let count = usize::try_from(number).unwrap();
                host.intake.wait_for(count).await;
                let text = format!("heard {}", host.intake.texts()[count - 1]);
                host.channel.set_typing(&MAIN.parse().unwrap(), None, Typing::On).await;
                // The notice may overtake the delivery; the terminal must not notice.
                host.answered(number, Some(number));
                tokio::task::yield_now().await;
                let _ = host.send(number, &text).await;
                host.channel.set_typing(&MAIN.parse().unwrap(), None, Typing::Off).await;
            }
        })
    }
}

fn family() -> GroupFolder {
    GroupFolder::new("main").unwrap()
}

fn say(id: &str, text: &str) -> Value {
    json!({"type": "say", "id": id, "text": text, "sender_name": "Ann"})
}

async fn outcome(sending: JoinHandle<Result<Sent, SendError>>) -> Result<Sent, SendError> {
    soon("the end of a send", sending).await.unwrap()
}

#[tokio::test]
async fn a_terminal_is_told_whom_it_talks_to() {
    let host = Host::start();
    host.reception.welcome.lock().unwrap().hint = Some("no model is configured".to_owned());
    let mut client = Client::connect(&host.path).await;
    client.say(json!({"type": "attach", "chat": MAIN, "protocol": PROTOCOL})).await;
    let attached = json!({
        "type": "attached", "chat": MAIN, "assistant": "Andy", "registered": true, "hint": "no model is configured",
    });
    assert_eq!(client.hear().await, attached);
    host.host.wait_for("connected local", 1).await;
}

#[tokio::test]
async fn a_file_is_shown_by_the_place_where_its_agent_has_it() {
    let host = Host::start();
    assert!(host.channel.capabilities().files);
    let mut terminal = host.terminal().await;
    let spool = SpoolName::new("5f0c").unwrap();
    let spooled = SpooledFile { spool, media_type: "application/pdf".to_owned(), bytes: 12_595 };
    let file = OutgoingFile::new(family(), "out/report.pdf", spooled);
    let sending = host.send_delivery(Delivery { file: Some(file), ..delivery(1, MAIN, "the report") });
    let reply = terminal.hear().await;
    let place = host.path.parent().unwrap().join("groups/main/out/report.pdf");
    assert_eq!(
        reply["file"],
        json!({"name": "report.pdf", "media_type": "application/pdf", "bytes": 12_595, "path": place})
    );
    assert_eq!(reply["text"], "the report");
    terminal.say(json!({"type": "shown", "key": reply["key"]})).await;
    outcome(sending).await.unwrap();
}

#[tokio::test]
async fn a_terminal_that_does_not_attach_properly_is_refused() {
    let host = Host::start();
    for (line, reason) in [
        (json!({"type": "attach", "chat": "tg:1", "protocol": PROTOCOL}), "not a chat of the terminal"),
        (json!({"type": "attach", "chat": "local:", "protocol": PROTOCOL}), "not a chat of the terminal"),
        (json!({"type": "attach", "chat": MAIN, "protocol": 99}), "another version"),
        (say("1", "hello"), "must be an attach"),
        (json!("what"), "must be an attach"),
    ] {
        let mut client = Client::connect(&host.path).await;
        client.say(line.clone()).await;
        let error = client.hear().await;
        assert!(error["reason"].as_str().unwrap().contains(reason), "{line}: {error}");
        assert_eq!(client.hear_end().await, None);
    }
    assert_eq!(host.host.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_said_is_accepted_after_the_commit_and_once() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    host.intake.hold_commits(true);
    terminal.say(say("a", "hello")).await;
    let early = tokio::time::timeout(Duration::from_millis(100), terminal.reader.next_line()).await;
    assert!(early.is_err(), "said before the commit: {early:?}");
    host.intake.hold_commits(false);
    assert_eq!(terminal.hear().await, json!({"type": "accepted", "id": "a", "seq": 1, "wakes": true}));
    terminal.say(say("a", "hello")).await;
    assert_eq!(terminal.hear().await["seq"], 1);
    let messages = host.intake.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!((messages[0].author, messages[0].sender_name.as_str()), (Author::Owner, "Ann"));
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_by_its_id() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    terminal.say(say("a", "  \n")).await;
    assert_eq!(terminal.hear().await, json!({"type": "error", "reason": "there is nothing in the message", "id": "a"}));
    host.intake.fail(true);
    terminal.say(say("b", "hello")).await;
    let error = terminal.hear().await;
    assert_eq!(error["id"], "b");
    assert!(error["reason"].as_str().unwrap().contains("the disk is full"), "{error}");
    terminal.say_raw(b"{torn\n").await;
    assert_eq!(terminal.hear().await["type"], "error");
    host.intake.fail(false);
    host.intake.unregister(MAIN);
    terminal.say(say("c", "hello")).await;
    assert_eq!(terminal.hear().await, json!({"type": "accepted", "id": "c", "seq": null, "wakes": false}));
}

#[tokio::test]
async fn a_reply_is_sent_when_it_is_shown() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    let sending = host.send(1, "hi");
    let reply = terminal.hear().await;
    assert_eq!(reply, json!({"type": "reply", "key": "reply/family/1/1", "text": "hi"}));
    assert!(!sending.is_finished());
    terminal.say(json!({"type": "shown", "key": "something else"})).await;
    terminal.say(json!({"type": "shown", "key": reply["key"]})).await;
    assert_eq!(outcome(sending).await.unwrap(), Sent::default());
}

#[tokio::test]
async fn without_a_terminal_a_reply_waits_and_the_next_terminal_makes_it_come() {
    let host = Host::start();
    assert!(matches!(outcome(host.send(1, "hi")).await, Err(SendError::NotConnected { .. })));
    let _terminal = host.terminal().await;
    assert_eq!(host.host.calls(), ["connected local"], "so the orchestrator tries again");
}

#[tokio::test]
async fn f18_a_reply_that_no_terminal_showed_is_not_sent() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    let sending = host.send(1, "hi");
    terminal.hear().await;
    drop(terminal);
    let error = outcome(sending).await.unwrap_err();
    assert!(matches!(&error, SendError::NotConnected { reason } if reason == "no terminal is attached to local:main"));
    let mut terminal = host.terminal().await;
    let sending = host.send(1, "hi");
    assert_eq!(terminal.hear().await["text"], "hi");
    terminal.say(json!({"type": "shown", "key": "reply/family/1/1"})).await;
    outcome(sending).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_terminal_that_is_suspended_uses_up_no_tries_and_shows_the_reply_when_it_goes_on() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    let key = json!("reply/family/1/1");
    for _ in 0..3 {
        let error = host.send(1, "hi").await.unwrap().unwrap_err();
        assert!(matches!(&error, SendError::NotConnected { reason } if reason.contains("suspended")), "{error:?}");
    }
    let connected = host.host.calls().len();
    assert_eq!(terminal.hear().await, json!({"type": "reply", "key": key, "text": "hi"}), "once");
    terminal.say(json!({"type": "shown", "key": key})).await;
    host.host.wait_for("connected local", connected + 1).await;
    assert_eq!(host.send(1, "hi").await.unwrap().unwrap(), Sent::default());
    let _sending = host.send(2, "and more");
    assert_eq!(terminal.hear().await["text"], "and more");
}

#[tokio::test]
async fn a_reply_that_is_shown_after_its_send_was_called_off_is_not_shown_again() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    let sending = host.send(1, "hi");
    let key = terminal.hear().await["key"].clone();
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    host.answered(1, Some(1));
    terminal.say(json!({"type": "shown", "key": key})).await;
    assert_eq!(terminal.hear().await, json!({"type": "answered", "through": 1}));
    outcome(host.send(1, "hi")).await.unwrap();
    // The next line is about the next reply.
    let _sending = host.send(2, "and more");
    assert_eq!(terminal.hear().await["text"], "and more");
}

#[tokio::test]
async fn all_terminals_of_a_chat_are_shown_a_reply_and_the_first_counts() {
    let host = Host::start();
    let mut first = host.terminal().await;
    let mut second = host.terminal().await;
    let sending = host.send(1, "hi");
    assert_eq!(first.hear().await["text"], "hi");
    assert_eq!(second.hear().await["text"], "hi");
    // One that comes while it is being shown is shown it too, and the end of another changes nothing.
    let mut third = host.terminal().await;
    assert_eq!(third.hear().await["text"], "hi");
    drop(first);
    third.say(json!({"type": "shown", "key": "reply/family/1/1"})).await;
    outcome(sending).await.unwrap();
    second.say(json!({"type": "shown", "key": "reply/family/1/1"})).await;
    host.answered(1, Some(1));
    assert_eq!(second.hear().await, json!({"type": "answered", "through": 1}));
    assert_eq!(third.hear().await, json!({"type": "answered", "through": 1}));
}

#[tokio::test]
async fn answered_comes_after_the_reply_was_shown_whichever_was_first() {
    let host = Host::start();
    let mut terminal = host.terminal().await;

    // The notice first.
    host.answered(1, Some(1));
    host.answered(2, None);
    let sending = host.send(1, "one");
    assert_eq!(terminal.hear().await["type"], "reply");
    let early = tokio::time::timeout(Duration::from_millis(100), terminal.reader.next_line()).await;
    assert!(early.is_err(), "said before the reply was shown: {early:?}");
    terminal.say(json!({"type": "shown", "key": "reply/family/1/1"})).await;
    assert_eq!(terminal.hear().await, json!({"type": "answered", "through": 1}));
    assert_eq!(terminal.hear().await, json!({"type": "answered", "through": 2}), "in the order of the notices");
    outcome(sending).await.unwrap();

    // The reply first.
    let sending = host.send(2, "two");
    assert_eq!(terminal.hear().await["type"], "reply");
    terminal.say(json!({"type": "shown", "key": "reply/family/1/2"})).await;
    outcome(sending).await.unwrap();
    host.answered(3, Some(2));
    assert_eq!(terminal.hear().await, json!({"type": "answered", "through": 3}));

    // No reply at all.
    host.answered(4, None);
    assert_eq!(terminal.hear().await, json!({"type": "answered", "through": 4}));
}

#[tokio::test]
async fn trouble_is_told_and_a_give_up_after_the_message_about_it() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    let (group, chat) = (family(), MAIN.parse::<ChatId>().unwrap());
    let (reason, retry_in) = ("it crashed".to_owned(), Duration::from_secs(5));
    host.notices
        .send(Notice::RunFailed { group: group.clone(), chat: chat.clone(), reason: reason.clone(), retry_in })
        .unwrap();
    assert_eq!(terminal.hear().await, json!({"type": "trouble", "reason": "it crashed", "retry_in_ms": 5000}));

    host.notices.send(Notice::GaveUp { group, chat, through: Seq(3), reason }).unwrap();
    let key = DeliveryKey::gave_up(&family(), Seq(3));
    let sending = host.send_delivery(Delivery { key: key.clone(), ..delivery(9, MAIN, "I gave up") });
    assert_eq!(terminal.hear().await["text"], "I gave up");
    terminal.say(json!({"type": "shown", "key": key})).await;
    assert_eq!(terminal.hear().await, json!({"type": "gave_up", "through": 3, "reason": "it crashed"}));
    outcome(sending).await.unwrap();
}

#[tokio::test]
async fn a_pause_is_told_after_the_message_about_it_and_at_once_when_there_is_none() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    let key = DeliveryKey::alert("login/main/3");
    let paused = |told| Notice::Paused {
        group: family(),
        chat: MAIN.parse().unwrap(),
        trouble: Trouble::Login,
        reason: "failed: no login".to_owned(),
        retry_in: Duration::from_secs(600),
        told,
    };
    host.notices.send(paused(Some(key.clone()))).unwrap();
    let sending = host.send_delivery(Delivery { key: key.clone(), ..delivery(9, MAIN, "I cannot answer") });
    assert_eq!(terminal.hear().await["text"], "I cannot answer");
    terminal.say(json!({"type": "shown", "key": key})).await;
    let told = json!({"type": "paused", "trouble": "login", "reason": "failed: no login", "retry_in_ms": 600_000});
    assert_eq!(terminal.hear().await, told);
    outcome(sending).await.unwrap();
    host.notices.send(paused(None)).unwrap();
    assert_eq!(terminal.hear().await, told);
}

#[tokio::test(start_paused = true)]
async fn a_give_up_without_a_message_about_it_is_told_in_the_end() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    let (group, chat) = (family(), MAIN.parse().unwrap());
    host.notices.send(Notice::GaveUp { group, chat, through: Seq(3), reason: "it crashed".to_owned() }).unwrap();
    assert_eq!(terminal.hear().await["type"], "gave_up");
}

#[tokio::test]
async fn notices_of_other_chats_are_not_told() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    for chat in ["tg:1", "local:other"] {
        let notice = Notice::Answered { group: family(), chat: chat.parse().unwrap(), through: Seq(8), reply: None };
        host.notices.send(notice).unwrap();
    }
    host.answered(9, None);
    assert_eq!(terminal.hear().await, json!({"type": "answered", "through": 9}));
}

#[tokio::test]
async fn when_notices_were_missed_the_state_is_asked_for() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    *host.reception.answered.lock().unwrap() = AnsweredSoFar { through: Seq(31), unshown: Some(OutboxId(7)) };
    // More than the queue of notices holds, before the listener can run.
    for through in 1..=30 {
        host.answered(through, Some(7));
    }
    let sending = host.send(7, "x");
    let reply = terminal.hear().await;
    assert_eq!(reply["type"], "reply");
    terminal.say(json!({"type": "shown", "key": reply["key"]})).await;
    // Only the state says 31.
    while terminal.hear().await != json!({"type": "answered", "through": 31}) {}
    outcome(sending).await.unwrap();
}

#[tokio::test]
async fn a_fault_while_terminals_are_told_loses_no_notice_and_no_terminal() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    *host.reception.answered.lock().unwrap() = AnsweredSoFar { through: Seq(31), unshown: None };
    host.reception.panics_next.store(true, Ordering::SeqCst);
    // More than the queue of notices holds, so that the reception is asked.
    for through in 1..=30 {
        host.answered(through, None);
    }
    while terminal.hear().await != json!({"type": "answered", "through": 31}) {}
    assert!(!host.reception.panics_next.load(Ordering::SeqCst), "it was asked, and panicked");
    let mut second = host.terminal().await;
    host.answered(32, None);
    assert_eq!(second.hear().await, json!({"type": "answered", "through": 32}));
    assert!(!host.serving.is_finished());
}

#[tokio::test]
async fn a_fault_while_a_terminal_is_served_ends_its_session_and_no_other() {
    let host = Host::start();
    let (mut first, mut second) = (host.terminal().await, host.terminal().await);
    host.intake.panic_next();
    first.say(say("a", "hello")).await;
    assert_eq!(first.hear_end().await, None);
    second.say(say("b", "hello")).await;
    assert_eq!(second.hear().await["type"], "accepted");
    drop(second);
    // The first is not taken for one that is there and will show what is sent.
    soon("nobody is there", async {
        while !matches!(outcome(host.send(1, "x")).await, Err(SendError::NotConnected { reason }) if reason.starts_with("no terminal")) {}
    })
    .await;
}

#[tokio::test]
async fn a_duplicate_that_is_answered_already_is_told_so() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    terminal.say(say("a", "hello")).await;
    terminal.hear().await;
    *host.reception.answered.lock().unwrap() = AnsweredSoFar { through: Seq(1), unshown: None };
    terminal.say(say("a", "hello")).await;
    assert_eq!(terminal.hear().await["type"], "accepted");
    assert_eq!(terminal.hear().await, json!({"type": "answered", "through": 1}));
}

#[tokio::test]
async fn typing_is_told_once_a_change_and_to_those_who_come_later() {
    let host = Host::start();
    let mut first = host.terminal().await;
    let chat = MAIN.parse().unwrap();
    host.channel.set_typing(&chat, None, Typing::On).await;
    host.channel.set_typing(&chat, None, Typing::On).await;
    assert_eq!(first.hear().await, json!({"type": "typing", "on": true}));
    let mut second = host.terminal().await;
    assert_eq!(second.hear().await, json!({"type": "typing", "on": true}));
    host.channel.set_typing(&chat, None, Typing::Off).await;
    assert_eq!(first.hear().await, json!({"type": "typing", "on": false}));
}

#[tokio::test]
async fn a_terminal_that_reads_nothing_holds_up_nobody_else() {
    let host = Host::start();
    let stuck = host.terminal().await;
    let mut terminal = host.terminal().await;
    let big = "x".repeat(10_000);
    for number in 1..=400 {
        let sending = host.send(number, &big);
        let key = terminal.hear().await["key"].clone();
        terminal.say(json!({"type": "shown", "key": key})).await;
        outcome(sending).await.unwrap();
    }
    drop(stuck);
}

#[tokio::test]
async fn stopping_disconnects_terminals_and_removes_the_socket() {
    let host = Host::start();
    let mut terminal = host.terminal().await;
    host.stop.cancel();
    assert_eq!(terminal.hear_end().await, None);
    soon("the end of the listener", host.serving).await.unwrap();
    assert!(!host.path.exists());
}

// --- nanoclaw chat ------------------------------------------------------------------------------------------------------

/// A stream that can be looked at.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Talk {
    out: Paper,
    err: Paper,
    ending: anyhow::Result<Ending>,
}

fn args(messages: &[&str]) -> ChatArgs {
    let messages = messages.iter().map(|&message| message.to_owned()).collect();
    ChatArgs { messages, chat: MAIN.parse().unwrap(), timeout: None }
}

/// `nanoclaw chat -m …`
async fn chat(host: &Host, args: ChatArgs, interrupt: impl Future<Output = ()>) -> Talk {
    let (out, err) = (Paper::default(), Paper::default());
    let stream = unix_socket::connect(&host.path).await.unwrap();
    let mut streams = Streams::plain(out.clone(), err.clone());
    let ending = soon("the end of the chat", say_and_wait(&args, stream, &mut streams, interrupt)).await;
    Talk { out, err, ending }
}

#[tokio::test]
async fn chat_prints_the_replies_and_nothing_else_on_stdout() {
    let host = Arc::new(Host::start());
    host.reception.welcome.lock().unwrap().hint = Some("no model is configured".to_owned());
    let answering = host.answer();
    let talk = chat(&host, args(&["one", "two\nlines", "three"]), std::future::pending()).await;
    assert_eq!(talk.ending.unwrap(), Ending::Finished);
    assert_eq!(talk.out.text(), "heard one\nheard two\nlines\nheard three\n");
    assert_eq!(talk.err.text(), "nanoclaw: no model is configured\n");
    answering.abort();
}

#[tokio::test]
async fn chat_says_the_next_message_only_after_the_answer() {
    let host = Arc::new(Host::start());
    let chatting = tokio::spawn({
        let host = host.clone();
        async move { chat(&host, args(&["one", "two"]), std::future::pending()).await }
    });
    host.intake.wait_for(1).await;
    outcome(host.send(1, "a reply that is not the answer yet")).await.unwrap();
    assert_eq!(host.intake.texts(), ["one"]);
    host.answered(1, None);
    host.intake.wait_for(2).await;
    host.answered(2, None);
    let talk = chatting.await.unwrap();
    assert_eq!(talk.ending.unwrap(), Ending::Finished);
    assert_eq!(talk.out.text(), "a reply that is not the answer yet\n");
}

#[tokio::test]
async fn chat_shows_what_waited_from_the_time_before() {
    let host = Arc::new(Host::start());
    let chatting = tokio::spawn({
        let host = host.clone();
        async move { chat(&host, args(&["one"]), std::future::pending()).await }
    });
    host.host.wait_for("connected local", 1).await;
    outcome(host.send(1, "from before")).await.unwrap();
    host.intake.wait_for(1).await;
    host.answered(1, Some(2));
    outcome(host.send(2, "now")).await.unwrap();
    assert_eq!(chatting.await.unwrap().out.text(), "from before\nnow\n");
}

#[tokio::test]
async fn a_reply_that_comes_again_is_printed_once() {
    let host = Arc::new(Host::start());
    let chatting = tokio::spawn({
        let host = host.clone();
        async move { chat(&host, args(&["one"]), std::future::pending()).await }
    });
    host.intake.wait_for(1).await;
    for _ in 0..2 {
        outcome(host.send(1, "hi")).await.unwrap();
    }
    host.answered(1, Some(1));
    assert_eq!(chatting.await.unwrap().out.text(), "hi\n");
}

#[tokio::test]
async fn chat_tells_trouble_waits_on_and_fails_when_the_host_gives_up() {
    let host = Arc::new(Host::start());
    let chatting = tokio::spawn({
        let host = host.clone();
        async move { chat(&host, args(&["one", "never said"]), std::future::pending()).await }
    });
    host.intake.wait_for(1).await;
    let (group, chat) = (family(), MAIN.parse::<ChatId>().unwrap());
    let (reason, retry_in) = ("the image is missing".to_owned(), Duration::from_millis(5049));
    host.notices
        .send(Notice::RunFailed { group: group.clone(), chat: chat.clone(), reason: reason.clone(), retry_in })
        .unwrap();
    host.notices.send(Notice::GaveUp { group, chat, through: Seq(1), reason }).unwrap();
    let key = DeliveryKey::gave_up(&family(), Seq(1));
    outcome(host.send_delivery(Delivery { key, ..delivery(1, MAIN, "I gave up") })).await.unwrap();
    let talk = chatting.await.unwrap();
    assert_eq!(talk.ending.unwrap(), Ending::Failed);
    assert_eq!(talk.out.text(), "I gave up\n");
    assert_eq!(
        talk.err.text(),
        "nanoclaw: the agent failed: the image is missing; it is tried again in 5s\nnanoclaw: gave up: the image is missing\n"
    );
    assert_eq!(host.intake.texts(), ["one"]);
}

/// A trouble of the main chat that nobody was told of before.
fn paused(trouble: Trouble) -> Notice {
    Notice::Paused {
        group: family(),
        chat: MAIN.parse().unwrap(),
        trouble,
        reason: "failed: no luck".to_owned(),
        retry_in: Duration::from_secs(600),
        told: None,
    }
}

#[tokio::test]
async fn chat_does_not_wait_for_the_end_of_a_trouble_that_somebody_has_to_mend() {
    let host = Arc::new(Host::start());
    let chatting = tokio::spawn({
        let host = host.clone();
        async move { chat(&host, args(&["one", "never said"]), std::future::pending()).await }
    });
    host.intake.wait_for(1).await;
    host.notices.send(paused(Trouble::Login)).unwrap();
    let talk = chatting.await.unwrap();
    assert_eq!(talk.ending.unwrap(), Ending::Stuck);
    assert_eq!(talk.out.text(), "");
    let told = talk.err.text();
    for part in ["login", "no luck", "kept", "in 10 min", "nanoclaw turns list"] {
        assert!(told.contains(part), "{part} is missing: {told}");
    }
    assert_eq!(host.intake.texts(), ["one"]);
}

#[tokio::test]
async fn chat_waits_for_the_end_of_a_trouble_that_passes_by_itself() {
    let host = Arc::new(Host::start());
    let chatting = tokio::spawn({
        let host = host.clone();
        async move { chat(&host, args(&["one"]), std::future::pending()).await }
    });
    host.intake.wait_for(1).await;
    host.notices.send(paused(Trouble::Host)).unwrap();
    outcome(host.send(1, "here I am")).await.unwrap();
    host.answered(1, Some(1));
    let talk = chatting.await.unwrap();
    assert_eq!(talk.ending.unwrap(), Ending::Finished);
    assert_eq!(talk.out.text(), "here I am\n");
    assert!(talk.err.text().contains("host"), "{}", talk.err.text());
}

#[tokio::test]
async fn chat_with_a_chat_that_is_no_group_says_how_to_make_it_one() {
    let host = Host::start();
    host.reception.welcome.lock().unwrap().registered = false;
    let talk = chat(&host, args(&["one"]), std::future::pending()).await;
    let error = talk.ending.unwrap_err().to_string();
    assert!(error.contains("nanoclaw groups add local:main --name NAME"), "{error}");
    assert_eq!(host.intake.texts(), Vec::<String>::new());
}

#[tokio::test]
async fn chat_does_not_wait_for_what_the_agent_will_not_answer() {
    let host = Host::start();
    host.intake.wake_nobody_in(MAIN);
    let talk = chat(&host, args(&["by the way"]), std::future::pending()).await;
    assert_eq!(talk.ending.unwrap(), Ending::Finished);
    assert!(talk.err.text().contains("begin with @Andy to have it answered"), "{}", talk.err.text());
}

#[tokio::test]
async fn chat_leaves_when_an_answer_takes_too_long_and_says_that_it_is_kept() {
    let host = Host::start();
    let talk = chat(&host, ChatArgs { timeout: Some(1), ..args(&["one"]) }, std::future::pending()).await;
    assert_eq!(talk.ending.unwrap(), Ending::TimedOut);
    assert!(talk.err.text().contains("no answer within 1s; what was said is kept"), "{}", talk.err.text());
}

#[tokio::test]
async fn chat_leaves_on_ctrl_c_and_says_that_what_was_said_is_kept() {
    let host = Host::start();
    let talk = chat(&host, args(&["one"]), host.intake.wait_for(1)).await;
    assert_eq!(talk.ending.unwrap(), Ending::Interrupted);
    assert!(talk.err.text().contains("left; what was said is kept"), "{}", talk.err.text());
}

#[tokio::test]
async fn chat_fails_when_the_host_goes_away() {
    let host = Arc::new(Host::start());
    let chatting = tokio::spawn({
        let host = host.clone();
        async move { chat(&host, args(&["one"]), std::future::pending()).await }
    });
    host.intake.wait_for(1).await;
    host.stop.cancel();
    let error = chatting.await.unwrap().ending.unwrap_err().to_string();
    assert!(error.contains("the host went away; what it accepted is kept"), "{error}");
}

#[tokio::test]
async fn a_message_that_no_line_takes_is_not_said() {
    let host = Host::start();
    let talk = chat(&host, args(&[&"x".repeat(1 << 20)]), std::future::pending()).await;
    assert_eq!(talk.ending.unwrap(), Ending::Failed);
    assert!(talk.err.text().contains("longer than 1024 KiB"), "{}", talk.err.text());
}

#[tokio::test]
async fn piped_lines_are_said_and_the_last_answer_is_waited_for() {
    let host = Arc::new(Host::start());
    let answering = host.answer();
    let (out, err) = (Paper::default(), Paper::default());
    let (queue, typed) = mpsc::channel(400);
    for number in 0..200 {
        queue.send(format!("line {number}")).await.unwrap();
        queue.send("   ".to_owned()).await.unwrap();
    }
    drop(queue);
    let stream = unix_socket::connect(&host.path).await.unwrap();
    let mut streams = Streams::plain(out.clone(), err.clone());
    let args = args(&[]);
    let talk = converse(&args, stream, typed, AtEnd::Wait, &mut streams, std::future::pending());
    assert_eq!(soon("the end", talk).await.unwrap(), Ending::Finished);
    let expected: String = (0..200).map(|number| format!("heard line {number}\n")).collect();
    assert_eq!(out.text(), expected);
    assert_eq!(err.text(), "");
    answering.abort();
}

#[tokio::test]
async fn quit_leaves_without_waiting_where_somebody_sits() {
    let host = Host::start();
    let (queue, typed) = mpsc::channel(4);
    queue.send("hello".to_owned()).await.unwrap();
    queue.send(" /quit ".to_owned()).await.unwrap();
    let stream = unix_socket::connect(&host.path).await.unwrap();
    let mut streams = Streams::plain(Paper::default(), Paper::default());
    let args = args(&[]);
    let talk = converse(&args, stream, typed, AtEnd::Leave, &mut streams, std::future::pending());
    assert_eq!(soon("the end", talk).await.unwrap(), Ending::Finished);
    host.intake.wait_for(1).await;
}
