//! For secrets: environments, memory, files, the kernel's own tables. What is looked for is a canary of any kind.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nanoclaw_core::protocol::hostile::{Outcome, canaries};

use super::{Attack, knock::knock, must_fail};

/// How long one search may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most of one file that is read.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// The most of one process' memory that is read.
const MOST_MEMORY: u64 = 256 * 1024 * 1024;

pub(super) fn run(attack: &mut Attack) {
    attack.tries("its own environment", |_| {
        let text: String = std::env::vars_os().map(|(name, value)| format!("{name:?}={value:?}\n")).collect();
        found(canaries(text.as_bytes()), "nothing in it".to_owned())
    });
    attack.tries("its own prompt", |attack| {
        let text = serde_json::to_vec(&attack.input).unwrap_or_default();
        found(canaries(&text), "nothing in it".to_owned())
    });
    attack.tries("environments and command lines of every process", |_| of_processes(&["environ", "cmdline", "comm"]));
    attack.tries("memory of every other process", |_| memory());
    attack.tries("a process of the host", |attack| {
        let host = PathBuf::from(format!("/proc/{}", attack.orders.host_pid));
        let program = fs::read_to_string(host.join("cmdline")).unwrap_or_default();
        if program.contains("nanoclaw\0") {
            Outcome::Succeeded(format!("its command line can be read: {}", program.replace('\0', " ")))
        } else {
            Outcome::Refused("it cannot be seen".to_owned())
        }
    });
    for path in attack.orders.files.clone() {
        attack.tries(format!("the host's file {}", path.display()), |_| {
            let ways = [
                "",
                "/proc/1/root",
                "/proc/self/root",
                "/proc/1/cwd/../../../../../../..",
                "/workspace/group/../../../../..",
            ];
            for way in ways {
                let path = format!("{way}{}", path.display());
                if let Ok(bytes) = fs::read(&path) {
                    return Outcome::Succeeded(format!("{path} can be read: {:?}", canaries(&bytes)));
                }
            }
            must_fail(File::open(&path), |_| "it can be opened".to_owned())
        });
    }
    for path in attack.orders.folders.clone() {
        attack.tries(format!("the host's folder {}", path.display()), |_| {
            must_fail(fs::read_dir(&path), |entries| format!("{} entries", entries.count()))
        });
    }
    attack.tries("every file in its own mounts", |attack| {
        let places = [&attack.places.group, &attack.places.home, &attack.places.global, &attack.places.extra];
        let mailbox = attack.places.mailbox.root().to_owned();
        let tops =
            places.into_iter().cloned().chain([mailbox, "/run/nanoclaw".into(), "/nanoclaw".into(), "/tmp".into()]);
        search(&tops.collect::<Vec<_>>(), i64::MIN)
    });
    attack.tries("every file of the root that changed since the secrets were planted", |attack| {
        // The time of a change cannot be set back by who plants a file, so nothing is overlooked.
        search(&[PathBuf::from("/")], attack.orders.planted_at - 60)
    });
    attack.tries("the kernel's tables", |_| search(&[PathBuf::from("/proc/sys"), "/proc/net".into()], i64::MIN));
    attack.tries("the kernel's devices and modules", |_| search(&[PathBuf::from("/sys")], i64::MIN));
    for path in [
        "/proc/kcore",
        "/proc/kallsyms",
        "/proc/keys",
        "/proc/kmsg",
        "/dev/kmsg",
        "/proc/sched_debug",
        "/proc/timer_list",
        "/dev/mem",
    ] {
        attack.tries(path, |_| kernel_file(path));
    }
    attack.tries("the kernel's log", |_| knock(libc::SYS_syslog, [10, 0, 0, 0, 0, 0]));
    attack.tries("the session's keyring", |_| knock(libc::SYS_keyctl, [0, -3_isize as usize, 0, 0, 0, 0]));
    attack.tries("a key by its name", |_| knock(libc::SYS_request_key, [0; 6]));
    attack.tries("core dumps", |_| {
        search(&["/var/lib/systemd/coredump".into(), "/var/crash".into(), "/core".into(), "/cores".into()], i64::MIN)
    });
    attack.tries("files that were deleted and are still open", |_| {
        let mut kinds = Vec::new();
        for process in processes() {
            for entry in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
                let is_file = fs::metadata(entry.path()).is_ok_and(|about| about.is_file());
                if is_file {
                    kinds.extend(file(&entry.path()));
                }
            }
        }
        found(kinds, "nothing in them".to_owned())
    });
}

