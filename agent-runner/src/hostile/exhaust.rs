//! Everything that there is not enough of: processes, memory, disk, open files, the kernel's small tables, the host's
//! patience. Each is taken until the kernel says no, held for a moment, and given back.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nanoclaw_core::protocol::{hostile::Outcome, markers};
use rustix::{
    fs::inotify,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with},
    process::{Pid, Signal, kill_process},
};

use super::Attack;

/// More of anything than this is not taken, limit or not.
const MOST: usize = 20_000;
const PIECE: usize = 8 * 1024 * 1024;

pub(super) fn run(attack: &mut Attack) {
    attack.tries("open files", |_| {
        let (files, error) = take(|| File::open("/dev/null"));
        judge_count("files", files.len(), error, None)
    });
    attack.tries("inotify instances", |attack| {
        let (taken, error) = take(|| Ok(inotify::init(inotify::CreateFlags::CLOEXEC)?));
        hold(attack);
        judge_count("instances", taken.len(), error, None)
    });
    attack.tries("terminals", |attack| {
        let (taken, error) = take(|| File::options().read(true).write(true).open("/dev/ptmx"));
        hold(attack);
        judge_count("terminals", taken.len(), error, None)
    });
    attack.tries("memory of pipes", |attack| {
        let (taken, error) = take(|| {
            let (from, to) = rustix::pipe::pipe()?;
            rustix::pipe::fcntl_setpipe_size(&to, 1 << 20)?;
            Ok((from, to))
        });
        hold(attack);
        judge_count("pipes of a mebibyte", taken.len(), error, None)
    });
    attack.tries("/tmp", |attack| fill("/tmp", attack.orders.bounds.tmp_bytes));
    attack.tries("/dev/shm", |attack| {
        fill("/dev/shm", attack.orders.bounds.memory_bytes.unwrap_or(1 << 30).min(1 << 30))
    });
    attack.tries("the disk", |attack| {
        let path = attack.places.group.join("filler");
        let (written, error) = write_until_refused(&path, attack.orders.bounds.disk_bytes);
        hold(attack);
        let _ = fs::remove_file(&path);
        match error {
            Some(error) => Outcome::Refused(format!("{written} bytes, then {error}")),
            None => Outcome::Allowed(format!("{written} bytes written; nothing but the disk bounds a group's folder")),
        }
    });
    attack.tries("processes", |attack| processes(attack));
    attack.tries("threads", |attack| {
        let limit = attack.orders.bounds.pids.map(|pids| pids as usize);
        let most = limit.map_or(2000, |limit| limit + 64);
        match this_program(&["threads", &most.to_string()]).stdout(Stdio::piped()).output() {
            Err(error) => Outcome::Refused(error.to_string()),
            Ok(output) => {
                let told = String::from_utf8_lossy(&output.stdout);
                let (count, error) = told.split_once(' ').unwrap_or_default();
                let error = (!error.is_empty()).then(|| io::Error::other(error.to_owned()));
                judge_count("threads", count.parse().unwrap_or(usize::MAX), error, limit)
            }
        }
    });
    attack.tries("memory", |attack| memory(attack));
    attack.tries("processors", |attack| processors(attack));
    attack.tries("signals", |_| {
        let since = Instant::now();
        let mut count = 0_u64;
        while since.elapsed() < Duration::from_secs(1) {
            let _ = Pid::from_raw(1).map(|first| kill_process(first, Signal::URG));
            count += 1;
        }
        Outcome::Allowed(format!("{count} to its own init, which goes on"))
    });
    attack.tries("requests to the gateway", |attack| {
        let Some(socket) = attack.places.gateway.clone() else {
            return Outcome::Absent("there is no gateway".to_owned());
        };
        let (taken, error) = take(|| connect_without_waiting(&socket));
        hold(attack);
        judge_count("connections", taken.len(), error, None)
    });
    attack.tries("requests in the mailbox", |attack| {
        let folder = attack.places.mailbox.root().join("messages");
        let count = attack.orders.bounds.files;
        let written = (0..count)
            .take_while(|number| fs::write(folder.join(format!("flood-{number}.json")), b"{").is_ok())
            .count();
        Outcome::Allowed(format!("{written} files left there; only this group waits for them"))
    });
    attack.tries("standard error", |attack| flood(&mut io::stderr(), attack.orders.bounds.flood_bytes));
    attack.tries("standard output", |attack| flood(&mut io::stdout(), attack.orders.bounds.flood_bytes));
    attack.tries("a block that does not end", |attack| {
        let mut out = io::stdout();
        let begun = writeln!(out, "\n{}", markers::START);
        let outcome = flood(&mut out, attack.orders.bounds.flood_bytes / 2);
        let _ = begun.and_then(|()| writeln!(out, "\n{}", markers::END));
        outcome
    });
}

/// A child's half: what this program is started for by itself.
pub(super) fn child(what: &str, arguments: &[OsString]) -> u8 {
    match what {
        "sleep" => std::thread::sleep(Duration::from_secs(60)),
        "eat" => {
            let bytes = arguments.first().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(0_usize);
            let mut eaten = Vec::new();
            while eaten.len() * PIECE < bytes {
                // Ones, so that each page is really there.
                eaten.push(vec![1_u8; PIECE]);
            }
            std::hint::black_box(&eaten);
        }
        "threads" => {
            let most = arguments.first().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(0_usize);
            let spawn = || {
                std::thread::Builder::new().stack_size(64 * 1024).spawn(|| std::thread::sleep(Duration::from_secs(60)))
            };
            let mut count = 0;
            let error = loop {
                match spawn() {
                    Err(error) => break error.to_string(),
                    Ok(_) if count >= most => break String::new(),
                    Ok(_) => count += 1,
                }
            };
            let _ = io::stdout().write_all(format!("{count} {error}").as_bytes());
        }
        _ => return 2,
    }
    0
}

