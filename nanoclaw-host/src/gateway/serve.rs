//! Serves one group's socket: accepts, and owns every connection it accepted.
//!
//! A fault of ours costs as little as it can: one that answers a request, that request; one of a connection, that
//! connection; one of the loop that accepts, half a second. Each is one line in the log, and no count is lost by it.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::UnixStream, sync::Semaphore, task::JoinSet};

use super::{egress::tunnel::Tunnel, forward, session::Session};
use crate::panics::{FAULT_PAUSE, caught};

/// The read buffer of a connection, which bounds what it holds of a body. A request's head that does not fit is answered with
/// 431, at twice this size at the latest: a last read may bring more than there was room for. So is a head with more
/// headers than [`MAX_HEADERS`].
const BUFFER_BYTES: usize = 64 * 1024;
/// See [`BUFFER_BYTES`]. Claude Code was seen to send 18.
const MAX_HEADERS: usize = 128;
/// The wait after a failed accept: out of open files, most likely, which only time or the operator mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves what `accept` accepts until it is dropped; then all its connections end.
pub(super) async fn serve(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<UnixStream>>,
    session: Arc<Session>,
) {
    // Here, and not where it may fail: the socket stays open and everybody who is connected stays so.
    let places = Arc::new(Semaphore::new(session.policy.limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let Err(panicked) = caught(accept_all(&mut accept, &session, &places, &mut connections)).await;
        tracing::error!(
            group = %session.group, error = %panicked,
            "the gateway stopped to accept connections, and does so again in a moment; those that are there go on"
        );
        tokio::time::sleep(FAULT_PAUSE).await;
    }
}

async fn accept_all(
    accept: &mut impl FnMut(&mut Context<'_>) -> Poll<io::Result<UnixStream>>,
    session: &Arc<Session>,
    places: &Arc<Semaphore>,
    connections: &mut JoinSet<()>,
) -> Infallible {
    loop {
        #[cfg(feature = "failpoints")]
        crate::failpoints::panic_if_asked("gateway.accept");
        let accepted = async {
            // The semaphore is never closed.
            let place = Arc::clone(places).acquire_owned().await.ok();
            (place, poll_fn(&mut *accept).await)
        };
        tokio::select! {
            (place, accepted) = accepted => match accepted {
                Ok(stream) => {
                    let connection = serve_connection(stream, Arc::clone(session));
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
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(group = %session.group, %error, "a connection of the gateway failed and is closed");
                }
            }
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

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        path::Path,
        sync::atomic::{AtomicBool, Ordering},
    };

    use nanoclaw_core::group::GroupFolder;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener,
        time::timeout,
    };

    use super::*;
    use crate::gateway::{Policy, SystemResolver, Upstream, session::Shared, tls, upstream::UpstreamClient};

    /// A bound that is reached only when something hangs.
    const HANGS: Duration = Duration::from_secs(30);

    fn session(policy: Policy) -> Arc<Session> {
        tls::install_provider();
        let upstream = UpstreamClient::new(Upstream::new("http://127.0.0.1:9", None)).unwrap();
        let shared = Shared::new(upstream, BTreeMap::new(), Arc::new(SystemResolver));
        Arc::new(Session::new(GroupFolder::new("family").unwrap(), policy, Arc::new(shared)))
    }

    /// Serves at `path`; the loop panics the next time that it looks for a connection while `fault` is set, which clears it.
    fn serve_with_faults(path: &Path, session: Arc<Session>, fault: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
        let listener = UnixListener::bind(path).unwrap();
        let accept = move |context: &mut Context<'_>| {
            assert!(!fault.swap(false, Ordering::SeqCst), "an injected fault");
            listener.poll_accept(context).map_ok(|(stream, _)| stream)
        };
        tokio::spawn(serve(accept, session))
    }

    async fn is_answered(stream: &mut UnixStream) {
        stream.write_all(b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let read = timeout(HANGS, stream.read_buf(&mut answer)).await.expect("no answer").unwrap();
            assert_ne!(read, 0, "it ended: {}", String::from_utf8_lossy(&answer));
        }
        assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&answer));
    }

    #[tokio::test]
    async fn a_loop_that_panics_accepts_again_and_nobody_who_is_there_notices() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let (session, fault) = (session(Policy::default()), Arc::new(AtomicBool::new(false)));
        let worker = serve_with_faults(&path, Arc::clone(&session), Arc::clone(&fault));
        let mut before = UnixStream::connect(&path).await.unwrap();
        is_answered(&mut before).await;
        for _ in 0..2 {
            fault.store(true, Ordering::SeqCst);
            // It wakes the loop, which panics instead of accepting it.
            let mut next = UnixStream::connect(&path).await.unwrap();
            is_answered(&mut next).await;
            assert!(!fault.load(Ordering::SeqCst), "there was no fault");
            is_answered(&mut before).await;
        }
        assert_eq!(session.state.counters.of(session.group.clone()).requests, 5, "every one is counted");
        assert!(!worker.is_finished());
        worker.abort();
        assert!(worker.await.unwrap_err().is_cancelled());
        assert_eq!(timeout(HANGS, before.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0, "it ended with its owner");
    }

    #[tokio::test]
    async fn places_of_connections_are_not_lost_by_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let mut policy = Policy::default();
        policy.limits.connections = 1;
        let fault = Arc::new(AtomicBool::new(true));
        let worker = serve_with_faults(&path, session(policy), Arc::clone(&fault));
        for _ in 0..3 {
            is_answered(&mut UnixStream::connect(&path).await.unwrap()).await;
            fault.store(true, Ordering::SeqCst);
        }
        worker.abort();
    }
}
