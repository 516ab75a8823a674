//! The attacker of the hostile self-test: an agent that does everything it can to get out, to find secrets, to starve others
//! and to speak in their name, and says line by line what came of it.
//!
//! Harmless to ship: it does nothing that any other program in a container could not do, and each of its attempts ends
//! before damage would begin (a device is opened, not written; the machine is asked to restart with arguments that mean
//! nothing). The judge is on the host (`nanoclaw selftest hostile`): what is said here is one half of the proof, what the
//! host sees is the other.
//!
//! It is a foreign agent like any other: one prompt on standard input (`attack NAME`), one block on standard output. What it
//! is about to try it writes down first, in the group's folder: when that ends the container, the next one, which is given
//! the same prompt, says so and goes on.

mod ambiguous;
mod client_hello;
mod escape;
mod exfiltrate;
mod exhaust;
mod forge;
mod gateway;
mod hunt;
mod knock;
mod links;
mod persist;
mod spellings;
mod tunnel;

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    panic::resume_unwind,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::Context as _;
use nanoclaw_core::protocol::{
    hostile::{Attempt, ORDERS_FILE, Orders, Outcome, diary_name},
    input::ContainerInput,
    markers,
    output::Block,
};
use rustix::io::Errno;

use crate::{log::say, places::Places};

/// What makes one attack.
type Make = fn(&mut Attack);

/// The attacks, in the order in which the judge has them made.
const ATTACKS: [(&str, Make); 8] = [
    ("exfiltrate", exfiltrate::run),
    ("tunnel", tunnel::run),
    ("hunt", hunt::run),
    ("escape", escape::run),
    ("links", links::run),
    ("forge", forge::run),
    ("persist", persist::run),
    ("exhaust", exhaust::run),
];

/// How much is tried at the same time where that is possible: fewer than the connections that the gateway serves.
const SIDE_BY_SIDE: usize = 8;

/// Runs one attack and returns the exit code to end with.
pub(crate) fn main(arguments: &[OsString]) -> u8 {
    if let Some((what, arguments)) = arguments.split_first() {
        return exhaust::child(&what.to_string_lossy(), arguments);
    }
    match attack() {
        Ok(()) => 0,
        Err(error) => {
            say!("hostile: {error:#}");
            1
        }
    }
}

fn attack() -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
    let input: ContainerInput =
        serde_json::from_slice(&bytes).context("standard input is not the JSON object expected")?;
    let wanted = ATTACKS.iter().rev().find(|(name, _)| input.prompt.contains(&format!("attack {name}")));
    let (name, run) = wanted.context("the prompt names no attack")?;
    let places = Places::from_environment();
    let orders = fs::read(places.group.join(ORDERS_FILE)).context("cannot read the orders")?;
    let orders = serde_json::from_slice(&orders).context("the orders are no JSON")?;
    let mut attack = Attack::begin(orders, places, input, name)?;
    run(&mut attack);
    attack.answer()
}

/// An attack under way.
struct Attack {
    orders: Orders,
    places: Places,
    input: ContainerInput,
    attempts: Vec<Attempt>,
    /// What an earlier container had begun.
    begun: Vec<String>,
    diary: PathBuf,
}

/// One thing to try that needs nothing of the attack.
struct Try<'a> {
    name: String,
    attempt: Box<dyn FnOnce() -> Outcome + Send + 'a>,
}

/// So that a list of them reads like attempts that are made at once.
trait Tries<'a> {
    fn tries(&mut self, name: impl Into<String>, attempt: impl FnOnce() -> Outcome + Send + 'a);
}

impl<'a> Tries<'a> for Vec<Try<'a>> {
    fn tries(&mut self, name: impl Into<String>, attempt: impl FnOnce() -> Outcome + Send + 'a) {
        self.push(Try { name: name.into(), attempt: Box::new(attempt) });
    }
}

impl Attack {
    fn begin(orders: Orders, places: Places, input: ContainerInput, name: &str) -> anyhow::Result<Self> {
        let diary = places.group.join(diary_name(name));
        let text = fs::read_to_string(&diary).unwrap_or_default();
        let (mut attempts, mut begun) = (Vec::<Attempt>::new(), Vec::new());
        for line in text.lines() {
            match serde_json::from_str::<Attempt>(line) {
                Ok(attempt) => attempts.push(attempt),
                Err(_) => begun.push(line.to_owned()),
            }
        }
        begun.retain(|name| !attempts.iter().any(|attempt| attempt.name == *name));
        Ok(Self { orders, places, input, attempts, begun, diary })
    }

    /// Tries something, unless an earlier container did.
    fn tries(&mut self, name: impl Into<String>, attempt: impl FnOnce(&mut Self) -> Outcome) {
        let name = name.into();
        if self.attempts.iter().any(|attempt| attempt.name == name) {
            return;
        }
        let outcome = if self.begun.contains(&name) {
            Outcome::Refused("it ended its own container".to_owned())
        } else {
            self.note(&name);
            attempt(self)
        };
        let attempt = Attempt { name, outcome };
        self.note(&serde_json::to_string(&attempt).unwrap_or_default());
        self.attempts.push(attempt);
    }

    /// Tries several things at once that have nothing to do with each other and of which none ends the container, unless an
    /// earlier container did; `SIDE_BY_SIDE` at a time.
    fn tries_all(&mut self, tries: Vec<Try<'_>>) {
        let known = |name: &str| self.attempts.iter().any(|attempt| attempt.name == name);
        let mut left: Vec<Try<'_>> = tries.into_iter().filter(|one| !known(&one.name)).collect();
        // Taken from the end.
        left.reverse();
        let (left, attack) = (Mutex::new(left), &*self);
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let work = || {
            let mut done = Vec::new();
            while let Some(Try { name, attempt }) = next() {
                let attempt = Attempt { name, outcome: attempt() };
                attack.note(&serde_json::to_string(&attempt).unwrap_or_default());
                done.push(attempt);
            }
            done
        };
        let done: Vec<Attempt> = thread::scope(|scope| {
            let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(work)).collect();
            let done = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
            done.flatten().collect()
        });
        self.attempts.extend(done);
    }

    /// Writes a line into the diary; where the disk is full the attempt is not repeated, that is all.
    fn note(&self, line: &str) {
        let opened = OpenOptions::new().create(true).append(true).open(&self.diary);
        let _ = opened.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    }

    fn answer(&self) -> anyhow::Result<()> {
        let tried = serde_json::to_string(&self.attempts).context("cannot write down what was tried")?;
        let block = Block { answered_seq: self.input.last_seq, ..Block::success(Some(tried)) };
        io::stdout().write_all(&markers::encode(&block)).context("cannot write a block to standard output")
    }
}

/// Whether `answer` has `word` in it.
fn has(answer: &[u8], word: &str) -> bool {
    answer.windows(word.len()).any(|window| window == word.as_bytes())
}

/// What came of something that must not work: `got` says what was gained.
fn must_fail<T>(result: io::Result<T>, got: impl FnOnce(T) -> String) -> Outcome {
    match result {
        Ok(value) => Outcome::Succeeded(got(value)),
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

/// The same for a call that must not even reach the kernel's own checks: any other refusal than that of a filter or a missing
/// right says that only the arguments were wrong.
fn must_be_denied(result: Result<(), Errno>) -> Outcome {
    match result {
        Ok(()) => Outcome::Succeeded("it was done".to_owned()),
        Err(error @ (Errno::PERM | Errno::ACCESS | Errno::NOSYS)) => Outcome::Refused(error.to_string()),
        Err(error) => Outcome::Succeeded(format!("only its arguments were refused: {error}")),
    }
}
