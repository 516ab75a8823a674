//! The one event that tells of a request, when it is over, however it ended. No query, no header, no body.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use http_body::{Body as _, Frame, SizeHint};
use nanoclaw_core::group::GroupFolder;

use super::forward::{Body, BoxError};

/// More of a path than this is not logged: it is the group's text.
const MAX_LOGGED_PATH: usize = 200;

/// What is known of a request. The event goes out when it is dropped.
pub(super) struct Record {
    group: GroupFolder,
    method: Method,
    path: String,
    started: Instant,
    status: Option<StatusCode>,
    bytes: u64,
    complete: bool,
}

impl Record {
    pub(super) fn new(group: GroupFolder, method: &Method, uri: &Uri) -> Self {
        // A CONNECT has no path; what it asks for is a host.
        let path = if uri.path().is_empty() { uri.to_string() } else { uri.path().to_owned() };
        Self {
            group,
            method: method.clone(),
            path: path.chars().take(MAX_LOGGED_PATH).collect(),
            started: Instant::now(),
            status: None,
            bytes: 0,
            complete: false,
        }
    }

    /// The request is answered with `status`; the event waits for the end of `body`.
    pub(super) fn answered(mut self, status: StatusCode, body: Body) -> RecordedBody {
        self.status = Some(status);
        self.complete = body.is_end_stream();
        RecordedBody { body, record: self }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        tracing::info!(
            target: "nanoclaw::gateway",
            group = %self.group,
            method = %self.method,
            path = ?self.path,
            status = self.status.map(|status| status.as_u16()),
            bytes = self.bytes,
            ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            complete = self.complete,
            "gateway request",
        );
    }
}

/// An answer's body; counts what passes and keeps nothing.
pub(super) struct RecordedBody {
    body: Body,
    record: Record,
}

impl http_body::Body for RecordedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.record.bytes += bytes;
                // The server does not ask again when the length was known and has passed.
                self.record.complete = self.body.is_end_stream();
            }
            Some(Err(_)) => {}
            None => self.record.complete = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
