//! Whether a container ran out of memory, from the kernel's own count. Podman does not tell; Docker does, unless the container
//! ends with it, which it may hear of first.
//!
//! The count is a line `oom_kill N` of a file of the container's control group, which the engine removes a moment after the
//! container has ended, and often before it says so. So the file is held open from the start, the kernel wakes us when it
//! changes, and we look at once. Reading takes no privilege; being woken takes the right to write to the group with cgroup v1.
//!
//! When we come too late to look, the number of wake-ups still tells with cgroup v1: a group that goes wakes us once, and
//! adds to what it woke us for before. With cgroup v2 it is not told then.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};
use nanoclaw_core::runtime::ContainerId;
use rustix::event::EventfdFlags;
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

/// Whether containers can probably be watched from here; whether they are is known when one was started.
pub(super) fn can_be_watched() -> bool {
    rustix::process::geteuid().is_root() || Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// How long the kernel may take to tell of the end of a group that is out of sight already.
const END_TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Watches one container; stops when dropped.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    seen: watch::Receiver<Option<bool>>,
    count: Count,
    _worker: AbortOnDropHandle<()>,
}

impl MemoryWatch {
    /// Watches the container `id`, whose first process the host knows as `process`.
    ///
    /// # Errors
    /// When its control group cannot be seen or watched from here.
    pub(super) fn new(process: i64, id: &ContainerId) -> io::Result<Self> {
        let own = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let group = Group::of(&own, &mounts).ok_or(io::ErrorKind::Unsupported)?;
        // An engine in another process namespace means another process by the number.
        if !group.folder().to_string_lossy().contains(id.as_str()) {
            return Err(io::Error::other(format!("process {process} is in {}", group.folder().display())));
        }
        let (count, changes) = match &group {
            Group::One(folder) => {
                let file = File::open(folder.join("memory.oom_control"))?;
                let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                let request = format!("{} {}", event.as_raw_fd(), file.as_raw_fd());
                fs::write(folder.join("cgroup.event_control"), request)?;
                // It is read like a pipe: it waits, and gives eight bytes.
                (Count(Arc::new(file)), Changes::One(pipe::Receiver::from_owned_fd_unchecked(event)?))
            }
            Group::Two(folder) => {
                let path = folder.join("memory.events");
                let file = File::open(&path)?;
                let watching = Inotify::init()?;
                watching.watches().add(&path, WatchMask::MODIFY)?;
                (Count(Arc::new(file)), Changes::Two(watching.into_event_stream(vec![0; 1024])?))
            }
        };
        let (tell, seen) = watch::channel(None);
        let held = count.clone();
        let worker = tokio::spawn(async move {
            let killed = look_at_each_change(changes, held).await;
            tell.send_replace(Some(killed));
        });
        Ok(Self { seen, count, _worker: AbortOnDropHandle::new(worker) })
    }

    /// Whether the kernel has killed a process of it for memory, after it has ended.
    pub(super) async fn has_killed(&self) -> bool {
        match self.count.read() {
            Ok(count) => count > 0,
            // The group is gone, which the worker hears of too.
            Err(_) => {
                let mut seen = self.seen.clone();
                let last = timeout(2 * END_TOLD_WITHIN, seen.wait_for(Option::is_some)).await;
                last.is_ok_and(|told| told.is_ok_and(|told| *told == Some(true)))
            }
        }
    }
}

/// The control group that counts a process's memory.
#[derive(Debug, PartialEq, Eq)]
enum Group {
    /// Of cgroup v1.
    One(PathBuf),
    /// Of cgroup v2.
    Two(PathBuf),
}

impl Group {
    /// `own` is the process's `/proc/<pid>/cgroup`, `mounts` our `/proc/self/mountinfo`.
    fn of(own: &str, mounts: &str) -> Option<Self> {
        let group_of = |named: &dyn Fn(&str) -> bool| {
            own.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                named(controllers).then_some(path)
            })
        };
        let has_memory = |list: &str| list.split(',').any(|word| word == "memory");
        if let Some(path) = group_of(&has_memory) {
            return folder(mounts, path, |kind, options| kind == "cgroup" && has_memory(options)).map(Self::One);
        }
        let path = group_of(&str::is_empty)?;
        folder(mounts, path, |kind, _| kind == "cgroup2").map(Self::Two)
    }

    fn folder(&self) -> &Path {
        let (Self::One(folder) | Self::Two(folder)) = self;
        folder
    }
}

