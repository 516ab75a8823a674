//! Decides which group may run next. A plain state machine: no clock, no I/O, no lock; one loop owns it.
//!
//! ```text
//!            message or task                slot free              prompt written
//!   idle ──────────────────────▶ waiting ───────────────▶ starting ───────────────▶ busy ◀──── fed ────┐
//!    ▲                              ▲                         │                      │ ▲               │
//!    │ nothing left                 │ something left          │ failed               │ └── message ── resting
//!    │                              │                         ▼                      │   all answered ──▶│
//!    └───────────── ended ◀──── stopping ◀────────────────────┴──────────────────────┴── idle, evicted ──┘
//!                     │
//!                     └─ failed ──▶ backing off, paused ── delay over ──▶ waiting   (frozen: none of this until thawed)
//!
//!   idle ── used recently ──▶ preparing ──▶ standby ── message ──▶ starting      (see [`standby`]; off by default)
//! ```
//!
//! What it knows of a group's messages are three places in the inbox: the newest that wakes, up to where the live agent was
//! handed them, up to where they are answered. `newest > handed` is work to hand over; `handed > answered` is an agent at
//! work; when a run ends, `handed` falls back to `answered`, and what was not answered is pending again.
//!
//! What a failure means is in [`failing`], what is kept of a group in [`entry`], who has a container started ahead in
//! [`standby`].

mod entry;
mod failing;
mod standby;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroUsize,
};

use tokio::time::Instant;

pub use self::standby::StandbySettings;
use self::{
    entry::{Entry, State},
    standby::Keeper,
};
use super::event::{Action, Adopted, AtShutdown, Event, GroupStatus, PromptSize, RunWord, StopReason};
use crate::{
    group::GroupFolder,
    message::Seq,
    run::{RunId, RunKind, TaskId},
};

/// The numbers that the dispatcher decides by.
#[derive(Debug, Clone, Copy)]
pub struct DispatchSettings {
    /// The most containers at a time, counted from create to removed.
    pub max_containers: NonZeroUsize,
    /// How many runs in a row may fail before messages are given up.
    pub max_failures: u32,
    /// After how many failures in a row messages are handed over one by one, to find the one that fails.
    pub single_after: u32,
    /// For whom a container is started ahead.
    pub standby: StandbySettings,
}

impl Default for DispatchSettings {
    /// The defaults of NanoClaw v1: 5 containers, the first try and five more. The last three of them one by one.
    fn default() -> Self {
        Self {
            max_containers: NonZeroUsize::new(5).expect("five is not zero"),
            max_failures: 6,
            single_after: 3,
            standby: StandbySettings::default(),
        }
    }
}

/// The state machine. See the module's drawing.
#[derive(Debug)]
pub struct Dispatcher {
    settings: DispatchSettings,
    groups: BTreeMap<GroupFolder, Entry>,
    /// Groups in state [`State::Waiting`], in the order in which they began to wait.
    waiting: VecDeque<GroupFolder>,
    /// Groups whose state has a deadline.
    deadlines: BTreeSet<(Instant, GroupFolder)>,
    /// Groups whose state holds a container.
    live: BTreeSet<GroupFolder>,
    /// Containers that live, or may, and are no group's: they take slots.
    left_over: usize,
    /// Who was used when, and when to look again for whom to start a container ahead.
    keeper: Keeper,
    shutting_down: bool,
}

impl Dispatcher {
    /// A dispatcher that knows no group yet.
    #[must_use]
    pub fn new(settings: DispatchSettings) -> Self {
        Self {
            settings,
            groups: BTreeMap::new(),
            waiting: VecDeque::new(),
            deadlines: BTreeSet::new(),
            live: BTreeSet::new(),
            left_over: 0,
            keeper: Keeper::default(),
            shutting_down: false,
        }
    }

