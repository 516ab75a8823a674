//! A Docker daemon of the harness's own, with an image of busybox: never the machine's, which others may need.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use tokio::process::{Child, Command};

/// The image that the harness builds.
const IMAGE: &str = "nanoclaw-kill";
/// How long a daemon may take to answer or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon. It ends when [`stop`](Self::stop) is called; killed when dropped.
pub struct Engine {
    folder: PathBuf,
    daemon: Option<Child>,
    /// What holds the containers, and lives on when the daemon dies, as on machines where both are services.
    containerd: Child,
}

impl Engine {
    /// Starts a daemon that keeps everything in `folder`, on a real disk, and builds the image with `program`. Needs root
    /// and `dockerd`.
    ///
    /// # Errors
    /// When a part is missing.
    pub async fn start(folder: &Path, program: &Path) -> anyhow::Result<Self> {
        if folder.exists() {
            // One of a harness that was killed; what it holds must not be taken from under it.
            if let Some(pid) = running_daemon(folder) {
                bail!("an earlier harness's dockerd (process {pid}) still runs in {}; end it first", folder.display());
            }
            release_mounts(folder)?;
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let mut engine = Self { folder: folder.to_owned(), daemon: None, containerd: start_containerd(folder)? };
        engine.up().await?;
        let root = folder.join("root");
        busybox_root(&root)?;
        let home = folder.join("home");
        for words in [vec!["init"], vec!["image", "build", "--base", root.to_str().unwrap_or("root"), "--tag", IMAGE]] {
            let output = Command::new(program)
                .arg("--home")
                .arg(&home)
                .args(&words)
                .env("DOCKER_HOST", format!("unix://{}", engine.socket().display()))
                .stdin(Stdio::null())
                .output()
                .await?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "nanoclaw {}: {}", words.join(" "), said.trim());
        }
        Ok(engine)
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// The image's name.
    #[must_use]
    pub fn image(&self) -> &'static str {
        IMAGE
    }

    /// Starts the daemon, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn up(&mut self) -> anyhow::Result<()> {
        let within = |name: &str| self.folder.join(name);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(within("dockerd.log"))?;
        let mut command = Command::new("dockerd");
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--log-level=warn"]);
        command.arg("--host").arg(format!("unix://{}", self.socket().display()));
        command.arg("--containerd").arg(within(CONTAINERD_SOCKET));
        for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(option).arg(within(name));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let daemon = command.spawn().context("dockerd cannot be started (on Debian: apt install docker.io)")?;
        self.daemon = Some(daemon);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.docker(&["version"]).await.is_ok_and(|output| output.contains("Server")) {
            if tokio::time::Instant::now() > deadline {
                bail!("dockerd does not answer; see {}", within("dockerd.log").display());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Starts the daemon if it does not run.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn up_again(&mut self) -> anyhow::Result<()> {
        match &self.daemon {
            Some(_) => Ok(()),
            None => self.up().await,
        }
    }

    /// Ends the daemon as a service manager does; its containers end with it.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn down(&mut self) -> anyhow::Result<()> {
        self.signal_and_wait(rustix::process::Signal::TERM).await
    }

    /// Kills the daemon; its containers go on, and it finds them again.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal_and_wait(rustix::process::Signal::KILL).await?;
        // What a killed daemon leaves would keep the next one from starting.
        let _ = std::fs::remove_file(self.folder.join("pid"));
        Ok(())
    }

    async fn signal_and_wait(&mut self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        if let Some(pid) = daemon.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)) {
            let _ = rustix::process::kill_process(pid, signal);
        }
        tokio::time::timeout(PATIENCE, daemon.wait()).await.context("dockerd does not end")??;
        Ok(())
    }

    /// The containers that run, by id.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub async fn containers(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.docker(&["ps", "--quiet"]).await?.lines().map(str::to_owned).collect())
    }

    /// Kills a container.
    pub async fn kill_container(&self, id: &str) -> bool {
        self.docker(&["kill", id]).await.is_ok()
    }

    async fn docker(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.socket().display())).args(words).stdin(Stdio::null());
        let output = tokio::time::timeout(PATIENCE, command.output()).await.context("docker does not answer")?;
        let output = output.context("docker cannot be started (on Debian: apt install docker.io)")?;
        ensure!(
            output.status.success(),
            "docker {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Ends it for good.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for container in self.docker(&["ps", "--all", "--quiet"]).await?.lines() {
            let _ = self.docker(&["rm", "--force", container]).await;
        }
        self.down().await?;
        if let Some(pid) = self.containerd.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        tokio::time::timeout(PATIENCE, self.containerd.wait()).await.context("containerd does not end")??;
        release_mounts(&self.folder)
    }
}

/// The process of the daemon that an earlier harness left in `folder`.
fn running_daemon(folder: &Path) -> Option<String> {
    let pid = std::fs::read_to_string(folder.join("pid")).ok()?.trim().to_owned();
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    String::from_utf8_lossy(&words).contains(folder.to_str()?).then_some(pid)
}

/// Takes away what a daemon that was killed left mounted below `folder`.
fn release_mounts(folder: &Path) -> anyhow::Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    // The latest first, since they may lie on earlier ones.
    for point in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(point).starts_with(folder) {
            std::process::Command::new("umount").arg("--lazy").arg(point).status()?;
        }
    }
    Ok(())
}

/// Where containerd listens, in the engine's folder.
const CONTAINERD_SOCKET: &str = "containerd.sock";

fn start_containerd(folder: &Path) -> anyhow::Result<Child> {
    let within = |name: &str| folder.join(name);
    std::fs::write(within("containerd.toml"), "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")?;
    let log = std::fs::File::create(within("containerd.log"))?;
    let mut command = Command::new("containerd");
    let places = [
        ("--config", "containerd.toml"),
        ("--address", CONTAINERD_SOCKET),
        ("--root", "containerd-data"),
        ("--state", "containerd-state"),
    ];
    for (option, name) in places {
        command.arg(option).arg(within(name));
    }
    command.args(["--log-level", "warn"]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    command.spawn().context("containerd cannot be started (on Debian: apt install docker.io)")
}

/// A root folder of nothing but a static busybox under all its names.
fn busybox_root(root: &Path) -> anyhow::Result<()> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|path| path.exists());
    let busybox = busybox.context("there is no busybox here (on Debian: apt install busybox-static)")?;
    let names = std::process::Command::new(busybox).arg("--list").output()?;
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::copy(busybox, bin.join("busybox"))?;
    for name in String::from_utf8_lossy(&names.stdout).lines().filter(|name| *name != "busybox") {
        symlink("busybox", bin.join(name))?;
    }
    Ok(())
}
