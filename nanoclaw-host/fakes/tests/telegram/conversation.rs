//! What people do and the bot hears, and what it answers.

use grammers_client::{
    media::Media,
    message::InputMessage,
    tl::{self, Serializable as _},
    update::Update,
};
use grammers_session::types::PeerId;
use nanoclaw_fakes::telegram::{FakeTelegram, File, Said};

use crate::bot::{ANN, Bot, FAMILY, TEAM, family};

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
        assert_eq!(seen.actions.last(), Some(&(chat, None, "SendMessageTypingAction".to_owned())));
    }
    assert_eq!([ANN, FAMILY, TEAM].map(|chat| telegram.posted(chat)), [(); 3].map(|()| vec!["hello Ann".to_owned()]));
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

    telegram.say_more(FAMILY, ANN, Said::default().media(tl::enums::MessageMedia::Unsupported.to_bytes()));
    assert!(bot.heard().await.media().is_none(), "the library does not know it either");

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
