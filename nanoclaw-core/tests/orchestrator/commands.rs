//! What people command of the host in a chat.

use std::time::Duration;

use nanoclaw_core::{
    delivery::Answered,
    message::{InboundMessage, Seq},
    orchestrator::Receipt,
    run::RunNumber,
    runtime::Exit,
    senders::SenderPolicy,
    store::{SessionContext, SetAsideState, StopWork, Stopped, Store},
};

use crate::{
    echo,
    support::{Agent, House, block, folder, main_group, waiting},
};

const LONG: Duration = Duration::from_secs(600);

/// Thinks for ten minutes about each prompt, then says which session it went on with.
async fn remembers(mut agent: Agent) -> Exit {
    let resumed = agent.input.session_id.as_ref().map_or("none".to_owned(), ToString::to_string);
    let run = agent.input.run_number.unwrap();
    let mut number = 0;
    loop {
        tokio::time::sleep(LONG).await;
        number += 1;
        let answered = agent.heard().0.answered_seq;
        let said = block(Some(&format!("{} after {resumed}", agent.texts().join(" + "))));
        agent.say(number, &said.session(&format!("s{run}")).answered(answered)).await;
        if !agent.follow_up().await {
            return Exit::Code(0);
        }
    }
}

async fn command(house: &House, text: &str) -> InboundMessage {
    let message = house.message("test:main", text);
    obeyed(house, &message).await;
    message
}

async fn obeyed(house: &House, message: &InboundMessage) {
    let receipt = house.orchestrator.inbox().accept(message.clone()).await.unwrap();
    assert!(matches!(receipt, Receipt::Obeyed { .. }), "{receipt:?}");
}

async fn session(house: &House) -> Option<String> {
    let session = house.store.session(&folder("main"), &SessionContext::Chat).await.unwrap();
    session.map(|session| session.to_string())
}

