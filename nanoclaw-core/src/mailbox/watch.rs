//! Learning of new files at once: inotify, with a slow re-scan as a safety net.
//!
//! One worker reads the events of all folders and ends when the last [`Watcher`] and [`FolderWatch`] are gone. What it tells
//! is only *that* a folder should be looked at, never what is there.
//!
//! One who makes millions of changes is not told of any more for a moment: the kernel's watch of that folder is taken back
//! and set again a second later, so that the worker and the kernel's queue, which all folders share, are not
//! kept busy by one.

#[cfg(feature = "testing")]
pub mod in_process;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{MailboxError, folder::is_temporary};
use crate::pace::Pace;

/// How long a change that inotify did not tell of can go unseen (network file systems and virtual-machine mounts tell of
/// none).
pub const RESCAN: Duration = Duration::from_secs(5);

/// The same where inotify tells of nothing at all, because somebody else of this user (a container whose agent is greedy) has
/// all the instances that there are: a look costs some microseconds, and people wait for what lies there.
pub const RESCAN_WITHOUT_WATCH: Duration = Duration::from_millis(200);

/// Room for the events that are read at a time.
const EVENT_BUFFER_BYTES: usize = 16 * 1024;

/// So many events of one folder within [`STORM_WINDOW`] are a storm: whoever makes them can make millions a second, and
/// they cost the worker of all folders, and overflow the queue of all.
const STORM_EVENTS: u32 = 1024;
const STORM_WINDOW: Duration = Duration::from_secs(1);
/// For how long the kernel is not asked about a folder in which a storm rages. Then it is looked at and watched again.
const STORM_PAUSE: Duration = Duration::from_secs(1);

/// How often a folder that somebody else can flood is looked at: so many times at once, and then once every so often.
const LOOKS_AT_ONCE: u32 = 32;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Watches any number of folders with one inotify instance (there are 128 a user).
#[derive(Debug, Clone)]
pub struct Watcher {
    /// `None`: without the kernel, see [`in_process`] and [`Watcher::new_or_rescan`].
    shared: Option<Arc<Shared>>,
    rescan: Duration,
}

#[derive(Debug)]
struct Shared {
    watches: Watches,
    table: SharedTable,
    /// Ends the worker when the last handle is dropped.
    _stop: DropGuard,
}

/// Who wants to know of which folder. Several can want to know of the same one, for which inotify has one descriptor.
#[derive(Debug, Default)]
struct Table {
    waiting: HashMap<WatchDescriptor, Watched>,
}

type SharedTable = Arc<Mutex<Table>>;

/// One folder that the kernel watches.
#[derive(Debug)]
struct Watched {
    by: Vec<Arc<Waiter>>,
    /// How many events came since when.
    events: (u32, Instant),
}

/// Whom a [`FolderWatch`] hears from.
#[derive(Debug, Default)]
struct Waiter {
    notify: Notify,
    /// The kernel watches the folder no more, because a storm rages there.
    storm: AtomicBool,
}

