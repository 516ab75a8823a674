//! The real program with real containers and the `offline` agent: what people wait for, for context.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{figures::Figure, program::Installation};

/// How long a reply is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure(program: &Path, containers: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    for runtime in ["sandbox", "docker"] {
        eprintln!("{containers} containers of the runtime {runtime}");
        match of_runtime(program, runtime, containers) {
            Ok(more) => figures.extend(more),
            Err(error) => eprintln!("skipped: needs {runtime}, an image, and agent-runner beside nanoclaw: {error}"),
        }
    }
    figures
}

fn of_runtime(program: &Path, runtime: &str, containers: usize) -> Result<Vec<Figure>, String> {
    // A slot each, so that nobody has to wait for another's container to end.
    let installation = Installation::with_groups(program, runtime, containers + 1);
    let (service, _) = installation.serve()?;
    let mut bridge = Bridge::connect(&installation)?;
    // The first one pays for what is cold.
    bridge.turn(0, 0)?;
    let (mut cold, mut live) = (Vec::new(), Vec::new());
    for number in 1..=containers {
        cold.push(bridge.turn(number, 0)?);
    }
    for number in 1..=containers {
        live.push(bridge.turn(number, 1)?);
    }
    drop(bridge);
    drop(service);
    let mut alone = Vec::new();
    for _ in 0..containers.min(10) {
        alone.push(chat(&installation)?);
    }
    Ok(vec![
        Figure::times(format!("{runtime}: message on the bridge to reply on it, container started for it"), &cold),
        Figure::times(format!("{runtime}: the same, container alive"), &live),
        Figure::times(format!("{runtime}: `nanoclaw chat -m hello`, no service running, to the reply"), &alone),
    ])
}

/// A bridge channel.
pub(crate) struct Bridge {
    write: UnixStream,
    read: BufReader<UnixStream>,
    /// The keys that were sent: what is sent again was not heard to be sent by a host that died.
    sent: HashSet<String>,
}

impl Bridge {
    pub(crate) fn connect(installation: &Installation) -> Result<Self, String> {
        let write = UnixStream::connect(installation.home.bridge_socket()).map_err(|error| error.to_string())?;
        write.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        let read = BufReader::new(write.try_clone().map_err(|error| error.to_string())?);
        let mut bridge = Self { write, read, sent: HashSet::new() };
        bridge.say(&json!({"type": "hello", "name": "bench", "prefixes": ["bench:"]}))?;
        bridge.hear("welcome")?;
        Ok(bridge)
    }

    /// The same bridge on a new connection.
    pub(crate) fn again(self, installation: &Installation) -> Result<Self, String> {
        Ok(Self { sent: self.sent, ..Self::connect(installation)? })
    }

    fn say(&mut self, line: &Value) -> Result<(), String> {
        self.write.write_all(format!("{line}\n").as_bytes()).map_err(|error| error.to_string())
    }

    fn hear(&mut self, wanted: &str) -> Result<Value, String> {
        loop {
            let mut line = String::new();
            match self.read.read_line(&mut line) {
                Ok(0) => return Err("the service ended the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("no {wanted} came: {error}")),
            }
            let line: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
            if line["type"] == wanted {
                return Ok(line);
            }
        }
    }

    /// A message, and nothing more.
    pub(crate) fn message(&mut self, group: usize, number: usize) -> Result<(), String> {
        self.say(&json!({
            "type": "message", "chat": format!("bench:{group}"), "id": format!("{number}"), "sender": "ann",
            "text": "hello", "timestamp_ms": 1_790_000_000_000_i64,
        }))
    }

    /// A message and its reply.
    pub(crate) fn turn(&mut self, group: usize, number: usize) -> Result<Duration, String> {
        self.turn_where(group, number, |_| false)
    }

    /// The same while other chats have their own replies.
    pub(crate) fn turn_beside_others(&mut self, group: usize, number: usize) -> Result<Duration, String> {
        let chat = format!("bench:{group}");
        self.turn_where(group, number, |reply| reply["chat"] != chat.as_str())
    }

    fn turn_where(
        &mut self,
        group: usize,
        number: usize,
        passed_over: impl Fn(&Value) -> bool,
    ) -> Result<Duration, String> {
        let begun = Instant::now();
        self.message(group, number)?;
        Ok(self.reply_where(group, passed_over)?.duration_since(begun))
    }

    /// When the reply to a message came.
    pub(crate) fn reply(&mut self, group: usize) -> Result<Instant, String> {
        self.reply_where(group, |_| false)
    }

    fn reply_where(&mut self, group: usize, passed_over: impl Fn(&Value) -> bool) -> Result<Instant, String> {
        let chat = format!("bench:{group}");
        let (reply, came) = loop {
            let reply = self.hear("send")?;
            let came = Instant::now();
            self.say(&json!({"type": "sent", "key": reply["key"]}))?;
            if self.sent.insert(reply["key"].to_string()) && !passed_over(&reply) {
                break (reply, came);
            }
        };
        match (reply["chat"] == chat.as_str(), reply["text"].as_str()) {
            (true, Some("heard hello")) => Ok(came),
            _ => Err(format!("{chat} was told {reply}")),
        }
    }
}

/// One command, from nothing to the first line of the reply.
fn chat(installation: &Installation) -> Result<Duration, String> {
    let begun = Instant::now();
    let mut child = installation
        .command(&["chat", "-m", "hello"])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
    let took = begun.elapsed();
    let _ = child.wait();
    match read {
        Ok(_) if line.contains("heard hello") => Ok(took),
        Ok(_) => Err(format!("`nanoclaw chat` said {line:?}")),
        Err(error) => Err(error.to_string()),
    }
}
