//! The host's egress gateway: one unix socket a group, the model API behind it, the credential added on the way out.
//!
//! A container has no network and no credential. What it may reach, it reaches through a socket in a mounted folder; the
//! host's end of that socket is here. Which group asks is known by *which socket* it asks on, never by what it says. What
//! it may ask for is the table in `routes.rs`; what is taken off its request and put in place of it is in `headers.rs`.
//!
//! Bodies stream both ways and are never held, looked at, or logged. One `tracing` event tells of each request.

mod folder;
mod forward;
mod headers;
mod record;
mod refusal;
mod routes;
mod serve;
pub mod tls;
mod upstream;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use nanoclaw_core::{group::GroupFolder, runtime::RunAs};
use tokio::task::JoinHandle;

use self::upstream::UpstreamClient;
pub use self::upstream::{Credential, PlainHttp, Upstream};
use crate::unix_socket::{Audience, Listener, SocketError, SocketFile};

/// The name of a group's socket in its folder.
///
/// Its path may be longer than what a socket's address takes; [`connect`](crate::unix_socket::connect) finds it all the
/// same. Inside a container the path is always short.
pub const SOCKET_NAME: &str = "gateway.sock";

/// Why the gateway cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The model API's address cannot be used.
    #[error("the model API's address {url:?} cannot be used: {reason}")]
    BadUpstream {
        /// The address as configured.
        url: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// The model API's credential cannot be used. Says nothing of its text.
    #[error("the model API's credential cannot be used: it {reason}")]
    BadCredential {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No TLS client could be made.
    #[error(
        "the gateway cannot speak TLS; install the system's certificates (Debian: ca-certificates), or name a file of them \
         in SSL_CERT_FILE"
    )]
    Tls(#[source] reqwest::Error),
    /// The folder for a group's socket could not be made.
    #[error("failed to make the gateway's folder {path:?}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A group's socket could not be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The folder for the socket belongs to another user, who could put anything in its place.
    #[error("{path:?} belongs to user {owner}, not to the host's; remove it, the host makes its own")]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
        /// The user id it belongs to.
        owner: u32,
    },
}

/// Opens sockets for groups and carries their requests to the model API. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Gateway {
    upstream: Arc<UpstreamClient>,
}

impl Gateway {
    /// A gateway to `upstream`. Connects to nothing and reads no certificates yet.
    ///
    /// # Errors
    /// [`GatewayError::BadUpstream`], [`GatewayError::BadCredential`].
    pub fn new(upstream: Upstream) -> Result<Self, GatewayError> {
        Ok(Self { upstream: Arc::new(UpstreamClient::new(upstream)?) })
    }

    /// Opens `group`'s socket, [`SOCKET_NAME`] in the folder `dir`, and serves it until the result is dropped.
    ///
    /// Mount the *folder*: a socket that is opened there anew, after a restart of the host, is then seen inside. `dir` is
    /// made if it is missing, at any depth and length, and belongs to the host (mode 0711): nobody else can put another
    /// file in the socket's place. A socket that is there is replaced in one step; if it is served still, its connections
    /// go on, and new ones come here.
    ///
    /// `run_user` is the container's user as the host's kernel sees it. The socket is that user's alone (mode 0600); where
    /// the host has not the right to give it away, it is open to all who can reach the folder (0666), and a warning says so.
    ///
    /// # Errors
    /// [`GatewayError::Folder`], [`GatewayError::ForeignFolder`], [`GatewayError::Socket`]; [`GatewayError::Tls`], as often
    /// as this is called while the system has no certificates.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(&self, dir: &Path, group: &GroupFolder, run_user: RunAs) -> Result<GatewaySocket, GatewayError> {
        self.upstream.make_ready()?;
        let listener = Listener::replace(folder::open(dir)?, &dir.join(SOCKET_NAME), run_user)?;
        if listener.audience() == Audience::Everybody {
            tracing::warn!(
                %group,
                path = ?listener.path(),
                "every local user who can reach the folder can use the group's gateway: the host may not give files to user {}",
                run_user.uid,
            );
        }
        let (file, listener) = listener.into_parts();
        let worker = tokio::spawn(serve::serve(listener, group.clone(), Arc::clone(&self.upstream)));
        Ok(GatewaySocket { path: file.path().to_owned(), file: Some(file), worker: Some(worker) })
    }
}

/// A group's open socket. Dropping it removes the socket and ends every connection on it.
#[must_use = "the socket closes when this is dropped"]
pub struct GatewaySocket {
    path: PathBuf,
    /// `None` once [`close`](Self::close) removed it.
    file: Option<SocketFile>,
    /// `None` once [`close`](Self::close) has it.
    worker: Option<JoinHandle<()>>,
}

impl GatewaySocket {
    /// The socket's path on the host. It may be longer than what `connect` takes: see [`SOCKET_NAME`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does what dropping does, and returns when it is done.
    pub async fn close(mut self) {
        self.file = None;
        if let Some(worker) = self.worker.take() {
            worker.abort();
            // It can only say that it was aborted.
            let _ = worker.await;
        }
    }
}

impl Drop for GatewaySocket {
    fn drop(&mut self) {
        // First, so that the file is told from a successor's while the listener still holds it.
        self.file = None;
        if let Some(worker) = &self.worker {
            worker.abort();
        }
    }
}
