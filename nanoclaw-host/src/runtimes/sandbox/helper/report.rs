//! Looks at what is in force, from where the command would stand.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use nanoclaw_core::runtime::RunAs;
use rustix::{
    net::{AddressFamily, SocketType},
    process::{getegid, geteuid, getgid, getpid, getuid},
    thread::{
        CapabilitySet, CapabilitySets, SecureComputingMode, capabilities, capability_is_in_bounding_set,
        secure_computing_mode,
    },
};

use crate::runtimes::sandbox::plan::{PROBE_THREADS, Plan, Refusal, Report};

/// Looks. What cannot be seen is reported as the worst it could be.
pub(super) fn look(landlock: String) -> Report {
    Report {
        effective_capabilities: capabilities(None).map_or(unknown(), |sets| format!("{:x}", sets.effective.bits())),
        bounding_capabilities: bounding_capabilities(),
        no_new_privileges: rustix::thread::no_new_privs().unwrap_or(false),
        seccomp: matches!(secure_computing_mode(), Ok(SecureComputingMode::Filter)),
        pid: getpid().as_raw_nonzero().get(),
        user: RunAs { uid: getuid().as_raw(), gid: getgid().as_raw() },
        interfaces: interfaces(),
        loopback: loopback().is_ok(),
        internet_sockets: rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).is_ok(),
        root_writable: root_writable(),
        landlock,
        threads: threads(),
    }
}

/// Makes sure, right before the command is executed, that what was done to this process is in force.
///
/// # Errors
/// Everything that is not.
pub(super) fn verify(plan: &Plan) -> Result<(), Refusal> {
    let own_world = plan.isolation.own_world();
    let empty =
        |sets: CapabilitySets| sets.effective.is_empty() && sets.permitted.is_empty() && sets.inheritable.is_empty();
    let user = RunAs { uid: getuid().as_raw(), gid: getgid().as_raw() };
    let faults = [
        (user != plan.user || geteuid() != getuid() || getegid() != getgid(), "it runs as another user"),
        (!capabilities(None).is_ok_and(empty), "it has capabilities"),
        (own_world && bounding_capabilities() != "0", "it could gain capabilities"),
        (!rustix::thread::no_new_privs().unwrap_or(false), "new privileges can be had"),
        (!matches!(secure_computing_mode(), Ok(SecureComputingMode::Filter)), "system calls are not filtered"),
        (own_world && getpid().as_raw_nonzero().get() != 1, "it is not the first of its processes"),
        (root_writable(), "the root folder can be written to"),
    ];
    let found: Vec<&str> = faults.iter().filter_map(|(wrong, what)| wrong.then_some(*what)).collect();
    // Where a test wants a fault, it wants it found by the look from outside.
    if found.is_empty() || plan.wants_faults() {
        Ok(())
    } else {
        Err(Refusal::Step("look at what is in force".to_owned(), found.join(", ")))
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn bounding_capabilities() -> String {
    let held = |number: &u32| capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number));
    // The kernel answers with an error beyond its last capability.
    let bits = (0..64).map_while(|number| held(&number).ok().map(|held| u64::from(held) << number));
    format!("{:x}", bits.fold(0, |all, bit| all | bit))
}

fn root_writable() -> bool {
    let path = "/.nanoclaw-probe";
    let made = File::create(path).is_ok();
    let _ = fs::remove_file(path);
    made
}

fn interfaces() -> Vec<String> {
    // Two lines of heading, then one line an interface.
    let table = fs::read_to_string("/proc/self/net/dev").unwrap_or_else(|_| "\n\nunreadable:".to_owned());
    table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// Sends a byte to ourselves, as the way to the gateway will.
fn loopback() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    sender.write_all(b"!")?;
    listener.accept()?.0.read_exact(&mut [0])
}

/// Starts threads until the kernel says no.
fn threads() -> u64 {
    let (hold, held) = mpsc::channel::<()>();
    let held = std::sync::Arc::new(std::sync::Mutex::new(held));
    let mut running = Vec::new();
    for _ in 0..PROBE_THREADS {
        let held = held.clone();
        let wait = move || {
            let _ = held.lock().map(|held| held.recv());
        };
        match thread::Builder::new().stack_size(1 << 16).spawn(wait) {
            Ok(thread) => running.push(thread),
            Err(_) => break,
        }
    }
    drop(hold);
    let count = running.len();
    for thread in running {
        let _ = thread.join();
    }
    count as u64
}
