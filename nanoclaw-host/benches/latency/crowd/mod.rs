//! Many groups on all channels of one host at once, with services that fail all the time: what is lost, doubled or displaced, and how
//! much memory the host takes. The real program, real containers in the sandbox, agents of the provider `offline`.
//!
//! Each message has a text of its own and is answered by a line that names it. Messages are said here and there; so many wait for
//! their answers at a time. While they are said, calls fail by chance, and each service loses its connections some times; then nothing
//! fails any more, and everything must have been answered once, in each chat in the order in which it was said.
//!
//! * `services`: the six services, with their faults;  * `ledger`: what was said and shown.

pub(crate) mod ledger;
pub(crate) mod services;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use nanoclaw_core::{
    chat::ChatId,
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    store::Store as _,
    time::Timestamp,
};
use nanoclaw_fakes::kill::Chance;
use nanoclaw_host::stores::sqlite::SqliteStore;
use serde_json::Value;

use self::{
    ledger::Ledger,
    services::{Service, all_services, configuration, credentials},
};
use crate::program::{Installation, Service as Host};

/// How often what was shown is looked at.
const TICK: Duration = Duration::from_millis(10);
/// How long nothing may get on before what is missing counts as lost: more than the longest delay between two tries to connect.
const STUCK: Duration = Duration::from_secs(150);
/// One message in so many comes with a fault of a call.
const FAULT_ONE_IN: u64 = 8;
/// The program that WhatsApp is reached by, beside `nanoclaw`.
pub(crate) const WHATSAPP: &str = "nanoclaw-whatsapp";
/// The most messages that are said in another order than they are told in.
const REORDERED: usize = 5;

/// How much is said, and how much fails.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Groups of each channel.
    pub(crate) groups: usize,
    /// Messages of each group.
    pub(crate) messages: usize,
    /// Containers at once.
    pub(crate) cap: usize,
    /// Messages that wait for their answers at a time.
    pub(crate) at_once: usize,
    /// How often each service loses its connections. Hosts try again after a delay that doubles.
    pub(crate) breaks: usize,
    /// What chance begins with.
    pub(crate) seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) said: usize,
    /// Said and never answered.
    pub(crate) lost: usize,
    /// Answers that were shown once more.
    pub(crate) doubled: usize,
    /// Answers that were shown after the answer to a later message of their chat.
    pub(crate) displaced: usize,
    /// Lines that answer nothing.
    pub(crate) strange: Vec<String>,
    /// How often what went wrong.
    pub(crate) faults: BTreeMap<String, usize>,
    /// How many containers there were, one after the other.
    pub(crate) runs: usize,
    /// From the first message to the last answer.
    pub(crate) took: Duration,
    pub(crate) host: Memory,
    /// Of the program `nanoclaw-whatsapp`.
    pub(crate) whatsapp: Memory,
}

/// A process's memory in the end, in MiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// The most that it ever had (`VmHWM`).
    pub(crate) peak_mib: f64,
    /// What it has (`VmRSS`).
    pub(crate) resident_mib: f64,
    /// Of that, what is no file (`RssAnon`).
    pub(crate) own_mib: f64,
}

impl Outcome {
    /// Whether everything was answered once and in order.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.displaced == 0 && self.strange.is_empty()
    }
}

