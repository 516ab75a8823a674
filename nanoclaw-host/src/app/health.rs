//! Looks how the service stands, for health, for figures and for the screen: asks every part at once, waits for none of them for
//! long, and leaves what follows from it to [`judge`].

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use nanoclaw_core::{
    causes::with_causes,
    chat::ChatId,
    group::GroupFolder,
    orchestrator::{GroupStatus, Orchestrator},
    runtime::{ContainerRuntime, RuntimeError},
    store::{DeliveryFilter, DeliveryState},
    time::Timestamp,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{
    admin::Channels,
    awaited::Presence,
    credentials::{self, Keeper},
};
use crate::{
    admin::{
        MAX_LISTED, OnStore,
        types::{CredentialCheck, CredentialsView, RuntimeAway},
    },
    channels::{local, status::ChannelState},
    health::{
        Report,
        facts::{Answer, ChannelFact, Disk, Facts, OutboxFact, RuntimeFact, StoreFact, Waiting},
        http::Looks,
        judge,
        probe::CredentialProbe,
        room,
    },
    metrics::{Deliveries, Page, Runs, text::Kind},
    stores::{Ledger, OldestWaiting},
};

/// How long any part may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a report holds: whoever asks in between, however many, costs nothing.
const HOLDS: Duration = Duration::from_millis(500);

/// Whoever looks.
pub(super) struct Lookout {
    pub(super) on_store: OnStore,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) orchestrator: Orchestrator,
    pub(super) runtime: Arc<dyn ContainerRuntime>,
    pub(super) presence: Presence,
    pub(super) channels: Arc<Channels>,
    pub(super) keeper: Keeper,
    pub(super) runs: Arc<Runs>,
    pub(super) deliveries: Deliveries,
    pub(super) started_at: Timestamp,
    pub(super) probe: CredentialProbe,
    pub(super) last: Mutex<Option<(Instant, Report)>>,
}

impl Lookout {
    /// What is known of the groups; nothing while the loop does not answer.
    pub(super) async fn groups(&self) -> (Answer, Vec<GroupStatus>) {
        let asked = async {
            match self.orchestrator.answers().await {
                true => (Answer::Yes, self.orchestrator.status().await),
                false => (Answer::Ended, Vec::new()),
            }
        };
        timeout(PATIENCE, asked).await.unwrap_or((Answer::NotWithin(PATIENCE), Vec::new()))
    }

    /// How the service is; at most [`HOLDS`] old. Who comes while it is looked waits for that look.
    pub(super) async fn report(&self) -> Report {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < HOLDS
        {
            return report.clone();
        }
        let report = judge(&self.look().await, &self.on_store.config.health.thresholds());
        *last = Some((Instant::now(), report.clone()));
        report
    }

    async fn look(&self) -> Facts {
        let ((dispatcher, groups), store, disk, runtime, outbox, next_task_due, without_channel) = tokio::join!(
            self.groups(),
            self.store(),
            disk(self.on_store.home.store()),
            self.runtime(),
            in_time(self.outbox()),
            in_time(async { self.on_store.tasks.earliest_due().await.map_err(|error| error.to_string()) }),
            self.groups_without_channel(),
        );
        let troubled = groups.into_iter().filter_map(|status| Some((status.group, status.trouble?))).collect();
        Facts {
            at: Timestamp::now(),
            dispatcher,
            store,
            disk,
            runtime,
            channels: self.channel_facts().await,
            without_channel,
            outbox,
            next_task_due,
            troubled,
            credential_age: self.credential_age(),
            credentials_problem: self.keeper.credentials.problem(),
        }
    }

    /// A store whose last write failed is asked to write again: nobody else may for hours.
    async fn store(&self) -> StoreFact {
        if self.ledger.writing().failing.is_some() {
            // What comes of it is in what it tells next.
            let _ = timeout(PATIENCE, self.ledger.try_writing()).await;
        }
        let writing = self.ledger.writing();
        StoreFact { last_commit: writing.last_commit, failing: writing.failing, committing_for: writing.committing_for }
    }

