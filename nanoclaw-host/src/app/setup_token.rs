//! A container in which `claude setup-token` can be run: the one container that is no group's.
//!
//! It has a home of its own that is removed with it, nothing of any group, and no credential: what it can reach is what a
//! login needs, through a gateway of its own.

use std::{collections::BTreeMap, path::Path, time::Duration};

use nanoclaw_core::{
    group::GroupFolder,
    protocol::environment::{self as names, guest},
    run::{RunId, RunNumber},
    runtime::{
        Access, Container, ContainerSpec, GuestValue, HeldSources, InstallId, Labels, Limits, Mount, RunAs, RuntimeKind,
    },
};

use super::{Isolation, choose, container_user};
use crate::{
    config::{Config, Environment as _, ProcessEnvironment},
    gateway::{AllowList, Gateway, GatewaySocket, Policy, Upstream, tls},
    home::Home,
    launcher::image_for,
    programs::{self, Purpose},
};

/// The size of its terminal. So wide that no token and no address is broken over lines.
pub(crate) const TERMINAL: (u16, u16) = (500, 50);

/// How long it may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(2);

/// Why there is no such container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// Something of the host is missing; this says what, and what to do.
    #[error("{what}")]
    Missing {
        /// What is missing.
        what: String,
        /// What to do.
        help: String,
    },
    /// The system refused.
    #[error("failed to {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// No runtime works.
    #[error(transparent)]
    NoRuntime(#[from] super::NoRuntime),
    /// The runtime did not start it.
    #[error(transparent)]
    Runtime(#[from] nanoclaw_core::runtime::RuntimeError),
    /// It has no way out.
    #[error(transparent)]
    Gateway(#[from] crate::gateway::GatewayError),
}

/// The container while it runs. [`end`](Self::end) it.
pub(crate) struct Setup {
    /// Its streams are those of its terminal.
    pub(crate) container: Container,
    runtime: std::sync::Arc<dyn nanoclaw_core::runtime::ContainerRuntime>,
    gateway: Option<GatewaySocket>,
    /// All that it may write to. Removed last.
    _folder: Folder,
}

impl Setup {
    /// Starts it, with the configured runtime and image.
    ///
    /// # Errors
    /// [`SetupError`]; nothing is left then.
    pub(crate) async fn start(config: &Config) -> Result<Self, SetupError> {
        let folder = Folder::make()?;
        // What a runtime keeps for itself goes where all of this is removed.
        let home = Home::at(&folder.path().join("runtime")).map_err(failed("name a folder"))?;
        let chosen = choose(&home, config, Isolation::Required).await?;
        let kind = chosen.runtime.kind();
        let purpose = Purpose::of(kind);
        let runner = programs::runner(&config.agent, purpose, &ProcessEnvironment).filter(|path| path.is_file());
        let runner = runner.ok_or_else(|| SetupError::Missing {
            what: "there is no agent-runner beside nanoclaw or on the PATH".to_owned(),
            help: "build it with `cargo build --release -p agent-runner`, or set agent.runner in nanoclaw.toml"
                .to_owned(),
        })?;
        let claude = programs::claude(&config.agent, purpose, &ProcessEnvironment);
        if claude.is_none() && purpose == Purpose::ThisMachine {
            return Err(SetupError::Missing {
                what: "the program claude is not on this machine".to_owned(),
                help:
                    "`npm install -g @anthropic-ai/claude-code` installs it; [agent] claude in nanoclaw.toml names its \
                       place"
                        .to_owned(),
            });
        }
        let image = image_for(kind, &config.container.image);
        chosen.runtime.ensure_image(&image).await?;

        let user = container_user(config);
        let own_home = folder.path().join("home");
        std::fs::create_dir(&own_home).map_err(failed("make the container's home"))?;
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&own_home, Some(user.uid), Some(user.gid))
                .map_err(failed("give the container its home"))?;
        }
        let install = InstallId::new(format!("setup{}", folder.mark())).map_err(|_| SetupError::Missing {
            what: "the container has no name".to_owned(),
            help: "try again".to_owned(),
        })?;
        let group = group()?;
        let gateway = way_out(&folder.path().join("gateway"), &group, user)?;

        let mount = |source: &Path, target: &str, access| Mount {
            source: source.to_owned(),
            target: target.to_owned(),
            access,
        };
        let mut mounts = vec![
            mount(&own_home, guest::HOME, Access::ReadWrite),
            mount(&runner, guest::RUNNER, Access::ReadOnly),
            mount(&folder.path().join("gateway"), guest::GATEWAY_DIR, Access::ReadOnly),
        ];
        mounts.extend(claude.as_ref().map(|claude| mount(claude, guest::CLAUDE, Access::ReadOnly)));
        let path = |text: &str| GuestValue::Path(text.to_owned());
        let program = if claude.is_some() { path(guest::CLAUDE) } else { "claude".into() };
        let size = GuestValue::Text(format!("{}x{}", TERMINAL.0, TERMINAL.1));
        let command = [path(guest::RUNNER), "init".into(), "--".into(), path(guest::RUNNER), "terminal".into()];
        // What init tells agents of the model and of their login would be taken for a login that is there already.
        let without = ["ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"];
        let without = without.into_iter().flat_map(|name| ["--without".into(), name.into()]);
        let command = command.into_iter().chain(["--size".into(), size]).chain(without);
        let command = command.chain(["--".into(), program, "setup-token".into()]);
        let proxy = || GuestValue::Text(format!("http://127.0.0.1:{}", names::GATEWAY_PORT));
        let term = ProcessEnvironment.get("TERM").and_then(|term| term.into_string().ok());
        let spec = ContainerSpec {
            name: format!("nanoclaw-setup-token-{}", folder.mark()),
            image,
            command: command.collect(),
            env: BTreeMap::from([
                ("HOME".to_owned(), path(guest::HOME)),
                ("TERM".to_owned(), GuestValue::Text(term.unwrap_or_else(|| "xterm-256color".to_owned()))),
                (names::GATEWAY_SOCKET.to_owned(), path(guest::GATEWAY_SOCKET)),
                ("HTTPS_PROXY".to_owned(), proxy()),
                ("https_proxy".to_owned(), proxy()),
            ]),
            mounts,
            held: HeldSources::default(),
            workdir: path(guest::HOME),
            user,
            limits: limits(config, kind, &chosen.capabilities),
            tmp_bytes: *config.container.tmp_bytes,
            labels: Labels { install, run: RunId { group, number: RunNumber(1) } },
        };
        let container = chosen.runtime.start(&spec).await?;
        Ok(Self { container, runtime: chosen.runtime, gateway: Some(gateway), _folder: folder })
    }

    /// Ends the container and removes everything that was made for it.
    ///
    /// # Errors
    /// When the runtime cannot be sure that it is gone.
    pub(crate) async fn end(mut self) -> Result<(), SetupError> {
        let id = self.container.id.clone();
        self.runtime.stop(&id, GRACE).await?;
        self.runtime.remove(&id).await?;
        if let Some(gateway) = self.gateway.take() {
            gateway.close().await;
        }
        Ok(())
    }
}

