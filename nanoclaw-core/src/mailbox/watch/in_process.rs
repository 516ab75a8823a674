//! Watching without the kernel, for simulations: whoever writes a file on this thread tells whoever watches its folder.
//!
//! Closing an inotify instance takes the kernel some milliseconds, which thousands of short histories cannot afford.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use super::Waiter;

type Watched = BTreeMap<PathBuf, Vec<Weak<Waiter>>>;

thread_local! {
    static WATCHED: RefCell<Option<Watched>> = const { RefCell::new(None) };
}

/// From now on watchers that are made on this thread learn only of what [`Folder`](crate::mailbox::Folder) writes on this
/// thread; they must not leave it.
pub fn begin() {
    WATCHED.set(Some(Watched::new()));
}

/// From now on watchers that are made on this thread watch by the kernel again. Those made before learn of nothing more.
pub fn end() {
    WATCHED.set(None);
}

pub(super) fn is_on() -> bool {
    WATCHED.with_borrow(Option::is_some)
}

pub(super) fn watch(folder: &Path, waiter: &Arc<Waiter>) {
    WATCHED.with_borrow_mut(|watched| {
        if let Some(watched) = watched {
            let waiting = watched.entry(folder.to_owned()).or_default();
            waiting.retain(|waiter| waiter.strong_count() > 0);
            waiting.push(Arc::downgrade(waiter));
        }
    });
}

/// Something was renamed into the folder.
pub(in crate::mailbox) fn changed(folder: &Path) {
    WATCHED.with_borrow(|watched| {
        for waiter in watched.iter().filter_map(|watched| watched.get(folder)).flatten().filter_map(Weak::upgrade) {
            waiter.notify.notify_one();
        }
    });
}
