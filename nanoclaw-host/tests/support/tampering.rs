//! An engine that makes other containers than it is asked for: a socket before a real engine's, at which the requests that create
//! containers are rewritten on their way, and, if wanted, the answers to inspections too.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use serde_json::Value;

type Change = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// Ends with the test: its threads hold nothing but connections.
pub struct TamperingEngine {
    folder: tempfile::TempDir,
}

impl TamperingEngine {
    /// Before the engine at `engine`: `created` is what becomes of the body of each create request, `told` of each answer to an
    /// inspection.
    pub fn before(
        engine: &Path,
        created: impl Fn(&mut Value) + Send + Sync + 'static,
        told: impl Fn(&mut Value) + Send + Sync + 'static,
    ) -> Self {
        let folder = super::scratch();
        let listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
        let (created, told): (Change, Change) = (Arc::new(created), Arc::new(told));
        let engine = engine.to_owned();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(engine)) = (client, UnixStream::connect(&engine)) else { continue };
                let (created, told) = (created.clone(), told.clone());
                thread::spawn(move || serve(client, engine, &created, &told));
            }
        });
        Self { folder }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }
}

/// Serves one request; each connection is made to carry no more.
fn serve(mut client: UnixStream, mut engine: UnixStream, created: &Change, told: &Change) -> Option<()> {
    let mut head = read_head(&mut client)?;
    let first = head.lines().next()?.to_owned();
    let is_create = first.starts_with("POST") && first.contains("/containers/create");
    let is_inspect = first.starts_with("GET") && first.contains("/containers/") && first.contains("/json HTTP");
    let is_inspect = is_inspect && !first.contains("/containers/json");
    if !head.to_lowercase().contains("upgrade") {
        head = with_header(&head, "Connection", "close");
    }
    if is_create {
        let mut body = vec![0; header(&head, "content-length")?.parse().ok()?];
        client.read_exact(&mut body).ok()?;
        let mut body = serde_json::from_slice(&body).ok()?;
        created(&mut body);
        let body = serde_json::to_vec(&body).ok()?;
        engine.write_all(with_header(&head, "Content-Length", &body.len().to_string()).as_bytes()).ok()?;
        engine.write_all(&body).ok()?;
    } else if is_inspect {
        // An answer to HTTP/1.0 is one piece that ends with the connection.
        engine.write_all(head.replacen("HTTP/1.1", "HTTP/1.0", 1).as_bytes()).ok()?;
        let answer_head = read_head(&mut engine)?;
        let mut body = Vec::new();
        engine.read_to_end(&mut body).ok()?;
        if let Ok(mut answer) = serde_json::from_slice(&body) {
            told(&mut answer);
            body = serde_json::to_vec(&answer).ok()?;
        }
        let answer_head = with_header(&answer_head, "Content-Length", &body.len().to_string());
        client.write_all(answer_head.as_bytes()).ok()?;
        client.write_all(&body).ok()?;
        return client.shutdown(Shutdown::Both).ok();
    } else {
        engine.write_all(head.as_bytes()).ok()?;
    }
    let (mut from_client, mut to_engine) = (client.try_clone().ok()?, engine.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_engine);
        to_engine.shutdown(Shutdown::Write)
    });
    let _ = std::io::copy(&mut engine, &mut client);
    client.shutdown(Shutdown::Both).ok()
}

/// Up to and with the empty line.
fn read_head(stream: &mut UnixStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn with_header(head: &str, name: &str, value: &str) -> String {
    let is_it = |line: &&str| line.split_once(':').is_some_and(|(one, _)| one.eq_ignore_ascii_case(name));
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").filter(|line| !is_it(line)).collect();
    let line = format!("{name}: {value}");
    lines.push(&line);
    lines.join("\r\n") + "\r\n\r\n"
}
