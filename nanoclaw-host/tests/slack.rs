//! Slack's channel, with the real client, against a fake Slack that speaks the real protocols.

#![cfg(feature = "slack")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod channel_fakes;

use std::{fs, ops::Deref, time::Duration};

use channel_fakes::{
    FakeIntake, delivery,
    services::{Served, Surroundings, is_whole, long_text, store_secrets, with_report},
    soon,
};
use nanoclaw_core::{
    attachment::Fetched,
    channel::{Repeat, SendError},
    chat::ChatKind,
    delivery::{Answered, Delivery},
    time::Timestamp,
};
use nanoclaw_fakes::slack::{FakeSlack, Fault};
use nanoclaw_host::{
    channels::{
        slack::{APP_TOKEN, BOT_TOKEN, SlackSettings, start},
        status::ChannelState,
    },
    credentials::Ask,
};
use serde_json::json;

const GOOD: [(&str, &str); 2] = [(BOT_TOKEN, FakeSlack::BOT_TOKEN), (APP_TOKEN, FakeSlack::APP_TOKEN)];

/// Slack's channel with a fake host around it, and a fake Slack.
struct Place {
    slack: FakeSlack,
    served: Served,
}

impl Deref for Place {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

impl Place {
    /// One that is connected, with the conversations C1 and C2.
    async fn connected() -> Self {
        let place = Self::with(FakeSlack::start().await.unwrap(), &GOOD, false);
        place.slack.wait_until("a connection", |seen| seen.connections == 1).await;
        place.state("connected", ChannelState::is_connected).await;
        place
    }

    fn with(slack: FakeSlack, tokens: &[(&str, &str)], required: bool) -> Self {
        Self::prepared(slack, tokens, required, |_| {})
    }

    fn prepared(slack: FakeSlack, tokens: &[(&str, &str)], required: bool, prepare: impl FnOnce(&FakeIntake)) -> Self {
        slack.conversation("C1", "general");
        slack.conversation("C2", "random");
        let surroundings = Surroundings::with(tokens);
        prepare(&surroundings.intake);
        let settings = SlackSettings { required, api_url: slack.api_url().parse().unwrap() };
        Self { served: surroundings.serve(settings, start), slack }
    }

    /// Waits until so many events were acknowledged.
    async fn acknowledged(&self, count: usize) {
        self.slack.wait_until("an acknowledgement", |seen| seen.acknowledged.len() >= count).await;
    }

    /// The host dies when Slack has the first piece of `message` and has not answered yet; the next one, which is here.
    async fn dies_after_the_first_piece(self, conversation: &str, message: &Delivery) -> Self {
        self.slack.fail_next_in("chat.postMessage", conversation, Fault::Slow);
        let sending = tokio::spawn({
            let (channel, message) = (self.channel(), message.clone());
            async move { channel.send(&message).await }
        });
        self.slack.wait_until("the first piece", |seen| seen.posted(conversation).len() == 1).await;
        sending.abort();
        let Self { slack, served: Served { stop, keeping, .. } } = self;
        stop.cancel();
        soon("the end", keeping).await.unwrap();
        Self::with(slack, &GOOD, false)
    }

