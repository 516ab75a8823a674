//! Deliverers that die between sending and recording, services of every kind, clocks that jump.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    channel::{Channel, ChannelCapabilities, Repeat, SendError},
    chat::ChannelName,
    delivery::{Delivery, DeliveryKey, NewDelivery, Sent},
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    orchestrator::directory::Directory,
    store::{DeliveryFilter, DeliveryState, Resolution, StoreError},
    testing::MemoryStore,
    time::test_clock,
};

// --- a chat service ---------------------------------------------------------------------------------------------------

/// Remembers what it showed, and does what a test scripts.
struct Service {
    name: ChannelName,
    /// How the ids of its chats begin.
    prefix: &'static str,
    repeat: Repeat,
    state: Mutex<ServiceState>,
}

#[derive(Default)]
struct ServiceState {
    shown: Vec<Delivery>,
    tried: Vec<String>,
    found: u32,
    script: VecDeque<Step>,
    answers: VecDeque<SendError>,
}

/// What the service does with the next send.
enum Step {
    Fail(SendError),
    ShowAndFail(SendError),
    /// The word on it never comes.
    Hang,
    ShowAndHang,
    Panic,
}

impl Service {
    fn new(name: &str, prefix: &'static str, repeat: Repeat) -> Arc<Self> {
        Arc::new(Self { name: name.parse().unwrap(), prefix, repeat, state: Mutex::default() })
    }

    fn next(&self, steps: impl IntoIterator<Item = Step>) {
        self.lock().script.extend(steps);
    }

    fn texts(&self) -> Vec<String> {
        self.lock().shown.iter().map(|delivery| delivery.text.clone()).collect()
    }

    fn tries(&self) -> usize {
        self.lock().tried.len()
    }

    fn lock(&self) -> MutexGuard<'_, ServiceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, delivery: &Delivery) {
        let mut state = self.lock();
        if self.repeat != Repeat::Deduplicated || !state.shown.iter().any(|shown| shown.key == delivery.key) {
            state.shown.push(delivery.clone());
        }
    }
}

#[async_trait]
impl Channel for Service {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn owns(&self, chat: &ChatId) -> bool {
        chat.as_str().starts_with(self.prefix)
    }

    fn capabilities(&self) -> ChannelCapabilities {
        ChannelCapabilities { repeat: self.repeat, typing: false, files: false }
    }

    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let step = {
            let mut state = self.lock();
            state.tried.push(delivery.key.to_string());
            state.script.pop_front()
        };
        if matches!(step, None | Some(Step::ShowAndFail(_) | Step::ShowAndHang)) {
            self.show(delivery);
        }
        match step {
            None => Ok(Sent::default()),
            Some(Step::Fail(error) | Step::ShowAndFail(error)) => Err(error),
            Some(Step::Hang | Step::ShowAndHang) => std::future::pending().await,
            Some(Step::Panic) => panic!("on purpose"),
        }
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Sent>, SendError> {
        let mut state = self.lock();
        state.found += 1;
        match state.answers.pop_front() {
            Some(error) => Err(error),
            None => Ok(state.shown.iter().any(|shown| shown.key == delivery.key).then(Sent::default)),
        }
    }
}

fn retry(after: Option<Duration>) -> SendError {
    SendError::Retry { reason: "busy".to_owned(), after }
}

fn unknown() -> SendError {
    SendError::Unknown { reason: "a timeout".to_owned() }
}

fn gone() -> SendError {
    SendError::Permanent { reason: "the chat is gone".to_owned() }
}

// --- the house --------------------------------------------------------------------------------------------------------

const MINUTE: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A store, a service with chats `svc:…`, the owner's own `own:main`, and a deliverer that can be killed.
struct House {
    store: Arc<MemoryStore>,
    service: Arc<Service>,
    owner: Arc<Service>,
    settings: DeliverySettings,
    nudges: Nudges,
    late: LateWords,
    deliverer: JoinHandle<()>,
    stop: CancellationToken,
}

