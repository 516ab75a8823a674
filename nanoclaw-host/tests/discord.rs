//! Discord's channel, with the real client, against a fake Discord that speaks the real protocols.

#![cfg(feature = "discord")]
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
    channel::{Repeat, SendError, Typing},
    chat::ChatKind,
    delivery::{Answered, Delivery, ReplyTo, Sent},
    time::Timestamp,
};
use nanoclaw_fakes::discord::{FakeDiscord, Fault, GATEWAY, HISTORY, POST, TYPING};
use nanoclaw_host::{
    channels::{
        discord::{DiscordSettings, TOKEN, start},
        status::ChannelState,
    },
    credentials::Ask,
};
use serde_json::json;

const GOOD: [(&str, &str); 1] = [(TOKEN, FakeDiscord::BOT_TOKEN)];

/// Discord's channel with a fake host around it, and a fake Discord.
struct Place {
    discord: FakeDiscord,
    served: Served,
}

impl Deref for Place {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

impl Place {
    /// One that is connected, with the channels 20 and 21.
    async fn connected() -> Self {
        let place = Self::with(FakeDiscord::start().await.unwrap(), &GOOD, false);
        place.is_connected(1).await;
        place
    }

    fn with(discord: FakeDiscord, secrets: &[(&str, &str)], required: bool) -> Self {
        Self::prepared(discord, secrets, required, |_| {})
    }

    fn prepared(discord: FakeDiscord, secrets: &[(&str, &str)], required: bool, prepare: impl Fn(&FakeIntake)) -> Self {
        discord.channel("20", "general");
        discord.channel("21", "random");
        let surroundings = Surroundings::with(secrets);
        prepare(&surroundings.intake);
        let settings = DiscordSettings { required, api_url: discord.api_url().parse().unwrap() };
        Self { served: surroundings.serve(settings, start), discord }
    }

    /// Waits until it was connected so many times.
    async fn is_connected(&self, times: usize) {
        self.host.wait_for("connected discord", times).await;
        self.state("connected", ChannelState::is_connected).await;
    }

    async fn is_refused(&self) -> (String, String) {
        match self.state("the refusal", |state| matches!(state, ChannelState::Refused { .. })).await {
            ChannelState::Refused { reason, remedy } => (reason, remedy),
            _ => unreachable!("it was waited for"),
        }
    }

