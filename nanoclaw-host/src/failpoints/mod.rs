//! Named points at the ports where this process can be told to die: before and after every call of store, tasks, runtime,
//! launcher and channel. Only in builds with the feature `failpoints`, which no shipped program has, and only when asked for.
//!
//! `NANOCLAW_KILL_AT=store.commit_block.after:3` ends the process as `kill -9` does, at the third time that a block was
//! committed and nobody heard of it yet. `nanoclaw failpoints` lists the names: `port.method.before` and `port.method.after`.
//!
//! The ports are wrapped where they meet (`app`), so no other code knows of this. Which methods a port has is written
//! down in `ports`; the compiler and a test see to it that none is forgotten.

mod ports;

use std::{
    str::FromStr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
};

use nanoclaw_core::{channel::Channel, launch::Launcher, runtime::ContainerRuntime, store::Store, tasks::Tasks};
use rustix::process::{Signal, getpid, kill_process};

use ports::AtPort;

/// The variable that says where to die: a point's name, and perhaps `:` and at which passing (the first is 1).
pub const KILL_AT: &str = "NANOCLAW_KILL_AT";

/// The variable that names a wall of the gateway that is left out: `addresses`, `allow-list` or `tls-name`. Its judge has to
/// find that.
pub const WITHOUT_WALL: &str = "NANOCLAW_WITHOUT_WALL";

/// The wall that is left out; read from the environment once.
pub(crate) fn missing_wall() -> Option<&'static str> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        let name = std::env::var(WITHOUT_WALL).ok()?;
        tracing::warn!(wall = name, "this process leaves out a wall of its gateway, as {WITHOUT_WALL} asks");
        Some(name)
    };
    MISSING.get_or_init(read).as_deref()
}

/// The variable that says where to panic, once: a point's name, `:`, and at which passing (the first is 1). Its points are in
/// the loops that are to begin anew by themselves: `gateway.accept`, `credentials.reload`, `control.accept`,
/// `terminals.accept`, `bridges.accept`.
pub const PANIC_AT: &str = "NANOCLAW_PANIC_AT";

/// Passes such a point, or panics there.
pub(crate) fn panic_if_asked(point: &str) {
    static ASKED: OnceLock<Option<(String, AtomicI64)>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var(PANIC_AT).ok()?;
        let (point, passing) = text.split_once(':')?;
        Some((point.to_owned(), AtomicI64::new(passing.parse().ok()?)))
    });
    if let Some((asked, passings)) = asked
        && asked == point
        && passings.fetch_sub(1, Ordering::SeqCst) == 1
    {
        panic!("{PANIC_AT} asks for it");
    }
}

/// The variable that says after which step of an import to die, by its number (the first is 1).
pub const KILL_AFTER_STEP: &str = "NANOCLAW_KILL_AFTER_STEP";

/// Dies after such a step.
pub(crate) fn kill_after_step(number: usize) {
    if std::env::var(KILL_AFTER_STEP).is_ok_and(|asked| asked == number.to_string()) {
        let _ = kill_process(getpid(), Signal::KILL);
        std::process::abort();
    }
}

/// The variable that says what is to stand still: `dispatcher:` and a file; it does while that file exists.
pub const HOLD_AT: &str = "NANOCLAW_HOLD_AT";

/// Stands still here, if that is asked for.
///
/// # Panics
/// On a runtime of one thread, where everything would stand still.
pub(crate) fn hold_if_asked(point: &str) {
    static ASKED: OnceLock<Option<(String, std::path::PathBuf)>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var(HOLD_AT).ok()?;
        let (point, file) = text.split_once(':')?;
        Some((point.to_owned(), file.into()))
    });
    if let Some((asked, file)) = asked
        && asked == point
        && file.exists()
    {
        // Other workers of this thread are to go on.
        tokio::task::block_in_place(|| {
            while file.exists() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        });
    }
}

/// The names of all points, port by port, in the order of the ports' methods.
pub fn names() -> impl Iterator<Item = String> {
    let of = |port: &'static str, methods: &'static [&'static str]| {
        let point = move |method: &&str, moment: Moment| format!("{port}.{method}.{}", moment.word());
        methods.iter().flat_map(move |method| [point(method, Moment::Before), point(method, Moment::After)])
    };
    ports::ALL.iter().flat_map(move |(port, methods)| of(port, methods))
}

/// The store, with points.
#[must_use]
pub fn store(store: Arc<dyn Store>) -> Arc<dyn Store> {
    if asked_for() { Arc::new(AtPort(store)) } else { store }
}

/// What keeps tasks, with points.
#[must_use]
pub fn tasks(tasks: Arc<dyn Tasks>) -> Arc<dyn Tasks> {
    if asked_for() { Arc::new(AtPort(tasks)) } else { tasks }
}

/// The runtime, with points.
#[must_use]
pub fn runtime(runtime: Arc<dyn ContainerRuntime>) -> Arc<dyn ContainerRuntime> {
    if asked_for() { Arc::new(AtPort(runtime)) } else { runtime }
}

/// The launcher, with points.
#[must_use]
pub fn launcher(launcher: Arc<dyn Launcher>) -> Arc<dyn Launcher> {
    if asked_for() { Arc::new(AtPort(launcher)) } else { launcher }
}

