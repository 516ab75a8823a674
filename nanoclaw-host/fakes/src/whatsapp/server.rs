//! The HTTP side: sockets.

use std::sync::Arc;

use axum::{
    Router,
    extract::{State as FromState, ws::WebSocketUpgrade},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::any,
};
use tokio::net::TcpListener;

use super::{State, connection};

pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let router: Router = Router::new().route("/ws/chat", any(socket)).with_state(state);
    // It ends by being aborted, never by itself.
    let _ = axum::serve(listener, router).await;
}

async fn socket(FromState(state): FromState<Arc<State>>, upgrade: WebSocketUpgrade) -> Response {
    let refused = state.change(|world| {
        let refused = world.refusing > 0;
        if refused {
            world.refusing = world.refusing.saturating_sub(usize::from(world.refusing != usize::MAX));
            world.seen.refused += 1;
        }
        refused
    });
    if refused {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    upgrade.on_upgrade(move |socket| connection::serve(state, socket))
}
