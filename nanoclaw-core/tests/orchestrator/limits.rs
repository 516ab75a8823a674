//! How long an agent may take, how much it is handed, and what that costs others.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use nanoclaw_core::{
    message::Wakes, orchestrator::Notice, protocol::alive::BEAT_FILE, runtime::Exit, store::Store, time::Timestamp,
};
use tokio::time::{Instant, sleep};

use crate::support::{Agent, House, block, folder, main_group, silent, waiting};

const MINUTE: Duration = Duration::from_secs(60);
/// How often our agent gives a sign of life.
const BEAT: Duration = Duration::from_secs(5);
/// How long the host waits for the next one.
const BEAT_LIMIT: Duration = Duration::from_secs(30);

/// Works for `time` and gives signs of life meanwhile; `false` when it was stopped.
async fn work(agent: &Agent, time: Duration) -> bool {
    let end = Instant::now() + time;
    while Instant::now() < end {
        agent.beat();
        tokio::select! {
            () = agent.stop.cancelled() => return false,
            () = sleep(BEAT) => {}
        }
    }
    true
}

/// Waits for the next failed run and returns why it failed.
async fn failure(notices: &mut tokio::sync::broadcast::Receiver<Notice>) -> String {
    loop {
        if let Notice::RunFailed { reason, .. } = notices.recv().await.unwrap() {
            return reason;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn quiet_work_of_forty_minutes_is_not_cut_off_while_the_agent_gives_signs_of_life() {
    let house = House::new(|mut agent: Agent| async move {
        if !work(&agent, 40 * MINUTE).await {
            return Exit::Code(143);
        }
        agent.answer(|_| Some("done".to_owned())).await;
        agent.until_closed().await
    })
    .await;
    house.write("think hard").await;
    house.shown(&["done"]).await;
    assert_eq!(house.runtime.specs().len(), 1, "one run did it");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_gives_no_signs_is_stopped_when_it_was_silent_for_too_long() {
    let house = House::new(|mut agent: Agent| async move {
        tokio::select! {
            () = agent.stop.cancelled() => return Exit::Code(143),
            () = sleep(180 * MINUTE) => {}
        }
        agent.answer(|_| Some("done".to_owned())).await;
        agent.until_closed().await
    })
    .await;
    let mut notices = house.orchestrator.notices();
    let began = Instant::now();
    house.write("think hard").await;
    let reason = failure(&mut notices).await;
    assert!(reason.contains("made no progress"), "{reason}");
    assert!((30 * MINUTE..31 * MINUTE).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_answer_has_a_limit_whatever_signs_of_life_are_given() {
    let house = House::new(|agent: Agent| async move {
        work(&agent, 10_000 * MINUTE).await;
        Exit::Code(143)
    })
    .await;
    let mut notices = house.orchestrator.notices();
    let began = Instant::now();
    house.write("count to infinity").await;
    failure(&mut notices).await;
    assert!((240 * MINUTE..241 * MINUTE).contains(&began.elapsed()), "{:?}", began.elapsed());
}

/// The first run's agent hangs after a minute, whether at work or at rest; the later ones answer.
async fn hangs_once(mut agent: Agent, runs: Arc<AtomicU32>, last: Arc<Mutex<Option<Instant>>>, at_rest: bool) -> Exit {
    if runs.fetch_add(1, Ordering::SeqCst) > 0 {
        return silent_but(agent).await;
    }
    if at_rest {
        agent.answer(|_| Some("first".to_owned())).await;
    }
    work(&agent, MINUTE).await;
    *last.lock().unwrap() = Some(Instant::now());
    agent.stop.cancelled().await;
    Exit::Signal(9)
}

async fn silent_but(mut agent: Agent) -> Exit {
    agent.answer(|text| Some(format!("heard {text}"))).await;
    agent.until_closed().await
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stops_giving_signs_of_life_is_noticed_in_half_a_minute_and_its_messages_go_to_the_next_run() {
    let (runs, last) = (Arc::<AtomicU32>::default(), Arc::<Mutex<Option<Instant>>>::default());
    let house = House::new({
        let last = last.clone();
        move |agent| hangs_once(agent, runs.clone(), last.clone(), false)
    })
    .await;
    let mut notices = house.orchestrator.notices();
    house.write("hello").await;
    let reason = failure(&mut notices).await;
    let noticed = last.lock().unwrap().unwrap().elapsed();
    assert!(reason.contains("has given no sign of life for 30s"), "{reason}");
    assert!((BEAT_LIMIT - BEAT..BEAT_LIMIT + BEAT).contains(&noticed), "{noticed:?}");
    house.shown(&["heard hello"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_hangs_at_rest_is_noticed_as_well_and_costs_no_try() {
    let (runs, last) = (Arc::<AtomicU32>::default(), Arc::<Mutex<Option<Instant>>>::default());
    let house = House::new(move |agent| hangs_once(agent, runs.clone(), last.clone(), true)).await;
    house.write("hello").await;
    house.shown(&["first"]).await;
    house.state("resting").await;
    house.idle().await;
    let status = house.orchestrator.status().await;
    assert_eq!(status[0].failures, 0);
    house.write("again").await;
    house.shown(&["first", "heard again"]).await;
}

#[tokio::test(start_paused = true)]
async fn f39_a_sign_of_life_that_an_earlier_run_left_condemns_nobody() {
    let empty = House::empty(|mut agent: Agent| async move {
        // Two minutes without a sign, as v1's agents are.
        sleep(2 * MINUTE).await;
        agent.answer(|_| Some("done".to_owned())).await;
        agent.until_closed().await
    })
    .await;
    empty.store.add_group(&main_group()).await.unwrap();
    let mailbox = empty.mailbox("main");
    mailbox.create().unwrap();
    mailbox.alive().unwrap().write(BEAT_FILE, b"of long ago").unwrap();
    let house = empty.start().await;
    house.write("hello").await;
    house.shown(&["done"]).await;
    assert_eq!(house.runtime.specs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn f48_f49_whatever_lies_among_the_signs_of_life_costs_its_own_run_alone() {
    let runs = Arc::<AtomicU32>::default();
    let house = House::new(move |agent: Agent| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        async move {
            let alive = agent.mailbox.alive().unwrap();
            let beat = alive.path().join(BEAT_FILE);
            for number in 0..2000 {
                std::fs::write(alive.path().join(format!("flood{run}-{number}")), "").unwrap();
            }
            match run {
                // Signs that never change: the agent is taken to have died.
                0 => std::fs::create_dir(&beat).and_then(|()| std::fs::write(beat.join("x"), "x")).unwrap(),
                1 => {
                    std::fs::remove_dir_all(&beat).unwrap();
                    std::os::unix::fs::symlink("/dev/zero", &beat).unwrap();
                }
                _ => {
                    sleep(2 * MINUTE).await;
                    return silent_but(agent).await;
                }
            }
            agent.stop.cancelled().await;
            Exit::Signal(9)
        }
    })
    .await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    assert_eq!(house.runtime.specs().len(), 3);
}

// --- how much an agent is handed ----------------------------------------------------------------------------------------

const PROMPT_BYTES: usize = 256 * 1024;

#[tokio::test(start_paused = true)]
async fn f7_f25_a_prompt_is_bounded_in_bytes_and_what_does_not_fit_comes_next() {
    let largest = Arc::<AtomicUsize>::default();
    let house = House::empty({
        let largest = largest.clone();
        move |mut agent: Agent| {
            let largest = largest.clone();
            async move {
                loop {
                    largest.fetch_max(agent.prompt_bytes(), Ordering::SeqCst);
                    let names: Vec<String> = agent.texts().iter().map(|text| text[..3].to_owned()).collect();
                    agent.answer(|_| Some(names.join(" "))).await;
                    if !agent.follow_up().await {
                        return Exit::Code(0);
                    }
                }
            }
        }
    })
    .await;
    house.store.add_group(&main_group()).await.unwrap();
    let texts: Vec<String> = (0..20).map(|number| format!("m{number:02}{}", "x".repeat(50_000))).collect();
    for text in &texts {
        house.store.accept(&house.message("test:main", text), Wakes::Yes, Timestamp::now()).await.unwrap();
    }
    let house = house.start().await;
    let names: Vec<&str> = texts.iter().map(|text| &text[..3]).collect();
    let expected: Vec<String> = names.chunks(5).map(|chunk| chunk.join(" ")).collect();
    house.shown(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(largest.load(Ordering::SeqCst) <= PROMPT_BYTES, "{largest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_larger_than_a_prompt_comes_alone_and_says_what_is_left_out() {
    let house = House::new(|mut agent: Agent| async move {
        assert!(agent.prompt_bytes() <= PROMPT_BYTES);
        let said = match agent.prompt().split_once("xxx\n[") {
            Some((_, note)) => note.split_once(']').unwrap().0.to_owned(),
            None => agent.texts().join(" "),
        };
        agent.answer(|_| Some(said)).await;
        Exit::Code(0)
    })
    .await;
    house.write(&"x".repeat(900_000)).await;
    waiting("an answer", async || house.channel.texts().len() == 1).await;
    let said = &house.channel.texts()[0];
    assert!(said.ends_with("more bytes are left out here; the host keeps the whole message"), "{said}");
    house.write("small").await;
    house.shown_last("small").await;
}

#[tokio::test(start_paused = true)]
async fn f25_context_that_does_not_fit_is_counted_with_its_times_and_the_newest_is_shown() {
    let house = House::empty(|mut agent: Agent| async move {
        assert!(agent.prompt_bytes() <= PROMPT_BYTES);
        let head = agent.prompt().lines().next().unwrap().to_owned();
        let names: Vec<String> = agent.texts().iter().map(|text| text[..4].to_owned()).collect();
        agent.answer(|_| Some(format!("{head}\n{}", names.join(" ")))).await;
        Exit::Code(0)
    })
    .await;
    house.store.add_group(&main_group()).await.unwrap();
    for number in 0..400 {
        let message = house.message("test:main", &format!("c{number:03}{}", "x".repeat(20_000)));
        house.store.accept(&message, Wakes::No, Timestamp::now()).await.unwrap();
    }
    house.store.accept(&house.message("test:main", "wake"), Wakes::Yes, Timestamp::now()).await.unwrap();
    let house = house.start().await;
    waiting("an answer", async || house.channel.texts().len() == 1).await;
    let said = house.channel.texts()[0].clone();
    let (head, names) = said.split_once('\n').unwrap();
    assert_eq!(names, "c387 c388 c389 c390 c391 c392 c393 c394 c395 c396 c397 c398 c399 wake");
    assert!(head.contains("skipped_messages=\"387\" skipped_from=\"Mar 4, 2026, "), "{head}");
}

// --- what one group costs others -----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_flood_stays_in_the_inbox_and_not_in_the_agents_mailbox() {
    let most = Arc::<AtomicUsize>::default();
    let heard = Arc::<AtomicUsize>::default();
    let house = House::new({
        let (most, heard) = (most.clone(), heard.clone());
        move |mut agent: Agent| {
            let (most, heard) = (most.clone(), heard.clone());
            async move {
                loop {
                    sleep(Duration::from_secs(1)).await;
                    let lying = std::fs::read_dir(agent.mailbox.input().unwrap().path()).unwrap().count();
                    most.fetch_max(lying, Ordering::SeqCst);
                    heard.fetch_add(agent.texts().len(), Ordering::SeqCst);
                    agent.answer(|_| None).await;
                    if !agent.follow_up().await {
                        return Exit::Code(0);
                    }
                }
            }
        }
    })
    .await;
    for number in 0..1000 {
        house.write(&format!("m{number}")).await;
    }
    waiting("all is heard", async || heard.load(Ordering::SeqCst) == 1000).await;
    assert!(most.load(Ordering::SeqCst) <= 10, "{most:?}");
}

#[tokio::test(start_paused = true)]
async fn f15_a_group_that_floods_delays_only_itself() {
    const TURN: Duration = Duration::from_secs(10);
    let house = House::with_slots(1, |mut agent: Agent| async move {
        let group = agent.input.group_folder.clone();
        loop {
            sleep(TURN).await;
            let said = (group.as_str() != "main").then(|| group.to_string());
            agent.answer(|_| said).await;
            if !agent.follow_up().await {
                return Exit::Code(0);
            }
        }
    })
    .await;
    house.add_group("a", "test:a").await;
    house.add_group("b", "test:b").await;
    for number in 0..1000 {
        house.write(&format!("m{number}")).await;
    }
    let began = Instant::now();
    house.write_to("test:a", "@Andy hello").await;
    house.write_to("test:b", "@Andy hello").await;
    house.shown(&["a", "b"]).await;
    // The flood's agent had a prompt in hand and as much in its mailbox; then one turn each, and a turn to spare.
    assert!(began.elapsed() <= 5 * TURN, "{:?}", began.elapsed());
    assert!(house.store.unanswered(&folder("main")).await.unwrap() > 900, "the flood waits");
}

#[tokio::test(start_paused = true)]
async fn f2_f15_two_hundred_groups_on_five_slots_are_all_served_in_order() {
    let served = Arc::<Mutex<Vec<String>>>::default();
    let (live, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let house = House::with_slots(5, {
        let (served, live, most) = (served.clone(), live.clone(), most.clone());
        move |agent: Agent| {
            let (served, live, most) = (served.clone(), live.clone(), most.clone());
            async move {
                most.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                served.lock().unwrap().push(agent.input.group_folder.to_string());
                sleep(Duration::from_secs(3)).await;
                let exit = silent(agent).await;
                live.fetch_sub(1, Ordering::SeqCst);
                exit
            }
        }
    })
    .await;
    let names: Vec<String> = (0..200).map(|number| format!("g{:03}", number * 77 % 200)).collect();
    for name in &names {
        house.add_group(name, &format!("test:{name}")).await;
    }
    for name in &names {
        house.write_to(&format!("test:{name}"), "@Andy hello").await;
    }
    waiting("all are served", async || served.lock().unwrap().len() == 200).await;
    let served = served.lock().unwrap().clone();
    assert_eq!(served.iter().collect::<BTreeSet<_>>().len(), 200);
    for (place, name) in names.iter().enumerate() {
        let at = served.iter().position(|other| other == name).unwrap();
        // Those that begin together begin in any order.
        assert!(at.abs_diff(place) < 5, "{name} waited from place {place} and was served at {at}");
    }
    assert!(most.load(Ordering::SeqCst) <= 5);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_asks_for_too_much_is_refused_and_told_so_and_may_ask_again_later() {
    let house = House::new(|mut agent: Agent| async move {
        let ask = |number: u32| format!(r#"{{"type":"message","chatJid":"test:main","text":"request {number}"}}"#);
        let messages = agent.mailbox.messages().unwrap();
        for number in 0..400 {
            messages.write_fleeting(&format!("{number:04}.json"), ask(number).as_bytes()).unwrap();
        }
        let mut refused = 0;
        for number in 0..400 {
            let answer = agent.answered(format!("{number:04}.json")).await;
            refused += u32::from(answer.contains("asks for too much"));
        }
        sleep(MINUTE).await;
        let later = agent.request("later.json".to_owned(), ask(400)).await;
        agent.answer(|_| Some(format!("refused {refused}, later {}", later.contains("done")))).await;
        agent.until_closed().await
    })
    .await;
    house.write("ask").await;
    house.shown_last_containing("later true").await;
    let sent = house.channel.texts().iter().filter(|text| text.starts_with("request ")).count();
    assert!((120..150).contains(&sent), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_says_more_than_anybody_can_read_is_heard_more_slowly_and_loses_nothing() {
    let house = House::new(|mut agent: Agent| async move {
        for number in 0..1_500 {
            agent.write(&block(Some(&format!("word {number}")))).await;
        }
        agent.answer(|_| Some("done".to_owned())).await;
        agent.until_closed().await
    })
    .await;
    let began = Instant::now();
    house.write("talk").await;
    waiting("all is said", async || house.channel.texts().last().is_some_and(|text| text == "done")).await;
    assert_eq!(house.channel.texts().len(), 1_501);
    assert!(began.elapsed() > Duration::from_secs(45), "{:?}", began.elapsed());
}
