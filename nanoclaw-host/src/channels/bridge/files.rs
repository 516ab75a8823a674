//! The files of a message that a bridge says: taken into the spool before the message is stored, and the bridge's own copies
//! removed after.

use std::sync::Arc;

use nanoclaw_core::{
    attachment::{Fetched, SpoolName},
    message::InboundMessage,
};

use super::wire::{FilesTaken, Read};
use crate::files::{NotTaken, Spool};

/// What a bridge is told of files.
pub(super) fn told(spool: &Spool) -> FilesTaken {
    let limits = spool.limits();
    FilesTaken { folder: "files/arriving", max_bytes: limits.file_bytes, max_per_message: limits.per_message }
}

/// The files of one message between the moment at which they are in the spool and the word on the message.
#[derive(Debug)]
pub(super) struct Fetching {
    spool: Option<Arc<Spool>>,
    /// The bridge's names for all files that it named, taken or not.
    named: Vec<String>,
    taken: Vec<SpoolName>,
}

impl Fetching {
    /// Takes the files of a message. What is not to be had is told in the message.
    ///
    /// # Errors
    /// Why this host cannot take a file just now: the message must be said again. Nothing is left in the spool.
    pub(super) async fn fetch(spool: Option<&Arc<Spool>>, read: Read) -> Result<(InboundMessage, Self), String> {
        let Read { message, files } = read;
        let spool = spool.cloned();
        if files.iter().all(Option::is_none) {
            return Ok((message, Self { spool: None, named: Vec::new(), taken: Vec::new() }));
        }
        let fetched = tokio::task::spawn_blocking(move || fetch(spool, message, files)).await;
        fetched.map_err(|error| error.to_string())?
    }

    /// The message is stored, and its files with it.
    pub(super) async fn stored(self) {
        self.finish(false).await;
    }

    /// The message was stored before, or is nobody's: the spool needs none of its files.
    pub(super) async fn not_needed(self) {
        self.finish(true).await;
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

fn fetch(
    spool: Option<Arc<Spool>>,
    mut message: InboundMessage,
    files: Vec<Option<String>>,
) -> Result<(InboundMessage, Fetching), String> {
    let mut taken = Vec::new();
    let mut count = 0;
    for (attachment, name) in message.attachments.iter_mut().zip(&files) {
        let Some(name) = name else { continue };
        count += 1;
        let outcome = match &spool {
            None => Err(NotTaken::Refused("this host takes no files".to_owned())),
            Some(spool) if count > spool.limits().per_message => {
                Err(NotTaken::Refused(format!("only {} files of a message are taken", spool.limits().per_message)))
            }
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
    Ok((message, Fetching { spool, named: files.into_iter().flatten().collect(), taken }))
}
