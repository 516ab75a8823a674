//! The outer half: leaves the host's namespaces, forks the container's first process, passes signals on, and ends as it
//! ended.

use std::{
    fs,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{
        Pid, Signal, WaitOptions, WaitStatus, getgid, getpid, getuid, kill_process, pidfd_send_signal,
        set_child_subreaper, set_parent_process_death_signal, setsid, wait,
    },
    thread::UnshareFlags,
};

use super::{
    At, bubblewrap,
    handover::Received,
    inside::{self, Lifeline},
    sys::{self, Awaited, Forked},
};
use crate::runtimes::sandbox::plan::{Fault, Isolation, Plan, Refusal};

/// What asks the outer process to kill the container. TERM, INT and HUP are passed on as they are.
const KILL_REQUEST: i32 = libc::SIGUSR1;

/// Makes the container and waits for it; returns the exit code to end with.
///
/// # Errors
/// When nothing was forked.
pub(super) fn run(control: &mut UnixStream, received: Received) -> Result<i32, Refusal> {
    let Received { input, plan, held } = received;
    let plan = &plan;
    rustix::stdio::dup2_stdin(&input).at("take the standard input")?;
    drop(input);
    sys::close_the_rest_on_exec().at("mark inherited descriptors")?;
    // A Ctrl-C in the host's terminal is for the host, which then stops its containers in order.
    setsid().at("start a session")?;
    let awaited = Awaited::block(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, KILL_REQUEST])
        .at("block signals")?;

    if plan.isolation == Isolation::Bubblewrap {
        return bubblewrap::run(control, plan, &held, &awaited);
    }
    let own_processes = plan.isolation == Isolation::Namespaces;
    let death_signal = if own_processes {
        leave(plan)?;
        // The kernel takes the whole process namespace along with its first process.
        Signal::KILL
    } else {
        // Without a process namespace, whatever the command left behind is reparented to us, and the host's end is a
        // request to kill it all.
        set_child_subreaper(Some(getpid())).at("adopt orphans")?;
        Signal::USR1
    };
    // Again: changing credentials, as entering a user namespace does, clears it.
    set_parent_process_death_signal(Some(death_signal)).at("arm the death signal")?;

    let (lifeline, end) = pipe_with(PipeFlags::CLOEXEC).at("make a pipe")?;
    match sys::fork().at("fork")? {
        Forked::Child => {
            drop(end);
            inside::run(control, plan, &held, &Lifeline(lifeline))
        }
        Forked::Parent(first) => {
            drop((lifeline, held));
            close_streams(control);
            Ok(supervise(&First::Child(first), &awaited, own_processes))
        }
    }
}

/// Leaves the process namespace for the next child, and the user namespace first where capabilities come from there.
fn leave(plan: &Plan) -> Result<(), Refusal> {
    if plan.has(Fault::SharedProcesses) && !plan.user_namespace {
        return Ok(());
    }
    if !plan.user_namespace {
        return sys::unshare(UnshareFlags::NEWPID).at("make a process namespace");
    }
    // Our own ids are kept, so that files made inside are ours outside.
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWPID).at("make a user namespace")?;
    fs::write("/proc/self/setgroups", "deny").at("write /proc/self/setgroups")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1")).at("write /proc/self/uid_map")?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1")).at("write /proc/self/gid_map")
}

/// Lets go of the container's streams and of the control socket: their ends must be seen when the container closes them.
pub(super) fn close_streams(control: &mut UnixStream) {
    if let Ok(null) = fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
        // The caller's descriptor is replaced, which closes the socket.
        if let Ok(spare) = UnixStream::pair() {
            *control = spare.0;
        }
    }
}

/// The container's first process.
pub(super) enum First {
    /// A child of ours.
    Child(Pid),
    /// A child of bubblewrap, which is a child of ours, and which passes no signal on.
    Behind {
        /// Ends after the first process and with its code, or 128 and the number of its signal.
        bubblewrap: Pid,
        /// A descriptor of the first process.
        first: OwnedFd,
    },
}

impl First {
    /// The child of ours whose end is the container's.
    fn child(&self) -> Pid {
        match self {
            Self::Child(pid) | Self::Behind { bubblewrap: pid, .. } => *pid,
        }
    }

    /// Sends it a signal; one that has ended does not get it.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = match self {
            Self::Child(pid) => kill_process(*pid, signal),
            Self::Behind { first, .. } => pidfd_send_signal(first, signal),
        };
    }

    /// Makes sure that it has ended, when our child has: bubblewrap could have been killed by somebody.
    fn finish(&self) {
        if let Self::Behind { first, .. } = self {
            self.signal(Signal::KILL);
            let _ = poll(&mut [PollFd::new(first, PollFlags::IN)], None);
        }
    }
}

/// Waits for the first process and passes signals on to it meanwhile.
pub(super) fn supervise(first: &First, awaited: &Awaited, own_processes: bool) -> i32 {
    loop {
        let signal = awaited.next();
        if signal == libc::SIGCHLD {
            // Every ended child is reaped, adopted ones too.
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                if pid == first.child() {
                    first.finish();
                    if !own_processes {
                        kill_the_rest();
                    }
                    return end_like(status, awaited);
                }
            }
        } else if signal == KILL_REQUEST {
            first.signal(Signal::KILL);
        } else if let Some(signal) = Signal::from_named_raw(signal) {
            first.signal(signal);
        }
    }
}

/// Kills what the first process left behind: children that were reparented to us, until there are none.
fn kill_the_rest() {
    let list = format!("/proc/self/task/{}/children", getpid());
    loop {
        for child in fs::read_to_string(&list).unwrap_or_default().split_ascii_whitespace() {
            if let Some(pid) = child.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        // Killed children hand their own children to us, so this ends only when the whole tree is gone.
        if wait(WaitOptions::empty()).is_err_and(|error| error == Errno::CHILD) {
            return;
        }
    }
}

/// Ends as the first process ended, so that the host sees its code or its signal and no translation of it.
fn end_like(status: WaitStatus, awaited: &Awaited) -> i32 {
    if let Some(code) = status.exit_status() {
        return code;
    }
    let number = status.terminating_signal().unwrap_or(libc::SIGKILL);
    let core = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, core);
    if let Some(signal) = Signal::from_named_raw(number) {
        awaited.end_by(signal);
    }
    // A real-time signal, or one that does not end a process by default.
    128 + number
}
