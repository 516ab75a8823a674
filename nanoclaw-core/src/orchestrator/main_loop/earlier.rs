//! The loop's part in what an earlier host left, and in what nobody knows for certain: surveys, again and again until nothing
//! is held and nothing is in doubt.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{COMMANDS, Ended, LookAgain, Loop, Urgency, Work};
use crate::{
    causes::with_causes,
    group::GroupFolder,
    message::Seq,
    orchestrator::{
        control::StartError,
        event::{Event, RunWord},
        recovery::{self, Survey, SurveyError},
        retry::runtime_retry_delay,
        run::{self, Adoptee, Command},
    },
    run::{RunEnding, RunId},
    store::{GroupRecovery, StoredRun},
    time::Timestamp,
};

/// How many surveys try soon to remove what is dead and hurts nobody, and the pause between the later ones.
const DEAD_SURVEYS: u32 = 6;
/// How many runs are looked at to learn which groups were used of late.
const RUNS_REMEMBERED: u32 = 100;
const DEAD_PAUSE: Duration = Duration::from_secs(10 * 60);

impl Loop {
    /// Looks what became of the runs in `left` and makes the dispatcher know every group, those first whose runs go on or may
    /// go on. What is returned resolves when what the adopted ones said meanwhile is committed.
    pub(in crate::orchestrator) async fn take_in(
        &mut self,
        left: Vec<StoredRun>,
    ) -> Result<Vec<oneshot::Receiver<()>>, StartError> {
        let Survey { adopted, held: left, left_over, .. } = match recovery::survey(&self.context, &left).await {
            Ok(survey) => survey,
            Err(SurveyError::Store(error)) => return Err(error.into()),
            Err(SurveyError::Runtime(error)) => {
                tracing::error!(error = with_causes(&error), "cannot learn which containers the last host left");
                let groups = self.context.store.groups().await?.into_iter().map(|group| group.folder);
                for group in groups.chain(left.iter().map(|run| run.id.group.clone())) {
                    self.context.doubts.note(&group);
                }
                Survey { held: left, ..Survey::default() }
            }
        };
        let mut recovered = self.context.store.recover().await?;
        let mut stand = HashMap::new();
        for run in adopted.iter().map(|adoptee| &adoptee.run).chain(&left) {
            // One whose group is removed has nobody to wait for it.
            if self.directory.get(&run.id.group).is_none() {
                continue;
            }
            let cursor = self.context.store.cursor(&run.id.group).await?;
            let turns = self.context.store.turns(&run.id).await?;
            stand.insert(run.id.group.clone(), run::stands(run, &turns, cursor));
        }
        recovered.sort_by_key(|group| !stand.contains_key(&group.group.folder));
        let mut caught_up = Vec::new();
        for adoptee in adopted {
            let (sender, commands) = mpsc::channel(COMMANDS);
            self.runs.insert(adoptee.run.id.clone(), sender);
            caught_up.push(self.adopt(adoptee, commands));
        }
        for run in &left {
            let (sender, commands) = mpsc::channel(COMMANDS);
            self.runs.insert(run.id.clone(), sender);
            self.held.insert(run.id.clone(), (run.clone(), commands));
        }
        // First, so that nothing is started in a slot that is taken.
        self.count_left_over(left_over, |run| recovered.iter().any(|known| known.group.folder == run.group)).await;
        for GroupRecovery { group, last_run, waiting, failures } in recovered {
            let event = Event::GroupAdded {
                times: self.context.launcher.tuning(&group.folder).times,
                last_run,
                newest: waiting.unwrap_or(Seq::ZERO),
                failures,
                adopted: stand.remove(&group.folder),
                group: group.folder,
            };
            self.handle(event).await;
        }
        if self.dispatcher.starts_ahead() {
            self.tell_who_was_used().await?;
        }
        self.look_again(0);
        Ok(caught_up)
    }

    /// Says when the groups were last used, the latest first, as far as their runs of late tell. A run of which nothing was
    /// asked is no use.
    async fn tell_who_was_used(&mut self) -> Result<(), StartError> {
        let now = Timestamp::now();
        let mut seen = BTreeSet::new();
        for run in self.context.store.runs(None, RUNS_REMEMBERED).await? {
            if seen.contains(&run.id.group) {
                continue;
            }
            let Some(turn) = self.context.store.turns(&run.id).await?.pop() else { continue };
            seen.insert(run.id.group.clone());
            let last = turn.ended_at.map_or(turn.handed_at, |ended| ended.max(turn.handed_at));
            self.handle(Event::UsedBefore { group: run.id.group, ago: now.since(last) }).await;
        }
        Ok(())
    }

