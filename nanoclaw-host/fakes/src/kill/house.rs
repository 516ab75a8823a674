//! A home of the harness's own and the program under test in it: started, killed, asked to end, and waited for.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::{On, engine::Engine};
use crate::chat_service::{ODD_CHAT, chat_id};

/// How long anything may take that always happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of the group in which odd things are said.
pub(super) const ODD_FOLDER: &str = "odd";

/// A home with its groups.
#[derive(Clone)]
pub(super) struct House {
    program: PathBuf,
    on: On,
    docker: Option<(PathBuf, String)>,
    folder: PathBuf,
}

impl House {
    /// Makes a home in `folder` for so many groups at a cap, and registers them.
    pub(super) async fn build(
        program: &Path,
        on: On,
        engine: Option<&Engine>,
        folder: &Path,
        groups: usize,
        cap: usize,
    ) -> anyhow::Result<Self> {
        let docker = engine.map(|engine| (engine.socket(), engine.image().to_owned()));
        let house = Self { program: program.to_owned(), on, docker, folder: folder.to_owned() };
        std::fs::create_dir_all(house.home())?;
        // Containers run as another user when this is root.
        let passable =
            |path: &Path| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755));
        passable(folder)?;
        let config = format!(
            "[agent]\nprovider = \"offline\"\n\n[limits]\nmax_concurrent_containers = {cap}\n\n[container]\nruntime = \"{on}\"\n"
        );
        std::fs::write(house.home().join("nanoclaw.toml"), config)?;
        house.succeeds(&["init"]).await?;
        for group in 0..groups {
            let (chat, name) = (chat_id(group), format!("Group {group}"));
            // The owner's may have messages sent to the others.
            let role = if group == 0 { "--main" } else { "--no-trigger" };
            house.succeeds(&["groups", "add", &chat, "--name", &name, role]).await?;
        }
        house.succeeds(&["groups", "add", ODD_CHAT, "--name", "Odd", "--folder", ODD_FOLDER, "--no-trigger"]).await?;
        Ok(house)
    }

    pub(super) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    pub(super) fn odd_folder(&self) -> PathBuf {
        self.home().join("groups").join(ODD_FOLDER)
    }

    pub(super) fn bridge_socket(&self) -> PathBuf {
        self.home().join("store/bridge.sock")
    }

    /// Where everything goes that hosts say.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("hosts.log")
    }

    /// The program with an environment of its own.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--home").arg(self.home()).args(arguments);
        command.env_clear().env("HOME", &self.folder).env("XDG_CONFIG_HOME", self.folder.join("config"));
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("TZ", "UTC");
        if let Some((socket, image)) = &self.docker {
            command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
            command.env("CONTAINER_IMAGE", image);
        }
        command.current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    pub(super) async fn succeeds(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments).output().await.context("cannot start the program under test")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nanoclaw {}: {}", arguments.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts a host; `kill_at` names the failpoint at which it kills itself.
    pub(super) fn start(&self, kill_at: Option<&str>) -> anyhow::Result<Host> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = self.command(&["run"]);
        // A group of its own: when a shell that started this harness ends while a host is stopped, the kernel hangs up on
        // everyone in that host's group (POSIX: an orphaned group with a stopped member), and that was the harness too.
        command.stdout(Stdio::piped()).stderr(log).process_group(0);
        if let Some(point) = kill_at {
            command.env("NANOCLAW_KILL_AT", point);
        }
        let mut child = command.spawn().context("cannot start the program under test")?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let ready = tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            let ready = matches!(lines.next_line().await, Ok(Some(line)) if line.contains("ready"));
            let at = Instant::now();
            // Read on, so that it never writes to nobody.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            ready.then_some(at)
        });
        Ok(Host { child, ready, on: self.on })
    }
}

/// A running host, killed when this is dropped.
pub(super) struct Host {
    child: Child,
    ready: tokio::task::JoinHandle<Option<Instant>>,
    on: On,
}

impl Host {
    /// When it said that it is ready; `None` when it ended instead. Asked once.
    pub(super) async fn ready(&mut self) -> anyhow::Result<Option<Instant>> {
        let ready = tokio::time::timeout(PATIENCE, &mut self.ready).await;
        Ok(ready.with_context(|| format!("the host is not ready within {PATIENCE:?}"))??)
    }

    pub(super) fn pid(&self) -> Option<rustix::process::Pid> {
        self.child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?))
    }

    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) = self.pid() {
            // One that has ended takes none.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; `None` when it does not come within `limit`.
    pub(super) async fn ended(&mut self, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => Ok(Some(status?)),
            Err(_) => Ok(None),
        }
    }

    /// Kills it as `kill -9` does.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.signal(rustix::process::Signal::KILL);
        self.child.wait().await?;
        Ok(())
    }

    /// Asks it to end, as `systemctl stop` does, and sees that it ends well.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.signal(rustix::process::Signal::TERM);
        match self.ended(PATIENCE).await? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("asked to end, the host on {} ended with {status}", self.on),
            None => bail!("asked to end, the host on {} did not within {PATIENCE:?}", self.on),
        }
    }
}

/// Whether a process ended by `kill -9`.
pub(super) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(rustix::process::Signal::KILL.as_raw())
}

/// The processes below `pid`, parents before children.
pub(super) fn descendants(pid: rustix::process::Pid) -> Vec<rustix::process::Pid> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|pid| pid.as_raw_nonzero()) {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else {
            next += 1;
            continue;
        };
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|id| rustix::process::Pid::from_raw(id.parse().ok()?)));
        }
        next += 1;
    }
    found.split_off(1)
}
