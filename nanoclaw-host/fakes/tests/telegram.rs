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

#[tokio::test]
async fn what_changed_while_the_bot_was_away_is_told_afterwards() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    let id = telegram.say(FAMILY, ANN, "helo");
    telegram.say(TEAM, ANN, "t0");
    assert_eq!(bot.heard_texts(2).await, ["helo", "t0"]);
    let session = bot.end().await;
    telegram.wait_until("the bot is gone", |seen| seen.open == 0).await;
    telegram.edit(FAMILY, id, "hello");
    let removed = telegram.say(FAMILY, ANN, "never mind");
    telegram.delete(FAMILY, &[removed]);
    telegram.block(ANN, true);
    telegram.remove_bot(TEAM, ANN);
    let mut bot = Bot::begin(&telegram, session).await;
    let mut heard = Vec::new();
    while heard.len() < 4 {
        heard.push(match bot.update().await {
            Update::MessageEdited(message) => format!("edited {}", message.text()),
            Update::MessageDeleted(deletion) => format!("deleted {:?}", deletion.messages()),
            Update::Raw(raw) => format!("{:?}", raw.raw).chars().take_while(|c| c.is_alphanumeric()).collect(),
            Update::NewMessage(message) => format!("new {}", message.text()),
            other => format!("{other:?}"),
        });
    }
    heard.sort();
    assert_eq!(heard, ["BotStopped", "ChannelParticipant", &format!("deleted [{removed}]"), "edited hello"]);
    bot.end().await;
}

#[tokio::test]
async fn what_is_forgotten_is_not_told_and_the_client_goes_on_from_there() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    telegram.say(FAMILY, ANN, "f0");
    telegram.say(TEAM, ANN, "t0");
    assert_eq!(bot.heard_texts(2).await, ["f0", "t0"]);
    let session = bot.end().await;
    telegram.wait_until("the bot is gone", |seen| seen.open == 0).await;
    telegram.say(FAMILY, ANN, "f1");
    telegram.say(TEAM, ANN, "t1");
    telegram.forget_changes();
    telegram.fail_next("updates.getDifference", Fault::Slow);
    let before = telegram.seen().count("updates.getDifference");
    let mut bot = Bot::begin(&telegram, session).await;
    {
        let waiting = bot.heard();
        tokio::pin!(waiting);
        let asked = telegram.wait_until("it asks", |seen| seen.count("updates.getDifference") > before);
        tokio::select! {
            () = asked => {}
            message = &mut waiting => panic!("{:?} came before the answer", message.text()),
        }
        telegram.release();
        let asked = telegram.wait_until("it asks of the team", |seen| seen.count("updates.getChannelDifference") > 0);
        tokio::select! {
            () = asked => {}
            message = &mut waiting => panic!("{:?} was forgotten", message.text()),
        }
        telegram.say(TEAM, ANN, "t2");
        assert_eq!(waiting.await.text(), "t2");
    }
    telegram.say(FAMILY, ANN, "f2");
    assert_eq!(bot.heard_texts(1).await, ["f2"]);
    bot.end().await;
}

#[tokio::test]
async fn everything_that_comes_with_a_message_is_read_by_the_library() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    telegram.bot(888, "Other", "other_bot");
    let mut bot = Bot::signed_in(&telegram).await;

    telegram.say_more(FAMILY, ANN, Said::text("🦀 and Andy?").mention("Andy", FakeTelegram::BOT_ID));
    let message = bot.heard().await;
    assert!(message.mentioned());
    let entities = message.fmt_entities().expect("it has some");
    assert!(matches!(&entities[..], [tl::enums::MessageEntity::MentionName(mention)]
        if (mention.offset, mention.length, mention.user_id) == (7, 4, FakeTelegram::BOT_ID)));

    telegram.say_more(FAMILY, 888, Said::text("news").forwarded_from("Carol").album(3));
    let message = bot.heard().await;
    assert!(message.forward_header().is_some() && message.grouped_id() == Some(3) && !message.mentioned());
    assert!(matches!(message.sender(), Some(grammers_client::peer::Peer::User(user)) if user.is_bot()));

    telegram.say(TEAM, TEAM, "in the team's name");
    assert_eq!(bot.heard().await.sender_id(), PeerId::channel(55));

    let answer = bot.client.send_message(family(), "an answer").await.expect("it may write there");
    telegram.say_more(FAMILY, ANN, Said::text("thanks").reply_to(answer.id()));
    assert!(bot.heard().await.mentioned(), "who answers the bot means it");

    telegram.rename(FAMILY, ANN, "Clan");
    let became = telegram.upgrade(FAMILY, ANN).expect("it is a basic group");
    telegram.say(became, ANN, "here now");
    let message = bot.heard().await;
    assert_eq!(message.peer().and_then(|peer| peer.name()), Some("Clan"));
    assert_eq!(message.peer_id().bot_api_dialog_id(), Some(became));
    assert!(bot.send(family(), "there", 5).await.is_err());
    bot.end().await;
}