/// A channel, with points.
#[must_use]
pub fn channel(channel: Arc<dyn Channel>) -> Arc<dyn Channel> {
    if asked_for() { Arc::new(AtPort(channel)) } else { channel }
}

/// Passes a point, or dies there.
fn pass(port: &str, method: &str, moment: Moment) {
    if let Some(kill) = kill_at()
        && kill.at_last(port, method, moment)
    {
        // Nothing is flushed, dropped or said: that is the point.
        let _ = kill_process(getpid(), Signal::KILL);
        std::process::abort();
    }
}

fn asked_for() -> bool {
    kill_at().is_some()
}

/// Where this process dies; read from the environment once.
fn kill_at() -> Option<&'static KillAt> {
    static KILL: OnceLock<Option<KillAt>> = OnceLock::new();
    let read = || match std::env::var(KILL_AT).ok()?.parse::<KillAt>() {
        Ok(kill) => {
            tracing::warn!(point = kill.point, "this process will kill itself, as {KILL_AT} asks");
            Some(kill)
        }
        Err(error) => {
            // Whoever believes that this process dies must not be left in that belief.
            tracing::error!(%error, "a failpoint that is none");
            std::process::exit(2);
        }
    };
    KILL.get_or_init(read).as_ref()
}

/// No point has this name.
#[derive(Debug, thiserror::Error)]
#[error(
    "{KILL_AT}={text} names no point; it is one of those that `nanoclaw failpoints` lists, and perhaps :N for the Nth passing"
)]
pub struct NoSuchPoint {
    /// What was asked for.
    pub text: String,
}

/// On which side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

impl Moment {
    fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// Where and when to die.
#[derive(Debug)]
struct KillAt {
    point: String,
    /// At which passing from now on it kills; below 1 when it should have.
    passings: AtomicI64,
}

impl KillAt {
    /// Whether this is the point, passed for the time at which it kills.
    fn at_last(&self, port: &str, method: &str, moment: Moment) -> bool {
        self.is(port, method, moment) && self.passings.fetch_sub(1, Ordering::SeqCst) == 1
    }

    fn is(&self, port: &str, method: &str, moment: Moment) -> bool {
        let rest = self.point.strip_prefix(port).and_then(|rest| rest.strip_prefix('.'));
        let rest = rest.and_then(|rest| rest.strip_prefix(method)).and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| rest == moment.word())
    }
}

impl FromStr for KillAt {
    type Err = NoSuchPoint;

    fn from_str(text: &str) -> Result<Self, NoSuchPoint> {
        let (point, passing) = text.split_once(':').unwrap_or((text, "1"));
        match passing.parse::<u32>() {
            Ok(passing @ 1..) if names().any(|name| name == point) => {
                Ok(Self { point: point.to_owned(), passings: AtomicI64::new(passing.into()) })
            }
            _ => Err(NoSuchPoint { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_can_be_waited_for_has_a_point_on_either_side() {
        let all: Vec<String> = names().collect();
        for point in
            ["store.accept.before", "store.commit_block.after", "runtime.start.after", "launcher.prepare.before"]
        {
            assert!(all.iter().any(|name| name == point), "{point}");
        }
        assert!(all.iter().all(|name| name.parse::<KillAt>().is_ok()));
    }

    #[test]
    fn a_point_that_is_none_is_refused() {
        for text in ["", "store", "store.accept", "store.accept.during", "store.accept.after:0", "store.accept.after:x"]
        {
            assert!(text.parse::<KillAt>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_named_point_counts_and_only_the_named_passing_kills() {
        let kill: KillAt = "store.accept.after:3".parse().unwrap();
        for _ in 0..10 {
            assert!(!kill.at_last("store", "accept", Moment::Before));
            assert!(!kill.at_last("channel", "send", Moment::After));
        }
        let passings = [(); 4].map(|()| kill.at_last("store", "accept", Moment::After));
        assert_eq!(passings, [false, false, true, false]);
    }

    /// A method with a default body can be left out of an implementation, and the decorator would not see its calls.
    #[test]
    fn no_method_of_a_port_is_forgotten() {
        let sources = [
            ("store", "Store", include_str!("../../../nanoclaw-core/src/store.rs")),
            ("tasks", "Tasks", include_str!("../../../nanoclaw-core/src/tasks.rs")),
            ("runtime", "ContainerRuntime", include_str!("../../../nanoclaw-core/src/runtime.rs")),
            ("launcher", "Launcher", include_str!("../../../nanoclaw-core/src/launch.rs")),
            ("channel", "Channel", include_str!("../../../nanoclaw-core/src/channel.rs")),
        ];
        for (port, name, source) in sources {
            let (_, body) = source.split_once(&format!("pub trait {name}: ")).unwrap();
            let (body, _) = body.split_once("\n}\n").unwrap();
            for (prefix, known) in [("    async fn ", ports::ALL), ("    fn ", ports::WITHOUT_POINTS)] {
                let declared: Vec<&str> = body
                    .lines()
                    .filter_map(|line| line.strip_prefix(prefix))
                    .map(|line| line.split(['(', '<']).next().unwrap())
                    .collect();
                let (_, known) = known.iter().find(|(known, _)| *known == port).unwrap();
                assert_eq!(declared, *known, "the methods of {name}, in order");
            }
        }
    }
}
