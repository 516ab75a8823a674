//! What a promise works with: the runtime under test, specs that ask for what it offers, and whole runs of a script.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use crate::{
    group::GroupFolder,
    run::{RunId, RunNumber},
    runtime::{
        Access, Capabilities, Container, ContainerRuntime, ContainerSpec, ContainerSummary, Exit, GuestValue,
        HeldSources, ImageRef, InstallId, Labels, Limits, Mount, Output, RunAs, RuntimeError,
    },
};

/// Long enough for anything that happens at once on an idle machine, on a very busy one.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// What the suite runs with.
pub struct SuiteContext {
    /// The runtime under test.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// What it says of itself: the answer of [`ContainerRuntime::probe`].
    pub capabilities: Capabilities,
    /// An image with a shell and the usual small programs, and no environment of its own.
    pub image: ImageRef,
    /// The shell's path in it.
    pub shell: String,
    /// A folder of the host for mounts; the suite makes folders in it.
    pub scratch: PathBuf,
    /// The user of every container. Either the user of this process, or this process is root.
    pub user: RunAs,
    /// The installation of every container; used by nobody else.
    pub install: InstallId,
    /// A program for the promise about sockets; `None`: that promise is not made.
    pub socket_client: Option<SocketClient>,
    counter: AtomicU32,
}

/// A program that connects to the unix socket at the path that is its last argument, sends its standard input, ends the
/// sending side, and writes the answer to standard output.
#[derive(Debug, Clone)]
pub struct SocketClient {
    /// It; static, since it runs in any image.
    pub program: PathBuf,
    /// Its arguments before the path, plain words.
    pub arguments: &'static str,
}

/// Installations beside the suite's own.
#[derive(Debug, Clone, Copy)]
pub(super) enum InstallBeside {
    /// Whose name begins with the suite's own.
    Longer,
    /// All of whose containers are removed.
    Pruned,
    /// Whose containers then go on.
    Kept,
}

/// A script's whole life.
#[derive(Debug)]
pub struct Ended {
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub exit: Exit,
}

impl Ended {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Everything, short enough for a message.
    #[must_use]
    pub fn told(&self) -> String {
        let short = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned();
        format!(
            "{}; {} bytes of stdout {:?}; {} bytes of stderr {:?}",
            self.exit,
            self.stdout.len(),
            short(&self.stdout),
            self.stderr.len(),
            short(&self.stderr),
        )
    }
}

impl SuiteContext {
    /// Asks `runtime` what it offers and makes a context of it.
    ///
    /// # Errors
    /// When the runtime is not available or the scratch folder cannot be made.
    pub async fn new(
        runtime: Arc<dyn ContainerRuntime>,
        image: ImageRef,
        scratch: PathBuf,
        user: RunAs,
        install: InstallId,
    ) -> Result<Self, String> {
        let capabilities = runtime.probe().await.map_err(|error| error.to_string())?;
        fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
        Ok(Self {
            runtime,
            capabilities,
            image,
            shell: "/bin/sh".to_owned(),
            scratch,
            user,
            install,
            socket_client: None,
            counter: AtomicU32::new(1),
        })
    }

    /// A spec that runs `script` in the shell with every limit that the runtime can enforce.
    #[must_use]
    pub fn spec(&self, script: &str) -> ContainerSpec {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        ContainerSpec {
            name: format!("nanoclaw-{}-suite-{number}", self.install),
            image: self.image.clone(),
            command: vec![self.shell.as_str().into(), "-c".into(), script.into()],
            env: BTreeMap::new(),
            mounts: Vec::new(),
            held: HeldSources::default(),
            workdir: "/".into(),
            user: self.user,
            limits: Limits {
                memory_bytes: self.capabilities.memory_limit.then_some(256 << 20),
                pids: self.capabilities.pids_limit.then_some(256),
                milli_cpus: self.capabilities.cpu_limit.then_some(2000),
            },
            tmp_bytes: 16 << 20,
            labels: Labels {
                install: self.install.clone(),
                run: RunId {
                    group: GroupFolder::new("suite").expect("a plain name is a folder name"),
                    number: RunNumber(number),
                },
            },
        }
    }

