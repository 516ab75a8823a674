//! Faults that the simulation found, each once more by hand: seeds change their meaning whenever the simulation does.

use std::{sync::Arc, time::Duration};

use nanoclaw_core::{
    channel::SendError,
    delivery::{DeliveryKey, NewDelivery, OutboxId},
    message::{Seq, Wakes},
    orchestrator::Receipt,
    run::{BlockNumber, Handed, RunId, RunKind, RunNumber},
    runtime::{Exit, RuntimeKind},
    store::{
        BlockCommit, DeliveryState, GiveUp, NewRun, Resolution, SetAsideState, Store, StoreError, TurnResolution,
        TurnResolved,
    },
    testing::MemoryStore,
    time::{Timestamp, test_clock},
};
use tokio::{sync::OnceCell, time::Instant};

use crate::{
    echo,
    support::{Agent, EmptyHouse, House, block, folder, main_group, waiting},
};

#[tokio::test(start_paused = true)]
async fn a_message_whose_acceptance_was_cut_off_after_its_commit_is_answered_when_it_comes_again() {
    let house = House::new(echo).await;
    let message = house.message("test:main", "one");
    // As far as the first try came.
    house.store.accept(&message, Wakes::Yes, Timestamp::now()).await.unwrap();
    let receipt = house.orchestrator.inbox().accept(message).await.unwrap();
    assert_eq!(receipt, Receipt::Duplicate { seq: Seq(1) });
    house.shown(&["heard one"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_found_committed_is_sent_and_told_of() {
    let store: Arc<OnceCell<Arc<MemoryStore>>> = Arc::default();
    let known = store.clone();
    let house = House::new(move |mut agent: Agent| {
        let store = known.clone();
        async move {
            let run = RunId { group: folder("main"), number: agent.input.run_number.unwrap() };
            let (number, chat) = (BlockNumber(1), "test:main".parse().unwrap());
            let reply = NewDelivery {
                key: DeliveryKey::reply(&run, number),
                chat,
                text: "once".to_owned(),
                file: None,
                answers: None,
            };
            let answers = agent.input.last_seq;
            // The commit happens, and an error is told: the worker tries it again.
            let commit = BlockCommit {
                number,
                reply: Some(reply),
                answers,
                taken: None,
                session: None,
                names_messages: true,
                firing: None,
                at: Timestamp::now(),
            };
            store.get().unwrap().commit_block(&run, &commit).await.unwrap();
            agent.write(&block(Some("once")).answered(answers)).await;
            agent.until_closed().await
        }
    })
    .await;
    assert!(store.set(house.store.clone()).is_ok());
    house.write("one").await;
    house.shown(&["once"]).await;
    house.state("resting").await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_a_day_holds_up_no_message() {
    let day = Duration::from_secs(24 * 3600);
    let now = Timestamp::from_ms(1_772_600_000_000);
    test_clock::set(Some(now.plus(day)));
    let house = House::new(echo).await;
    house.channel.fail_next(SendError::Retry { reason: "busy".to_owned(), after: None });
    let before = Instant::now();
    house.write("one").await;
    house.tried(1).await;
    test_clock::set(Some(now));
    house.shown(&["heard one"]).await;
    test_clock::set(None);
    assert!(before.elapsed() < Duration::from_secs(600), "it took {:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_dead_host_had_stored_and_not_removed_is_not_sent_again_by_the_next_run() {
    let house = House::empty(echo).await;
    let store = &house.store;
    store.add_group(&main_group()).await.unwrap();
    store.accept(&house.message("test:main", "one"), Wakes::Yes, Timestamp::now()).await.unwrap();
    let run = RunId { group: folder("main"), number: RunNumber(1) };
    let opened =
        NewRun { id: run.clone(), kind: RunKind::Chat, runtime: RuntimeKind::Fake, handed: None, at: Timestamp::now() };
    store.open_run(&opened).await.unwrap();
    store.hand_over(&run, Handed { first: Seq(1), last: Seq(1) }, Timestamp::now()).await.unwrap();
    let (name, chat) = ("7.json", "test:main".parse().unwrap());
    let asked = NewDelivery {
        key: DeliveryKey::request(&run, name),
        chat,
        text: "asked for".to_owned(),
        file: None,
        answers: None,
    };
    store.post(&asked, Timestamp::now()).await.unwrap();
    let mailbox = house.mailbox("main");
    mailbox.create().unwrap();
    let request = br#"{"type":"message","chatJid":"test:main","text":"asked for"}"#;
    mailbox.messages().unwrap().write(name, request).unwrap();

    let house = house.start().await;
    house.shown(&["asked for", "heard one"]).await;
    house.write("two").await;
    house.shown(&["asked for", "heard one", "heard two"]).await;
}

#[tokio::test(start_paused = true)]
async fn words_before_the_answer_are_no_answer() {
    let house = House::new(async |mut agent: Agent| {
        if agent.input.run_number == Some(RunNumber(1)) {
            // As our agent says that nothing is answered yet.
            agent.write(&block(Some("one moment")).answered(Some(Seq::ZERO))).await;
            return Exit::Signal(9);
        }
        echo(agent).await
    })
    .await;
    house.write("one").await;
    house.shown(&["one moment", "heard one"]).await;
}

/// An agent that never answers, in a house whose host was killed.
async fn at_work_and_killed() -> EmptyHouse {
    let house = House::new(async |mut agent: Agent| agent.until_closed().await).await;
    house.write("one").await;
    house.state("busy").await;
    house.kill().await;
    house.without_host()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_at_the_start_does_not_hide_a_container_that_lives() {
    let empty = at_work_and_killed().await;
    empty.store.fail_next_cursor("busy");
    // Or else there is no start: nothing may be concluded from this.
    assert!(empty.try_start().await.is_err());
    let house = empty.start().await;
    house.state("busy").await;
    house.write("two").await;
    let noted = async || house.store.turns(&RunId { group: folder("main"), number: RunNumber(1) }).await.unwrap();
    waiting("the agent that lives is handed it", async || noted().await.len() == 2).await;
    assert_eq!((house.runtime.live(), house.runtime.specs().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_given_up_leaves_nobody_at_work() {
    let empty = at_work_and_killed().await;
    let holders = Arc::strong_count(&empty.store);
    let given_up = tokio::time::timeout(Duration::ZERO, empty.try_start()).await;
    assert!(given_up.is_err(), "it waited for what the agent had said");
    waiting("its workers are gone", async || Arc::strong_count(&empty.store) == holders).await;
    assert_eq!(empty.runtime.live(), 1, "the container is the next host's");
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_registration_was_told_as_failed_is_served_when_it_is_registered_again() {
    let house = House::empty(echo).await.start().await;
    // As far as the first try came, as it knows.
    house.store.add_group(&main_group()).await.unwrap();
    house.orchestrator.add_group(main_group()).await.unwrap();
    house.write("one").await;
    house.shown(&["heard one"]).await;
    let again = house.orchestrator.add_group(main_group()).await;
    assert!(matches!(again, Err(StoreError::ChatTaken { .. })), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_removal_was_told_as_failed_is_gone_when_it_is_removed_again() {
    let house = House::new(echo).await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.store.remove_group(&folder("main")).await.unwrap();
    house.orchestrator.remove_group(&folder("main")).await.unwrap();
    let receipt = house.orchestrator.inbox().accept(house.message("test:main", "two")).await.unwrap();
    assert_eq!(receipt, Receipt::Unregistered);
    while house.runtime.live() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let again = house.orchestrator.remove_group(&folder("main")).await;
    assert!(matches!(again, Err(StoreError::NoGroup { .. })), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_retried_is_answered_though_the_retry_was_told_as_failed() {
    let house = House::new(echo).await;
    let group = folder("main");
    house.store.accept(&house.message("test:main", "one"), Wakes::Yes, Timestamp::now()).await.unwrap();
    house.store.give_up(&group, &GiveUp::dropped(Seq(1)), Timestamp::now()).await.unwrap().unwrap();
    // As far as the first try came, as it knows.
    house.store.resolve_set_aside(&group, Seq(1), TurnResolution::Retry, Timestamp::now()).await.unwrap();
    let again = house.orchestrator.resolve_set_aside(&group, Seq(1), TurnResolution::Retry).await.unwrap();
    assert_eq!(again, TurnResolved::Already(SetAsideState::Retried));
    house.shown(&["heard one"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_again_is_sent_though_the_decision_was_told_as_failed() {
    let house = House::new(echo).await;
    house.channel.fail_next(SendError::Permanent { reason: "refused".to_owned() });
    house.write("one").await;
    let failed = async || house.store.delivery_at(OutboxId(1)).await.unwrap().map(|row| row.state);
    waiting("the reply is failed", async || failed().await == Some(DeliveryState::Failed)).await;
    house.store.resolve_delivery(OutboxId(1), Resolution::SendAgain, Timestamp::now()).await.unwrap();
    house.store.fail_writes("the disk is full");
    assert!(house.orchestrator.resolve_delivery(OutboxId(1), Resolution::SendAgain).await.is_err());
    house.store.mend();
    waiting("the reply is sent", async || house.channel.texts().iter().any(|text| text == "heard one")).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_file_under_the_number_of_the_last_note_is_no_block() {
    let house = House::new(async |mut agent: Agent| {
        agent.journal(u32::MAX, &block(Some("no block")));
        echo(agent).await
    })
    .await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
}
