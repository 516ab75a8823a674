//! One socket: hello, events, acknowledgements, and its end.

use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use serde_json::{Value, json};

use super::{Kick, State};

/// Serves a socket until one of both ends leaves.
pub(super) async fn serve(state: Arc<State>, mut socket: WebSocket) {
    // Before it is counted: who waits for the connection may kick it at once.
    let mut kicks = state.kicks.subscribe();
    let mut changed = state.changed.subscribe();
    let hello = json!({
        "type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"},
        "debug_info": {"host": "fake", "build_number": 1, "approximate_connection_time": 18060},
    });
    if socket.send(Message::Text(hello.to_string().into())).await.is_err() {
        return;
    }
    let number = state.change(|world| {
        world.seen.connections += 1;
        world.seen.open += 1;
        world.seen.connections
    });
    listen(&state, &mut socket, number, &mut kicks, &mut changed).await;
    state.change(|world| world.seen.open -= 1);
}

async fn listen(
    state: &State,
    socket: &mut WebSocket,
    number: usize,
    kicks: &mut tokio::sync::broadcast::Receiver<Kick>,
    changed: &mut tokio::sync::watch::Receiver<u64>,
) {
    loop {
        changed.borrow_and_update();
        // Taken apart from being sent: the lock is not held across a wait.
        let next = state.world().next_for(number);
        if let Some(line) = next {
            state.changed.send_modify(|count| *count += 1);
            if socket.send(Message::Text(line.into())).await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            heard = socket.recv() => match heard {
                Some(Ok(Message::Text(line))) => {
                    let line: Value = serde_json::from_str(&line).unwrap_or_default();
                    let envelope = line["envelope_id"].as_str().unwrap_or_default();
                    if !state.change(|world| world.acknowledge(envelope)) {
                        return;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            kick = kicks.recv() => match kick {
                Ok(Kick::Close) => drop(socket.send(Message::Close(None)).await),
                Ok(Kick::Disconnect(reason)) => {
                    let line = json!({"type": "disconnect", "reason": reason, "debug_info": {"host": "fake"}});
                    drop(socket.send(Message::Text(line.to_string().into())).await);
                }
                // Dropped without a farewell.
                Ok(Kick::Drop) | Err(_) => return,
            },
            _ = changed.changed() => {}
        }
    }
}
