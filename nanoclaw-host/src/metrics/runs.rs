//! What the orchestrator's loop hears and decides, as figures: how long messages and tasks wait for an agent, how long a turn and a
//! run take, how runs end.
//!
//! A group's messages are followed one by one: each waits from the moment in which the loop heard of it until it is in an agent's
//! hands, and is worked on from then until it is answered. What waited when the service started is counted from then on.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use nanoclaw_core::{
    group::GroupFolder,
    message::Seq,
    orchestrator::{Action, Event, Observer, RunWord},
    run::{RunId, RunKind, TaskId},
};
use tokio::time::Instant;

use super::{
    histogram::{Histogram, LONG},
    text::{Kind, Page},
};

/// Messages of a group that are followed; those beyond wait without being counted.
const MOST_FOLLOWED: usize = 4096;

/// Figures of runs and of what waits for them.
#[derive(Debug)]
pub struct Runs {
    state: Mutex<State>,
    message_wait: Histogram,
    task_wait: Histogram,
    turn: Histogram,
    run: Histogram,
}

#[derive(Debug, Default)]
struct State {
    groups: HashMap<GroupFolder, Following>,
    /// Tasks that are due, and since when.
    due: HashMap<(GroupFolder, TaskId), Instant>,
    /// Runs that were begun, when, and for which task.
    begun: HashMap<RunId, (Instant, Option<TaskId>)>,
    started: BTreeMap<&'static str, u64>,
    ended: BTreeMap<&'static str, u64>,
}

/// The messages of one group, in the order of their places.
#[derive(Debug, Default)]
struct Following {
    waiting: VecDeque<(Seq, Instant)>,
    handed: VecDeque<(Seq, Instant)>,
    /// All up to this one are settled.
    settled: Seq,
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            message_wait: Histogram::new(LONG),
            task_wait: Histogram::new(LONG),
            turn: Histogram::new(LONG),
            run: Histogram::new(LONG),
        }
    }
}

impl Observer for Runs {
    fn heard(&self, event: &Event, now: Instant) {
        #[cfg(feature = "failpoints")]
        crate::failpoints::hold_if_asked("dispatcher");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::GroupAdded { group, newest, adopted, .. } => {
                let answered = adopted.as_ref().map_or(Seq::ZERO, |adopted| adopted.handed);
                if *newest > answered {
                    state.of(group).comes(*newest, now);
                }
            }
            Event::MessageWaiting { group, seq } => state.of(group).comes(*seq, now),
            Event::TaskDue { group, task } => {
                state.due.entry((group.clone(), task.clone())).or_insert(now);
            }
            Event::TaskDropped { group, task, .. } => {
                state.due.remove(&(group.clone(), task.clone()));
            }
            Event::GaveUp { group, through } | Event::WorkStopped { group, through, .. } => {
                state.of(group).forget(*through);
            }
            Event::GroupRemoved { group } => {
                state.groups.remove(group);
                state.due.retain(|(of, _), _| of != group);
            }
            Event::Run { run, word } => self.said(&mut state, run, word, now),
            _ => {}
        }
    }

    fn decided(&self, action: &Action, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (run, kind, task) = match action {
            Action::Start { run, kind: RunKind::Chat, .. } => (run, "chat", None),
            Action::Start { run, kind: RunKind::Task(task), .. } => (run, "task", Some(task.clone())),
            Action::StandBy { run } => (run, "standby", None),
            _ => return,
        };
        *state.started.entry(kind).or_default() += 1;
        state.begun.insert(run.clone(), (now, task));
    }
}

impl Runs {
    fn said(&self, state: &mut State, run: &RunId, word: &RunWord, now: Instant) {
        let ended = match word {
            RunWord::Handed { through } => {
                for since in state.of(&run.group).hand(*through, now) {
                    self.message_wait.observe(now - since);
                }
                return;
            }
            RunWord::Answered { through } => {
                for since in state.of(&run.group).answer(*through) {
                    self.turn.observe(now - since);
                }
                return;
            }
            RunWord::Started => {
                let task = state.begun.get(run).and_then(|(_, task)| task.clone());
                let due = task.and_then(|task| state.due.remove(&(run.group.clone(), task)));
                if let Some(since) = due {
                    self.task_wait.observe(now - since);
                }
                return;
            }
            RunWord::Ended { ending } => ending.word(),
            RunWord::Unused { .. } => "unused",
            RunWord::Detached => "let_go",
            _ => return,
        };
        *state.ended.entry(ended).or_default() += 1;
        if let Some((since, _)) = state.begun.remove(run) {
            self.run.observe(now - since);
        }
        state.of(&run.group).wait_again(now);
    }

    /// Adds what was counted to `page`.
    pub fn write(&self, page: &mut Page) {
        let (started, ended) = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.started.clone(), state.ended.clone())
        };
        let name = "nanoclaw_queue_wait_seconds";
        page.family(
            name,
            Kind::Histogram,
            "From when a message or a task is to be done until it is in an agent's hands.",
        );
        self.message_wait.write(page, name, &[("kind", "message")]);
        self.task_wait.write(page, name, &[("kind", "task")]);
        let name = "nanoclaw_turn_seconds";
        page.family(name, Kind::Histogram, "From when a message is in an agent's hands until its answer is stored.");
        self.turn.write(page, name, &[]);
        let name = "nanoclaw_run_seconds";
        page.family(name, Kind::Histogram, "From when a run is begun until its container is gone.");
        self.run.write(page, name, &[]);
        let name = "nanoclaw_runs_started_total";
        page.family(name, Kind::Counter, "Runs that were begun, by what for.");
        for (kind, count) in &started {
            page.sample(name, &[("kind", kind)], count);
        }
        let name = "nanoclaw_runs_ended_total";
        page.family(name, Kind::Counter, "Runs that ended, by how.");
        for (ending, count) in &ended {
            page.sample(name, &[("ending", ending)], count);
        }
    }
}

impl State {
    fn of(&mut self, group: &GroupFolder) -> &mut Following {
        self.groups.entry(group.clone()).or_default()
    }
}

impl Following {
    fn comes(&mut self, seq: Seq, now: Instant) {
        let newest = self.waiting.back().or(self.handed.back()).map_or(self.settled, |(seq, _)| *seq);
        // The same word may come twice, and late.
        if seq > newest && self.waiting.len() < MOST_FOLLOWED {
            self.waiting.push_back((seq, now));
        }
    }

    /// Hands over all up to `through`, and returns since when each waited.
    fn hand(&mut self, through: Seq, now: Instant) -> Vec<Instant> {
        let mut waited = Vec::new();
        while let Some((seq, since)) = self.waiting.pop_front_if(|(seq, _)| *seq <= through) {
            waited.push(since);
            self.handed.push_back((seq, now));
        }
        waited
    }

    /// Ends all up to `through` that were handed over, and returns since when each was in an agent's hands.
    fn answer(&mut self, through: Seq) -> Vec<Instant> {
        self.settled = self.settled.max(through);
        let mut worked_on = Vec::new();
        while let Some((_, since)) = self.handed.pop_front_if(|(seq, _)| *seq <= through) {
            worked_on.push(since);
        }
        worked_on
    }

    fn forget(&mut self, through: Seq) {
        self.settled = self.settled.max(through);
        self.handed.retain(|(seq, _)| *seq > through);
        self.waiting.retain(|(seq, _)| *seq > through);
    }

    /// What was handed over and not answered waits again, from now on.
    fn wait_again(&mut self, now: Instant) {
        for (seq, _) in self.handed.drain(..).rev() {
            self.waiting.push_front((seq, now));
        }
    }
}

#[cfg(test)]
mod tests;