    /// Takes an event and says what is to be done, in order.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        self.take(event, now, &mut actions);
        self.expire(now, &mut actions);
        self.fill_slots(now, &mut actions);
        for group in self.live.clone() {
            self.settle(&group, now, &mut actions);
        }
        self.keep_standbys(now, &mut actions);
        self.evict(now, &mut actions);
        actions
    }

    /// When [`Event::Tick`] is due next; `None` when nothing waits for time to pass.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let of_groups = self.deadlines.first().map(|(at, _)| *at);
        of_groups.into_iter().chain(self.keeper.look_again_at()).min()
    }

    /// How many containers there are, from create to removed.
    #[must_use]
    pub fn live_runs(&self) -> usize {
        self.live.len()
    }

    /// Whether a shutdown was asked for and no container is left.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.shutting_down && self.live.is_empty()
    }

    /// Whether a shutdown was asked for.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    /// Whether a group is known, be it only that its last container is still ending.
    #[must_use]
    pub fn knows(&self, group: &GroupFolder) -> bool {
        self.groups.contains_key(group)
    }

    /// Whether a group waits for the end of a trouble.
    #[must_use]
    pub fn is_paused(&self, group: &GroupFolder) -> bool {
        self.groups.get(group).is_some_and(|entry| entry.state == State::Paused)
    }

    /// Where every group stands, by folder.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        self.groups
            .iter()
            .map(|(group, entry)| GroupStatus {
                group: group.clone(),
                state: entry.state.word(),
                run: entry.state.holds_container().then_some(entry.last_run),
                since: entry.since,
                failures: entry.failures,
                trouble: entry.trouble.filter(|_| entry.state == State::Paused),
                deadline: entry.deadline,
                tasks: entry.tasks.len(),
            })
            .collect()
    }

    fn take(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        match event {
            Event::GroupAdded { group, times, last_run, newest, failures, adopted } => {
                let careful_through = if failures >= self.settings.single_after { newest } else { Seq::ZERO };
                let entry = Entry { newest, failures, careful_through, ..Entry::new(times, last_run, now) };
                self.add(group.clone(), entry, now);
                if let Some(run) = adopted {
                    self.adopt(&group, run, now);
                }
            }
            Event::GroupRemoved { group } => self.remove(&group, now, actions),
            Event::MessageWaiting { group, seq } => {
                if let Some(entry) = self.groups.get_mut(&group) {
                    entry.newest = entry.newest.max(seq);
                    self.work_arrived(&group, now);
                }
            }
            Event::TaskDue { group, task } => {
                if let Some(entry) = self.groups.get_mut(&group) {
                    // While it runs, it is told of for another due time, or by somebody who had not seen the run's end.
                    if !entry.tasks.contains(&task) {
                        entry.tasks.push_back(task);
                    }
                    self.work_arrived(&group, now);
                }
            }
            Event::TaskDropped { group, task, ends } => self.task_dropped(&group, &task, ends, now, actions),
            Event::Freeze { group } => self.freeze(&group, now, actions),
            Event::Thaw { group } => self.thaw(&group, now),
            Event::Run { run, word } => self.run_says(&run, word, now, actions),
            Event::UsedBefore { group, ago } => {
                if let Some(at) = now.checked_sub(ago) {
                    self.used(&group, at);
                }
            }
            Event::GaveUp { group, through } => self.gave_up(&group, through, now),
            Event::SessionEnded { group } => self.session_ended(&group, now, actions),
            Event::WorkStopped { group, through, run } => self.work_stopped(&group, through, run, now, actions),
            Event::TryNow { group } => self.try_now(group.as_ref(), now),
            Event::LeftOver { containers } => self.left_over = containers,
            Event::Shutdown { containers } => self.shut_down(containers, now, actions),
            Event::Tick => {}
        }
    }

    // --- groups come and go ---------------------------------------------------------------------------------------

    fn add(&mut self, group: GroupFolder, new: Entry, now: Instant) {
        if let Some(entry) = self.groups.get_mut(&group) {
            // Registered again while its last container was still ending: it simply stays.
            (entry.removed, entry.frozen) = (false, false);
            entry.times = new.times;
            entry.newest = entry.newest.max(new.newest);
            return;
        }
        self.groups.insert(group.clone(), new);
        self.rest_or_wait(&group, now);
    }

    /// A run of an earlier host goes on where it stood.
    fn adopt(&mut self, group: &GroupFolder, run: Adopted, now: Instant) {
        let Adopted { kind, handed, answered, last_turn } = run;
        let entry = self.groups.get_mut(group).expect("it was just added");
        if entry.state.holds_container() {
            return;
        }
        (entry.handed, entry.answered, entry.last_turn) = (handed, answered, last_turn);
        self.enter_busy(group, kind, now);
    }

    fn remove(&mut self, group: &GroupFolder, now: Instant, actions: &mut Vec<Action>) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        entry.removed = true;
        if entry.state.holds_container() {
            self.stop(group, StopReason::Wanted, now, actions);
        } else {
            self.enter(group, State::Idle, None, now);
            self.forget(group);
        }
    }

    /// The last that is known of a group that is removed goes.
    fn forget(&mut self, group: &GroupFolder) {
        if let Some(entry) = self.groups.remove(group) {
            self.keeper.forget(group, entry.standby.used_at);
        }
    }

    fn freeze(&mut self, group: &GroupFolder, now: Instant, actions: &mut Vec<Action>) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        entry.frozen = true;
        if entry.state.holds_container() {
            self.stop(group, StopReason::Wanted, now, actions);
        } else {
            self.enter(group, State::Frozen, None, now);
        }
    }

    fn thaw(&mut self, group: &GroupFolder, now: Instant) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        entry.frozen = false;
        if entry.state == State::Frozen {
            self.rest_or_wait(group, now);
        }
    }

    fn shut_down(&mut self, containers: AtShutdown, now: Instant, actions: &mut Vec<Action>) {
        self.shutting_down = true;
        for group in self.live.clone() {
            match (containers, &self.groups[&group].state) {
                (AtShutdown::Stop, _) => self.stop(&group, StopReason::Wanted, now, actions),
                // The next host has no use for what was started ahead for this one.
                (AtShutdown::Leave, state) if state.stands_by() => {
                    self.stop(&group, StopReason::Wanted, now, actions);
                }
                // One that is being ended goes on ending.
                (AtShutdown::Leave, State::Stopping { .. }) => {
                    actions.push(Action::Detach { run: self.groups[&group].run(&group) });
                }
                (AtShutdown::Leave, state) => {
                    let kind = state.kind();
                    actions.push(Action::Detach { run: self.groups[&group].run(&group) });
                    self.enter(&group, State::Stopping { kind }, None, now);
                }
            }
        }
    }

    // --- work arrives ---------------------------------------------------------------------------------------------

    fn work_arrived(&mut self, group: &GroupFolder, now: Instant) {
        // A live agent is fed by `settle`; a group that waits, ends or backs off looks for work when that is over.
        if self.groups[group].state == State::Idle {
            self.rest_or_wait(group, now);
        }
    }

    fn task_dropped(
        &mut self,
        group: &GroupFolder,
        task: &TaskId,
        ends: bool,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        entry.tasks.retain(|waiting| waiting != task);
        let runs = matches!(&entry.state, State::Starting { kind: RunKind::Task(id) }
            | State::Busy { kind: RunKind::Task(id) } if id == task);
        if runs && ends {
            self.stop(group, StopReason::Commanded, now, actions);
        } else if entry.state == State::Waiting && !entry.has_work() {
            self.rest_or_wait(group, now);
        }
    }

    // --- a run's worker speaks --------------------------------------------------------------------------------------

    fn run_says(&mut self, run: &RunId, word: RunWord, now: Instant, actions: &mut Vec<Action>) {
        let Some(entry) = self.groups.get_mut(&run.group) else { return };
        if entry.last_run != run.number || !entry.state.holds_container() {
            return; // A late word from an older run.
        }
        match word {
            RunWord::Started => {
                if let State::Starting { kind } = &entry.state {
                    let kind = kind.clone();
                    self.enter_busy(&run.group, kind, now);
                }
            }
            RunWord::Handed { through } => {
                entry.handed = entry.handed.max(through);
                entry.feeding = false;
                self.used(&run.group, now);
            }
            RunWord::Full => (entry.feeding, entry.full) = (false, true),
            RunWord::Answered { through } => {
                entry.answered = entry.answered.max(through);
                entry.full = false;
                entry.failures = 0;
                let mended = entry.trouble.take();
                self.used(&run.group, now);
                self.progress(&run.group, Progress::Answer, now);
                if let Some(trouble) = mended {
                    self.mended(trouble, now);
                }
            }
            RunWord::Progress => {
                entry.full = false;
                self.progress(&run.group, Progress::Sign, now);
            }
            RunWord::TaskDone => entry.task_done = true,
            RunWord::Beats => {
                entry.beats = true;
                self.progress(&run.group, Progress::Sign, now);
            }
            RunWord::Ending => {
                let kind = entry.state.kind();
                self.enter(&run.group, State::Stopping { kind }, None, now);
            }
            RunWord::StandsBy { memory_bytes } => self.stands_by(&run.group, memory_bytes, now),
            RunWord::Unused { failed } => self.unused(&run.group, failed, now),
            RunWord::Detached => self.enter(&run.group, State::Detached, None, now),
            RunWord::Ended { ending } => self.ended(run, &ending, now, actions),
        }
    }

    /// An agent at work showed that it lives.
    fn progress(&mut self, group: &GroupFolder, progress: Progress, now: Instant) {
        let entry = self.groups.get_mut(group).expect("run_says has just looked the group up");
        if let State::Busy { kind } = &entry.state {
            let kind = kind.clone();
            if progress == Progress::Answer {
                entry.turn_began = now;
            }
            let deadline = entry.busy_deadline(now);
            self.enter(group, State::Busy { kind }, Some(deadline), now);
        }
    }

    /// Moves a live chat run between busy, resting and stopping, by what it owes and what waits.
    fn settle(&mut self, group: &GroupFolder, now: Instant, actions: &mut Vec<Action>) {
        let slot_wanted = self.slot_wanted();
        let entry = self.groups.get_mut(group).expect("live groups are known");
        if entry.state.stands_by() && entry.has_work() {
            return self.begin(group, now, actions);
        }
        if matches!(entry.state, State::Busy { kind: RunKind::Task(_) })
            && entry.task_done
            && entry.newest > entry.handed
        {
            // Its agent only waits for what it has in the background: somebody who writes is not to wait for that too.
            return self.close(group, now, actions);
        }
        if !matches!(entry.state, State::Busy { kind: RunKind::Chat } | State::Resting) {
            return;
        }
        // While others wait for a slot, or a task of its own does, an agent finishes what it has and gets no more:
        // otherwise a lively chat would hold its slot for ever (fault F15).
        // And where one of several messages may be the one that fails, each is answered before the next is handed over.
        let one_by_one = entry.careful() && !entry.all_answered();
        let may_feed = !slot_wanted && entry.tasks.is_empty() && !one_by_one && !entry.last_turn;
        let times = entry.times;
        if entry.newest > entry.handed && may_feed {
            if !entry.feeding && !entry.full {
                entry.feeding = true;
                actions.push(Action::Feed { run: entry.run(group) });
                if entry.state == State::Resting {
                    self.enter_busy(group, RunKind::Chat, now);
                }
            }
        } else if !entry.all_answered() {
            // Still at work.
        } else if entry.has_work() || entry.last_turn {
            self.close(group, now, actions);
        } else if entry.state != State::Resting {
            self.enter(group, State::Resting, Some(now + times.idle), now);
        }
    }

    // --- time passes ------------------------------------------------------------------------------------------------

    fn expire(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some((at, group)) = self.deadlines.first().cloned() {
            if at > now {
                break;
            }
            match self.groups[&group].state {
                State::Starting { .. } | State::Busy { .. } => self.stop(&group, StopReason::TimedOut, now, actions),
                State::Resting => self.close(&group, now, actions),
                State::Preparing | State::Standby => self.stop(&group, StopReason::Wanted, now, actions),
                State::BackingOff | State::Paused => self.rest_or_wait(&group, now),
                State::Idle | State::Waiting | State::Stopping { .. } | State::Frozen | State::Detached => {
                    unreachable!("only starting, busy, resting, standby, backing off and paused have a deadline")
                }
            }
        }
    }

    // --- slots ------------------------------------------------------------------------------------------------------

    /// Whether somebody waits for a slot and there is none.
    fn slot_wanted(&self) -> bool {
        !self.shutting_down && !self.waiting.is_empty() && !self.has_slot()
    }

    fn has_slot(&self) -> bool {
        self.live.len() + self.left_over < self.settings.max_containers.get()
    }

    fn fill_slots(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.shutting_down {
            return;
        }
        while self.has_slot() {
            let Some(group) = self.waiting.front().cloned() else { return };
            self.start(&group, now, actions);
        }
    }

    /// Asks resting containers to end, one for each group that waits, the one that has rested longest first; those that
    /// are stopping already count.
    fn evict(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.slot_wanted() {
            return;
        }
        let state = |group: &GroupFolder| &self.groups[group].state;
        let stopping = self.live.iter().filter(|group| matches!(state(group), State::Stopping { .. })).count();
        let mut resting: Vec<_> = self
            .live
            .iter()
            .filter(|group| *state(group) == State::Resting)
            .map(|group| (self.groups[group].since, group.clone()))
            .collect();
        resting.sort();
        for (_, group) in resting.into_iter().take(self.waiting.len().saturating_sub(stopping)) {
            self.close(&group, now, actions);
        }
    }

    fn start(&mut self, group: &GroupFolder, now: Instant, actions: &mut Vec<Action>) {
        let entry = self.groups.get_mut(group).expect("only known groups wait");
        let kind = entry.tasks.pop_front().map_or(RunKind::Chat, RunKind::Task);
        let prompt = if entry.careful() { PromptSize::Single } else { PromptSize::Full };
        entry.last_run = entry.last_run.next();
        (entry.full, entry.beats, entry.task_done) = (false, false, false);
        let (run, deadline) = (entry.run(group), now + entry.times.run);
        self.enter(group, State::Starting { kind: kind.clone() }, Some(deadline), now);
        actions.push(Action::Start { run, kind, prompt });
        self.used(group, now);
    }

    fn close(&mut self, group: &GroupFolder, now: Instant, actions: &mut Vec<Action>) {
        let entry = &self.groups[group];
        let kind = entry.state.kind();
        actions.push(Action::Close { run: entry.run(group) });
        self.enter(group, State::Stopping { kind }, None, now);
    }

    fn stop(&mut self, group: &GroupFolder, why: StopReason, now: Instant, actions: &mut Vec<Action>) {
        let entry = &self.groups[group];
        let kind = entry.state.kind();
        actions.push(Action::Stop { run: entry.run(group), why });
        self.enter(group, State::Stopping { kind }, None, now);
    }

    /// An agent begins to owe an answer.
    fn enter_busy(&mut self, group: &GroupFolder, kind: RunKind, now: Instant) {
        let entry = self.groups.get_mut(group).expect("only known groups have a state");
        entry.turn_began = now;
        let deadline = entry.busy_deadline(now);
        self.enter(group, State::Busy { kind }, Some(deadline), now);
    }

    /// A group without a container: waits when there is work, else idles.
    fn rest_or_wait(&mut self, group: &GroupFolder, now: Instant) {
        let entry = &self.groups[group];
        let state = if entry.frozen {
            State::Frozen
        } else if entry.has_work() {
            State::Waiting
        } else {
            State::Idle
        };
        self.enter(group, state, None, now);
    }

    /// The one place where a group's state changes; keeps the indexes true.
    fn enter(&mut self, group: &GroupFolder, state: State, deadline: Option<Instant>, now: Instant) {
        let entry = self.groups.get_mut(group).expect("only known groups have a state");
        if let Some(at) = entry.deadline.take() {
            self.deadlines.remove(&(at, group.clone()));
        }
        if let Some(at) = deadline {
            entry.deadline = Some(at);
            self.deadlines.insert((at, group.clone()));
        }
        if entry.state != state {
            if entry.state == State::Waiting {
                self.waiting.retain(|waiting| waiting != group);
            }
            if state == State::Waiting {
                self.waiting.push_back(group.clone());
            }
            if state.holds_container() {
                self.live.insert(group.clone());
            } else {
                self.live.remove(group);
            }
            entry.since = now;
            entry.state = state;
        }
    }
}

/// What an agent at work showed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// An answer: the time for the next one begins.
    Answer,
    /// A sign of life.
    Sign,
}

#[cfg(test)]
mod tests;
