//! One host after another over the same store, mailboxes and living containers, until everything is settled.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::{
    chats::{Line, Lines, SimulatedChannel, people},
    operators::operate,
    plan::{ClockJump, Restart},
    ports::{SimulatedClock, SimulatedLauncher, SimulatedRuntime, SimulatedStore, SimulatedTasks},
    spool::{Fresh, sweep},
    tasks::{schedule, still_to_do},
    world::{Host, STUCK_BEYOND, World},
};
use crate::{
    orchestrator::{
        AtShutdown, DeliverySettings, DispatchSettings, Orchestrator, Parts, RunSettings, Running, Scheduling,
        Settings, StandbySettings,
    },
    runtime::InstallId,
    store::Store,
    testing::{FakeRuntime, MemoryStore},
    time::{Timestamp, test_clock},
};

/// How long everything may take to settle once nothing goes wrong any more.
const SETTLES_WITHIN: Duration = Duration::from_secs(30 * 60);
/// How long containers may take to go once nothing is left to do, beyond the time they rest and stand by.
const GONE_WITHIN: Duration = Duration::from_secs(120);
/// How long the last host is watched for saying what was said before.
const WATCHED: Duration = Duration::from_secs(60);
const SHUT_DOWN_WITHIN: Duration = Duration::from_secs(60);
/// How long what a host leaves behind may take to end: what a channel is handing in just then.
const WORKERS_END_WITHIN: Duration = Duration::from_secs(5);

/// What outlives all hosts.
pub(super) struct Lasting {
    pub(super) world: Arc<World>,
    pub(super) store: Arc<MemoryStore>,
    pub(super) runtime: Arc<FakeRuntime>,
    pub(super) install: InstallId,
}

/// How a host came to its end.
enum Ended {
    Crashed,
    /// It could not start, or was restarted in order.
    InOrder,
    Settled,
}

/// What a host is there for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Serving until everything is settled.
    Serve,
    /// Being there after that.
    Watch,
}

/// Plays all hosts; how many there were. The error says what was broken.
pub(super) async fn play(lasting: &Lasting) -> Result<u32, String> {
    let world = &lasting.world;
    let lines = Arc::new(Lines::default());
    let mut others = JoinSet::new();
    for index in 0..world.plan.groups.len() {
        others.spawn(people(world.clone(), index, lines.clone()));
    }
    for (at, operation) in &world.plan.operations {
        others.spawn(operate(world.clone(), lasting.store.clone(), lines.clone(), *at, *operation));
    }
    for place in 0..world.plan.tasks.len() {
        others.spawn(schedule(world.clone(), lasting.store.clone(), lines.clone(), place));
    }
    others.spawn(weather(world.clone(), lasting.runtime.clone()));
    let mut restarts = VecDeque::from(world.plan.restarts.clone());
    restarts.make_contiguous().sort_by_key(|(at, _)| *at);
    let mut number = 0;
    let mut purpose = Purpose::Serve;
    loop {
        number += 1;
        let host = Arc::new(Host::new(world.clone(), number));
        match host_life(lasting, host, &lines, &mut others, &mut restarts, purpose).await? {
            Ended::Crashed | Ended::InOrder => world.pause(0, 15_000).await,
            Ended::Settled if purpose == Purpose::Watch => return Ok(number),
            Ended::Settled => {
                purpose = Purpose::Watch;
                tokio::time::sleep((world.plan.stormy + STUCK_BEYOND).saturating_sub(world.elapsed())).await;
            }
        }
    }
}