    /// Removes every container of the suite that is there: what a broken promise, or an end in the middle, left behind.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn clean_up(&self) -> Result<(), RuntimeError> {
        let beside =
            [InstallBeside::Longer, InstallBeside::Pruned, InstallBeside::Kept].map(|one| self.install_beside(one));
        for install in std::iter::once(self.install.clone()).chain(beside) {
            for container in self.runtime.list(&install).await? {
                self.runtime.remove(&container.id).await?;
            }
        }
        Ok(())
    }

    /// An installation that only one promise uses.
    pub(super) fn install_beside(&self, which: InstallBeside) -> InstallId {
        let (kept, more) = match which {
            // A name of which ours is a part: a search by substring would mix them up.
            InstallBeside::Longer => (63, "x"),
            InstallBeside::Pruned => (56, "pruned"),
            InstallBeside::Kept => (56, "kept"),
        };
        let own = self.install.as_str();
        InstallId::new(format!("{}{more}", &own[..own.len().min(kept)])).expect("letters on an install id make another")
    }

    /// Starts `spec`.
    pub(super) async fn start(&self, spec: &ContainerSpec) -> Result<Container, String> {
        match timeout(SOON, self.runtime.start(spec)).await {
            Ok(Ok(container)) => Ok(container),
            Ok(Err(error)) => Err(format!("start failed: {error}")),
            Err(_) => Err(format!("start took more than {} s", SOON.as_secs())),
        }
    }

    /// Starts `spec`, which must be refused.
    pub(super) async fn refusal(&self, spec: &ContainerSpec) -> Result<RuntimeError, String> {
        match timeout(SOON, self.runtime.start(spec)).await {
            Ok(Err(error)) => Ok(error),
            Ok(Ok(container)) => {
                let _ = self.runtime.remove(&container.id).await;
                Err("it was started instead of being refused".to_owned())
            }
            Err(_) => Err(format!("start took more than {} s", SOON.as_secs())),
        }
    }

    /// Runs `script` with `input` to its end.
    pub(super) async fn run(&self, script: &str, input: &[u8]) -> Result<Ended, String> {
        self.run_spec(&self.spec(script), input).await
    }

    /// Runs `spec` with `input` to its end.
    pub(super) async fn run_spec(&self, spec: &ContainerSpec, input: &[u8]) -> Result<Ended, String> {
        self.to_the_end(self.start(spec).await?, input).await
    }

    /// The same for one that may be refused.
    pub(super) async fn run_or_refusal(&self, spec: &ContainerSpec) -> Result<Result<Ended, RuntimeError>, String> {
        match timeout(SOON, self.runtime.start(spec)).await {
            Ok(Ok(container)) => self.to_the_end(container, b"").await.map(Ok),
            Ok(Err(error)) => Ok(Err(error)),
            Err(_) => Err(format!("start took more than {} s", SOON.as_secs())),
        }
    }

    async fn to_the_end(&self, mut container: Container, input: &[u8]) -> Result<Ended, String> {
        let mut stdin = container.stdin;
        let feed = async {
            // A script that does not read has ended by itself; its verdict is in what it wrote.
            let _ = stdin.send(input, SOON).await;
            stdin.close().await;
        };
        let (_, output) = tokio::join!(feed, timeout(SOON, collect(&mut container.output)));
        let (stdout, stderr) = output.map_err(|_| format!("the output did not end within {} s", SOON.as_secs()))?;
        let exit = timeout(SOON, container.exit)
            .await
            .map_err(|_| format!("the output ended, but no exit came within {} s", SOON.as_secs()))?;
        Ok(Ended { stdout, stderr, exit })
    }

    /// A new folder of the host that belongs to the containers' user.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, String> {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let parent = self.scratch.join(number.to_string());
        let path = parent.join(name);
        fs::create_dir_all(&path)
            .and_then(|()| self.give(&parent, 0o755))
            .and_then(|()| self.give(&path, 0o755))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// Writes a file of the host that belongs to the containers' user.
    pub(super) fn file(&self, path: &Path, content: &str, mode: u32) -> Result<(), String> {
        fs::write(path, content)
            .and_then(|()| self.give(path, mode))
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    fn give(&self, path: &Path, mode: u32) -> io::Result<()> {
        if fs::metadata(path)?.uid() != self.user.uid {
            chown(path, Some(self.user.uid), Some(self.user.gid))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    /// How the runtime lists the container of `spec`.
    pub(super) async fn listed(&self, spec: &ContainerSpec) -> Result<Option<ContainerSummary>, String> {
        let all = self.runtime.list(&spec.labels.install).await.map_err(|error| format!("list failed: {error}"))?;
        Ok(all.into_iter().find(|one| one.number == spec.labels.run.number))
    }

    /// Waits until the container of `spec` is no longer listed.
    pub(super) async fn gone(&self, spec: &ContainerSpec) -> Result<(), String> {
        let since = Instant::now();
        while let Some(summary) = self.listed(spec).await? {
            if since.elapsed() > SOON {
                return Err(format!("{summary:?} is still listed after {} s", SOON.as_secs()));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until the container of `spec` has not been listed for as long as a start could still be on its way.
    pub(super) async fn gone_for_good(&self, spec: &ContainerSpec) -> Result<(), String> {
        const QUIET: Duration = Duration::from_secs(2);
        let (since, mut seen) = (Instant::now(), Instant::now());
        while seen.elapsed() < QUIET {
            if let Some(summary) = self.listed(spec).await? {
                seen = Instant::now();
                if since.elapsed() > SOON {
                    return Err(format!("{summary:?} is still listed after {} s", SOON.as_secs()));
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The script's view of a mount's target: its name in the environment, so that it works where guest paths are host
    /// paths too.
    pub(super) fn mount(&self, spec: &mut ContainerSpec, name: &str, source: &Path, target: &str, access: Access) {
        spec.mounts.push(Mount { source: source.to_owned(), target: target.to_owned(), access });
        spec.env.insert(name.to_owned(), GuestValue::Path(target.to_owned()));
    }
}

/// Everything a container writes, until its output ends.
pub(super) async fn collect(output: &mut tokio::sync::mpsc::Receiver<Output>) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(piece) = output.recv().await {
        match piece {
            Output::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            Output::Stderr(bytes) => stderr.extend_from_slice(&bytes),
        }
    }
    (stdout, stderr)
}

/// Waits until standard output, all of it since the call, has `wanted` in it; what came so far when it does.
pub(super) async fn wait_for_text(container: &mut Container, wanted: &str) -> Result<String, String> {
    let mut seen = Vec::new();
    let wait = async {
        while let Some(piece) = container.output.recv().await {
            if let Output::Stdout(bytes) = piece {
                seen.extend_from_slice(&bytes);
                if String::from_utf8_lossy(&seen).contains(wanted) {
                    return true;
                }
            }
        }
        false
    };
    let found = timeout(SOON, wait).await.unwrap_or(false);
    let seen = String::from_utf8_lossy(&seen).into_owned();
    if found { Ok(seen) } else { Err(format!("{wanted:?} never came, only {seen:?}")) }
}
