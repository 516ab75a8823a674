//! Ten thousand histories full of calamity, each from its seed; see `nanoclaw_core::testing::simulation`.
//!
//! `NANOCLAW_SIM_SEED=123 cargo test -p nanoclaw-core --test simulation` replays one seed and prints its events.
//! `NANOCLAW_SIM_SEEDS=20000..30000` plays others than the usual ones. With either, nothing else is done.

#![expect(clippy::print_stdout, reason = "a failing seed is shown with its events")]

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use nanoclaw_core::testing::simulation::{Facts, Trace, play};

/// A thousand seeds a test, so that the tests' runner shares them out among processors.
mod ten_thousand_calamities_lose_nothing_and_say_nothing_twice {
    macro_rules! a_thousand_from {
        ($($name:ident: $first:literal;)*) => {
            $(#[test]
            fn $name() {
                if super::variable("NANOCLAW_SIM_SEED").or_else(|| super::variable("NANOCLAW_SIM_SEEDS")).is_none() {
                    super::play_all($first..$first + 1000, 1);
                }
            })*
        };
    }

    a_thousand_from! {
        seeds_from_0: 0;
        seeds_from_1000: 1000;
        seeds_from_2000: 2000;
        seeds_from_3000: 3000;
        seeds_from_4000: 4000;
        seeds_from_5000: 5000;
        seeds_from_6000: 6000;
        seeds_from_7000: 7000;
        seeds_from_8000: 8000;
        seeds_from_9000: 9000;
    }
}

#[test]
fn the_seeds_that_are_asked_for() {
    if let Some(seed) = variable("NANOCLAW_SIM_SEED") {
        let played = play(seed.parse().expect("NANOCLAW_SIM_SEED is a number"), Trace::Kept);
        println!("{}", played.trace.join("\n"));
        println!("seed {seed}: {:#?}", played.outcome);
        assert!(played.outcome.is_ok(), "seed {seed}: {}", played.outcome.unwrap_err());
    } else if let Some(range) = variable("NANOCLAW_SIM_SEEDS") {
        let (first, end) = range.split_once("..").expect("NANOCLAW_SIM_SEEDS is a range such as 20000..30000");
        let first = first.parse().expect("the first seed is a number");
        let end = end.parse().expect("the end of the seeds is a number");
        play_all(first..end, thread::available_parallelism().map_or(2, |threads| threads.get()));
    }
}

#[test]
fn the_same_seed_is_the_same_history_event_for_event() {
    for seed in 0..100 {
        let (first, second) = (play(seed, Trace::Kept), play(seed, Trace::Kept));
        for (place, (one, other)) in first.trace.iter().zip(&second.trace).enumerate() {
            assert_eq!(one, other, "seed {seed}, event {place}");
        }
        assert_eq!(first, second, "seed {seed}");
        assert!(first.trace.len() > 50, "seed {seed} has {} events", first.trace.len());
        assert_eq!(first.outcome, play(seed, Trace::Dropped).outcome, "seed {seed} hangs on being watched");
    }
}

/// Plays the seeds on this many threads and fails if any breaks a promise, with the events of the first.
fn play_all(seeds: Range<u64>, threads: usize) {
    let count = seeds.end - seeds.start;
    let next = AtomicU64::new(seeds.start);
    let (mut facts, mut broken) = (Facts::default(), Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| play_some(&next, seeds.end))).collect();
        for worker in workers {
            let (played, failed) = worker.join().expect("a seed that fails does not panic");
            facts += played;
            broken.extend(failed);
        }
    });
    println!("{count} seeds: {facts:#?}");
    broken.sort_unstable();
    for (seed, what) in &broken {
        println!("seed {seed}: {what}");
    }
    if let Some((seed, what)) = broken.first() {
        println!("{}", play(*seed, Trace::Kept).trace.join("\n"));
        panic!(
            "{} of {count} seeds broke a promise; the first is {seed}: {what}\n\
             replay it: NANOCLAW_SIM_SEED={seed} cargo test -p nanoclaw-core --test simulation -- --nocapture",
            broken.len()
        );
    }
    // Were nothing going wrong, nothing would be proved.
    if count >= 1000 {
        assert!(facts.hosts > 2 * count && facts.answered > count && facts.given_up > count / 100, "{facts:?}");
        assert!(facts.fired > count && facts.done > count / 2, "{facts:?}");
    }
}

/// Takes one seed after another until there is none.
fn play_some(next: &AtomicU64, end: u64) -> (Facts, Vec<(u64, String)>) {
    let (mut facts, mut broken) = (Facts::default(), Vec::new());
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return (facts, broken);
        }
        match play(seed, Trace::Dropped).outcome {
            Ok(played) => facts += played,
            Err(what) => broken.push((seed, what)),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