async fn gone(house: &House) {
    waiting("its container is gone", async || house.runtime.live() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn the_host_answers_a_command_itself_and_once_however_often_it_comes() {
    let house = House::new(echo).await;
    let ping = command(&house, "/ping").await;
    house.shown(&["pong"]).await;
    assert_eq!(house.channel.deliveries()[0].answered, Answered::to(&ping, true), "it replies to the command");
    obeyed(&house, &ping).await;
    command(&house, "@Andy /ChatId").await;
    house.shown(&["pong", "This chat is test:main, the group main."]).await;
    command(&house, "/status").await;
    house.shown_last("Main: nothing runs.\nEverything is answered.").await;
    assert_eq!(house.store.messages_after(&folder("main"), Seq::ZERO, 10).await.unwrap(), [], "it is no message");
    assert_eq!(house.runtime.specs().len(), 0, "an agent was woken");
    let house = {
        house.shut_down().await;
        house.restart().await
    };
    obeyed(&house, &ping).await;
    house.write("hello").await;
    house.shown_last("heard hello").await;
    let answered = house.channel.deliveries().pop().unwrap().answered;
    assert_eq!(answered.reply_to.unwrap().text, "hello", "an agent's answer replies to the message");
    assert_eq!(house.channel.texts().iter().filter(|text| *text == "pong").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_only_begins_like_a_command_goes_to_the_agent_and_so_does_what_a_sender_says_who_may_not_command() {
    let house = House::new(echo).await;
    house.write("/ping me later").await;
    house.shown(&["heard /ping me later"]).await;

    let empty = House::empty(echo).await;
    empty.store.add_group(&main_group()).await.unwrap();
    let (house, _) = empty.with_senders(Ok(SenderPolicy::nobody()));
    let house = house.start().await;
    assert!(matches!(house.write("/stop").await, Receipt::Stored { .. }));
}

#[tokio::test(start_paused = true)]
async fn status_tells_what_runs_and_what_waits() {
    let house = House::new(remembers).await;
    house.write("one").await;
    house.state("busy").await;
    tokio::time::sleep(Duration::from_secs(240)).await;
    command(&house, "/status").await;
    house.shown_last("Main: at work for 4 minutes.\nOne message since the last answer.").await;
}

#[tokio::test(start_paused = true)]
async fn after_new_the_next_turn_has_a_new_session() {
    let house = House::new(remembers).await;
    house.write("one").await;
    house.shown(&["one after none"]).await;
    assert_eq!(session(&house).await.as_deref(), Some("s1"));
    command(&house, "/new").await;
    assert_eq!(session(&house).await, None);
    house.shown_last_containing("A new conversation begins").await;
    gone(&house).await;
    house.write("two").await;
    house.shown_last("two after none").await;
    assert_eq!(session(&house).await.as_deref(), Some("s2"));
}

#[tokio::test(start_paused = true)]
async fn what_is_worked_on_when_a_new_session_is_commanded_is_answered_and_its_session_is_not_kept() {
    let house = House::new(remembers).await;
    house.write("one").await;
    house.state("busy").await;
    let new = command(&house, "/new").await;
    house.write("two").await;
    house.shown_last("one after none").await;
    // What came after it is no follow-up of the old conversation.
    house.shown_last("two after none").await;
    assert_eq!((house.runtime.specs().len(), session(&house).await.as_deref()), (2, Some("s2")));
    obeyed(&house, &new).await;
    assert_eq!(session(&house).await.as_deref(), Some("s2"), "a repeat forgot the new one");
}

#[tokio::test(start_paused = true)]
async fn a_new_session_is_one_also_when_the_host_dies_before_the_old_one_has_answered() {
    let house = House::new(remembers).await;
    house.write("one").await;
    house.state("busy").await;
    command(&house, "/new").await;
    house.kill().await;
    let house = house.restart().await;
    house.write("two").await;
    house.shown_last("two after none").await;
    assert!(house.channel.texts().contains(&"one after none".to_owned()), "{:?}", house.channel.texts());
    assert_eq!(house.runtime.specs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_chat_goes_on_with_the_conversation_that_is_named_and_each_remembers_its_own() {
    let house = House::new(remembers).await;
    house.write("one").await;
    house.shown(&["one after none"]).await;
    command(&house, "/session Trip").await;
    house.shown_last_containing("the conversation trip goes on").await;
    gone(&house).await;
    house.write("two").await;
    house.shown_last("two after none").await;
    command(&house, "/session").await;
    house.shown_last_containing("This is the conversation trip. There is also default.").await;
    command(&house, "/session default").await;
    gone(&house).await;
    house.write("three").await;
    house.shown_last("three after s1").await;
    // The one it is.
    command(&house, "/session DEFAULT").await;
    house.write("four").await;
    house.shown_last("four after s1").await;
    assert_eq!(house.runtime.specs().len(), 3, "nothing was ended");
}

#[tokio::test(start_paused = true)]
async fn what_is_worked_on_when_another_conversation_is_named_is_answered_in_its_own() {
    let house = House::new(remembers).await;
    house.write("one").await;
    house.state("busy").await;
    let trip = command(&house, "/session trip").await;
    house.write("two").await;
    house.shown_last("one after none").await;
    house.shown_last("two after none").await;
    obeyed(&house, &trip).await;
    command(&house, "/session default").await;
    gone(&house).await;
    house.write("three").await;
    house.shown_last("three after s1").await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_none_is_refused_with_what_would_be_one() {
    let house = House::new(remembers).await;
    command(&house, "/session two words").await;
    house.shown_last_containing("has to be one word of letters, digits, - and _").await;
    for n in 1..50 {
        command(&house, &format!("/session s{n}")).await;
        house.write(&format!("hello {n}")).await;
        house.shown_last(&format!("hello {n} after none")).await;
    }
    command(&house, "/session one-more").await;
    house.shown_last_containing("There are 50 conversations").await;
    command(&house, "/session s7").await;
    house.shown_last_containing("the conversation s7 goes on").await;
}

#[tokio::test(start_paused = true)]
async fn stop_ends_the_run_and_drops_what_it_had_and_the_next_message_is_answered() {
    let house = House::new(remembers).await;
    house.write("one").await;
    house.state("busy").await;
    let stop = command(&house, "/stop").await;
    house.shown_last_containing("Stopped.").await;
    gone(&house).await;
    tokio::time::sleep(LONG).await;
    assert_eq!((house.runtime.specs().len(), house.channel.texts().len()), (1, 1), "it was tried again, or answered");
    let aside = house.store.set_aside(None, true, 10).await.unwrap();
    assert_eq!((aside.len(), aside[0].state, aside[0].run), (1, SetAsideState::Dropped, Some(RunNumber(1))));
    assert_eq!(house.store.runs(None, 1).await.unwrap()[0].ending.as_deref(), Some("stopped"));

    house.write("two").await;
    house.state("busy").await;
    // The platform says it again, and it stops nothing more.
    obeyed(&house, &stop).await;
    house.shown_last("two after none").await;
}

#[tokio::test(start_paused = true)]
async fn stop_drops_what_waits_for_another_try() {
    let house = House::new(
        async |agent: Agent| {
            if agent.prompt().contains("fail") { Exit::Code(3) } else { echo(agent).await }
        },
    )
    .await;
    house.write("fail").await;
    house.state("backing off").await;
    command(&house, "/stop").await;
    house.idle().await;
    tokio::time::sleep(LONG).await;
    assert_eq!(house.runtime.specs().len(), 1, "it was tried again");
    house.write("two").await;
    house.shown_last("heard two").await;
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_worked_on_nothing_is_stopped() {
    let house = House::new(echo).await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    command(&house, "/stop").await;
    house.shown_last("There is nothing to stop.").await;
    house.write("two").await;
    house.shown_last("heard two").await;
    assert_eq!(house.runtime.specs().len(), 1, "the container that rested was stopped");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_dies_when_it_has_stored_the_stop_leaves_no_run_behind_and_no_answer() {
    let house = House::new(remembers).await;
    house.write("one").await;
    house.state("busy").await;
    let stop = StopWork {
        key: "stop".parse().unwrap(),
        command: Answered::default(),
        reason: "was stopped".to_owned(),
        stopped: "Stopped.".to_owned(),
        task_stopped: "Stopped the task.".to_owned(),
        nothing: "Nothing.".to_owned(),
    };
    let stopped = house.store.stop_work(&folder("main"), &stop, nanoclaw_core::time::Timestamp::now()).await.unwrap();
    assert_eq!(stopped, Stopped::Work { through: Some(Seq(1)), run: Some(RunNumber(1)), task: None });
    house.kill().await;
    let house = house.restart().await;
    gone(&house).await;
    tokio::time::sleep(LONG).await;
    assert_eq!(house.channel.texts(), ["Stopped."]);
}
