//! Serves one group's socket: accepts, and owns every connection it accepted.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nanoclaw_core::group::GroupFolder;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
};

use super::{forward, upstream::UpstreamClient};

/// Connections of one group at a time; further ones wait to be accepted. Claude Code was seen to keep one for all its turns.
/// The host's open files are shared by all groups, so one of them must not be able to use them up.
const MAX_CONNECTIONS: usize = 64;
/// The read buffer of a connection, which bounds what it holds of a body. A request's head that does not fit is answered with
/// 431, at twice this size at the latest: a last read may bring more than there was room for. So is a head with more
/// headers than [`MAX_HEADERS`].
const BUFFER_BYTES: usize = 64 * 1024;
/// See [`BUFFER_BYTES`]. Claude Code was seen to send 18.
const MAX_HEADERS: usize = 128;
/// A request's head must be complete this long after the connection could take it, which also ends connections that are
/// kept alive for nothing.
const HEAD_TIME: Duration = Duration::from_secs(120);
/// The wait after a failed accept: out of open files, most likely, which only time or the operator mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves until it is dropped; then all its connections end.
pub(super) async fn serve(listener: UnixListener, group: GroupFolder, upstream: Arc<UpstreamClient>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
                    let connection = serve_connection(stream, group.clone(), Arc::clone(&upstream));
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%group, %error, "the gateway cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: UnixStream, group: GroupFolder, upstream: Arc<UpstreamClient>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (group, upstream) = (group.clone(), Arc::clone(&upstream));
        async move { Ok::<_, Infallible>(forward::answer(&upstream, group, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // A client that goes away is no event; what was being answered then has its own.
        tracing::debug!(%group, %error, "a gateway connection ended early");
    }
}
