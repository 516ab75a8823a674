//! The client library that bots in Rust are made with, against the fake.

use std::{
    net::{Ipv6Addr, SocketAddrV6},
    sync::Arc,
    time::Duration,
};

use grammers_client::{
    Client, InvocationError,
    client::UpdateStream,
    media::Media,
    message::InputMessage,
    tl,
    update::{Message, Update},
};
use grammers_mtsender::{ConnectionParams, NoRetries, SenderPool, SenderPoolHandle, UpdatesConfiguration};
use grammers_session::{
    Session as _,
    storages::MemorySession,
    types::{DcOption, PeerId, PeerRef},
};
use nanoclaw_fakes::telegram::{FakeTelegram, Fault, File, Said};
use tokio::task::JoinHandle;

const ANN: i64 = 1001;
const FAMILY: i64 = -42;
const TEAM: i64 = FakeTelegram::SUPERGROUP - 55;

/// How often the stream of updates may say that the connection is gone before it works again.
const TRIES: usize = 20;

/// A bot that is signed in.
struct Bot {
    session: Arc<MemorySession>,
    client: Client,
    handle: SenderPoolHandle,
    updates: UpdateStream,
    runner: JoinHandle<()>,
}

/// A session that knows where the fake is, and the key.
async fn session(telegram: &FakeTelegram) -> Arc<MemorySession> {
    let access = telegram.access();
    let session = MemorySession::default();
    let ipv6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, access.address.port(), 0, 0);
    let dc = DcOption { id: access.dc_id, ipv4: access.address, ipv6, auth_key: Some(access.auth_key) };
    session.set_dc_option(&dc).await.expect("it is in memory");
    session.set_home_dc_id(access.dc_id).await.expect("it is in memory");
    Arc::new(session)
}

impl Bot {
    async fn begin(telegram: &FakeTelegram, session: Arc<MemorySession>) -> Self {
        let access = telegram.access();
        let parameters = ConnectionParams { retry_policy: Box::new(NoRetries), ..ConnectionParams::default() };
        let SenderPool { runner, handle, updates } =
            SenderPool::with_configuration(session.clone(), access.api_id, parameters);
        let (client, thin) = (Client::new(handle.clone()), handle.thin.clone());
        let runner = tokio::spawn(runner.run());
        if !client.is_authorized().await.expect("the fake answers") {
            client.bot_sign_in(access.bot_token, access.api_hash).await.expect("the token is right");
        }
        let configuration = UpdatesConfiguration { catch_up: true };
        let updates = client.stream_updates(updates, configuration).await.expect("the session is in memory");
        Self { session, client, handle: thin, updates, runner }
    }

    async fn signed_in(telegram: &FakeTelegram) -> Self {
        Self::begin(telegram, session(telegram).await).await
    }

    async fn end(self) -> Arc<MemorySession> {
        self.updates.sync_update_state().await.expect("the session is in memory");
        self.handle.quit();
        self.runner.await.expect("it does not panic");
        self.session
    }

    /// The next update, after as many errors of the connection as there are.
    async fn update(&mut self) -> Update {
        let mut errors = Vec::new();
        for _ in 0..TRIES {
            match tokio::time::timeout(Duration::from_secs(10), self.updates.next()).await {
                Ok(Ok(update)) => return update,
                Ok(Err(error)) => errors.push(error.to_string()),
                Err(_) => panic!("no update came after {errors:?}"),
            }
            tokio::task::yield_now().await;
        }
        panic!("no update came after {errors:?}");
    }

    /// The next message that somebody else wrote.
    async fn heard(&mut self) -> Message {
        loop {
            match self.update().await {
                Update::NewMessage(message) if !message.outgoing() && message.action().is_none() => return message,
                _ => {}
            }
        }
    }

    async fn heard_texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            texts.push(self.heard().await.text().to_owned());
        }
        texts
    }

    async fn send(&self, peer: PeerRef, text: &str, random_id: i64) -> Result<tl::enums::Updates, InvocationError> {
        self.client.invoke(&send_message(peer, text, random_id)).await
    }
}