#[tokio::test]
async fn what_telegram_would_refuse_is_refused() {
    use grammers_client::tl::{enums, types};
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    telegram.say(ANN, ANN, "hello");
    let ann = bot.heard().await.peer_ref().await.expect("in memory").expect("the fake tells it");

    let bold = |offset, length| vec![enums::MessageEntity::Bold(types::MessageEntityBold { offset, length })];
    let formatted = InputMessage::new().text("🦀 bold").fmt_entities(bold(3, 4));
    let sent = bot.client.send_message(ann, formatted).await.expect("it may write there");
    assert_eq!((sent.text(), sent.fmt_entities().map(Vec::len)), ("🦀 bold", Some(1)));
    let seen = telegram.seen().sent.pop().expect("it was sent");
    let entity = seen.entities.first().expect("it is formatted");
    assert_eq!((entity.kind, entity.offset, entity.length), ("bold", 3, 4));

    let refused: [(InputMessage, &str); 5] = [
        (InputMessage::new().text(""), "MESSAGE_EMPTY"),
        (InputMessage::new().text("🦀".repeat(2049)), "MESSAGE_TOO_LONG"),
        (InputMessage::new().text("bold").fmt_entities(bold(1, 4)), "ENTITY_BOUNDS_INVALID"),
        (InputMessage::new().text("x").reply_to(Some(99)), "REPLY_MESSAGE_ID_INVALID"),
        {
            let uploaded = bot.client.upload_stream(&mut &b"a text"[..], 6, "no.jpg".to_owned()).await;
            (InputMessage::new().photo(uploaded.expect("it is taken")), "IMAGE_PROCESS_FAILED")
        },
    ];
    for (message, name) in refused {
        let error = bot.client.send_message(ann, message).await.expect_err(name);
        assert!(error.is(name), "{error} where {name} was expected");
    }

    telegram.block(ANN, true);
    assert!(bot.send(ann, "hello?", 4).await.is_err_and(|error| error.is("USER_IS_BLOCKED")));
    let wrong = types::InputPeerChannel { channel_id: 55, access_hash: 1 };
    let request = tl::functions::messages::SendMessage { peer: wrong.into(), ..send_message(family(), "x", 5) };
    assert!(bot.client.invoke(&request).await.is_err_and(|error| error.is("CHANNEL_INVALID")));
    let unknown = bot.client.invoke(&tl::functions::help::GetInviteText {}).await;
    assert!(unknown.is_err());
    assert_eq!(telegram.seen().unknown, ["help.getInviteText"]);
    bot.end().await;
}

#[tokio::test]
async fn every_other_function_answers_what_the_library_reads() {
    use grammers_client::tl::{functions as f, types as t};
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    telegram.say_file(TEAM, ANN, "look", File::document("a.txt", "text/plain", b"a"));
    let message = bot.heard().await;
    let media = message.media().expect("it has a file");
    let team = message.peer_ref().await.expect("in memory").expect("the fake tells its access hash");
    let channel: tl::enums::InputChannel = team.into();
    let client = &bot.client;

    client.invoke(&f::help::GetNearestDc {}).await.expect("getNearestDc");
    client.invoke(&f::help::GetAppConfig { hash: 0 }).await.expect("getAppConfig");
    client.invoke(&f::messages::GetChats { id: vec![42] }).await.expect("getChats");
    client.invoke(&f::messages::GetFullChat { chat_id: 42 }).await.expect("getFullChat");
    client.invoke(&f::channels::GetChannels { id: vec![channel.clone()] }).await.expect("getChannels");
    client.invoke(&f::channels::GetFullChannel { channel: channel.clone() }).await.expect("getFullChannel");
    let participant = tl::enums::InputPeer::PeerSelf;
    client
        .invoke(&f::channels::GetParticipant { channel: channel.clone(), participant })
        .await
        .expect("getParticipant");
    client.resolve_username("andy_bot").await.expect("resolveUsername").expect("there is such a one");
    let dialogs = client.iter_dialogs().next().await;
    assert!(dialogs.is_err_and(|error| error.is("BOT_METHOD_INVALID")));

    telegram.expire_file_references();
    assert!(client.iter_download(&media).next().await.is_err_and(|error| error.is("FILE_REFERENCE_EXPIRED")));
    let again = client.get_messages_by_id(team, &[message.id()]).await.expect("getMessages");
    let media = again[0].as_ref().and_then(|message| message.media()).expect("it still has its file");
    assert_eq!(client.iter_download(&media).next().await.expect("getFile"), Some(b"a".to_vec()));

    let mut picture = &b"\x89PNG and so on"[..];
    let uploaded = client.upload_stream(&mut picture, 14, "a.png".to_owned()).await.expect("saveFilePart");
    let album = ["one", "two"]
        .map(|caption| grammers_client::media::InputMedia::new().caption(caption).photo(uploaded.clone()));
    let sent = client.send_album(team, Vec::from(album)).await.expect("uploadMedia and sendMultiMedia");
    assert!(sent.iter().all(Option::is_some));
    assert_eq!(telegram.posted(TEAM).len(), 2);
    let id = client.send_message(team, "helo").await.expect("sendMessage").id();
    client.edit_message(team, id, "hello").await.expect("editMessage");
    assert_eq!(telegram.seen().edits, [(TEAM, id, "hello".to_owned())]);
    assert_eq!(client.delete_messages(team, &[id, 99]).await.expect("deleteMessages"), 1);
    let commands = f::bots::SetBotCommands {
        scope: tl::enums::BotCommandScope::Default,
        lang_code: String::new(),
        commands: vec![
            t::BotCommand { command: "ping".to_owned(), description: "pong".to_owned(), ephemeral: false }.into(),
        ],
    };
    client.invoke(&commands).await.expect("setBotCommands");
    client.invoke(&f::channels::LeaveChannel { channel }).await.expect("leaveChannel");
    let leave =
        f::messages::DeleteChatUser { revoke_history: false, chat_id: 42, user_id: tl::enums::InputUser::UserSelf };
    client.invoke(&leave).await.expect("deleteChatUser");
    client.sign_out().await.expect("logOut");
    assert!(!client.is_authorized().await.expect("the fake answers"));
    assert_eq!(telegram.seen().unknown, [] as [String; 0]);
    bot.end().await;
}
