//! The one event that tells of a request, when it is over, however it ended, and what is counted of it. No query, no header,
//! no body.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Sleep;

use super::{
    counts::Counters,
    forward::{Body, BoxError},
    refusal::Refusal,
    session::Session,
    usage,
};

/// More of a path than this is not logged: it is the group's text.
const MAX_LOGGED_PATH: usize = 200;

/// What is known of a request. The event goes out when it is dropped.
pub(super) struct Record {
    session: Arc<Session>,
    method: Method,
    path: String,
    /// Where it went or was to go, and by which rule; checked before, so it is fit for a log.
    destination: Option<(String, u16)>,
    rule: Option<String>,
    verdict: &'static str,
    started: Instant,
    status: Option<StatusCode>,
    sent: u64,
    bytes: u64,
    usage: Option<usage::Reader>,
    complete: bool,
    told: Told,
}

/// Whether the event goes out.
enum Told {
    Yes,
    /// It stands for so many others as well.
    For(u64),
    No,
}

impl Record {
    pub(super) fn new(session: Arc<Session>, method: &Method, uri: &Uri) -> Self {
        // A CONNECT has no path; what it asks for is a host.
        let path = if uri.path().is_empty() { uri.to_string() } else { uri.path().to_owned() };
        Self {
            session,
            method: method.clone(),
            path: path.chars().take(MAX_LOGGED_PATH).collect(),
            destination: None,
            rule: None,
            verdict: "answered",
            started: Instant::now(),
            status: None,
            sent: 0,
            bytes: 0,
            usage: None,
            complete: false,
            told: Told::Yes,
        }
    }

    /// It is not worth a line.
    pub(super) fn is_not_told(&mut self) {
        self.told = Told::No;
    }

    /// It is one of too many; `others` of them are told of by this one, or this one is told of by another.
    pub(super) fn is_one_of_many(&mut self, others: Option<u64>) {
        self.told = others.map_or(Told::No, Told::For);
    }

    /// It asks for this host and port.
    pub(super) fn asks_for(&mut self, host: impl ToString, port: u16) {
        self.destination = Some((host.to_string(), port));
    }

    /// It may go there, because of `rule`.
    pub(super) fn allowed_by(&mut self, rule: impl ToString) {
        self.rule = Some(rule.to_string());
        self.verdict = "allowed";
    }

    /// It is refused.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.verdict = refusal.word();
        Counters::add(&self.session.state.counters.refused, 1);
    }

    /// It was allowed, and what it then said is refused: `word` says why.
    pub(super) fn refused_later(&mut self, word: &'static str) {
        self.verdict = word;
        Counters::add(&self.session.state.counters.refused, 1);
    }

    /// The answer's tokens are to be counted.
    pub(super) fn counts_tokens(&mut self, form: usage::Form) {
        self.usage = Some(usage::Reader::new(form));
    }

    /// A tunnel came about.
    pub(super) fn tunnel_opened(&mut self) {
        self.status = Some(StatusCode::OK);
    }

    /// A tunnel is over.
    pub(super) fn tunnel_ended(&mut self, sent: u64, received: u64, complete: bool) {
        (self.sent, self.bytes, self.complete) = (sent, received, complete);
    }

    /// The request is answered with `status`; the event waits for the end of `body`.
    pub(super) fn answered(mut self, status: StatusCode, body: Body) -> RecordedBody {
        self.status = Some(status);
        self.complete = is_over(&body);
        let limits = &self.session.policy.limits;
        let over = self.started + limits.request_time;
        let stands_still = Box::pin(tokio::time::sleep(limits.idle.min(limits.request_time)));
        RecordedBody { body, over, stands_still, record: Some(self) }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.verdict = "failed";
        }
        let usage = self.usage.as_ref().map(|reader| *reader.usage()).unwrap_or_default();
        self.session.state.counters.used(&usage);
        let others = match self.told {
            Told::Yes => None,
            Told::For(others) => Some(others),
            Told::No => return,
        };
        let tokens = |count: u64| self.usage.is_some().then_some(count);
        tracing::info!(
            target: "nanoclaw::gateway",
            group = %self.session.group,
            run = self.session.policy.run.map(|run| run.0),
            method = %self.method,
            path = ?self.path,
            host = self.destination.as_ref().map(|(host, _)| host.as_str()),
            port = self.destination.as_ref().map(|(_, port)| port),
            rule = self.rule.as_deref(),
            verdict = self.verdict,
            status = self.status.map(|status| status.as_u16()),
            sent = self.sent,
            bytes = self.bytes,
            input_tokens = tokens(usage.input_tokens),
            output_tokens = tokens(usage.output_tokens),
            ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            complete = self.complete,
            others,
            "gateway request",
        );
    }
}

/// An answer's body; counts what passes and keeps nothing. It ends when it stands still or takes too long.
pub(super) struct RecordedBody {
    body: Body,
    over: Instant,
    stands_still: Pin<Box<Sleep>>,
    /// `None`: the record is kept elsewhere.
    record: Option<Record>,
}

impl RecordedBody {
    /// A body whose record is kept elsewhere.
    pub(super) fn unrecorded(body: Body) -> Self {
        // It is over at once: nothing will wait for it.
        Self {
            body,
            over: Instant::now(),
            stands_still: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())),
            record: None,
        }
    }
}

/// Whether all of it has passed. A client that could decompress, and does not, has a body that knows what is left and not that it
/// is at its end.
fn is_over(body: &Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

impl http_body::Body for RecordedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(context);
        let Some(record) = &mut this.record else { return polled };
        let limits = &record.session.policy.limits;
        let Poll::Ready(frame) = polled else {
            return match this.stands_still.as_mut().poll(context) {
                Poll::Ready(()) => {
                    record.verdict = "too-slow";
                    Poll::Ready(Some(Err("the answer stood still for too long".into())))
                }
                Poll::Pending => Poll::Pending,
            };
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    record.bytes += data.len() as u64;
                    Counters::add(&record.session.state.counters.received, data.len() as u64);
                    if let Some(usage) = &mut record.usage {
                        usage.feed(data);
                    }
                }
                // The server does not ask again when the length was known and has passed.
                record.complete = is_over(&this.body);
                let now = Instant::now();
                if now >= this.over && !record.complete {
                    record.verdict = "too-slow";
                    return Poll::Ready(Some(Err("the request took too long".into())));
                }
                this.stands_still.as_mut().reset(this.over.min(now + limits.idle).into());
            }
            Some(Err(_)) => {}
            None => record.complete = true,
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