    async fn end(self) {
        self.served.end().await;
    }
}

fn to(number: i64, chat: &str, text: &str) -> Delivery {
    delivery(number, chat, text)
}

#[tokio::test]
async fn a_message_reaches_the_inbox_with_names_in_place_of_ids_and_is_then_acknowledged() {
    let place = Place::connected().await;
    let ts = place.slack.say("C1", "U1", "<@UBOT> ask <@U2> about <https://a.example|this> &amp; that");
    let message = place.messages(1).await.remove(0);
    assert_eq!((message.chat.as_str(), message.channel.as_str(), message.id.as_str()), ("slack:C1", "slack", &*ts));
    assert_eq!((message.sender.as_str(), message.sender_name.as_str()), ("U1", "Ann"));
    assert_eq!(message.text, "@Andy ask @Bob about this (https://a.example) & that");
    assert_eq!(message.chat_kind, Some(ChatKind::Group));
    assert_eq!(message.sent_at.as_ms().to_string(), ts.replace(".000100", "000"));
    place.acknowledged(1).await;

    place.slack.conversation("D1", "U1");
    place.slack.say("D1", "U1", "just us");
    let message = place.messages(2).await.remove(1);
    assert_eq!((message.chat.as_str(), message.chat_kind), ("slack:D1", Some(ChatKind::Private)));

    place.slack.say_more("C1", "U2", "in a thread", &json!({"thread_ts": ts, "parent_user_id": "U1"}));
    let reply = place.messages(3).await.remove(2);
    assert_eq!(reply.thread.as_ref().map(|thread| thread.as_str()), Some(&*ts));
    assert_eq!(place.messages(3).await[0].thread, None);
    let quote = reply.quote.unwrap();
    assert_eq!((quote.id.as_str(), quote.sender_name.as_deref()), (&*ts, Some("Ann")));

    place.slack.edit("C1", &ts, "<@UBOT> never mind");
    let edit = place.messages(4).await.remove(3);
    assert_eq!((edit.text.as_str(), edit.sender_name.as_str()), ("[edited] @Andy never mind", "Ann"));
    assert!(edit.id.as_str().starts_with(&*ts) && edit.id.as_str() != ts, "{}", edit.id);
    place.end().await;
}

#[tokio::test]
async fn names_are_asked_for_once() {
    let place = Place::connected().await;
    for number in 1..=3 {
        place.slack.say("C1", "U1", "hello");
        place.messages(number).await;
    }
    let asked = place.slack.seen().calls.iter().filter(|call| call.arguments["user"] == "U1").count();
    assert_eq!(asked, 1);
    place.end().await;
}

#[tokio::test]
async fn a_message_is_acknowledged_only_when_it_is_committed() {
    let place = Place::connected().await;
    place.intake.hold_commits(true);
    place.slack.say("C1", "U1", "hello");
    place.slack.wait_until("the delivery", |seen| seen.delivered == 1).await;
    // Another conversation's event goes through meanwhile: it is acknowledged although the message before it is not.
    place.slack.event(json!({"type": "reaction_added", "user": "U1", "item": {}}));
    place.slack.wait_until("the other acknowledgement", |seen| seen.acknowledged == [1]).await;
    assert!(place.intake.messages().is_empty());
    place.intake.hold_commits(false);
    place.slack.wait_until("both acknowledgements", |seen| seen.acknowledged == [1, 0]).await;
    assert_eq!(place.intake.texts(), ["hello"]);
    place.end().await;
}

#[tokio::test]
async fn what_the_store_did_not_take_is_said_again_in_its_order() {
    let place = Place::connected().await;
    place.intake.fail(true);
    for text in ["one", "two", "three"] {
        place.slack.say("C1", "U1", text);
    }
    place.state("the loss", |state| matches!(state, ChannelState::Waiting { .. })).await;
    assert_eq!(place.slack.seen().acknowledged, Vec::<usize>::new(), "nothing is acknowledged that is not stored");
    place.intake.fail(false);
    place.messages(3).await;
    place.acknowledged(3).await;
    assert_eq!(place.intake.texts(), ["one", "two", "three"]);
    place.end().await;
}

#[tokio::test]
async fn what_is_delivered_twice_is_one_message() {
    let place = Place::connected().await;
    let ts = place.slack.say("C1", "U1", "<@UBOT> hello");
    place.acknowledged(1).await;
    place.slack.deliver_again();
    place.acknowledged(2).await;
    // An app that asks for both gets a mention as an event of its own.
    place.slack.event(json!({
        "type": "app_mention", "channel": "C1", "user": "U1", "text": "<@UBOT> hello", "ts": ts, "event_ts": ts,
    }));
    place.acknowledged(3).await;
    // Acknowledged, and lost on the way: it is said again on the next connection.
    place.slack.lose_acknowledgements(1);
    place.slack.say("C1", "U1", "again");
    place.acknowledged(4).await;
    assert_eq!(place.intake.texts(), ["@Andy hello", "again"]);
    assert!(place.slack.seen().connections > 1);
    place.end().await;
}

#[tokio::test]
async fn what_programs_say_is_not_heard_and_our_own_words_neither() {
    let place = Place::connected().await;
    place.send(&to(1, "slack:C1", "from the assistant")).await.unwrap();
    place.slack.say_more("C1", "U9", "from a bot", &json!({"bot_id": "B9"}));
    place.slack.say_more("C1", "U1", "joined", &json!({"subtype": "channel_join"}));
    place.slack.say("C1", "U1", "from a person");
    place.acknowledged(4).await;
    assert_eq!(place.intake.texts(), ["from a person"]);
    place.end().await;
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_nothing_is_missed() {
    let place = Place::connected().await;
    let kicks: [fn(&FakeSlack); 3] =
        [FakeSlack::drop_connections, FakeSlack::close_connections, |slack| slack.disconnect("refresh_requested")];
    for (number, kick) in kicks.into_iter().enumerate() {
        kick(&place.slack);
        // Said while nobody is there, or on the old connection: it arrives in any case.
        place.slack.say("C1", "U1", &format!("after {number}"));
        place.slack.wait_until("the next connection", |seen| seen.connections == number + 2).await;
        place.messages(number + 1).await;
        place.acknowledged(number + 1).await;
    }
    assert_eq!(place.intake.texts(), ["after 0", "after 1", "after 2"]);
    place.slack.refuse_connections(2);
    place.slack.drop_connections();
    place
        .slack
        .wait_until("the connection after two refusals", |seen| seen.refused == 2 && seen.connections == 5)
        .await;
    place.state("connected", ChannelState::is_connected).await;
    place.end().await;
}

/// The moment of a message.
fn moment_of(ts: &str) -> Timestamp {
    Timestamp::from_ms(ts.split('.').next().unwrap().parse::<i64>().unwrap() * 1000)
}

/// A fake Slack that waits for a host: what was said in C1 since `heard` will not be said again.
async fn slack_that_gave_up() -> (FakeSlack, String) {
    let slack = FakeSlack::start().await.unwrap();
    slack.conversation("C1", "general");
    slack.say("C1", "U1", "long ago");
    let heard = slack.say("C1", "U1", "heard");
    (slack, heard)
}

#[tokio::test]
async fn what_slack_gave_up_to_say_again_is_asked_for_and_comes_before_what_is_said_since() {
    let (slack, heard) = slack_that_gave_up().await;
    slack.limit_pages(15);
    for number in 0..40 {
        slack.say("C1", "U1", &format!("missed {number}"));
    }
    slack.say("C2", "U1", "in a chat that is no group");
    slack.give_up_events();
    // Two limits, an answer that is none, and an error that passes.
    slack.fail_next_in("conversations.history", "C1", Fault::Limited { seconds: 0 });
    slack.fail_next_in("conversations.history", "C1", Fault::DropAfter);
    slack.fail_next_in("conversations.history", "C1", Fault::Error("internal_error".to_owned()));
    slack.fail_next_in("conversations.history", "C1", Fault::Slow);
    let place = Place::prepared(slack, &GOOD, false, |intake| {
        intake.heard_until("slack:C1", moment_of(&heard));
        // A group that the app cannot read keeps nobody waiting.
        intake.heard_until("slack:C9", Timestamp::now());
    });
    place.slack.wait_until("the slow answer", |seen| seen.count_in("conversations.history", "C1") == 4).await;
    // Said while Slack is waited for: here it comes after what was said before, elsewhere at once.
    place.slack.say("C1", "U1", "since");
    place.slack.say("C2", "U1", "elsewhere");
    assert_eq!(place.messages(1).await[0].text, "elsewhere");
    place.slack.release();
    let texts: Vec<_> = place.messages(43).await.into_iter().skip(1).map(|message| message.text).collect();
    let missed = (0..40).map(|number| format!("missed {number}"));
    let expected: Vec<_> = ["heard".to_owned()].into_iter().chain(missed).chain(["since".to_owned()]).collect();
    assert_eq!(texts, expected);
    place.acknowledged(2).await;
    assert_eq!(place.slack.seen().count_in("conversations.history", "C2"), 0);
    place.end().await;
}

#[tokio::test]
async fn what_was_said_in_threads_and_changed_meanwhile_is_among_what_was_missed() {
    let (slack, heard) = slack_that_gave_up().await;
    let old = slack.say_in_thread("C1", "U2", "heard in the thread", &heard);
    slack.say("C1", "U1", "missed");
    slack.say_in_thread("C1", "U2", "a reply", &heard);
    slack.edit("C1", &heard, "heard, and changed");
    slack.say("C1", "U1", "missed too");
    slack.give_up_events();
    let place = Place::prepared(slack, &GOOD, false, |intake| intake.heard_until("slack:C1", moment_of(&old)));
    let messages = place.messages(5).await;
    let texts: Vec<_> = messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["heard in the thread", "missed", "a reply", "[edited] heard, and changed", "missed too"]);
    assert_eq!(messages[2].thread.as_ref().map(|thread| thread.as_str()), Some(&*heard));
    // The next session hears nothing new, and knows the same change when Slack tells it.
    place.slack.edit("C1", &heard, "changed again");
    place.messages(6).await;
    place.slack.drop_connections();
    place.slack.wait_until("the next connection", |seen| seen.connections == 2).await;
    place.slack.say("C1", "U1", "since");
    assert_eq!(place.messages(7).await[6].text, "since");
    place.end().await;
}

#[tokio::test]
async fn threads_in_which_something_was_said_lately_are_asked_for_however_old_their_first_message_is() {
    let (slack, _) = slack_that_gave_up().await;
    let old: Vec<_> = (0..7).map(|number| slack.say("C1", "U1", &format!("begins thread {number}"))).collect();
    let gone = slack.say("C1", "U1", "begins a thread that is gone");
    slack.limit_pages(3);
    (0..5).for_each(|number| drop(slack.say("C1", "U1", &format!("between {number}"))));
    let heard = slack.say_in_thread("C1", "U2", "heard in thread 6", &old[6]);
    for (number, thread) in old.iter().enumerate() {
        slack.say_in_thread("C1", "U2", &format!("missed in thread {number}"), thread);
    }
    slack.say("C1", "U1", "missed");
    slack.delete("C1", &gone);
    slack.give_up_events();
    let place = Place::prepared(slack, &GOOD, false, |intake| {
        intake.heard_until("slack:C1", moment_of(&heard));
        old.iter().chain([&gone]).for_each(|thread| intake.heard_in_thread("slack:C1", thread));
    });
    // Five of eight, of which one is gone: a thread in which long nothing was heard is not asked for.
    let texts: Vec<_> = place.messages(6).await.into_iter().map(|message| message.text).collect();
    let of_threads = (3..7).map(|number| format!("missed in thread {number}"));
    let expected: Vec<_> =
        ["heard in thread 6".to_owned()].into_iter().chain(of_threads).chain(["missed".to_owned()]).collect();
    assert_eq!(texts, expected);
    assert_eq!(place.slack.seen().count_in("conversations.replies", "C1"), 5);
    place.end().await;
}

#[tokio::test]
async fn a_group_that_could_not_be_caught_up_with_is_caught_up_with_in_the_next_session_and_nothing_jumps_ahead() {
    let (slack, heard) = slack_that_gave_up().await;
    slack.say("C1", "U1", "missed");
    slack.give_up_events();
    slack.fail_next_in("conversations.history", "C1", Fault::Slow);
    let place = Place::prepared(slack, &GOOD, false, |intake| intake.heard_until("slack:C1", moment_of(&heard)));
    place.slack.wait_until("the slow answer", |seen| seen.count("conversations.history") == 1).await;
    place.slack.say("C1", "U1", "since");
    place.slack.wait_until("the delivery", |seen| seen.delivered == 1).await;
    place.intake.fail_next();
    place.slack.release();
    place.slack.wait_until("the next connection", |seen| seen.connections == 2).await;
    place.messages(3).await;
    assert_eq!(place.intake.texts(), ["heard", "missed", "since"]);
    place.end().await;
}

#[tokio::test]
async fn a_host_that_ends_does_not_wait_for_what_slack_does_not_let_it_ask() {
    let (slack, heard) = slack_that_gave_up().await;
    slack.fail_next("conversations.history", Fault::Limited { seconds: 3000 });
    let place = Place::prepared(slack, &GOOD, false, |intake| intake.heard_until("slack:C1", moment_of(&heard)));
    place.slack.wait_until("the limit", |seen| seen.count("conversations.history") == 1).await;
    place.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), place.served.keeping).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_token_is_told_with_its_remedy_and_not_tried_again_before_it_changes() {
    for (bad, name) in [
        ([(BOT_TOKEN, "xoxb-wrong"), (APP_TOKEN, FakeSlack::APP_TOKEN)], BOT_TOKEN),
        ([(BOT_TOKEN, FakeSlack::BOT_TOKEN), (APP_TOKEN, "xapp-wrong")], APP_TOKEN),
    ] {
        let place = Place::with(FakeSlack::start().await.unwrap(), &bad, false);
        let refused = place.state("the refusal", |state| matches!(state, ChannelState::Refused { .. })).await;
        let ChannelState::Refused { reason, remedy } = refused else { unreachable!("it was waited for") };
        assert!(reason.contains(name) && remedy.contains(&format!("nanoclaw auth set {name}")), "{reason}: {remedy}");
        assert!(!format!("{reason}{remedy}").contains("wrong"), "no token is told");
        let calls = place.slack.seen().calls.len();
        assert!(calls <= 2, "it was tried once: {calls} calls");

        store_secrets(place.home.path(), &GOOD);
        place.credentials.reload(Ask::AllButTheCommand).await.unwrap();
        place.state("the connection", ChannelState::is_connected).await;
        place.end().await;
    }
}