    async fn is_lost(&self) -> (String, Timestamp) {
        match self.state("the loss", |state| matches!(state, ChannelState::Waiting { .. })).await {
            ChannelState::Waiting { reason, next_try: Some(next_try) } => (reason, next_try),
            _ => unreachable!("it was waited for"),
        }
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Sent>, SendError> {
        soon("the look", self.channel().find(delivery)).await
    }

    async fn end(self) {
        self.served.end().await;
    }

    /// Ends it as a crash does; what is left is Discord.
    async fn dies(self) -> FakeDiscord {
        self.served.keeping.abort();
        let _ = self.served.keeping.await;
        self.discord
    }
}

fn to(number: i64, chat: &str, text: &str) -> Delivery {
    delivery(number, chat, text)
}

#[tokio::test]
async fn a_message_reaches_the_inbox_with_names_in_place_of_ids() {
    let place = Place::connected().await;
    let nick = json!({"member": {"nick": "Annie"}});
    let id = place.discord.say_more("20", "11", "<@99> ask <@12> in <#21> about <:cake:5>", &nick);
    let message = place.messages(1).await.remove(0);
    assert_eq!((message.chat.as_str(), message.channel.as_str(), message.id.as_str()), ("dc:20", "discord", &*id));
    assert_eq!((message.sender.as_str(), message.sender_name.as_str()), ("11", "Annie"));
    assert_eq!(message.text, "@Andy ask @Bob in #random about :cake:");
    assert_eq!(message.chat_kind, Some(ChatKind::Group));
    assert!(Timestamp::now().as_ms() - message.sent_at.as_ms() < 60_000, "{}", message.sent_at);

    place.discord.direct("40");
    place.discord.say("40", "11", "just us");
    let message = place.messages(2).await.remove(1);
    assert_eq!((message.chat.as_str(), message.chat_kind), ("dc:40", Some(ChatKind::Private)));
    assert_eq!(message.sender_name, "Ann");

    let reply = json!({
        "type": 19, "message_reference": {"message_id": id, "channel_id": "20", "guild_id": "30"},
        "referenced_message": {"id": id, "content": "ask <@12>", "author": {"id": "11", "username": "ann", "global_name": "Ann"}},
    });
    place.discord.say_more("20", "12", "asked", &reply);
    let quote = place.messages(3).await.remove(2).quote.unwrap();
    assert_eq!((quote.id.as_str(), quote.sender_name.as_deref()), (&*id, Some("Ann")));
    assert_eq!(quote.text.as_deref(), Some("ask @12"));

    place.discord.edit("20", &id, "<@99> never mind");
    let edit = place.messages(4).await.remove(3);
    assert_eq!((edit.text.as_str(), edit.sender_name.as_str()), ("[edited] @Andy never mind", "Ann"));
    assert!(edit.id.as_str().starts_with(&*id) && edit.id.as_str() != id, "{}", edit.id);

    // People mean the bot by its role, too, which has the same name.
    let role = json!({"mention_roles": [FakeDiscord::BOT_ROLE]});
    place.discord.say_more("20", "12", "are you there, <@&77>?", &role);
    assert_eq!(place.messages(5).await[4].text, "@Andy are you there, @Andy?");
    place.end().await;
}

#[tokio::test]
async fn a_thread_is_a_chat_of_its_own() {
    let place = Place::connected().await;
    let thread = json!({"id": "25", "guild_id": FakeDiscord::GUILD, "parent_id": "20", "name": "cake", "type": 11});
    place.discord.event("THREAD_CREATE", thread);
    place.discord.say_more("25", "11", "which one?", &json!({"guild_id": FakeDiscord::GUILD}));
    let message = place.messages(1).await.remove(0);
    assert_eq!((message.chat.as_str(), message.chat_kind), ("dc:25", Some(ChatKind::Group)));
    place.end().await;
}

#[tokio::test]
async fn what_programs_say_is_not_heard_and_our_own_words_neither() {
    let place = Place::connected().await;
    place.send(&to(1, "dc:20", "from the assistant")).await.unwrap();
    place.discord.say_more("20", "13", "from a bot", &json!({"author": {"id": "13", "username": "b", "bot": true}}));
    place.discord.say_more("20", "14", "from a webhook", &json!({"webhook_id": "14"}));
    place.discord.say_more("20", "11", "joined", &json!({"type": 7}));
    place.discord.say("20", "11", "from a person");
    place.messages(1).await;
    assert_eq!(place.intake.texts(), ["from a person"]);
    place.end().await;
}

#[tokio::test]
async fn what_is_delivered_twice_is_one_message() {
    let place = Place::connected().await;
    place.discord.say("20", "11", "hello");
    place.messages(1).await;
    place.discord.deliver_again();
    place.discord.say("20", "11", "again");
    place.messages(2).await;
    assert_eq!(place.intake.texts(), ["hello", "again"]);
    place.end().await;
}

#[tokio::test]
async fn a_lost_connection_is_gone_on_with_and_nothing_is_missed() {
    let place = Place::connected().await;
    let kicks: [fn(&FakeDiscord); 4] = [
        FakeDiscord::drop_connections,
        |discord| discord.close_connections(4000),
        FakeDiscord::ask_to_reconnect,
        |discord| discord.invalidate(true),
    ];
    for (number, kick) in kicks.into_iter().enumerate() {
        kick(&place.discord);
        // Said while nobody is there, or on the old connection: it arrives in any case.
        place.discord.say("20", "11", &format!("after {number}"));
        place.discord.wait_until("the next connection", |seen| seen.resumed.len() == number + 1).await;
        place.messages(number + 1).await;
    }
    assert_eq!(place.intake.texts(), ["after 0", "after 1", "after 2", "after 3"]);
    let seen = place.discord.seen();
    assert_eq!((seen.identified, seen.count(HISTORY)), (1, 0), "the session went on: nothing had to be asked for");
    place.end().await;
}

#[tokio::test]
async fn a_service_that_refuses_connections_is_tried_again_and_the_session_goes_on() {
    let place = Place::connected().await;
    place.discord.refuse_connections(2);
    place.discord.drop_connections();
    place.discord.say("20", "11", "meanwhile");
    let goes_on = "the connection after two refusals";
    place.discord.wait_until(goes_on, |seen| seen.refused == 2 && seen.resumed.len() == 1).await;
    place.messages(1).await;
    assert_eq!(place.discord.seen().identified, 1);
    place.end().await;
}

#[tokio::test]
async fn what_the_store_did_not_take_is_said_again_in_its_order() {
    let place = Place::connected().await;
    place.discord.say("20", "11", "zero");
    place.messages(1).await;
    place.intake.fail(true);
    for text in ["one", "two", "three"] {
        place.discord.say("20", "11", text);
    }
    place.is_lost().await;
    place.intake.fail(false);
    place.messages(4).await;
    assert_eq!(place.intake.texts(), ["zero", "one", "two", "three"]);
    // READY, the guild, and "zero" were done with.
    assert_eq!(place.discord.seen().resumed[0], 3);
    place.end().await;
}

#[tokio::test]
async fn a_heartbeat_says_how_far_all_is_done_with_and_one_without_an_answer_ends_the_connection() {
    let discord = FakeDiscord::start().await.unwrap();
    discord.heartbeats(Duration::from_millis(200), true);
    let place = Place::with(discord, &GOOD, false);
    place.is_connected(1).await;
    place.discord.say("20", "11", "one");
    place.messages(1).await;
    place.discord.wait_until("a heartbeat after it", |seen| seen.beats.last() == Some(&Some(3))).await;
    place.intake.hold_commits(true);
    place.discord.say("20", "11", "two");
    place.discord.wait_until("that it is out", |seen| seen.delivered == 4).await;
    let beats = place.discord.seen().beats.len();
    place.discord.wait_until("two more heartbeats", |seen| seen.beats.len() >= beats + 2).await;
    assert_eq!(place.discord.seen().beats.last(), Some(&Some(3)), "nobody has stored the second");
    place.intake.hold_commits(false);
    place.discord.wait_until("a heartbeat after it", |seen| seen.beats.last() == Some(&Some(4))).await;
    place.discord.ask_for_heartbeat();

    place.discord.heartbeats(Duration::from_millis(200), false);
    place.discord.wait_until("that it goes on elsewhere", |seen| !seen.resumed.is_empty()).await;
    place.discord.heartbeats(Duration::from_secs(40), true);
    place.discord.say("20", "11", "three");
    place.messages(3).await;
    assert_eq!(place.intake.texts(), ["one", "two", "three"]);
    place.end().await;
}

#[tokio::test]
async fn what_was_said_while_no_session_was_there_is_asked_for_and_comes_before_what_is_said_since() {
    let discord = FakeDiscord::start().await.unwrap();
    let place = Place::prepared(discord, &GOOD, false, |intake| {
        intake.heard_until("dc:20", Timestamp::now());
        // A group that the bot cannot read keeps nobody waiting.
        intake.heard_until("dc:29", Timestamp::now());
    });
    place.is_connected(1).await;
    place.discord.say("20", "11", "before");
    place.messages(1).await;
    for (round, kick) in
        [FakeDiscord::drop_connections as fn(&FakeDiscord), |discord| discord.invalidate(false)].into_iter().enumerate()
    {
        place.discord.end_sessions();
        for number in 0..3 {
            place.discord.say("20", "11", &format!("missed {round} {number}"));
        }
        place.discord.say("21", "11", "in a chat that is no group");
        // Two answers that are none, and a limit.
        place.discord.fail_next_in(HISTORY, "20", Fault::Status(502));
        place.discord.fail_next_in(HISTORY, "20", Fault::DropAfter);
        place.discord.fail_next_in(HISTORY, "20", Fault::Limited { seconds: 0 });
        kick(&place.discord);
        place.discord.wait_until("a new session", |seen| seen.identified == round + 2).await;
        place.discord.say("20", "11", &format!("since {round}"));
        place.messages(1 + 4 * (round + 1)).await;
    }
    let expected = [
        "before",
        "missed 0 0",
        "missed 0 1",
        "missed 0 2",
        "since 0",
        "missed 1 0",
        "missed 1 1",
        "missed 1 2",
        "since 1",
    ];
    assert_eq!(place.intake.texts(), expected);
    place.end().await;
}

#[tokio::test]
async fn a_host_that_was_down_asks_for_all_that_was_said_page_by_page_and_no_more() {
    let discord = FakeDiscord::start().await.unwrap();
    discord.channel("20", "general");
    discord.say("20", "11", "long ago");
    let last = discord.say("20", "11", "heard");
    for number in 0..250 {
        discord.say("20", "11", &format!("missed {number}"));
    }
    let at = (last.parse::<i64>().unwrap() >> 22) + 1_420_070_400_000;
    let place = Place::prepared(discord, &GOOD, false, |intake| intake.heard_until("dc:20", Timestamp::from_ms(at)));
    // What was heard is told once more, and would be a duplicate for a store that had it.
    let texts: Vec<_> = place.messages(251).await.into_iter().map(|message| message.text).collect();
    let missed = (0..250).map(|number| format!("missed {number}"));
    assert_eq!(texts, ["heard".to_owned()].into_iter().chain(missed).collect::<Vec<_>>());
    // One page of what was said before, for what was changed of it.
    assert_eq!(place.discord.seen().count(HISTORY), 4);
    place.end().await;
}

#[tokio::test]
async fn what_was_changed_while_the_host_was_down_is_told_at_the_moment_of_its_change() {
    let discord = FakeDiscord::start().await.unwrap();
    discord.channel("20", "general");
    let early = discord.say("20", "11", "said early");
    discord.say("20", "11", "never changed");
    let heard_change = discord.say("20", "11", "changed before");
    discord.edit("20", &heard_change, "its change was heard");
    let last = discord.say("20", "11", "heard");
    let missed = discord.say("20", "11", "missed");
    discord.edit("20", &early, "said early, and changed");
    discord.edit("20", &missed, "missed, and changed");
    discord.say("20", "11", "missed too");
    discord.edit("20", &last, "heard, and changed");
    let heard_until = Timestamp::from_ms((last.parse::<i64>().unwrap() >> 22) + 1_420_070_400_000);
    let place = Place::prepared(discord, &GOOD, false, |intake| intake.heard_until("dc:20", heard_until));
    let expected = [
        // For a store that had it, a duplicate.
        "heard, and changed",
        "missed, and changed",
        "[edited] said early, and changed",
        "missed too",
        "[edited] heard, and changed",
    ];
    place.messages(expected.len()).await;
    // The live event tells the same change: it is one message.
    place.discord.deliver_again();
    place.discord.say("20", "11", "since");
    place.messages(expected.len() + 1).await;
    let texts = place.intake.texts();
    assert_eq!((&texts[..5], texts[5].as_str()), (&expected.map(str::to_owned)[..], "since"));
    place.end().await;
}

#[tokio::test]
async fn nothing_jumps_ahead_of_a_group_that_could_not_be_caught_up_with() {
    let discord = FakeDiscord::start().await.unwrap();
    discord.channel("20", "general");
    let long_ago = Timestamp::from_ms(Timestamp::now().as_ms() - 60_000);
    discord.say("20", "11", "missed");
    discord.fail_next_in(HISTORY, "20", Fault::Slow);
    let place = Place::prepared(discord, &GOOD, false, |intake| intake.heard_until("dc:20", long_ago));
    place.discord.wait_until("the slow answer", |seen| seen.count(HISTORY) == 1).await;
    place.discord.say("20", "11", "since");
    // What is said elsewhere is taken in meanwhile; it came after.
    place.discord.say("21", "11", "elsewhere");
    place.messages(1).await;
    place.intake.fail_next();
    place.discord.release();
    place.messages(3).await;
    assert_eq!(place.intake.texts(), ["elsewhere", "missed", "since"]);
    place.end().await;
}

#[tokio::test]
async fn a_group_that_could_not_be_caught_up_with_is_caught_up_with_in_the_next_session() {
    let discord = FakeDiscord::start().await.unwrap();
    discord.channel("20", "general");
    let long_ago = Timestamp::from_ms(Timestamp::now().as_ms() - 60_000);
    discord.say("20", "11", "missed");
    let place = Place::prepared(discord, &GOOD, false, |intake| {
        intake.heard_until("dc:20", long_ago);
        intake.fail(true);
    });
    place.is_lost().await;
    place.intake.fail(false);
    place.messages(1).await;
    assert_eq!(place.intake.texts(), ["missed"]);
    let seen = place.discord.seen();
    assert!(seen.identified >= 2 && seen.resumed.is_empty(), "{seen:?}");
    place.end().await;
}

#[tokio::test]
async fn a_refused_token_is_told_with_its_remedy_and_not_tried_again_before_it_changes() {
    let place = Place::with(FakeDiscord::start().await.unwrap(), &[(TOKEN, "wrong.token")], false);
    let (reason, remedy) = place.is_refused().await;
    assert!(reason.contains(TOKEN) && remedy.contains(&format!("nanoclaw auth set {TOKEN}")), "{reason}: {remedy}");
    assert!(!format!("{reason}{remedy}").contains("wrong"), "no token is told");
    let seen = place.discord.seen();
    assert_eq!((seen.calls.len(), seen.connections), (1, 0), "it was tried once, and no further than that");

    store_secrets(place.home.path(), &GOOD);
    place.credentials.reload(Ask::AllButTheCommand).await.unwrap();
    place.is_connected(1).await;

    // Taken when it was asked for, and refused on the gateway.
    place.discord.revoke();
    place.discord.drop_connections();
    place.is_refused().await;
    place.end().await;
}

#[tokio::test]
async fn a_bot_that_may_not_read_what_people_write_is_told_which_switch_to_turn() {
    let discord = FakeDiscord::start().await.unwrap();
    discord.allow_content(false);
    let place = Place::with(discord, &GOOD, false);
    let (_, remedy) = place.is_refused().await;
    assert!(remedy.contains("Message Content Intent"), "{remedy}");
    assert_eq!(place.discord.seen().connections, 1);
    place.end().await;
}

#[tokio::test]
async fn a_missing_token_is_trouble_only_where_somebody_wants_discord() {
    let place = Place::with(FakeDiscord::start().await.unwrap(), &[], false);
    place.state("that it is not used", |state| matches!(state, ChannelState::Unused { .. })).await;
    let error = place.send(&to(1, "dc:20", "hello")).await.unwrap_err();
    assert!(matches!(error, SendError::NotConnected { .. }), "{error:?}");
    place.end().await;
    let place = Place::with(FakeDiscord::start().await.unwrap(), &[], true);
    place.is_refused().await;
    assert!(place.discord.seen().calls.is_empty());
    place.end().await;
}

#[tokio::test]
async fn a_token_that_is_revoked_is_noticed_at_the_next_message_which_waits_for_the_new_one() {
    let place = Place::connected().await;
    place.discord.revoke();
    let error = place.send(&to(1, "dc:20", "hello")).await.unwrap_err();
    assert!(matches!(error, SendError::NotConnected { .. }), "{error:?}");
    place.is_refused().await;
    place.discord.restore();
    // Whoever stores it again has stored something.
    store_secrets(place.home.path(), &[GOOD[0], ("OTHER", "x")]);
    place.credentials.reload(Ask::AllButTheCommand).await.unwrap();
    place.is_connected(2).await;
    place.send(&to(1, "dc:20", "hello")).await.unwrap();
    assert_eq!(place.discord.posted("20"), ["hello"]);
    place.end().await;
}

#[tokio::test]
async fn a_gateway_that_discord_does_not_name_is_waited_for_and_looked_for_nowhere_else() {
    let discord = FakeDiscord::start().await.unwrap();
    discord.fail_next(GATEWAY, Fault::Status(500));
    let place = Place::with(discord, &GOOD, false);
    let (reason, _) = place.is_lost().await;
    assert!(reason.contains("500"), "{reason}");
    place.is_connected(1).await;
    assert_eq!(place.discord.seen().count(GATEWAY), 2);
    place.end().await;

    // As many sessions as a day has: what Discord says is waited for.
    let discord = FakeDiscord::start().await.unwrap();
    discord.allow_no_session(600_000);
    let place = Place::with(discord, &GOOD, false);
    let (_, next_try) = place.is_lost().await;
    assert!(next_try.as_ms() > Timestamp::now().as_ms() + 300_000, "{next_try}");
    place.end().await;
}

#[tokio::test]
async fn an_answer_is_posted_with_its_nonce_pings_nobody_and_goes_out_in_pieces_when_it_is_long() {
    let place = Place::connected().await;
    assert_eq!(place.channel().capabilities().repeat, Repeat::LookedUp);
    let sent = place.send(&to(1, "dc:20", "**hello** @everyone <@11>")).await.unwrap();
    let seen = place.discord.seen();
    assert_eq!(sent.platform_id.unwrap().as_str(), seen.posts[0].1["id"]);
    let asked = &seen.calls.iter().find(|call| call.what == POST).unwrap().arguments;
    assert_eq!((&asked["enforce_nonce"], &asked["allowed_mentions"]["parse"]), (&json!(true), &json!([])));
    assert_eq!(asked["nonce"].as_str().unwrap().len(), 25);
    place.send(&to(2, "dc:21", &long_text(200))).await.unwrap();
    let pieces = place.discord.posted("21");
    assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.chars().count() <= 2000), "{}", pieces.len());
    is_whole(&pieces, 200);
    place.end().await;
}

