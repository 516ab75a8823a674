//! The HTTP side: sockets and files.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State as FromState, ws::WebSocketUpgrade},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
    serve::ListenerExt as _,
};
use serde_json::json;
use tokio::net::TcpListener;

use super::{Fault, State, connection, media::AUTH};
use crate::faults::cut;

/// The largest file that is taken.
const LARGEST_UPLOAD: usize = 128 << 20;

type Parameters = HashMap<String, String>;

pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let router: Router = Router::new()
        .route("/ws/chat", any(socket))
        .route("/mms/{kind}/{token}", post(upload))
        .route("/kept/{token}", get(download))
        .layer(DefaultBodyLimit::max(LARGEST_UPLOAD))
        .with_state(state);
    let listener = listener.tap_io(|stream| {
        // What is said is sent at once.
        let _ = stream.set_nodelay(true);
    });
    // It ends by being aborted, never by itself.
    let _ = axum::serve(listener, router).await;
}

async fn socket(FromState(state): FromState<Arc<State>>, upgrade: WebSocketUpgrade) -> Response {
    let refused = state.change(|world| {
        let refused = world.refusing > 0;
        if refused {
            if world.refusing != usize::MAX {
                world.refusing -= 1;
            }
            world.seen.refused += 1;
        }
        refused
    });
    if refused {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    upgrade.on_upgrade(move |socket| connection::serve(state, socket))
}

async fn upload(
    FromState(state): FromState<Arc<State>>,
    Path((_kind, token)): Path<(String, String)>,
    Query(parameters): Query<Parameters>,
    body: Bytes,
) -> Response {
    with_fault(&state, "upload", || {
        if parameters.get("auth").map(String::as_str) != Some(AUTH) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        if parameters.contains_key("resume") {
            // Nothing is half there.
            return Json(json!({"resume": "0"})).into_response();
        }
        state.change(|world| match world.media.keep(&token, body.to_vec()) {
            Ok(path) => Json(json!({"url": world.media.url(&path), "direct_path": path})).into_response(),
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        })
    })
    .await
}

async fn download(
    FromState(state): FromState<Arc<State>>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    with_fault(&state, "download", || {
        let token = parameters.get("token").map(String::as_str).unwrap_or_default();
        match state.change(|world| world.media.at(&format!("/kept/{name}"), token)) {
            Some(content) => content.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    })
    .await
}

async fn with_fault(state: &State, what: &str, answer: impl FnOnce() -> Response) -> Response {
    // Subscribed before anything is done: who sees that it was done may release at once.
    let mut released = state.released.subscribe();
    let fault = state.change(|world| {
        world.seen.queries.push(what.to_owned());
        world.faults.take(what)
    });
    match fault {
        Some(Fault::Error(code)) => StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST).into_response(),
        Some(Fault::DropBefore) => cut(Bytes::new()),
        Some(Fault::DropAfter) => {
            answer();
            cut(Bytes::new())
        }
        Some(Fault::Slow) => {
            let answer = answer();
            // The sender lives in `state`, so the wait cannot fail.
            let _ = released.changed().await;
            answer
        }
        None => answer(),
    }
}
