//! What belongs to one open socket, to one group, and to the gateway as a whole.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use nanoclaw_core::group::GroupFolder;
use tokio::sync::Semaphore;

use super::{
    GroupCounts, Policy, Resolve,
    counts::Counters,
    limits::{Rate, Untold},
    upstream::UpstreamClient,
    upstreams::FurtherClient,
};

/// What all groups share.
pub(super) struct Shared {
    pub(super) upstream: UpstreamClient,
    pub(super) further: BTreeMap<String, FurtherClient>,
    pub(super) resolver: Arc<dyn Resolve>,
    groups: Mutex<BTreeMap<GroupFolder, Arc<GroupState>>>,
}

/// What outlives a group's socket: its next container does not begin anew.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    pub(super) counters: Counters,
    pub(super) rate: Rate,
    /// Of questions whether the gateway is there, which are no requests.
    pub(super) questions: Rate,
    pub(super) untold: Untold,
}

/// One open socket: who asks, and what that group may do.
pub(super) struct Session {
    pub(super) group: GroupFolder,
    pub(super) policy: Policy,
    pub(super) shared: Arc<Shared>,
    pub(super) state: Arc<GroupState>,
    /// Places of tunnels.
    pub(super) tunnels: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(
        upstream: UpstreamClient,
        further: BTreeMap<String, FurtherClient>,
        resolver: Arc<dyn Resolve>,
    ) -> Self {
        Self { upstream, further, resolver, groups: Mutex::default() }
    }

    pub(super) fn state_of(&self, group: &GroupFolder) -> Arc<GroupState> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(groups.entry(group.clone()).or_default())
    }

    pub(super) fn counts(&self) -> Vec<GroupCounts> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.iter().map(|(group, state)| state.counters.of(group.clone())).collect()
    }
}

impl Session {
    pub(super) fn new(group: GroupFolder, policy: Policy, shared: Arc<Shared>) -> Self {
        let tunnels = Arc::new(Semaphore::new(policy.limits.tunnels));
        Self { state: shared.state_of(&group), group, policy, shared, tunnels }
    }
}