/// Does all that.
///
/// # Errors
/// When the host does not start: there is no sandbox, or no agent-runner beside it; or there is no nanoclaw-whatsapp there.
pub(crate) fn run(program: &Path, plan: &Plan) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let installation = Installation::new(program, "");
    let whatsapp = program.with_file_name(WHATSAPP);
    if !whatsapp.is_file() {
        return Err(format!("there is no {}", whatsapp.display()));
    }
    let mut services = runtime.block_on(all_services(&installation.home, &whatsapp, plan.groups));
    let limits = format!("[limits]\nmax_concurrent_containers = {}\n", plan.cap);
    let all = "[container]\nruntime = \"sandbox\"\n[agent]\nprovider = \"offline\"\n";
    fs::write(installation.home.config_file(), format!("{all}{limits}{}", configuration(&services))).unwrap();
    installation.credential(&credentials());
    runtime.block_on(register(&installation, &services, plan.groups));
    let (host, _) = installation.serve()?;
    let names: Vec<&str> = services.iter().map(|service| service.name()).collect();
    until_connected(&installation, &services);

    let mut crowd = Crowd {
        ledger: Ledger::new(&names, plan.groups),
        services: &mut services,
        chance: Chance::new(plan.seed),
        plan,
        faults: BTreeMap::new(),
    };
    let begun = Instant::now();
    crowd.talk();
    let took = crowd.settle(begun);
    // An answer that was shown and not confirmed is still to be sent again: that is when it could be doubled.
    let unsent = crowd.sends_all(|| runtime.block_on(count(&installation, UNSENT)));
    let memory = [Memory::of(&host.proc()), Memory::of(&child_of(&host, WHATSAPP))];
    let mut outcome =
        Outcome { took, faults: crowd.faults.clone(), host: memory[0], whatsapp: memory[1], ..Outcome::default() };
    drop(host);
    crowd.look();
    crowd.ledger.judge(&mut outcome);
    outcome.runs = runtime.block_on(count(&installation, "SELECT count(*) FROM runs"));
    if unsent > 0 {
        outcome.strange.push(format!("{unsent} answers do not count as sent"));
    }
    if !outcome.is_clean() {
        outcome.strange.extend(crowd.ledger.wrong());
    }
    Ok(outcome)
}

struct Crowd<'a> {
    ledger: Ledger,
    services: &'a mut [Box<dyn Service>],
    chance: Chance,
    plan: &'a Plan,
    faults: BTreeMap<String, usize>,
}

impl Crowd<'_> {
    /// Says everything.
    fn talk(&mut self) {
        let of_each = self.plan.groups * self.plan.messages;
        let mut broken = vec![0; self.services.len()];
        let mut last_tick = Instant::now();
        loop {
            let unfinished: Vec<usize> =
                (0..self.services.len()).filter(|service| self.ledger.said_by(*service) < of_each).collect();
            let Some(&service) = self.chance.one_of(&unfinished) else { return };
            if self.ledger.unanswered() >= self.plan.at_once || last_tick.elapsed() > TICK {
                sleep(TICK);
                self.look();
                last_tick = Instant::now();
                continue;
            }
            self.say(service);
            // Spread over all that is said.
            let due = self.ledger.said_by(service) * (self.plan.breaks + 1) / (of_each + 1);
            if broken[service] < due {
                broken[service] += 1;
                let fault = self.services[service].lose_connections(&mut self.chance);
                self.note(service, fault);
            } else if self.chance.below(FAULT_ONE_IN) == 0 {
                let fault = self.services[service].trip(&mut self.chance);
                self.note(service, fault);
            }
        }
    }

    /// One message in a chat of a service, or several in as many chats, whose order on the way is another one.
    fn say(&mut self, service: usize) {
        let mut chats: Vec<usize> =
            (0..self.plan.groups).filter(|chat| self.ledger.said_in(service, *chat) < self.plan.messages).collect();
        let wanted = if self.chance.below(20) == 0 { REORDERED } else { 1 };
        let mut chosen = Vec::new();
        while chosen.len() < wanted && !chats.is_empty() {
            let place = usize::try_from(self.chance.below(chats.len() as u64)).unwrap_or(0);
            let chat = chats.swap_remove(place);
            chosen.push((chat, self.ledger.next_text(service, chat)));
        }
        match chosen.as_slice() {
            [(chat, text)] => self.services[service].say(*chat, text),
            several => {
                if let Some(fault) = self.services[service].say_reordered(several) {
                    self.note(service, fault);
                }
            }
        }
    }

    fn note(&mut self, service: usize, fault: &str) {
        *self.faults.entry(format!("{}: {fault}", self.services[service].name())).or_default() += 1;
    }

    /// Takes in what was shown, and lets slow answers go.
    fn look(&mut self) {
        for (number, service) in self.services.iter_mut().enumerate() {
            for (chat, text) in service.news() {
                self.ledger.shown(number, chat, &text);
            }
            service.release();
        }
    }

    /// Waits until everything is answered, without faults; when that was, since `begun`.
    fn settle(&mut self, begun: Instant) -> Duration {
        self.services.iter_mut().for_each(|service| service.be_well());
        let (mut unanswered, mut since) = (usize::MAX, Instant::now());
        loop {
            self.look();
            if self.ledger.unanswered() < unanswered {
                (unanswered, since) = (self.ledger.unanswered(), Instant::now());
            }
            if unanswered == 0 || since.elapsed() > STUCK {
                return begun.elapsed();
            }
            sleep(TICK);
        }
    }

    /// Waits until nothing is to be sent any more; how much still is.
    fn sends_all(&mut self, unsent: impl Fn() -> usize) -> usize {
        let begun = Instant::now();
        loop {
            self.look();
            match unsent() {
                0 => return 0,
                left if begun.elapsed() > STUCK => return left,
                _ => sleep(5 * TICK),
            }
        }
    }
}

