//! The HTTP side: calls with their faults, sockets, and files.

use std::{collections::VecDeque, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State as FromState, ws::WebSocketUpgrade},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::{
    Fault, State,
    api::{self, Files},
    gateway,
    world::Call,
};
use crate::faults::{cut, half};

/// The largest file that is taken.
const LARGEST_UPLOAD: usize = 64 << 20;

pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let router: Router = Router::new()
        .route("/gateway", any(link))
        .route("/api/v10/gateway/{what}", any(plain_call))
        .route("/api/v10/channels/{channel}/{what}", any(call))
        .route("/attachments/{channel}/{id}/{name}", get(file))
        .layer(DefaultBodyLimit::max(LARGEST_UPLOAD))
        .with_state(state);
    // It ends by being aborted, never by itself.
    let _ = axum::serve(listener, router).await;
}

async fn plain_call(
    state: FromState<Arc<State>>,
    method: Method,
    Path(what): Path<String>,
    headers: HeaderMap,
) -> Response {
    let call = Call {
        what: format!("{method} {what}"),
        channel: String::new(),
        authorization: authorization(&headers),
        arguments: Value::Null,
    };
    answer(&state, call, Vec::new()).await
}

async fn call(
    state: FromState<Arc<State>>,
    method: Method,
    Path((channel, what)): Path<(String, String)>,
    Query(query): Query<Map<String, Value>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let (arguments, files) = match kind.split_once("boundary=") {
        Some((_, boundary)) => parts(&body, boundary.trim_matches('"')),
        None => (serde_json::from_slice(&body).unwrap_or(Value::Object(query)), Vec::new()),
    };
    let call = Call { what: format!("{method} {what}"), channel, authorization: authorization(&headers), arguments };
    answer(&state, call, files).await
}

async fn answer(state: &State, call: Call, files: Files) -> Response {
    let in_place = format!("{} {}", call.what, call.channel);
    let fault = state.change(|world| {
        world.seen.calls.push(call.clone());
        let mut next = |of: &str| world.faults.get_mut(of).and_then(VecDeque::pop_front);
        next(&in_place).or_else(|| next(&call.what))
    });
    // Subscribed before anything is done: who sees that it was done may release at once.
    let mut released = state.released.subscribe();
    released.borrow_and_update();
    match &fault {
        Some(Fault::Limited { seconds }) => {
            let words = json!({"message": "You are being rate limited.", "retry_after": seconds, "global": false});
            let headers = [(header::RETRY_AFTER, seconds.to_string())];
            return (StatusCode::TOO_MANY_REQUESTS, headers, Json(words)).into_response();
        }
        Some(Fault::Error(code)) => return no(400, code.parse().unwrap_or(0), "an error of the test"),
        Some(Fault::Status(status)) => {
            return StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        }
        Some(Fault::DropBefore) => return cut(Bytes::new()),
        Some(Fault::DropAfter | Fault::Half | Fault::Slow) | None => {}
    }
    let answer = match api::answer(state, &call, &files) {
        Ok(answer) => answer,
        Err((status, code, words)) => return no(status, code, words),
    };
    match fault {
        Some(Fault::DropAfter) => cut(Bytes::new()),
        Some(Fault::Half) => half(&answer.to_string()),
        Some(Fault::Slow) => {
            let _ = released.changed().await;
            Json(answer).into_response()
        }
        _ if answer.is_null() => StatusCode::NO_CONTENT.into_response(),
        _ => Json(answer).into_response(),
    }
}

fn no(status: u16, code: u64, words: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({"message": words, "code": code}))).into_response()
}

async fn link(FromState(state): FromState<Arc<State>>, upgrade: WebSocketUpgrade) -> Response {
    let refused = state.change(|world| {
        let refused = world.refusing > 0;
        if refused {
            world.refusing -= 1;
            world.seen.refused += 1;
        }
        refused
    });
    if refused {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    upgrade.on_upgrade(move |socket| gateway::serve(state, socket))
}

/// Whoever has the address has the file; a token that comes along is a fault of the bot's.
async fn file(FromState(state): FromState<Arc<State>>, uri: Uri, headers: HeaderMap) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    match state.world().files.get(uri.path()).cloned() {
        Some(content) => ([(header::CONTENT_TYPE, "application/octet-stream")], content).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn authorization(headers: &HeaderMap) -> String {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.unwrap_or_default().to_owned()
}

/// The parts of a body in several: `payload_json`, and the files by their names.
fn parts(body: &[u8], boundary: &str) -> (Value, Files) {
    let (mut arguments, mut files) = (Value::Null, Vec::new());
    let delimiter = format!("--{boundary}");
    let mut rest = body;
    while let Some(begin) = find(rest, delimiter.as_bytes()) {
        rest = &rest[begin + delimiter.len()..];
        let Some(end) = find(rest, format!("\r\n{delimiter}").as_bytes()) else { break };
        let part = &rest[..end];
        let Some(head) = find(part, b"\r\n\r\n") else { continue };
        let (words, content) = (String::from_utf8_lossy(&part[..head]).into_owned(), &part[head + 4..]);
        match quoted(&words, "filename=") {
            Some(name) => files.push((name, content.to_owned())),
            None if quoted(&words, " name=").as_deref() == Some("payload_json") => {
                arguments = serde_json::from_slice(content).unwrap_or_default();
            }
            None => {}
        }
    }
    (arguments, files)
}

fn quoted(head: &str, before: &str) -> Option<String> {
    let (_, rest) = head.split_once(before)?;
    rest.strip_prefix('"')?.split_once('"').map(|(name, _)| name.to_owned())
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_parts_is_read() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"files[0]\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n\
                    one\r\ntwo\r\n--x\r\nContent-Disposition: form-data; name=\"payload_json\"\r\n\r\n{\"content\":\"hi\"}\r\n--x--\r\n";
        let (arguments, files) = parts(body.as_bytes(), "x");
        assert_eq!((arguments, files), (json!({"content": "hi"}), vec![("a.txt".to_owned(), b"one\r\ntwo".to_vec())]));
    }
}
