//! Serves one group's socket: accepts, and owns every connection it accepted.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
};

use super::{egress::tunnel::Tunnel, forward, session::Session};

/// The read buffer of a connection, which bounds what it holds of a body. A request's head that does not fit is answered with
/// 431, at twice this size at the latest: a last read may bring more than there was room for. So is a head with more
/// headers than [`MAX_HEADERS`].
const BUFFER_BYTES: usize = 64 * 1024;
/// See [`BUFFER_BYTES`]. Claude Code was seen to send 18.
const MAX_HEADERS: usize = 128;
/// The wait after a failed accept: out of open files, most likely, which only time or the operator mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves until it is dropped; then all its connections end.
pub(super) async fn serve(listener: UnixListener, session: Arc<Session>) {
    let places = Arc::new(Semaphore::new(session.policy.limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        tokio::select! {
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let connection = serve_connection(stream, Arc::clone(&session));
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(group = %session.group, %error, "the gateway cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: UnixStream, session: Arc<Session>) {
    // The last request of a connection may make a tunnel of it, which then goes on here, with the connection's owner.
    let tunnel: Arc<Mutex<Option<Tunnel>>> = Arc::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (session, tunnel) = (Arc::clone(&session), Arc::clone(&tunnel));
        async move { Ok::<_, Infallible>(forward::answer(session, request, &tunnel).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(session.policy.limits.head_time)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        // A client that goes away is no event; what was being answered then has its own.
        tracing::debug!(group = %session.group, %error, "a gateway connection ended early");
        return;
    }
    let tunnel = tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(tunnel) = tunnel {
        tunnel.run().await;
    }
}