/// The group's name in the gateway's log and in the container's labels; it is registered nowhere.
fn group() -> Result<GroupFolder, SetupError> {
    GroupFolder::new("setup-token")
        .map_err(|problem| SetupError::Missing { what: problem.to_string(), help: "report this".to_owned() })
}

/// The way out of the container: what a login of Claude Code asks, and nothing else.
fn way_out(folder: &Path, group: &GroupFolder, user: RunAs) -> Result<GatewaySocket, SetupError> {
    tls::install_provider();
    let allow =
        AllowList::parse(LOGIN_HOSTS).map_err(|what| SetupError::Missing { what, help: "report this".to_owned() })?;
    // A gateway of its own, without any credential: nothing of the host's can be used by whoever pretends to log in.
    let gateway = Gateway::new(Upstream::new("https://api.anthropic.com", None))?;
    Ok(gateway.open(folder, group, Policy::hosts(allow), user)?)
}

/// What a login of Claude Code asks.
const LOGIN_HOSTS: [&str; 4] =
    ["claude.ai:443", "console.anthropic.com:443", "platform.claude.com:443", "api.anthropic.com:443"];

fn limits(config: &Config, kind: RuntimeKind, has: &nanoclaw_core::runtime::Capabilities) -> Limits {
    let container = &config.container;
    // The sandbox of an ordinary user cannot enforce all; what nobody asked for is left out there, as for groups.
    let lenient = kind == RuntimeKind::Sandbox;
    let kept = |explicit: bool, enforced: bool| explicit || enforced || !lenient;
    Limits {
        memory_bytes: container.memory_bytes.filter(|_| kept(container.memory_bytes.is_explicit(), has.memory_limit)),
        pids: container.pids.filter(|_| kept(container.pids.is_explicit(), has.pids_limit)),
        milli_cpus: container.milli_cpus.filter(|_| kept(container.milli_cpus.is_explicit(), has.cpu_limit)),
    }
}

fn failed(action: &'static str) -> impl Fn(std::io::Error) -> SetupError {
    move |source| SetupError::Io { action, source }
}

/// A folder for everything that is made, which is removed when this is dropped.
struct Folder {
    path: std::path::PathBuf,
    mark: String,
}

impl Folder {
    fn make() -> Result<Self, SetupError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mark = format!("{:x}{:x}", std::process::id(), since.as_nanos());
        let path = std::env::temp_dir().join(format!("nanoclaw-setup-{mark}"));
        // The container's user passes through it; who else does finds nothing that may be read. It must not be there yet.
        std::fs::DirBuilder::new().mode(0o711).create(&path).map_err(failed("make a temporary folder"))?;
        Ok(Self { path, mark })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn mark(&self) -> &str {
        &self.mark
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a temporary folder is left");
        }
    }
}
