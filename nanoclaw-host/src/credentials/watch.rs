//! Learns that the credentials file may have changed: by inotify on its folder, or on the nearest folder above it as long as
//! that is missing.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::StreamExt as _;
use inotify::{Inotify, WatchMask};
use tokio::sync::Notify;

use super::file::NAME;

/// How long a file may be in the making: an editor removes it, writes it anew, sets its mode. Looked at in between it would be
/// gone, or refused.
const SETTLES_WITHIN: Duration = Duration::from_millis(200);

/// Watches one folder for the credentials file.
pub struct FileWatch {
    folder: PathBuf,
}

impl FileWatch {
    /// Watches for the file in `folder`, which may not be there yet.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Tells `look` now, and whenever the file may have changed, for ever.
    ///
    /// # Errors
    /// When the system gives no watch: then changes are not seen.
    pub async fn tell(&self, look: &Notify) -> io::Result<()> {
        loop {
            let (at, name) = self.nearest();
            let inotify = Inotify::init()?;
            let mask = WatchMask::CLOSE_WRITE
                | WatchMask::CREATE
                | WatchMask::MOVED_TO
                | WatchMask::MOVED_FROM
                | WatchMask::DELETE
                | WatchMask::ATTRIB
                | WatchMask::DELETE_SELF
                | WatchMask::MOVE_SELF
                | WatchMask::ONLYDIR;
            match inotify.watches().add(&at, mask) {
                Ok(_) => {}
                // Gone between the two looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            let mut events = inotify.into_event_stream(vec![0; 4096])?;
            // What changed before the watch was there is seen now.
            if self.nearest() != (at.clone(), name.clone()) {
                continue;
            }
            look.notify_one();
            loop {
                let Some(event) = events.next().await else { return Ok(()) };
                let event = event?;
                // An event without a name is about the folder itself.
                if event.name.as_deref().is_some_and(|changed: &OsStr| changed != name) {
                    continue;
                }
                tokio::time::sleep(SETTLES_WITHIN).await;
                // One look is enough for all that happened meanwhile.
                while let Some(Some(Ok(_))) = futures_util::FutureExt::now_or_never(events.next()) {}
                if self.nearest() != (at.clone(), name.clone()) {
                    break;
                }
                if event.name.is_none() {
                    // Moved away, or its mode changed; a folder of the same name may be another one.
                    break;
                }
                look.notify_one();
            }
        }
    }

    /// The nearest folder that is there, and the name to look out for in it.
    fn nearest(&self) -> (PathBuf, OsString) {
        let mut name = OsString::from(NAME);
        let mut at: &Path = &self.folder;
        loop {
            if at.is_dir() {
                return (at.to_owned(), name);
            }
            let (Some(parent), Some(own)) = (at.parent(), at.file_name()) else { return (at.to_owned(), name) };
            name = own.to_owned();
            at = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_seen_to_come_change_and_go_also_in_a_folder_that_is_not_there_yet() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("deep/nanoclaw");
        let look = Notify::new();
        let watch = FileWatch::new(folder.clone());
        let watching = watch.tell(&look);
        let steps = async {
            look.notified().await;
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(NAME), "a").unwrap();
            look.notified().await;
            std::fs::write(folder.join("other"), "a").unwrap();
            std::fs::write(folder.join("new"), "b").unwrap();
            std::fs::rename(folder.join("new"), folder.join(NAME)).unwrap();
            look.notified().await;
            std::fs::remove_file(folder.join(NAME)).unwrap();
            look.notified().await;
        };
        tokio::select! {
            ended = watching => panic!("the watch ended: {ended:?}"),
            () = steps => {}
        }
    }
}
