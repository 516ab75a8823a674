//! The thread from which all helper processes are forked.
//!
//! A process asks the kernel to be killed with its parent, and to the kernel the parent is the *thread* that forked: a worker
//! thread that tokio retires would take its containers along. So one thread does nothing else, for as long as the runtime
//! lives. When the runtime is dropped its containers end with it.

use std::{
    io,
    process::Stdio,
    sync::{
        OnceLock,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::unix::pipe,
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

struct Request {
    command: Command,
    /// Where the child's exit is waited for.
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// Forks; started with the first use.
#[derive(Default)]
pub(super) struct Spawner {
    /// Not bounded: every sender waits for its answer.
    requests: OnceLock<Sender<Request>>,
}

impl Spawner {
    /// Spawns `command` with all three streams as they are set in it.
    pub(super) async fn spawn(&self, command: Command) -> io::Result<Helper> {
        let (answer, answered) = oneshot::channel();
        let request = Request { command, runtime: Handle::current(), answer };
        let gone = || io::Error::other("the thread that starts containers is gone");
        self.queue()?.send(request).map_err(|_| gone())?;
        Ok(Helper { child: answered.await.map_err(|_| gone())?? })
    }

    fn queue(&self) -> io::Result<&Sender<Request>> {
        if let Some(queue) = self.requests.get() {
            return Ok(queue);
        }
        let (queue, requests) = channel();
        thread::Builder::new().name("sandbox-spawner".to_owned()).spawn(move || serve(&requests))?;
        // Two first uses at once: the loser's queue is dropped, and its thread ends without having forked.
        Ok(self.requests.get_or_init(|| queue))
    }
}

fn serve(requests: &Receiver<Request>) {
    while let Ok(Request { mut command, runtime, answer }) = requests.recv() {
        let _entered = runtime.enter();
        // A caller that is gone by now drops the child, which is killed then.
        let _ = answer.send(command.spawn());
    }
}

/// An outer helper process. Dropping it kills its container.
pub(super) struct Helper {
    child: Child,
}

impl Helper {
    /// Takes the reading ends of its output, and of its errors.
    pub(super) fn take_output(&mut self) -> io::Result<(pipe::Receiver, pipe::Receiver)> {
        let none = || io::Error::other("the helper has no output");
        let stdout = self.child.stdout.take().ok_or_else(none)?.into_owned_fd()?;
        let stderr = self.child.stderr.take().ok_or_else(none)?.into_owned_fd()?;
        Ok((pipe::Receiver::from_owned_fd(stdout)?, pipe::Receiver::from_owned_fd(stderr)?))
    }

    /// Waits for its end, which is its container's end.
    pub(super) async fn wait(&mut self) -> io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }

    /// Asks the container to end.
    pub(super) fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills the container; the helper ends after it.
    pub(super) fn kill_container(&self) {
        self.signal(Signal::USR1);
    }

    /// Kills the helper itself, for when it does not answer. The kernel kills the container then.
    pub(super) fn kill(&mut self) {
        let _ = self.child.start_kill();
    }

    /// The process is ours until it is reaped, and only `wait` reaps it, so its number cannot have passed to another.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.kill_container();
    }
}

/// A command whose streams are `input` and two pipes, with nothing of our environment.
pub(super) fn bare_command(program: &std::path::Path, input: Stdio) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir("/").stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
