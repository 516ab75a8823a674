//! Messages that come with files, whatever the service: the files are taken into the spool before the message is stored, and the
//! channel's own copies removed after.

use std::sync::Arc;

use nanoclaw_core::{
    attachment::{Fetched, SpoolName},
    message::InboundMessage,
    orchestrator::Receipt,
};

use super::ports::Intake;
use crate::files::{NotTaken, Spool};

/// A message as a channel read it, and the names in the spool's `arriving/` of the files that its attachments have, in their
/// order; `None` where there is no file.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) message: InboundMessage,
    pub(super) files: Vec<Option<String>>,
}

/// Commits a message with its files. Only after `Ok` may the channel acknowledge it; its copies of the files are gone then. What
/// of the files is not to be had is told in the message.
///
/// # Errors
/// Why it could not be stored just now: the message must be said again, and the channel's copies of its files are still there.
pub(super) async fn accept(
    intake: &dyn Intake,
    spool: Option<&Arc<Spool>>,
    arrived: Arrived,
) -> Result<Receipt, String> {
    // The files first: a message that is stored names what is there.
    let (message, taken) = Taken::of(spool, arrived).await?;
    // It may be stored although an error is told, so nothing is removed then.
    let receipt = intake.accept(message).await.map_err(|error| error.to_string())?;
    match &receipt {
        Receipt::Stored { .. } => taken.finish(false).await,
        // The spool needs none of its files: they are there, or nobody's.
        Receipt::Duplicate { .. } | Receipt::Unregistered | Receipt::Dropped | Receipt::Obeyed { .. } => {
            taken.finish(true).await;
        }
    }
    Ok(receipt)
}

/// The files of one message between the moment at which they are in the spool and the word on the message.
#[derive(Debug)]
struct Taken {
    spool: Option<Arc<Spool>>,
    /// The channel's names for all files, taken or not.
    named: Vec<String>,
    taken: Vec<SpoolName>,
}

impl Taken {
    async fn of(spool: Option<&Arc<Spool>>, arrived: Arrived) -> Result<(InboundMessage, Self), String> {
        let Arrived { message, files } = arrived;
        let spool = spool.cloned();
        if files.iter().all(Option::is_none) {
            return Ok((message, Self { spool: None, named: Vec::new(), taken: Vec::new() }));
        }
        let taken = tokio::task::spawn_blocking(move || take(spool, message, files)).await;
        taken.map_err(|error| error.to_string())?
    }

    async fn finish(self, forget: bool) {
        let Self { spool: Some(spool), named, taken } = self else { return };
        let removed = tokio::task::spawn_blocking(move || {
            if forget {
                taken.iter().for_each(|name| spool.forget_what_came(name));
            }
            named.iter().for_each(|name| spool.done_with(name));
        });
        // What is not removed is swept later.
        let _ = removed.await;
    }
}

fn take(
    spool: Option<Arc<Spool>>,
    mut message: InboundMessage,
    files: Vec<Option<String>>,
) -> Result<(InboundMessage, Taken), String> {
    let mut taken = Vec::new();
    let mut count = 0;
    for (attachment, name) in message.attachments.iter_mut().zip(&files) {
        let Some(name) = name else { continue };
        count += 1;
        let outcome = match &spool {
            None => Err(NotTaken::Refused("this host takes no files".to_owned())),
            Some(spool) if count > spool.limits().per_message => Err(NotTaken::Refused(too_many(spool))),
            Some(spool) => spool.take(name),
        };
        attachment.fetched = match outcome {
            Ok(file) => {
                taken.push(file.spool.clone());
                Fetched::Yes(file)
            }
            Err(NotTaken::Refused(reason)) => Fetched::No { reason: Some(reason) },
            Err(NotTaken::Host(error)) => {
                taken.iter().for_each(|name| spool.iter().for_each(|spool| spool.forget_what_came(name)));
                return Err(NotTaken::Host(error).to_string());
            }
        };
    }
    Ok((message, Taken { spool, named: files.into_iter().flatten().collect(), taken }))
}

/// What is said of a file of which there are too many in a message.
pub(super) fn too_many(spool: &Spool) -> String {
    format!("only {} files of a message are taken", spool.limits().per_message)
}

/// What is said of `count` files that came with a message of which nothing is to be kept, and why.
#[cfg(feature = "web-client")]
pub(super) fn not_fetched(
    count: usize,
    why: &str,
) -> (Vec<nanoclaw_core::attachment::Attachment>, Vec<Option<String>>) {
    let reason = Some(why.to_owned());
    let attachment =
        nanoclaw_core::attachment::Attachment { kind: "file".to_owned(), name: None, fetched: Fetched::No { reason } };
    (vec![attachment; count], vec![None; count])
}