/// Where the group `path` is in the hierarchy that `wanted` knows by its kind and options; `None` when it is out of sight.
fn folder(mounts: &str, path: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let (mut left, mut right) = (left.split(' ').skip(3), right.split(' '));
        let (root, point) = (left.next()?, left.next()?);
        let (kind, _device, options) = (right.next()?, right.next()?, right.next()?);
        if !wanted(kind, options) {
            return None;
        }
        let below = Path::new(path).strip_prefix(root).ok()?;
        below.components().all(|part| part != std::path::Component::ParentDir).then(|| Path::new(point).join(below))
    })
}

/// The kernel's count of a group.
#[derive(Debug, Clone)]
struct Count(Arc<File>);

impl Count {
    /// An error when the group is gone.
    fn read(&self) -> io::Result<u64> {
        let mut file = &*self.0;
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        count.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// What tells of a change.
enum Changes {
    /// An event of cgroup v1: memory is used up, or the group goes.
    One(pipe::Receiver),
    /// The file is said to be modified, with cgroup v2.
    Two(EventStream<Vec<u8>>),
}

impl Changes {
    /// How many since the last time; `None` when there will be no more.
    async fn next(&mut self) -> Option<u64> {
        match self {
            Self::One(event) => event.read_u64_le().await.ok(),
            Self::Two(events) => events.next().await?.ok().map(|_| 1),
        }
    }
}

/// Returns at the first kill, or with the group; whether there was one.
async fn look_at_each_change(mut changes: Changes, count: Count) -> bool {
    let mut told = 0;
    loop {
        match count_soon(&count).await {
            Ok(true) => return true,
            Ok(false) => {}
            Err(_) => break,
        }
        match changes.next().await {
            Some(more) => told += more,
            None => return false,
        }
    }
    match changes {
        Changes::One(_) => {
            // That it goes is told a moment later, once; whatever else was told was a lack of memory.
            while told < 2
                && let Ok(Some(more)) = timeout(END_TOLD_WITHIN, changes.next()).await
            {
                told += more;
            }
            told >= 2
        }
        // Other changes are told in the same way.
        Changes::Two(_) => false,
    }
}

/// The event comes before the kill: looks a few times.
async fn count_soon(count: &Count) -> io::Result<bool> {
    for pause_ms in [1, 2, 4, 8, 16, 32, 64, 128] {
        if count.read()? > 0 {
            return Ok(true);
        }
        sleep(Duration::from_millis(pause_ms)).await;
    }
    Ok(count.read()? > 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
33 25 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    #[test]
    fn the_group_that_counts_memory_is_found_with_either_version() {
        let own = "9:pids:/libpod-1\n4:memory:/machine/libpod-1\n0::/elsewhere\n";
        let found = Group::of(own, MOUNTS);
        assert_eq!(found, Some(Group::One("/sys/fs/cgroup/memory/machine/libpod-1".into())));

        let two = "28 20 0:25 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let found = Group::of("0::/user.slice/user-1000.slice/libpod-1.scope\n", two);
        assert_eq!(found, Some(Group::Two("/sys/fs/cgroup/user.slice/user-1000.slice/libpod-1.scope".into())));
    }

    #[test]
    fn a_group_that_is_out_of_sight_is_none() {
        // The hierarchy is mounted from a group of our own on: we are in a container and the other is beside us.
        let within = "28 20 0:25 /docker/ours /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(Group::of("0::/docker/theirs\n", within), None);
        assert_eq!(Group::of("0::/docker/ours/../theirs\n", within), None);
        let found = Group::of("0::/docker/ours/libpod-1\n", within);
        assert_eq!(found, Some(Group::Two("/sys/fs/cgroup/libpod-1".into())));
        assert_eq!(Group::of("", MOUNTS), None);
    }
}
