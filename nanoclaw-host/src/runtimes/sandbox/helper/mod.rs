//! The helper process: this program, executed again under a hidden word, which becomes one container.
//!
//! It has two halves. The outer process leaves the host's namespaces, forks, and then only passes signals on and waits, so
//! that its end is the container's end. The inner one is the container's first process: it builds the root, gives
//! everything up, and executes the command. Neither ever has a second thread before the command runs.
//!
//! Where bubblewrap makes the namespaces and the root, it stands between the two: the outer process executes it, and it
//! executes this program once more, under another hidden word, as the inner half.
//!
//! Order matters everywhere here; the reasons stand beside the calls.

mod bubblewrap;
mod confine;
mod filter;
mod handover;
mod held;
mod image;
mod inside;
mod outside;
mod report;
mod root;
mod sys;

use std::{
    ffi::OsStr,
    fmt::Display,
    io::Write,
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, set_parent_process_death_signal},
};

use super::plan::{Refusal, Word};

/// What the host needs to know to look at a container from outside.
pub(super) use self::{
    confine::OPEN_FILES,
    filter::FILTERS,
    handover::MOST as DESCRIPTORS_AT_ONCE,
    image::{DEVICES, HOST_FOLDERS, is_below, tidy},
    root::{HIDDEN, READ_ONLY},
};

/// The first argument that makes this program the helper.
pub const HIDDEN_WORD: &str = "__sandbox";

/// The first argument of the inner half behind bubblewrap.
const HIDDEN_WORD_INSIDE: &str = "__sandbox-inside";

/// Becomes the helper when the first argument is [`HIDDEN_WORD`] or the one behind bubblewrap, and does not return then. Must
/// be the first statement of `main`: the helper may not have a second thread.
pub fn enter_if_asked() {
    let word = std::env::args_os().nth(1);
    if word.as_deref() == Some(OsStr::new(HIDDEN_WORD)) {
        enter_outside();
    } else if word.as_deref() == Some(OsStr::new(HIDDEN_WORD_INSIDE)) {
        enter_inside();
    }
}

fn enter_outside() -> ! {
    // Before the plan is read: a host that dies from here on takes this process along, and one that died earlier is
    // noticed by the missing plan.
    let armed = set_parent_process_death_signal(Some(Signal::KILL));
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { std::process::exit(2) };
    let mut control = UnixStream::from(control);
    let Some(received) = handover::take_plan(&control).filter(|_| !hung_up(&control)) else { typed_by_hand() };
    let refusal = match armed.at("arm the death signal").and_then(|()| outside::run(&mut control, received)) {
        Ok(code) => std::process::exit(code),
        Err(refusal) => refusal,
    };
    say(&mut control, &Word::Refused(refusal));
    std::process::exit(125)
}

fn enter_inside() -> ! {
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { std::process::exit(2) };
    match handover::take(socket) {
        Ok(taken) => inside::run_behind_bubblewrap(taken),
        Err(_) => typed_by_hand(),
    }
}

#[expect(clippy::print_stderr, reason = "somebody typed the hidden word by hand; there is no log here")]
fn typed_by_hand() -> ! {
    eprintln!("{HIDDEN_WORD} is how nanoclaw starts containers by itself; see nanoclaw --help");
    std::process::exit(2)
}

/// Whether nobody holds the other end any more.
fn hung_up(end: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(end, PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut watched, Some(&now)).is_err() || watched[0].revents().contains(PollFlags::HUP)
}

/// Says a word to the host. A host that is gone does not hear it, and needs not.
fn say(control: &mut UnixStream, word: &Word) {
    let mut line = serde_json::to_vec(word).unwrap_or_default();
    line.push(b'\n');
    let _ = control.write_all(&line);
}

/// Names the step that failed.
trait At<T> {
    /// The refusal says that `step` failed.
    fn at(self, step: impl Display) -> Result<T, Refusal>;
    /// The refusal is about the mount of `source`.
    fn for_mount(self, source: &Path) -> Result<T, Refusal>;
}

impl<T, E: Display> At<T> for Result<T, E> {
    fn at(self, step: impl Display) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::Step(step.to_string(), error.to_string()))
    }

    fn for_mount(self, source: &Path) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::Mount(source.to_owned(), error.to_string()))
    }
}
