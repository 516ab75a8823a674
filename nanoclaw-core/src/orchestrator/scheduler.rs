//! Makes tasks due: claims each due time when it has come, tells the loop, and sleeps until the next.
//!
//! It knows nothing that the store does not know: what was claimed before it died waits in the store, and what a run was at
//! when its host died is seen to at the start. What it keeps are the times of firings that are tried again later.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::agenda::{AFTER_FAILURE, Agenda, GROUP_GONE, Poke};
use crate::{
    clock::WallClock,
    group::GroupFolder,
    run::{RunEnding, RunId, RunNumber, TaskId},
    store::{Store, StoreError},
    tasks::{Claim, Firing, MOST_KEPT, Task, TaskChange, TaskStatus, claim::claim_of},
    time::Timestamp,
};

/// How many tasks are claimed side by side.
const AT_ONCE: u32 = 64;

/// The worker that makes tasks due.
pub(super) struct Scheduler {
    agenda: Agenda,
    store: Arc<dyn Store>,
    clock: Arc<dyn WallClock>,
    pokes: mpsc::UnboundedReceiver<Poke>,
    /// Firings that wait for a later time.
    later: BTreeSet<(Timestamp, TaskId, GroupFolder)>,
    /// Runs of which it could not be noted how they ended.
    ended: Vec<(RunId, RunEnding)>,
    /// The runs that an earlier host left were seen to.
    recovered: bool,
    /// The latest time that the clock has shown, since it was last set back.
    seen: Timestamp,
    /// Nobody has told the loop of some firing that waits, perhaps: an earlier host left it, or an error was told of what
    /// happened all the same.
    in_doubt: bool,
}

impl Scheduler {
    pub(super) fn new(
        agenda: Agenda,
        store: Arc<dyn Store>,
        clock: Arc<dyn WallClock>,
        pokes: mpsc::UnboundedReceiver<Poke>,
    ) -> Self {
        let (later, ended, seen) = (BTreeSet::new(), Vec::new(), Timestamp::now());
        Self { agenda, store, clock, pokes, later, ended, recovered: false, seen, in_doubt: true }
    }