impl House {
    async fn new(repeat: Repeat) -> Self {
        Self::with(repeat, DeliverySettings::default()).await
    }

    async fn with(repeat: Repeat, settings: DeliverySettings) -> Self {
        let store = Arc::new(MemoryStore::new());
        let service = Service::new("service", "svc:", repeat);
        let owner = Service::new("owner", "own:", Repeat::Deduplicated);
        Self::start(store, service, owner, settings).await
    }

    async fn start(
        store: Arc<MemoryStore>,
        service: Arc<Service>,
        owner: Arc<Service>,
        settings: DeliverySettings,
    ) -> Self {
        let (channels, nudges, directory) = (Channels::default(), Nudges::default(), Directory::default());
        channels.add(service.clone());
        channels.add(owner.clone());
        directory.insert(Group {
            folder: GroupFolder::new("main").unwrap(),
            chat: "own:main".parse().unwrap(),
            name: "Main".to_owned(),
            trigger: TriggerPolicy::Always,
            role: GroupRole::Main,
            added_at: Timestamp::from_ms(1),
        });
        for row in store.pending_deliveries().await.unwrap() {
            nudges.chat(&row.delivery.chat);
        }
        let alerts = Alerts { store: store.clone(), directory, nudges: nudges.clone() };
        let stop = CancellationToken::new();
        let late = LateWords::default();
        let deliverer =
            Deliverer { store: store.clone(), channels, nudges: nudges.clone(), late: late.clone(), alerts, settings };
        let deliverer = tokio::spawn(deliverer.run(stop.clone()));
        Self { store, service, owner, settings, nudges, late, deliverer, stop }
    }

    /// The host dies, and another one starts.
    async fn crash(self) -> Self {
        self.deliverer.abort();
        assert!(self.deliverer.await.unwrap_err().is_cancelled());
        Self::start(self.store, self.service, self.owner, self.settings).await
    }

    async fn post(&self, key: &str) -> OutboxId {
        self.post_to("svc:1", key).await
    }

    /// Posts a message that says its key.
    async fn post_to(&self, chat: &str, key: &str) -> OutboxId {
        let chat: ChatId = chat.parse().unwrap();
        let new = NewDelivery {
            key: DeliveryKey::new(key).unwrap(),
            chat: chat.clone(),
            text: key.to_owned(),
            file: None,
            answers: None,
        };
        let id = self.store.post(&new, Timestamp::now()).await.unwrap();
        self.nudges.chat(&chat);
        id
    }

    async fn resolve(&self, id: OutboxId, resolution: Resolution) {
        self.store.resolve_delivery(id, resolution, Timestamp::now()).await.unwrap();
        self.nudges.chat(&"svc:1".parse().unwrap());
    }

    /// The service says of `id` what nobody waits for any more.
    fn late(&self, id: OutboxId, word: LateWord) {
        assert!(self.late.note(&"svc:1".parse().unwrap(), id, word));
        self.nudges.chat(&"svc:1".parse().unwrap());
    }

    async fn state(&self, key: &str) -> DeliveryState {
        self.store.delivery(&DeliveryKey::new(key).unwrap()).await.unwrap().unwrap().state
    }

    async fn until(&self, key: &str, state: DeliveryState) {
        until(&format!("{key} is {state:?}"), async || self.state(key).await == state).await;
    }

    async fn tried(&self, times: usize) {
        until(&format!("{times} tries"), async || self.service.tries() >= times).await;
    }

    /// Everything is settled: nothing is left to be sent.
    async fn settled(&self) {
        until("all is sent or given up", async || self.store.pending_deliveries().await.unwrap().is_empty()).await;
    }
}

