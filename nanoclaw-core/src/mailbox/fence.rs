//! The fence of a mailbox, see [`crate::protocol::fence`]: written by the host, read by process 1 of each container.

use super::{Folder, Mailbox, MailboxError};
use crate::{
    protocol::fence::{FENCE_BYTES, FENCE_FILE, oldest, text},
    run::RunNumber,
};

impl Mailbox {
    /// Says that no run before `oldest` may go on here. Not durable: a power cut ends every container.
    ///
    /// # Errors
    /// When it cannot be written; what an agent put in its place is no reason.
    pub fn fence(&self, oldest: RunNumber) -> Result<(), MailboxError> {
        let top = self.top()?;
        let write = |top: &Folder| top.write_fleeting(FENCE_FILE, text(oldest).as_bytes());
        write(&top).or_else(|_| {
            // A folder has its name, or the one under which it is written.
            top.remove(FENCE_FILE)?;
            top.unstage(FENCE_FILE)?;
            write(&top)
        })
    }

    /// The oldest run that may go on here; `None` when nothing, or nothing that could be read, says so.
    ///
    /// # Errors
    /// When the mailbox is not there, or we are short of something (open files, memory).
    pub fn oldest_run(&self) -> Result<Option<RunNumber>, MailboxError> {
        Ok(self.top()?.read_if_there(FENCE_FILE, FENCE_BYTES)?.and_then(|bytes| oldest(&bytes)))
    }
}
