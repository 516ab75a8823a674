//! Agents that do not go on: noticed within half a minute, and what they had goes to the next run.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    place::{On, Place, chat, on_each_runtime},
    process::{Running, until},
};

on_each_runtime! {
    an_agent_that_is_frozen_is_replaced,
}

/// The agents at work; their init is another process.
fn agents(place: &Place) -> Vec<Pid> {
    let agents = place.processes_with_ids().into_iter().filter(|(_, line)| {
        let line = line.trim();
        line.ends_with("agent-runner run") && !line.contains("init")
    });
    agents.map(|(pid, _)| pid).collect()
}

fn an_agent_that_is_frozen_is_replaced(place: &Place) {
    let service = place.service();
    assert_eq!(place.chat(&["hello"]).succeeded(), "heard hello\n");
    let agent = until("one agent", || <[Pid; 1]>::try_from(agents(place)).ok())[0];
    // As a deadlock or a machine that starves it would: the container lives on, its init passes everything on.
    kill_process(agent, Signal::STOP).unwrap();
    let frozen = Instant::now();
    let ending = until("its run has ended", || {
        place.rows("SELECT detail FROM runs WHERE ended_at_ms IS NOT NULL").into_iter().next()
    });
    assert!(ending.contains("has given no sign of life for 30s"), "{ending}");
    assert!(frozen.elapsed() > Duration::from_secs(20), "an agent at rest is patient too: {:?}", frozen.elapsed());
    assert_eq!(place.chat(&["and now?"]).succeeded(), "heard and now?\n");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

#[test]
fn an_agent_whose_loop_hangs_at_work_is_noticed() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let service = place.service();
    let talk = Running::start(&mut place.command(chat(&["!hang"])));
    let ending = until("its run has ended", || {
        place.rows("SELECT detail FROM runs WHERE ended_at_ms IS NOT NULL").into_iter().next()
    });
    assert!(ending.contains("has given no sign of life for 30s"), "{ending}");
    drop(talk);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}
