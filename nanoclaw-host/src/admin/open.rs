//! Finds who answers for a home: the service that runs, or this process itself under the home's lock.

use std::{future::Future, io::ErrorKind, sync::Arc, time::Duration};

use super::{client::Client, handler::AdminHandler};
use crate::home::{Home, HomeLock, LockError};

/// How long a process that has the lock and no socket is waited for: it is starting, or ending.
const PATIENCE: Duration = Duration::from_secs(3);

/// Nobody could be found to answer.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the home and no socket.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The service's socket is there and cannot be used.
    #[error("the running service cannot be reached at {path}")]
    Unreachable {
        /// The socket.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] nanoclaw_core::store::StoreError),
}

/// Who answers for a home.
pub struct OpenHome {
    handler: Arc<dyn AdminHandler>,
    /// Held while this process works on the home itself.
    lock: Option<HomeLock>,
}

impl OpenHome {
    /// Whether a service runs and answers.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.lock.is_none()
    }
}

impl std::ops::Deref for OpenHome {
    type Target = dyn AdminHandler;
    fn deref(&self) -> &Self::Target {
        self.handler.as_ref()
    }
}

/// Connects to the service of `home`, or locks the home and has `open` make a handler of it.
///
/// # Errors
/// [`OpenError`].
pub async fn connect_or_open<F, E>(home: &Home, open: impl FnOnce() -> F) -> Result<OpenHome, E>
where
    F: Future<Output = Result<Arc<dyn AdminHandler>, E>>,
    E: From<OpenError>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match Client::connect(home).await {
            Ok(client) => return Ok(OpenHome { handler: Arc::new(client), lock: None }),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            Err(source) => return Err(OpenError::Unreachable { path: home.admin_socket(), source }.into()),
        }
        match HomeLock::acquire(home) {
            Ok(lock) => return Ok(OpenHome { handler: open().await?, lock: Some(lock) }),
            Err(LockError::Held { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            Err(error) => return Err(OpenError::Locked(error).into()),
        }
    }
}
