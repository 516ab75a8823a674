//! Passes the command's standard output on, byte for byte, and puts every block into the journal before it goes out.
//!
//! The order is the promise: when a host has seen the end of a block, the block is on disk, so a host that dies at that
//! moment finds it there. The bytes of a block may begin to go out earlier; without its end they are no block to anyone.

use std::io::{ErrorKind, Read, Write};

use nanoclaw_core::{
    causes::with_causes,
    mailbox::{Folder, Mailbox, MailboxError},
    protocol::{
        markers::{Decoder, Found},
        output::JournalEntry,
    },
    run::{BlockNumber, RunNumber},
};

use crate::log::say;

const CHUNK_BYTES: usize = 64 * 1024;

/// Passes `from` on to `to` until `from` ends. A `to` that fails (the host died) ends nothing: reading and journalling go
/// on, for the next host to find.
pub(crate) fn relay(mut from: impl Read, to: impl Write, mut journal: Option<Journal>) {
    let mut to = Some(to);
    let mut decoder = Decoder::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => &chunk[..length],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                say!("init: cannot read the command's output any more: {error}");
                break;
            }
        };
        if let Some(journal) = &mut journal {
            journal.keep(decoder.feed(bytes));
        }
        if let Some(output) = &mut to
            && let Err(error) = output.write_all(bytes)
        {
            let onward = if journal.is_some() { "blocks still go to the journal" } else { "output is dropped" };
            say!("init: nobody reads the output any more ({error}); {onward}");
            to = None;
        }
    }
    if let Some(journal) = &mut journal {
        journal.keep(decoder.finish());
    }
}

/// The blocks of one run as files in the mailbox's `output/`.
#[derive(Debug)]
pub(crate) struct Journal {
    mailbox: Mailbox,
    run: RunNumber,
    /// Opened with the first block, and again after a failure.
    folder: Option<Folder>,
    last: BlockNumber,
}

impl Journal {
    pub(crate) fn new(mailbox: Mailbox, run: RunNumber) -> Self {
        Self { mailbox, run, folder: None, last: BlockNumber(0) }
    }

    /// Numbers the blocks among `found` and writes each durably. A block that cannot be written (a full disk) keeps its
    /// number and is told of; it still goes out, which is all that is left to do for it.
    fn keep(&mut self, found: Vec<Found>) {
        for found in found {
            let Found::Block(block) = found else { continue };
            self.last = BlockNumber(self.last.0 + 1);
            let entry = JournalEntry { run: self.run, number: self.last, block };
            if let Err(error) = self.write(&entry) {
                self.folder = None;
                say!("init: block {} is not in the journal: {}", self.last.0, with_causes(&error));
            }
        }
    }

    fn write(&mut self, entry: &JournalEntry) -> Result<(), MailboxError> {
        let folder = match &self.folder {
            Some(folder) => folder,
            None => self.folder.insert(self.mailbox.output()?),
        };
        let bytes =
            serde_json::to_vec(entry).expect("a journal entry has text keys only, and cannot fail to serialise");
        folder.write(&entry.file_name(), &bytes)
    }
}
