//! Passes the command's standard output on, byte for byte, and puts every block into the journal before it goes out.
//!
//! The order is the promise: when a host has seen the end of a block, the block is on disk, so a host that dies at that
//! moment finds it there. The bytes of a block may begin to go out earlier; without its end they are no block to anyone.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

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
/// on, for the next host to find. Once the run is `fenced`, what comes is read and dropped.
pub(crate) fn relay(mut from: impl Read, to: impl Write, mut journal: Option<Journal>, fenced: &AtomicBool) {
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
        if fenced.load(Ordering::Acquire) {
            journal = None;
            to = None;
        }
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
    if let Some(journal) = &mut journal
        && !fenced.load(Ordering::Acquire)
    {
        journal.keep(decoder.finish());
        journal.finish();
    }
}

/// How often, and in what rhythm, what could not be journalled is tried again when the command has ended.
const LAST_TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// The blocks of one run as files in the mailbox's `output/`, without a gap: a block that cannot be written (a full disk) is
/// kept, and no later one is written before it. So a host that was dead meanwhile never finds an answer to later messages
/// without the one before it, which it would take for answered too.
#[derive(Debug)]
pub(crate) struct Journal {
    mailbox: Mailbox,
    run: RunNumber,
    /// Opened with the first block, and again after a failure.
    folder: Option<Folder>,
    last: BlockNumber,
    /// What is not written yet, in order.
    waiting: VecDeque<JournalEntry>,
}

impl Journal {
    pub(crate) fn new(mailbox: Mailbox, run: RunNumber) -> Self {
        Self { mailbox, run, folder: None, last: BlockNumber(0), waiting: VecDeque::new() }
    }

    /// Numbers the blocks among `found` and writes each durably, or keeps it for later. It goes out in any case: a host that
    /// listens needs no journal.
    fn keep(&mut self, found: Vec<Found>) {
        for found in found {
            let Found::Block(block) = found else { continue };
            self.last = BlockNumber(self.last.0 + 1);
            self.waiting.push_back(JournalEntry { run: self.run, number: self.last, block });
        }
        if let Err(error) = self.write_waiting() {
            let first = self.waiting.front().map_or(self.last, |entry| entry.number);
            say!("init: block {} is not in the journal yet: {}", first.0, with_causes(&error));
        }
    }

    /// Tries for a while to write what is left.
    fn finish(&mut self) {
        for _ in 0..LAST_TRIES {
            if self.write_waiting().is_ok() {
                return;
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
        say!("init: {} blocks are not in the journal", self.waiting.len());
    }

    fn write_waiting(&mut self) -> Result<(), MailboxError> {
        while let Some(entry) = self.waiting.pop_front() {
            if let Err(error) = self.write(&entry) {
                self.folder = None;
                self.waiting.push_front(entry);
                return Err(error);
            }
        }
        Ok(())
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