fn send_message(peer: PeerRef, text: &str, random_id: i64) -> tl::functions::messages::SendMessage {
    tl::functions::messages::SendMessage {
        no_webpage: true,
        silent: false,
        background: false,
        clear_draft: false,
        noforwards: false,
        update_stickersets_order: false,
        invert_media: false,
        allow_paid_floodskip: false,
        peer: peer.into(),
        reply_to: None,
        message: text.to_owned(),
        random_id,
        reply_markup: None,
        entities: None,
        schedule_date: None,
        schedule_repeat_period: None,
        send_as: None,
        quick_reply_shortcut: None,
        effect: None,
        allow_paid_stars: None,
        suggested_post: None,
        rich_message: None,
    }
}

fn family() -> PeerRef {
    PeerId::chat(42).expect("it is an id of a group").to_ambient_ref()
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_the_right_one_signs_the_bot_in() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    let bot = Bot::signed_in(&telegram).await;
    let me = bot.client.get_me().await.expect("the fake answers");
    assert_eq!((me.first_name(), me.is_bot(), me.username()), (Some("Andy"), true, Some("andy_bot")));
    let wrong = bot.client.bot_sign_in("777:other", FakeTelegram::API_HASH).await;
    assert!(wrong.is_err_and(|error| error.is("ACCESS_TOKEN_INVALID")));
    assert_eq!(telegram.seen().logins, 1);
    bot.end().await;
}

#[tokio::test]
async fn people_write_in_three_kinds_of_chats_and_are_answered_there() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    for (chat, title) in [(ANN, Some("Ann")), (FAMILY, Some("Family")), (TEAM, Some("Team"))] {
        let id = telegram.say(chat, ANN, "hello @andy_bot");
        let message = bot.heard().await;
        assert_eq!(message.peer_id().bot_api_dialog_id(), Some(chat));
        assert_eq!(message.peer().and_then(|peer| peer.name()), title);
        assert_eq!((message.id(), message.text(), message.mentioned()), (id, "hello @andy_bot", true));
        assert_eq!(message.sender_id(), PeerId::user(ANN));
        let peer = message.peer_ref().await.expect("in memory").expect("the fake tells its access hash");
        bot.client.action(peer).oneshot(tl::types::SendMessageTypingAction {}).await.expect("it may write there");
        let sent = message.reply(InputMessage::new().text("hello Ann")).await.expect("it may write there");
        let seen = telegram.seen();
        let last = seen.sent.last().expect("it was sent");
        assert_eq!((last.chat, last.id, last.reply_to), (chat, sent.id(), Some(id)));
        assert_eq!(seen.actions.last(), Some(&(chat, "SendMessageTypingAction".to_owned())));
    }
    assert_eq!([ANN, FAMILY, TEAM].map(|chat| telegram.posted(chat)), [(); 3].map(|()| vec!["hello Ann".to_owned()]));
    assert_eq!(telegram.seen().unknown, [] as [String; 0]);
    bot.end().await;
}

#[tokio::test]
async fn what_was_said_during_an_outage_is_told_exactly_once_afterwards() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    telegram.say(FAMILY, ANN, "f0");
    telegram.say(TEAM, ANN, "t0");
    assert_eq!(bot.heard_texts(2).await, ["f0", "t0"]);

    telegram.refuse_connections(2);
    telegram.drop_connections();
    telegram.wait_until("the connection is gone", |seen| seen.open == 0).await;
    for text in ["f1", "f2"] {
        telegram.say(FAMILY, ANN, text);
    }
    assert_eq!(bot.heard_texts(2).await, ["f1", "f2"]);
    assert_eq!(telegram.seen().refused, 2);

    let session = bot.end().await;
    telegram.wait_until("the bot is gone", |seen| seen.open == 0).await;
    telegram.say(FAMILY, ANN, "f3");
    telegram.say(TEAM, ANN, "t1");
    telegram.slice_differences(1);
    telegram.say(FAMILY, ANN, "f4");
    let mut bot = Bot::begin(&telegram, session).await;
    let mut heard = bot.heard_texts(3).await;
    heard.sort();
    assert_eq!(heard, ["f3", "f4", "t1"]);
    telegram.say(TEAM, ANN, "t2");
    assert_eq!(bot.heard_texts(1).await, ["t2"], "and nothing twice");
    bot.end().await;
}

