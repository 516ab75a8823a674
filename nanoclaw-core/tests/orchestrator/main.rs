//! The orchestrator as a whole: real mailbox files, the store in memory, containers that do what a test scripts.

#![allow(clippy::unwrap_used, reason = "what a test builds on must be there")]

mod adoption;
mod channel_news;
mod commands;
mod feeding;
mod files;
mod found_by_simulation;
mod gone;
mod hostile;
mod limits;
mod lists;
mod mounts;
mod no_gateway;
mod pairing;
mod requests;
mod senders;
mod standby;
mod support;
mod tasks;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nanoclaw_core::{
    channel::SendError,
    delivery::{Answered, DeliveryKey},
    mailbox::Mailbox,
    message::{InboundMessage, Seq, Wakes},
    orchestrator::{Notice, Receipt},
    protocol::output::{FailureKind, JournalEntry},
    run::{BlockNumber, Handed, RunId, RunKind, RunNumber, Trouble},
    runtime::{Exit, RuntimeError, RuntimeKind},
    store::{NewRun, SessionContext, SetAsideState, Store, TurnResolution, TurnResolved, TurnState},
    time::Timestamp,
};
use support::{Agent, House, block, folder, main_group, silent, waiting};

/// Answers each prompt with `heard <number of messages>: <last text>`.
async fn echo(mut agent: Agent) -> Exit {
    agent.answer(|prompt| Some(format!("heard {prompt}"))).await;
    while agent.follow_up().await {
        agent.answer(|prompt| Some(format!("heard {prompt}"))).await;
    }
    Exit::Code(0)
}

