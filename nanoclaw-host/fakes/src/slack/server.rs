//! The HTTP side: calls with their faults, sockets, and files.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State as FromState, ws::WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::{FakeSlack, Fault, State, api, socket, world::Call};
use crate::faults::{cut, half};

/// The largest file that is taken.
const LARGEST_UPLOAD: usize = 64 << 20;

pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let router: Router = Router::new()
        .route("/api/{method}", get(call).post(call))
        .route("/link/", any(link))
        .route("/upload/{id}", post(upload))
        .route("/files/{id}/{name}", get(file))
        .route("/files/{id}/download/{name}", get(download))
        .layer(axum::extract::DefaultBodyLimit::max(LARGEST_UPLOAD))
        .with_state(state);
    // It ends by being aborted, never by itself.
    let _ = axum::serve(listener, router).await;
}

async fn call(
    FromState(state): FromState<Arc<State>>,
    Path(method): Path<String>,
    Query(query): Query<Map<String, Value>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let token = token(&headers);
    let arguments = match serde_json::from_slice::<Value>(&body) {
        Ok(arguments) if arguments.is_object() => arguments,
        _ => Value::Object(query),
    };
    let place = arguments["channel"].as_str().or_else(|| arguments["channel_id"].as_str()).unwrap_or_default();
    let in_place = format!("{method} {place}");
    let fault = state.change(|world| {
        let call = Call { method: method.clone(), token: token.clone(), arguments: arguments.clone() };
        world.seen.calls.push(call);
        let mut next = |of: &str| world.faults.get_mut(of).and_then(std::collections::VecDeque::pop_front);
        next(&in_place).or_else(|| next(&method))
    });
    // Subscribed before anything is done: who sees that it was done may release at once.
    let mut released = state.released.subscribe();
    released.borrow_and_update();
    match &fault {
        Some(Fault::Limited { seconds }) => {
            let headers = [(header::RETRY_AFTER, seconds.to_string())];
            return (StatusCode::TOO_MANY_REQUESTS, headers, Json(json!({"ok": false, "error": "ratelimited"})))
                .into_response();
        }
        Some(Fault::Error(error)) => return Json(json!({"ok": false, "error": error})).into_response(),
        Some(Fault::Status(status)) => {
            return StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        }
        Some(Fault::DropBefore) => return cut(Bytes::new()),
        Some(Fault::DropAfter | Fault::Half | Fault::Slow) | None => {}
    }
    let answer = api::answer(&state, &method, &token, &arguments);
    match fault {
        Some(Fault::DropAfter) => cut(Bytes::new()),
        Some(Fault::Half) => half(&answer.to_string()),
        Some(Fault::Slow) => {
            let _ = released.changed().await;
            Json(answer).into_response()
        }
        _ => Json(answer).into_response(),
    }
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
    upgrade.on_upgrade(move |socket| socket::serve(state, socket))
}

async fn upload(FromState(state): FromState<Arc<State>>, Path(id): Path<String>, body: Bytes) -> Response {
    let kept = state.change(|world| {
        let file = world.files.get_mut(&id).filter(|file| file.length == body.len())?;
        file.content = Some(body.to_vec());
        Some(body.len())
    });
    match kept {
        Some(bytes) => format!("OK - {bytes}").into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn file(state: FromState<Arc<State>>, Path((id, _name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    content(&state, &id, &headers)
}

async fn download(
    state: FromState<Arc<State>>,
    Path((id, _name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    content(&state, &id, &headers)
}

fn content(state: &State, id: &str, headers: &HeaderMap) -> Response {
    let mut world = state.world();
    world.seen.downloads += 1;
    let known = token(headers) == FakeSlack::BOT_TOKEN;
    match world.files.get(id).and_then(|file| file.content.clone()) {
        Some(content) if known => ([(header::CONTENT_TYPE, "application/octet-stream")], content).into_response(),
        Some(_) => (StatusCode::FOUND, [(header::LOCATION, "/login")]).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn token(headers: &HeaderMap) -> String {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.strip_prefix("Bearer ").unwrap_or_default().to_owned()
}