/// An answer to the message of this id.
fn answering(delivery: Delivery, id: &str) -> Delivery {
    let reply_to = ReplyTo { id: id.parse().unwrap(), sender: "11".parse().unwrap(), text: "what?".to_owned() };
    Delivery { answered: Answered { reply_to: Some(reply_to), thread: None }, ..delivery }
}

#[tokio::test]
async fn an_answer_replies_with_its_first_piece_and_pings_nobody() {
    let place = Place::connected().await;
    let asked = place.discord.say("20", "11", "what?");
    place.send(&answering(to(1, "dc:20", &long_text(200)), &asked)).await.unwrap();
    let replies = place.discord.seen().replied_to("20");
    assert!(replies.len() > 2 && replies[1..].iter().all(Option::is_none), "{replies:?}");
    assert_eq!(replies[0].as_deref(), Some("what?"));
    let seen = place.discord.seen();
    let arguments = &seen.calls.iter().find(|call| call.what == POST).unwrap().arguments;
    assert_eq!(arguments["allowed_mentions"]["replied_user"], false);

    // To a change of a message: to the message. With a file as well.
    let file = with_report(to(2, "dc:20", "here"), &place.spool, b"a report");
    place.send(&answering(file, &format!("{asked}/edited/2026"))).await.unwrap();
    assert_eq!(place.discord.seen().replied_to("20").pop().unwrap().as_deref(), Some("what?"));
    place.end().await;
}

