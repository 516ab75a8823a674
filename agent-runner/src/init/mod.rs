//! Process 1 of every container, whatever the agent in it: `agent-runner init -- COMMAND…`.
//!
//! It gives any program that speaks the container contract what it need not know of: loopback leads to the gateway
//! ([`gateway`]), every block is in the journal before it goes out ([`relay`]), orphans are reaped and signals passed on
//! ([`processes`]), it ends when its run must not go on ([`fence`]), and it begins
//! only if its mounts are what the host checked ([`mounts`]), with the group's skills at hand ([`skills`]). Standard input and standard error are the command's own; init never touches them, but for lines of its
//! own on standard error.

mod fence;
mod gateway;
mod mounts;
mod processes;
mod relay;
mod skills;

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use nanoclaw_core::protocol::{
    fence::FENCED_CODE,
    gateway::NO_GATEWAY_CODE,
    mounts::{CHECKED_MOUNTS, MOUNT_CHANGED_CODE},
    skills::SKILLS_DIR,
};
use rustix::process::{Pid, Signal};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use self::{fence::Fence, gateway::Forwarder, processes::Signals, relay::Journal};
use crate::{
    log::say,
    places::{Places, set},
};

/// The exit code when the command could not be started, as shells have it.
const NOT_STARTED: u8 = 127;
/// The exit code when init itself could not begin.
const NOT_READY: u8 = 1;

/// How long the last output may take to go out after the command has ended. A host that does not read for longer is not
/// waited for: what is in the journal is safe.
const LAST_OUTPUT: Duration = Duration::from_secs(10);

/// How long the command of a fenced run may take to end when it is asked to, which our agent does at once. Short, because
/// an agent that does not listen could take what is meant for its successor meanwhile.
const FENCED_GRACE: Duration = Duration::from_secs(1);

/// Runs `command` and returns the exit code to end with: the command's own, or 128 and the signal that ended it, or
/// [`FENCED_CODE`] when a later run has taken its place, [`NO_GATEWAY_CODE`] when the gateway is not there, or
/// [`MOUNT_CHANGED_CODE`] when a mount is not what was checked.
pub(crate) fn main(command: &[OsString]) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say!("init: cannot start: {error}");
            return NOT_READY;
        }
    };
    let code = runtime.block_on(supervise(command)).unwrap_or_else(|error| {
        say!("init: {error:#}");
        NOT_READY
    });
    // Not waited for: a relay that is stuck on a host that does not read would hold the container for ever.
    runtime.shutdown_background();
    code
}

