//! For whom a container is started ahead, and who has to do without it again.
//!
//! A container that stands by is a run like any other, of which nobody has asked anything yet: it has its number, its row in
//! the store and its slot, and its group can have no other. So what holds of runs holds of it, and handing it over is one
//! change of one state: what stands by *begins* or *stops*, and never both, since only the dispatcher says either.
//!
//! The groups that were used last have one, as many as the settings and their memory allow. They give way to everything: one
//! slot is always left for who comes, and while somebody waits there are none. So nobody waits longer for their sake,
//! but for two who come at once.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{Dispatcher, State};
use crate::{
    group::GroupFolder,
    orchestrator::{
        event::{Action, PromptSize, StopReason},
        retry::run_retry_delay,
    },
    run::RunKind,
};

/// The numbers that decide about containers started ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandbySettings {
    /// The most of them at a time; 0: none is ever started.
    pub groups: usize,
    /// The most bytes of memory that all of them take together.
    pub memory_bytes: u64,
    /// How long after it was last used a group has one.
    pub within: Duration,
}

impl Default for StandbySettings {
    /// None; for others, half a gibibyte and a day.
    fn default() -> Self {
        Self { groups: 0, memory_bytes: 512 << 20, within: Duration::from_secs(24 * 60 * 60) }
    }
}

/// What a container counts for whose memory nobody has told yet: what our own agent takes before its prompt, amply.
const ASSUMED_BYTES: u64 = 32 << 20;

/// After so many failures in a row the next try is a matter of minutes.
const QUICK_TRIES: u32 = 3;
const SLOW_RETRY: Duration = Duration::from_secs(10 * 60);

/// Which groups were used when.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    recent: BTreeSet<(Instant, GroupFolder)>,
    look_again_at: Option<Instant>,
}

impl Keeper {
    /// When a container may be started that may not be started now.
    pub(super) fn look_again_at(&self) -> Option<Instant> {
        self.look_again_at
    }

    /// A group that was last used at this time is no more.
    pub(super) fn forget(&mut self, group: &GroupFolder, used_at: Option<Instant>) {
        if let Some(at) = used_at {
            self.recent.remove(&(at, group.clone()));
        }
    }
}

/// A group that could have a container waiting for it, or has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    group: GroupFolder,
    /// What its container takes, as far as that is known.
    memory_bytes: u64,
}

/// Whose containers are to stand by, of `candidates` in the order of their use, the latest first: the first ones, as far as
/// number and memory go. One that does not fit ends it, so that a group's place hangs on those before it and on nothing else.
fn chosen(candidates: impl Iterator<Item = Candidate>, settings: &StandbySettings) -> Vec<GroupFolder> {
    let mut memory = 0_u64;
    candidates
        .take(settings.groups)
        .take_while(|candidate| {
            memory = memory.saturating_add(candidate.memory_bytes);
            memory <= settings.memory_bytes
        })
        .map(|candidate| candidate.group)
        .collect()
}

/// How many of `standing` containers have to go so that everybody who waits, and one more, finds a slot.
fn to_yield(standing: usize, live: usize, stopping: usize, waiting: usize, slots: usize) -> usize {
    (live - stopping + waiting + 1).saturating_sub(slots).min(standing)
}

impl Dispatcher {
    /// Whether any container is ever started ahead.
    #[must_use]
    pub fn starts_ahead(&self) -> bool {
        self.settings.standby.groups > 0
    }

    /// A group was asked or answered something.
    pub(super) fn used(&mut self, group: &GroupFolder, at: Instant) {
        if !self.starts_ahead() {
            return;
        }
        let Some(entry) = self.groups.get_mut(group).filter(|entry| !entry.removed) else { return };
        let before = entry.standby.used_at;
        if before.is_some_and(|before| before >= at) {
            return;
        }
        entry.standby.used_at = Some(at);
        self.keeper.forget(group, before);
        self.keeper.recent.insert((at, group.clone()));
    }

    /// Work arrived for a container that stands by, or will in a moment. A task needs one of its own.
    pub(super) fn begin(&mut self, group: &GroupFolder, now: Instant, actions: &mut Vec<Action>) {
        let entry = self.groups.get_mut(group).expect("only known groups have a container");
        if !entry.tasks.is_empty() {
            return self.stop(group, StopReason::Wanted, now, actions);
        }
        let prompt = if entry.careful() { PromptSize::Single } else { PromptSize::Full };
        entry.standby.failures = 0;
        let (run, deadline) = (entry.run(group), now + entry.times.run);
        self.enter(group, State::Starting { kind: RunKind::Chat }, Some(deadline), now);
        actions.push(Action::Begin { run, prompt });
        self.used(group, now);
    }

    /// A container waits for its prompt.
    pub(super) fn stands_by(&mut self, group: &GroupFolder, memory_bytes: Option<u64>, now: Instant) {
        let within = self.settings.standby.within;
        let entry = self.groups.get_mut(group).expect("run_says has just looked the group up");
        entry.standby.memory_bytes = memory_bytes.or(entry.standby.memory_bytes);
        if entry.state == State::Preparing {
            let until = entry.standby.used_at.map_or(now, |used_at| used_at + within);
            self.enter(group, State::Standby, Some(until), now);
        }
    }