#[tokio::test]
async fn an_answer_that_cannot_reply_is_posted_all_the_same() {
    let place = Place::connected().await;
    place.send(&answering(to(1, "dc:20", "to one that was deleted"), "12345")).await.unwrap();
    place.send(&answering(to(2, "dc:20", "to a strange one"), "no-number")).await.unwrap();
    let asked = place.discord.say("20", "11", "what?");
    place.discord.fail_next(POST, Fault::Error("160002".to_owned()));
    place.send(&answering(to(3, "dc:20", "where it may not"), &asked)).await.unwrap();
    assert_eq!(place.discord.seen().replied_to("20"), [None, None, None]);
    // Whether it was sent is found out as of any other message.
    let message = answering(to(4, "dc:20", "once"), &asked);
    place.discord.fail_next(POST, Fault::DropAfter);
    place.send(&message).await.unwrap_err();
    assert!(place.find(&message).await.unwrap().is_some());
    place.end().await;
}

#[tokio::test]
async fn one_channel_that_is_limited_holds_up_no_other() {
    let place = Place::connected().await;
    place.discord.fail_next_in(POST, "20", Fault::Limited { seconds: 30 });
    let error = place.send(&to(1, "dc:20", "one")).await.unwrap_err();
    let after = Some(Duration::from_secs(30));
    assert!(matches!(error, SendError::Retry { after: asked, .. } if asked == after), "{error:?}");
    place.discord.fail_next_in(POST, "20", Fault::Slow);
    let slow = tokio::spawn({
        let channel = place.channel();
        async move { channel.send(&to(2, "dc:20", "two")).await }
    });
    place.discord.wait_until("the slow post", |seen| seen.posted("20") == ["two"]).await;
    place.send(&to(3, "dc:21", "three")).await.unwrap();
    assert!(!slow.is_finished());
    place.discord.release();
    soon("the slow answer", slow).await.unwrap().unwrap();

    // What is over soon is waited for in the middle of a message, and is no failed try.
    place.discord.fail_next_in(POST, "20", Fault::Limited { seconds: 1 });
    place.send(&to(4, "dc:20", "four")).await.unwrap();
    assert_eq!(place.discord.posted("20"), ["two", "four"]);
    place.end().await;
}

