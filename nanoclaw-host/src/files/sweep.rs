//! Removes from the spool what no message needs any more, neither one that came nor one that goes.

use std::{collections::BTreeSet, fs, io, sync::Arc, time::Duration};

use nanoclaw_core::{attachment::SpoolName, store::Store};

use super::{Spool, outgoing};

/// How often the spool is swept. A file that came goes at the second sweep that finds it without a message: between the first moment at
/// which it is in the spool and the commit of its message lie milliseconds.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// For how long a file that a channel has put into `arriving/` waits for its message.
const ARRIVING: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Sweeps for ever, at once for the first time.
pub async fn keep(spool: Arc<Spool>, store: Arc<dyn Store>) {
    let mut unused = BTreeSet::new();
    loop {
        match sweep(&spool, &*store, &unused).await {
            Ok(now) => unused = now,
            Err(error) => tracing::warn!(error, "the spool of files cannot be swept; trying again later"),
        }
        if let Err(error) = outgoing::sweep(&spool, &*store).await {
            tracing::warn!(error, "the spool of files that are sent cannot be swept; trying again later");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Removes the files that came, that no message needs and that were among the `unused` last time. Returned is what no message needs now.
///
/// # Errors
/// What kept it from looking, for people; nothing is removed then.
pub async fn sweep(
    spool: &Arc<Spool>,
    store: &dyn Store,
    unused: &BTreeSet<SpoolName>,
) -> Result<BTreeSet<SpoolName>, String> {
    // In this order: a file that comes after the look at the store is not among those that are looked at here.
    let names = off_the_loop(spool, |spool| spool.names()).await?;
    let used: BTreeSet<SpoolName> =
        store.files_in_use().await.map_err(|error| error.to_string())?.into_iter().collect();
    let (gone, left): (BTreeSet<_>, BTreeSet<_>) =
        names.into_iter().filter(|name| !used.contains(name)).partition(|name| unused.contains(name));
    off_the_loop(spool, move |spool| {
        gone.iter().for_each(|name| spool.forget_what_came(name));
        remove_old(spool)
    })
    .await?;
    Ok(left)
}

/// Removes what lies in `arriving/` for so long that its message does not come any more.
fn remove_old(spool: &Spool) -> io::Result<()> {
    for entry in fs::read_dir(spool.arriving())? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let age = metadata.modified()?.elapsed().unwrap_or_default();
        if !metadata.is_dir() && age > ARRIVING {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

async fn off_the_loop<T: Send + 'static>(
    spool: &Arc<Spool>,
    work: impl FnOnce(&Spool) -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let spool = spool.clone();
    let done = tokio::task::spawn_blocking(move || work(&spool)).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