#[tokio::test]
async fn lost_doubled_and_reordered_news_are_told_once_and_in_order() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    for chat in [FAMILY, TEAM] {
        telegram.say(chat, ANN, "0");
        assert_eq!(bot.heard_texts(1).await, ["0"]);
        telegram.hold_pushes();
        telegram.say(chat, ANN, "1");
        telegram.say(chat, ANN, "2");
        telegram.release_pushes_reversed();
        telegram.push_again();
        assert_eq!(bot.heard_texts(2).await, ["1", "2"]);
        telegram.hold_pushes();
        telegram.say(chat, ANN, "3");
        telegram.lose_pushes();
        telegram.say(chat, ANN, "4");
        assert_eq!(bot.heard_texts(2).await, ["3", "4"]);
    }
    bot.end().await;
}

#[tokio::test]
async fn a_message_of_the_same_random_id_is_shown_once_whatever_became_of_the_first() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    let bot = Bot::signed_in(&telegram).await;
    telegram.fail_next_in("messages.sendMessage", FAMILY, Fault::FloodWait { seconds: 3 });
    let limited = bot.send(family(), "once", 9).await.expect_err("it is to wait");
    assert!(matches!(&limited, InvocationError::Rpc(error) if error.name == "FLOOD_WAIT" && error.value == Some(3)));
    for (number, fault) in [Fault::DropBefore, Fault::DropAfter, Fault::Half].into_iter().enumerate() {
        telegram.fail_next("messages.sendMessage", fault.clone());
        assert!(bot.send(family(), "once", 9).await.is_err(), "{fault:?}");
        telegram.wait_until("the connection is gone", |seen| seen.open == 0).await;
        assert_eq!(telegram.posted(FAMILY).len(), number.min(1), "{fault:?}");
    }
    let again = bot.send(family(), "once", 9).await.expect("nothing is wrong any more");
    assert!(matches!(again, tl::enums::Updates::Updates(updates) if updates.updates.len() == 2));
    assert_eq!((telegram.posted(FAMILY), telegram.seen().repeats), (vec!["once".to_owned()], 2));

    telegram.fail_next("messages.sendMessage", Fault::Stuck);
    let (client, request) = (bot.client.clone(), send_message(family(), "later", 10));
    let first = tokio::spawn(async move { client.invoke(&request).await });
    telegram.wait_until("the second text", |seen| seen.count("messages.sendMessage") == 6).await;
    let meanwhile = bot.send(family(), "later", 10).await;
    assert!(meanwhile.is_err_and(|error| error.is("RANDOM_ID_DUPLICATE")));
    telegram.release();
    first.await.expect("it does not panic").expect("it is sent");
    assert_eq!(telegram.posted(FAMILY), ["once", "later"]);
    bot.end().await;
}