#[tokio::test]
async fn what_discord_refuses_for_good_says_what_to_do() {
    let place = Place::connected().await;
    place.discord.channel("22", "third");
    place.discord.fail_next(POST, Fault::Error("99".to_owned()));
    let error = place.send(&to(1, "dc:22", "hello")).await.unwrap_err();
    assert!(matches!(error, SendError::Retry { .. }), "{error:?}");
    for (chat, code) in [("dc:29", "10003"), ("dc:21", "50013"), ("dc:20", "50001"), ("dc:general", "number")] {
        match code {
            "50013" => place.discord.mute("21"),
            "50001" => place.discord.remove_bot(),
            _ => {}
        }
        let error = place.send(&to(1, chat, "hello")).await.unwrap_err();
        assert!(matches!(&error, SendError::Permanent { reason } if reason.contains(code)), "{error:?}");
    }
    let mut told = place.intake.told(3).await;
    told.sort();
    let left = |channel: u32| format!("left dc:{channel}: the assistant was removed from the server");
    assert_eq!(told, [20, 21, 22].map(left));
    place.end().await;
}

#[tokio::test]
async fn whether_a_message_was_sent_is_found_out_after_any_break_and_however_late() {
    let place = Place::connected().await;
    for (number, (fault, was_sent)) in [
        (Fault::DropBefore, false),
        (Fault::DropAfter, true),
        (Fault::Half, true),
        (Fault::Status(500), false),
        (Fault::Status(502), false),
    ]
    .into_iter()
    .enumerate()
    {
        let message = to(i64::try_from(number).unwrap(), "dc:20", &format!("message {number}"));
        place.discord.fail_next(POST, fault.clone());
        let error = place.send(&message).await.unwrap_err();
        assert!(matches!(error, SendError::Unknown { .. }), "{fault:?}: {error:?}");
        // An hour passes.
        place.discord.forget_nonces();
        assert_eq!(place.find(&message).await.unwrap().is_some(), was_sent, "{fault:?}");
        if !was_sent {
            place.send(&message).await.unwrap();
        }
        assert_eq!(place.discord.posted("20").iter().filter(|text| **text == message.text).count(), 1, "{fault:?}");
    }
    place.end().await;
}

