//! What differs between docker and podman, and nothing else.

use std::path::{Path, PathBuf};

use bollard::errors::Error as EngineError;
use nanoclaw_core::{
    causes::with_causes,
    runtime::{RuntimeError, RuntimeKind},
};

use super::errors::io_kind;
use crate::{config::ProcessEnvironment, programs};

/// Which engine is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Docker.
    Docker,
    /// Podman's Docker-compatible API.
    Podman,
}

impl Dialect {
    pub(super) fn of(kind: RuntimeKind) -> Self {
        match kind {
            RuntimeKind::Podman => Self::Podman,
            RuntimeKind::Docker | RuntimeKind::Sandbox | RuntimeKind::Fake => Self::Docker,
        }
    }

    pub(super) fn kind(self) -> RuntimeKind {
        match self {
            Self::Docker => RuntimeKind::Docker,
            Self::Podman => RuntimeKind::Podman,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
        }
    }

    pub(super) fn default_socket(self) -> PathBuf {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let named = |name| {
            let host = variable(name).and_then(|host| host.into_string().ok());
            host.as_deref().and_then(|host| host.strip_prefix("unix://")).map(PathBuf::from)
        };
        match self {
            Self::Docker => named("DOCKER_HOST").unwrap_or_else(|| PathBuf::from("/var/run/docker.sock")),
            Self::Podman => {
                if let Some(socket) = named("CONTAINER_HOST") {
                    return socket;
                }
                let own = variable("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("podman/podman.sock"));
                own.filter(|socket| socket.exists()).unwrap_or_else(|| PathBuf::from("/run/podman/podman.sock"))
            }
        }
    }

    /// Names of variables that the engine sets in every container, and by which it says nothing of the host.
    pub(super) fn environment(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["PATH"],
            Self::Podman => &["PATH", "TERM", "container", "HOSTNAME", "HOME"],
        }
    }

    /// Folders over which the engine lays a writable tmpfs wherever the root is read-only. We lay one there ourselves that only
    /// root can write to, of whom there is none.
    pub(super) fn own_tmpfs(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &[],
            Self::Podman => &["/run", "/var/tmp"],
        }
    }

    /// The error for an engine that could not be reached at `socket`.
    pub(super) fn unavailable(self, socket: &Path, error: &EngineError) -> RuntimeError {
        let at = socket.display();
        let (reason, remedy) = match io_kind(error) {
            Some(std::io::ErrorKind::PermissionDenied) => {
                (format!("permission denied at its socket {at}"), self.remedy(true).to_owned())
            }
            Some(std::io::ErrorKind::ConnectionRefused) => {
                (format!("nobody listens at its socket {at}"), self.remedy(false).to_owned())
            }
            _ if matches!(error, EngineError::SocketNotFoundError(_)) => match std::fs::metadata(socket) {
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    (format!("permission denied on the way to its socket {at}"), self.remedy(true).to_owned())
                }
                _ if self == Self::Podman && programs::on_path("podman", &ProcessEnvironment).is_none() => (
                    "it is not installed".to_owned(),
                    "`apt install podman` (or your system's way), or take another runtime".to_owned(),
                ),
                _ => (format!("there is no socket {at}"), self.remedy(false).to_owned()),
            },
            _ => (format!("{at}: {}", with_causes(error)), self.remedy(false).to_owned()),
        };
        RuntimeError::Unavailable { runtime: self.kind(), reason, remedy }
    }

    /// What to do when the engine cannot be reached.
    pub(super) fn remedy(self, denied: bool) -> &'static str {
        let root = rustix::process::geteuid().is_root();
        match (self, denied) {
            (Self::Docker, true) => {
                "add yourself to the group docker (`sudo usermod -aG docker $USER`, then log in again)"
            }
            (Self::Docker, false) => "start it with `sudo systemctl start docker`, or take another runtime",
            (Self::Podman, _) if root => {
                "start it with `systemctl enable --now podman.socket` (without systemd: `podman system service --time=0`), \
                 or take another runtime"
            }
            (Self::Podman, true) => "use the socket of your own user: `systemctl --user enable --now podman.socket`",
            (Self::Podman, false) => {
                "start it with `systemctl --user enable --now podman.socket` (without systemd: `podman system service \
                 --time=0`), or take another runtime"
            }
        }
    }

    /// What to do when a limit would not be in force.
    pub(super) fn remedy_for_limits(self) -> &'static str {
        match self {
            Self::Docker => "see the warnings of `docker info`, or take the limit out of nanoclaw.toml",
            Self::Podman => "use cgroup v2 with delegation, or take the limit out of nanoclaw.toml",
        }
    }
}
