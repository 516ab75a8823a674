//! The machine that is measured on: a line about it, and what its disk takes to commit, which bounds everything durable.

use std::{
    fs::{self, File},
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use crate::{figures::Figure, program::folder};

/// Kernel, processors, memory, file system, load.
pub(crate) fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = read("/proc/meminfo");
    let memory_kib: u64 = memory.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let load = read("/proc/loadavg").split_whitespace().next().unwrap_or("?").to_owned();
    format!(
        "Linux {kernel}, {cpus} processors ({}), {} GiB memory, load {load} at the end",
        model.map_or("unknown", |(_, model)| model),
        memory_kib.div_ceil(1 << 20),
    )
}

/// How long a page that is appended to a file takes to be on the disk: what one commit costs at least.
pub(crate) fn commit_to_disk() -> Figure {
    let folder = folder();
    let mut file = File::create(folder.path().join("page")).unwrap();
    let mut append = || {
        file.write_all(&[b'x'; 4096]).unwrap();
        let begun = Instant::now();
        file.sync_data().unwrap();
        begun.elapsed()
    };
    let samples: Vec<_> = (0..200).map(|_| append()).collect();
    Figure::times("the disk alone: fdatasync after 4 KiB", &samples)
}

/// How long threads that do nothing but look at the clock do not run, where there is one for each processor: what a machine
/// takes away from everybody when all its processors are busy. A virtual machine may be stopped by its host then. Each sample is the
/// longest such pause of a thread in a tenth of a second.
pub(crate) fn pauses_when_busy() -> Figure {
    let busy = || {
        let (mut longest, mut last, begun) = (Duration::ZERO, Instant::now(), Instant::now());
        while begun.elapsed() < Duration::from_millis(100) {
            let now = Instant::now();
            longest = longest.max(now - last);
            last = now;
        }
        longest
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let samples: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..processors).map(|_| scope.spawn(|| (0..50).map(|_| busy()).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    Figure::times("the machine alone, all processors busy: longest pause of a thread in 0.1 s", &samples)
}