#[tokio::test]
async fn a_message_that_is_sent_again_within_minutes_is_shown_once_even_if_nobody_looks() {
    let place = Place::connected().await;
    let message = to(1, "dc:20", "hello");
    place.discord.fail_next(POST, Fault::DropAfter);
    place.send(&message).await.unwrap_err();
    let sent = place.send(&message).await.unwrap();
    let seen = place.discord.seen();
    assert_eq!((seen.count(POST), seen.posts.len()), (2, 1));
    assert_eq!(sent.platform_id.unwrap().as_str(), seen.posts[0].1["id"]);
    // Another message that says the same is another message.
    place.send(&to(2, "dc:20", "hello")).await.unwrap();
    assert_eq!(place.discord.posted("20"), ["hello", "hello"]);
    place.end().await;
}

#[tokio::test]
async fn an_older_message_that_says_the_same_is_not_taken_for_the_one_in_doubt() {
    let place = Place::connected().await;
    place.send(&to(1, "dc:20", "done")).await.unwrap();
    let later = Timestamp::from_ms(Timestamp::now().as_ms() + 10_000);
    let message = Delivery { posted_at: later, ..to(2, "dc:20", "done") };
    assert_eq!(place.find(&message).await.unwrap(), None);
    // Nor is what somebody else says.
    let message = to(3, "dc:21", "done");
    place.discord.say("21", "11", "done");
    assert_eq!(place.find(&message).await.unwrap(), None);
    place.end().await;
}

