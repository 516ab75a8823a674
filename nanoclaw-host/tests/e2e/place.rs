//! A place of a test's own: a user with an empty home, a runtime, and for Docker an image; all gone afterwards.

use std::{
    ffi::OsStr,
    fmt,
    future::Future,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nanoclaw_core::runtime::{ContainerRuntime, ImageRef, InstallId, RuntimeKind};
use nanoclaw_host::{
    home::Home,
    runtimes::{
        engine_api::{EngineRuntime, image},
        sandbox::{SandboxRuntime, SandboxSettings},
    },
};
use rustix::process::Pid;
use serde_json::Value;

use crate::{
    process::{Ended, Running, until},
    programs,
    support::{self, podman::PodmanService},
};

/// What a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The embedded sandbox.
    Sandbox,
    /// Docker.
    Docker,
    /// Podman, a service of the test's own.
    Podman,
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

/// Makes a test on each runtime of each function named, which takes a [`Place`].
macro_rules! on_each_runtime {
    ($($name:ident),* $(,)?) => { $(
        mod $name {
            use crate::place::{On, Place};
            #[test]
            fn in_the_sandbox() {
                if let Some(place) = Place::on(On::Sandbox) {
                    super::$name(&place);
                }
            }
            #[test]
            fn in_docker() {
                if let Some(place) = Place::on(On::Docker) {
                    super::$name(&place);
                }
            }
        }
    )* };
}
pub(crate) use on_each_runtime;

/// A user, and the program as this user runs it.
pub struct Place {
    /// The runtime; `None` for a test that starts no container.
    pub on: Option<On>,
    folder: tempfile::TempDir,
    engine: Option<(EngineRuntime, ImageRef)>,
    /// After the engine, which needs it to the end.
    podman: Option<PodmanService>,
    /// Podman's containers cannot have limits here, and the user has accepted that.
    without_limits: bool,
}

impl Place {
    /// A place without a runtime, for what must not get that far.
    pub fn bare() -> Self {
        Self { on: None, folder: support::scratch(), engine: None, podman: None, without_limits: false }
    }

    /// A place with this runtime. `None`, and a line that says so, where it is missing.
    pub fn on(on: On) -> Option<Self> {
        Self::on_base(on, support::busybox_root)
    }

    /// The same, with `base` making the root folder of which Docker's image is built.
    pub fn on_base(on: On, base: impl FnOnce(&Path) -> Result<(), String>) -> Option<Self> {
        let wanted = support::wanted(&on.to_string());
        let or_skip = |present: Result<(), String>| wanted.or_skip(&on.to_string(), present);
        // Nothing is made for a runtime that is not wanted.
        or_skip(Ok(()))?;
        let mut place =
            Self { on: Some(on), folder: support::scratch(), engine: None, podman: None, without_limits: false };
        match on {
            On::Sandbox => {
                or_skip(place.probe_sandbox())?;
                programs::runner();
            }
            On::Docker | On::Podman => {
                let root = place.folder.path().join("root");
                or_skip(base(&root))?;
                if on == On::Podman {
                    place.podman = Some(wanted.or_skip("podman", PodmanService::start())?);
                }
                let engine = wanted.or_skip(&on.to_string(), connect(place.podman.as_ref()))?;
                programs::static_runner();
                let image = place.build_image(&root);
                if on == On::Podman {
                    let probing = engine.clone().with_probe_image(image.clone());
                    place.without_limits = wait(async { !probing.probe().await.unwrap().memory_limit });
                    if place.without_limits {
                        println!("without limits, which a rootless Podman cannot have here");
                    }
                }
                place.engine = Some((engine, image));
            }
        }
        Some(place)
    }

    fn probe_sandbox(&self) -> Result<(), String> {
        let state = self.folder.path().join("probe");
        let settings = SandboxSettings { helper: programs::NANOCLAW.into(), ..SandboxSettings::new(state) };
        let probed = wait(async { SandboxRuntime::new(settings).probe().await });
        probed.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Builds an image of a name of its own, by the command that people use.
    fn build_image(&self, root: &Path) -> ImageRef {
        let name = format!("nanoclaw-{}", support::install());
        self.run(["init"]).succeeded();
        let built = self.run(["image", "build", "--base", root.to_str().unwrap(), "--tag", &name]).succeeded();
        assert!(built.starts_with(&format!("Built {name}")), "{built}");
        std::fs::remove_dir_all(root).unwrap();
        ImageRef::new(name).unwrap()
    }

    /// The runtime itself, its image, and the agent-runner for it.
    pub fn parts(&self) -> (Box<dyn ContainerRuntime>, ImageRef, PathBuf) {
        match &self.engine {
            Some((engine, image)) => (Box::new(engine.clone()), image.clone(), programs::static_runner().to_owned()),
            None => {
                let state = self.folder.path().join("sandbox");
                let settings = SandboxSettings { helper: programs::NANOCLAW.into(), ..SandboxSettings::new(state) };
                let host = ImageRef::new("host").unwrap();
                (Box::new(SandboxRuntime::new(settings)), host, programs::runner().to_owned())
            }
        }
    }

    /// The image of its own that an engine has for it.
    pub fn image(&self) -> &str {
        let (_, image) = self.engine.as_ref().expect("the place is on an engine");
        image.as_str()
    }

    /// The user's folder: `HOME`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The home of the installation.
    pub fn home(&self) -> Home {
        Home::at(&self.folder.path().join("home")).unwrap()
    }

    /// A group's folder on the host.
    pub fn group(&self, folder: &str) -> PathBuf {
        self.home().groups().join(folder)
    }

    /// Writes `nanoclaw.toml`, in a home that is made if need be.
    pub fn configure(&self, text: &str) {
        self.run(["init"]).succeeded();
        std::fs::write(self.home().config_file(), text).unwrap();
    }

    /// Writes the file of the credential, as people do.
    pub fn credential(&self, line: &str) {
        let folder = self.folder.path().join(".config/nanoclaw");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("credentials");
        std::fs::write(&file, format!("{line}\n")).unwrap();
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// The program with a bare environment.
    pub fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(programs::NANOCLAW);
        command.arg("--home").arg(self.home().root()).args(arguments);
        command.env_clear().env("HOME", self.folder()).env("XDG_CONFIG_HOME", self.folder().join(".config"));
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("TZ", "UTC").env("USER", "ann");
        if let Some(on) = self.on {
            command.env("NANOCLAW_CONTAINER_RUNTIME", on.to_string());
        }
        if let Some(podman) = &self.podman {
            command.env("XDG_RUNTIME_DIR", podman.runtime_folder());
        }
        if self.without_limits {
            for limit in ["MEMORY", "PIDS", "CPUS"] {
                command.env(format!("NANOCLAW_CONTAINER_{limit}"), "none");
            }
        }
        if let Some((_, image)) = &self.engine {
            command.env("CONTAINER_IMAGE", image.as_str());
        }
        command.current_dir(self.folder()).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
        Running::start(&mut self.command(arguments)).ended()
    }

    /// Says these messages with `nanoclaw chat`.
    pub fn chat(&self, messages: &[&str]) -> Ended {
        self.run(chat(messages))
    }

    /// What a command prints as JSON.
    pub fn json(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Value {
        let printed = self.run(arguments).succeeded();
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    /// Starts the service and waits until it says that it is ready. It stops its containers when it is asked to end, so that
    /// nothing is left of it.
    pub fn service(&self) -> Running {
        self.service_with(&["run", "--stop-containers"])
    }

    /// The same as people have it: containers go on without it, where their runtime lets them.
    pub fn service_that_lets_go(&self) -> Running {
        self.service_with(&["run"])
    }

    /// The service on another runtime than the place's own: what `runtime = "auto"` comes to when that one is down. It stops
    /// its containers when it is asked to end.
    pub fn service_on(&self, on: On) -> Running {
        let mut command = self.command(["run", "--stop-containers"]);
        started(command.env("NANOCLAW_CONTAINER_RUNTIME", on.to_string()).env_remove("CONTAINER_IMAGE"))
    }

    /// The service with a fault: it kills itself at this point (`point:passing`), see `nanoclaw_host::failpoints`.
    pub fn service_that_dies_at(&self, point: &str) -> Running {
        self.run(["init"]).succeeded();
        started(self.command(["run"]).env(nanoclaw_host::failpoints::KILL_AT, point))
    }

    /// The service with a fault: it panics once at this point (`point:passing`), see `nanoclaw_host::failpoints`. It stops
    /// its containers when it is asked to end.
    pub fn service_that_panics_at(&self, point: &str) -> Running {
        self.run(["init"]).succeeded();
        let mut command = self.command(["run", "--stop-containers"]);
        started(command.env(nanoclaw_host::failpoints::PANIC_AT, point))
    }

    fn service_with(&self, arguments: &[&str]) -> Running {
        self.run(["init"]).succeeded();
        let service = started(&mut self.command(arguments));
        if self.on == Some(On::Podman) {
            // It may be slow to answer for the first time, and a service does not wait for long.
            until("the runtime answers", || {
                self.json(["ps", "--json"])["service"]["runtime_away"].is_null().then_some(())
            });
        }
        service
    }

    /// One column of one query on the database, as text.
    pub fn rows(&self, query: &'static str) -> Vec<String> {
        use sqlx::{Connection as _, sqlite::SqliteConnectOptions};
        let options = SqliteConnectOptions::new().filename(self.home().database());
        wait(async move {
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            let rows = sqlx::query_scalar::<_, String>(query).fetch_all(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            rows
        })
    }

    /// The same, and nothing while the host is still making the database.
    pub fn rows_or_none(&self, query: &'static str) -> Vec<String> {
        if self.home().database().exists()
            && !self.rows("SELECT name FROM sqlite_schema WHERE name = 'blocks'").is_empty()
        {
            self.rows(query)
        } else {
            Vec::new()
        }
    }

    /// Makes everything said so far answered, so that no next host takes it up again.
    pub fn forget_messages(&self) {
        self.execute("UPDATE groups SET answered_through = (SELECT COALESCE(MAX(seq), 0) FROM messages)");
    }

    /// Changes the database by hand.
    pub fn execute(&self, statement: &'static str) {
        use sqlx::{Connection as _, sqlite::SqliteConnectOptions};
        let options = SqliteConnectOptions::new().filename(self.home().database());
        wait(async move {
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::query(statement).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    /// The processes that see the user's folder, by their command lines: containers, helpers, hosts; not this test.
    pub fn processes(&self) -> Vec<String> {
        self.processes_with_ids().into_iter().map(|(_, line)| line).collect()
    }

    /// The same, with their ids.
    pub fn processes_with_ids(&self) -> Vec<(Pid, String)> {
        let folder = self.folder().to_str().unwrap().as_bytes();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let path = entry.path();
            let is_process = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
            if !is_process || entry.file_name().to_string_lossy() == std::process::id().to_string() {
                continue;
            }
            // A process may end between two looks.
            let sees = ["cmdline", "environ", "mountinfo"].iter().any(|file| {
                let content = std::fs::read(path.join(file)).unwrap_or_default();
                content.windows(folder.len()).any(|window| window == folder)
            });
            if sees {
                let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
                let pid = entry.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
                found.extend(pid.map(|pid| (pid, String::from_utf8_lossy(&line).replace('\0', " "))));
            }
        }
        found
    }

    /// How many containers of this installation the engine knows; none in the sandbox.
    pub fn containers(&self) -> usize {
        self.container_ids().len()
    }

    /// The engine's ids of them, sorted.
    pub fn container_ids(&self) -> Vec<String> {
        let Some((engine, _)) = &self.engine else { return Vec::new() };
        let Some(install) = self.install() else { return Vec::new() };
        let listed = wait(async { engine.list(&install).await.unwrap() });
        let mut ids: Vec<String> = listed.into_iter().map(|container| container.id.to_string()).collect();
        ids.sort();
        ids
    }

    /// Waits until nothing of this place runs any more, and no socket waits for anybody.
    pub fn nothing_is_left(&self) {
        until("every process and container is gone", || {
            (self.processes().is_empty() && self.containers() == 0).then_some(())
        });
        let sockets: Vec<PathBuf> = std::fs::read_dir(self.home().store())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
            .collect();
        assert_eq!(sockets, Vec::<PathBuf>::new());
    }

    /// The installation's id, once it was used.
    pub fn install(&self) -> Option<InstallId> {
        if !self.home().database().exists() {
            return None;
        }
        let id = self.rows("SELECT value FROM meta WHERE key = 'install_id'").into_iter().next()?;
        Some(InstallId::new(id).unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.home().log_file()).unwrap_or_default();
            println!("the log of what failed:\n{log}");
            let runs = "SELECT number || ' ' || COALESCE(ending, 'open') || ': ' || COALESCE(detail, '') FROM runs";
            let runs = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.rows_or_none(runs)));
            println!("its runs:\n{}", runs.unwrap_or_default().join("\n"));
        }
        let Some((engine, image)) = &self.engine else { return };
        // After a test that failed a container may be left; it holds the image.
        let install = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.install())).ok().flatten();
        wait(async {
            if let Some(install) = install {
                for container in engine.list(&install).await.unwrap_or_default() {
                    let _ = engine.remove(&container.id).await;
                }
            }
            // A container that has ended may still be on its way out.
            for _ in 0..200 {
                if image::remove(engine, image).await.is_ok() {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            println!("the image {image} is left: something holds it");
        });
    }
}

/// The service that this command starts, once it says that it is ready.
fn started(command: &mut Command) -> Running {
    let service = Running::start(command);
    service.until_stdout(|text| text.ends_with('\n'));
    service
}

fn connect(podman: Option<&PodmanService>) -> Result<EngineRuntime, String> {
    let (kind, socket) = match podman {
        Some(podman) => (RuntimeKind::Podman, podman.socket()),
        None => (RuntimeKind::Docker, EngineRuntime::default_socket(RuntimeKind::Docker)),
    };
    wait(EngineRuntime::connect(kind, &socket)).map_err(|error| error.to_string())
}

/// The arguments that say these messages.
pub fn chat<'a>(messages: &[&'a str]) -> Vec<&'a str> {
    std::iter::once("chat").chain(messages.iter().flat_map(|message| ["-m", message])).collect()
}

/// Waits for a future on a thread of its own, so that tests may be plain functions or not.
pub fn wait<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(future)
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