#[tokio::test]
async fn missing_tokens_are_trouble_only_where_somebody_wants_slack() {
    let place = Place::with(FakeSlack::start().await.unwrap(), &[], false);
    place.state("that it is not used", |state| matches!(state, ChannelState::Unused { .. })).await;
    let error = place.send(&to(1, "slack:C1", "hello")).await.unwrap_err();
    assert!(matches!(error, SendError::NotConnected { .. }), "{error:?}");
    place.end().await;
    for (tokens, required) in [(&[][..], true), (&GOOD[..1], false)] {
        let place = Place::with(FakeSlack::start().await.unwrap(), tokens, required);
        place.state("that it cannot be used", |state| matches!(state, ChannelState::Refused { .. })).await;
        assert!(place.slack.seen().calls.is_empty());
        place.end().await;
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_is_noticed_at_the_next_message_which_waits_for_the_new_one() {
    let place = Place::connected().await;
    place.slack.revoke(FakeSlack::BOT_TOKEN);
    let error = place.send(&to(1, "slack:C1", "hello")).await.unwrap_err();
    assert!(matches!(error, SendError::NotConnected { .. }), "{error:?}");
    place.state("the refusal", |state| matches!(state, ChannelState::Refused { .. })).await;
    place.slack.restore(FakeSlack::BOT_TOKEN);
    // Whoever stores it again has stored something.
    store_secrets(place.home.path(), &[GOOD[0], GOOD[1], ("OTHER", "x")]);
    place.credentials.reload(Ask::AllButTheCommand).await.unwrap();
    place.host.wait_for("connected slack", 2).await;
    place.send(&to(1, "slack:C1", "hello")).await.unwrap();
    assert_eq!(place.slack.posted("C1"), ["hello"]);
    place.end().await;
}

#[tokio::test]
async fn an_answer_is_posted_with_its_mark_and_a_long_one_in_pieces() {
    let place = Place::connected().await;
    assert_eq!(place.channel().capabilities().repeat, Repeat::LookedUp);
    let sent = place.send(&to(1, "slack:C1", "hello")).await.unwrap();
    let (_, message) = place.slack.seen().posts.remove(0);
    assert_eq!(sent.platform_id.unwrap().as_str(), message["ts"]);
    let mark = json!({"event_type": "nanoclaw", "event_payload": {"key": "reply/family/1/1", "piece": "0"}});
    assert_eq!(message["metadata"], mark);
    place.send(&to(2, "slack:C2", &long_text(400))).await.unwrap();
    let pieces = place.slack.posted("C2");
    assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.chars().count() <= 4000), "{}", pieces.len());
    is_whole(&pieces, 400);
    place.end().await;
}