#[tokio::test]
async fn a_message_that_was_half_sent_goes_on_where_it_stopped() {
    let place = Place::connected().await;
    place.send(&to(1, "dc:21", &long_text(200))).await.unwrap();
    let expected = place.discord.posted("21");

    // The second piece is limited: this process knows that the first is out.
    let mut message = to(2, "dc:20", &long_text(200));
    place.discord.fail_next_in(POST, "20", Fault::Slow);
    let sending = tokio::spawn({
        let (channel, message) = (place.channel(), message.clone());
        async move { channel.send(&message).await }
    });
    place.discord.wait_until("the first piece", |seen| seen.posted("20").len() == 1).await;
    place.discord.fail_next_in(POST, "20", Fault::Limited { seconds: 60 });
    place.discord.release();
    let error = soon("the limit", sending).await.unwrap().unwrap_err();
    assert!(matches!(error, SendError::Retry { .. }), "{error:?}");
    place.discord.forget_nonces();
    message.attempts = 1;
    place.send(&message).await.unwrap();
    assert_eq!(place.discord.posted("20"), expected);
    place.end().await;
}

#[tokio::test]
async fn the_next_host_finds_the_pieces_that_the_one_before_it_sent() {
    let place = Place::connected().await;
    let mut message = to(1, "dc:20", &long_text(200));
    place.discord.fail_next(POST, Fault::Slow);
    let sending = tokio::spawn({
        let (channel, message) = (place.channel(), message.clone());
        async move { channel.send(&message).await }
    });
    place.discord.wait_until("the first piece", |seen| seen.posted("20").len() == 1).await;
    sending.abort();
    let discord = place.dies().await;
    discord.forget_nonces();

    let next = Place::with(discord, &GOOD, false);
    next.is_connected(1).await;
    assert_eq!(next.find(&message).await.unwrap(), None);
    message.attempts = 1;
    next.send(&message).await.unwrap();
    is_whole(&next.discord.posted("20"), 200);
    assert!(next.find(&message).await.unwrap().is_some());
    next.end().await;
}