    fn credential_age(&self) -> Option<(String, &'static str)> {
        let (kind, age) = self.keeper.credentials.age(Timestamp::now())?;
        age.told(kind, &self.on_store.config.time.zone)
    }

    async fn runtime(&self) -> Option<RuntimeFact> {
        let away = match &*self.presence.borrow() {
            Err(away) => Some(RuntimeAway::from(away)),
            Ok(_) => None,
        };
        let away = match away {
            Some(away) => away,
            None => {
                let install = self.on_store.store.install_id().await.ok()?;
                match timeout(PATIENCE, self.runtime.list(&install)).await {
                    Ok(Ok(_)) => return None,
                    Ok(Err(error)) => RuntimeAway::now(error),
                    Err(_) => RuntimeAway::now(RuntimeError::TimedOut { action: "list the containers" }),
                }
            }
        };
        Some(RuntimeFact { reason: away.reason, help: away.help, since: away.since_ms })
    }

    async fn outbox(&self) -> Result<OutboxFact, String> {
        let store = &*self.on_store.store;
        let asked = async {
            let states = vec![DeliveryState::Failed, DeliveryState::Unknown];
            let in_trouble = store.deliveries(&DeliveryFilter { states, chat: None }, MAX_LISTED).await?.len();
            let set_aside = store.set_aside(None, false, MAX_LISTED).await?.len();
            Ok((self.ledger.oldest_waiting().await?, in_trouble, set_aside))
        };
        let (waiting, in_trouble, set_aside) =
            asked.await.map_err(|error: nanoclaw_core::store::StoreError| error.to_string())?;
        // Nobody has to sit at a terminal.
        let oldest = waiting.into_iter().filter(|one| !local::is_local(&one.chat)).min_by_key(|one| one.since);
        let oldest = oldest.map(|OldestWaiting { chat, since, last_error, .. }| Waiting { chat, since, last_error });
        let few = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(OutboxFact { oldest, in_trouble: few(in_trouble), set_aside: few(set_aside) })
    }

    async fn group_chats(&self) -> Vec<(GroupFolder, ChatId)> {
        let groups = timeout(PATIENCE, self.on_store.store.groups()).await;
        let groups = groups.ok().and_then(Result::ok).unwrap_or_default();
        groups.into_iter().map(|group| (group.folder, group.chat)).collect()
    }

    async fn groups_without_channel(&self) -> Vec<GroupFolder> {
        let groups = self.group_chats().await.into_iter();
        groups.filter(|(_, chat)| !self.channels.know(chat)).map(|(folder, _)| folder).collect()
    }

    /// The channels that are used. A bridge that left is still used while a group's chat is its own.
    async fn channel_facts(&self) -> Vec<ChannelFact> {
        let watches = self.channels.watches();
        let mut facts: Vec<ChannelFact> = watches
            .into_iter()
            .map(|watch| ChannelFact {
                name: watch.name.to_string(),
                state: watch.state(),
                away_since: watch.away_since(),
            })
            .filter(|fact| !matches!(fact.state, ChannelState::Unused { .. }))
            .collect();
        let gone = self.channels.gone();
        if !gone.is_empty() {
            let groups = self.group_chats().await;
            let used = gone.into_iter().filter(|gone| groups.iter().any(|(_, chat)| gone.carried(chat)));
            facts.extend(used.map(|gone| ChannelFact {
                name: gone.name.to_string(),
                state: ChannelState::Waiting { reason: "its bridge left".to_owned(), next_try: None },
                away_since: Some(gone.since),
            }));
        }
        facts
    }

    /// What the model says of the credential; `None` when there is none.
    async fn credential(&self) -> Option<CredentialCheck> {
        let view = CredentialsView::of(&self.keeper.credentials);
        let fingerprint = view.model?.secret.fingerprint.unwrap_or_default();
        let ask = || credentials::check(&self.keeper.gateway, &self.keeper.credentials);
        Some(self.probe.check(&fingerprint, ask).await)
    }
}

