//! Groups, and what changes in them.

use nanoclaw_fakes::whatsapp::FakeWhatsApp;
use wacore::stanza::groups::GroupNotificationAction as Action;
use whatsapp_rust::prelude::*;

use crate::bot::{ANN, BOB, Bot, FAMILY, TEAM, jid, linked};

/// What happened in which group.
fn happened(event: &Event) -> Option<(String, String)> {
    let Event::GroupUpdate(update) = event else { return None };
    let what = match &update.action {
        Action::Add { participants, .. } => format!("added {}", participants[0].jid),
        Action::Remove { participants, .. } => format!("removed {}", participants[0].jid),
        Action::Subject { subject, .. } => format!("named {subject}"),
        other => format!("{other:?}"),
    };
    Some((update.group_jid.to_string(), what))
}

#[tokio::test]
async fn the_client_asks_for_its_groups_and_their_names() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    whatsapp.group_of_lids(TEAM, "Team");
    whatsapp.group_without_bot("120363000000000003@g.us", "Others");
    let bot = Bot::ready(&whatsapp).await;
    let groups = bot.client.groups().get_participating().await.expect("it is answered");
    let mut names: Vec<String> = groups.values().map(|group| group.subject.to_string()).collect();
    names.sort();
    assert_eq!(names, ["Family", "Team"]);
    let team = bot.client.groups().get_metadata(&jid(TEAM)).await.expect("it is answered");
    assert_eq!((team.subject.to_string(), team.participants.len()), ("Team".to_owned(), 3));
    assert!(bot.client.groups().get_metadata(&jid("120363000000000003@g.us")).await.is_err());
    bot.end().await;
}

#[tokio::test]
async fn what_changes_in_groups_is_told_also_afterwards() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    whatsapp.group_without_bot(TEAM, "Team");
    let store = linked(&whatsapp).await;
    let mut bot = Bot::ready_with(&whatsapp, store.clone()).await;
    whatsapp.rename(FAMILY, ANN, "Our family");
    let told = |chat: &str, what: String| (chat.to_owned(), what);
    assert_eq!(bot.event("a name", happened).await, told(FAMILY, "named Our family".to_owned()));
    whatsapp.say(TEAM, ANN, "nobody hears this");
    whatsapp.add_bot(TEAM, ANN);
    let bot_added = format!("added {}", FakeWhatsApp::BOT);
    assert_eq!(bot.event("it is added", happened).await, told(TEAM, bot_added));
    whatsapp.say(TEAM, ANN, "welcome");
    bot.hears_only("welcome").await;
    bot.send(TEAM, wa::Message::text("thanks"), "3EB0DD01").await.expect("it is sent");
    whatsapp.wait_until("an answer", |seen| seen.posted(TEAM) == ["thanks"]).await;

    whatsapp.person("15550001003@s.whatsapp.net", "Cleo");
    whatsapp.add_member(TEAM, "15550001003@s.whatsapp.net");
    assert_eq!(bot.event("Cleo came", happened).await.1, "added 15550001003@s.whatsapp.net");
    bot.send(TEAM, wa::Message::text("hello Cleo"), "3EB0DD02").await.expect("it is sent");
    whatsapp.wait_until("Cleo reads it too", |seen| seen.posted(TEAM).len() == 2).await;
    whatsapp.remove_member(TEAM, BOB);
    assert_eq!(bot.event("Bob left", happened).await.1, format!("removed {BOB}"));
    bot.send(TEAM, wa::Message::text("Bob is gone"), "3EB0DD03").await.expect("it is sent");
    whatsapp.wait_until("the others read it", |seen| seen.posted(TEAM).len() == 3).await;
    let seen = whatsapp.seen();
    assert!(seen.unreadable.is_empty(), "{:?}", seen.unreadable);
    bot.end().await;

    whatsapp.wait_until("it is gone", |seen| seen.open == 0).await;
    whatsapp.remove_bot(TEAM, ANN);
    let mut bot = Bot::begin(&whatsapp, store).await;
    let bot_removed = format!("removed {}", FakeWhatsApp::BOT);
    assert_eq!(bot.event("it is removed", happened).await, told(TEAM, bot_removed));
    whatsapp.say(TEAM, ANN, "nobody hears this");
    whatsapp.say(FAMILY, ANN, "are you there?");
    bot.hears_only("are you there?").await;
    bot.end().await;
}