impl Watcher {
    /// Starts watching nothing. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the user has no inotify instance left.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new() -> Result<Self, MailboxError> {
        #[cfg(feature = "testing")]
        if in_process::is_on() {
            return Ok(Self { shared: None, rescan: RESCAN });
        }
        let failed = |error| {
            MailboxError::io(
                "open an inotify instance (limit: fs.inotify.max_user_instances), see",
                proc_limits(),
                error,
            )
        };
        let inotify = Inotify::init().map_err(failed)?;
        let watches = inotify.watches();
        let events = inotify.into_event_stream(vec![0; EVENT_BUFFER_BYTES]).map_err(failed)?;
        let table = SharedTable::default();
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(tell(events, watches.clone(), table.clone())));
        Ok(Self { shared: Some(Arc::new(Shared { watches, table, _stop: stop.drop_guard() })), rescan: RESCAN })
    }

    /// The same; one that looks into its folders every [`RESCAN_WITHOUT_WATCH`] where the user has no inotify instance left,
    /// and then with the reason why.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new_or_rescan() -> (Self, Option<MailboxError>) {
        match Self::new() {
            Ok(watcher) => (watcher, None),
            Err(error) => (Self { shared: None, rescan: RESCAN_WITHOUT_WATCH }, Some(error)),
        }
    }

    /// Watches `folder` with a watcher of its own; by the re-scan alone where the system has no watch left, and then with the
    /// reason why.
    pub fn watch_or_rescan(folder: &Path) -> (FolderWatch, Option<MailboxError>) {
        match Self::new().and_then(|watcher| watcher.watch(folder)) {
            Ok(watch) => (watch, None),
            Err(error) => (FolderWatch::new(None, folder, Arc::default(), RESCAN_WITHOUT_WATCH), Some(error)),
        }
    }

    /// Watches `folder` until the result is dropped. The first [`FolderWatch::changed`] returns at once, so that what
    /// lies there already is seen.
    ///
    /// # Errors
    /// When `folder` is a link or no folder, or the user has no inotify watch left.
    pub fn watch(&self, folder: &Path) -> Result<FolderWatch, MailboxError> {
        let waiter = Arc::<Waiter>::default();
        let Some(shared) = &self.shared else {
            #[cfg(feature = "testing")]
            in_process::watch(folder, &waiter);
            return Ok(FolderWatch::new(None, folder, waiter, self.rescan));
        };
        let descriptor = shared.add(folder, &waiter).map_err(|error| {
            let action = match error.kind() {
                io::ErrorKind::StorageFull => "watch (limit: fs.inotify.max_user_watches) the folder",
                _ => "watch the folder",
            };
            MailboxError::io(action, folder, error)
        })?;
        Ok(FolderWatch::new(Some((shared.clone(), descriptor)), folder, waiter, self.rescan))
    }
}

impl Shared {
    /// Has the kernel watch `folder` for `waiter`.
    fn add(&self, folder: &Path, waiter: &Arc<Waiter>) -> io::Result<WatchDescriptor> {
        // A renamed file is whole at once; `_close` of a v1 host is created in place.
        let mask = WatchMask::MOVED_TO
            | WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::ONLYDIR
            | WatchMask::DONT_FOLLOW;
        let mut table = lock(&self.table);
        let descriptor = self.watches.clone().add(folder, mask)?;
        let watched = table.waiting.entry(descriptor.clone());
        watched.or_insert_with(|| Watched { by: Vec::new(), events: (0, Instant::now()) }).by.push(waiter.clone());
        Ok(descriptor)
    }
}

/// Tells when a folder should be looked at.
#[derive(Debug)]
pub struct FolderWatch {
    /// The kernel's watch; `None` without the kernel.
    kernel: Option<(Arc<Shared>, WatchDescriptor)>,
    folder: PathBuf,
    waiter: Arc<Waiter>,
    /// When the folder should be looked at though nothing was told.
    look_at: Instant,
    rescan: Duration,
    /// When the kernel is to be asked again, which it is not while a storm rages.
    ask_again_at: Option<Instant>,
    /// How often it tells of changes at most.
    pace: Option<Pace>,
}

impl FolderWatch {
    fn new(
        kernel: Option<(Arc<Shared>, WatchDescriptor)>,
        folder: &Path,
        waiter: Arc<Waiter>,
        rescan: Duration,
    ) -> Self {
        let folder = folder.to_owned();
        Self { kernel, folder, waiter, look_at: Instant::now(), rescan, ask_again_at: None, pace: None }
    }

    /// The same for a folder that somebody else can flood: after many changes in a row it tells of more 20 times a second at
    /// most.
    #[must_use]
    pub fn paced(mut self) -> Self {
        self.pace = Some(Pace::new(LOOKS_AT_ONCE, LOOK_EVERY));
        self
    }

    /// Nothing is told before `until`, if this watch is [`paced`](Self::paced).
    pub fn rest_until(&mut self, until: Instant) {
        if let Some(pace) = &mut self.pace {
            pace.rest_until(until);
        }
    }

    /// The folder was not looked at to its end: this tells of it again, as if it had changed.
    pub fn look_again(&self) {
        self.waiter.notify.notify_one();
    }

