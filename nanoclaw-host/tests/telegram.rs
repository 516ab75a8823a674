//! Telegram's channel, with the real client, against a fake Telegram that speaks the real protocol.

#![cfg(feature = "telegram")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod channel_fakes;
mod telegram_state;

use std::{fs, ops::Deref, path::PathBuf, time::Duration};

use channel_fakes::{
    FakeHost, FakeIntake, delivery,
    services::{Served, Surroundings, credentials_in, is_whole, long_text, store_secrets, with_file, with_report},
    soon,
};
use nanoclaw_core::{
    attachment::Fetched,
    channel::{Repeat, SendError, Typing},
    chat::ChatKind,
    delivery::{Answered, Delivery, ReplyTo},
    message::InboundMessage,
    time::Timestamp,
};
use nanoclaw_fakes::telegram::{FakeTelegram, Fault, File, Said};
use nanoclaw_host::{
    channels::{
        ports::{ChannelHost as _, ServiceParts},
        status::ChannelState,
        telegram::{API_HASH, API_ID, BOT_TOKEN, TelegramSettings, start},
    },
    credentials::Ask,
};

const GOOD: [(&str, &str); 3] =
    [(API_ID, "12345"), (API_HASH, FakeTelegram::API_HASH), (BOT_TOKEN, FakeTelegram::BOT_TOKEN)];
const ANN: i64 = 1001;
const BOB: i64 = 1002;
const FAMILY: i64 = -42;
const CLUB: i64 = FakeTelegram::SUPERGROUP - 55;
const FAMILY_CHAT: &str = "tg:-42";
const CLUB_CHAT: &str = "tg:-1000000000055";

/// Telegram's channel with a fake host around it, and a fake Telegram.
struct Place {
    telegram: FakeTelegram,
    served: Served,
}

impl Deref for Place {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

impl Place {
    /// One that is connected, with the group "Family" and the supergroup "Club".
    async fn connected() -> Self {
        let place = Self::with(FakeTelegram::start().await.unwrap(), &GOOD, false).await;
        place.state("connected", ChannelState::is_connected).await;
        place.telegram.wait_until("what was missed is asked for", |seen| seen.count("updates.getDifference") > 0).await;
        place
    }

    async fn with(telegram: FakeTelegram, credentials: &[(&str, &str)], required: bool) -> Self {
        telegram.chat(FAMILY, "Family");
        telegram.chat(CLUB, "Club");
        let home = tempfile::tempdir().unwrap();
        store_secrets(home.path(), credentials);
        telegram_state::know(&home.path().join("auth/telegram.db"), &telegram.access()).await;
        Self::at(telegram, home, required)
    }

    /// What a host finds that starts where another one was.
    fn at(telegram: FakeTelegram, home: tempfile::TempDir, required: bool) -> Self {
        let surroundings = Surroundings::at(home);
        let settings = TelegramSettings { required, state: surroundings.home.path().join("auth/telegram.db") };
        Self { served: surroundings.serve(settings, start), telegram }
    }

    /// The host dies, whatever it is doing. What it leaves is where the next one begins.
    async fn dies(self) -> (FakeTelegram, tempfile::TempDir) {
        let Self { telegram, served: Served { home, keeping, host, .. } } = self;
        keeping.abort();
        assert!(soon("the end", keeping).await.unwrap_err().is_cancelled());
        // A process that dies has no connection and no lock; here they go with the last one who knows the channel.
        host.remove_channel(&"telegram".parse().unwrap());
        (telegram, home)
    }

    async fn reborn(self) -> Self {
        let (telegram, home) = self.dies().await;
        Self::at(telegram, home, false)
    }

    async fn next(&self) -> InboundMessage {
        let next = self.intake.messages().len() + 1;
        self.messages(next).await.pop().unwrap()
    }

    /// Up to where updates were taken in, as it is stored.
    async fn reached(&self) -> (i64, i64) {
        telegram_state::reached(&self.database()).await
    }