/// Takes as many as there are; says why there are no more, `None` when that was not found out.
fn take<T>(mut one: impl FnMut() -> io::Result<T>) -> (Vec<T>, Option<io::Error>) {
    let mut taken = Vec::new();
    while taken.len() < MOST {
        match one() {
            Ok(more) => taken.push(more),
            Err(error) => return (taken, Some(error)),
        }
    }
    (taken, None)
}

/// A connection that is refused, and not waited for, where as many wait as may.
fn connect_without_waiting(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn hold(attack: &Attack) {
    std::thread::sleep(Duration::from_millis(attack.orders.bounds.hold_ms));
}

/// With a `limit`, to be stopped there; without one, whether it is stopped is told.
fn judge_count(what: &str, count: usize, error: Option<io::Error>, limit: Option<usize>) -> Outcome {
    match (error, limit) {
        (Some(error), Some(limit)) if count > limit => {
            Outcome::Succeeded(format!("{count} {what}, beyond {limit}, then {error}"))
        }
        (Some(error), _) => Outcome::Refused(format!("{count} {what}, then {error}")),
        (None, Some(limit)) => Outcome::Succeeded(format!("{count} {what}, though the limit is {limit}")),
        (None, None) => Outcome::Allowed(format!("{count} {what}, and no end was met")),
    }
}

fn write_until_refused(path: &Path, most: u64) -> (u64, Option<io::Error>) {
    let piece = vec![1_u8; 1 << 20];
    let mut written = 0;
    let mut file = match File::create(path) {
        Ok(file) => file,
        Err(error) => return (0, Some(error)),
    };
    while written < most {
        match file.write(&piece) {
            Ok(bytes) => written += bytes as u64,
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

/// A file system in memory: to be refused beyond `limit`.
fn fill(folder: &str, limit: u64) -> Outcome {
    if !Path::new(folder).is_dir() {
        return Outcome::Absent(format!("there is no {folder}"));
    }
    let path = Path::new(folder).join("filler");
    let (written, error) = write_until_refused(&path, limit + (16 << 20));
    let _ = fs::remove_file(&path);
    match error {
        Some(error) => Outcome::Refused(format!("{written} bytes, then {error}")),
        None => Outcome::Succeeded(format!("{written} bytes, beyond {limit}")),
    }
}

fn this_program(arguments: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("hostile").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn processes(attack: &Attack) -> Outcome {
    let limit = attack.orders.bounds.pids.map(|pids| pids as usize);
    let most = limit.map_or(600, |limit| limit + 64);
    let mut children: Vec<Child> = Vec::new();
    let error = loop {
        match this_program(&["sleep"]).spawn() {
            Err(error) => break Some(error),
            Ok(child) => children.push(child),
        }
        if children.len() >= most {
            break None;
        }
    };
    hold(attack);
    let count = children.len();
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
    judge_count("processes", count, error, limit)
}

fn memory(attack: &Attack) -> Outcome {
    let Some(limit) = attack.orders.bounds.memory_bytes else {
        return Outcome::Absent("this runtime says that it cannot limit memory here".to_owned());
    };
    match this_program(&["eat", &(limit * 2).to_string()]).status() {
        Err(error) => Outcome::Refused(error.to_string()),
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => {
                Outcome::Refused(format!("ended by signal {signal} before it had {} bytes", limit * 2))
            }
            (None, Some(0)) => Outcome::Succeeded(format!("it had {} bytes", limit * 2)),
            (None, code) => Outcome::Refused(format!("it gave up with code {code:?}")),
        },
    }
}

fn processors(attack: &Attack) -> Outcome {
    let Some(limit) = attack.orders.bounds.milli_cpus else {
        return Outcome::Absent("this runtime says that it cannot limit processors here".to_owned());
    };
    let since = Instant::now();
    let before = used_ms();
    let spin = move || {
        while since.elapsed() < Duration::from_secs(3) {
            std::hint::spin_loop();
        }
    };
    let threads: Vec<_> = (0..4).map(|_| std::thread::Builder::new().spawn(spin)).collect();
    for thread in threads.into_iter().flatten() {
        let _ = thread.join();
    }
    let share = (used_ms() - before) * 1000 / i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX).max(1);
    let told = format!("{share} thousandths of a processor, {limit} are allowed");
    // A scheduler's period may be half over at either end.
    if share > i64::from(limit) * 3 / 2 { Outcome::Succeeded(told) } else { Outcome::Refused(told) }
}

/// The processor time that this process has used, in milliseconds.
fn used_ms() -> i64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec * 1000 + used.tv_nsec / 1_000_000
}

fn flood(out: &mut impl io::Write, bytes: u64) -> Outcome {
    let line = [b'x'; 1023].into_iter().chain(*b"\n").collect::<Vec<u8>>().repeat(64);
    let mut written = 0;
    while written < bytes {
        if let Err(error) = out.write_all(&line) {
            return Outcome::Refused(format!("{written} bytes, then {error}"));
        }
        written += line.len() as u64;
    }
    Outcome::Allowed(format!("{written} bytes; the host keeps the end of a log and drops what is no block"))
}