async fn supervise(command: &[OsString]) -> anyhow::Result<u8> {
    let places = Places::from_environment();
    // Before the command exists: the kernel drops a signal to process 1 that has no handler yet.
    let mut signals = Signals::catch().context("cannot catch signals")?;
    processes::adopt_orphans();
    let mut fence = places.run.map(|run| Fence::watch(places.mailbox.clone(), run));
    if let Some((run, oldest)) = fence.as_ref().and_then(Fence::passed) {
        say!("init: run {run} is over, the oldest that may go on is {oldest}; the command is not started");
        return Ok(FENCED_CODE);
    }
    if let Err(changed) = mounts::compare(set(CHECKED_MOUNTS).as_deref()) {
        say!("init: {changed}");
        return Ok(MOUNT_CHANGED_CODE);
    }
    let gateway = match &places.gateway {
        Some(socket) => Some(Forwarder::listen(socket.clone()).await.context("cannot listen for the gateway")?),
        None => None,
    };

    if let Some(forwarder) = &gateway
        && let Some(code) = no_hello(forwarder, &mut signals).await
    {
        return Ok(code);
    }

    if let Some(folder) = set(SKILLS_DIR) {
        skills::link(folder.as_ref(), &places.home);
    }
    let mut child = match spawn(command, gateway.as_ref()) {
        Ok(child) => child,
        Err(error) => {
            say!("init: cannot start {:?}: {error}; is it in the image, and executable?", command[0]);
            return Ok(NOT_STARTED);
        }
    };
    let pid = Pid::from_child(&child);
    let fenced = Arc::<AtomicBool>::default();
    let mut relayed = start_relay(&mut child, &places, fenced.clone())?;

    let serve = async {
        match &gateway {
            Some(forwarder) => forwarder.serve().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(serve);

    let mut kill_at: Option<Instant> = None;
    let status = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::CHILD => {
                    if let Some(status) = processes::reap(Some(pid)) {
                        break Some(status);
                    }
                }
                // To all of the command's processes. How long they may take is the runtime's to say: it asked, and it
                // kills when its patience ends.
                signal => processes::signal_group(pid, signal),
            },
            (run, oldest) = Fence::passes(&mut fence), if kill_at.is_none() => {
                // First of all: no word of the command's goes out as this run's from here on.
                fenced.store(true, Ordering::Release);
                processes::signal_group(pid, Signal::TERM);
                say!("init: run {run} is over, the oldest that may go on is {oldest}; ending the command");
                kill_at = Some(Instant::now() + FENCED_GRACE);
            }
            () = sleep_until(kill_at), if kill_at.is_some() => break None,
            () = &mut serve, if kill_at.is_none() => {}
        }
    };

    // What the command left behind would hold its standard output open, and a container ends with its command.
    processes::kill_the_rest(pid).await;
    if kill_at.is_some() {
        // Nothing is owed to anybody but the end of a write that is on its way.
        let _ = timeout(FENCED_GRACE, &mut relayed).await;
        return Ok(FENCED_CODE);
    }
    if timeout(LAST_OUTPUT, &mut relayed).await.is_err() {
        say!("init: the last output was not read for {LAST_OUTPUT:?}; ending without it");
    }
    Ok(status.map_or(FENCED_CODE, |status| of_command(processes::exit_code(status))))
}

/// The code to pass on for a command's own: those by which init itself speaks are not a command's to say.
fn of_command(code: u8) -> u8 {
    if (FENCED_CODE..=MOUNT_CHANGED_CODE).contains(&code) { 1 } else { code }
}

/// The code to end with when the gateway does not answer, or when somebody wants us to end before it does.
async fn no_hello(forwarder: &Forwarder, signals: &mut Signals) -> Option<u8> {
    let asked_to_end = async {
        loop {
            match signals.next().await {
                Signal::CHILD => {}
                signal => return signal,
            }
        }
    };
    tokio::select! {
        answer = forwarder.hello() => {
            let error = answer.err()?;
            say!("init: {error}; the command is not started");
            Some(NO_GATEWAY_CODE)
        }
        // As shells have it.
        signal = asked_to_end => Some(u8::try_from(128 + signal.as_raw()).unwrap_or(NOT_READY)),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn spawn(command: &[OsString], gateway: Option<&Forwarder>) -> io::Result<Child> {
    let mut builder = Command::new(&command[0]);
    builder.args(&command[1..]).stdout(Stdio::piped()).process_group(0);
    if let Some(gateway) = gateway {
        builder.envs(gateway.environment());
    }
    builder.spawn()
}

/// Starts the relay of the command's standard output on a thread of its own: it reads, syncs and writes, all blocking,
/// and must not hold up the gateway. The result is told when the output has ended and all of it has gone out.
fn start_relay(child: &mut Child, places: &Places, fenced: Arc<AtomicBool>) -> anyhow::Result<oneshot::Receiver<()>> {
    let from = child.stdout.take().context("the command has no standard output")?;
    let to = File::from(io::stdout().as_fd().try_clone_to_owned().context("cannot take standard output")?);
    let journal = places.run.map(|run| Journal::new(places.mailbox.clone(), run));
    let (done, relayed) = oneshot::channel();
    std::thread::Builder::new()
        .name("relay".to_owned())
        .spawn(move || {
            relay::relay(from, to, journal, &fenced);
            let _ = done.send(());
        })
        .context("cannot start the relay")?;
    Ok(relayed)
}
