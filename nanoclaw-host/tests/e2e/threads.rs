//! What is asked in a thread or a topic is answered there, once, whatever dies.

use nanoclaw_fakes::telegram::Said;
use rustix::process::Signal;

use crate::{
    place::{On, Place},
    process::until,
    scenario::{Stage as _, slack::Slack, telegram::Telegram},
};

#[test]
fn what_was_asked_in_a_thread_is_answered_there_once_whatever_dies_on_slack() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let stage = Slack::at(&place);
    let slack = &stage.fake;
    place.run(["groups", "add", "slack:C1", "--name", "Family"]).succeeded();
    let dying = place.service_that_dies_at("channel.send.after:1");
    stage.host_is_up(&place);
    let first = slack.say("C1", "U1", "dinner?");
    slack.say_in_thread("C1", "U2", "<@UBOT> when", &first);
    assert_eq!(dying.ended().code, None, "it was killed");
    let inside = || slack.seen().posted_in("C1", Some(&first));
    assert_eq!(inside().len(), 1, "it was sent, and nobody wrote that down");
    let service = place.service();
    stage.host_is_up(&place);
    let shown = |count: usize| until("the answers are posted", || (slack.posted("C1").len() >= count).then_some(()));
    slack.say("C1", "U1", "<@UBOT> outside");
    shown(2);
    slack.say_in_thread("C1", "U1", "<@UBOT> /ping", &first);
    shown(3);
    assert_eq!(slack.seen().posted_in("C1", None), ["heard @Andy outside"]);
    assert_eq!(inside(), ["heard dinner?\nheard @Andy when", "pong"]);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

#[test]
fn what_was_asked_in_a_topic_is_answered_there_once_whatever_dies_on_telegram() {
    const ANN: i64 = 1001;
    let Some(place) = Place::on(On::Sandbox) else { return };
    let stage = Telegram::at(&place);
    let telegram = &stage.fake;
    let forum = nanoclaw_fakes::telegram::FakeTelegram::SUPERGROUP - 55;
    place.run(["groups", "add", &format!("tg:{forum}"), "--name", "Forum"]).succeeded();
    let dying = place.service_that_dies_at("channel.send.after:1");
    stage.host_is_up(&place);
    let topic = telegram.say(forum, ANN, "the plans");
    telegram.say_more(forum, ANN, Said::text("@andy_bot good morning").topic(topic));
    assert_eq!(dying.ended().code, None, "it was killed");
    assert_eq!(telegram.posted(forum).len(), 1, "it was sent, and nobody wrote that down");
    let service = place.service();
    stage.host_is_up(&place);
    telegram.say(forum, ANN, "@andy_bot and again");
    let shown = || Some(telegram.posted(forum)).filter(|posted| posted.len() >= 2);
    assert_eq!(
        until("the answers are posted", shown),
        ["heard the plans\nheard @Andy good morning", "heard @Andy and again"]
    );
    let topics: Vec<_> = telegram.seen().sent.iter().map(|sent| sent.topic).collect();
    assert_eq!(topics, [Some(topic), None]);
    assert_eq!(telegram.seen().repeats, 1, "it was sent again, and shown once");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}
