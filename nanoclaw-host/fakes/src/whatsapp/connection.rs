//! One connection: it carries what the world and the client say to each other.

use std::sync::Arc;

use axum::extract::ws::WebSocket;
use tokio::sync::mpsc;

use super::{State, link::Link, world::Out};

/// Serves a connection until one of both ends leaves.
pub(super) async fn serve(state: Arc<State>, socket: WebSocket) {
    // A client that cannot shake hands is as one that never came.
    let Ok((mut link, greeting)) = Link::open(socket, &state.keys).await else { return };
    let (outbox, mut inbox) = mpsc::unbounded_channel();
    let number = state.change(|world| world.open(greeting, outbox));
    loop {
        tokio::select! {
            heard = link.receive() => match heard {
                Ok(Some(node)) => state.change(|world| world.hear(number, &node)),
                Ok(None) | Err(_) => break,
            },
            out = inbox.recv() => match out {
                Some(Out::Say(node)) => if link.send(&node).await.is_err() { break },
                Some(Out::Close) => {
                    link.close().await;
                    break;
                }
                Some(Out::Drop) | None => break,
            },
        }
    }
    state.change(|world| world.closed(number));
}
