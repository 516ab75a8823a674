//! A request's body on its way out: counted, bounded in size, and not allowed to stand still.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{
    counts::Counters,
    forward::BoxError,
    refusal::Refusal,
    session::{GroupState, Session},
};

pub(super) struct RequestBody {
    inner: Incoming,
    state: Arc<GroupState>,
    most: u64,
    seen: u64,
    idle: Duration,
    stands_still: Pin<Box<Sleep>>,
    trouble: Trouble,
}

/// Why a body was broken off, for whoever sends it and only hears that it was.
#[derive(Debug, Clone, Default)]
pub(super) struct Trouble(Arc<OnceLock<Refusal>>);

impl Trouble {
    /// What was wrong with the body, or else `otherwise`.
    pub(super) fn or(&self, otherwise: impl FnOnce() -> Refusal) -> Refusal {
        self.0.get().cloned().unwrap_or_else(otherwise)
    }
}

impl RequestBody {
    /// Takes the body of a request, and what will say why it was broken off, if it is.
    ///
    /// # Errors
    /// When the request says itself that its body is too large; it is not taken then.
    ///
    /// # Panics
    /// When it was taken before.
    pub(super) fn take(body: &mut Option<Incoming>, session: &Session) -> Result<(Self, Trouble), Refusal> {
        let limits = &session.policy.limits;
        let most = limits.request_bytes;
        if body.as_ref().is_some_and(|body| body.size_hint().lower() > most) {
            return Err(Refusal::TooLarge { most });
        }
        let inner = body.take().expect("a request goes to one place, which takes its body once");
        let trouble = Trouble::default();
        let body = Self {
            inner,
            state: Arc::clone(&session.state),
            most,
            seen: 0,
            idle: limits.idle,
            stands_still: Box::pin(tokio::time::sleep(limits.idle)),
            trouble: trouble.clone(),
        };
        Ok((body, trouble))
    }

    fn fail(&self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let error = refusal.to_string();
        let _ = self.trouble.0.set(refusal);
        Poll::Ready(Some(Err(error.into())))
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.seen += bytes;
                Counters::add(&self.state.counters.sent, bytes);
                if self.seen > self.most {
                    return self.fail(Refusal::TooLarge { most: self.most });
                }
                let next = Instant::now() + self.idle;
                self.stands_still.as_mut().reset(next);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match self.stands_still.as_mut().poll(context) {
                Poll::Ready(()) => self.fail(Refusal::TooSlow),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
