//! The hostile self-test: an actively malicious agent in real containers, and a judge that believes only what the system
//! refused and what the host itself saw.
//!
//! A home of its own with the real service in it, as a child process; canaries, secrets that are recognised wherever they
//! turn up, in the service's configuration, environment, memory, its user's files and other groups' folders; an upstream
//! that must be the only one to receive the credential's; listeners on the host that must never be reached; other groups
//! that go on talking; and one group for each attack, whose agent is `agent-runner hostile`. The attacker knows every path,
//! address and name.
//!
//! * `place` makes the home and what is planted, and starts the service in it, by a `configuration` of its own.
//! * `witness` is whatever must not be reached, and the upstreams.
//! * `internet` is all that the attacked gateway finds beyond them: names, hosts that may be reached, and everything else;
//!   `staged` is the service's end of it, `as_sent` reads what those hosts were told.
//! * `talk` speaks to groups and measures.
//! * `report` is what came out, for people and for programs.

mod as_sent;
mod configuration;
mod internet;
mod place;
pub mod report;
mod staged;
mod talk;
mod witness;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nanoclaw_core::{
    protocol::hostile::{Attempt, Bounds, Outcome, canaries, diary_name},
    runtime::{Capabilities, ContainerRuntime, ImageRef},
};

pub use self::staged::StagedInternet;
use self::{
    internet::Internet,
    place::{Place, Snapshot},
    report::{Case, Report, Talk},
    talk::{Crowd, Terminal},
    witness::Witness,
};

/// The attacks, in their order; `agent-runner hostile` knows them by these names.
pub const ATTACKS: [&str; 8] = ["exfiltrate", "tunnel", "hunt", "escape", "links", "forge", "persist", "exhaust"];

/// The attack of the one group that may reach hosts and a further upstream.
pub(crate) const TUNNEL: &str = "tunnel";

/// How long one attack may take, the restarts of containers that it ended included.
const PATIENCE: Duration = Duration::from_secs(900);
/// How long it may go without an answer before it is asked for again; twice as long each time.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How long the other groups talk undisturbed, for comparison.
const QUIET: Duration = Duration::from_secs(6);
/// A reply of another group that takes longer than this under attack counts as a find.
const LONGEST_REPLY: Duration = Duration::from_secs(60);

/// A log of the service that is longer than this after all attacks has been flooded.
const LONGEST_LOG: u64 = 8 << 20;

/// What is to be tested, and with what.
pub struct Settings {
    /// The runtime; what answers on it, for its capabilities and for what is left of containers afterwards.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// The image of the containers; `None`: the configured default.
    pub image: Option<ImageRef>,
    /// The program `nanoclaw`, whose service is attacked.
    pub program: PathBuf,
    /// `agent-runner`; `None`: where the program finds it.
    pub runner: Option<PathBuf>,
    /// The service's environment beyond what it needs.
    pub environment: BTreeMap<String, OsString>,
    /// How far the exhausting attacks go.
    pub size: Size,
    /// Only these attacks; empty: all.
    pub attacks: Vec<String>,
    /// What is done wrong on purpose, to see that it is found.
    pub weaknesses: Vec<Weakness>,
}

/// How far the exhausting attacks go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Far enough to meet every limit.
    Short,
    /// As far as a real attacker would: a gibibyte of output, half a gibibyte of disk, 100,000 requests.
    Full,
}

/// A wall that is missing on purpose: a judge that finds nothing where something is there to be found is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// A secret of the host lies in the attacker's folder.
    SecretInMount,
    /// A socket of the host lies in the attacker's folder.
    SocketInMount,
    /// The attacker's containers may use four times the memory and processes that are promised.
    LooseLimits,
    /// A file of another group is changed from outside while the attacks go on.
    FileChanged,
    /// The host's listener is reached from the host.
    ListenerReached,
    /// The gateway leaves out this check: `addresses`, `allow-list` or `tls-name`. Only the tests' own build of the program
    /// can be told to.
    NoWall(&'static str),
}

