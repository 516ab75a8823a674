//! The spool of files that are sent: what hosts copy into it, and what they sweep out of it again. It survives hosts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::world::{World, lock};
use crate::{
    attachment::{OutgoingFile, SpoolName, SpooledFile},
    launch::KeptFile,
    store::Store,
};

/// How often a host sweeps. Much oftener than a real one, so that whatever can go wrong does.
const EVERY: Duration = Duration::from_secs(7);

/// What lies in the spool, by name.
#[derive(Default)]
pub(super) struct Spool {
    files: Mutex<BTreeMap<SpoolName, String>>,
    /// How many there ever were.
    count: Mutex<u32>,
}

/// The copies of which a host does not know yet whether they are needed.
#[derive(Clone, Default)]
pub(super) struct Fresh(Arc<Mutex<BTreeSet<SpoolName>>>);

struct Hold {
    fresh: Fresh,
    name: SpoolName,
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.fresh.0).remove(&self.name);
    }
}

impl Spool {
    /// Keeps a copy with this content.
    pub(super) fn keep(&self, content: String, fresh: &Fresh) -> KeptFile {
        let mut count = lock(&self.count);
        *count += 1;
        let spool = SpoolName::new(format!("s{count}")).expect("a letter and digits are a name");
        lock(&fresh.0).insert(spool.clone());
        let bytes = content.len() as u64;
        lock(&self.files).insert(spool.clone(), content);
        let guard = Box::new(Hold { fresh: fresh.clone(), name: spool.clone() });
        KeptFile { file: SpooledFile { spool, media_type: "text/plain".to_owned(), bytes }, guard }
    }

    /// What the copy says that is sent; `None` when there is none.
    pub(super) fn content(&self, file: &OutgoingFile) -> Option<String> {
        lock(&self.files).get(&file.spooled.spool).cloned()
    }

    pub(super) fn names(&self) -> BTreeSet<SpoolName> {
        lock(&self.files).keys().cloned().collect()
    }
}

/// Removes what nobody needs, again and again.
pub(super) async fn sweep(world: &World, store: Arc<dyn Store>, fresh: &Fresh) {
    loop {
        // In this order: what is not fresh any more was committed before the store is asked, or never will be.
        let names = world.spool.names();
        let fresh = lock(&fresh.0).clone();
        if let Ok(used) = store.files_in_use().await {
            let used: BTreeSet<SpoolName> = used.into_iter().collect();
            for name in names.iter().filter(|name| !used.contains(name) && !fresh.contains(name)) {
                world.note(|| format!("the file {name} is swept away"));
                lock(&world.spool.files).remove(name);
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
