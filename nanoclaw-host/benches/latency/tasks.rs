//! Scheduled tasks: how late they are, what many of them cost at rest, and what the store takes to find and to claim one.

use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use jiff::tz::TimeZone;
use nanoclaw_core::{
    delivery::DeliveryKey,
    schedule::Schedule,
    tasks::{NewTask, TaskTerms, Tasks as _, claim::claim_of},
    time::Timestamp,
};
use nanoclaw_host::{home::Home, stores::sqlite::SqliteStore};
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use tokio::runtime::Runtime;

use crate::{
    figures::{Figure, Unit},
    house::{Agent, House, Mark, group, installation},
    program::Installation,
    service::Used,
};

/// Samples that are thrown away: the first ones meet cold caches and new files.
const WARM_UP: usize = 20;
const CONFIG: &str = "[agent]\nprovider = \"offline\"\n";
/// How many tasks are many.
const MANY: u32 = 10_000;
/// How long before its time a task is made: the host has slept for most of it.
const AHEAD: Duration = Duration::from_millis(30);
/// How long the idle service is watched.
const WATCHED: Duration = Duration::from_secs(60);
/// The tasks of others are due after this: not while anything is measured.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

pub(crate) fn measure(program: &Path, samples: usize) -> Vec<Figure> {
    // What `nanoclaw` itself runs on.
    let runtime = nanoclaw_host::cli::event_loop().unwrap();
    let mut figures = Vec::new();
    for others in [0, MANY] {
        eprintln!("{samples} tasks that are due, beside {others} others");
        let late = runtime.block_on(firings(others, samples));
        let row = |what: &str, samples: &[Duration]| Figure::times(format!("{what}, {others} other tasks"), samples);
        figures.push(row("due time to the runtime asked for a container", &late.asked).p99_under(5.0));
        figures.push(row("due time to prompt whole in a new container", &late.prompted));
    }
    eprintln!("{samples} claims by the store alone, of {MANY} tasks");
    figures.extend(runtime.block_on(claims(samples)));
    figures.extend(idle(&runtime, program));
    figures
}

/// How long after their due times.
#[derive(Default)]
struct Late {
    asked: Vec<Duration>,
    prompted: Vec<Duration>,
}

/// A task that is due once, again and again, each when the one before is over.
async fn firings(others: u32, samples: usize) -> Late {
    let installation = installation(CONFIG);
    fill(&installation.home, others, Timestamp::now().plus(MONTH)).await;
    let chat = group(0).chat;
    let mut house = House::of(installation, CONFIG, Agent::Once, &chat).await;
    house.listen();
    let mut late = Late::default();
    for number in 0..WARM_UP + samples {
        let due = Timestamp::now().plus(AHEAD);
        let due_at = instant(due);
        house.orchestrator().agenda().unwrap().add(&once(number, due)).await.unwrap();
        let asked = house.marked(Mark::Asked).await;
        let prompted = house.marked(Mark::Prompted).await;
        house.marked(Mark::Sent).await;
        house.state("idle").await;
        if number >= WARM_UP {
            late.asked.push(asked - due_at);
            late.prompted.push(prompted - due_at);
        }
    }
    house.end().await;
    late
}

/// A task of the house's group that is due once.
fn once(number: usize, due: Timestamp) -> NewTask {
    let at = jiff::Timestamp::from_millisecond(due.as_ms()).unwrap();
    NewTask {
        key: DeliveryKey::new(format!("bench/once/{number}")).unwrap(),
        group: group(0).folder,
        created_by: group(0).folder,
        prompt: format!("Say what time it is. #{number}#"),
        schedule: Schedule::Once(TimeZone::UTC.to_datetime(at)),
        zone: TimeZone::UTC,
        first_due: due,
        terms: TaskTerms::default(),
        script: None,
    }
}

/// The moment at which the clock will show `at`, which is ahead, if nobody sets it.
fn instant(at: Timestamp) -> Instant {
    let since_epoch = Duration::from_millis(u64::try_from(at.as_ms()).unwrap());
    let (now, clock) = (Instant::now(), SystemTime::now());
    now + (UNIX_EPOCH + since_epoch).duration_since(clock).unwrap()
}