async fn host_life(
    lasting: &Lasting,
    host: Arc<Host>,
    lines: &Lines,
    others: &mut JoinSet<()>,
    restarts: &mut VecDeque<(Duration, Restart)>,
    purpose: Purpose,
) -> Result<Ended, String> {
    let (world, number) = (&lasting.world, host.number);
    world.note(|| format!("h{number} starts"));
    let store = Arc::new(SimulatedStore::new(host.clone(), lasting.store.clone()));
    let runtime = Arc::new(SimulatedRuntime::new(host.clone(), lasting.runtime.clone()));
    let fresh = Fresh::default();
    let launcher = Arc::new(SimulatedLauncher {
        host: host.clone(),
        install: lasting.install.clone(),
        runtime: runtime.clone(),
        fresh: fresh.clone(),
    });
    let held = Arc::downgrade(&store);
    let scheduling = (!world.plan.tasks.is_empty()).then(|| Scheduling {
        tasks: Arc::new(SimulatedTasks { host: host.clone(), inner: lasting.store.clone() }),
        clock: Arc::new(SimulatedClock(world.clone())),
    });
    let parts = Parts { store, runtime, launcher, scheduling, senders: None };
    let started = tokio::select! {
        biased;
        () = host.death() => None,
        started = Orchestrator::start(parts, settings(world)) => Some(started),
    };
    let (orchestrator, running) = match started {
        Some(Ok(started)) => started,
        Some(Err(error)) => {
            world.note(|| format!("h{number} cannot start: {error}"));
            workers_end(&held, number).await?;
            return Ok(Ended::InOrder);
        }
        None => {
            workers_end(&held, number).await?;
            return Ok(Ended::Crashed);
        }
    };
    let channels = SimulatedChannel::all(&host, &lasting.store);
    let kill = running.abort_handles();
    let mut running = Some(running);
    let next_restart = restarts.front().map(|(at, _)| at.saturating_sub(world.elapsed()));
    let served = async {
        let swept = held.upgrade().expect("the host has its store");
        world.pause(0, 2000).await;
        for channel in &channels {
            orchestrator.add_channel(channel.clone());
        }
        let (inbox, orchestrator) = (orchestrator.inbox(), orchestrator.clone());
        lines.set(Some(Line { inbox, orchestrator: orchestrator.clone(), host: host.clone() }));
        tokio::select! {
            biased;
            () = keep_connected(&orchestrator, &channels) => Ok(Ended::InOrder),
            () = sweep(world, swept, &fresh) => Ok(Ended::InOrder),
            settled = settled(lasting, others, purpose) => settled.map(|()| Ended::Settled),
        }
    };
    let mut ended = tokio::select! {
        biased;
        () = host.death() => Ended::Crashed,
        () = tokio::time::sleep(next_restart.unwrap_or_default()), if next_restart.is_some() => {
            match restarts.pop_front() {
                Some((_, Restart::Crash)) => {
                    host.die(|| "at some time".to_owned());
                    Ended::Crashed
                }
                _ => Ended::InOrder,
            }
        }
        ended = served => ended?,
    };
    lines.set(None);
    if !matches!(ended, Ended::Crashed) {
        // Every other host leaves its containers to the next one.
        let containers = match ended {
            Ended::InOrder if number.is_multiple_of(2) => AtShutdown::Leave,
            _ => AtShutdown::Stop,
        };
        world.note(|| format!("h{number} shuts down, {containers:?}"));
        tokio::select! {
            biased;
            () = host.death() => ended = Ended::Crashed,
            () = shut_down(running.take(), containers) => {}
        }
    }
    if matches!(ended, Ended::Crashed) {
        for worker in kill {
            worker.abort();
        }
    }
    drop((orchestrator, channels, running));
    workers_end(&held, number).await?;
    world.note(|| format!("h{number} is gone"));
    Ok(ended)
}

fn settings(world: &World) -> Settings {
    Settings {
        dispatch: DispatchSettings {
            max_containers: world.plan.cap,
            standby: world.plan.standby,
            ..DispatchSettings::default()
        },
        run: RunSettings {
            close_grace: Duration::from_secs(30),
            stop_grace: Duration::from_secs(5),
            ..RunSettings::default()
        },
        delivery: DeliverySettings {
            send_timeout: Duration::from_secs(20),
            max_delay: Duration::from_secs(60),
            when_unknown: world.plan.when_unknown,
            ..DeliverySettings::default()
        },
        ..Settings::default()
    }
}

async fn keep_connected(orchestrator: &Orchestrator, channels: &[Arc<SimulatedChannel>]) {
    let each = channels.iter().map(async |channel| {
        loop {
            channel.reconnected().await;
            orchestrator.channel_connected();
        }
    });
    join_all(each).await;
}

async fn shut_down(running: Option<Running>, containers: AtShutdown) {
    if let Some(running) = running {
        running.shut_down(SHUT_DOWN_WITHIN, containers).await;
    }
}

/// Waits until nobody holds a port of the host any more: all its workers have ended.
async fn workers_end(held: &Weak<SimulatedStore>, number: u32) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + WORKERS_END_WITHIN;
    for turn in 0_u32.. {
        if held.strong_count() == 0 {
            return Ok(());
        }
        if turn < 50 {
            tokio::task::yield_now().await;
        } else if tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        } else {
            break;
        }
    }
    Err(format!("leak: {} holders of host {number}'s store are left after its end", held.strong_count()))
}

