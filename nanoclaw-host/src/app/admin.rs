//! What the running service answers on its control socket: the store's answers, and what only the orchestrator knows.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use nanoclaw_core::{
    group::GroupFolder,
    message::Seq,
    orchestrator::{GroupStatus, Orchestrator},
    runtime::{ContainerRuntime, ContainerSummary},
    store::{Resolution, StoreError, TurnResolution, TurnResolved},
    time::Timestamp,
};
use tokio::time::Instant;

use crate::{
    admin::{
        AdminHandler, DeliveryView, OnStore, OutboxQuery, Resolver, Standing, Standings, outbox,
        types::{
            AdminError, ChannelStatus, ChatView, Explanation, GroupDetails, GroupState, GroupView, NewGroup,
            ServiceStatus, Status, TurnDetails, TurnView,
        },
    },
    channels::{bridge::Bridges, local},
    home,
};

pub(super) struct OnService {
    on_store: OnStore,
    orchestrator: Orchestrator,
    runtime: Arc<dyn ContainerRuntime>,
    about_runtime: String,
    bridges: Bridges,
    started_at: Timestamp,
}

impl OnService {
    pub(super) fn new(
        on_store: OnStore,
        orchestrator: Orchestrator,
        runtime: Arc<dyn ContainerRuntime>,
        about_runtime: String,
        bridges: Bridges,
    ) -> Self {
        Self { on_store, orchestrator, runtime, about_runtime, bridges, started_at: Timestamp::now() }
    }

    /// What the containers of this installation use now; what a runtime does not know is left out.
    async fn memory(&self) -> HashMap<GroupFolder, u64> {
        let Ok(install) = self.on_store.store.install_id().await else { return HashMap::new() };
        let mut used = HashMap::new();
        for ContainerSummary { id, group, .. } in self.runtime.list(&install).await.unwrap_or_default() {
            if let Ok(Some(stats)) = self.runtime.stats(&id).await {
                used.insert(group, stats.memory_bytes);
            }
        }
        used
    }

    fn channels(&self) -> Vec<ChannelStatus> {
        let local = ChannelStatus { name: local::name().to_string(), connected: true };
        let bridges = self
            .bridges
            .connected()
            .into_iter()
            .map(|bridge| ChannelStatus { name: bridge.name.to_string(), connected: true });
        std::iter::once(local).chain(bridges).collect()
    }
}

#[async_trait]
impl AdminHandler for OnService {
    async fn status(&self) -> Result<Status, AdminError> {
        let mut status = self.on_store.status().await?;
        let known = self.orchestrator.status().await;
        let standings = standings(&known);
        let states: HashMap<_, _> = known.into_iter().map(|status| (status.group, status.state)).collect();
        let memory = self.memory().await;
        let containers =
            states.values().filter(|state| matches!(**state, "starting" | "busy" | "resting" | "stopping" | "held"));
        status.service = Some(ServiceStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_ms: self.started_at,
            runtime: self.about_runtime.clone(),
            containers: u32::try_from(containers.count()).unwrap_or(u32::MAX),
            max_containers: *self.on_store.config.limits.max_concurrent_containers,
            channels: self.channels(),
        });
        for group in &mut status.groups {
            group.state = states.get(&group.folder).and_then(|word| GroupState::of_word(word));
            if let Some(standing) = standings.get(&group.folder) {
                (group.trouble, group.next_try_at_ms) = (standing.trouble, standing.next_try);
            }
            group.memory_bytes = memory.get(&group.folder).copied();
        }
        Ok(status)
    }

    async fn groups(&self) -> Result<Vec<GroupView>, AdminError> {
        self.on_store.groups().await
    }

    async fn group(&self, group: &str) -> Result<GroupDetails, AdminError> {
        self.on_store.group(group).await
    }

    async fn add_group(&self, new: NewGroup) -> Result<GroupView, AdminError> {
        let group = self.on_store.new_group(new).await?;
        self.orchestrator.add_group(group.clone()).await?;
        if let Err(error) = home::write_group_memory(&self.on_store.home, &group) {
            tracing::warn!(group = %group.folder, %error, "the group's folder is made when it first runs");
        }
        Ok(group.into())
    }

    async fn remove_group(&self, group: &str) -> Result<GroupView, AdminError> {
        let group = self.on_store.find(group).await?;
        self.orchestrator.remove_group(&group.folder).await?;
        Ok(group.into())
    }

    async fn chats(&self) -> Result<Vec<ChatView>, AdminError> {
        self.on_store.chats().await
    }

    async fn explain(&self, group: &str) -> Result<Explanation, AdminError> {
        self.on_store.explain(group).await
    }

    async fn outbox(&self, query: OutboxQuery) -> Result<Vec<DeliveryView>, AdminError> {
        self.on_store.outbox(query).await
    }

    async fn delivery(&self, message: &str) -> Result<DeliveryView, AdminError> {
        self.on_store.delivery(message).await
    }

    async fn resolve_delivery(&self, message: &str, resolution: Resolution) -> Result<DeliveryView, AdminError> {
        let row = outbox::find(&*self.on_store.store, message).await?;
        let resolved = self.orchestrator.resolve_delivery(row.delivery.id, resolution).await?;
        outbox::resolved(&*self.on_store.store, message, resolution, resolved).await
    }

    async fn turns(&self, group: Option<&str>, all: bool) -> Result<Vec<TurnView>, AdminError> {
        self.on_store.turns_with(group, all, &self.standings().await).await
    }

    async fn turn(&self, id: &str) -> Result<TurnDetails, AdminError> {
        self.on_store.turn_with(id, &self.standings().await).await
    }

    async fn retry_turns(&self, id: Option<&str>) -> Result<Vec<TurnView>, AdminError> {
        self.on_store.retry_with(id, self).await
    }

    async fn drop_turn(&self, id: &str) -> Result<TurnView, AdminError> {
        self.on_store.drop_with(id, self).await
    }
}

#[async_trait]
impl Resolver for OnService {
    async fn standings(&self) -> Standings {
        standings(&self.orchestrator.status().await)
    }

    async fn resolve(&self, group: &GroupFolder, last: Seq, wish: TurnResolution) -> Result<TurnResolved, StoreError> {
        self.orchestrator.resolve_set_aside(group, last, wish).await
    }

    async fn try_now(&self, group: &GroupFolder) {
        self.orchestrator.try_now(Some(group)).await;
    }

    async fn drop_waiting(&self, group: &GroupFolder, through: Seq) -> Result<(), StoreError> {
        self.orchestrator.drop_waiting(group, through).await.map(drop)
    }
}

/// The groups that do not get their answers just now.
fn standings(known: &[GroupStatus]) -> Standings {
    let (now, wall) = (Instant::now(), Timestamp::now());
    let waits = |status: &&GroupStatus| matches!(status.state, "paused" | "backing off");
    known
        .iter()
        .filter(waits)
        .map(|status| {
            let next_try = status.deadline.map(|at| wall.plus(at.saturating_duration_since(now)));
            let standing = Standing { trouble: status.trouble, backing_off: status.state == "backing off", next_try };
            (status.group.clone(), standing)
        })
        .collect()
}
