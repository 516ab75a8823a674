//! Hosts that die or end while agents are at work, and what the next host makes of it.

use std::{sync::Arc, time::Duration};

use nanoclaw_core::{
    channel::SendError,
    delivery::DeliveryKey,
    group::GroupFolder,
    message::{InboundMessage, Seq},
    orchestrator::{Notice, Receipt},
    protocol::{
        input::{FollowUp, follow_up_name},
        output::JournalEntry,
    },
    run::{BlockNumber, Handed, RunId, RunKind, RunNumber},
    runtime::{ContainerRuntime, Exit, RuntimeError, RuntimeKind},
    store::{NewRun, Store, TurnState},
    time::Timestamp,
};
use tokio::sync::Notify;

use super::support::{Agent, House, block, folder, waiting};

const LONG: Duration = Duration::from_secs(600);

/// Thinks for ten minutes about each prompt, then answers as our init does: journal first.
async fn slow(agent: Agent) -> Exit {
    agent.thinks_for(LONG).await
}

/// A house whose host died while its agent was at work on the first message.
async fn killed_at_work() -> House {
    let house = House::new(slow).await;
    house.write("one").await;
    house.state("busy").await;
    house.kill().await;
    house
}

async fn run_endings(store: &dyn Store) -> Vec<Option<String>> {
    store.runs(Some(&folder("main")), 10).await.unwrap().into_iter().map(|run| run.ending).collect()
}

fn run_of(group: &str, number: u32) -> RunId {
    RunId { group: folder(group), number: RunNumber(number) }
}

async fn states(house: &House, run: &RunId) -> Vec<TurnState> {
    house.store.turns(run).await.unwrap().into_iter().map(|turn| turn.state).collect()
}