#[tokio::test]
async fn one_conversation_that_is_limited_holds_up_no_other() {
    let place = Place::connected().await;
    place.slack.fail_next_in("chat.postMessage", "C1", Fault::Limited { seconds: 30 });
    let error = place.send(&to(1, "slack:C1", "one")).await.unwrap_err();
    assert!(
        matches!(error, SendError::Retry { after: Some(after), .. } if after == Duration::from_secs(30)),
        "{error:?}"
    );
    place.slack.fail_next_in("chat.postMessage", "C1", Fault::Slow);
    let slow = tokio::spawn({
        let channel = place.channel();
        async move { channel.send(&to(2, "slack:C1", "two")).await }
    });
    place.slack.wait_until("the slow post", |seen| seen.posted("C1") == ["two"]).await;
    place.send(&to(3, "slack:C2", "three")).await.unwrap();
    assert!(!slow.is_finished());
    place.slack.release();
    soon("the slow answer", slow).await.unwrap().unwrap();
    place.end().await;
}

#[tokio::test]
async fn what_slack_refuses_for_good_says_what_to_do() {
    let place = Place::connected().await;
    for (chat, code) in [("slack:C9", "channel_not_found"), ("slack:C1", "is_archived"), ("slack:C2", "not_in_channel")]
    {
        match code {
            "is_archived" => place.slack.archive("C1"),
            "not_in_channel" => place.slack.remove_app("C2"),
            _ => {}
        }
        let error = place.send(&to(1, chat, "hello")).await.unwrap_err();
        assert!(matches!(&error, SendError::Permanent { reason } if reason.contains(code)), "{error:?}");
    }
    let told = place.intake.told(2).await;
    assert_eq!(told, ["left slack:C1: it was archived", "left slack:C2: the assistant was removed from it"]);
    place.slack.conversation("C3", "third");
    place.slack.fail_next("chat.postMessage", Fault::Error("something_new".to_owned()));
    let error = place.send(&to(1, "slack:C3", "hello")).await.unwrap_err();
    assert!(matches!(error, SendError::Retry { .. }), "{error:?}");
    place.end().await;
}

