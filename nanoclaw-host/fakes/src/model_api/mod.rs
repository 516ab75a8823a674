//! A fake of the Anthropic Messages API on loopback: scripted answers, streamed as the real one streams them.
//!
//! It answers `POST /v1/messages` (streamed and whole), `POST /v1/messages/count_tokens`, `GET /v1/models` and `HEAD /`,
//! which is all that the Claude Code command line asks for, and the same script in the form of OpenAI's chat completions at
//! `POST /v1/chat/completions` (streamed). What it answers is a [`Script`]; how fast and how badly is set
//! on the running [`FakeModelApi`]; every request is kept and can be looked at.
//!
//! It makes no attempt to check requests beyond what a test needs: the key, and that the body is JSON with messages in it.

mod conversation;
mod events;
mod pace;
mod script;
mod server;

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

pub use self::{
    conversation::{Conversation, Said, said_in},
    pace::Steps,
    script::{Part, Script, Turn},
};
use self::{pace::Pace, server::Answerer};

/// The running fake. It stops listening when it is dropped.
pub struct FakeModelApi {
    /// Where it listens: a port of 127.0.0.1 (or what [`FakeModelApi::start_at`] was given).
    pub addr: SocketAddr,
    state: Arc<State>,
    worker: JoinHandle<()>,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// Its query, without the question mark; empty when there was none.
    pub query: String,
    /// Its headers, as they came.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

impl RecordedRequest {
    /// A header's value, or `None` when it is absent or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON; `Null` when it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as a conversation.
    #[must_use]
    pub fn conversation(&self) -> Conversation {
        Conversation::new(self.json())
    }

    /// Whether the model was asked for an answer: `POST /v1/messages`, or `/v1/chat/completions`.
    #[must_use]
    pub fn asks_model(&self) -> bool {
        self.method == Method::POST && ["/v1/messages", "/v1/chat/completions"].contains(&self.path.as_str())
    }
}

impl FakeModelApi {
    /// Listens on a free port of 127.0.0.1 and answers by `script`.
    ///
    /// # Errors
    /// When loopback cannot be listened on.
    pub async fn start(script: Script) -> std::io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// Listens at `addr` and answers by `script`.
    ///
    /// # Errors
    /// When `addr` cannot be listened on.
    pub async fn start_at(addr: SocketAddr, script: Script) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State::new(script));
        let worker = tokio::spawn(server::serve(listener, Answerer::new(Arc::clone(&state))));
        Ok(Self { addr, state, worker })
    }

    /// What `ANTHROPIC_BASE_URL`, or the gateway's upstream, is set to: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From now on a request needs this key, as `x-api-key` or as bearer token; others get 401 `authentication_error`.
    pub fn expect_key(&self, key: &str) {
        self.state.settings().key = Some(key.to_owned());
    }

    /// From now on answers come by this script.
    pub fn set_script(&self, script: Script) {
        self.state.settings().script = script;
    }

    /// From now on each event of a stream waits this long before it is sent.
    pub fn delay_events(&self, delay: Duration) {
        self.state.settings().pace = Pace::Delayed(delay);
    }

    /// From now on no event of a stream is sent until the returned handle releases it. Streams share the handle; when it
    /// is dropped, everything flows again.
    #[must_use]
    pub fn step_events(&self) -> Steps {
        let (steps, pace) = Steps::new();
        self.state.settings().pace = pace;
        steps
    }

    /// From now on a stream's connection is dropped after this many events; `None` ends the fault. `message_start` is the
    /// first event.
    pub fn cut_streams_after(&self, events: Option<NonZeroUsize>) {
        self.state.settings().cut_after = events;
    }

    /// Every request until now, oldest first, refused ones included.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        lock(&self.state.requests).clone()
    }

    /// The requests that asked the model for an answer.
    #[must_use]
    pub fn model_requests(&self) -> Vec<RecordedRequest> {
        self.requests().into_iter().filter(RecordedRequest::asks_model).collect()
    }

    /// Waits until there are at least `count` requests and returns them all.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<RecordedRequest> {
        let mut seen = self.state.seen.subscribe();
        // The sender lives in `self.state`, so the wait cannot fail.
        let _ = seen.wait_for(|seen| *seen >= count).await;
        self.requests()
    }
}

impl Drop for FakeModelApi {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

/// What the server's workers and the handle share.
struct State {
    settings: Mutex<Settings>,
    requests: Mutex<Vec<RecordedRequest>>,
    seen: watch::Sender<usize>,
}

/// How to answer from now on.
struct Settings {
    script: Script,
    key: Option<String>,
    pace: Pace,
    cut_after: Option<NonZeroUsize>,
}

impl State {
    fn new(script: Script) -> Self {
        let settings = Settings { script, key: None, pace: Pace::AtOnce, cut_after: None };
        Self { settings: Mutex::new(settings), requests: Mutex::default(), seen: watch::Sender::new(0) }
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    fn record(&self, request: RecordedRequest) {
        let count = {
            let mut requests = lock(&self.requests);
            requests.push(request);
            requests.len()
        };
        self.seen.send_modify(|seen| *seen = count.max(*seen));
    }
}

/// A script may panic in a test while settings are locked by nobody; a poisoned lock still holds good values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
