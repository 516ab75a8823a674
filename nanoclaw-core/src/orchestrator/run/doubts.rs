//! Of which groups a container of a run that is over may still live: a start that failed half-way, a removal that failed, a
//! worker that left nothing behind. Such a container would share the mailbox with the group's next one (fault F24), so no run
//! of the group starts before the runtime says that there is none.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    HOST, RunContext,
    leftover::{DEAD_TRIES, Known},
    not_started, retry_of,
};
use crate::{
    group::GroupFolder,
    run::{RunEnding, RunId},
    runtime::{ContainerId, RuntimeError},
};

/// What nobody knows for certain about containers of runs that are over.
#[derive(Debug, Default)]
pub(in crate::orchestrator) struct Doubts(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// With the number of the doubt, so that one that came up anew is told from the one that was looked into.
    groups: BTreeMap<GroupFolder, u64>,
    last: u64,
    /// Containers that do not run and could not be removed, with how often that was tried.
    dead: BTreeMap<ContainerId, u32>,
    /// Runs that are over for this host though the store has them open.
    abandoned: BTreeSet<RunId>,
}

/// The doubts at one time.
pub(in crate::orchestrator) struct Then(BTreeMap<GroupFolder, u64>);

impl Doubts {
    /// A container of a run of `group` that is over may live.
    pub(in crate::orchestrator) fn note(&self, group: &GroupFolder) {
        let mut held = self.held();
        held.last += 1;
        let number = held.last;
        held.groups.insert(group.clone(), number);
    }

    /// Nobody sees to `run` any more, which may be open and have a container.
    pub(in crate::orchestrator) fn abandon(&self, run: &RunId) {
        self.note(&run.group);
        self.held().abandoned.insert(run.clone());
    }

    /// The runs that nobody sees to.
    pub(in crate::orchestrator) fn abandoned(&self) -> BTreeSet<RunId> {
        self.held().abandoned.clone()
    }

    /// A container was seen to end and could not be removed.
    pub(in crate::orchestrator) fn note_dead(&self, container: &ContainerId) {
        self.held().dead.insert(container.clone(), DEAD_TRIES);
    }

    /// A container does not run and could not be removed once more; whether it is certainly dead. One that was created and
    /// not started looks the same, and the engine may just be about to start it for a host that has died.
    pub(in crate::orchestrator) fn is_dead(&self, container: &ContainerId) -> bool {
        let mut held = self.held();
        let tries = held.dead.entry(container.clone()).or_default();
        *tries += 1;
        *tries >= DEAD_TRIES
    }

    /// Whether any group waits.
    pub(in crate::orchestrator) fn any(&self) -> bool {
        !self.held().groups.is_empty()
    }

    /// Whether dead containers lie about.
    pub(in crate::orchestrator) fn any_dead(&self) -> bool {
        !self.held().dead.is_empty()
    }

    /// What is in doubt now, for whoever begins to look into all of it.
    pub(in crate::orchestrator) fn now(&self) -> Then {
        Then(self.held().groups.clone())
    }

    /// Somebody looked into the doubts that there were `then`: containers of the groups in `alive` may live, the other groups
    /// have none. `listed` are all that there are, dead ones included.
    pub(in crate::orchestrator) fn looked_into(
        &self,
        then: &Then,
        alive: &BTreeSet<GroupFolder>,
        listed: &BTreeSet<ContainerId>,
    ) {
        let mut held = self.held();
        held.groups.retain(|group, number| then.0.get(group) != Some(number));
        held.dead.retain(|container, _| listed.contains(container));
        drop(held);
        for group in alive {
            self.note(group);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunContext {
    /// Makes sure that no container of an earlier run of `group` lives, before one is started.
    ///
    /// # Errors
    /// That the run does not start.
    pub(super) async fn settle_doubts(&self, group: &GroupFolder) -> Result<(), RunEnding> {
        let Some(number) = self.doubts.held().groups.get(group).copied() else { return Ok(()) };
        let install = self.store.install_id().await.map_err(|error| not_started(&error, HOST))?;
        let refused = |error: RuntimeError| not_started(&error, retry_of(&error));
        let listed = self.runtime.list(&install).await.map_err(refused)?;
        let of_group: BTreeSet<ContainerId> =
            listed.into_iter().filter(|one| one.group == *group).map(|one| one.id).collect();
        for container in of_group {
            let Err(error) = self.runtime.remove(&container).await else { continue };
            let listed = self.runtime.list(&install).await.map_err(refused)?;
            match Known::of(&container, &listed) {
                Known::Gone => {}
                Known::Dead if self.doubts.is_dead(&container) => {}
                Known::Dead | Known::Alive => {
                    let reason = format!("the container {container} of an earlier run cannot be removed: {error}");
                    return Err(not_started(&reason, HOST));
                }
            }
        }
        let mut held = self.doubts.held();
        if held.groups.get(group) == Some(&number) {
            held.groups.remove(group);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> GroupFolder {
        GroupFolder::new(name).unwrap()
    }

    #[test]
    fn a_doubt_that_comes_up_while_the_old_ones_are_looked_into_stays() {
        let doubts = Doubts::default();
        doubts.note(&folder("a"));
        doubts.note(&folder("b"));
        let then = doubts.now();
        doubts.note(&folder("b"));
        doubts.note(&folder("c"));
        doubts.looked_into(&then, &BTreeSet::new(), &BTreeSet::new());
        let left: Vec<GroupFolder> = doubts.now().0.into_keys().collect();
        assert_eq!(left, [folder("b"), folder("c")]);
    }

    #[test]
    fn what_still_lives_stays_in_doubt() {
        let doubts = Doubts::default();
        doubts.note(&folder("a"));
        doubts.note(&folder("b"));
        doubts.looked_into(&doubts.now(), &BTreeSet::from([folder("b")]), &BTreeSet::new());
        let left: Vec<GroupFolder> = doubts.now().0.into_keys().collect();
        assert_eq!((left, doubts.any()), (vec![folder("b")], true));
    }

    #[test]
    fn what_does_not_run_is_dead_when_it_was_so_for_a_while() {
        let (doubts, container) = (Doubts::default(), ContainerId::new("c").unwrap());
        assert_eq!([(); 4].map(|()| doubts.is_dead(&container)), [false, false, true, true]);
        doubts.looked_into(&doubts.now(), &BTreeSet::new(), &BTreeSet::from([container.clone()]));
        assert!(doubts.any_dead());
        doubts.looked_into(&doubts.now(), &BTreeSet::new(), &BTreeSet::new());
        assert!(!doubts.any_dead() && !doubts.is_dead(&container));
    }
}