    /// Waits until it is stored that more was taken in than `before`.
    async fn moved_on(&self, before: (i64, i64)) {
        let moved = async {
            while self.reached().await == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the state is stored", moved).await;
    }

    fn database(&self) -> PathBuf {
        self.home.path().join("auth/telegram.db")
    }

    async fn end(self) {
        self.served.end().await;
    }
}

fn to(number: i64, chat: &str, text: &str) -> Delivery {
    delivery(number, chat, text)
}

#[tokio::test]
async fn a_message_of_each_kind_of_chat_reaches_the_inbox_as_people_would_read_it() {
    let place = Place::connected().await;
    let before = Timestamp::now().as_ms();
    let said = place.telegram.say(FAMILY, ANN, "@andy_bot good morning");
    let message = place.next().await;
    assert_eq!((message.chat.as_str(), message.channel.as_str()), (FAMILY_CHAT, "telegram"));
    assert_eq!((message.id.as_str(), message.chat_kind), (&*said.to_string(), Some(ChatKind::Group)));
    assert_eq!((message.sender.as_str(), message.sender_name.as_str()), ("1001", "Ann"));
    assert_eq!(message.text, "@Andy good morning");
    assert!((message.sent_at.as_ms() - before).abs() < 20_000, "{:?}", message.sent_at);

    place.telegram.say(ANN, ANN, "just us");
    let message = place.next().await;
    assert_eq!((message.chat.as_str(), message.chat_kind), ("tg:1001", Some(ChatKind::Private)));
    assert_eq!((message.text.as_str(), message.sender_name.as_str()), ("just us", "Ann"));

    place.telegram.say_more(CLUB, BOB, Said::text("ask Andy about it").mention("Andy", FakeTelegram::BOT_ID));
    let message = place.next().await;
    assert_eq!((message.chat.as_str(), message.chat_kind), (CLUB_CHAT, Some(ChatKind::Group)));
    assert_eq!((message.text.as_str(), message.sender_name.as_str()), ("@Andy ask @Andy about it", "Bob"));

    place.telegram.say(FAMILY, BOB, "/ping@andy_bot");
    assert_eq!(place.next().await.text, "/ping");
    place.end().await;
}

#[tokio::test]
async fn a_reply_comes_with_what_it_replies_to() {
    let place = Place::connected().await;
    for chat in [FAMILY, CLUB, ANN] {
        let first = place.telegram.say(chat, ANN, "shall we?");
        place.next().await;
        place.telegram.say_more(chat, ANN, Said::text("yes").reply_to(first));
        let quote = place.next().await.quote.unwrap();
        assert_eq!((quote.id.as_str(), quote.sender_name.as_deref()), (&*first.to_string(), Some("Ann")), "{chat}");
        assert_eq!(quote.text.as_deref(), Some("shall we?"), "{chat}");
    }
    let ours = place.send(&to(1, FAMILY_CHAT, "we shall")).await.unwrap().platform_id.unwrap();
    place.telegram.say_more(FAMILY, BOB, Said::text("good").reply_to(ours.as_str().parse().unwrap()));
    let quote = place.next().await.quote.unwrap();
    assert_eq!((quote.sender_name.as_deref(), quote.text.as_deref()), (Some("Andy"), Some("we shall")));

    // When Telegram does not tell the text, the message comes all the same.
    place.telegram.fail_next("messages.getMessages", Fault::error(400, "MESSAGE_IDS_EMPTY"));
    place.telegram.say_more(FAMILY, BOB, Said::text("again").reply_to(ours.as_str().parse().unwrap()));
    let message = place.next().await;
    assert_eq!((message.text.as_str(), message.quote.unwrap().text), ("again", None));
    place.end().await;
}

#[tokio::test]
async fn a_change_arrives_as_a_line_of_its_own_and_calls_nobody() {
    let place = Place::connected().await;
    for chat in [FAMILY, CLUB] {
        let said = place.telegram.say(chat, ANN, "at seven");
        place.next().await;
        place.telegram.edit(chat, said, "@andy_bot at eight");
        let edit = place.next().await;
        assert_eq!((edit.text.as_str(), edit.sender_name.as_str()), ("[edited] @Andy at eight", "Ann"));
        assert!(edit.id.as_str().starts_with(&format!("{said}/edited/")), "{}", edit.id);
    }
    place.end().await;
}

#[tokio::test]
async fn what_programs_say_is_not_heard_and_our_own_words_neither() {
    let place = Place::connected().await;
    place.telegram.bot(2001, "Robot", "robot_bot");
    place.send(&to(1, FAMILY_CHAT, "from the assistant")).await.unwrap();
    place.telegram.say(FAMILY, 2001, "from a bot");
    place.telegram.add_member(FAMILY, BOB);
    place.telegram.say(FAMILY, ANN, "from a person");
    place.messages(1).await;
    assert_eq!(place.intake.texts(), ["from a person"]);
    place.end().await;
}

#[tokio::test]
async fn nothing_counts_as_taken_in_before_it_is_committed() {
    let place = Place::connected().await;
    let start = place.reached().await;
    place.intake.hold_commits(true);
    place.telegram.say(FAMILY, ANN, "one");
    place.telegram.say(CLUB, BOB, "two");
    place.telegram.wait_until("they are told", |seen| seen.pushed >= 2).await;
    // The host dies between receiving and storing. The next one is told all of it again.
    let next = place.reborn().await;
    let mut texts: Vec<_> = next.messages(2).await.into_iter().map(|message| message.text).collect();
    texts.sort();
    assert_eq!(texts, ["one", "two"]);
    next.moved_on(start).await;
    next.end().await;
}

#[tokio::test]
async fn what_is_taken_in_is_not_told_again_to_the_next_host_and_what_came_meanwhile_is() {
    let place = Place::connected().await;
    for (chat, text) in [(FAMILY, "one"), (CLUB, "two")] {
        let before = place.reached().await;
        place.telegram.say(chat, ANN, text);
        place.next().await;
        place.moved_on(before).await;
    }
    // The update of the supergroup may be stored before that of the group: both are taken in, so another moves both on.
    let (telegram, home) = place.dies().await;
    telegram.slice_differences(3);
    for number in 0..10 {
        telegram.say(FAMILY, ANN, &format!("family {number}"));
        telegram.say(CLUB, BOB, &format!("club {number}"));
    }
    let next = Place::at(telegram, home, false);
    next.messages(20).await;
    for who in ["family", "club"] {
        let texts = next.intake.texts().into_iter().filter(|text| text.starts_with(who)).collect::<Vec<_>>();
        assert_eq!(texts, (0..10).map(|number| format!("{who} {number}")).collect::<Vec<_>>());
    }
    assert_eq!(next.intake.texts().len(), 20, "nothing that was taken in is told again");
    assert_eq!(next.telegram.seen().logins, 1, "a session is used again");
    next.end().await;
}

#[tokio::test]
async fn a_supergroup_that_the_bot_came_to_while_the_host_was_away_is_heard_from_then_on() {
    let new = FakeTelegram::SUPERGROUP - 66;
    let place = Place::connected().await;
    let (telegram, home) = place.dies().await;
    telegram.add_bot(new, ANN);
    telegram.say(new, ANN, "one");
    telegram.say(new, ANN, "two");
    let next = Place::at(telegram, home, false);
    next.messages(2).await;
    assert_eq!(next.intake.texts(), ["one", "two"]);
    next.telegram.say(new, ANN, "three");
    assert_eq!(next.messages(3).await[2].text, "three");
    next.end().await;
}

#[tokio::test]
async fn what_the_store_did_not_take_is_said_again_in_its_order() {
    let place = Place::connected().await;
    place.intake.fail(true);
    for text in ["one", "two", "three"] {
        place.telegram.say(FAMILY, ANN, text);
    }
    place.state("the loss", |state| matches!(state, ChannelState::Waiting { .. })).await;
    place.intake.fail(false);
    place.messages(3).await;
    assert_eq!(place.intake.texts(), ["one", "two", "three"]);
    place.end().await;
}

#[tokio::test]
async fn what_is_told_twice_late_or_never_is_one_message_in_its_order() {
    let place = Place::connected().await;
    for (number, chat) in [FAMILY, CLUB].into_iter().enumerate() {
        place.telegram.say(chat, ANN, "one");
        place.messages(5 * number + 1).await;
        place.telegram.push_again();
        place.telegram.hold_pushes();
        place.telegram.say(chat, ANN, "two");
        place.telegram.say(chat, ANN, "three");
        place.telegram.release_pushes_reversed();
        place.messages(5 * number + 3).await;
        // Never told: the next one shows that something is missing.
        place.telegram.hold_pushes();
        place.telegram.say(chat, ANN, "four");
        place.telegram.lose_pushes();
        place.telegram.say(chat, ANN, "five");
        place.messages(5 * number + 5).await;
        assert_eq!(place.intake.texts()[5 * number..], ["one", "two", "three", "four", "five"]);
    }
    place.end().await;
}

#[tokio::test]
async fn a_chat_whose_store_is_slow_holds_up_no_other_and_a_fault_of_ours_loses_nothing() {
    let place = Place::connected().await;
    place.intake.panic_next();
    place.telegram.say(FAMILY, ANN, "one");
    place.telegram.say(FAMILY, ANN, "two");
    place.messages(2).await;
    assert_eq!(place.intake.texts(), ["one", "two"]);
    place.end().await;
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_nothing_is_missed() {
    let place = Place::connected().await;
    for number in 0..3 {
        let connections = place.telegram.seen().connections;
        place.telegram.drop_connections();
        place.telegram.say(FAMILY, ANN, &format!("after {number}"));
        place.telegram.wait_until("the next connection", |seen| seen.connections > connections).await;
        place.messages(number + 1).await;
    }
    place.telegram.refuse_connections(usize::MAX);
    place.telegram.drop_connections();
    place.telegram.wait_until("two refusals", |seen| seen.refused >= 2).await;
    place.telegram.say(CLUB, ANN, "while it was away");
    place.telegram.refuse_connections(0);
    place.messages(4).await;
    assert_eq!(place.intake.texts(), ["after 0", "after 1", "after 2", "while it was away"]);
    assert_eq!(place.telegram.seen().logins, 1);
    place.state("connected", ChannelState::is_connected).await;
    place.end().await;
}

#[tokio::test]
async fn a_refused_credential_is_told_with_its_remedy_and_not_tried_again_before_it_changes() {
    for (bad, name) in
        [((BOT_TOKEN, "777:wrong"), BOT_TOKEN), ((API_HASH, "00wrong"), API_HASH), ((API_ID, "54321"), API_ID)]
    {
        let credentials = GOOD.map(|good| if good.0 == bad.0 { bad } else { good });
        let place = Place::with(FakeTelegram::start().await.unwrap(), &credentials, false).await;
        let refused = place.state("the refusal", |state| matches!(state, ChannelState::Refused { .. })).await;
        let ChannelState::Refused { reason, remedy } = refused else { unreachable!("it was waited for") };
        assert!(reason.contains(name) && remedy.contains(&format!("nanoclaw auth set {name}")), "{reason}: {remedy}");
        assert!(!format!("{reason}{remedy}").contains("wrong"), "no credential is told");
        assert!(place.telegram.seen().connections <= 1, "it was tried once");

        store_secrets(place.home.path(), &GOOD);
        place.credentials.reload(Ask::AllButTheCommand).await.unwrap();
        place.state("the connection", ChannelState::is_connected).await;
        place.end().await;
    }
}

#[tokio::test]
async fn missing_credentials_are_trouble_only_where_somebody_wants_telegram() {
    let place = Place::with(FakeTelegram::start().await.unwrap(), &[], false).await;
    place.state("that it is not used", |state| matches!(state, ChannelState::Unused { .. })).await;
    let error = place.send(&to(1, FAMILY_CHAT, "hello")).await.unwrap_err();
    assert!(matches!(error, SendError::NotConnected { .. }), "{error:?}");
    place.end().await;
    for (credentials, required) in [(&[][..], true), (&GOOD[..1], false)] {
        let place = Place::with(FakeTelegram::start().await.unwrap(), credentials, required).await;
        place.state("that it cannot be used", |state| matches!(state, ChannelState::Refused { .. })).await;
        assert_eq!(place.telegram.seen().connections, 0);
        place.end().await;
    }
}

#[tokio::test]
async fn a_bot_that_was_logged_out_signs_in_anew_and_misses_nothing() {
    let place = Place::connected().await;
    place.telegram.log_out("SESSION_REVOKED");
    place.telegram.say(FAMILY, ANN, "while it was out");
    let error = place.send(&to(1, FAMILY_CHAT, "hello")).await.unwrap_err();
    assert!(matches!(error, SendError::NotConnected { .. }), "{error:?}");
    place.telegram.wait_until("it signs in", |seen| seen.logins == 2).await;
    place.messages(1).await;
    place.host.wait_for("connected telegram", 2).await;
    place.send(&to(1, FAMILY_CHAT, "hello")).await.unwrap();
    assert_eq!(place.telegram.posted(FAMILY), ["hello"]);

    // And when it was logged out while the host was away.
    let (telegram, home) = place.dies().await;
    telegram.log_out("AUTH_KEY_UNREGISTERED");
    let next = Place::at(telegram, home, false);
    next.state("connected", ChannelState::is_connected).await;
    assert_eq!(next.telegram.seen().logins, 3);
    next.end().await;
}

#[tokio::test]
async fn a_bot_that_is_banned_is_not_tried_again() {
    let place = Place::connected().await;
    place.telegram.ban("USER_DEACTIVATED_BAN");
    let error = place.send(&to(1, FAMILY_CHAT, "hello")).await.unwrap_err();
    assert!(matches!(error, SendError::NotConnected { .. }), "{error:?}");
    let refused = place.state("the refusal", |state| matches!(state, ChannelState::Refused { .. })).await;
    assert!(format!("{refused:?}").contains("USER_DEACTIVATED_BAN"));
    place.end().await;
}

#[tokio::test]
async fn a_wait_at_the_door_is_waited_for() {
    let telegram = FakeTelegram::start().await.unwrap();
    telegram.fail_next("auth.importBotAuthorization", Fault::FloodWait { seconds: 900 });
    let place = Place::with(telegram, &GOOD, false).await;
    let waiting = place.state("the wait", |state| matches!(state, ChannelState::Waiting { .. })).await;
    let ChannelState::Waiting { next_try: Some(next_try), .. } = waiting else { unreachable!("it was waited for") };
    assert!(next_try.as_ms() - Timestamp::now().as_ms() > 800_000, "{next_try}");
    place.end().await;
}

#[tokio::test]
async fn a_session_that_is_used_in_two_places_is_left_for_half_a_minute_and_told() {
    let place = Place::connected().await;
    place.telegram.fail_next("messages.sendMessage", Fault::error(406, "AUTH_KEY_DUPLICATED"));
    place.telegram.fail_next("users.getUsers", Fault::error(406, "AUTH_KEY_DUPLICATED"));
    let error = place.send(&to(1, FAMILY_CHAT, "hello")).await.unwrap_err();
    assert!(matches!(error, SendError::NotConnected { .. }), "{error:?}");
    let waiting = place.state("the wait", |state| matches!(state, ChannelState::Waiting { .. })).await;
    let ChannelState::Waiting { next_try: Some(next_try), reason } = waiting else { unreachable!("it was waited for") };
    assert!(reason.contains("from elsewhere"), "{reason}");
    assert!(next_try.as_ms() - Timestamp::now().as_ms() > 25_000, "{next_try}");
    place.end().await;
}

#[tokio::test]
async fn a_second_process_with_the_same_session_is_not_let_in() {
    let first = Place::connected().await;
    let home = tempfile::tempdir().unwrap();
    store_secrets(home.path(), &GOOD);
    let parts = ServiceParts {
        settings: TelegramSettings { required: true, state: first.database() },
        credentials: credentials_in(home.path()),
        intake: FakeIntake::new(),
        host: FakeHost::new(),
        files: None,
    };
    let (watch, keeping) = start(parts, first.stop.clone());
    let keeping = tokio::spawn(keeping);
    let waiting = soon("the refusal", watch.wait_for(|state| matches!(state, ChannelState::Waiting { .. }))).await;
    assert!(format!("{waiting:?}").contains("another process"), "{waiting:?}");
    first.end().await;
    soon("the end", keeping).await.unwrap();
}

#[tokio::test]
async fn an_answer_goes_out_formatted_and_a_long_one_in_pieces() {
    let place = Place::connected().await;
    let capabilities = place.channel().capabilities();
    assert_eq!((capabilities.repeat, capabilities.typing, capabilities.files), (Repeat::Deduplicated, true, true));
    let sent = place.send(&to(1, FAMILY_CHAT, "**good** morning")).await.unwrap();
    let message = place.telegram.seen().sent.remove(0);
    assert_eq!((sent.platform_id.unwrap().as_str(), message.text.as_str()), (&*message.id.to_string(), "good morning"));
    assert_eq!(message.entities.len(), 1, "{:?}", message.entities);

    place.telegram.say(CLUB, ANN, "hello");
    place.next().await;
    place.send(&to(2, CLUB_CHAT, &long_text(400))).await.unwrap();
    let pieces = place.telegram.posted(CLUB);
    assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.encode_utf16().count() <= 4096), "{}", pieces.len());
    is_whole(&pieces, 400);