/// Runs everything and says what came of it; `progress` is told what happens, a line at a time.
///
/// # Errors
/// When the test could not be made: no runtime, no service. What is found is no error.
pub async fn run(settings: Settings, progress: &(dyn Fn(&str) + Send + Sync)) -> anyhow::Result<Report> {
    let capabilities = settings.runtime.probe().await.context("the runtime cannot be used")?;
    let witness = Witness::listen().await.context("cannot listen for the attacker")?;
    let internet = Internet::begin().await.context("cannot play the internet")?;
    let mut place = Place::make(&settings, &capabilities, &witness, &internet)?;
    progress(&format!("{}: starting a service in {}", capabilities.description, place.folder().display()));
    place.start().await?;

    // The groups come to life before their folders can be furnished.
    let mut crowd = Crowd::gather(place.home()).await.with_context(|| place.end_of_log())?;
    place.plant_in_groups()?;
    progress("the other groups talk undisturbed");
    let quiet = crowd.measure(QUIET).await;
    let before = Snapshot::of(&place)?;

    crowd.go_on();
    let wanted = |name: &str| settings.attacks.is_empty() || settings.attacks.iter().any(|one| one == name);
    let mut cases = Vec::new();
    let since = Instant::now();
    for attack in ATTACKS.into_iter().filter(|name| wanted(name)) {
        progress(&format!("attack: {attack}"));
        if settings.weaknesses.contains(&Weakness::ListenerReached) {
            let _ = tokio::net::TcpStream::connect(witness.addresses()[0]).await;
        }
        let attempts = make_attack(&place, attack, bounds(&settings, &capabilities, attack)).await?;
        cases.extend(attempts.into_iter().map(|attempt| Case::of_attempt(attack, attempt)));
        if settings.weaknesses.contains(&Weakness::FileChanged) {
            std::fs::write(place.outside().join("changed"), "x")?;
        }
    }
    // A container that comes after an attack must serve its group as any other.
    if wanted("persist") {
        let again = make_attack(&place, "persist", bounds(&settings, &capabilities, "persist")).await?;
        cases.push(Case::host(
            "persist",
            "the next container of the same group starts and answers",
            match again.len() {
                0 => Outcome::Succeeded("it did not answer".to_owned()),
                _ => Outcome::Refused("it does".to_owned()),
            },
        ));
    }
    let (under_attack, unexpected) = crowd.end().await;
    let attacked_for = since.elapsed();

    cases.extend(what_the_host_saw(&place, &witness, &before, &unexpected, wanted("exfiltrate"))?);
    if wanted(TUNNEL) {
        cases.extend(what_the_internet_saw(&witness, &internet));
    }
    cases.extend(of_the_others(&under_attack));
    let installation = place.end().await;
    progress("looking at what is left");
    cases.extend(place.what_is_left(&*settings.runtime, installation).await);
    let asked = (settings.runtime.kind(), settings.size, settings.attacks.as_slice());
    Ok(Report::new(asked, capabilities, cases, quiet, under_attack, attacked_for))
}

fn bounds(settings: &Settings, capabilities: &Capabilities, attack: &str) -> Bounds {
    let full = settings.size == Size::Full;
    let promised = place::limits(capabilities);
    // What is really configured is four times this then.
    let loose = if settings.weaknesses.contains(&Weakness::LooseLimits) { 4 } else { 1 };
    Bounds {
        memory_bytes: promised.memory_bytes.map(|bytes| bytes / u64::from(loose)),
        pids: promised.pids.map(|pids| pids / loose),
        milli_cpus: promised.milli_cpus,
        tmp_bytes: place::TMP_BYTES,
        disk_bytes: if full { 512 << 20 } else { 64 << 20 },
        flood_bytes: if full { 1 << 30 } else { 64 << 20 },
        files: if full { 100_000 } else { 5_000 },
        hold_ms: if attack == "exhaust" { 3_000 } else { 0 },
    }
}

/// Has one attack made by a group of its own and returns what was tried.
async fn make_attack(place: &Place, attack: &str, bounds: Bounds) -> anyhow::Result<Vec<Attempt>> {
    let folder = place.prepare_attacker(attack, bounds)?;
    let mut terminal = Terminal::attach(place.home(), &place::attacker_chat(attack)).await?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut said_again_after = SAID_AGAIN_AFTER;
    while tokio::time::Instant::now() < deadline {
        // More than once: a forged block may have answered it, and nobody asks again what is answered.
        terminal.say(&format!("attack {attack}")).await?;
        let until = deadline.min(tokio::time::Instant::now() + said_again_after);
        said_again_after *= 2;
        while let Ok(Some(text)) = tokio::time::timeout_at(until, terminal.reply()).await {
            // Whatever else it says is its own chat's affair.
            if let Ok(attempts) = serde_json::from_str::<Vec<Attempt>>(&text) {
                return Ok(attempts);
            }
        }
    }
    // It never came to its answer: what it wrote down is what there is.
    let diary = std::fs::read_to_string(folder.join(diary_name(attack))).unwrap_or_default();
    let mut attempts: Vec<Attempt> = diary.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let unanswered = Outcome::Absent(format!("the attacker gave no answer within {PATIENCE:?}; its diary was read"));
    attempts.push(Attempt { name: "the attack as a whole".to_owned(), outcome: unanswered });
    Ok(attempts)
}

