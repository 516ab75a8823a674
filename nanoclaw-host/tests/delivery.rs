//! Delivery with its real parts: the orchestrator, the store in SQLite, bridges over a real socket, and hosts that die.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod channel_fakes;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use channel_fakes::{Client, PATIENCE};
use nanoclaw_core::{
    attachment::NewFile,
    delivery::{DeliveryKey, NewDelivery},
    group::{Group, GroupFolder},
    launch::{KeptFile, Launch, LaunchError, Launcher, Rejoined, Tuning},
    mailbox::GroupFile,
    orchestrator::{Orchestrator, Parts, Running, Settings},
    run::{Retry, RunId, RunKind},
    runtime::Exit,
    store::{DeliveryState, Store, StoredDelivery},
    testing::FakeRuntime,
    time::Timestamp,
};
use nanoclaw_host::{
    channels::bridge::{BridgeConfig, BridgeListener},
    stores::sqlite::SqliteStore,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No group, no run.
struct NoLauncher;

#[async_trait]
impl Launcher for NoLauncher {
    fn mailbox(&self, _group: &GroupFolder) -> PathBuf {
        PathBuf::new()
    }

    fn group_folder(&self, _group: &GroupFolder) -> PathBuf {
        PathBuf::new()
    }

    fn tuning(&self, _group: &GroupFolder) -> Tuning {
        Tuning::default()
    }

    async fn prepare(&self, _group: &Group, _run: &RunId, _kind: &RunKind) -> Result<Launch, LaunchError> {
        Err(LaunchError { reason: "there are no runs here".to_owned(), retry: Retry::Never })
    }

    async fn fingerprint(&self, _group: &Group, _run: &RunId, _kind: &RunKind) -> Result<String, LaunchError> {
        Err(LaunchError { reason: "there are no runs here".to_owned(), retry: Retry::Never })
    }

    async fn rejoin(&self, _group: &Group, _run: &RunId) -> Result<Rejoined, LaunchError> {
        Err(LaunchError { reason: "there are no runs here".to_owned(), retry: Retry::Never })
    }

    async fn bring_files(&self, _group: &GroupFolder, files: &[NewFile]) -> Vec<Option<String>> {
        files.iter().map(|_| Some("there are no runs here".to_owned())).collect()
    }

    async fn keep_file(&self, _group: &GroupFolder, _file: GroupFile) -> Result<KeptFile, String> {
        Err("there are no runs here".to_owned())
    }
}

/// A host on a home.
struct Host {
    home: Arc<tempfile::TempDir>,
    store: Arc<SqliteStore>,
    orchestrator: Orchestrator,
    running: Running,
    serving: JoinHandle<()>,
}

impl Host {
    /// One whose outbox has a message with this key.
    async fn with_message(key: &str) -> Self {
        let home = Arc::new(tempfile::tempdir().unwrap());
        let store = SqliteStore::open(&home.path().join("nanoclaw.db")).await.unwrap();
        let new = NewDelivery {
            key: key_of(key),
            chat: "tg:1".parse().unwrap(),
            text: key.to_owned(),
            file: None,
            answers: None,
        };
        store.post(&new, Timestamp::now()).await.unwrap();
        store.close().await;
        Self::on(home).await
    }

    async fn on(home: Arc<tempfile::TempDir>) -> Self {
        let store = Arc::new(SqliteStore::open(&home.path().join("nanoclaw.db")).await.unwrap());
        let parts = Parts {
            store: store.clone(),
            runtime: Arc::new(FakeRuntime::new(|_| async { Exit::Code(0) })),
            launcher: Arc::new(NoLauncher),
            scheduling: None,
            senders: None,
        };
        let (orchestrator, running) = Orchestrator::start(parts, Settings::default()).await.unwrap();
        let config = BridgeConfig { send_timeout: Duration::from_millis(100), ..BridgeConfig::default() };
        let (intake, host) = (Arc::new(orchestrator.inbox()), Arc::new(orchestrator.clone()));
        let listener = BridgeListener::bind(&home.path().join("bridge.sock"), config, intake, host).unwrap();
        let serving = tokio::spawn(listener.serve(CancellationToken::new()));
        Self { home, store, orchestrator, running, serving }
    }

    /// It dies, and another one starts.
    async fn crash(self) -> Self {
        let Self { home, store, orchestrator, running, serving } = self;
        for worker in running.abort_handles() {
            worker.abort();
        }
        serving.abort();
        let _ = serving.await;
        drop((running, orchestrator));
        store.close().await;
        Self::on(home).await
    }

    /// A bridge for chats with this prefix.
    async fn bridge(&self, name: &str, prefix: &str, capabilities: &[&str]) -> Client {
        let mut bridge = Client::connect(&self.home.path().join("bridge.sock")).await;
        bridge.say(json!({"type": "hello", "name": name, "prefixes": [prefix], "capabilities": capabilities})).await;
        assert_eq!(bridge.hear().await["type"], "welcome");
        bridge
    }

    async fn row(&self, key: &str) -> StoredDelivery {
        self.store.delivery(&key_of(key)).await.unwrap().unwrap()
    }

    async fn until(&self, key: &str, state: DeliveryState) {
        self.until_row(key, |row| row.state == state).await;
    }

    async fn until_row(&self, key: &str, is: impl Fn(&StoredDelivery) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is(&self.row(key).await) {
            assert!(Instant::now() < deadline, "never: {:?}", self.row(key).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn key_of(key: &str) -> DeliveryKey {
    DeliveryKey::new(key).unwrap()
}

/// A reply that a bridge which cannot tell was handed, and of which it said nothing in time.
async fn in_doubt() -> (Host, Client) {
    let host = Host::with_message("one").await;
    let mut bridge = host.bridge("telegram", "tg:", &[]).await;
    assert_eq!(bridge.hear().await["key"], "one");
    host.until("one", DeliveryState::Unknown).await;
    (host, bridge)
}

#[tokio::test]
async fn a_bridge_that_says_late_that_a_message_was_sent_settles_it() {
    let (host, mut bridge) = in_doubt().await;
    bridge.say(json!({"type": "sent", "key": "one", "platform_id": "7"})).await;
    host.until("one", DeliveryState::Sent).await;
    assert_eq!(host.row("one").await.platform_id.unwrap().as_str(), "7");
}

#[tokio::test]
async fn a_bridge_may_say_so_on_its_next_connection_to_the_next_host() {
    let (host, bridge) = in_doubt().await;
    drop(bridge);
    let host = host.crash().await;
    let mut bridge = host.bridge("telegram", "tg:", &[]).await;
    bridge.say(json!({"type": "sent", "key": "one", "platform_id": "7"})).await;
    host.until("one", DeliveryState::Sent).await;
}

#[tokio::test]
async fn a_message_of_which_a_bridge_says_late_that_it_was_not_sent_is_sent() {
    let (host, mut bridge) = in_doubt().await;
    bridge.say(json!({"type": "failed", "key": "one", "error": "slow down"})).await;
    let again: Value = bridge.hear().await;
    assert_eq!((&again["type"], &again["key"]), (&json!("send"), &json!("one")));
    bridge.say(json!({"type": "sent", "key": "one"})).await;
    host.until("one", DeliveryState::Sent).await;
}

#[tokio::test]
async fn a_bridge_settles_no_message_of_anothers_chats() {
    let (host, _bridge) = in_doubt().await;
    let mut other = host.bridge("discord", "dc:", &[]).await;
    for word in [json!({"type": "sent", "key": "one"}), json!({"type": "failed", "key": "one", "permanent": true})] {
        other.say(word).await;
        let error = other.hear().await;
        assert_eq!(error["reason"], "the message one is not for one of discord's chats (dc:)");
    }
    assert_eq!(host.row("one").await.state, DeliveryState::Unknown);
}

#[tokio::test]
async fn f41_a_host_that_is_restarted_ten_times_sends_no_sooner_than_the_service_allowed() {
    let mut host = Host::with_message("one").await;
    let mut bridge = host.bridge("telegram", "tg:", &["deduplicates"]).await;
    assert_eq!(bridge.hear().await["key"], "one");
    bridge.say(json!({"type": "failed", "key": "one", "error": "slow down", "retry_after_ms": 60_000})).await;
    host.until_row("one", |row| row.delivery.attempts == 1).await;
    let not_before = host.row("one").await.not_before;
    for restart in 0..10 {
        host = host.crash().await;
        let mut bridge = host.bridge("telegram", "tg:", &["deduplicates"]).await;
        // Once more when its channel is there: neither is a reason to send.
        host.orchestrator.channel_connected();
        let heard = tokio::time::timeout(Duration::from_millis(100), bridge.reader.next_line()).await;
        assert!(heard.is_err(), "after restart {restart}: {heard:?}");
    }
    let row = host.row("one").await;
    assert_eq!((row.state, row.delivery.attempts, row.not_before), (DeliveryState::Pending, 1, not_before));
}

#[tokio::test]
async fn f41_a_message_that_always_fails_is_tried_no_more_often_by_ten_hosts_than_by_one() {
    let mut host = Host::with_message("one").await;
    let (mut tries, mut last_pause) = (0, None::<(Instant, Duration)>);
    for restart in 0..10 {
        let mut bridge = host.bridge("telegram", "tg:", &["deduplicates"]).await;
        let until = tokio::time::Instant::now() + Duration::from_millis(250);
        while let Ok(line) = tokio::time::timeout_at(until, bridge.reader.next_line()).await {
            let at = Instant::now();
            assert!(line.unwrap().unwrap().contains("\"send\""));
            if let Some((since, pause)) = last_pause {
                assert!(at - since >= pause, "host {restart} tried after {:?} instead of {pause:?}", at - since);
            }
            tries += 1;
            bridge.say(json!({"type": "failed", "key": "one", "error": "down"})).await;
            host.until_row("one", |row| row.delivery.attempts == tries).await;
            // Half a second, doubled each time, a fifth less at most; kept in whole milliseconds.
            last_pause = Some((at, Duration::from_millis(400 * (1 << (tries - 1)) - 1)));
        }
        host = host.crash().await;
    }
    assert!((2..=4).contains(&tries), "{tries} tries in about three seconds");
}
