//! How a call goes wrong, for the fakes that are called by HTTP.

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;

/// How a call goes wrong, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 429, with so many seconds to wait.
    Limited {
        /// `Retry-After`.
        seconds: u64,
    },
    /// The service says no, by this word or number of its own.
    Error(String),
    /// A status of HTTP, without anything to read.
    Status(u16),
    /// The connection is dropped, and nothing was done.
    DropBefore,
    /// What was asked is done, and the connection is dropped before anything is said.
    DropAfter,
    /// What was asked is done, and half the answer is said before the connection is dropped.
    Half,
    /// What was asked is done, and the answer comes only after the fake's `release`.
    Slow,
}

/// A beginning of an answer, after which the connection is dropped.
pub(crate) fn cut(beginning: Bytes) -> Response {
    let body = stream::unfold(Some(beginning), |beginning| async move {
        match beginning {
            Some(beginning) if !beginning.is_empty() => Some((Ok(beginning), Some(Bytes::new()))),
            // An error in a body makes the server drop the connection.
            Some(_) => {
                tokio::task::yield_now().await;
                Some((Err(std::io::Error::other("cut by the test")), None))
            }
            None => None,
        }
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response()
}

/// Half of an answer, after which the connection is dropped.
pub(crate) fn half(answer: &str) -> Response {
    cut(Bytes::copy_from_slice(&answer.as_bytes()[..answer.len() / 2]))
}