#[tokio::test(start_paused = true)]
async fn a_message_is_answered_and_a_follow_up_goes_to_the_same_live_agent() {
    let house = House::new(echo).await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(house.runtime.specs().len(), 1, "one container served both");
    assert_eq!(house.store.unanswered(&folder("main")).await.unwrap(), 0);
    house.shut_down().await;
    let runs = house.store.runs(Some(&folder("main")), 10).await.unwrap();
    assert_eq!(runs.len(), 1);
    assert!(runs[0].ended_at.is_some());
    let turns = house.store.turns(&runs[0].id).await.unwrap();
    assert_eq!(turns.iter().map(|turn| turn.state).collect::<Vec<_>>(), [TurnState::Answered; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_message_to_a_chat_that_is_no_group_is_kept_as_metadata_and_answered_by_nothing() {
    let house = House::new(echo).await;
    let receipt = house.write_to("test:stranger", "hello").await;
    assert_eq!(receipt, Receipt::Unregistered);
    assert!(house.store.chats().await.unwrap().iter().any(|chat| chat.chat.as_str() == "test:stranger"));
    house.write("one").await;
    house.shown(&["heard one"]).await;
    assert_eq!(house.runtime.specs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn f11_f21_the_same_message_again_is_neither_stored_nor_answered_again() {
    let house = House::new(echo).await;
    let message = house.message("test:main", "one");
    let inbox = house.orchestrator.inbox();
    assert!(matches!(inbox.accept(message.clone()).await.unwrap(), Receipt::Stored { .. }));
    assert!(matches!(inbox.accept(message.clone()).await.unwrap(), Receipt::Duplicate { .. }));
    house.shown(&["heard one"]).await;
    assert!(matches!(inbox.accept(message).await.unwrap(), Receipt::Duplicate { .. }));
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_told_until_when_all_of_a_group_has_come() {
    let house = House::new(echo).await;
    let inbox = house.orchestrator.inbox();
    assert_eq!(inbox.chats(), ["test:main".parse().unwrap()]);
    let added_at = house.store.groups().await.unwrap()[0].added_at;
    let (chat, stranger) = ("test:main".parse().unwrap(), "test:stranger".parse().unwrap());
    assert_eq!(inbox.heard_until(&chat).await.unwrap(), Some(added_at), "what was said before is not asked for");
    let at = added_at.plus(Duration::from_secs(5));
    let message = InboundMessage { sent_at: at, ..house.message("test:main", "one") };
    inbox.accept(message).await.unwrap();
    assert_eq!(inbox.heard_until(&chat).await.unwrap(), Some(at));
    assert_eq!(inbox.heard_until(&stranger).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_silent_answer_moves_the_cursor_and_sends_nothing() {
    let house = House::new(silent).await;
    let mut notices = house.orchestrator.notices();
    house.write("one").await;
    let notice = notices.recv().await.unwrap();
    assert!(matches!(notice, Notice::Answered { through: Seq(1), reply: None, .. }), "{notice:?}");
    assert_eq!(house.store.unanswered(&folder("main")).await.unwrap(), 0);
    assert!(house.channel.texts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_internal_is_not_shown() {
    let house = House::new(async |mut agent: Agent| {
        agent.answer(|_| Some("<internal>hm</internal> yes".to_owned())).await;
        agent.until_closed().await
    })
    .await;
    house.write("one").await;
    house.shown(&["yes"]).await;
}

#[tokio::test(start_paused = true)]
async fn f1_f6_a_crashing_agent_is_tried_again_and_then_the_chat_is_told() {
    let house = House::new(async |agent: Agent| {
        agent.output.stderr("cannot find my glasses\n").await;
        Exit::Code(3)
    })
    .await;
    let mut notices = house.orchestrator.notices();
    house.write("one").await;
    let mut delays = Vec::new();
    loop {
        match notices.recv().await.unwrap() {
            Notice::RunFailed { retry_in, reason, .. } => {
                assert!(reason.contains("glasses"), "{reason}");
                delays.push(retry_in.as_secs_f64());
            }
            Notice::GaveUp { through, .. } => {
                assert_eq!(through, Seq(1));
                break;
            }
            notice => panic!("{notice:?}"),
        }
    }
    let within_a_tenth = |(delay, seconds): (&f64, f64)| (0.9..=1.1).contains(&(delay / seconds));
    assert!(delays.len() == 5 && delays.iter().zip([5.0, 10.0, 20.0, 40.0, 80.0]).all(within_a_tenth), "{delays:?}");
    house.shown_last_containing("code 3: cannot find my glasses").await;
    assert_eq!(house.store.unanswered(&folder("main")).await.unwrap(), 0, "given up, not waiting");
    assert_eq!(house.runtime.specs().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn that_something_was_given_up_is_told_where_its_answer_would_have_stood() {
    let house = House::new(async |_: Agent| Exit::Code(3)).await;
    let asked = InboundMessage { thread: Some("7".parse().unwrap()), ..house.message("test:main", "in a topic") };
    house.orchestrator.inbox().accept(asked.clone()).await.unwrap();
    house.shown_last_containing("code 3").await;
    assert_eq!(house.channel.deliveries().pop().unwrap().answered, Answered::to(&asked, true));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ends_well_without_an_answer_has_failed_and_does_not_spin() {
    let house = House::new(async |_: Agent| Exit::Code(0)).await;
    let mut notices = house.orchestrator.notices();
    house.write("one").await;
    let notice = notices.recv().await.unwrap();
    assert!(matches!(&notice, Notice::RunFailed { reason, .. } if reason.contains("without an answer")), "{notice:?}");
}

#[tokio::test(start_paused = true)]
async fn f8_a_failed_runs_session_is_never_stored_and_a_successful_ones_is_resumed() {
    let house = House::new(async |mut agent: Agent| {
        let session = agent.input.session_id.as_ref().map(ToString::to_string);
        if agent.input.prompt.contains("fail") {
            agent.write(&block(None).error("no luck", FailureKind::Other).session("bad")).await;
            return Exit::Code(1);
        }
        let reply = format!("resumed {session:?}");
        agent.write(&block(Some(&reply)).session("good").answered(agent.input.last_seq)).await;
        Exit::Code(0)
    })
    .await;
    house.write("hello").await;
    house.shown(&["resumed None"]).await;
    let context = SessionContext::Chat;
    house.idle().await;
    assert_eq!(house.store.session(&folder("main"), &context).await.unwrap().unwrap().as_str(), "good");
    house.write("fail").await;
    waiting("the failed run", async || house.runtime.specs().len() >= 2).await;
    house.idle_or("backing off").await;
    assert_eq!(house.store.session(&folder("main"), &context).await.unwrap().unwrap().as_str(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_gone_is_forgotten_so_that_the_next_run_starts_anew() {
    let house = House::new(async |mut agent: Agent| {
        if agent.input.session_id.is_some() {
            agent.write(&block(None).error("no such session", FailureKind::NoSession)).await;
            return Exit::Code(1);
        }
        agent.write(&block(Some("new")).session("s").answered(agent.input.last_seq)).await;
        Exit::Code(0)
    })
    .await;
    house.write("one").await;
    house.shown(&["new"]).await;
    house.idle().await;
    house.write("two").await;
    house.shown(&["new", "new"]).await;
}

#[tokio::test(start_paused = true)]
async fn f3_a_message_that_comes_while_the_agent_is_closing_is_answered_by_the_next_run() {
    let house = House::new(async |mut agent: Agent| {
        agent.answer(|prompt| Some(format!("heard {prompt}"))).await;
        agent.closed().await;
        // Asked to end, it dawdles: a message arrives now.
        tokio::time::sleep(Duration::from_secs(5)).await;
        Exit::Code(0)
    })
    .await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.state("stopping").await; // Half an hour of idleness passes.
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(house.runtime.specs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_end_when_asked_is_stopped_and_its_group_goes_on() {
    let house = House::new(async |mut agent: Agent| {
        agent.answer(|prompt| Some(format!("heard {prompt}"))).await;
        std::future::pending().await
    })
    .await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.state("idle").await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_says_nothing_for_too_long_is_stopped_and_its_message_is_tried_again() {
    let house = House::new(async |mut agent: Agent| {
        if agent.input.run_number == Some(RunNumber(1)) {
            std::future::pending::<()>().await;
        }
        agent.answer(|prompt| Some(format!("heard {prompt}"))).await;
        agent.until_closed().await
    })
    .await;
    let mut notices = house.orchestrator.notices();
    house.write("one").await;
    let notice = notices.recv().await.unwrap();
    assert!(matches!(&notice, Notice::RunFailed { reason, .. } if reason.contains("no progress")), "{notice:?}");
    house.shown(&["heard one"]).await;
}

#[tokio::test(start_paused = true)]
async fn f38_f42_a_missing_image_is_told_once_and_what_waits_for_it_is_kept_and_answered() {
    let house = House::new(echo).await;
    let no_image = || RuntimeError::NoImage { image: "nope:1".parse().unwrap() };
    for _ in 0..3 {
        house.runtime.fail_next_start(no_image());
    }
    let mut notices = house.orchestrator.notices();
    house.write("one").await;
    house.shown_last_containing("there is no image nope:1").await;
    house.shown_last_containing("nanoclaw turns").await;
    house.state("paused").await;
    let paused = notices.recv().await.unwrap();
    let Notice::Paused { trouble: Trouble::Setup, retry_in, told: Some(_), .. } = &paused else { panic!("{paused:?}") };
    assert_eq!(*retry_in, Duration::from_secs(600));

    // Whoever writes meanwhile and watches is told at once, and no run is started for it.
    house.write("two").await;
    let reminded = notices.recv().await.unwrap();
    assert!(
        matches!(&reminded, Notice::Paused { told: None, reason, .. } if reason.contains("nope:1")),
        "{reminded:?}"
    );
    assert_eq!(house.runtime.specs().len(), 1);

    // Tried again by itself, and by somebody who thinks that it works now.
    waiting("a second try", async || house.runtime.specs().len() == 2).await;
    house.orchestrator.try_now(None).await;
    waiting("a third try", async || house.runtime.specs().len() == 3).await;
    house.state("paused").await;
    assert_eq!(house.channel.texts().len(), 1, "told once: {:?}", house.channel.texts());
    house.orchestrator.try_now(Some(&folder("main"))).await;
    house.shown_last("heard one + two").await;
    assert!(house.store.set_aside(None, true, 10).await.unwrap().is_empty(), "nothing was set aside");
    let runs = house.store.runs(None, 10).await.unwrap();
    assert_eq!(house.store.recover().await.unwrap()[0].failures, 0, "no tries were burnt: {runs:?}");
}

/// A group beside the main one, whose chat is `test:family`.
async fn with_family(agent: impl Fn(Agent) -> BoxedExit + Clone + Send + Sync + 'static) -> House {
    let house = House::new(agent).await;
    house.add_group("family", "test:family").await;
    house
}

type BoxedExit = std::pin::Pin<Box<dyn Future<Output = Exit> + Send>>;

/// Fails as this kind until the flag is set, and echoes from then on.
fn failing(kind: FailureKind, works: &Arc<AtomicBool>) -> impl Fn(Agent) -> BoxedExit + Clone + Send + Sync + 'static {
    let works = works.clone();
    move |mut agent: Agent| {
        let works = works.clone();
        Box::pin(async move {
            if works.load(Ordering::SeqCst) {
                return echo(agent).await;
            }
            agent.write(&block(None).error("it said no", kind)).await;
            Exit::Code(1)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn f42_a_refused_login_pauses_tells_chat_and_owner_once_and_burns_no_tries() {
    let works = Arc::new(AtomicBool::new(false));
    let house = with_family(failing(FailureKind::Login, &works)).await;
    house.write_to("test:family", "@Andy one").await;
    waiting("both are told", async || house.channel.texts().len() == 2).await;
    let told = house.channel.sent();
    let (chat, owner) = match told[0].0.as_str() {
        "test:family" => (&told[0], &told[1]),
        _ => (&told[1], &told[0]),
    };
    assert!(chat.1.contains("is kept") && !chat.1.contains("it said no"), "{chat:?}");
    assert!(owner.0 == "test:main" && owner.1.contains("it said no") && owner.1.contains("doctor"), "{owner:?}");
    // The main group meets the same: its people are told, the owner not again.
    house.write("hello").await;
    waiting("main is told", async || house.channel.texts().len() == 3).await;
    // Many tries later nobody was told more and nothing was set aside.
    tokio::time::sleep(Duration::from_secs(4 * 60 * 60)).await;
    assert!(house.runtime.specs().len() > 20);
    assert_eq!(house.channel.texts().len(), 3, "{:?}", house.channel.texts());
    works.store(true, Ordering::SeqCst);
    waiting("both are answered", async || house.channel.texts().len() == 5).await;
    assert!(house.store.set_aside(None, true, 10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn people_are_not_told_again_of_the_same_stuck_messages_after_a_restart_which_tries_at_once() {
    let works = Arc::new(AtomicBool::new(false));
    let mut house = with_family(failing(FailureKind::Login, &works)).await;
    house.write_to("test:family", "@Andy one").await;
    waiting("both are told", async || house.channel.texts().len() == 2).await;
    for _ in 0..3 {
        let runs = house.runtime.specs().len();
        house.shut_down().await;
        house = house.restart().await;
        waiting("it is tried at once", async || house.runtime.specs().len() > runs).await;
        let at = tokio::time::Instant::now();
        house.state_of("family", "paused").await;
        assert!(at.elapsed() < Duration::from_secs(1), "no waiting for what somebody may have mended");
    }
    assert_eq!(house.channel.texts().len(), 2, "{:?}", house.channel.texts());
    house.shut_down().await;
    works.store(true, Ordering::SeqCst);
    house = house.restart().await;
    house.shown_last("heard @Andy one").await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_waited_for_until_the_time_that_the_agent_told() {
    let house = House::new(async |mut agent: Agent| {
        if agent.input.run_number == Some(RunNumber(1)) {
            let mut said = block(None).error("limit reached", FailureKind::Quota);
            said.0.retry_at = Some(Timestamp::now().plus(Duration::from_secs(3 * 60 * 60)));
            agent.write(&said).await;
            return Exit::Code(1);
        }
        echo(agent).await
    })
    .await;
    let began = tokio::time::Instant::now();
    house.write("one").await;
    house.shown_last_containing("quota is used up").await;
    house.shown_last("heard one").await;
    let waited = began.elapsed().as_secs();
    assert!((3 * 3600 - 5..3 * 3600 + 60).contains(&waited), "{waited}");
    assert_eq!(house.runtime.specs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_model_sets_nothing_aside_however_long_it_lasts() {
    let works = Arc::new(AtomicBool::new(false));
    let house = House::new(failing(FailureKind::Overload, &works)).await;
    house.write("one").await;
    waiting("many tries", async || house.runtime.specs().len() > 10).await;
    assert_eq!(house.channel.texts().len(), 1, "told after a while, once: {:?}", house.channel.texts());
    works.store(true, Ordering::SeqCst);
    house.shown_last("heard one").await;
}

/// Crashes at any prompt with the word poison in it.
async fn poisoned(mut agent: Agent) -> Exit {
    loop {
        if agent.texts().iter().any(|text| text.contains("poison")) {
            return Exit::Code(3);
        }
        agent.answer(|prompt| Some(format!("heard {prompt}"))).await;
        if !agent.follow_up().await {
            return Exit::Code(0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f6_one_poisoned_message_among_many_is_set_aside_alone_and_the_user_is_told_which() {
    let house = House::empty(poisoned).await;
    house.store.add_group(&main_group()).await.unwrap();
    for text in ["one", "two", "poison", "four", "five"] {
        house.store.accept(&house.message("test:main", text), Wakes::Yes, Timestamp::now()).await.unwrap();
    }
    let house = house.start().await;
    house.shown_last_containing("five").await;
    let texts = house.channel.texts();
    let [one, two, told, rest @ ..] = &texts[..] else { panic!("{texts:?}") };
    assert_eq!([one.as_str(), two], ["heard one", "heard two"]);
    assert!(told.contains("I could not answer “poison”") && told.contains("code 3"), "{told}");
    assert!(told.contains("nanoclaw turns retry main/3"), "{told}");
    assert_eq!(rest, ["heard four", "heard five"]);
    let set_aside = house.store.set_aside(None, false, 10).await.unwrap();
    assert_eq!(set_aside.len(), 1);
    assert_eq!(set_aside[0].messages, Handed { first: Seq(3), last: Seq(3) });
    assert!(set_aside[0].reason.contains("code 3") && set_aside[0].run.is_some(), "{set_aside:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_set_aside_is_answered_when_it_is_retried_and_once_only() {
    let works = Arc::new(AtomicBool::new(false));
    let house = House::new(failing(FailureKind::Refused, &works)).await;
    house.write("one").await;
    house.shown_last_containing("I could not answer “one”").await;
    works.store(true, Ordering::SeqCst);
    let retry =
        async || house.orchestrator.resolve_set_aside(&folder("main"), Seq(1), TurnResolution::Retry).await.unwrap();
    assert_eq!(retry().await, TurnResolved::Retried { newest: Some(Seq(2)) });
    house.shown_last("heard one").await;
    assert_eq!(retry().await, TurnResolved::Already(SetAsideState::Retried));
    house.idle().await;
    assert_eq!(house.channel.texts().len(), 2, "{:?}", house.channel.texts());
}

#[tokio::test(start_paused = true)]
async fn what_waits_can_be_dropped_and_the_rest_goes_on() {
    let works = Arc::new(AtomicBool::new(false));
    let house = House::new(failing(FailureKind::Login, &works)).await;
    house.write("one").await;
    house.state("paused").await;
    house.orchestrator.drop_waiting(&folder("main"), Seq(1)).await.unwrap();
    house.idle().await;
    works.store(true, Ordering::SeqCst);
    house.write("two").await;
    house.shown_last("heard two").await;
    let kept = house.store.set_aside(None, true, 10).await.unwrap();
    assert_eq!(kept[0].state, SetAsideState::Dropped);
}

#[tokio::test(start_paused = true)]
async fn f37_a_runtime_that_is_not_there_is_tried_until_it_is_and_then_all_are_answered() {
    let house = House::new(echo).await;
    let away = || RuntimeError::Unavailable {
        runtime: RuntimeKind::Fake,
        reason: "nobody listens".to_owned(),
        remedy: "start it".to_owned(),
    };
    for _ in 0..8 {
        house.runtime.fail_next_start(away());
    }
    house.write("one").await;
    house.shown_last("heard one").await;
    let told = house.channel.texts();
    assert_eq!(told.len(), 2, "a word after some tries, and the answer: {told:?}");
    assert!(told[0].contains("nobody listens"), "{told:?}");
    assert!(house.store.set_aside(None, true, 10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn f10_an_agent_that_is_stopped_at_rest_has_answered_and_is_not_asked_again() {
    let house = House::new(async |mut agent: Agent| {
        agent.answer(|prompt| Some(format!("heard {prompt}"))).await;
        std::future::pending().await
    })
    .await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.idle().await;
    tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
    assert_eq!(house.runtime.specs().len(), 1);
    house.shown(&["heard one"]).await;
}

#[tokio::test(start_paused = true)]
async fn f14_a_worker_that_panics_costs_its_run_and_nothing_else() {
    let house = House::new(echo).await;
    house.panic_at_next_launch();
    house.write("one").await;
    house.shown(&["heard one"]).await;
    let runs = house.store.runs(None, 10).await.unwrap();
    let first = runs.last().unwrap();
    assert_eq!(first.ending.as_deref(), Some("failed"), "it counts as a try");
    assert_eq!(first.detail.as_deref(), Some("failed: its worker failed; see the log"));
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_goes_away_in_the_middle_costs_nothing_but_time() {
    let house = House::new(async |mut agent: Agent| {
        if agent.input.run_number == Some(RunNumber(1)) {
            std::future::pending::<()>().await;
        }
        agent.answer(|prompt| Some(format!("heard {prompt}"))).await;
        agent.until_closed().await
    })
    .await;
    house.write("one").await;
    house.state("busy").await;
    house.runtime.lose_all();
    house.shown(&["heard one"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_block_that_comes_by_stream_and_journal_is_said_once() {
    let house = House::new(async |mut agent: Agent| {
        let said = block(Some("once")).answered(agent.input.last_seq);
        agent.journal(1, &said);
        agent.write(&said).await;
        agent.journal(1, &said);
        agent.until_closed().await
    })
    .await;
    house.write("one").await;
    house.shown(&["once"]).await;
    let output = house.mailbox("main").output().unwrap();
    waiting("the journal is emptied", async || output.claim(&Default::default()).unwrap().is_empty()).await;
    house.shut_down().await;
    assert_eq!(house.channel.texts(), ["once"]);
}

#[tokio::test(start_paused = true)]
async fn a_block_that_only_the_journal_has_is_said_all_the_same() {
    let house = House::new(async |mut agent: Agent| {
        let said = block(Some("from the journal")).answered(agent.input.last_seq);
        agent.journal(1, &said);
        agent.until_closed().await
    })
    .await;
    house.write("one").await;
    house.shown(&["from the journal"]).await;
}

#[tokio::test(start_paused = true)]
async fn f5_what_a_run_said_while_no_host_was_there_is_committed_at_the_next_start_and_the_rest_is_asked_again() {
    let house = House::empty(echo).await;
    // An earlier host handed two messages to run 1, which answered the first in its journal; then both died.
    let (store, group) = (&house.store, folder("main"));
    store.add_group(&main_group()).await.unwrap();
    for text in ["one", "two"] {
        store.accept(&house.message("test:main", text), Wakes::Yes, Timestamp::now()).await.unwrap();
    }
    let run = RunId { group: group.clone(), number: RunNumber(1) };
    let opened =
        NewRun { id: run.clone(), kind: RunKind::Chat, runtime: RuntimeKind::Fake, handed: None, at: Timestamp::now() };
    store.open_run(&opened).await.unwrap();
    for seq in [1, 2] {
        store.hand_over(&run, Handed { first: Seq(seq), last: Seq(seq) }, Timestamp::now()).await.unwrap();
    }
    let mailbox: Mailbox = house.mailbox("main");
    mailbox.create().unwrap();
    let said = block(Some("heard one")).answered(Some(Seq(1))).0;
    let entry = JournalEntry { run: RunNumber(1), number: BlockNumber(1), block: said };
    mailbox.output().unwrap().write(&entry.file_name(), &serde_json::to_vec(&entry).unwrap()).unwrap();

    let house = house.start().await;
    house.shown(&["heard one", "heard two"]).await;
    let runs = house.store.runs(Some(&group), 10).await.unwrap();
    assert_eq!(runs[1].ending.as_deref(), Some("host_ended"));
    assert!(house.store.delivery(&DeliveryKey::reply(&run, BlockNumber(1))).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn f52_what_an_earlier_run_left_in_its_mailbox_is_not_handed_twice() {
    let house = House::empty(echo).await;
    house.mailbox("main").create().unwrap();
    house
        .mailbox("main")
        .input()
        .unwrap()
        .write("00000000000000000007.json", br#"{"type":"message","text":"stale"}"#)
        .unwrap();
    house.store.add_group(&main_group()).await.unwrap();
    let house = house.start().await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_delays_an_answer_and_loses_none() {
    let house = House::new(echo).await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.channel.on_typing({
        let store = house.store.clone();
        move || store.fail_writes("disk full")
    });
    let store = house.store.clone();
    house.write("two").await;
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        store.mend();
    });
    house.shown(&["heard one", "heard two"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_stored_is_not_accepted() {
    let house = House::new(echo).await;
    house.store.fail_writes("disk full");
    let refused = house.orchestrator.inbox().accept(house.message("test:main", "one")).await;
    assert!(refused.unwrap_err().to_string().contains("disk full"));
    house.store.mend();
    house.write("one").await;
    house.shown(&["heard one"]).await;
}

#[tokio::test(start_paused = true)]
async fn f18_f19_a_message_that_can_never_be_sent_does_not_hold_up_the_next() {
    let house = House::new(echo).await;
    house.channel.fail_next(SendError::Permanent { reason: "bad text".to_owned() });
    house.write("one").await;
    house.tried(1).await;
    house.write("two").await;
    waiting("the next is shown, and the owner told", async || {
        let mut texts = house.channel.texts();
        texts.sort();
        matches!(&texts[..], [told, two] if told.contains("bad text") && two == "heard two")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_send_that_failed_for_now_is_tried_again_with_the_same_key_and_in_order() {
    let house = House::new(echo).await;
    for _ in 0..3 {
        house.channel.fail_next(SendError::Retry { reason: "busy".to_owned(), after: Some(Duration::from_secs(3)) });
    }
    house.write("one").await;
    house.tried(1).await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    let keys = house.channel.keys_tried();
    assert!(keys[..4].iter().all(|key| key == &keys[0]), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn f12_a_reply_waits_for_its_channel_to_be_there() {
    let house = House::empty(echo).await;
    house.store.add_group(&main_group()).await.unwrap();
    let house = house.start_without_channel().await;
    house.write("one").await;
    waiting("the reply is in the outbox", async || !house.store.pending_deliveries().await.unwrap().is_empty()).await;
    assert!(house.channel.texts().is_empty());
    house.connect_channel();
    house.shown(&["heard one"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_channel_holds_up_no_other_chat() {
    let house = House::new(echo).await;
    house.add_group("other", "test:other").await;
    house.channel.block_chat("test:main");
    house.write("one").await;
    house.write_to("test:other", "@Andy two").await;
    house.shown(&["heard @Andy two"]).await;
}

#[tokio::test(start_paused = true)]
async fn context_that_does_not_wake_comes_along_with_the_message_that_does() {
    let house = House::new(async |mut agent: Agent| {
        let prompt = agent.input.prompt.clone();
        agent.answer(|_| Some(format!("{} messages", prompt.matches("<message ").count()))).await;
        agent.until_closed().await
    })
    .await;
    house.add_group("other", "test:other").await;
    house.write_to("test:other", "so I said").await;
    house.write_to("test:other", "and she said").await;
    house.write_to("test:other", "@Andy what do you say?").await;
    house.shown(&["3 messages"]).await;
}

#[tokio::test(start_paused = true)]
async fn f7_more_messages_than_fit_one_prompt_come_as_follow_ups_and_none_is_passed_over() {
    let house = House::empty(async |mut agent: Agent| {
        let mut seen = Vec::new();
        loop {
            let texts = agent.texts();
            seen.extend(texts.clone());
            agent.answer(|_| Some(texts.join(" "))).await;
            if !agent.follow_up().await {
                return Exit::Code(0);
            }
        }
    })
    .await;
    house.store.add_group(&main_group()).await.unwrap();
    for number in 0..25 {
        let message = house.message("test:main", &format!("m{number}"));
        house.store.accept(&message, Wakes::Yes, Timestamp::now()).await.unwrap();
    }
    let house = house.start().await;
    let all: Vec<String> = (0..25).map(|number| format!("m{number}")).collect();
    let expected: Vec<String> = all.chunks(10).map(|chunk| chunk.join(" ")).collect();
    house.shown(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// A request that claims to come from the main group; it is believed nothing.
fn claims_to_be_main(chat: &str) -> String {
    format!(r#"{{"type":"message","chatJid":"{chat}","text":"hi {chat}","groupFolder":"main","isMain":true}}"#)
}

#[tokio::test(start_paused = true)]
async fn f46_f47_an_agent_writes_to_its_own_chat_only_unless_it_is_the_main_groups() {
    let house = House::new(async |mut agent: Agent| {
        let first = agent.request("1.json".to_owned(), claims_to_be_main("test:main")).await;
        let second = agent.request("2.json".to_owned(), claims_to_be_main("test:other")).await;
        agent.answer(|_| Some(format!("{first} | {second}"))).await;
        agent.until_closed().await
    })
    .await;
    house.add_group("other", "test:other").await;
    house.write_to("test:other", "@Andy go").await;
    house.shown_last_containing("may write to its own chat test:other only").await;
    assert_eq!(house.channel.texts()[0], "hi test:other");
    house.write("go").await;
    waiting("main's two messages", async || house.channel.texts().iter().any(|text| text == "hi test:main")).await;
}

/// An agent whose first request cannot be answered at first (on a full disk, say; here a folder has the answer's name), and
/// that asks for something else meanwhile.
async fn asks_in_vain(mut agent: Agent, how_long: Duration) -> Exit {
    let in_the_way = agent.mailbox.root().join("answers/1.json");
    std::fs::create_dir_all(in_the_way.join("full")).unwrap();
    for (name, text) in [("1.json", "first"), ("2.json", "second")] {
        let request = format!(r#"{{"type":"message","chatJid":"test:main","text":"{text}"}}"#);
        agent.mailbox.messages().unwrap().write(name, request.as_bytes()).unwrap();
    }
    tokio::time::sleep(how_long).await;
    std::fs::remove_dir_all(in_the_way).unwrap();
    let second = agent.answered("2.json".to_owned()).await;
    assert!(second.contains("stored for delivery"), "{second}");
    let heard_of_first = agent.mailbox.answers().unwrap().has("1.json").unwrap();
    agent.answer(|_| Some(format!("heard of the first: {heard_of_first}"))).await;
    agent.until_closed().await
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_request_is_written_as_soon_as_it_can_be_and_the_request_is_granted_once() {
    let house = House::new(|agent: Agent| asks_in_vain(agent, Duration::from_secs(10))).await;
    house.write("go").await;
    house.shown(&["first", "second", "heard of the first: true"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_can_never_be_written_holds_up_later_requests_for_a_while_only() {
    let house = House::new(|agent: Agent| asks_in_vain(agent, Duration::from_secs(60))).await;
    house.write("go").await;
    house.shown(&["first", "second", "heard of the first: false"]).await;
}

#[tokio::test(start_paused = true)]
async fn f48_f49_links_pipes_and_rubbish_in_a_mailbox_hurt_nobody() {
    let house = House::new(async |mut agent: Agent| {
        let messages = agent.mailbox.root().join("messages");
        std::os::unix::fs::symlink("/etc/passwd", messages.join("1.json")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, messages.join("2.json"), rustix::fs::FileType::Fifo, 0o666.into(), 0)
            .unwrap();
        std::fs::write(messages.join("3.json"), b"\xff\x00 not json").unwrap();
        let mut answers = Vec::new();
        for number in 1..=3 {
            answers.push(agent.answered(format!("{number}.json")).await);
        }
        agent.answer(|_| Some(answers.join(" | "))).await;
        agent.until_closed().await
    })
    .await;
    house.write("go").await;
    house.shown_last_containing("not a regular file").await;
    let said = house.channel.texts().join("");
    assert!(said.matches("refused").count() == 3 && !said.contains("root:"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn many_groups_share_few_slots_and_everyone_is_answered() {
    let house = House::with_slots(2, echo).await;
    for number in 0..12 {
        house.add_group(&format!("g{number}"), &format!("test:{number}")).await;
    }
    for round in 0..3 {
        for number in 0..12 {
            house.write_to(&format!("test:{number}"), &format!("@Andy {round}")).await;
        }
    }
    waiting("all are answered", async || {
        for number in 0..12 {
            if house.store.unanswered(&folder(&format!("g{number}"))).await.unwrap() > 0 {
                return false;
            }
        }
        true
    })
    .await;
    assert!(house.runtime.most_live() <= 2, "{} containers at once", house.runtime.most_live());
}

#[tokio::test(start_paused = true)]
async fn shutting_down_ends_every_container_and_what_was_not_answered_is_asked_again() {
    let house = House::new(async |mut agent: Agent| {
        if agent.input.run_number == Some(RunNumber(1)) {
            agent.stop.clone().cancelled_owned().await;
            return Exit::Code(143);
        }
        agent.answer(|prompt| Some(format!("heard {prompt}"))).await;
        agent.until_closed().await
    })
    .await;
    house.write("one").await;
    house.state("busy").await;
    house.shut_down().await;
    assert_eq!(house.runtime.live(), 0);
    assert_eq!(house.store.unanswered(&folder("main")).await.unwrap(), 1);
    let house = house.restart().await;
    house.shown(&["heard one"]).await;
}

#[tokio::test(start_paused = true)]
async fn v1_agents_that_name_no_messages_answer_turn_by_turn() {
    let house = House::new(async |mut agent: Agent| {
        agent.write(&block(Some("first"))).await;
        agent.write(&block(None).session("s")).await;
        while agent.follow_up().await {
            agent.write(&block(Some("next"))).await;
            agent.write(&block(None).session("s")).await;
        }
        Exit::Code(0)
    })
    .await;
    house.write("one").await;
    house.shown(&["first"]).await;
    assert_eq!(house.store.unanswered(&folder("main")).await.unwrap(), 0);
    house.write("two").await;
    house.shown(&["first", "next"]).await;
    waiting("all answered", async || house.store.unanswered(&folder("main")).await.unwrap() == 0).await;
    assert_eq!(house.runtime.specs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removed_group_is_left_alone_and_registering_it_again_begins_with_what_comes_then() {
    let house = House::new(echo).await;
    house.add_group("other", "test:other").await;
    house.write_to("test:other", "@Andy one").await;
    house.shown(&["heard @Andy one"]).await;
    house.orchestrator.remove_group(&folder("other")).await.unwrap();
    assert_eq!(house.write_to("test:other", "@Andy two").await, Receipt::Unregistered);
    house.add_group("other", "test:other").await;
    house.write_to("test:other", "@Andy three").await;
    house.shown(&["heard @Andy one", "heard @Andy three"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_chat_sees_that_the_assistant_is_at_work_until_it_has_answered() {
    let house = House::new(async |mut agent: Agent| {
        tokio::time::sleep(Duration::from_secs(30)).await;
        agent.answer(|_| Some("done".to_owned())).await;
        agent.until_closed().await
    })
    .await;
    house.write("one").await;
    house.shown(&["done"]).await;
    let signs = house.channel.typing_signs();
    assert!(signs.iter().filter(|(_, on)| *on).count() >= 7, "shown again every four seconds: {signs:?}");
    waiting("the sign goes off", async || house.channel.typing_signs().last() == Some(&(None, false))).await;
}

#[tokio::test(start_paused = true)]
async fn the_sign_is_shown_in_the_thread_of_the_message_that_is_answered_and_moves_with_it() {
    let house = House::new(async |mut agent: Agent| {
        tokio::time::sleep(Duration::from_secs(30)).await;
        agent.answer(|_| Some("one".to_owned())).await;
        assert!(agent.follow_up().await);
        tokio::time::sleep(Duration::from_secs(30)).await;
        agent.answer(|_| Some("two".to_owned())).await;
        agent.until_closed().await
    })
    .await;
    let inbox = house.orchestrator.inbox();
    let asked = InboundMessage { thread: Some("7".parse().unwrap()), ..house.message("test:main", "in a topic") };
    inbox.accept(asked).await.unwrap();
    let in_topic = |on| (Some("7".to_owned()), on);
    waiting("the sign", async || house.channel.typing_signs().contains(&in_topic(true))).await;
    house.write("outside").await;
    waiting("the sign elsewhere", async || house.channel.typing_signs().contains(&(None, true))).await;
    let signs = house.channel.typing_signs();
    let moved = signs.iter().position(|(thread, _)| thread.is_none()).unwrap();
    assert!(signs[..moved - 1].iter().all(|sign| *sign == in_topic(true)), "{signs:?}");
    assert_eq!(signs[moved - 1..=moved], [in_topic(false), (None, true)]);
    house.shown(&["one", "two"]).await;
    waiting("the sign goes off", async || house.channel.typing_signs().last() == Some(&(None, false))).await;
    assert!(!house.channel.typing_signs()[moved..].contains(&in_topic(true)));
}

#[test]
fn the_fakes_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<support::FakeChannel>>();
}
