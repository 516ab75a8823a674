//! The service's side of the control socket.

use std::{sync::Arc, time::Duration};

use tokio::{net::UnixStream, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::{
    handler::AdminHandler,
    protocol::{MAX_REQUEST_BYTES, ResponseLine, answer, parse},
    types::{AdminError, ErrorKind},
};
use crate::{
    json_lines::{Line, LineReader, to_line, write_line},
    panics::{FAULT_PAUSE, caught},
    unix_socket::Listener,
};

/// Clients at once; a further one is told so and let go.
const MAX_CLIENTS: usize = 64;
/// How long a client may read nothing of a response.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How long requests that are being answered may go on at shutdown.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Answers requests until `shutdown`, then lets those that are being answered finish.
///
/// Bad input gets an answer that says so; one client's trouble is nobody else's.
pub async fn serve(listener: Listener, handler: Arc<dyn AdminHandler>, shutdown: CancellationToken) {
    // Here, and not where it may fail: the socket stays open, and requests that are being answered go on.
    let mut clients = JoinSet::new();
    while let Err(panicked) = caught(accept_all(&listener, &handler, &shutdown, &mut clients)).await {
        error!(error = %panicked, "the control socket stopped to accept clients, and does so again in a moment");
        tokio::time::sleep(FAULT_PAUSE).await;
    }
    // No new ones: the socket goes first.
    drop(listener);
    let drained = tokio::time::timeout(DRAIN_LIMIT, async { while clients.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        warn!(left = clients.len(), "requests on the control socket were cut off by the shutdown");
        clients.shutdown().await;
    }
}

async fn accept_all(
    listener: &Listener,
    handler: &Arc<dyn AdminHandler>,
    shutdown: &CancellationToken,
    clients: &mut JoinSet<std::io::Result<()>>,
) {
    loop {
        #[cfg(feature = "failpoints")]
        crate::failpoints::panic_if_asked("control.accept");
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            Some(ended) = clients.join_next() => log_end(ended),
            accepted = listener.accept() => match accepted {
                Ok(stream) if clients.len() >= MAX_CLIENTS => {
                    clients.spawn(refuse(stream));
                }
                Ok(stream) => {
                    clients.spawn(converse(stream, handler.clone(), shutdown.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others may give some back.
                    warn!(%error, "the control socket cannot accept a client");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn converse(
    stream: UnixStream,
    handler: Arc<dyn AdminHandler>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = LineReader::new(reader, MAX_REQUEST_BYTES);
    // What came while a request waited.
    let mut next = None;
    loop {
        let line = match next.take() {
            Some(line) => line,
            None => tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                line = reader.next() => line?,
            },
        };
        let response = match line {
            None | Some(Line::Torn) => return Ok(()),
            Some(Line::Text(line)) => {
                let (id, request) = parse(&line);
                let outcome = match request {
                    Ok(request) if request.waits() => tokio::select! {
                        biased;
                        outcome = answer(request, handler.as_ref()) => outcome,
                        () = shutdown.cancelled() => Err(AdminError::new(ErrorKind::Failed, "the service is ending")),
                        line = reader.next() => {
                            next = Some(line?);
                            Err(AdminError::new(ErrorKind::Failed, "nobody waits for it any more"))
                        }
                    },
                    Ok(request) => answer(request, handler.as_ref()).await,
                    Err(error) => Err(error),
                };
                ResponseLine::to(id, outcome)
            }
            Some(Line::Refused(reason)) => bad_request(reason),
            Some(Line::Endless) => bad_request("the request does not end; the connection is closed".to_owned()),
        };
        write_line(&mut writer, &to_line(&response), WRITE_LIMIT).await?;
    }
}

async fn refuse(mut stream: UnixStream) -> std::io::Result<()> {
    let error = AdminError::new(ErrorKind::Failed, format!("{MAX_CLIENTS} clients are connected already"));
    let refusal = refusal(error.with_help("try again in a moment"));
    write_line(&mut stream, &to_line(&refusal), WRITE_LIMIT).await
}

fn bad_request(reason: String) -> ResponseLine {
    refusal(AdminError::new(ErrorKind::BadRequest, reason))
}

fn refusal(error: AdminError) -> ResponseLine {
    ResponseLine::to(None, Err(error))
}

fn log_end(ended: Result<std::io::Result<()>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a client of the control socket went away"),
        Err(error) => error!(%error, "answering a client of the control socket failed"),
    }
}
