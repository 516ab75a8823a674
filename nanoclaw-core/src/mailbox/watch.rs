//! Learning of new files at once: inotify, with a slow re-scan as a safety net.
//!
//! One worker reads the events of all folders and ends when the last [`Watcher`] and [`FolderWatch`] are gone. What it tells
//! is only *that* a folder should be looked at, never what is there.

#[cfg(feature = "testing")]
pub mod in_process;

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{MailboxError, folder::is_temporary};

/// How long a change that inotify did not tell of can go unseen (network file systems and virtual-machine mounts tell of
/// none).
pub const RESCAN: Duration = Duration::from_secs(5);

/// Room for the events that are read at a time.
const EVENT_BUFFER_BYTES: usize = 16 * 1024;

/// Watches any number of folders with one inotify instance (there are 128 a user).
#[derive(Debug, Clone)]
pub struct Watcher {
    /// `None`: without the kernel, see [`in_process`].
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    watches: Watches,
    table: Arc<Mutex<Table>>,
    /// Ends the worker when the last handle is dropped.
    _stop: DropGuard,
}

/// Who wants to know of which folder. Several can want to know of the same one, for which inotify has one descriptor.
#[derive(Debug, Default)]
struct Table {
    waiting: HashMap<WatchDescriptor, Vec<Arc<Notify>>>,
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
            return Ok(Self { shared: None });
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
        let table = Arc::<Mutex<Table>>::default();
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(tell(events, table.clone())));
        Ok(Self { shared: Some(Arc::new(Shared { watches, table, _stop: stop.drop_guard() })) })
    }

    /// Watches `folder` with a watcher of its own; by the re-scan alone where the system has no watch left, and then with the
    /// reason why.
    pub fn watch_or_rescan(folder: &Path) -> (FolderWatch, Option<MailboxError>) {
        match Self::new().and_then(|watcher| watcher.watch(folder)) {
            Ok(watch) => (watch, None),
            Err(error) => (FolderWatch { kernel: None, notify: Arc::default(), look_at: Instant::now() }, Some(error)),
        }
    }

    /// Watches `folder` until the result is dropped. The first [`FolderWatch::changed`] returns at once, so that what
    /// lies there already is seen.
    ///
    /// # Errors
    /// When `folder` is a link or no folder, or the user has no inotify watch left.
    pub fn watch(&self, folder: &Path) -> Result<FolderWatch, MailboxError> {
        // A renamed file is whole at once; `_close` of a v1 host is created in place.
        let mask = WatchMask::MOVED_TO
            | WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::ONLYDIR
            | WatchMask::DONT_FOLLOW;
        let notify = Arc::new(Notify::new());
        let Some(shared) = &self.shared else {
            #[cfg(feature = "testing")]
            in_process::watch(folder, &notify);
            return Ok(FolderWatch { kernel: None, notify, look_at: Instant::now() });
        };
        let mut table = lock(&shared.table);
        let descriptor = shared.watches.clone().add(folder, mask).map_err(|error| {
            let action = match error.kind() {
                io::ErrorKind::StorageFull => "watch (limit: fs.inotify.max_user_watches) the folder",
                _ => "watch the folder",
            };
            MailboxError::io(action, folder, error)
        })?;
        table.waiting.entry(descriptor.clone()).or_default().push(notify.clone());
        drop(table);
        Ok(FolderWatch { kernel: Some((shared.clone(), descriptor)), notify, look_at: Instant::now() })
    }
}

/// Tells when a folder should be looked at.
#[derive(Debug)]
pub struct FolderWatch {
    /// The kernel's watch; `None` without the kernel.
    kernel: Option<(Arc<Shared>, WatchDescriptor)>,
    notify: Arc<Notify>,
    /// When the folder should be looked at though nothing was told.
    look_at: Instant,
}

impl FolderWatch {
    /// Waits until something was renamed into the folder or created in it since the last call, or [`RESCAN`] has passed
    /// since it last returned. Any number of changes count as one. Cancel-safe.
    pub async fn changed(&mut self) {
        // The deadline outlives a cancelled call; otherwise a caller that is often interrupted would never re-scan.
        if Instant::now() < self.look_at {
            let _ = tokio::time::timeout_at(self.look_at, self.notify.notified()).await;
        }
        self.look_at = Instant::now() + RESCAN;
    }
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        let Some((shared, descriptor)) = &self.kernel else { return };
        let mut table = lock(&shared.table);
        let Some(waiting) = table.waiting.get_mut(descriptor) else { return };
        waiting.retain(|notify| !Arc::ptr_eq(notify, &self.notify));
        if waiting.is_empty() {
            table.waiting.remove(descriptor);
            // Fails when the folder is gone, and the kernel's watch with it.
            let _ = shared.watches.clone().remove(descriptor.clone());
        }
    }
}

/// The worker: tells those who wait for a folder of which an event came.
async fn tell(mut events: inotify::EventStream<Vec<u8>>, table: Arc<Mutex<Table>>) {
    while let Some(event) = events.next().await {
        let table = lock(&table);
        match event {
            // What is still being written will be renamed.
            Ok(event) if event.name.as_ref().is_some_and(|name| is_temporary(name.as_encoded_bytes())) => {}
            Ok(event) if !event.mask.contains(EventMask::Q_OVERFLOW) => {
                for notify in table.waiting.get(&event.wd).into_iter().flatten() {
                    notify.notify_one();
                }
            }
            other => {
                for notify in table.waiting.values().flatten() {
                    notify.notify_one();
                }
                if let Err(error) = other {
                    // Trying again at once could turn in circles, and the re-scan is there for this.
                    tracing::error!(%error, rescan = ?RESCAN, "reading inotify events failed; from now on folders are only re-scanned");
                    return;
                }
            }
        }
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
