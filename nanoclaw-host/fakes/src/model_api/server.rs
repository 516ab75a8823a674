//! The HTTP side: routes, the key, recording, and the faults of a stream.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State as FromState},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    RecordedRequest, State,
    conversation::Conversation,
    events::{Answer, error_body, error_event, tokens},
    pace::Pace,
    script::Turn,
};

/// The real API's own bound on a request to the Messages API.
const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;

/// What a request's worker needs.
#[derive(Clone)]
pub(super) struct Answerer {
    state: Arc<State>,
    answers: Arc<AtomicUsize>,
}

impl Answerer {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self { state, answers: Arc::default() }
    }

    async fn answer(self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let body = match axum::body::to_bytes(body, MAX_REQUEST_BYTES).await {
            Ok(body) => body,
            Err(_) => return error(413, "request_too_large", "Request exceeds the maximum size"),
        };
        let request = RecordedRequest {
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            method: head.method,
            headers: head.headers,
            body,
        };
        self.state.record(request.clone());
        if request.method == Method::HEAD && request.path == "/" {
            return StatusCode::OK.into_response();
        }
        if !self.has_key(&request) {
            return error(401, "authentication_error", "invalid x-api-key");
        }
        match (&request.method, request.path.as_str()) {
            (&Method::POST, "/v1/messages") => self.messages(&request, Form::Messages),
            (&Method::POST, "/v1/chat/completions") => self.messages(&request, Form::ChatCompletions),
            (&Method::POST, "/v1/messages/count_tokens") => {
                Json(json!({"input_tokens": tokens(request.body.len())})).into_response()
            }
            (&Method::GET, "/v1/models") => Json(json!({"data": [], "has_more": false})).into_response(),
            _ => error(404, "not_found_error", "Not found"),
        }
    }

    fn has_key(&self, request: &RecordedRequest) -> bool {
        let settings = self.state.settings();
        let Some(key) = settings.key.as_deref() else { return true };
        let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        request.header("x-api-key") == Some(key) || bearer == Some(key)
    }

    fn messages(&self, request: &RecordedRequest, form: Form) -> Response {
        let conversation = match form {
            Form::Messages => Conversation::new(request.json()),
            Form::ChatCompletions => Conversation::of_chat_completions(request.json()),
        };
        if !conversation.body()["messages"].is_array() {
            return error(400, "invalid_request_error", "messages: Field required");
        }
        let (script, pace, mut cut_after) = {
            let settings = self.state.settings();
            (settings.script.clone(), settings.pace.clone(), settings.cut_after)
        };
        let turn = script.answer(&conversation);
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        match (Answer::new(&turn, number, conversation.model(), request.body.len()), turn) {
            (Some(answer), turn) if conversation.body()["stream"] == true => {
                let mut events = match form {
                    Form::Messages => answer.events(),
                    Form::ChatCompletions => answer.chunks(),
                };
                match turn {
                    Turn::BrokenOff { events, .. } => cut_after = Some(events),
                    Turn::ErrorInStream { kind, .. } => {
                        events.truncate(events.len() / 2);
                        events.push(error_event(&kind));
                    }
                    _ => {}
                }
                streamed(events, pace, cut_after)
            }
            (Some(answer), _) => Json(answer.whole()).into_response(),
            (None, Turn::Error { status, kind, message, retry_after }) => {
                let mut response = error(status, &kind, &message);
                if let Some(wait) = retry_after {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
                }
                response
            }
            (None, _) => error(500, "api_error", "no answer"),
        }
    }
}

/// In which form the model is asked.
#[derive(Clone, Copy)]
enum Form {
    /// Anthropic's.
    Messages,
    /// OpenAI's; streamed only.
    ChatCompletions,
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, answerer: Answerer) {
    // Without this, an event would wait for the acknowledgement of the one before it.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let answer = |FromState(answerer): FromState<Answerer>, request: Request| answerer.answer(request);
    let router: Router = Router::new().fallback(answer).with_state(answerer);
    // It ends by being aborted, never by itself.
    let _ = axum::serve(listener, router).await;
}

fn streamed(events: Vec<String>, pace: Pace, cut_after: Option<NonZeroUsize>) -> Response {
    let body = stream::unfold((events.into_iter(), 0_usize), move |(mut events, sent)| {
        let pace = pace.clone();
        async move {
            let event = events.next()?;
            if cut_after.is_some_and(|limit| sent >= limit.get()) {
                // The server sends what it has when it has to wait; an error alone would take that with it.
                tokio::task::yield_now().await;
                // An error in a body makes the server drop the connection: no last chunk, no farewell.
                let cut = std::io::Error::other("cut by the test");
                return Some((Err(cut), (Vec::new().into_iter(), sent)));
            }
            pace.wait().await;
            Some((Ok(Bytes::from(event)), (events, sent + 1)))
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(body)).into_response()
}

fn error(status: u16, kind: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(error_body(kind, message))).into_response()
}