#[tokio::test]
async fn whether_a_message_was_sent_is_found_out_after_any_break() {
    let place = Place::connected().await;
    for (number, (fault, was_sent)) in [
        (Fault::DropBefore, false),
        (Fault::DropAfter, true),
        (Fault::Half, true),
        (Fault::Status(500), false),
        (Fault::Error("fatal_error".to_owned()), false),
    ]
    .into_iter()
    .enumerate()
    {
        let message = to(i64::try_from(number).unwrap(), "slack:C1", &format!("message {number}"));
        place.slack.fail_next("chat.postMessage", fault.clone());
        let error = place.send(&message).await.unwrap_err();
        assert!(matches!(error, SendError::Unknown { .. }), "{fault:?}: {error:?}");
        let found = soon("the look", place.channel().find(&message)).await.unwrap();
        assert_eq!(found.is_some(), was_sent, "{fault:?}");
        if !was_sent {
            place.send(&message).await.unwrap();
        }
        assert_eq!(place.slack.posted("C1").iter().filter(|text| **text == message.text).count(), 1, "{fault:?}");
    }
    place.end().await;
}

#[tokio::test]
async fn a_message_that_was_half_sent_goes_on_where_it_stopped() {
    let place = Place::connected().await;
    let whole = to(1, "slack:C2", &long_text(400));
    place.send(&whole).await.unwrap();
    let expected = place.slack.posted("C2");

    // The second piece is limited: this process knows that the first is out.
    let mut message = to(2, "slack:C1", &long_text(400));
    place.slack.fail_next_in("chat.postMessage", "C1", Fault::Slow);
    let sending = tokio::spawn({
        let (channel, message) = (place.channel(), message.clone());
        async move { channel.send(&message).await }
    });
    place.slack.wait_until("the first piece", |seen| seen.posted("C1").len() == 1).await;
    place.slack.fail_next_in("chat.postMessage", "C1", Fault::Limited { seconds: 1 });
    place.slack.release();
    let error = soon("the limit", sending).await.unwrap().unwrap_err();
    assert!(matches!(error, SendError::Retry { .. }), "{error:?}");
    message.attempts = 1;
    place.send(&message).await.unwrap();
    assert_eq!(place.slack.posted("C1"), expected);
    place.end().await;
}

