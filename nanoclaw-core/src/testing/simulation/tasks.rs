//! What people schedule: asked for, changed, run by hand and ended at any time; and what must be true of it when all is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{civil, tz::TimeZone};

use super::{
    Facts,
    chats::{ChatLog, Line, Lines, group},
    hosts::{Lasting, store},
    plan::{TaskPlan, Wish},
    world::{Host, World},
};
use crate::{
    delivery::DeliveryKey,
    orchestrator::Agenda,
    run::RunId,
    schedule::Schedule,
    store::{DeliveryFilter, Store, StoreError},
    tasks::{Firing, FiringId, FiringState, NewTask, Task, TaskChange, TaskStatus, TaskUpdate, Tasks},
    testing::MemoryStore,
    time::Timestamp,
};

/// What an agent is told to do; it says it again when it has done it.
fn prompt(place: usize) -> String {
    format!("<task {place}>")
}

/// Somebody asks for one task, and wishes what is planned of it.
pub(super) async fn schedule(world: Arc<World>, store: Arc<MemoryStore>, lines: Arc<Lines>, place: usize) {
    let plan = &world.plan.tasks[place];
    tokio::time::sleep(plan.at.saturating_sub(world.elapsed())).await;
    let new = new_task(&world, plan, place);
    world.note(|| format!("somebody asks for {}: {plan:?}", new.prompt));
    let id = loop {
        let (agenda, host) = agenda(&lines).await;
        if let Some(Ok(id)) = while_it_lives(&host, agenda.add(&new)).await {
            break id;
        }
        drop((agenda, host));
        world.pause(100, 3000).await;
    };
    world.chats().tasks.insert(place, id.clone());
    for (wished, (at, wish)) in plan.wishes.iter().enumerate() {
        tokio::time::sleep(at.saturating_sub(world.elapsed())).await;
        world.note(|| format!("somebody wishes {wish:?} of {id}"));
        if *wish == Wish::RunNow {
            let key = DeliveryKey::new(format!("{id}/{wished}")).expect("a short plain text is a key");
            // Whoever is told of an error looks before wishing it again.
            let (agenda, host) = agenda(&lines).await;
            let fired = while_it_lives(&host, agenda.fire_now(&id, &key)).await;
            world.note(|| format!("what came of running {id} now: {fired:?}"));
            continue;
        }
        let Ok(Some(task)) = Tasks::task(&*store, &id).await else { continue };
        let Some(change) = change(&task, *wish) else { continue };
        loop {
            let (agenda, host) = agenda(&lines).await;
            if let Some(Ok(_)) = while_it_lives(&host, agenda.change(&id, &change)).await {
                break;
            }
            drop((agenda, host));
            world.pause(100, 3000).await;
        }
    }
}

/// What the host that is there schedules, or the next one.
async fn agenda(lines: &Lines) -> (Agenda, Arc<Host>) {
    let Line { orchestrator, host, inbox } = lines.get().await;
    drop(inbox);
    (orchestrator.agenda().expect("hosts schedule where there are tasks").clone(), host)
}

/// What a host says; `None` when it died before.
async fn while_it_lives<T>(host: &Host, says: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = host.death() => None,
        said = says => Some(said),
    }
}

/// What is to be changed; `None` where nobody could wish that.
fn change(task: &Task, wish: Wish) -> Option<TaskChange> {
    let now = Timestamp::now();
    match wish {
        Wish::Pause => (task.status == TaskStatus::Active).then_some(TaskChange::Pause { why: None }),
        Wish::Resume if task.status == TaskStatus::Paused => {
            task.next_after(now).map(|next_due| TaskChange::Resume { next_due })
        }
        Wish::Move(after) => {
            let (schedule, due) = once(now.plus(after));
            Some(TaskChange::Update(TaskUpdate { schedule: Some((schedule, due)), ..TaskUpdate::default() }))
        }
        Wish::Cancel => Some(TaskChange::Cancel),
        Wish::Resume | Wish::RunNow => None,
    }
}

fn new_task(world: &World, plan: &TaskPlan, place: usize) -> NewTask {
    let group = group(&world.plan.groups[plan.group]).folder;
    let first = Timestamp::now().plus(plan.first);
    let (schedule, first_due) = match plan.every {
        Some(every) => (Schedule::Every(every), first),
        None => once(first),
    };
    NewTask {
        key: DeliveryKey::new(format!("asked/{place}")).expect("a number is a key"),
        created_by: group.clone(),
        group,
        prompt: prompt(place),
        schedule,
        zone: TimeZone::UTC,
        first_due,
        terms: plan.terms,
        script: None,
    }
}