    /// Starts the worker of an adopted run. What it is to do waits in `commands`, be it that its group was removed meanwhile.
    fn adopt(&mut self, adoptee: Adoptee, commands: mpsc::Receiver<Command>) -> oneshot::Receiver<()> {
        let run = adoptee.run.id.clone();
        let (caught_up, seen) = oneshot::channel();
        let (context, events) = (self.context.clone(), self.events.clone());
        let worker = self
            .workers
            .spawn(async move { Ended::Run(run::adopt(context, adoptee, commands, events, caught_up).await) });
        self.running.insert(worker.id(), (run, Work::Run));
        seen
    }

    /// Says how many containers live, or may, that no group's run accounts for: those that a survey found, and those of held
    /// runs whose groups are not `known`.
    async fn count_left_over(&mut self, found: usize, known: impl Fn(&RunId) -> bool) {
        let of_nobody = self.held.keys().filter(|run| !known(run)).count();
        self.handle(Event::LeftOver { containers: found + of_nobody }).await;
    }

    pub(super) fn survey_again(&mut self) {
        let LookAgain::At(_, tries, _) = self.look_again else { return };
        let context = self.context.clone();
        let left: Vec<StoredRun> = self.held.values().map(|(run, _)| run.clone()).collect();
        let looking = self.workers.spawn(async move { Ended::Surveyed(recovery::survey(&context, &left).await) });
        self.look_again = LookAgain::Looking(tries, looking);
    }

    pub(super) async fn surveyed(&mut self, result: Result<Survey, SurveyError>) {
        let LookAgain::Looking(tries, _) = self.look_again else { return };
        self.look_again = LookAgain::No;
        let Survey { adopted, ended, held, left_over } = match result {
            Ok(survey) => survey,
            Err(error) => {
                tracing::error!(error = with_causes(&error), "it is still not known which containers there are");
                return self.look_again(tries);
            }
        };
        for adoptee in adopted {
            if let Some((_, commands)) = self.held.remove(&adoptee.run.id) {
                self.adopt(adoptee, commands);
            }
        }
        let mut ended: HashMap<RunId, RunEnding> = ended.into_iter().collect();
        let over: Vec<RunId> =
            self.held.keys().filter(|run| held.iter().all(|held| held.id != **run)).cloned().collect();
        for run in over {
            self.held.remove(&run);
            let ending = ended.remove(&run).unwrap_or(RunEnding::HostEnded);
            self.held_ended(run, RunWord::Ended { ending }).await;
        }
        let groups: Vec<GroupFolder> = self.held.keys().map(|run| run.group.clone()).collect();
        let unknown: Vec<GroupFolder> = groups.into_iter().filter(|group| !self.dispatcher.knows(group)).collect();
        self.count_left_over(left_over, |run| !unknown.contains(&run.group)).await;
        self.look_again(tries);
    }

    /// A held run is over, or nobody waits for it any more.
    async fn held_ended(&mut self, run: RunId, word: RunWord) {
        self.runs.remove(&run);
        // What it had said by then is answered.
        if let Ok(through) = self.context.store.cursor(&run.group).await {
            self.handle(Event::Run { run: run.clone(), word: RunWord::Answered { through } }).await;
        }
        self.handle(Event::Run { run, word }).await;
    }

    /// Plans the next survey if there is any need of one; `tries` were made for what is pressing.
    pub(super) fn look_again(&mut self, tries: u32) {
        if self.dispatcher.is_shutting_down() {
            return;
        }
        let urgency =
            if self.held.is_empty() && !self.context.doubts.any() { Urgency::Leisurely } else { Urgency::Pressing };
        if urgency == Urgency::Leisurely && !self.context.doubts.any_dead() {
            return;
        }
        let tries = tries.saturating_add(1);
        let delay =
            if urgency == Urgency::Leisurely && tries > DEAD_SURVEYS { DEAD_PAUSE } else { runtime_retry_delay(tries) };
        let at = Instant::now() + delay;
        self.look_again = match self.look_again {
            LookAgain::No => LookAgain::At(at, tries, urgency),
            LookAgain::At(planned, _, Urgency::Leisurely) if urgency == Urgency::Pressing => {
                LookAgain::At(planned.min(at), tries, urgency)
            }
            // Who looks now plans anew when that is over.
            LookAgain::At(..) | LookAgain::Looking(..) => return,
        };
        if !self.held.is_empty() {
            let groups: Vec<_> = self.held.keys().map(|run| run.group.as_str()).collect();
            tracing::error!(
                ?groups,
                ?delay,
                "the groups whose runs were open wait until it is known whether their containers live"
            );
        }
    }

    pub(super) fn stop_looking(&mut self) {
        if let LookAgain::Looking(_, looking) = std::mem::replace(&mut self.look_again, LookAgain::No) {
            looking.abort();
        }
    }
}