#[tokio::test]
async fn the_next_host_finds_the_pieces_that_the_one_before_it_sent() {
    let place = Place::connected().await;
    let mut message = to(1, "slack:C1", &long_text(400));
    let next = place.dies_after_the_first_piece("C1", &message).await;
    assert_eq!(soon("the look", next.channel().find(&message)).await.unwrap(), None);
    message.attempts = 1;
    next.send(&message).await.unwrap();
    is_whole(&next.slack.posted("C1"), 400);
    assert!(soon("the look", next.channel().find(&message)).await.unwrap().is_some());
    next.end().await;
}

#[tokio::test]
async fn a_message_is_found_whole_wherever_a_page_of_the_history_ends() {
    let place = Place::connected().await;
    let message = to(1, "slack:C1", &long_text(400));
    place.send(&message).await.unwrap();
    place.slack.say("C1", "U1", "and another");
    place.slack.limit_pages(2);
    assert!(place.slack.posted("C1").len() > 2);
    assert!(soon("the look", place.channel().find(&message)).await.unwrap().is_some());
    place.end().await;
}

/// To the thread that begins with the message `thread`.
fn in_thread(delivery: Delivery, thread: &str) -> Delivery {
    Delivery { answered: Answered { reply_to: None, thread: Some(thread.parse().unwrap()) }, ..delivery }
}