#[async_trait]
impl Looks for Lookout {
    async fn live(&self) -> bool {
        matches!(timeout(PATIENCE, self.orchestrator.answers()).await, Ok(true))
    }

    async fn health(&self, deep: bool) -> Report {
        if !deep {
            return self.report().await;
        }
        let (report, credential) = tokio::join!(self.report(), self.credential());
        report.with_credential(credential.as_ref())
    }

    async fn metrics(&self) -> String {
        let mut page = Page::default();
        let ((_, groups), report, waiting) = tokio::join!(
            self.groups(),
            self.report(),
            in_time(async { self.ledger.oldest_waiting().await.map_err(|e| e.to_string()) })
        );
        self.about_service(&mut page, &report);
        self.about_groups(&mut page, &groups).await;
        self.runs.write(&mut page);
        self.deliveries.write(&mut page);
        about_outbox(&mut page, waiting.ok());
        self.about_gateway(&mut page);
        self.about_store(&mut page).await;
        about_process(&mut page);
        page.into_text()
    }
}

impl Lookout {
    fn about_service(&self, page: &mut Page, report: &Report) {
        page.family("nanoclaw_build_info", Kind::Gauge, "Always 1; the label is the version.");
        page.sample("nanoclaw_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let ready = self.started_at.as_ms() as f64 / 1e3;
        page.single("nanoclaw_ready_time_seconds", Kind::Gauge, "When the service was ready, since 1970.", ready);
        let name = "nanoclaw_check_status";
        page.family(name, Kind::Gauge, "What /health says of each part: 0 ok, 1 degraded, 2 failing.");
        for check in &report.checks {
            let of = check.of.as_deref().unwrap_or_default();
            page.sample(name, &[("check", &check.name), ("of", of)], check.status as u8);
        }
        let name = "nanoclaw_channel_connected";
        page.family(name, Kind::Gauge, "Whether a channel that is used is connected.");
        for channel in self.channels.all() {
            page.sample(name, &[("channel", &channel.name)], u8::from(channel.connected));
        }
    }

    async fn about_groups(&self, page: &mut Page, groups: &[GroupStatus]) {
        let mut states: BTreeMap<&str, u32> = BTreeMap::new();
        for group in groups {
            *states.entry(group.state).or_default() += 1;
        }
        page.family("nanoclaw_groups", Kind::Gauge, "Groups by what their containers do.");
        for (state, count) in states {
            page.sample("nanoclaw_groups", &[("state", state)], count);
        }
        let containers = groups.iter().filter(|group| has_container(group.state)).count();
        page.single("nanoclaw_containers", Kind::Gauge, "Containers now.", containers);
        let most = *self.on_store.config.limits.max_concurrent_containers;
        page.single("nanoclaw_containers_max", Kind::Gauge, "Containers that there may be at once.", most);
        if let Ok(Ok(tasks)) = timeout(PATIENCE, crate::admin::tasks::status(&*self.on_store.tasks)).await {
            page.family("nanoclaw_tasks", Kind::Gauge, "Tasks by how they stand; those that fail are active ones.");
            for (state, count) in [("active", tasks.active), ("paused", tasks.paused), ("failing", tasks.failing)] {
                page.sample("nanoclaw_tasks", &[("state", state)], count);
            }
        }
    }

    fn about_gateway(&self, page: &mut Page) {
        let counts = self.keeper.gateway.counts();
        let sum = |of: fn(&crate::gateway::GroupCounts) -> u64| counts.iter().map(of).sum::<u64>();
        let counter = Kind::Counter;
        page.single(
            "nanoclaw_gateway_requests_total",
            counter,
            "Requests and tunnels of all groups.",
            sum(|c| c.requests),
        );
        page.single("nanoclaw_gateway_refused_total", counter, "Those that the gateway refused.", sum(|c| c.refused));
        let name = "nanoclaw_gateway_bytes_total";
        page.family(name, counter, "Bytes of bodies and tunnels, by direction as the groups see it.");
        page.sample(name, &[("direction", "sent")], sum(|c| c.bytes_sent));
        page.sample(name, &[("direction", "received")], sum(|c| c.bytes_received));
        let name = "nanoclaw_model_tokens_total";
        page.family(name, counter, "Tokens of the model, as its answers tell.");
        page.sample(name, &[("kind", "input")], sum(|c| c.input_tokens));
        page.sample(name, &[("kind", "output")], sum(|c| c.output_tokens));
        page.sample(name, &[("kind", "cache_read")], sum(|c| c.cache_read_tokens));
        page.sample(name, &[("kind", "cache_written")], sum(|c| c.cache_written_tokens));
    }

    async fn about_store(&self, page: &mut Page) {
        let writing = self.ledger.writing();
        let counter = Kind::Counter;
        page.single("nanoclaw_store_writes_total", counter, "Writes that succeeded.", writing.written.writes);
        page.single("nanoclaw_store_commits_total", counter, "Commits that they shared.", writing.written.commits);
        page.single("nanoclaw_store_failures_total", counter, "Writes and commits that failed.", writing.failures);
        let name = "nanoclaw_store_commit_seconds";
        page.family(name, Kind::Histogram, "How long a commit takes, which is synced to the disk.");
        self.ledger.commit_seconds().write(page, name, &[]);
        let size = self.ledger.size_bytes();
        page.single("nanoclaw_store_size_bytes", Kind::Gauge, "The database and its log.", size);
        if let Ok(disk) = disk(self.on_store.home.store()).await {
            page.single("nanoclaw_store_disk_free_bytes", Kind::Gauge, "Free where the store is.", disk.free_bytes);
        }
    }
}

/// Whether a group in this state has a container, or is about to.
pub(super) fn has_container(state: &str) -> bool {
    matches!(state, "preparing" | "standby" | "starting" | "busy" | "resting" | "stopping" | "held")
}

/// Nothing where it could not be read: a figure that is not known is left out.
fn about_outbox(page: &mut Page, waiting: Option<Vec<OldestWaiting>>) {
    let Some(waiting) = waiting else { return };
    let mut by_place: HashMap<&str, (u64, Option<Timestamp>)> =
        HashMap::from([("terminal", (0, None)), ("channel", (0, None))]);
    for one in waiting {
        let place = if local::is_local(&one.chat) { "terminal" } else { "channel" };
        let (count, oldest) = by_place.entry(place).or_default();
        *count += one.count;
        *oldest = Some(oldest.map_or(one.since, |oldest| oldest.min(one.since)));
    }
    page.family(
        "nanoclaw_outbox_messages",
        Kind::Gauge,
        "Messages that wait to be sent, to terminals and to channels.",
    );
    for to in ["channel", "terminal"] {
        page.sample("nanoclaw_outbox_messages", &[("to", to)], by_place[to].0);
    }
    page.family("nanoclaw_outbox_oldest_seconds", Kind::Gauge, "How long the oldest of them waits; 0 when none does.");
    for to in ["channel", "terminal"] {
        let age = by_place[to].1.map_or(Duration::ZERO, |oldest| Timestamp::now().since(oldest));
        page.sample("nanoclaw_outbox_oldest_seconds", &[("to", to)], age.as_secs_f64());
    }
}

/// What every program tells of its process (source: prometheus.io, "Writing client libraries"); what /proc does not say is left out.
fn about_process(page: &mut Page) {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    page.single("process_cpu_seconds_total", Kind::Counter, "Processor time of the service itself.", seconds);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    if let Some(kib) = resident {
        page.single("process_resident_memory_bytes", Kind::Gauge, "Memory of the service itself.", kib * 1024);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.single("process_open_fds", Kind::Gauge, "Open files of the service itself.", open.count());
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

/// How much room there is where `folder` is. A disk that is gone may never answer, so a thread of its own asks.
async fn disk(folder: PathBuf) -> Result<Disk, String> {
    let asked = tokio::task::spawn_blocking(move || room(&folder));
    in_time(async { asked.await.unwrap_or_else(|error| Err(with_causes(&error))) }).await
}