/// What befalls hosts and containers alike, and the end of all faults.
async fn weather(world: Arc<World>, runtime: Arc<FakeRuntime>) {
    enum Change {
        Jump(ClockJump),
        EngineLoss,
        EngineAway,
        EngineBack,
    }
    let jumps = world.plan.clock_jumps.iter().map(|(at, jump)| (*at, Change::Jump(*jump)));
    let losses = world.plan.engine_losses.iter().map(|at| (*at, Change::EngineLoss));
    let away = world.plan.engine_away.iter();
    let away = away.flat_map(|(at, long)| [(*at, Change::EngineAway), (*at + *long, Change::EngineBack)]);
    let mut changes: Vec<(Duration, Change)> = jumps.chain(losses).chain(away).collect();
    changes.sort_by_key(|(at, _)| *at);
    for (at, change) in changes {
        if at > world.plan.stormy {
            break;
        }
        tokio::time::sleep(at.saturating_sub(world.elapsed())).await;
        match change {
            Change::Jump(jump) => {
                world.note(|| format!("the clock jumps: {jump:?}"));
                let now = Timestamp::now();
                test_clock::set(Some(match jump {
                    ClockJump::Forward(by) => now.plus(by),
                    ClockJump::Back(by) => Timestamp::from_ms(now.as_ms() - i64::try_from(by.as_millis()).unwrap_or(0)),
                }));
                world.clock_set.notify_waiters();
            }
            Change::EngineLoss => {
                world.note(|| "the engine goes down with all containers".to_owned());
                runtime.lose_all();
            }
            Change::EngineAway => {
                world.note(|| "the engine does not answer".to_owned());
                world.set_engine_away(true);
                runtime.lose_sight();
            }
            Change::EngineBack => {
                world.note(|| "the engine answers again".to_owned());
                world.set_engine_away(false);
            }
        }
    }
    tokio::time::sleep(world.plan.stormy.saturating_sub(world.elapsed())).await;
    world.calm_down();
}

/// Returns once everybody has written everything, everything is answered, and nothing runs any more.
async fn settled(lasting: &Lasting, others: &mut JoinSet<()>, purpose: Purpose) -> Result<(), String> {
    let world = &lasting.world;
    if purpose == Purpose::Watch {
        tokio::time::sleep(WATCHED).await;
        return Ok(());
    }
    while world.is_stormy() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let deadline = world.plan.stormy + SETTLES_WITHIN;
    loop {
        while others.try_join_next().is_some() {}
        let pending = store(lasting.store.pending_deliveries().await)?;
        let waiting = store(lasting.store.recover().await)?.into_iter().filter(|group| group.waiting.is_some());
        let waiting: Vec<String> = waiting.map(|group| group.group.folder.to_string()).collect();
        let not_taken = world.chats().not_taken();
        let to_do = store(still_to_do(&lasting.store).await)?;
        if others.is_empty() && pending.is_empty() && waiting.is_empty() && not_taken.is_empty() && to_do.is_empty() {
            break;
        }
        if world.elapsed() > deadline {
            return Err(format!(
                "starvation: {SETTLES_WITHIN:?} after the last fault, messages {not_taken:?} are not taken, {waiting:?} wait \
                 for answers, {} are to be sent, tasks are to be done ({to_do:?}), and {} people are still at work",
                pending.len(),
                others.len()
            ));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.note(|| "everything is answered and sent".to_owned());
    // A container rests, and when it has gone another may wait for as long as its group was used lately.
    let StandbySettings { groups, within, .. } = world.plan.standby;
    let stood_by = if groups > 0 { within } else { Duration::ZERO };
    let deadline = world.elapsed() + world.plan.idle + stood_by + GONE_WITHIN;
    loop {
        let open = store(lasting.store.open_runs().await)?;
        if lasting.runtime.live() == 0 && open.is_empty() {
            return Ok(());
        }
        if world.elapsed() > deadline {
            let open: Vec<String> = open.iter().map(|run| run.id.to_string()).collect();
            return Err(format!("leak: {} containers live, open runs: {open:?}", lasting.runtime.live()));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The inner store never fails by itself.
pub(super) fn store<T>(result: Result<T, crate::store::StoreError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