#[tokio::test]
async fn what_was_asked_in_a_thread_is_answered_in_it_and_the_rest_outside_threads() {
    let place = Place::connected().await;
    let first = place.slack.say("C1", "U1", "the first message");
    place.send(&in_thread(to(1, "slack:C1", "in the thread"), &first)).await.unwrap();
    place.send(&in_thread(with_report(to(2, "slack:C1", ""), &place.spool, b"a report"), &first)).await.unwrap();
    place.send(&in_thread(to(3, "slack:C1", &long_text(400)), &first)).await.unwrap();
    place.send(&to(4, "slack:C1", "outside")).await.unwrap();
    assert_eq!(place.slack.seen().posted_in("C1", None), ["outside"]);
    let inside = place.slack.seen().posted_in("C1", Some(&first));
    assert_eq!(inside[..2], ["in the thread", "[report.txt: a report]"]);
    is_whole(&inside[2..], 400);
    place.end().await;
}

#[tokio::test]
async fn whether_a_message_was_sent_to_a_thread_is_found_out_there() {
    let place = Place::connected().await;
    let first = place.slack.say("C1", "U1", "the first message");
    // More than a page was said in the thread before.
    for number in 0..250 {
        place.slack.say_in_thread("C1", "U1", &format!("{number}"), &first);
    }
    for (number, (fault, was_sent)) in [(Fault::DropBefore, false), (Fault::DropAfter, true)].into_iter().enumerate() {
        let message = in_thread(to(i64::try_from(number).unwrap(), "slack:C1", &format!("message {number}")), &first);
        place.slack.fail_next("chat.postMessage", fault);
        place.send(&message).await.unwrap_err();
        let found = soon("the look", place.channel().find(&message)).await.unwrap();
        assert_eq!(found.is_some(), was_sent);
    }
    // The first piece of a long one is out when the host dies.
    let mut message = in_thread(to(7, "slack:C2", &long_text(400)), &place.slack.say("C2", "U1", "another"));
    let next = place.dies_after_the_first_piece("C2", &message).await;
    assert_eq!(soon("the look", next.channel().find(&message)).await.unwrap(), None);
    message.attempts = 1;
    next.send(&message).await.unwrap();
    let thread = message.answered.thread.as_ref().map(|thread| thread.as_str());
    is_whole(&next.slack.seen().posted_in("C2", thread), 400);
    assert!(soon("the look", next.channel().find(&message)).await.unwrap().is_some());
    next.end().await;
}

#[tokio::test]
async fn an_answer_whose_thread_is_gone_goes_to_the_main_stream_once() {
    let place = Place::connected().await;
    let first = place.slack.say("C1", "U1", "the first message");
    place.slack.delete("C1", &first);
    let message = in_thread(to(1, "slack:C1", "the answer"), &first);
    assert_eq!(soon("the look", place.channel().find(&message)).await.unwrap(), None);
    place.send(&message).await.unwrap();
    // The next host does not know that it is out.
    assert!(soon("the look", place.channel().find(&message)).await.unwrap().is_some());
    place.send(&message).await.unwrap();
    assert_eq!(place.slack.seen().posted_in("C1", None), ["the answer"]);
    place.end().await;
}