    /// A container is gone to which nothing was handed; what waits, waits for another.
    pub(super) fn unused(&mut self, group: &GroupFolder, failed: bool, now: Instant) {
        let entry = self.groups.get_mut(group).expect("run_says has just looked the group up");
        entry.feeding = false;
        if failed {
            entry.standby.failures += 1;
            let failures = entry.standby.failures;
            let delay = if failures <= QUICK_TRIES { run_retry_delay(failures, group) } else { SLOW_RETRY };
            entry.standby.not_before = Some(now + delay);
        }
        if entry.removed {
            self.enter(group, State::Idle, None, now);
            self.forget(group);
        } else {
            self.rest_or_wait(group, now);
        }
    }

    /// Ends the containers that are not to stand by any more and starts those that are.
    pub(super) fn keep_standbys(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.keeper.look_again_at = None;
        if !self.starts_ahead() || self.shutting_down {
            return;
        }
        let chosen = chosen(self.candidates(now), &self.settings.standby);
        let mut standing = self.standing();
        standing.retain(|group| {
            let stays = chosen.contains(group);
            if !stays {
                self.stop(group, StopReason::Wanted, now, actions);
            }
            stays
        });
        let stopping = self.live.iter().filter(|group| self.groups[*group].state.is_stopping()).count();
        let (live, slots) = (self.live.len() + self.left_over, self.settings.max_containers.get());
        for group in standing.iter().take(to_yield(standing.len(), live, stopping, self.waiting.len(), slots)) {
            self.stop(group, StopReason::Wanted, now, actions);
        }
        if !self.waiting.is_empty() {
            return;
        }
        for group in chosen {
            let entry = self.groups.get_mut(&group).expect("only known groups are chosen");
            if entry.state != State::Idle || self.live.len() + self.left_over + 1 >= slots {
                continue;
            }
            if let Some(at) = entry.standby.not_before.filter(|at| *at > now) {
                let soonest = self.keeper.look_again_at.map_or(at, |other| other.min(at));
                self.keeper.look_again_at = Some(soonest);
                continue;
            }
            entry.last_run = entry.last_run.next();
            (entry.full, entry.beats) = (false, false);
            let (run, deadline) = (entry.run(&group), now + entry.times.run);
            self.enter(&group, State::Preparing, Some(deadline), now);
            actions.push(Action::StandBy { run });
        }
    }

    /// The groups whose containers stand by or are about to, the one first that was used longest ago.
    fn standing(&self) -> Vec<GroupFolder> {
        let mut standing: Vec<_> = self
            .live
            .iter()
            .filter(|group| self.groups[*group].state.stands_by())
            .map(|group| (self.groups[group].standby.used_at, group.clone()))
            .collect();
        standing.sort();
        standing.into_iter().map(|(_, group)| group).collect()
    }

    /// The groups that were used recently, have no other container, and are not in any trouble; the one first that was used
    /// last.
    fn candidates(&self, now: Instant) -> impl Iterator<Item = Candidate> {
        let within = self.settings.standby.within;
        let recent = self.keeper.recent.iter().rev().take_while(move |(at, _)| *at + within > now);
        recent.filter_map(|(_, group)| {
            let entry = self.groups.get(group)?;
            let sound = entry.failures == 0 && entry.trouble.is_none() && !entry.has_work();
            let free = entry.state == State::Idle || entry.state.stands_by();
            let memory_bytes = entry.standby.memory_bytes.unwrap_or(ASSUMED_BYTES);
            (sound && free && !entry.removed && !entry.frozen).then(|| Candidate { group: group.clone(), memory_bytes })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(sizes: &[u64]) -> Vec<Candidate> {
        let of = |(place, memory_bytes): (usize, &u64)| Candidate {
            group: GroupFolder::new(format!("g{place}")).unwrap(),
            memory_bytes: *memory_bytes,
        };
        sizes.iter().enumerate().map(of).collect()
    }

    proptest! {
        #[test]
        fn those_who_are_chosen_are_the_first_and_fit(
            sizes in proptest::collection::vec(0..100_u64, 0..20), groups in 0..10_usize, memory_bytes in 0..400_u64,
        ) {
            let all = candidates(&sizes);
            let settings = StandbySettings { groups, memory_bytes, ..StandbySettings::default() };
            let chosen = chosen(all.iter().cloned(), &settings);
            let first: Vec<_> = all.iter().take(chosen.len()).map(|one| one.group.clone()).collect();
            prop_assert_eq!(&chosen, &first);
            let taken: u64 = sizes[..chosen.len()].iter().sum();
            prop_assert!(chosen.len() <= groups && taken <= memory_bytes);
            let next = sizes.get(chosen.len());
            prop_assert!(chosen.len() == groups || next.is_none_or(|next| taken + next > memory_bytes), "one more fits");
        }

        #[test]
        fn as_many_yield_as_slots_are_wanted_and_no_more(
            standing in 0..6_usize, at_work in 0..6_usize, stopping in 0..6_usize, waiting in 0..6_usize, slots in 1..8_usize,
        ) {
            let live = standing + at_work + stopping;
            let going = to_yield(standing, live, stopping, waiting, slots);
            let free_soon = |going: usize| (at_work + standing - going + waiting) < slots;
            prop_assert!(going <= standing);
            prop_assert!(going == standing || free_soon(going), "too few go");
            prop_assert!(going == 0 || !free_soon(going - 1), "one goes in vain");
        }
    }
}