/// The next whole second: schedules have no others.
fn once(at: Timestamp) -> (Schedule, Timestamp) {
    let seconds = at.as_ms() / 1000 + 1;
    let epoch = civil::date(1970, 1, 1).at(0, 0, 0, 0);
    (Schedule::Once(epoch + jiff::SignedDuration::from_secs(seconds)), Timestamp::from_ms(seconds * 1000))
}

/// What is due some time, and what was claimed and is not over.
pub(super) async fn still_to_do(store: &MemoryStore) -> Result<Vec<String>, StoreError> {
    let mut open = store.waiting().await?;
    open.extend(store.running().await?);
    let mut to_do: Vec<String> = open.iter().map(|firing| format!("{firing:?}")).collect();
    to_do.extend(store.earliest_due().await?.map(|due| format!("due at {due}")));
    Ok(to_do)
}

/// Each task is there once, each of its due times was claimed once and has one outcome, and what was done is said by one run.
pub(super) async fn check_tasks(lasting: &Lasting, log: &ChatLog, facts: &mut Facts) -> Result<(), String> {
    let plans = &lasting.world.plan.tasks;
    let kept = lasting.store.tasks_asked_for().len();
    if kept != plans.len() {
        return Err(format!("twice: {} tasks were asked for, and {kept} are kept", plans.len()));
    }
    let said = said_by_runs(lasting, log).await?;
    let rows = store(lasting.store.deliveries(&DeliveryFilter::default(), u32::MAX).await)?;
    for (place, id) in &log.tasks {
        let task = store(Tasks::task(&*lasting.store, id).await)?.ok_or_else(|| format!("lost: {id} is not there"))?;
        let firings = store(lasting.store.firings(id, u32::MAX).await)?;
        let times: BTreeSet<Timestamp> = firings.iter().map(|firing| firing.due).collect();
        if times.len() < firings.len() {
            return Err(format!("twice: a time of {id} was claimed twice: {firings:?}"));
        }
        for firing in &firings {
            facts.fired += 1;
            facts.done += u64::from(firing.state == FiringState::Done);
            let said = said.get(&firing.id).map(Vec::as_slice).unwrap_or_default();
            check_firing(&task, firing, said)?;
        }
        let failed = firings.iter().any(|firing| firing.state == FiringState::Failed);
        let name = format!("“{}”", prompt(*place));
        if failed && !rows.iter().any(|row| row.delivery.key.is_alert() && row.delivery.text.contains(&name)) {
            return Err(format!("silence: {id} failed and nobody was told: {firings:?}"));
        }
    }
    Ok(())
}

fn check_firing(task: &Task, firing: &Firing, said: &[(RunId, String)]) -> Result<(), String> {
    let runs: BTreeSet<&RunId> = said.iter().map(|(run, _)| run).collect();
    if runs.len() > 1 || said.len() > 1 {
        return Err(format!("twice: one time of {} was said as {said:?}", task.id));
    }
    let shown = said.first().map(|(_, text)| text);
    let expected = firing.text.as_ref().filter(|_| !task.terms.silent);
    // What was said when its task was being cancelled may be shown, and is no outcome.
    if shown != expected && firing.state != FiringState::Cancelled {
        return Err(format!("lost: {} is kept as {expected:?} and said as {shown:?}: {firing:?}", task.id));
    }
    let sound = match firing.state {
        FiringState::Done => firing.answered && firing.tries > 0,
        FiringState::Failed => !firing.answered && firing.tries > 0,
        FiringState::Skipped => !firing.answered,
        FiringState::Cancelled => task.status == TaskStatus::Cancelled,
        FiringState::Waiting | FiringState::Running => false,
    };
    let outcome = if sound && firing.ended_at.is_some() { Ok(()) } else { Err(()) };
    outcome.map_err(|()| format!("outcome: a time of {} cannot have ended so: {firing:?}", task.id))
}

/// What the runs of each firing said to a chat, in the order of the outbox.
async fn said_by_runs(lasting: &Lasting, log: &ChatLog) -> Result<BTreeMap<FiringId, Vec<(RunId, String)>>, String> {
    let mut said: BTreeMap<FiringId, Vec<(RunId, String)>> = BTreeMap::new();
    let mut rows = store(lasting.store.deliveries(&DeliveryFilter::default(), u32::MAX).await)?;
    rows.reverse();
    for row in rows.into_iter().filter(|row| row.delivery.text.starts_with("did ")) {
        let key = row.delivery.key.as_str();
        let of = |run: &RunId| key.starts_with(&format!("reply/{}/{}/", run.group, run.number));
        let Some((run, firing)) = log.begun.iter().find(|(run, _)| of(run)) else {
            return Err(format!("invention: {key} says {:?}, and its run was at no task", row.delivery.text));
        };
        said.entry(*firing).or_default().push((run.clone(), row.delivery.text));
    }
    Ok(said)
}