#[tokio::test]
async fn files_that_people_send_are_in_the_spool_when_the_message_is_stored() {
    let place = Place::connected().await;
    place.slack.say_file("C1", "U1", "look", "a.txt", b"the content");
    let message = place.messages(1).await.remove(0);
    assert_eq!(message.text, "look");
    let attachment = &message.attachments[0];
    let Fetched::Yes(file) = &attachment.fetched else { panic!("it is fetched: {attachment:?}") };
    assert_eq!((attachment.name.as_deref(), attachment.kind.as_str(), file.bytes), (Some("a.txt"), "document", 11));
    let copy = place.home.path().join("files/in").join(file.spool.as_str());
    assert_eq!(fs::read(copy).unwrap(), b"the content");
    place.acknowledged(1).await;
    assert_eq!(fs::read_dir(place.spool.arriving()).unwrap().count(), 0, "the channel's copy is gone");

    place.slack.say_file("C1", "U1", "", "large.txt", &[b'x'; 2000]);
    let attachment = place.messages(2).await.remove(1).attachments.remove(0);
    assert!(matches!(&attachment.fetched, Fetched::No { reason: Some(reason) } if reason.contains("larger than")));

    // A link to elsewhere is not followed: the token would go along.
    let elsewhere = json!({"files": [{"id": "F9", "name": "x", "size": 3, "url_private": "https://files.example/x"}]});
    place.slack.say_more("C1", "U1", "see", &elsewhere);
    let attachment = place.messages(3).await.remove(2).attachments.remove(0);
    assert!(matches!(&attachment.fetched, Fetched::No { reason: Some(reason) } if reason.contains("elsewhere")));
    place.end().await;
}

#[tokio::test]
async fn of_a_chat_that_is_no_group_no_file_is_fetched_and_its_name_is_kept() {
    let place = Place::connected().await;
    place.intake.unregister("slack:C1");
    place.slack.say_file("C1", "U1", "look", "a.txt", b"the content");
    place.acknowledged(1).await;
    assert!(place.intake.messages().is_empty());
    assert_eq!(fs::read_dir(place.home.path().join("files/in")).unwrap().count(), 0);
    let known = place.intake.chats().into_iter().find(|chat| chat.chat.as_str() == "slack:C1").unwrap();
    assert_eq!((known.name.as_deref(), known.kind), (Some("general"), Some(ChatKind::Group)));
    place.end().await;
}

#[tokio::test]
async fn no_file_is_fetched_of_whom_nothing_is_kept() {
    let place = Place::connected().await;
    place.intake.drop_what_says("U2");
    place.slack.say_file("C1", "U2", "look", "a.txt", b"the content");
    place.acknowledged(1).await;
    assert_eq!((place.intake.texts().len(), place.slack.seen().downloads), (0, 0));
    place.slack.say_file("C1", "U1", "look", "a.txt", b"the content");
    place.messages(1).await;
    assert_eq!(place.slack.seen().downloads, 1);
    place.end().await;
}

#[tokio::test]
async fn a_file_that_an_agent_sends_is_shared_once_whatever_breaks() {
    let place = Place::connected().await;
    let content = b"a report";
    let message = with_report(to(1, "slack:C1", "here it is"), &place.spool, content);
    place.slack.fail_next("files.completeUploadExternal", Fault::DropAfter);
    let error = place.send(&message).await.unwrap_err();
    assert!(matches!(error, SendError::Unknown { .. }), "{error:?}");
    assert_eq!(place.slack.posted("C1"), ["here it is [report.txt: a report]"]);
    assert!(soon("the look", place.channel().find(&message)).await.unwrap().is_some());

    // The same file in another message is another message.
    let again = Delivery { key: "reply/family/1/2".parse().unwrap(), ..message };
    assert!(soon("the look", place.channel().find(&again)).await.unwrap().is_none());
    place.send(&again).await.unwrap();
    assert_eq!(place.slack.posted("C1").len(), 2);
    place.end().await;
}

#[tokio::test]
async fn messages_that_came_out_of_order_are_stored_as_they_came_and_none_is_lost() {
    let place = Place::connected().await;
    place.slack.hold_events();
    for text in ["one", "two"] {
        place.slack.say("C1", "U1", text);
    }
    place.slack.release_events_reversed();
    place.messages(2).await;
    assert_eq!(place.intake.texts(), ["two", "one"]);
    place.end().await;
}

#[tokio::test]
async fn a_message_that_meets_a_fault_of_ours_is_said_again_and_the_others_go_on() {
    let place = Place::connected().await;
    place.intake.panic_next();
    place.slack.say("C1", "U1", "one");
    place.slack.say("C1", "U1", "two");
    place.messages(1).await;
    place.slack.drop_connections();
    place.messages(2).await;
    assert_eq!(place.intake.texts(), ["two", "one"]);
    place.end().await;
}
