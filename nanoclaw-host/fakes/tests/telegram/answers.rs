//! Who is let in, what is refused, and that every answer is one.

use grammers_client::{message::InputMessage, tl};
use nanoclaw_fakes::telegram::{FakeTelegram, File};

use crate::bot::{ANN, Bot, FAMILY, TEAM, family, send_message};

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
