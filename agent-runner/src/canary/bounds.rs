//! Reaches for the bounds: of processes, of processor time, of memory.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nanoclaw_core::runtime::witness::BoundSeen;
use rustix::time::{ClockId, clock_gettime};

/// The hidden word that makes this program eat memory until it is stopped.
pub(crate) const EAT_WORD: &str = "__eat";

/// More threads than a canary's bound is; the host gives it 64.
const THREADS: u64 = 256;
/// More memory than a canary's bound is; the host gives it 96 MiB.
const MEMORY_BYTES: usize = 192 << 20;
/// Some periods of the kernel's accounting, which are 100 ms long.
const BUSY_FOR: Duration = Duration::from_millis(500);

/// Starts threads until the kernel says no.
pub(super) fn pids() -> BoundSeen {
    let (hold, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let mut running = Vec::new();
    let mut refused = false;
    while running.len() < usize::try_from(THREADS).unwrap_or(usize::MAX) {
        let held = held.clone();
        let wait = move || {
            let _ = held.lock().map(|held| held.recv());
        };
        match thread::Builder::new().stack_size(1 << 16).spawn(wait) {
            Ok(thread) => running.push(thread),
            Err(_) => {
                refused = true;
                break;
            }
        }
    }
    drop(hold);
    let count = running.len() as u64;
    for thread in running {
        let _ = thread.join();
    }
    // The first thread is one of them.
    BoundSeen::Pids(refused.then_some(count + 1))
}

/// Keeps two processors busy for a while and looks how much of them was got.
pub(super) fn processor_time() -> BoundSeen {
    let enough = Arc::new(AtomicBool::new(false));
    let busy = || {
        let enough = enough.clone();
        thread::spawn(move || {
            while !enough.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })
    };
    let (began, before) = (Instant::now(), used());
    let threads = [busy(), busy()];
    thread::sleep(BUSY_FOR);
    enough.store(true, Ordering::Relaxed);
    for thread in threads {
        let _ = thread.join();
    }
    let (took, got) = (began.elapsed(), used().saturating_sub(before));
    BoundSeen::MilliCpus(u64::try_from(got.as_micros() * 1000 / took.as_micros().max(1)).unwrap_or(u64::MAX))
}

/// Processor time of this process so far.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Has a child use more memory than the bound is.
pub(super) fn memory() -> BoundSeen {
    let Ok(program) = std::env::current_exe() else { return BoundSeen::Memory { stopped: false } };
    let ate =
        Command::new(program).arg(EAT_WORD).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    // Whether it could not even be started says nothing of the bound.
    BoundSeen::Memory { stopped: ate.is_ok_and(|ended| !ended.success()) }
}

/// Uses memory and ends well: only where nothing stops it.
pub(crate) fn eat() -> u8 {
    let mut eaten = Vec::new();
    for _ in 0..MEMORY_BYTES >> 20 {
        // Of ones, since zeroes need no page of their own.
        eaten.push(vec![1_u8; 1 << 20]);
    }
    u8::from(std::hint::black_box(&eaten).is_empty())
}