    /// Waits until something was renamed into the folder or created in it since the last call, or [`RESCAN`] has passed
    /// since it last returned ([`RESCAN_WITHOUT_WATCH`] where nothing can be told). Any number of changes count as one. Cancel-safe.
    pub async fn changed(&mut self) {
        if let Some(at) = self.pace.as_ref().and_then(Pace::wait) {
            tokio::time::sleep_until(at).await;
        }
        // The deadline outlives a cancelled call; otherwise a caller that is often interrupted would never re-scan.
        if Instant::now() < self.look_at {
            let told = tokio::time::timeout_at(self.look_at, self.waiter.notify.notified()).await;
            // What was told is not to be lost with a call that is cancelled below.
            if told.is_ok() {
                self.look_at = Instant::now();
            }
        }
        if self.waiter.storm.load(Ordering::Relaxed) {
            let at = *self.ask_again_at.get_or_insert_with(|| Instant::now() + STORM_PAUSE);
            tokio::time::sleep_until(at).await;
            self.ask_again_at = None;
            self.ask_kernel_again();
        }
        self.look_at = Instant::now() + self.rescan;
        if let Some(pace) = &mut self.pace {
            pace.spend(1);
        }
    }

    /// Before the folder is looked at, so that nothing falls between.
    fn ask_kernel_again(&mut self) {
        let Some((shared, descriptor)) = &mut self.kernel else { return };
        self.waiter.storm.store(false, Ordering::Relaxed);
        match shared.add(&self.folder, &self.waiter) {
            Ok(new) => *descriptor = new,
            // Somebody took the folder away; whoever holds it open goes on looking after each pause.
            Err(_) => self.waiter.storm.store(true, Ordering::Relaxed),
        }
    }
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        let Some((shared, descriptor)) = &self.kernel else { return };
        let mut table = lock(&shared.table);
        let Some(watched) = table.waiting.get_mut(descriptor) else { return };
        watched.by.retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter));
        if watched.by.is_empty() {
            table.waiting.remove(descriptor);
            // Fails when the folder is gone, and the kernel's watch with it.
            let _ = shared.watches.clone().remove(descriptor.clone());
        }
    }
}

/// The worker: tells those who wait for a folder of which an event came.
async fn tell(mut events: inotify::EventStream<Vec<u8>>, mut watches: Watches, table: SharedTable) {
    while let Some(event) = events.next().await {
        let mut table = lock(&table);
        match event {
            Ok(event) if !event.mask.contains(EventMask::Q_OVERFLOW) => {
                let Some(watched) = table.waiting.get_mut(&event.wd) else { continue };
                // What is still being written will be renamed, but it counts: it costs as much.
                if !event.name.as_ref().is_some_and(|name| is_temporary(name.as_encoded_bytes())) {
                    watched.tell();
                }
                if watched.is_stormy() {
                    for waiter in &watched.by {
                        waiter.storm.store(true, Ordering::Relaxed);
                    }
                    watched.tell();
                    table.waiting.remove(&event.wd);
                    // What the queue still has of it is passed over.
                    let _ = watches.remove(event.wd);
                }
            }
            other => {
                table.waiting.values().for_each(Watched::tell);
                if let Err(error) = other {
                    // Trying again at once could turn in circles, and the re-scan is there for this.
                    tracing::error!(%error, rescan = ?RESCAN, "reading inotify events failed; from now on folders are only re-scanned");
                    return;
                }
            }
        }
    }
}

impl Watched {
    fn tell(&self) {
        for waiter in &self.by {
            waiter.notify.notify_one();
        }
    }

    /// Counts one more event.
    fn is_stormy(&mut self) -> bool {
        let (events, since) = &mut self.events;
        *events += 1;
        if *events < STORM_EVENTS {
            return false;
        }
        let storm = since.elapsed() < STORM_WINDOW;
        self.events = (0, Instant::now());
        storm
    }
}

fn proc_limits() -> &'static Path {
    Path::new("/proc/sys/fs/inotify")
}

/// Nothing can panic while the table is locked and leave it half changed.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