/// What the scheduler asks of the store each time that a task is due.
async fn claims(samples: usize) -> Vec<Figure> {
    let installation = installation(CONFIG);
    fill(&installation.home, MANY, Timestamp::now()).await;
    let store = SqliteStore::open(&installation.home.database()).await.unwrap();
    let (mut earliest, mut due, mut claimed) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..WARM_UP + samples {
        let begun = Instant::now();
        let next = store.earliest_due().await.unwrap().unwrap();
        let known = Instant::now();
        let found = store.due(next, 64).await.unwrap();
        let read = Instant::now();
        let [task] = found.as_slice() else { panic!("they are due one after the other") };
        let claim = claim_of(task, next).unwrap();
        let decided = Instant::now();
        store.claim(&claim, next).await.unwrap().unwrap();
        let done = Instant::now();
        if number >= WARM_UP {
            earliest.push(known - begun);
            due.push(read - known);
            claimed.push(done - decided);
        }
    }
    store.close().await;
    vec![
        Figure::times(format!("{MANY} tasks: the store finds when the next is due"), &earliest),
        Figure::times(format!("{MANY} tasks: the store finds the one that is due"), &due),
        Figure::times(format!("{MANY} tasks: the store claims it, one commit"), &claimed),
    ]
}

/// The real service with none and with many, side by side, when nothing is due.
fn idle(runtime: &Runtime, program: &Path) -> Vec<Figure> {
    let mut watched = Vec::new();
    for count in [0, MANY] {
        let installation = Installation::with_groups(program, "sandbox", 1);
        runtime.block_on(fill(&installation.home, count, Timestamp::now().plus(MONTH)));
        match installation.serve() {
            Ok((service, _)) => watched.push((count, service, installation)),
            Err(error) => {
                eprintln!("skipped: needs the sandbox: {error}");
                return Vec::new();
            }
        }
    }
    eprintln!("watching two services idle for {WATCHED:?}");
    // What start-up leaves to be done is no idling.
    sleep(Duration::from_secs(2));
    let used = || watched.iter().map(|(_, service, _)| Used::of(service)).collect::<Vec<_>>();
    let before = used();
    sleep(WATCHED);
    let after = used();
    let mut figures = Vec::new();
    for (((count, ..), before), after) in watched.iter().zip(before).zip(after) {
        let row = |what: &str, unit, value| Figure::new(format!("{count} tasks, idle: {what}"), unit, vec![value]);
        let ticks = f64::from(after.ticks - before.ticks);
        figures.extend([
            row("ticks of processor time in 60 s (100 a second)", Unit::Count, ticks).under(1.0),
            row(
                "times a thread was woken in 60 s",
                Unit::Count,
                f64::from(after.switches.saturating_sub(before.switches)),
            ),
            row("resident memory", Unit::Mebibytes, after.resident),
            row("of that, memory of its own (not files)", Unit::Mebibytes, after.anonymous),
        ]);
    }
    figures
}

/// Puts so many daily tasks into the store of `home`, due one second after the other from `first` on.
async fn fill(home: &Home, count: u32, first: Timestamp) {
    SqliteStore::open(&home.database()).await.unwrap().close().await;
    let mut connection = SqliteConnectOptions::new().filename(home.database()).connect().await.unwrap();
    sqlx::query(FILL).bind(first.as_ms()).bind(count).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

const FILL: &str = "
    INSERT INTO tasks (id, key, group_folder, created_by, prompt, kind, value, zone, anchor_ms, context, catch_up, overlap, silent,
                       status, next_due_ms, created_at_ms)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2)
    SELECT 'task-' || i, 'bench/' || i, 'group0', 'group0', printf('Summarise what is on today. %.200c', 'x'), 'interval', '86400000',
           'UTC', $1 + i * 1000, 'group', 'once', 'skip', 0, 'active', $1 + i * 1000, $1
    FROM n WHERE i <= $2";
