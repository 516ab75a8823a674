//! The service's bridge: one connection after the other.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

use super::{Repeats, Shared, ledger::ToSay, workload::PREFIX};
use crate::kill::Chance;

/// How soon it tries to connect again. Real bridges wait a second; a short wait makes for more work at the host's start.
const BETWEEN_TRIES: Duration = Duration::from_millis(10);
/// How soon a message that could not be stored is said again.
const BEFORE_SAYING_AGAIN: Duration = Duration::from_millis(200);

/// Connects, serves the connection to its end, and connects again.
pub(super) async fn connect_for_ever(shared: Arc<Shared>) {
    let mut connections = 0;
    loop {
        if let Ok(stream) = UnixStream::connect(&shared.behaviour.socket).await {
            connections += 1;
            // However it ended, the next one takes up what this one left.
            let _ = serve(&shared, stream, connections).await;
            shared.connected.send_replace(false);
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

async fn serve(shared: &Arc<Shared>, stream: UnixStream, connection: u64) -> std::io::Result<()> {
    let (read, write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let (queue, queued) = mpsc::unbounded_channel();
    let writer = Aborted(tokio::spawn(write_all(queued, write)));
    let repeats = match shared.behaviour.repeats {
        Repeats::Deduplicates => "deduplicates",
        Repeats::Finds => "finds",
    };
    let _ = queue.send(json!({
        "type": "hello", "name": "kill", "prefixes": [PREFIX], "capabilities": [repeats, "typing"], "protocol": 1,
    }));
    loop {
        match next(&mut lines).await? {
            Some(line) if line["type"] == "welcome" => break,
            Some(_) => {}
            None => return Ok(()),
        }
    }
    shared.connected.send_replace(true);
    // What it knows of its chats, and a message of one that is no group: neither is answered.
    let _ = queue.send(json!({"type": "chat", "chat": format!("{PREFIX}0"), "name": "Group 0", "is_group": true}));
    let _ = queue.send(json!({
        "type": "message", "chat": format!("{PREFIX}stranger"), "id": connection.to_string(), "sender": "98",
        "text": "nobody answers this", "timestamp_ms": 1_700_000_000_000_u64,
    }));
    let mut heard = shared.ledger().nothing_heard();
    let mut changed = shared.changed.subscribe();
    let mut reads = shared.reads.subscribe();
    let mut chance = Chance::new(shared.behaviour.seed ^ (connection << 32));
    loop {
        changed.borrow_and_update();
        for message in shared.ledger().to_say(&mut heard) {
            let _ = queue.send(line_of(&message));
        }
        let may_read = *reads.borrow_and_update();
        tokio::select! {
            line = next(&mut lines), if may_read => match line? {
                Some(line) => hear(shared, &queue, &line, &mut chance),
                None => break,
            },
            _ = changed.changed() => {}
            _ = reads.changed() => {}
        }
    }
    drop(writer);
    Ok(())
}

fn hear(shared: &Arc<Shared>, queue: &mpsc::UnboundedSender<Value>, line: &Value, chance: &mut Chance) {
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    match line["type"].as_str() {
        Some("accepted") => {
            shared.ledger().accepted(&text("chat"), &text("id"));
            shared.changed();
        }
        Some("send") => {
            let fails = shared.behaviour.fails_one_in > 0 && chance.below(shared.behaviour.fails_one_in) == 0;
            let slowest = u64::try_from(shared.behaviour.slowest_send.as_micros()).unwrap_or(u64::MAX);
            let takes = Duration::from_micros(chance.below(slowest.saturating_add(1)));
            let (shared, queue) = (shared.clone(), queue.clone());
            let (key, chat, text) = (text("key"), text("chat"), text("text"));
            tokio::spawn(async move {
                // Shown at once, confirmed later: what dies in between does not know that it was shown.
                let answer = if fails {
                    json!({"type": "failed", "key": key, "error": "try again", "retry_after_ms": 20})
                } else {
                    let id = shared.ledger().show(&key, &chat, &text);
                    shared.changed();
                    json!({"type": "sent", "key": key, "platform_id": id})
                };
                tokio::time::sleep(takes).await;
                let _ = queue.send(answer);
            });
        }
        Some("find") => {
            let key = text("key");
            let answer = match shared.ledger().look_up(&key) {
                Some(id) => json!({"type": "sent", "key": key, "platform_id": id}),
                None => json!({"type": "not_found", "key": key}),
            };
            let _ = queue.send(answer);
        }
        Some("error") if line["retry"] == true => say_again(shared, queue, &text("chat"), &text("id")),
        Some("error") => shared.ledger().refused(&line.to_string()),
        _ => {}
    }
}

fn say_again(shared: &Arc<Shared>, queue: &mpsc::UnboundedSender<Value>, chat: &str, id: &str) {
    let Some(message) = shared.ledger().to_say_again(chat, id) else { return };
    let (shared, queue) = (shared.clone(), queue.clone());
    tokio::spawn(async move {
        tokio::time::sleep(BEFORE_SAYING_AGAIN).await;
        let _ = queue.send(line_of(&message));
        shared.changed();
    });
}

fn line_of(message: &ToSay) -> Value {
    json!({
        "type": "message", "chat": message.chat, "id": message.id, "sender": "99", "sender_name": "Ann",
        "text": message.text, "timestamp_ms": 1_700_000_000_000_u64, "is_group": true,
    })
}

async fn next(lines: &mut Lines<BufReader<OwnedReadHalf>>) -> std::io::Result<Option<Value>> {
    match lines.next_line().await? {
        Some(line) => Ok(Some(serde_json::from_str(&line).unwrap_or(Value::Null))),
        None => Ok(None),
    }
}

async fn write_all(mut queued: mpsc::UnboundedReceiver<Value>, mut write: OwnedWriteHalf) {
    while let Some(line) = queued.recv().await {
        if write.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A worker that ends with whoever holds this.
struct Aborted(tokio::task::JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}