/// Waits for it; a day of virtual time at most.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(24 * 3600);
    let mut pause = Duration::from_millis(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn send_again() -> DeliverySettings {
    DeliverySettings { when_unknown: WhenUnknown::SendAgain, ..DeliverySettings::default() }
}

// --- crashes ----------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_effect_costs_nothing_where_the_channel_can_tell() {
    for repeat in [Repeat::Deduplicated, Repeat::LookedUp] {
        let house = House::new(repeat).await;
        house.service.next([Step::Hang]);
        house.post("one").await;
        house.tried(1).await;
        let house = house.crash().await;
        house.post("two").await;
        house.settled().await;
        assert_eq!(house.service.texts(), ["one", "two"], "{repeat:?}");
        assert!(house.owner.texts().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn f21_a_crash_between_send_and_record_shows_nothing_twice_where_the_channel_can_tell() {
    for (repeat, in_between) in
        [(Repeat::Deduplicated, DeliveryState::Pending), (Repeat::LookedUp, DeliveryState::Sending)]
    {
        let house = House::new(repeat).await;
        house.service.next([Step::ShowAndHang]);
        house.post("one").await;
        house.tried(1).await;
        assert_eq!(house.state("one").await, in_between);
        let house = house.crash().await;
        house.post("two").await;
        house.settled().await;
        assert_eq!(house.service.texts(), ["one", "two"], "{repeat:?}");
        let tries = house.service.tries();
        assert_eq!(tries, if repeat == Repeat::LookedUp { 2 } else { 3 }, "what is found is not sent again");
        assert_eq!(house.state("one").await, DeliveryState::Sent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_cannot_tell_makes_the_owner_decide_and_holds_up_nothing() {
    let house = House::new(Repeat::Shown).await;
    house.service.next([Step::ShowAndHang]);
    let id = house.post("one").await;
    house.tried(1).await;
    let house = house.crash().await;
    house.post("two").await;
    house.settled().await;
    assert_eq!(house.service.texts(), ["one", "two"], "not twice, and the next one goes on");
    assert_eq!(house.state("one").await, DeliveryState::Unknown);
    let told = house.owner.texts();
    assert_eq!(told.len(), 1, "{told:?}");
    for part in ["svc:1", "\"one\"", &format!("outbox retry {}", id.0), &format!("outbox drop {}", id.0)] {
        assert!(told[0].contains(part), "{part} is not in {}", told[0]);
    }

    // Told once, whatever comes.
    let house = house.crash().await;
    house.post("three").await;
    house.settled().await;
    assert_eq!(house.owner.texts().len(), 1);

    house.resolve(id, Resolution::SendAgain).await;
    house.settled().await;
    assert_eq!(house.service.texts(), ["one", "two", "three", "one"]);
    assert_eq!(house.state("one").await, DeliveryState::Sent);
}

#[tokio::test(start_paused = true)]
async fn a_second_doubt_about_a_message_is_told_again() {
    let house = House::new(Repeat::Shown).await;
    house.service.next([Step::ShowAndFail(unknown()), Step::ShowAndFail(unknown())]);
    let id = house.post("one").await;
    house.until("one", DeliveryState::Unknown).await;
    house.resolve(id, Resolution::SendAgain).await;
    until("told twice", async || house.owner.texts().len() == 2).await;
    house.resolve(id, Resolution::Drop).await;
    assert_eq!(house.state("one").await, DeliveryState::Dropped);
    assert_eq!(house.service.tries(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_cannot_tell_shows_it_again_where_that_is_chosen() {
    let house = House::with(Repeat::Shown, send_again()).await;
    house.service.next([Step::ShowAndHang]);
    house.post("one").await;
    house.tried(1).await;
    let house = house.crash().await;
    house.post("two").await;
    house.settled().await;
    assert_eq!(house.service.texts(), ["one", "one", "two"]);
    assert!(house.owner.texts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_anything_was_begun_leaves_no_doubt() {
    let house = House::new(Repeat::Shown).await;
    house.post_to("nowhere:1", "one").await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(house.state("one").await, DeliveryState::Pending, "nothing is begun while no channel is there");
    house.service.next([Step::Fail(SendError::NotConnected { reason: "asleep".to_owned() })]);
    house.post("two").await;
    house.tried(1).await;
    house.until("two", DeliveryState::Pending).await;
    let house = house.crash().await;
    house.until("two", DeliveryState::Sent).await;
    assert_eq!(house.service.texts(), ["two"]);
    assert!(house.owner.texts().is_empty(), "a send that found nobody there is no doubt");
}

#[tokio::test(start_paused = true)]
async fn f20_what_was_sent_is_not_sent_again_because_it_cannot_be_recorded() {
    for repeat in [Repeat::Deduplicated, Repeat::LookedUp, Repeat::Shown] {
        let house = House::new(repeat).await;
        house.service.next([Step::ShowAndFail(retry(Some(MINUTE)))]);
        house.post("one").await;
        house.tried(1).await;
        // The second try goes through while the disk is full, if it may begin at all.
        house.store.fail_writes("the disk is full");
        tokio::time::sleep(MINUTE * 30).await;
        let tries = house.service.tries();
        assert!(tries <= 2, "{repeat:?}: {tries}");
        house.store.mend();
        house.settled().await;
        assert_eq!(house.service.tries(), 2, "{repeat:?}");
        assert_eq!(house.state("one").await, DeliveryState::Sent);
    }
}

// --- sends that end in doubt ------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_send_that_takes_too_long_is_in_doubt() {
    for (repeat, texts, state) in [
        (Repeat::Deduplicated, vec!["one"], DeliveryState::Sent),
        (Repeat::LookedUp, vec!["one"], DeliveryState::Sent),
        (Repeat::Shown, vec!["one"], DeliveryState::Unknown),
    ] {
        let house = House::new(repeat).await;
        house.service.next([Step::ShowAndHang]);
        house.post("one").await;
        house.settled().await;
        assert_eq!(house.service.texts(), texts, "{repeat:?}");
        assert_eq!(house.state("one").await, state, "{repeat:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_asked_now_is_asked_later_and_one_that_never_can_leaves_it_unknown() {
    let house = House::new(Repeat::LookedUp).await;
    house.service.next([Step::ShowAndFail(unknown())]);
    house.service.lock().answers.extend([retry(None), unknown(), retry(Some(MINUTE))]);
    house.post("one").await;
    house.settled().await;
    assert_eq!((house.service.texts(), house.service.lock().found), (vec!["one".to_owned()], 4));
    assert_eq!(house.state("one").await, DeliveryState::Sent);

    house.service.next([Step::ShowAndFail(unknown())]);
    house.service.lock().answers.push_back(gone());
    house.post("two").await;
    house.settled().await;
    assert_eq!(house.state("two").await, DeliveryState::Unknown);
    assert_eq!(house.owner.texts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_may_show_it_each_time_is_not_tried_for_ever() {
    let settings = DeliverySettings { max_attempts: 3, ..send_again() };
    let house = House::with(Repeat::Shown, settings).await;
    house.service.next(std::iter::repeat_with(|| Step::Fail(unknown())).take(10));
    house.post("one").await;
    house.settled().await;
    assert_eq!(house.service.tries(), 3);
    assert_eq!(house.state("one").await, DeliveryState::Unknown, "not failed: it may have been shown");
    assert_eq!(house.owner.texts().len(), 1);
}

// --- word that comes late ----------------------------------------------------------------------------------------------

fn sent_as(id: &str) -> LateWord {
    Ok(Sent { platform_id: Some(id.parse().unwrap()) })
}

#[tokio::test(start_paused = true)]
async fn word_that_a_message_in_doubt_was_sent_settles_it_also_at_the_next_host() {
    let house = House::new(Repeat::Shown).await;
    house.service.next([Step::ShowAndHang]);
    let id = house.post("one").await;
    house.until("one", DeliveryState::Unknown).await;
    let house = house.crash().await;
    house.late(id, sent_as("7"));
    house.until("one", DeliveryState::Sent).await;
    let row = house.store.delivery_at(id).await.unwrap().unwrap();
    assert_eq!(row.platform_id.unwrap().as_str(), "7");
    assert_eq!((house.service.texts(), house.owner.texts().len()), (vec!["one".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn word_that_a_message_was_sent_saves_the_next_try_and_lets_those_behind_it_go() {
    for repeat in [Repeat::Deduplicated, Repeat::LookedUp, Repeat::Shown] {
        let house = House::with(repeat, send_again()).await;
        house.service.next([Step::ShowAndFail(retry(Some(MINUTE * 120)))]);
        let id = house.post("one").await;
        house.tried(1).await;
        house.until("one", DeliveryState::Pending).await;
        house.post("two").await;
        let start = Instant::now();
        house.late(id, sent_as("7"));
        house.settled().await;
        assert!(start.elapsed() < MINUTE);
        assert_eq!(house.service.texts(), ["one", "two"], "{repeat:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn word_that_a_message_in_doubt_was_not_sent_has_it_tried_again() {
    let house = House::new(Repeat::Shown).await;
    house.service.next([Step::Hang]);
    let id = house.post("one").await;
    house.until("one", DeliveryState::Unknown).await;
    let start = Instant::now();
    house.late(id, Err(retry(Some(MINUTE))));
    house.until("one", DeliveryState::Sent).await;
    assert!(start.elapsed() >= MINUTE, "after the delay that the service asked for");
    assert_eq!(house.service.texts(), ["one"]);
    assert_eq!(house.store.delivery_at(id).await.unwrap().unwrap().delivery.attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn word_that_a_message_in_doubt_never_can_be_sent_makes_it_failed_and_the_owner_hears_of_that_too() {
    let house = House::new(Repeat::Shown).await;
    house.service.next([Step::Hang]);
    let id = house.post("one").await;
    house.until("one", DeliveryState::Unknown).await;
    house.late(id, Err(gone()));
    house.until("one", DeliveryState::Failed).await;
    house.settled().await;
    let told = house.owner.texts();
    assert!(
        told.len() == 2 && told[0].contains("may have been shown") && told[1].contains("the chat is gone"),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn word_that_it_was_not_sent_counts_as_the_last_try_when_it_was_that() {
    let house = House::with(Repeat::Shown, DeliverySettings { max_attempts: 1, ..DeliverySettings::default() }).await;
    house.service.next([Step::Hang]);
    let id = house.post("one").await;
    house.until("one", DeliveryState::Unknown).await;
    house.late(id, Err(retry(None)));
    house.until("one", DeliveryState::Failed).await;
    assert_eq!(house.service.tries(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_settled_is_settled_whatever_is_said_later() {
    let house = House::new(Repeat::Shown).await;
    house.service.next([Step::Fail(gone()), Step::ShowAndFail(unknown())]);
    let failed = house.post("failed").await;
    let dropped = house.post("dropped").await;
    let sent = house.post("sent").await;
    house.until("sent", DeliveryState::Sent).await;
    house.resolve(dropped, Resolution::Drop).await;
    for word in [|| Ok(Sent::default()), || Err(retry(None)), || Err(gone())] {
        for id in [failed, dropped, sent] {
            house.late(id, word());
        }
        house.post("more").await;
        until("the words are heard", async || !house.late.any(&"svc:1".parse().unwrap())).await;
    }
    let states = [house.state("failed").await, house.state("dropped").await, house.state("sent").await];
    assert_eq!(states, [DeliveryState::Failed, DeliveryState::Dropped, DeliveryState::Sent]);
}

#[tokio::test(start_paused = true)]
async fn word_that_comes_while_a_message_is_tried_waits_for_the_end_of_the_try() {
    // Word that it was not sent, before the doubt about it is recorded, is not lost.
    let house = House::new(Repeat::Shown).await;
    house.service.next([Step::Hang]);
    let id = house.post("one").await;
    house.tried(1).await;
    house.late(id, Err(retry(None)));
    assert_eq!(house.state("one").await, DeliveryState::Sending);
    house.settled().await;
    house.until("one", DeliveryState::Sent).await;
    assert_eq!(house.service.texts(), ["one"]);

    // Word that it was sent ends its tries.
    let house = House::with(Repeat::Shown, send_again()).await;
    house.service.next([Step::ShowAndHang, Step::ShowAndFail(retry(None))]);
    let id = house.post("one").await;
    house.tried(1).await;
    house.late(id, sent_as("7"));
    house.settled().await;
    assert_eq!((house.service.texts(), house.service.tries()), (vec!["one".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn word_that_comes_while_the_disk_is_full_is_not_forgotten() {
    let house = House::new(Repeat::Shown).await;
    house.service.next([Step::ShowAndFail(unknown())]);
    let id = house.post("one").await;
    house.until("one", DeliveryState::Unknown).await;
    house.store.fail_writes("the disk is full");
    house.late(id, sent_as("7"));
    tokio::time::sleep(MINUTE * 30).await;
    house.store.mend();
    house.until("one", DeliveryState::Sent).await;
}

// --- giving up --------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn f18_f19_a_message_that_can_never_be_sent_is_told_to_the_owner_once_and_holds_up_nothing() {
    let house = House::new(Repeat::Shown).await;
    house.service.next([Step::Fail(gone())]);
    let id = house.post("one").await;
    house.post("two").await;
    house.settled().await;
    assert_eq!(house.service.texts(), ["two"]);
    assert_eq!(house.state("one").await, DeliveryState::Failed);
    let told = house.owner.texts();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("the chat is gone") && told[0].contains(&format!("outbox retry {}", id.0)), "{told:?}");
    house.resolve(id, Resolution::SendAgain).await;
    house.settled().await;
    assert_eq!(house.service.texts(), ["two", "one"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_tried_too_often_is_told_to_the_owner() {
    let house = House::new(Repeat::Deduplicated).await;
    house.service.next(std::iter::repeat_with(|| Step::Fail(retry(None))).take(30));
    house.post("one").await;
    house.post("two").await;
    house.settled().await;
    assert_eq!(house.service.tries(), 31);
    assert_eq!(house.service.texts(), ["two"]);
    assert_eq!(house.state("one").await, DeliveryState::Failed);
    assert!(house.owner.texts()[0].contains("busy"), "{:?}", house.owner.texts());
}

#[tokio::test(start_paused = true)]
async fn a_word_to_the_owner_that_cannot_be_sent_makes_no_further_words() {
    let house = House::new(Repeat::Shown).await;
    house.owner.next([Step::Fail(gone())]);
    house.service.next([Step::Fail(gone())]);
    house.post("one").await;
    house.settled().await;
    let all = house.store.deliveries(&DeliveryFilter::default(), 10).await.unwrap();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.iter().all(|row| row.state == DeliveryState::Failed), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_word_to_the_owner_is_rather_said_twice_than_not() {
    let mut house = House::new(Repeat::Shown).await;
    house.owner = Service::new("owner", "own:", Repeat::Shown);
    let house = house.crash().await;
    house.owner.next([Step::ShowAndFail(unknown())]);
    house.service.next([Step::Fail(gone())]);
    house.post("one").await;
    house.settled().await;
    assert_eq!(house.owner.texts().len(), 2);
}

// --- time -------------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_back_a_day_delays_no_message_by_a_day() {
    let noon = Timestamp::from_ms(1_772_600_000_000);
    test_clock::set(Some(noon));
    let house = House::new(Repeat::Deduplicated).await;
    house.service.next([Step::Fail(retry(None))]);
    house.post("one").await;
    house.tried(1).await;
    house.post_to("svc:2", "never tried").await;
    let start = Instant::now();
    test_clock::set(Some(Timestamp::from_ms(noon.as_ms() - DAY_MS)));
    house.settled().await;
    assert!(start.elapsed() < MINUTE, "{:?}: the delay goes by a clock that does not jump", start.elapsed());

    // Also a new host, which knows wall time alone.
    house.service.next([Step::Fail(retry(Some(MINUTE)))]);
    house.post("two").await;
    house.tried(4).await;
    test_clock::set(Some(Timestamp::from_ms(noon.as_ms() - 2 * DAY_MS)));
    let start = Instant::now();
    let house = house.crash().await;
    // Nudges in between must not begin the wait anew.
    for number in 0..20 {
        tokio::time::sleep(MINUTE / 2).await;
        house.post(&format!("more {number}")).await;
    }
    house.settled().await;
    assert!(start.elapsed() <= MINUTE * 11, "{:?}", start.elapsed());
    assert_eq!(house.service.texts()[2..4], ["two", "more 0"]);
    test_clock::set(None);
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_the_service_asks_for_is_kept_however_long() {
    let house = House::new(Repeat::Deduplicated).await;
    house.service.next([Step::Fail(retry(Some(MINUTE * 120)))]);
    let start = Instant::now();
    house.post("one").await;
    house.tried(1).await;
    house.post("two").await;
    house.settled().await;
    assert!(start.elapsed() >= MINUTE * 120);
    assert_eq!(house.service.texts(), ["one", "two"], "nothing overtakes it");
}

#[tokio::test(start_paused = true)]
async fn what_a_person_decides_about_a_message_that_waits_is_done_at_once() {
    for (resolution, texts) in [(Resolution::SendAgain, vec!["one", "two"]), (Resolution::Drop, vec!["two"])] {
        let house = House::new(Repeat::LookedUp).await;
        house.service.next([Step::Fail(retry(Some(MINUTE * 120)))]);
        let id = house.post("one").await;
        house.tried(1).await;
        house.until("one", DeliveryState::Pending).await;
        house.post("two").await;
        let start = Instant::now();
        house.resolve(id, resolution).await;
        house.settled().await;
        assert!(start.elapsed() < MINUTE);
        assert_eq!(house.service.texts(), texts);
    }
}

// --- one chat's trouble -----------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn f19_doubts_and_failures_of_one_chat_hold_up_no_other() {
    for repeat in [Repeat::LookedUp, Repeat::Shown] {
        let house = House::new(repeat).await;
        house.service.next([Step::ShowAndHang]);
        house.post("one").await;
        house.tried(1).await;
        let house = house.crash().await;
        house.service.lock().answers.extend(std::iter::repeat_with(|| retry(Some(MINUTE))).take(5));
        let start = Instant::now();
        house.post_to("svc:2", "other").await;
        house.until("other", DeliveryState::Sent).await;
        assert!(start.elapsed() < MINUTE, "{repeat:?}");
        house.settled().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_fails_costs_its_chat_no_message() {
    let house = House::new(Repeat::Deduplicated).await;
    house.service.next([Step::Panic]);
    house.post("one").await;
    house.tried(1).await;
    house.post("two").await;
    house.settled().await;
    assert_eq!(house.service.texts(), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn ending_lets_what_is_being_sent_finish_and_begins_nothing() -> Result<(), StoreError> {
    let house = House::new(Repeat::LookedUp).await;
    house.service.next([Step::ShowAndHang]);
    house.post("one").await;
    house.tried(1).await;
    house.post("two").await;
    house.stop.cancel();
    house.deliverer.await.unwrap();
    assert_eq!(house.service.texts(), ["one"]);
    let states: Vec<_> = house.store.pending_deliveries().await?.into_iter().map(|row| row.state).collect();
    assert_eq!(states, [DeliveryState::Sending, DeliveryState::Pending]);
    Ok(())
}