#[tokio::test(start_paused = true)]
async fn f5_a_host_that_ends_in_the_middle_of_an_answer_costs_the_user_nothing() {
    let house = House::new(slow).await;
    house.write("one").await;
    house.state("busy").await;
    house.let_go().await;
    assert_eq!((house.runtime.live(), run_endings(&*house.store).await), (1, vec![None]));
    assert_eq!(states(&house, &run_of("main", 1)).await, [TurnState::Taken], "what it has is known exactly");
    let house = house.restart().await;
    house.state("busy").await;
    house.shown(&["heard one"]).await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(house.runtime.specs().len(), 1, "the same container all along");
    assert_eq!(house.store.unanswered(&folder("main")).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_next_host_shows_that_the_agent_is_at_work_in_the_thread_in_which_it_was_asked() {
    let house = House::new(slow).await;
    let asked = InboundMessage { thread: Some("7".parse().unwrap()), ..house.message("test:main", "in a topic") };
    house.orchestrator.inbox().accept(asked).await.unwrap();
    house.state("busy").await;
    house.kill().await;
    let before = house.channel.typing_signs().len();
    let house = house.restart().await;
    waiting("the sign", async || house.channel.typing_signs().len() > before).await;
    assert_eq!(house.channel.typing_signs()[before], (Some("7".to_owned()), true));
}

#[tokio::test(start_paused = true)]
async fn f5_a_host_that_is_killed_in_the_middle_of_an_answer_costs_the_user_nothing() {
    let house = killed_at_work().await;
    let house = house.restart().await;
    house.shown(&["heard one"]).await;
    // Once more, with a follow-up in the agent's mailbox that it has not taken.
    house.write("two").await;
    house.state("busy").await;
    house.write("three").await;
    let input = house.mailbox("main").input().unwrap();
    waiting("the follow-up lies there", async || input.has(&follow_up_name(Seq(3))).unwrap()).await;
    house.kill().await;
    let house = house.restart().await;
    house.shown(&["heard one", "heard two", "heard three"]).await;
    assert_eq!(house.runtime.specs().len(), 1, "the same container all along");
}

#[tokio::test(start_paused = true)]
async fn what_was_said_while_no_host_was_there_is_committed_before_any_channel_is() {
    let house = killed_at_work().await;
    tokio::time::sleep(2 * LONG).await;
    let house = house.without_host().start_without_channel().await;
    let key = DeliveryKey::reply(&run_of("main", 1), BlockNumber(1));
    assert_eq!(house.store.delivery(&key).await.unwrap().unwrap().delivery.text, "heard one");
    assert_eq!(house.store.cursor(&folder("main")).await.unwrap(), Seq(1));
    house.state("resting").await;
    house.connect_channel();
    house.shown(&["heard one"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_came_while_no_host_was_there_goes_to_the_agent_that_lives() {
    let house = House::new(slow).await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.let_go().await;
    let empty = house.without_host();
    let (message, wakes) = (empty.message("test:main", "two"), nanoclaw_core::message::Wakes::Yes);
    empty.store.accept(&message, wakes, Timestamp::now()).await.unwrap();
    let house = empty.start().await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(house.runtime.specs().len(), 1);
}

/// A house whose agent has answered its first message, with a second one in the store, killed.
async fn rested_and_killed(texts: &[&str]) -> super::support::EmptyHouse {
    let house = House::new(slow).await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.kill().await;
    let empty = house.without_host();
    for text in texts {
        let message = empty.message("test:main", text);
        empty.store.accept(&message, nanoclaw_core::message::Wakes::Yes, Timestamp::now()).await.unwrap();
    }
    empty
}

fn follow_up(text: &str, seq: i64) -> Vec<u8> {
    let text = format!("<message sender=\"Ann\">{text}</message>");
    let (first_seq, last_seq) = (Some(Seq(seq)), Some(Seq(seq)));
    serde_json::to_vec(&FollowUp::Message { text, first_seq, last_seq, files: Vec::new() }).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_follow_up_that_was_noted_and_not_published_is_published_by_the_next_host() {
    let empty = rested_and_killed(&["two"]).await;
    // The host died between the commit and the rename.
    let handed = Handed { first: Seq(2), last: Seq(2) };
    empty.store.hand_over(&run_of("main", 1), handed, Timestamp::now()).await.unwrap();
    empty.mailbox("main").input().unwrap().stage(&follow_up_name(Seq(2)), &follow_up("staged two", 2)).unwrap();
    let house = empty.start().await;
    house.shown(&["heard one", "heard staged two"]).await;
    assert_eq!(states(&house, &run_of("main", 1)).await, [TurnState::Answered; 2]);
    assert_eq!(house.runtime.specs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_follow_up_that_was_staged_and_not_noted_is_not_handed_over_twice() {
    let empty = rested_and_killed(&["two"]).await;
    // The host died before the commit.
    let input = empty.mailbox("main").input().unwrap();
    input.stage(&follow_up_name(Seq(2)), &follow_up("staged two", 2)).unwrap();
    let house = empty.start().await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(input.staged().unwrap(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_follow_up_that_the_agent_had_taken_is_not_handed_over_again() {
    let house = House::new(slow).await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.write("two").await;
    let input = house.mailbox("main").input().unwrap();
    let noted = async || house.store.turns(&run_of("main", 1)).await.unwrap().len() == 2;
    waiting("it is taken", async || noted().await && !input.has(&follow_up_name(Seq(2))).unwrap()).await;
    house.kill().await;
    let house = house.without_host().start_without_channel().await;
    assert_eq!(states(&house, &run_of("main", 1)).await, [TurnState::Answered, TurnState::Taken]);
    house.connect_channel();
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(house.runtime.specs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn f3_a_message_that_comes_while_the_agent_closes_and_its_host_is_replaced_is_answered() {
    let house = House::new(async |mut agent: Agent| {
        let heard = agent.heard();
        agent.say(1, &heard).await;
        agent.closed().await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        Exit::Code(0)
    })
    .await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.state("stopping").await;
    house.let_go().await;
    let house = house.restart().await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(run_endings(&*house.store).await, [None, Some("finished".to_owned())]);
    let failures = house.orchestrator.status().await[0].failures;
    assert_eq!(failures, 0, "it did what it was asked, so that is no failure");
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_lists_a_container_twice_has_it_adopted_once() {
    let empty = House::empty(slow).await.map_runtime(|runtime| runtime.listing_twice());
    empty.store.add_group(&super::support::main_group()).await.unwrap();
    let house = empty.start().await;
    house.write("one").await;
    house.state("busy").await;
    house.let_go().await;
    let house = house.restart().await;
    house.shown(&["heard one"]).await;
    assert_eq!((house.runtime.live(), house.runtime.specs().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn f33_containers_of_others_are_left_alone_and_our_own_without_a_run_are_removed() {
    let house = House::new(slow).await;
    house.write("one").await;
    house.state("busy").await;
    let ours = house.runtime.specs()[0].clone();
    let mut theirs = ours.clone();
    theirs.name = "somebody-elses".to_owned();
    theirs.labels.install = "zzzzzzzzzzzzzzzz".parse().unwrap();
    let mut fenced = ours.clone();
    fenced.name = "of-a-run-that-is-over".to_owned();
    fenced.labels.run.number = RunNumber(0);
    let mut strange = ours.clone();
    strange.name = "of-a-group-that-is-none".to_owned();
    strange.labels.run.group = GroupFolder::new("gone").unwrap();
    let mut streams = Vec::new();
    for spec in [&theirs, &fenced, &strange] {
        let mut container = house.runtime.start(spec).await.unwrap();
        container.stdin.send(&serde_json::to_vec(&input()).unwrap(), LONG).await.unwrap();
        streams.push(container);
    }
    house.let_go().await;
    let house = house.restart().await;
    let listed = house.runtime.list(&ours.labels.install).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [ours.name.as_str()]);
    assert_eq!(house.runtime.list(&theirs.labels.install).await.unwrap().len(), 1);
    house.shown(&["heard one"]).await;
}

fn input() -> nanoclaw_core::protocol::input::ContainerInput {
    serde_json::from_str(r#"{"prompt": "", "groupFolder": "main", "chatJid": "test:main", "isMain": true}"#).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_container_is_gone_ends_with_its_host_and_its_messages_are_asked_again_at_once() {
    let house = House::new(async |mut agent: Agent| {
        if agent.input.run_number == Some(RunNumber(1)) {
            return agent.until_closed().await;
        }
        let heard = agent.heard();
        agent.say(1, &heard).await;
        agent.until_closed().await
    })
    .await;
    house.write("one").await;
    house.state("busy").await;
    house.kill().await;
    house.runtime.lose_all();
    waiting("the container is gone", async || house.runtime.live() == 0).await;
    let before = tokio::time::Instant::now();
    let house = house.restart().await;
    house.shown(&["heard one"]).await;
    assert!(before.elapsed() < Duration::from_secs(2), "no delay: it is nobody's failure");
    assert_eq!(run_endings(&*house.store).await, [None, Some("host_ended".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn while_the_runtime_does_not_tell_which_containers_live_their_groups_wait_and_the_others_are_served() {
    let house = House::new(slow).await;
    house.add_group("other", "test:other").await;
    house.write("one").await;
    house.state("busy").await;
    house.kill().await;
    for _ in 0..3 {
        house.runtime.fail_next_list(RuntimeError::TimedOut { action: "list the containers" });
    }
    let house = house.restart().await;
    house.state("held").await;
    house.write_to("test:other", "@Andy two").await;
    house.write("three").await;
    waiting("the other group is served", async || house.runtime.live() == 2).await;
    house.state("busy").await;
    house.shown(&["heard one", "heard @Andy two", "heard three"]).await;
    assert_eq!(house.runtime.specs().len(), 2, "one a group: it was adopted after all");
    assert_eq!(run_endings(&*house.store).await, [None]);
}

#[tokio::test(start_paused = true)]
async fn f37_held_groups_are_looked_at_at_once_when_somebody_says_that_the_runtime_is_back() {
    let house = killed_at_work().await;
    // The sixth is asked for after 31 seconds, the seventh would be after 61.
    for _ in 0..6 {
        house.runtime.fail_next_list(RuntimeError::TimedOut { action: "list the containers" });
    }
    let house = house.restart().await;
    tokio::time::sleep(Duration::from_secs(35)).await;
    house.state("held").await;
    let before = tokio::time::Instant::now();
    house.orchestrator.try_now(None).await;
    house.state("busy").await;
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    house.shown(&["heard one"]).await;
    assert_eq!(house.runtime.specs().len(), 1, "the same container all along");
}

#[tokio::test(start_paused = true)]
async fn f37_what_belongs_to_no_run_is_removed_when_the_runtime_answers_at_last() {
    let house = House::new(async |mut agent: Agent| {
        if agent.input.run_number.is_none() {
            return agent.until_closed().await;
        }
        let heard = agent.heard();
        agent.say(1, &heard).await;
        Exit::Code(0)
    })
    .await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.state("idle").await;
    let mut left = house.runtime.specs()[0].clone();
    left.name = "of-a-run-that-is-over".to_owned();
    let mut container = house.runtime.start(&left).await.unwrap();
    container.stdin.send(&serde_json::to_vec(&input()).unwrap(), LONG).await.unwrap();
    house.let_go().await;
    for _ in 0..3 {
        house.runtime.fail_next_list(RuntimeError::TimedOut { action: "list the containers" });
    }
    let house = house.restart().await;
    let listed = async || house.runtime.list(&left.labels.install).await;
    waiting("it is removed", async || listed().await.is_ok_and(|left| left.is_empty())).await;
}

#[tokio::test(start_paused = true)]
async fn a_held_group_whose_container_is_gone_goes_on_with_the_next_run() {
    let house = killed_at_work().await;
    house.runtime.lose_all();
    house.runtime.fail_next_list(RuntimeError::TimedOut { action: "list the containers" });
    let house = house.restart().await;
    house.write("two").await;
    house.shown(&["heard one + two"]).await;
    assert_eq!(house.runtime.specs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_got_half_a_prompt_fails_and_that_counts_as_no_try() {
    let told = Arc::new(Notify::new());
    let wait = told.clone();
    let house = House::new(move |mut agent: Agent| {
        let wait = wait.clone();
        async move {
            if agent.input.run_number == Some(RunNumber(1)) {
                wait.notified().await;
                let kind = nanoclaw_core::protocol::output::FailureKind::Other;
                let failed = block(None).error("the input cannot be used", kind);
                agent.say(1, &failed).await;
                return Exit::Code(1);
            }
            let heard = agent.heard();
            agent.say(1, &heard).await;
            agent.until_closed().await
        }
    })
    .await;
    house.write("one").await;
    house.state("busy").await;
    house.kill().await;
    let house = house.without_host().start_without_channel().await;
    house.state("busy").await;
    told.notify_one();
    house.connect_channel();
    house.shown(&["heard one"]).await;
    assert_eq!(run_endings(&*house.store).await, [None, Some("host_ended".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn an_adopted_agent_that_fails_after_it_was_at_work_has_failed() {
    let house = House::new(async |mut agent: Agent| {
        tokio::time::sleep(LONG).await;
        let kind = nanoclaw_core::protocol::output::FailureKind::Other;
        let failed = block(None).error("no idea", kind);
        agent.say(1, &failed).await;
        Exit::Code(1)
    })
    .await;
    house.write("one").await;
    house.state("busy").await;
    house.let_go().await;
    let house = house.restart().await;
    house.state("backing off").await;
    assert_eq!(run_endings(&*house.store).await, [Some("failed".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn an_adopted_v1_agent_is_still_one_that_names_no_messages() {
    let house = House::new(async |mut agent: Agent| {
        agent.say(1, &block(Some("first"))).await;
        agent.say(2, &block(None).session("s")).await;
        let mut number = 3;
        while agent.follow_up().await {
            tokio::time::sleep(LONG).await;
            agent.say(number, &block(Some("next"))).await;
            agent.say(number + 1, &block(None).session("s")).await;
            number += 2;
        }
        Exit::Code(0)
    })
    .await;
    house.write("one").await;
    house.shown(&["first"]).await;
    house.write("two").await;
    house.state("busy").await;
    house.kill().await;
    let house = house.restart().await;
    house.shown(&["first", "next"]).await;
    waiting("all is answered", async || house.store.unanswered(&folder("main")).await.unwrap() == 0).await;
    assert_eq!(house.runtime.specs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_torn_or_hostile_journal_hurts_nobody_and_what_is_whole_in_it_counts() {
    let house = killed_at_work().await;
    let output = house.mailbox("main").output().unwrap();
    let entry = |run: u32, number: u32, text: &str, answered: i64| {
        let said = block(Some(text)).answered(Some(Seq(answered))).0;
        let entry = JournalEntry { run: RunNumber(run), number: BlockNumber(number), block: said };
        (entry.file_name(), serde_json::to_vec(&entry).unwrap())
    };
    let whole = entry(1, 7, "whole", i64::MAX);
    let good = std::fs::read_dir(output.path()).unwrap().count();
    assert_eq!(good, 0);
    for (name, bytes) in [
        ("0000000001-0000000001.json".to_owned(), whole.1[..whole.1.len() / 2].to_vec()),
        ("0000000001-0000000002.json".to_owned(), b"\xff\xfe{".to_vec()),
        ("0000000001-0000000003.json".to_owned(), vec![b'['; 1 << 20]),
        ("0000000001-0000000004.json".to_owned(), Vec::new()),
        entry(0, 5, "of an earlier run", 1),
        entry(9, 6, "of a run to come", 1),
        whole,
    ] {
        output.write(&name, &bytes).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", output.path().join("0000000001-0000000008.json")).unwrap();
    std::fs::create_dir(output.path().join("0000000001-0000000009.json")).unwrap();
    let house = house.restart().await;
    house.shown(&["whole"]).await;
    assert_eq!(house.store.cursor(&folder("main")).await.unwrap(), Seq(1), "no further than what was handed over");
    assert!(output.claim(&Default::default()).unwrap().is_empty(), "nothing is met again and again");
    house.write("two").await;
    house.shown_last("heard two").await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_granted_once_whatever_dies() {
    let house = killed_at_work().await;
    let messages = house.mailbox("main").messages().unwrap();
    let request = br#"{"type": "message", "chatJid": "test:main", "text": "by the way"}"#;
    messages.write("1.json", request).unwrap();
    let house = house.restart().await;
    house.shown(&["by the way"]).await;
    // The host died after the commit and before the file was removed; then the container as well.
    house.kill().await;
    messages.write("1.json", request).unwrap();
    house.runtime.lose_all();
    let house = house.restart().await;
    house.shown(&["by the way", "heard one"]).await;
    assert_eq!(house.runtime.specs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn f23_f24_late_words_of_an_older_run_change_nothing_in_the_store_or_the_chat() {
    let house = killed_at_work().await;
    house.runtime.lose_all();
    let house = house.restart().await;
    house.state("busy").await;
    // Run 1 speaks from the grave, with what run 2 is asked just now, while run 2 is at work.
    let said = block(Some("late")).answered(Some(Seq(1))).0;
    let late = JournalEntry { run: RunNumber(1), number: BlockNumber(1), block: said };
    let output = house.mailbox("main").output().unwrap();
    output.write(&late.file_name(), &serde_json::to_vec(&late).unwrap()).unwrap();
    house.shown(&["heard one"]).await;
    assert!(!output.has(&late.file_name()).unwrap());
    house.kill().await;
    let house = house.restart().await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_just_starting_goes_on_without_its_host_once_it_has_its_prompt() {
    let empty = House::empty(slow).await.map_runtime(|runtime| runtime.with_slow_starts(Duration::from_secs(10)));
    empty.store.add_group(&super::support::main_group()).await.unwrap();
    let house = empty.start().await;
    house.write("one").await;
    house.state("starting").await;
    house.let_go().await;
    assert_eq!((house.runtime.live(), run_endings(&*house.store).await), (1, vec![None]));
    let house = house.restart().await;
    house.shown(&["heard one"]).await;
    assert_eq!(house.runtime.specs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_ends_takes_no_message_and_sends_what_is_due() {
    let house = House::new(async |agent: Agent| {
        let messages = agent.mailbox.messages().unwrap();
        for number in 10..30 {
            let text = format!(r#"{{"type": "message", "chatJid": "test:main", "text": "{number}"}}"#);
            messages.write(&format!("{number}.json"), text.as_bytes()).unwrap();
        }
        std::future::pending().await
    })
    .await;
    house.channel.take_for_each(Duration::from_millis(200));
    house.write("one").await;
    let pending = async || house.store.pending_deliveries().await.unwrap().len();
    waiting("all is stored", async || pending().await > 10).await;
    let inbox = house.orchestrator.inbox();
    let late = house.message("test:main", "late");
    house.let_go().await;
    assert_eq!((house.channel.texts().len(), pending().await), (20, 0), "what was due is sent");
    assert!(inbox.accept(late.clone()).await.is_err(), "its platform keeps it");
    let house = house.restart().await;
    assert!(matches!(house.orchestrator.inbox().accept(late).await, Ok(Receipt::Stored { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_ends_does_not_wait_for_a_channel_that_is_out_of_order() {
    let house = House::new(slow).await;
    let out_of_order = || SendError::Retry { reason: "later".to_owned(), after: Some(LONG) };
    house.channel.fail_next(out_of_order());
    house.write("one").await;
    house.tried(1).await;
    let before = tokio::time::Instant::now();
    house.let_go().await;
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    let house = house.restart().await;
    house.shown(&["heard one"]).await;
}

#[tokio::test(start_paused = true)]
async fn f17_a_message_that_comes_while_the_container_starts_is_a_follow_up() {
    let empty = House::empty(slow).await.map_runtime(|runtime| runtime.with_slow_starts(Duration::from_secs(10)));
    empty.store.add_group(&super::support::main_group()).await.unwrap();
    let house = empty.start().await;
    house.write("one").await;
    house.state("starting").await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(house.runtime.specs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_block_with_words_and_no_answer_moves_no_cursor_even_as_the_first_of_its_run() {
    let house = House::new(async |mut agent: Agent| {
        // As our agent does: what was answered before is the message before the first.
        let before = agent.input.first_seq.map(|first| Seq(first.0 - 1));
        agent.write(&block(Some("on my way")).answered(before)).await;
        tokio::time::sleep(LONG).await;
        Exit::Code(1)
    })
    .await;
    house.write("one").await;
    house.shown(&["on my way"]).await;
    assert_eq!(house.store.cursor(&folder("main")).await.unwrap(), Seq::ZERO);
    assert_eq!(house.store.unanswered(&folder("main")).await.unwrap(), 1);
    let run = house.store.open_runs().await.unwrap().remove(0);
    assert_eq!((run.names_messages, run.runtime), (Some(true), RuntimeKind::Fake));
    house.state("busy").await;
}

#[tokio::test(start_paused = true)]
async fn f24_earlier_runs_are_fenced_before_a_new_one_has_a_container() {
    let house = House::new(async |mut agent: Agent| {
        let said = format!("fenced before {:?}", agent.mailbox.oldest_run().unwrap());
        agent.say(1, &block(Some(&said)).answered(agent.input.last_seq)).await;
        Exit::Code(0)
    })
    .await;
    house.runtime.fail_next_start(RuntimeError::TimedOut { action: "start the container" });
    house.write("one").await;
    waiting("the run is over", async || run_endings(&*house.store).await == [Some("not_started".to_owned())]).await;
    assert_eq!(house.mailbox("main").oldest_run().unwrap(), Some(RunNumber(1)), "whether it starts or not");
    house.shown(&["fenced before Some(RunNumber(2))"]).await;
}

#[tokio::test(start_paused = true)]
async fn f24_earlier_runs_are_fenced_before_their_follow_ups_are_taken_away() {
    let house = House::new(slow).await;
    // The first start leaves a doubt, and nobody can say whether it is justified: what comes after asking does not happen.
    house.runtime.fail_next_start(RuntimeError::TimedOut { action: "start the container" });
    house.runtime.obstruct(|_| Some(RuntimeError::TimedOut { action: "ask the engine" }));
    house.write("one").await;
    let not_started = |times| vec![Some("not_started".to_owned()); times];
    waiting("the first run is over", async || run_endings(&*house.store).await == not_started(1)).await;
    let mailbox = house.mailbox("main");
    mailbox.input().unwrap().write("0.json", b"an earlier run's").unwrap();
    waiting("the second run is over", async || run_endings(&*house.store).await == not_started(2)).await;
    assert_eq!(house.runtime.specs().len(), 1, "the second was not started");
    assert_eq!(mailbox.oldest_run().unwrap(), Some(RunNumber(2)));
    assert!(mailbox.input().unwrap().has("0.json").unwrap());
}

#[tokio::test(start_paused = true)]
async fn f24_a_run_of_another_runtime_is_fenced_when_it_is_finished() {
    let empty = House::empty(slow).await;
    empty.store.add_group(&super::support::main_group()).await.unwrap();
    let (message, wakes) = (empty.message("test:main", "one"), nanoclaw_core::message::Wakes::Yes);
    empty.store.accept(&message, wakes, Timestamp::now()).await.unwrap();
    // The last host had Docker, and nobody asks that now whether the container lives.
    let run = run_of("main", 1);
    let opened = NewRun {
        id: run.clone(),
        kind: RunKind::Chat,
        runtime: RuntimeKind::Docker,
        handed: None,
        at: Timestamp::now(),
    };
    empty.store.open_run(&opened).await.unwrap();
    let handed = Handed { first: Seq(1), last: Seq(1) };
    empty.store.hand_over(&run, handed, Timestamp::now()).await.unwrap();
    let mailbox = empty.mailbox("main");
    mailbox.create().unwrap();
    let said = block(Some("heard one")).answered(Some(Seq(1))).0;
    let entry = JournalEntry { run: RunNumber(1), number: BlockNumber(1), block: said };
    mailbox.output().unwrap().write(&entry.file_name(), &serde_json::to_vec(&entry).unwrap()).unwrap();
    let house = empty.start().await;
    assert_eq!(mailbox.oldest_run().unwrap(), Some(RunNumber(2)));
    house.shown(&["heard one"]).await;
    assert_eq!(run_endings(&*house.store).await, [Some("host_ended".to_owned())]);
    assert_eq!(house.runtime.specs().len(), 0, "no later run was there to do it");
}

#[tokio::test(start_paused = true)]
async fn an_adopted_run_that_crashes_is_told_of_with_its_last_words() {
    let house = House::new(async |agent: Agent| {
        agent.output.stderr("reading the prompt\n").await;
        tokio::time::sleep(LONG).await;
        agent.output.stderr("still thinking\n").await;
        tokio::time::sleep(LONG).await;
        agent.output.stderr("thread 'main' panicked: no idea\n").await;
        Exit::Code(101)
    })
    .await;
    house.write("one").await;
    house.state("busy").await;
    house.let_go().await;
    // Said to nobody.
    tokio::time::sleep(LONG).await;
    let house = house.restart().await;
    let mut notices = house.orchestrator.notices();
    let reason = loop {
        if let Notice::RunFailed { reason, .. } = notices.recv().await.unwrap() {
            break reason;
        }
    };
    assert!(reason.ends_with("code 101: thread 'main' panicked: no idea"), "{reason}");
    let log = house.log(&run_of("main", 1));
    let lines: Vec<&str> = log.lines().collect();
    let [first, host, last] = lines[..] else { panic!("{log}") };
    assert_eq!((first, last), ("stderr: reading the prompt", "stderr: thread 'main' panicked: no idea"));
    assert!(host.starts_with("host: ") && host.contains("is missing"), "what is not here is named: {host}");
}