    place.telegram.say(ANN, ANN, "hello");
    place.next().await;
    place.send(&to(3, "tg:1001", "hello Ann")).await.unwrap();
    assert_eq!(place.telegram.posted(ANN), ["hello Ann"]);
    place.end().await;
}

/// An answer to the message of this number, or to none, in this topic.
fn answering(delivery: Delivery, message: Option<i32>, topic: Option<i32>) -> Delivery {
    let id = |number: i32| number.to_string().parse().unwrap();
    let reply_to = |message| ReplyTo { id: id(message), sender: "1001".parse().unwrap(), text: "what?".to_owned() };
    Delivery { answered: Answered { reply_to: message.map(reply_to), thread: topic.map(id) }, ..delivery }
}

/// What was sent to a chat, by the number of what it replies to and its topic.
fn places(telegram: &FakeTelegram, chat: i64) -> Vec<(Option<i32>, Option<i32>)> {
    let sent = telegram.seen().sent.into_iter().filter(|sent| sent.chat == chat);
    sent.map(|sent| (sent.reply_to, sent.topic)).collect()
}

#[tokio::test]
async fn an_answer_replies_with_its_first_piece_and_stays_in_the_topic() {
    let place = Place::connected().await;
    let asked = place.telegram.say(FAMILY, ANN, "what?");
    assert_eq!(place.next().await.thread, None);
    place.send(&answering(to(1, FAMILY_CHAT, &long_text(400)), Some(asked), None)).await.unwrap();
    let replies = places(&place.telegram, FAMILY);
    assert_eq!((replies.len() > 2, replies[0]), (true, (Some(asked), None)));
    assert!(replies[1..].iter().all(|reply| *reply == (None, None)), "{replies:?}");

    let topic = place.telegram.say(CLUB, ANN, "the plans");
    let asked = place.telegram.say_more(CLUB, ANN, Said::text("what?").topic(topic));
    let reply = place.telegram.say_more(CLUB, BOB, Said::text("yes, what?").topic(topic).reply_to(asked));
    place.messages(4).await;
    for (number, quoted) in [(2, None), (3, Some(asked.to_string()))] {
        let message = &place.intake.messages()[number];
        assert_eq!(message.thread.as_ref().map(|thread| thread.as_str()), Some(&*topic.to_string()));
        assert_eq!(message.quote.as_ref().map(|quote| quote.id.to_string()), quoted);
    }
    place.send(&answering(to(2, CLUB_CHAT, &long_text(400)), Some(reply), Some(topic))).await.unwrap();
    place.send(&answering(to(3, CLUB_CHAT, "and"), None, Some(topic))).await.unwrap();
    let file = with_report(to(4, CLUB_CHAT, "here"), &place.spool, b"a report");
    place.send(&answering(file, Some(asked), Some(topic))).await.unwrap();
    let mut replies = places(&place.telegram, CLUB);
    assert_eq!((replies.remove(0), replies.pop()), ((Some(reply), Some(topic)), Some((Some(asked), Some(topic)))));
    assert!(replies.len() > 2 && replies.iter().all(|reply| *reply == (None, Some(topic))), "{replies:?}");
    place.end().await;
}

#[tokio::test]
async fn an_answer_to_a_message_that_is_gone_is_sent_all_the_same_and_once() {
    let place = Place::connected().await;
    let gone = place.telegram.say(FAMILY, ANN, "what?");
    let topic = place.telegram.say(CLUB, ANN, "the plans");
    let asked = place.telegram.say_more(CLUB, ANN, Said::text("what?").topic(topic));
    place.messages(3).await;
    place.telegram.delete(FAMILY, &[gone]);
    place.telegram.delete(CLUB, &[asked]);
    let still = place.telegram.say_more(CLUB, ANN, Said::text("anybody?").topic(topic));
    place.messages(4).await;
    let message = answering(to(1, FAMILY_CHAT, "it is gone"), Some(gone), None);
    for _ in 0..2 {
        place.send(&message).await.unwrap();
    }
    let file = with_report(to(2, CLUB_CHAT, ""), &place.spool, b"a report");
    place.send(&answering(file, Some(asked), Some(topic))).await.unwrap();
    assert_eq!(places(&place.telegram, FAMILY), [(None, None)]);
    assert_eq!(places(&place.telegram, CLUB), [(None, Some(topic))]);
    // The topic goes as well.
    place.telegram.delete(CLUB, &[topic, still]);
    for error in ["TOPIC_CLOSED", "TOPIC_DELETED"] {
        place.telegram.fail_next("messages.sendMessage", Fault::error(400, error));
    }
    place.send(&answering(to(3, CLUB_CHAT, "here, then"), Some(still), Some(topic))).await.unwrap();
    assert_eq!(places(&place.telegram, CLUB)[1..], [(None, None)]);
    place.end().await;
}

#[tokio::test]
async fn of_whatever_breaks_in_the_middle_of_a_send_nothing_is_shown_twice() {
    let place = Place::connected().await;
    for (number, (fault, shown)) in
        [(Fault::DropBefore, 0), (Fault::DropAfter, 1), (Fault::Half, 1), (Fault::error(500, "RPC_CALL_FAIL"), 0)]
            .into_iter()
            .enumerate()
    {
        let text = format!("answer {number}");
        let message = to(i64::try_from(number).unwrap(), FAMILY_CHAT, &text);
        let connected = place.host.calls().len();
        place.telegram.fail_next("messages.sendMessage", fault.clone());
        let error = place.send(&message).await.unwrap_err();
        assert!(matches!(error, SendError::Unknown { .. }), "{fault:?}: {error:?}");
        let posted = |place: &Place| place.telegram.posted(FAMILY).iter().filter(|posted| **posted == text).count();
        assert_eq!(posted(&place), shown, "{fault:?}");
        // Sent again as soon as it goes, as the deliverer does.
        let sent = async {
            while place.send(&message).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("it is sent", sent).await;
        assert_eq!(posted(&place), 1, "{fault:?}");
        assert!(place.host.calls().len() >= connected);
    }
    place.end().await;
}

#[tokio::test]
async fn a_host_that_died_in_the_middle_of_a_long_answer_shows_the_rest_and_nothing_twice() {
    let place = Place::connected().await;
    let message = to(1, FAMILY_CHAT, &long_text(400));
    place.telegram.fail_next("messages.sendMessage", Fault::Slow);
    let sending = tokio::spawn({
        let (channel, message) = (place.channel(), message.clone());
        async move { channel.send(&message).await }
    });
    place.telegram.wait_until("the first piece", |seen| seen.posted(FAMILY).len() == 1).await;
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    let next = place.reborn().await;
    next.state("connected", ChannelState::is_connected).await;
    next.send(&message).await.unwrap();
    is_whole(&next.telegram.posted(FAMILY), 400);
    assert_eq!(next.telegram.seen().repeats, 1, "the first piece was sent again, and Telegram showed it once");
    next.end().await;
}

#[tokio::test]
async fn one_chat_that_is_limited_holds_up_no_other() {
    let place = Place::connected().await;
    place.telegram.say(CLUB, ANN, "hello");
    place.next().await;
    place.telegram.fail_next_in("messages.sendMessage", FAMILY, Fault::FloodWait { seconds: 30 });
    let error = place.send(&to(1, FAMILY_CHAT, "one")).await.unwrap_err();
    assert!(
        matches!(error, SendError::Retry { after: Some(after), .. } if after == Duration::from_secs(30)),
        "{error:?}"
    );
    place.send(&to(2, CLUB_CHAT, "two")).await.unwrap();
    assert_eq!(place.telegram.posted(CLUB), ["two"]);
    place.end().await;
}

#[tokio::test]
async fn a_chat_that_cannot_be_written_to_says_what_to_do() {
    let place = Place::connected().await;
    for chat in ["tg:1002", "tg:-77", "tg:-1000000000077", "tg:x"] {
        let error = place.send(&to(1, chat, "hello")).await.unwrap_err();
        let SendError::Permanent { reason } = error else { panic!("{chat}: {error:?}") };
        assert!(reason.contains("nanoclaw"), "{reason}");
    }
    place.telegram.say(ANN, ANN, "hello");
    place.next().await;
    place.telegram.block(ANN, true);
    let error = place.send(&to(2, "tg:1001", "hello")).await.unwrap_err();
    assert!(matches!(&error, SendError::Permanent { reason } if reason.contains("blocked")), "{error:?}");
    place.end().await;
}

#[tokio::test]
async fn that_the_assistant_is_at_work_is_shown_in_the_topic_in_which_it_answers() {
    let place = Place::connected().await;
    let chat = FAMILY_CHAT.parse().unwrap();
    let topic = "17".parse().unwrap();
    for thread in [None, Some(&topic)] {
        soon("the sign", place.channel().set_typing(&chat, thread, Typing::On)).await;
        soon("the end of it", place.channel().set_typing(&chat, thread, Typing::Off)).await;
    }
    let actions = place.telegram.seen().actions;
    let expected = [None, Some(17)].into_iter().flat_map(|topic| {
        ["SendMessageTypingAction", "SendMessageCancelAction"].map(|what| (FAMILY, topic, what.to_owned()))
    });
    assert_eq!(actions, expected.collect::<Vec<_>>());
    place.end().await;
}

#[tokio::test]
async fn files_that_people_send_are_in_the_spool_when_the_message_is_stored() {
    // Longer than the small form that Telegram has of a photo.
    const CONTENT: &[u8] = b"a content that is longer than a small picture";
    let place = Place::connected().await;
    for (number, (file, kind, name)) in [
        (File::document("a.txt", "text/plain", CONTENT), "document", Some("a.txt")),
        (File::photo(CONTENT), "photo", None),
        (File::voice(CONTENT, 3), "voice", None),
    ]
    .into_iter()
    .enumerate()
    {
        place.telegram.say_file(FAMILY, ANN, "look", file);
        let message = place.messages(number + 1).await.remove(number);
        assert_eq!(message.text, "look");
        let attachment = &message.attachments[0];
        let Fetched::Yes(file) = &attachment.fetched else { panic!("it is fetched: {attachment:?}") };
        assert_eq!(
            (attachment.kind.as_str(), attachment.name.as_deref(), file.bytes),
            (kind, name, CONTENT.len() as u64)
        );
        let copy = place.home.path().join("files/in").join(file.spool.as_str());
        assert_eq!(fs::read(copy).unwrap(), CONTENT);
    }
    // Said while the host is away for so long that what Telegram says of where the file is does not hold any more.
    place.telegram.hold_pushes();
    place.telegram.say_file(FAMILY, ANN, "late", File::photo(CONTENT));
    place.telegram.expire_file_references();
    place.telegram.release_pushes();
    let attachment = place.next().await.attachments.remove(0);
    assert!(matches!(&attachment.fetched, Fetched::Yes(_)), "{attachment:?}");
    let fetched = place.telegram.seen().count("upload.getFile");

    place.telegram.say_file(FAMILY, ANN, "", File::document("large.txt", "text/plain", &[b'x'; 2000]));
    let attachment = place.next().await.attachments.remove(0);
    assert!(matches!(&attachment.fetched, Fetched::No { reason: Some(reason) } if reason.contains("larger than")));
    place.intake.unregister(CLUB_CHAT);
    place.telegram.say_file(CLUB, ANN, "look", File::photo(CONTENT));
    place.intake.drop_what_says(&BOB.to_string());
    place.telegram.say_file(FAMILY, BOB, "look", File::photo(CONTENT));
    place.telegram.say(FAMILY, ANN, "after it");
    assert_eq!(place.next().await.text, "after it");
    assert_eq!(place.telegram.seen().count("upload.getFile"), fetched);
    assert_eq!(fs::read_dir(place.spool.arriving()).unwrap().count(), 0, "the channel's copies are gone");
    place.end().await;
}

#[tokio::test]
async fn a_file_that_an_agent_sends_is_shown_once_whatever_breaks() {
    let place = Place::connected().await;
    let message = with_report(to(1, FAMILY_CHAT, "here it is"), &place.spool, b"a report");
    place.telegram.fail_next("messages.sendMedia", Fault::DropAfter);
    let error = place.send(&message).await.unwrap_err();
    assert!(matches!(error, SendError::Unknown { .. }), "{error:?}");
    let sent = async {
        while place.send(&message).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("it is sent", sent).await;
    assert_eq!(place.telegram.posted(FAMILY), ["here it is [report.txt: a report]"]);

    // A picture is a photo; one that Telegram does not take for one is a document.
    let picture = ("a.png", "image/png");
    let message = with_file(to(2, FAMILY_CHAT, ""), &place.spool, picture, b"a picture");
    place.telegram.fail_next("messages.sendMedia", Fault::error(400, "PHOTO_INVALID_DIMENSIONS"));
    place.send(&message).await.unwrap();
    assert_eq!(place.telegram.posted(FAMILY)[1..], ["[a.png: a picture]"]);
    place.end().await;
}

#[tokio::test]
async fn names_of_chats_are_kept_and_coming_and_going_is_noticed() {
    let place = Place::connected().await;
    let known = |place: &Place, chat: &str| {
        place.intake.chats().into_iter().rev().find(|known| known.chat.as_str() == chat).map(|known| known.name)
    };
    let named = async |chat: &str, name: &str| {
        let name = Some(Some(name.to_owned()));
        let wait = async {
            while known(&place, chat) != name {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the name", wait).await;
    };
    place.telegram.say(FAMILY, ANN, "hello");
    named(FAMILY_CHAT, "Family").await;
    place.telegram.rename(FAMILY, ANN, "Relatives");
    named(FAMILY_CHAT, "Relatives").await;
    place.telegram.say(ANN, ANN, "hello");
    named("tg:1001", "Ann").await;
    place.telegram.remove_bot(CLUB, ANN);
    place.telegram.add_bot(CLUB, ANN);
    named(CLUB_CHAT, "Club").await;
    place.telegram.say(CLUB, ANN, "welcome back");
    place.messages(3).await;
    assert_eq!(place.intake.told(1).await, [format!("left {CLUB_CHAT}: the bot was removed from it")]);

    let to = place.telegram.upgrade(FAMILY, ANN).unwrap();
    named(&format!("tg:{to}"), "Relatives").await;
    place.telegram.say(to, ANN, "after the move");
    let message = place.messages(4).await.remove(3);
    assert_eq!(message.chat.as_str(), format!("tg:{to}"));
    let told = place.intake.told(2).await.remove(1);
    assert!(told.starts_with(&format!("left {FAMILY_CHAT}: it became a supergroup")), "{told}");
    assert!(told.contains(&format!("tg:{to}")) && told.contains("--folder"), "{told}");
    place.end().await;
}