    /// Until `stop`. The runs that an earlier host left are taken over or closed by then.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let next = match self.look().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(%error, pause = ?AFTER_FAILURE, "cannot see which tasks are due; looking again");
                    self.in_doubt = true;
                    Some(Timestamp::now().plus(AFTER_FAILURE))
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                poke = self.pokes.recv() => match poke {
                    Some(poke) => self.heard(poke),
                    None => return,
                },
                () = self.clock.until(next) => {}
            }
            // All that was said meanwhile costs one look.
            while let Ok(poke) = self.pokes.try_recv() {
                self.heard(poke);
            }
        }
    }

    fn heard(&mut self, poke: Poke) {
        match poke {
            Poke::Look => {}
            Poke::Doubt => self.in_doubt = true,
            Poke::Waiting { group, task, until } => {
                self.later.insert((until, task, group));
            }
            Poke::Ended { run, ending } => {
                self.ended.push((run, ending));
                self.in_doubt = true;
            }
        }
    }

    /// Makes due what is due; when to look again, `None`: not before something changes.
    async fn look(&mut self) -> Result<Option<Timestamp>, StoreError> {
        if !self.recovered {
            self.seen = self.seen.max(self.noted().await?);
            self.recover().await?;
            self.recovered = true;
        }
        while let Some((run, ending)) = self.ended.last() {
            self.run_ended(run, ending).await?;
            self.ended.pop();
        }
        if self.in_doubt {
            self.take_up_what_waits().await?;
            self.in_doubt = false;
        }
        let now = Timestamp::now();
        if now < self.seen {
            self.set_back(now).await?;
        }
        self.seen = now;
        while let Some((at, task, group)) = self.later.pop_first() {
            if at > now {
                self.later.insert((at, task, group));
                break;
            }
            self.agenda.due(group, task).await;
        }
        loop {
            let due = self.agenda.tasks.due(now, AT_ONCE).await?;
            if due.is_empty() {
                break;
            }
            for claimed in join_all(due.iter().map(|task| self.claim(task, now))).await {
                claimed?;
            }
        }
        let earliest = self.agenda.tasks.earliest_due().await?;
        let later = self.later.first().map(|(at, ..)| *at);
        Ok(earliest.into_iter().chain(later).min())
    }

    /// Claims what is due of a task; the loop is told of what waits.
    async fn claim(&self, task: &Task, now: Timestamp) -> Result<(), StoreError> {
        if self.agenda.directory.get(&task.group).is_none() {
            tracing::warn!(task = %task.id, group = %task.group, "a task is due whose group is not registered; it rests");
            let change = TaskChange::Pause { why: Some(GROUP_GONE.to_owned()) };
            return self.agenda.tasks.change(&task.id, &change, now).await.map(drop);
        }
        let Some(claim) = claim_of(task, now) else { return Ok(()) };
        let Some(waiting) = self.agenda.tasks.claim(&claim, now).await? else { return Ok(()) };
        self.agenda.changed(&task.group);
        tracing::info!(task = %task.id, group = %task.group, due = %claim.due, waiting = waiting.len(), "a task is due");
        if !waiting.is_empty() {
            self.agenda.due(task.group.clone(), task.id.clone()).await;
        }
        Ok(())
    }

    /// The latest time that the clock has shown an earlier host, as far as that has left a trace.
    async fn noted(&self) -> Result<Timestamp, StoreError> {
        let claimed = self.agenda.tasks.last_claimed().await?;
        let runs = self.store.runs(None, 1).await?;
        Ok(claimed.max(runs.first().map(|run| run.started_at)).unwrap_or(self.seen))
    }

    async fn run_ended(&self, run: &RunId, ending: &RunEnding) -> Result<(), StoreError> {
        match self.agenda.directory.get(&run.group) {
            Some(group) => self.agenda.run_ended(run, &group, ending).await,
            None => self.agenda.run_ended_without_group(run).await,
        }
    }

    /// Takes up what an earlier host left: firings whose runs are over.
    async fn recover(&mut self) -> Result<(), StoreError> {
        let open: Vec<RunId> = self.store.open_runs().await?.into_iter().map(|run| run.id).collect();
        for firing in self.agenda.tasks.running().await? {
            let Some(task) = self.agenda.tasks.task(&firing.task).await? else { continue };
            let run = RunId { group: task.group.clone(), number: firing.run.unwrap_or(RunNumber::ZERO) };
            if !open.contains(&run) {
                self.run_ended(&run, &RunEnding::HostEnded).await?;
            }
        }
        Ok(())
    }

    /// Takes up the firings that wait, each for its time. One of which the loop knows is queued there once.
    async fn take_up_what_waits(&mut self) -> Result<(), StoreError> {
        for Firing { task, not_before, .. } in self.agenda.tasks.waiting().await? {
            if let Some(task) = self.agenda.tasks.task(&task).await? {
                self.later.insert((not_before, task.id, task.group));
            }
        }
        Ok(())
    }

    /// The clock was set back: nothing waits for a time that it showed before it was. No time is claimed again that was.
    async fn set_back(&mut self, now: Timestamp) -> Result<(), StoreError> {
        tracing::warn!(%now, before = %self.seen, "the clock was set back; looking anew when tasks are due");
        self.agenda.tasks.bring_forward(now).await?;
        self.later.clear();
        self.take_up_what_waits().await?;
        for task in self.agenda.tasks.list(None, u32::MAX).await? {
            let Some(due) = task.next_due.filter(|_| task.status == TaskStatus::Active) else { continue };
            if task.next_after(now).is_none_or(|next| next >= due) {
                continue;
            }
            // Where the record begins, times before that were claimed too.
            let record = self.agenda.tasks.firings(&task.id, MOST_KEPT).await?;
            let begins = record.last().filter(|_| record.len() >= MOST_KEPT as usize).map_or(now, |oldest| oldest.due);
            let next_due = task.next_after(begins.max(now)).filter(|next| *next < due);
            if next_due.is_some() {
                let (overlap, firings) = (task.terms.overlap, Vec::new());
                self.agenda.tasks.claim(&Claim { task: task.id, due, firings, overlap, next_due }, now).await?;
            }
        }
        Ok(())
    }
}
