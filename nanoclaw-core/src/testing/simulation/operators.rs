//! The operators: what they do with groups, turns and the outbox, at any time, and not always wisely.

use std::{sync::Arc, time::Duration};

use super::{
    chats::{Line, Lines, Member, chat, group},
    plan::{GroupPlan, Operation},
    world::World,
};
use crate::{
    group::GroupFolder,
    orchestrator::Orchestrator,
    store::{DeliveryFilter, DeliveryState, SetAsideState, Store, StoreError, TurnResolution},
    testing::MemoryStore,
};

/// Does one thing at its time.
pub(super) async fn operate(
    world: Arc<World>,
    store: Arc<MemoryStore>,
    lines: Arc<Lines>,
    at: Duration,
    operation: Operation,
) {
    tokio::time::sleep(at.saturating_sub(world.elapsed())).await;
    let operator = Operator { world, store, lines };
    let (world, store) = (&operator.world, &operator.store);
    let places: Vec<usize> = (0..world.plan.groups.len()).collect();
    let plan = &world.plan.groups[world.one_of(&places)];
    world.note(|| format!("an operator does {operation:?}, with {}", plan.name));
    match operation {
        Operation::TryNow => {
            let only = world.one_of(&[true, false]).then(|| folder(plan));
            operator.ask(async |host| host.try_now(only.as_ref()).await).await;
        }
        Operation::SetAside(resolution) => operator.set_aside(resolution).await,
        Operation::DropWaiting => operator.drop_waiting(plan).await,
        Operation::Delivery(resolution) => {
            let states = vec![
                DeliveryState::Pending,
                DeliveryState::Sending,
                DeliveryState::Failed,
                DeliveryState::Unknown,
                DeliveryState::Dropped,
            ];
            let rows = store.deliveries(&DeliveryFilter { states, chat: None }, u32::MAX).await.unwrap_or_default();
            if rows.is_empty() {
                return;
            }
            let ids: Vec<_> = rows.iter().map(|row| row.delivery.id).collect();
            let id = world.one_of(&ids);
            // Who is told of an error tries again; who is cut off does not.
            let done = loop {
                match operator.ask(async |host| host.resolve_delivery(id, resolution).await).await {
                    Some(Err(_)) => world.pause(100, 3000).await,
                    done => break done,
                }
            };
            world.note(|| format!("what came of {resolution:?} of {}: {done:?}", id.0));
        }
        // The owner's group is there for good.
        Operation::Remove(_) if plan.main => {}
        Operation::Remove(away) => operator.remove(plan, away).await,
        Operation::Freeze(span) => operator.freeze(plan, span).await,
    }
}

struct Operator {
    world: Arc<World>,
    store: Arc<MemoryStore>,
    lines: Arc<Lines>,
}

impl Operator {
    /// Asks the host that is there, or the next one; `None` when it died meanwhile.
    async fn ask<T>(&self, what: impl AsyncFnOnce(&Orchestrator) -> T) -> Option<T> {
        let Line { orchestrator, host, inbox } = self.lines.get().await;
        drop(inbox);
        tokio::select! {
            biased;
            () = host.death() => None,
            done = what(&orchestrator) => Some(done),
        }
    }

    async fn set_aside(&self, resolution: TurnResolution) {
        let mut aside = self.store.set_aside(None, true, u32::MAX).await.unwrap_or_default();
        aside.retain(|one| one.state != SetAsideState::Retried);
        if aside.is_empty() {
            return;
        }
        let places: Vec<usize> = (0..aside.len()).collect();
        let one = &aside[self.world.one_of(&places)];
        let decide =
            async |host: &Orchestrator| host.resolve_set_aside(&one.group, one.messages.last, resolution).await;
        let done = loop {
            match self.ask(decide).await {
                Some(Err(StoreError::Failed { .. })) => self.world.pause(100, 3000).await,
                done => break done,
            }
        };
        self.world.note(|| format!("what came of {resolution:?} of {}/{}: {done:?}", one.group, one.messages.last));
    }

    async fn drop_waiting(&self, plan: &GroupPlan) {
        let folder = folder(plan);
        let groups = self.store.recover().await.unwrap_or_default();
        let Some(through) = groups.iter().find(|one| one.group.folder == folder).and_then(|one| one.waiting) else {
            return;
        };
        let done = self.ask(async |host| host.drop_waiting(&folder, through).await).await;
        self.world.note(|| format!("what came of dropping {folder} up to {through}: {done:?}"));
    }

    async fn remove(&self, plan: &GroupPlan, away: Option<Duration>) {
        let (folder, chat) = (folder(plan), chat(plan));
        if self.world.chats().member(&chat).state != Member::In {
            return;
        }
        self.world.chats().set_member(&chat, Member::Changing);
        loop {
            match self.ask(async |host| host.remove_group(&folder).await).await {
                Some(Ok(()) | Err(StoreError::NoGroup { .. })) => break,
                _ => self.world.pause(100, 3000).await,
            }
        }
        self.world.note(|| format!("{folder} is removed"));
        self.world.chats().set_member(&chat, Member::Out);
        // Frozen was what is gone now.
        self.world.chats().frozen.remove(&folder);
        let Some(away) = away else { return };
        tokio::time::sleep(away).await;
        self.world.chats().set_member(&chat, Member::Changing);
        loop {
            match self.ask(async |host| host.add_group(group(plan)).await).await {
                Some(Ok(()) | Err(StoreError::ChatTaken { .. } | StoreError::FolderTaken { .. })) => break,
                _ => self.world.pause(100, 3000).await,
            }
        }
        self.world.note(|| format!("{folder} is added again"));
        self.world.chats().set_member(&chat, Member::In);
    }

    /// Freezing is of a host: the next one knows nothing of it.
    async fn freeze(&self, plan: &GroupPlan, span: Duration) {
        let folder = folder(plan);
        let Line { orchestrator, host, inbox } = self.lines.get().await;
        let number = host.number;
        drop(inbox);
        orchestrator.freeze(&folder).await;
        drop((orchestrator, host));
        // One that nobody knows is not frozen when it is added.
        if self.world.chats().member(&chat(plan)).state == Member::In {
            self.world.chats().frozen.insert(folder.clone(), (number, self.world.elapsed()));
        }
        tokio::time::sleep(span).await;
        self.world.chats().frozen.remove(&folder);
        self.world.note(|| format!("an operator thaws {folder}"));
        self.ask(async |host| host.thaw(&folder).await).await;
        // It may have taken a while to reach a host, one in which somebody else has frozen it meanwhile.
        self.world.chats().frozen.remove(&folder);
    }
}

fn folder(plan: &GroupPlan) -> GroupFolder {
    group(plan).folder
}
