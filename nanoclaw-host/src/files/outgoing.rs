//! Files that agents send: copied from their group's folder into a part of the spool of the group's own, and swept out of it
//! when no message needs them.
//!
//! A group's part is bounded by itself: what one agent sends takes no room from what others send, or are sent.

use std::{collections::BTreeSet, sync::Arc};

use nanoclaw_core::{
    attachment::{SpoolName, SpooledFile},
    group::GroupFolder,
    launch::KeptFile,
    mailbox::GroupFile,
    store::Store,
};

use super::{
    Spool,
    spool::{NotKept, Part},
};

/// The way of files out of groups' folders.
#[derive(Clone)]
pub struct Outgoing {
    spool: Arc<Spool>,
    store: Arc<dyn Store>,
}

impl Outgoing {
    /// Into this spool; `store` knows what of it is needed.
    #[must_use]
    pub fn new(spool: Arc<Spool>, store: Arc<dyn Store>) -> Self {
        Self { spool, store }
    }

    /// Copies a file of a group's folder into the spool; see [`Launcher::keep_file`](nanoclaw_core::launch::Launcher::keep_file).
    ///
    /// # Errors
    /// Why there is no copy; nothing of it is left.
    pub async fn keep(&self, group: &GroupFolder, file: GroupFile) -> Result<KeptFile, String> {
        let source = Arc::new(file);
        match self.copy(group, &source).await {
            // Perhaps what takes the room was sent meanwhile.
            Err(NotKept::NoRoom(_)) => {
                sweep(&self.spool, &*self.store).await?;
                self.copy(group, &source).await.map_err(|refused| refused.to_string())
            }
            kept => kept.map_err(|refused| refused.to_string()),
        }
    }

    async fn copy(&self, group: &GroupFolder, file: &Arc<GroupFile>) -> Result<KeptFile, NotKept> {
        let (spool, group, file) = (self.spool.clone(), group.clone(), file.clone());
        let copied = tokio::task::spawn_blocking(move || {
            let kept = spool.keep(&group, &file.file)?;
            let guard = Hold { spool: spool.clone(), name: kept.spool.clone() };
            Ok(KeptFile { file: kept, guard: Box::new(guard) })
        });
        copied.await.unwrap_or_else(|error| Err(NotKept::Host(std::io::Error::other(error))))
    }
}

/// Keeps a copy from being swept away before the message is stored that names it.
struct Hold {
    spool: Arc<Spool>,
    name: SpoolName,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.spool.let_go(&self.name);
    }
}

/// Removes the copies of files that no message needs.
///
/// # Errors
/// What kept it from looking, for people; nothing is removed then.
pub(super) async fn sweep(spool: &Arc<Spool>, store: &dyn Store) -> Result<(), String> {
    // In this order: what is there and not held any more was committed before the store is asked, or never will be.
    let found = spool.clone();
    let names = off_the_loop(move || found.not_held()).await?.map_err(|error| error.to_string())?;
    if names.is_empty() {
        return Ok(());
    }
    let used: BTreeSet<SpoolName> =
        store.files_in_use().await.map_err(|error| error.to_string())?.into_iter().collect();
    let spool = spool.clone();
    off_the_loop(move || {
        for (group, name) in names.iter().filter(|(_, name)| !used.contains(name)) {
            spool.forget(Part::Of(group), name);
        }
    })
    .await
}

async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

/// Whether a copy is there as it was kept, for whoever is about to send it.
///
/// # Errors
/// Why it cannot be sent, as a sentence fragment.
pub(crate) async fn is_there(path: &std::path::Path, file: &SpooledFile) -> Result<(), String> {
    match tokio::fs::metadata(path).await {
        Ok(metadata) if metadata.is_file() && metadata.len() == file.bytes => Ok(()),
        Ok(_) => Err("its file is damaged".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("its file is not kept any more".to_owned()),
        Err(error) => Err(format!("its file cannot be read: {error}")),
    }
}