/// What is still to be sent, or was given up.
const UNSENT: &str = "SELECT count(*) FROM outbox WHERE state != 'sent'";

/// By the store itself, since a program for each of some hundred groups takes its time.
async fn register(installation: &Installation, services: &[Box<dyn Service>], groups: usize) {
    let store = SqliteStore::open(&installation.home.database()).await.unwrap();
    for service in services {
        for number in 0..groups {
            let name = format!("{}-{number}", service.name());
            let group = Group {
                folder: GroupFolder::new(&name).unwrap(),
                chat: ChatId::new(service.address(number)).unwrap(),
                name,
                trigger: TriggerPolicy::Always,
                role: GroupRole::Ordinary,
                added_at: Timestamp::now(),
            };
            store.add_group(&group).await.unwrap();
        }
    }
    store.close().await;
}

/// Waits until every service hears the host, and is heard.
fn until_connected(installation: &Installation, services: &[Box<dyn Service>]) {
    let begun = Instant::now();
    loop {
        let told = installation.command(&["channels", "--json"]).output().unwrap().stdout;
        let told: Value = serde_json::from_slice(&told).unwrap_or_default();
        let is_connected = |name: &str| {
            told.as_array().into_iter().flatten().any(|channel| channel["name"] == name && channel["connected"] == true)
        };
        if services.iter().all(|service| service.is_welcome().unwrap_or_else(|| is_connected(service.name()))) {
            return;
        }
        assert!(begun.elapsed() < STUCK, "not all channels are connected: {told}");
        sleep(5 * TICK);
    }
}

impl Memory {
    /// Of the process with this folder in `/proc`.
    fn of(process: &Path) -> Self {
        let status = fs::read_to_string(process.join("status")).unwrap();
        let mib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
            line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
        };
        Self { peak_mib: mib("VmHWM"), resident_mib: mib("VmRSS"), own_mib: mib("RssAnon") }
    }
}

/// The folder in `/proc` of the child of the host's that became this program.
fn child_of(host: &Host, program: &str) -> PathBuf {
    let processes = fs::read_dir("/proc").unwrap().map(|process| process.unwrap().path());
    let parent = format!("PPid:\t{}", host.proc().file_name().unwrap().to_string_lossy());
    let is_it = |process: &PathBuf| {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let program_of = fs::read_link(process.join("exe")).unwrap_or_default();
        program_of.ends_with(program) && status.lines().any(|line| line == parent)
    };
    processes.into_iter().find(is_it).unwrap_or_else(|| panic!("the host does not run {program}"))
}

/// The number that a query on the database gives.
async fn count(installation: &Installation, query: &'static str) -> usize {
    use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
    let options = SqliteConnectOptions::new().filename(installation.home.database());
    let mut connection = options.connect().await.unwrap();
    let count: i64 = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    usize::try_from(count).unwrap()
}