#[tokio::test]
async fn files_that_people_send_are_in_the_spool_when_the_message_is_stored() {
    let place = Place::connected().await;
    place.discord.say_file("20", "11", "look", "a.txt", b"the content");
    let message = place.messages(1).await.remove(0);
    assert_eq!(message.text, "look");
    let attachment = &message.attachments[0];
    let Fetched::Yes(file) = &attachment.fetched else { panic!("it is fetched: {attachment:?}") };
    assert_eq!((attachment.name.as_deref(), attachment.kind.as_str(), file.bytes), (Some("a.txt"), "document", 11));
    let copy = place.home.path().join("files/in").join(file.spool.as_str());
    assert_eq!(fs::read(copy).unwrap(), b"the content");

    place.discord.say_file("20", "11", "", "large.txt", &[b'x'; 2000]);
    let attachment = place.messages(2).await.remove(1).attachments.remove(0);
    assert!(matches!(&attachment.fetched, Fetched::No { reason: Some(reason) } if reason.contains("larger than")));

    let elsewhere = json!({"attachments": [{"id": "9", "filename": "x", "size": 3, "url": "https://files.example/x"}]});
    place.discord.say_more("20", "11", "see", &elsewhere);
    let attachment = place.messages(3).await.remove(2).attachments.remove(0);
    assert!(
        matches!(&attachment.fetched, Fetched::No { reason: Some(reason) } if reason.contains("not kept by Discord"))
    );
    assert_eq!(fs::read_dir(place.spool.arriving()).unwrap().count(), 0, "the channel's copies are gone");
    place.end().await;
}

#[tokio::test]
async fn of_a_chat_that_is_no_group_no_file_is_fetched_and_its_name_is_kept() {
    let place = Place::connected().await;
    place.intake.unregister("dc:20");
    place.discord.say_file("20", "11", "look", "a.txt", b"the content");
    place.discord.say("21", "11", "after it");
    place.messages(1).await;
    assert_eq!(fs::read_dir(place.home.path().join("files/in")).unwrap().count(), 0);
    let name = |chat: &str| {
        place.intake.chats().into_iter().rfind(|known| known.chat.as_str() == chat).map(|known| known.name.unwrap())
    };
    assert_eq!(name("dc:20").as_deref(), Some("general (Home)"));
    place.discord.direct("40");
    place.discord.say("40", "12", "hello");
    place.messages(2).await;

    let renamed = json!({"id": "20", "guild_id": FakeDiscord::GUILD, "name": "kitchen", "type": 0});
    place.discord.event("CHANNEL_UPDATE", renamed);
    let known = async {
        while name("dc:20").as_deref() != Some("kitchen (Home)") || name("dc:40").is_none() {
            tokio::task::yield_now().await;
        }
    };
    soon("the new name", known).await;
    assert_eq!(name("dc:40").as_deref(), Some("Bob"));
    place.end().await;
}

#[tokio::test]
async fn a_file_that_an_agent_sends_is_shown_once_whatever_breaks() {
    let place = Place::connected().await;
    let message = with_report(to(1, "dc:20", "here it is"), &place.spool, b"a report");
    place.discord.fail_next(POST, Fault::DropAfter);
    let error = place.send(&message).await.unwrap_err();
    assert!(matches!(error, SendError::Unknown { .. }), "{error:?}");
    assert_eq!(place.discord.posted("20"), ["here it is [report.txt: a report]"]);
    place.discord.forget_nonces();
    assert!(place.find(&message).await.unwrap().is_some());

    // The same words without the file are another message.
    assert_eq!(place.find(&to(2, "dc:20", "here it is")).await.unwrap(), None);
    place.end().await;
}

#[tokio::test]
async fn it_is_shown_that_the_assistant_types_as_long_as_it_does() {
    let place = Place::connected().await;
    let (channel, chat) = (place.channel(), "dc:20".parse().unwrap());
    for _ in 0..3 {
        channel.set_typing(&chat, None, Typing::On).await;
    }
    assert_eq!(place.discord.seen().count(TYPING), 1, "Discord shows it for ten seconds");
    // What is sent ends it, and the assistant goes on.
    place.send(&to(1, "dc:20", "wait")).await.unwrap();
    place.discord.fail_next(TYPING, Fault::Limited { seconds: 5 });
    channel.set_typing(&chat, None, Typing::On).await;
    channel.set_typing(&chat, None, Typing::Off).await;
    channel.set_typing(&chat, None, Typing::On).await;
    assert_eq!(place.discord.seen().count(TYPING), 3);
    place.end().await;
}

#[tokio::test]
async fn a_message_that_meets_a_fault_of_ours_is_said_again_and_the_others_go_on() {
    let place = Place::connected().await;
    place.intake.panic_next();
    place.discord.say("20", "11", "one");
    place.discord.say("20", "11", "two");
    place.messages(1).await;
    place.discord.drop_connections();
    place.messages(2).await;
    assert_eq!(place.intake.texts(), ["two", "one"]);
    place.end().await;
}