fn found(kinds: Vec<String>, nothing: String) -> Outcome {
    if kinds.is_empty() {
        Outcome::Refused(nothing)
    } else {
        Outcome::Succeeded(format!("canaries: {}", kinds.join(", ")))
    }
}

/// A file that tells of the kernel itself: to be refused, or empty of anything.
fn kernel_file(path: &str) -> Outcome {
    let opened = File::open(path).and_then(|mut file| {
        let mut bytes = [0; 4096];
        // The log would wait for more; what is there at once is enough to know.
        rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::NONBLOCK)?;
        let read = file.read(&mut bytes)?;
        Ok(bytes[..read].to_vec())
    });
    match opened {
        Err(error) => Outcome::Refused(error.to_string()),
        Ok(bytes) if bytes.is_empty() => Outcome::Refused("it is empty".to_owned()),
        // The addresses are zeros for who has no rights.
        Ok(bytes) if path.ends_with("kallsyms") && bytes.starts_with(b"0000000000000000") => {
            Outcome::Refused("its addresses are hidden".to_owned())
        }
        Ok(bytes) if path.ends_with("/keys") => {
            let count = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
            Outcome::Allowed(format!("{count} keys of this user are named, none can be read"))
        }
        Ok(bytes) => Outcome::Succeeded(format!("{} bytes", bytes.len())),
    }
}

fn processes() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
    entries.map(|entry| entry.path()).filter(is_process).collect()
}

fn of_processes(files: &[&str]) -> Outcome {
    let (mut kinds, mut count) = (Vec::new(), 0);
    for process in processes() {
        for name in files {
            if let Ok(bytes) = fs::read(process.join(name)) {
                count += 1;
                kinds.extend(canaries(&bytes));
            }
        }
    }
    found(kinds, format!("nothing in {count} files of {} processes", processes().len()))
}

fn memory() -> Outcome {
    let own = PathBuf::from(format!("/proc/{}", std::process::id()));
    let (mut kinds, mut bytes, mut seen) = (Vec::new(), 0_u64, 0);
    for process in processes().into_iter().filter(|process| *process != own) {
        let (Ok(maps), Ok(mut memory)) = (fs::read_to_string(process.join("maps")), File::open(process.join("mem")))
        else {
            continue;
        };
        seen += 1;
        let mut left = MOST_MEMORY;
        for line in maps.lines().filter(|line| line.contains(" r")) {
            let Some((from, to)) = line.split_once(' ').and_then(|(range, _)| range.split_once('-')) else { continue };
            let (Ok(from), Ok(to)) = (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)) else { continue };
            let size = to.saturating_sub(from).min(left);
            let mut piece = Vec::new();
            if memory.seek(SeekFrom::Start(from)).is_ok() {
                // What cannot be read of a mapping is skipped.
                let _ = memory.by_ref().take(size).read_to_end(&mut piece);
            }
            left -= size;
            bytes += piece.len() as u64;
            kinds.extend(canaries(&piece));
        }
    }
    found(kinds, format!("nothing in {} KiB of {seen} other processes", bytes / 1024))
}

/// Reads every regular file below `tops` whose status changed after `since`, for as long as the patience lasts.
fn search(tops: &[PathBuf], since: i64) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    let (mut kinds, mut where_found, mut files, mut complete) = (Vec::new(), Vec::new(), 0_u64, true);
    let mut folders: Vec<PathBuf> = tops.to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if Instant::now() > deadline {
                complete = false;
                folders.clear();
                break;
            }
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() {
                // These are searched by themselves, or lead back to where we came from.
                if !["/proc", "/sys", "/dev"].iter().any(|skipped| path == Path::new(skipped)) {
                    folders.push(path);
                }
            } else if kind.is_file()
                && (since == i64::MIN || entry.metadata().is_ok_and(|about| about.ctime() >= since))
            {
                files += 1;
                let here = file(&path);
                if !here.is_empty() {
                    kinds.extend(here);
                    where_found.push(path.display().to_string());
                }
            }
        }
    }
    where_found.truncate(5);
    kinds.extend(where_found.into_iter().map(|path| format!("in {path}")));
    let unless = if complete { "" } else { ", not all of them within the time" };
    found(kinds, format!("nothing in {files} files{unless}"))
}

fn file(path: &Path) -> Vec<String> {
    // Not blocking: some of the kernel's files wait for something to happen.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let Ok(opened) = rustix::fs::open(path, flags, rustix::fs::Mode::empty()) else { return Vec::new() };
    let mut bytes = Vec::new();
    let _ = File::from(opened).take(MOST_BYTES).read_to_end(&mut bytes);
    canaries(&bytes)
}