#[tokio::test]
async fn files_come_and_go_and_what_is_answered_can_be_looked_up() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    let content: Vec<u8> = (0..700_000_u32).map(|at| at as u8).collect();
    let files =
        [File::photo(&content), File::voice(b"a voice", 3), File::document("notes.txt", "text/plain", b"some notes")];
    for (chat, file) in [FAMILY, TEAM, FAMILY].into_iter().zip(files) {
        telegram.say_file(chat, ANN, "look", file.clone());
        let message = bot.heard().await;
        let media = message.media().expect("it has a file");
        let named = match &media {
            Media::Document(document) => document.name().unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        assert_eq!(named, file.name);
        let (mut download, mut fetched) = (bot.client.iter_download(&media), Vec::new());
        while let Some(chunk) = download.next().await.expect("the fake has it") {
            fetched.extend(chunk);
        }
        assert!(fetched == file.content, "{} of {} bytes", fetched.len(), file.content.len());

        let answer = telegram.say_more(chat, ANN, Said::text("that").reply_to(message.id()));
        let answer_heard = bot.heard().await;
        assert_eq!(answer_heard.id(), answer);
        let quoted = answer_heard.get_reply().await.expect("the fake answers").expect("it answers a message");
        assert_eq!(quoted.text(), "look");
    }

    let uploaded = bot.client.upload_stream(&mut &content[..], content.len(), "own.bin".to_owned()).await;
    let message = InputMessage::new().text("here").document(uploaded.expect("it is taken"));
    bot.client.send_message(family(), message).await.expect("it may write there");
    let sent = telegram.seen().sent.pop().expect("it was sent");
    let file = sent.file.expect("it has a file");
    assert_eq!((&sent.text[..], &file.name[..], file.content == content), ("here", "own.bin", true));
    assert_eq!(telegram.seen().unknown, [] as [String; 0]);
    bot.end().await;
}

#[tokio::test]
async fn the_bot_hears_of_edits_and_of_coming_and_going() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    let mut bot = Bot::signed_in(&telegram).await;
    let id = telegram.say(FAMILY, ANN, "helo");
    bot.heard().await;
    telegram.edit(FAMILY, id, "hello");
    match bot.update().await {
        Update::MessageEdited(message) => assert_eq!((message.id(), message.text()), (id, "hello")),
        other => panic!("{other:?}"),
    }
    telegram.remove_bot(FAMILY, ANN);
    telegram.add_bot(TEAM, ANN);
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.push(match bot.update().await {
            Update::NewMessage(message) => match message.action() {
                Some(tl::enums::MessageAction::ChatDeleteUser(_)) => "ChatDeleteUser".to_owned(),
                Some(tl::enums::MessageAction::ChatAddUser(_)) => "ChatAddUser".to_owned(),
                other => format!("{other:?}"),
            },
            Update::Raw(raw) => format!("{:?}", raw.raw).chars().take_while(|c| c.is_alphanumeric()).collect(),
            other => format!("{other:?}"),
        });
    }
    // The library sorts what comes together.
    seen.sort();
    assert_eq!(seen, ["Channel", "ChannelParticipant", "ChatAddUser", "ChatDeleteUser", "ChatParticipant"]);
    let refused = bot.send(family(), "are you there?", 5).await;
    assert!(refused.is_err_and(|error| error.is("CHAT_WRITE_FORBIDDEN")));
    bot.end().await;
}

#[tokio::test]
async fn a_bot_that_is_signed_out_or_banned_or_whose_key_is_forgotten_is_told_so() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    let bot = Bot::signed_in(&telegram).await;
    telegram.log_out("SESSION_REVOKED");
    let refused = bot.send(family(), "hello", 5).await;
    assert!(refused.is_err_and(|error| error.is("SESSION_REVOKED")));
    assert!(!bot.client.is_authorized().await.expect("the fake answers"));
    bot.client.bot_sign_in(FakeTelegram::BOT_TOKEN, FakeTelegram::API_HASH).await.expect("the token is right");
    telegram.ban("USER_DEACTIVATED_BAN");
    let refused = bot.send(family(), "hello", 6).await;
    assert!(refused.is_err_and(|error| error.is("USER_DEACTIVATED_BAN")));
    telegram.unban();
    telegram.forget_key();
    assert!(bot.send(family(), "hello", 7).await.is_err());
    assert!(bot.send(family(), "hello", 8).await.is_err(), "a new connection begins a handshake");
    telegram.wait_until("a handshake", |seen| seen.unknown_keys > 1 && seen.handshakes > 0).await;
    assert_eq!(telegram.posted(FAMILY), [] as [String; 0]);
    bot.end().await;
}