fn what_the_host_saw(
    place: &Place,
    witness: &Witness,
    before: &Snapshot,
    unexpected: &[String],
    asked_upstream: bool,
) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut case = |name: &str, found: Vec<String>, good: &str| cases.push(Case::of_findings(name, &found, good));
    case("connections and datagrams that reached the host's listeners", witness.reached(), "none");
    let upstream = witness.model_api.log();
    let strange = upstream.strange(place::CREDENTIAL, "x-api-key:", &witness.model_api.address().to_string());
    case("what the upstream was sent beside the credential", strange, "nothing");
    case(
        "the credential at the upstream, on each request of the attacker",
        if !asked_upstream || upstream.requests > 0 && upstream.with_credential == upstream.requests {
            Vec::new()
        } else {
            vec![format!("{} of {} requests had it", upstream.with_credential, upstream.requests)]
        },
        &format!("on all {}", upstream.requests),
    );
    case("files, owners and modes outside the attacker's folders", before.differences(place)?, "nothing changed");
    case("words of the attacker in other groups' chats", unexpected.to_vec(), "none");
    case("groups that nobody registered", place.strange_groups()?, "none");
    case("secrets in logs and tables of the service", place.secrets_in_the_store()?, "none");
    case("hooks that ran outside", place.ran_outside(), "none");
    let bytes = place.log_bytes()?;
    let flooded = if bytes > LONGEST_LOG { vec![format!("{bytes} bytes")] } else { Vec::new() };
    case("a flood of the service's own log", flooded, &format!("none: {} KiB", bytes >> 10));
    case(
        "the service",
        if place.is_alive() { Vec::new() } else { vec!["it ended".to_owned()] },
        "it goes on, the same process",
    );
    Ok(cases)
}

/// What came to where the gateway leads, and to where it must not.
fn what_the_internet_saw(witness: &Witness, internet: &Internet) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: &str, found: Vec<String>, good: &str| cases.push(Case::of_findings(name, &found, good));
    let connections = internet.allowed_connections();
    case(
        "where the gateway went beside allowed hosts and ports",
        internet.gone_astray(),
        &format!("nowhere; {connections} connections to where it may"),
    );
    case("names that the gateway asked about beside the allowed ones", internet.strange_names(), "none");
    case("what allowed hosts were told that nobody was to tell them", internet.strange_words(), "nothing");
    case("what was not tried, so that nothing is known of it", internet.untried(), "nothing");
    let host = |address: std::net::SocketAddr| format!("localhost:{}", address.port());
    let desk = witness.desk.log();
    let mut strange = desk.strange(place::DESK, "authorization: bearer ", &host(witness.desk.address()));
    if desk.requests == 0 || desk.with_credential < desk.requests {
        strange.push(format!("{} of {} requests had the credential", desk.with_credential, desk.requests));
    }
    case(
        "what the attacker's further upstream was sent beside its own credential",
        strange,
        &format!("nothing, and the credential on all {} requests", desk.requests),
    );
    let vault = match witness.vault.log().requests {
        0 => Vec::new(),
        requests => vec![format!("{requests} requests")],
    };
    case("what another group's further upstream was sent", vault, "nothing");
    cases
}

fn of_the_others(talks: &[Talk]) -> Vec<Case> {
    let of = |talk: &Talk| {
        let longest = Duration::from_secs_f64(talk.longest_ms / 1000.0);
        let told = format!("{} of {} replies, the slowest after {:.0} ms", talk.got, talk.due, talk.longest_ms);
        let well = talk.got == talk.due && talk.due > 0 && longest <= LONGEST_REPLY;
        Case::host(
            "host",
            &format!("replies due to {}", talk.group),
            match well {
                true => Outcome::Refused(told),
                false => Outcome::Succeeded(told),
            },
        )
    };
    talks.iter().map(of).collect()
}

/// The kinds of canaries in `bytes`, without those that may be there.
fn strange_canaries(bytes: &[u8], allowed: &[&str]) -> Vec<String> {
    canaries(bytes).into_iter().filter(|kind| !allowed.contains(&kind.as_str())).collect()
}
