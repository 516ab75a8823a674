//! What process 1 does for processes: passes signals on, reaps, and leaves nobody behind.
//!
//! All of it works for an init that is not process 1 too (a host without process namespaces, tests): as a subreaper it
//! inherits the orphans among its own descendants.

use std::{fs, io, time::Duration};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use crate::log::say;

/// The signals that init hears.
pub(super) struct Signals {
    terminate: SignalStream,
    interrupt: SignalStream,
    hangup: SignalStream,
    child: SignalStream,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
        })
    }

    /// The next signal; several of one kind may come as one.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.child.recv() => Signal::CHILD,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

/// Makes orphans of our descendants ours, where we are not process 1 and get them anyway.
pub(super) fn adopt_orphans() {
    if rustix::process::getpid() == Pid::INIT {
        return;
    }
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        say!("init: cannot take over orphans: {error}; whoever started us reaps them");
    }
}

/// Reaps everybody who has ended; returns how `wanted` ended if it is among them.
pub(super) fn reap(wanted: Option<Pid>) -> Option<WaitStatus> {
    let mut found = None;
    // One signal may stand for several ends, so all of them are asked for. The error is that there is nobody left.
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Some(pid) == wanted {
            found = Some(status);
        }
    }
    found
}

/// Sends `signal` to the command and all of its processes that have not left its group.
pub(super) fn signal_group(leader: Pid, signal: Signal) {
    if let Err(error) = rustix::process::kill_process_group(leader, signal) {
        say!("init: cannot pass signal {} on: {error}", signal.as_raw());
    }
}

/// Kills and reaps everything that the command left behind. Bounded: who cannot be killed is left to the kernel.
pub(super) async fn kill_the_rest(leader: Pid) {
    const ROUNDS: u32 = 200;
    const BETWEEN_ROUNDS: Duration = Duration::from_millis(5);

    let _ = rustix::process::kill_process_group(leader, Signal::KILL);
    for round in 0..ROUNDS {
        if rustix::process::getpid() == Pid::INIT {
            // To a whole process namespace but its first process, which is us.
            let _ = rustix::process::kill_process_group(Pid::INIT, Signal::KILL);
        } else {
            // Grandchildren become our children as their parents end, hence the rounds.
            for child in children() {
                let _ = rustix::process::kill_process(child, Signal::KILL);
            }
        }
        reap(None);
        if nobody_left() {
            return;
        }
        if round > 0 {
            tokio::time::sleep(BETWEEN_ROUNDS).await;
        }
    }
    say!("init: some processes of the command do not end; leaving them to the kernel");
}

/// The code to exit with for a status: the command's own, or 128 and the signal's number, as shells have it.
pub(super) fn exit_code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(code).unwrap_or(1)
}

fn nobody_left() -> bool {
    matches!(rustix::process::wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD))
}

/// Our children, of all our threads; empty where the kernel does not tell.
fn children() -> Vec<Pid> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect::<Vec<_>>())
        .collect()
}
