//! The host's egress gateway: one unix socket a group; behind it the model API, further upstreams and the hosts that are
//! allowed. Credentials are added on the way out.
//!
//! A container has no network and no credential. What it may reach, it reaches through a socket in a mounted folder; the
//! host's end of that socket is here. Which group asks is known by *which socket* it asks on, never by what it says. What
//! it may ask for is the table in `routes.rs` and the group's [`Policy`]; what is taken off its request and put in place of
//! it is in `headers.rs`; what it may reach beyond upstreams, and by which addresses, is in `egress/`.
//!
//! Bodies stream both ways and are never held or logged; of the model API's answers the number of tokens is read as it
//! passes. One `tracing` event tells of each request that was not one too many.

mod check;
mod counts;
mod egress;
mod folder;
mod forward;
mod headers;
mod http_client;
mod limits;
mod policy;
mod record;
mod refusal;
mod request_body;
mod routes;
mod serve;
mod session;
pub mod tls;
mod upstream;
mod upstreams;
mod usage;
mod walls;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    task::Context,
};

use nanoclaw_core::{group::GroupFolder, runtime::RunAs, secret::Secret};
use tokio::task::JoinHandle;

pub use self::{
    check::Checked,
    counts::GroupCounts,
    egress::{AllowList, Endpoint, PrivateEndpoints, Resolve, SystemResolver},
    limits::Limits,
    policy::Policy,
    upstream::{Credential, PlainHttp, Upstream},
    upstreams::{FurtherUpstream, Injection, UpstreamName},
};
use self::{
    session::{Session, Shared},
    upstream::UpstreamClient,
    upstreams::FurtherClient,
};
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

/// Opens sockets for groups and carries their requests on. Cheap to clone; clones share connections and counts.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

impl Gateway {
    /// A gateway to `upstream` and whatever hosts a group's policy allows. Connects to nothing and reads no certificates yet.
    ///
    /// # Errors
    /// [`GatewayError::BadUpstream`], [`GatewayError::BadCredential`].
    pub fn new(upstream: Upstream) -> Result<Self, GatewayError> {
        Self::with(upstream, Vec::new(), &PrivateEndpoints::default(), Arc::new(SystemResolver))
    }

    /// Replaces the credential for all requests that come from now on, whichever socket they come on.
    ///
    /// # Errors
    /// [`GatewayError::BadCredential`]; the one before stays.
    pub fn set_credential(&self, credential: Option<&Credential>) -> Result<(), GatewayError> {
        self.shared.upstream.set_credential(credential)
    }

    /// Replaces the secret of the further upstream `name` for all requests that come from now on; `None`: there is none any
    /// more. An upstream that nobody declared is passed over.
    ///
    /// # Errors
    /// [`GatewayError::BadCredential`]; the one before stays.
    pub fn set_upstream_secret(&self, name: &str, secret: Option<Secret>) -> Result<(), GatewayError> {
        self.shared.further.get(name).map_or(Ok(()), |further| further.set_secret(secret))
    }

    /// The same with further upstreams, of which those may have addresses that are not public whose host and port are among
    /// `private`, and with a resolver.
    ///
    /// # Errors
    /// [`GatewayError::BadUpstream`], [`GatewayError::BadCredential`].
    pub fn with(
        upstream: Upstream,
        further: Vec<FurtherUpstream>,
        private: &PrivateEndpoints,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, GatewayError> {
        let mut clients = BTreeMap::new();
        for further in further {
            let name = further.name.to_string();
            clients.insert(name, FurtherClient::new(further, Arc::clone(&resolver), private.clone())?);
        }
        Ok(Self { shared: Arc::new(Shared::new(UpstreamClient::new(upstream)?, clients, resolver)) })
    }

    /// Opens `group`'s socket, [`SOCKET_NAME`] in the folder `dir`, and serves it by `policy` until the result is dropped.
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
    /// as this is called while the system has no certificates and the policy needs them.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(
        &self,
        dir: &Path,
        group: &GroupFolder,
        policy: Policy,
        run_user: RunAs,
    ) -> Result<GatewaySocket, GatewayError> {
        if policy.model_api {
            self.shared.upstream.make_ready()?;
        }
        for name in &policy.upstreams {
            if let Some(further) = self.shared.further.get(name) {
                further.make_ready()?;
            }
        }
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
        let session = Arc::new(Session::new(group.clone(), policy, Arc::clone(&self.shared)));
        let accept = move |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
        let worker = tokio::spawn(serve::serve(accept, session));
        Ok(GatewaySocket { path: file.path().to_owned(), file: Some(file), worker: Some(worker) })
    }

    /// What each group used since this gateway was made, by group.
    #[must_use]
    pub fn counts(&self) -> Vec<GroupCounts> {
        self.shared.counts()
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

    /// Whether the socket is served: a worker of it lives.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| !worker.is_finished())
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
