//! All channels of one host at once, in short: what `cargo bench -p nanoclaw-host -- crowd` does with 250 groups.

#![cfg(all(feature = "discord", feature = "slack", feature = "telegram"))]
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test"
)]

#[path = "../benches/latency/crowd/mod.rs"]
mod crowd;
mod lines;
#[path = "../benches/latency/program.rs"]
mod program;
#[path = "e2e/programs.rs"]
mod programs;
mod support;
mod telegram_state;
mod whatsapp_account;

use std::path::Path;

use crowd::{Outcome, Plan, ledger::Ledger};

#[test]
fn nothing_is_lost_doubled_or_displaced_on_six_channels_at_once_while_their_services_fail() {
    let wanted = support::wanted("sandbox");
    if wanted.or_skip("sandbox", Ok::<(), String>(())).is_none() {
        return;
    }
    programs::runner();
    programs::whatsapp();
    let plan = Plan { groups: 6, messages: 8, cap: 10, at_once: 20, breaks: 2, seed: 1 };
    let Some(outcome) = wanted.or_skip("sandbox", crowd::run(Path::new(programs::NANOCLAW), &plan)) else { return };
    println!("{outcome:#?}");
    assert!(outcome.is_clean(), "see above");
    assert_eq!(outcome.said, 6 * 6 * 8);
}

#[test]
fn what_is_lost_doubled_displaced_or_strange_is_counted() {
    let mut ledger = Ledger::new(&["net", "slack"], 2);
    for _ in 0..4 {
        ledger.next_text(1, 0);
    }
    ledger.shown(1, 0, "heard slack-0-0\nheard slack-0-2");
    for line in ["heard slack-0-1", "heard slack-0-2", "heard slack-0-9", "heard net-0-0", "I gave up"] {
        ledger.shown(1, 0, line);
    }
    let mut outcome = Outcome::default();
    ledger.judge(&mut outcome);
    assert_eq!((outcome.said, outcome.lost, outcome.doubled, outcome.displaced), (4, 1, 1, 1));
    assert_eq!(outcome.strange, ["slack 0: heard slack-0-9", "slack 0: heard net-0-0", "slack 0: I gave up"]);
    assert_eq!(ledger.wrong(), ["displaced: heard slack-0-1", "lost: slack-0-3"]);
}
