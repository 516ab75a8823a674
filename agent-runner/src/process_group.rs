//! A command and everything that it starts, which nobody is to outlive who gives it up.

use std::{io, time::Duration};

use nanoclaw_core::protocol::environment::AHEAD;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// How long a command may take to end when it is asked to.
const GRACE: Duration = Duration::from_millis(500);

/// The process group of a command. It is killed when this is dropped: when nobody waits for the command any more.
#[derive(Debug)]
pub(crate) struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// Starts `command` as the first of a group of its own. What its container was told ahead is not handed on.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(command: &mut Command) -> io::Result<(Self, Child)> {
        let child = command.env_remove(AHEAD).process_group(0).spawn()?;
        let leader = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        Ok((Self(leader), child))
    }

    /// Asks all of them to end, and kills those that have not when `child`, the first, has ended or its time is over.
    pub(crate) async fn end(mut self, child: &mut Child) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::TERM);
            let _ = timeout(GRACE, child.wait()).await;
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait().await;
            self.0 = None;
        }
    }

    /// The first of them has ended: what it left in the background goes on, until the container ends.
    pub(crate) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
