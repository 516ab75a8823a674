//! Faults that the host lives through: dead containers, a dead engine, a full disk, a service that does not read, a frozen
//! host.

use std::{
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use rustix::process::Signal;

use super::{
    Row,
    engine::Engine,
    house::{Host, descendants},
    round::Round,
};

/// Kills containers at random: the sandbox's by its processes, Docker's by its daemon.
pub(super) async fn containers(round: &mut Round, engine: Option<&Engine>, row: &mut Row) -> anyhow::Result<()> {
    let mut host = round.start(row).await?;
    while !round.service.all_said() {
        round.service.say(round.plan.said_at_a_time());
        let pause = round.chance.up_to_ms(400);
        tokio::time::sleep(pause).await;
        let killed = match engine {
            Some(engine) => match round.chance.one_of(&engine.containers().await?) {
                Some(container) => engine.kill_container(container).await,
                None => false,
            },
            None => kill_process_of(&host, round),
        };
        row.kills += u64::from(killed);
        alive(&mut host, round)?;
    }
    host.end().await
}

fn kill_process_of(host: &Host, round: &mut Round) -> bool {
    let processes = host.pid().map(descendants).unwrap_or_default();
    let Some(process) = round.chance.one_of(&processes) else { return false };
    rustix::process::kill_process(*process, Signal::KILL).is_ok()
}

/// Stops the Docker daemon, or kills it, and starts it again after a while.
pub(super) async fn engine(round: &mut Round, engine: &mut Engine, row: &mut Row) -> anyhow::Result<()> {
    let mut host = round.start(row).await?;
    while !round.service.all_said() {
        round.service.say(round.plan.said_at_a_time());
        let pause = round.chance.up_to_ms(2000);
        tokio::time::sleep(pause).await;
        if round.chance.below(2) == 0 {
            engine.down().await?
        } else {
            engine.kill().await?
        }
        row.kills += 1;
        let pause = round.chance.up_to_ms(2000);
        tokio::time::sleep(pause).await;
        engine.up().await?;
        alive(&mut host, round)?;
    }
    host.end().await
}

/// Fills the disk of the home and empties it again; every other time the host dies while it is full.
pub(super) async fn disk(round: &mut Round, row: &mut Row) -> anyhow::Result<()> {
    let mut host = round.start(row).await?;
    let filler = round.home().join("filler");
    let mut with_kill = false;
    while !round.service.all_said() {
        round.service.say(round.plan.said_at_a_time());
        let pause = round.chance.up_to_ms(800);
        tokio::time::sleep(pause).await;
        fill(&filler)?;
        row.kills += 1;
        let pause = round.chance.up_to_ms(1500);
        tokio::time::sleep(pause).await;
        if with_kill {
            host.kill().await?;
            round.died = Some(Instant::now());
            std::fs::remove_file(&filler)?;
            host = round.start(row).await?;
        } else {
            std::fs::remove_file(&filler)?;
            alive(&mut host, round)?;
        }
        with_kill = !with_kill;
    }
    host.end().await
}

/// Writes until nothing more fits.
fn fill(path: &Path) -> anyhow::Result<()> {
    let mut file = std::fs::File::create(path)?;
    for size in [1 << 20, 4096, 1] {
        let bytes = vec![b'x'; size];
        while file.write_all(&bytes).is_ok() {}
    }
    Ok(())
}

/// The chat service reads nothing for a while.
pub(super) async fn channel(round: &mut Round, row: &mut Row) -> anyhow::Result<()> {
    let mut host = round.start(row).await?;
    while !round.service.all_said() {
        round.service.say(round.plan.said_at_a_time());
        let pause = round.chance.up_to_ms(300);
        tokio::time::sleep(pause).await;
        round.service.read(false);
        row.kills += 1;
        // Once longer than the host waits for a bridge.
        let pause = if row.kills == 1 { Duration::from_secs(35) } else { round.chance.up_to_ms(1500) };
        tokio::time::sleep(pause).await;
        round.service.read(true);
        alive(&mut host, round)?;
    }
    host.end().await
}

/// The host stands still for a while, and everything around it goes on.
pub(super) async fn freeze(round: &mut Round, row: &mut Row) -> anyhow::Result<()> {
    let mut host = round.start(row).await?;
    while !round.service.all_said() {
        round.service.say(round.plan.said_at_a_time());
        let pause = round.chance.up_to_ms(300);
        tokio::time::sleep(pause).await;
        host.signal(Signal::STOP);
        row.kills += 1;
        let pause = round.chance.up_to_ms(1000);
        tokio::time::sleep(pause).await;
        host.signal(Signal::CONT);
        alive(&mut host, round)?;
    }
    host.end().await
}

fn alive(host: &mut Host, round: &Round) -> anyhow::Result<()> {
    ensure!(!host.has_ended(), "the host ended by itself; see {}", round.log());
    Ok(())
}
