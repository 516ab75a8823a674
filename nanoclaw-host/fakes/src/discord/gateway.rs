//! One socket of the gateway: hello, a session, its events, heartbeats, and its end.

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use super::{Kick, State};

/// The intent by which the bot reads what people write.
const MESSAGE_CONTENT: u64 = 1 << 15;

/// Which session a socket is for, and how many of its events it was told.
struct Listener {
    session: String,
    told: usize,
}

/// Serves a socket until one of both ends leaves.
pub(super) async fn serve(state: Arc<State>, mut socket: WebSocket) {
    // Before it is counted: who waits for the connection may kick it at once.
    let mut kicks = state.kicks.subscribe();
    let mut changed = state.changed.subscribe();
    let every = state.world().beat_every.as_millis();
    if say(&mut socket, &json!({"op": 10, "s": null, "t": null, "d": {"heartbeat_interval": every}})).await.is_err() {
        return;
    }
    state.change(|world| {
        world.seen.connections += 1;
        world.seen.open += 1;
    });
    listen(&state, &mut socket, &mut kicks, &mut changed).await;
    state.change(|world| world.seen.open -= 1);
}

async fn listen(
    state: &State,
    socket: &mut WebSocket,
    kicks: &mut broadcast::Receiver<Kick>,
    changed: &mut watch::Receiver<u64>,
) {
    let mut listener: Option<Listener> = None;
    loop {
        changed.borrow_and_update();
        // Taken apart from being sent: the lock is not held across a wait.
        if let Some(event) = listener.as_mut().and_then(|listener| next_for(state, listener)) {
            if say(socket, &event).await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            heard = socket.recv() => match heard {
                Some(Ok(Message::Text(line))) => {
                    let line: Value = serde_json::from_str(&line).unwrap_or_default();
                    if hear(state, socket, &mut listener, &line).await.is_none() {
                        return;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            kick = kicks.recv() => match kick {
                Ok(Kick::Close(code)) => return close(socket, code).await,
                Ok(Kick::Reconnect) => drop(say(socket, &json!({"op": 7, "d": null})).await),
                Ok(Kick::Invalid { resumable }) => drop(say(socket, &json!({"op": 9, "d": resumable})).await),
                Ok(Kick::BeatNow) => drop(say(socket, &json!({"op": 1, "d": null})).await),
                // Dropped without a farewell.
                Ok(Kick::Drop) | Err(_) => return,
            },
            _ = changed.changed() => {}
        }
    }
}

/// Acts on what the bot says; `None`: the socket is closed.
async fn hear(state: &State, socket: &mut WebSocket, listener: &mut Option<Listener>, line: &Value) -> Option<()> {
    let data = &line["d"];
    let takes = state.world().takes(data["token"].as_str().unwrap_or_default());
    match line["op"].as_u64() {
        Some(1) => {
            let answered = state.change(|world| {
                world.seen.beats.push(data.as_u64());
                world.beats_answered
            });
            if answered {
                say(socket, &json!({"op": 11})).await.ok()?;
            }
        }
        Some(2 | 6) if !takes => {
            close(socket, 4004).await;
            return None;
        }
        Some(2) => {
            let content = data["intents"].as_u64().unwrap_or(0) & MESSAGE_CONTENT != 0;
            if content && !state.world().content_allowed {
                close(socket, 4014).await;
                return None;
            }
            let session = state.change(super::world::World::begin_session);
            *listener = Some(Listener { session, told: 0 });
        }
        Some(6) => {
            let seq = data["seq"].as_u64().unwrap_or(0);
            let session = data["session_id"].as_str().unwrap_or_default().to_owned();
            let told = usize::try_from(seq).unwrap_or(usize::MAX);
            let goes_on = state.change(|world| {
                let events = world.sessions.get_mut(&session)?;
                if told > events.len() {
                    return Some(false);
                }
                events.push(("RESUMED".to_owned(), json!({})));
                world.seen.resumed.push(seq);
                Some(true)
            });
            match goes_on {
                Some(true) => *listener = Some(Listener { session, told }),
                Some(false) => {
                    close(socket, 4007).await;
                    return None;
                }
                None => say(socket, &json!({"op": 9, "d": false})).await.ok()?,
            }
        }
        _ => {
            close(socket, 4001).await;
            return None;
        }
    }
    Some(())
}

fn next_for(state: &State, listener: &mut Listener) -> Option<Value> {
    let event = {
        let mut world = state.world();
        let (kind, data) = world.sessions.get(&listener.session)?.get(listener.told)?.clone();
        world.seen.delivered += 1;
        listener.told += 1;
        json!({"op": 0, "s": listener.told, "t": kind, "d": data})
    };
    state.changed.send_modify(|count| *count += 1);
    Some(event)
}

async fn say(socket: &mut WebSocket, payload: &Value) -> Result<(), axum::Error> {
    socket.send(Message::Text(payload.to_string().into())).await
}

async fn close(socket: &mut WebSocket, code: u16) {
    let frame = CloseFrame { code, reason: "closed by the test".into() };
    // Whoever is gone is closed.
    let _ = socket.send(Message::Close(Some(frame))).await;
}
