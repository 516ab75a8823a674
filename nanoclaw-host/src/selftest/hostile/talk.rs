//! Speaks to groups as a terminal does, and has the other groups talk while the attacks go on.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use nanoclaw_core::{chat::ChatId, message::PlatformMessageId};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    place::{MAIN_CHAT, VICTIMS},
    report::Talk,
};
use crate::{
    channels::local::wire::{FromTerminal, PROTOCOL, ToTerminal},
    home::Home,
    json_lines::{Line, LineReader, to_line, write_line},
    unix_socket,
};

/// The longest line of the host's that is read.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;
/// How long the host may take to read a line of ours.
const STALL: Duration = Duration::from_secs(30);
/// A reply that takes longer than this is taken for lost.
const LOST_AFTER: Duration = Duration::from_secs(90);

/// A terminal on one chat.
pub(super) struct Terminal {
    reader: LineReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    said: u64,
    name: String,
}

impl Terminal {
    pub(super) async fn attach(home: &Home, chat: &str) -> anyhow::Result<Self> {
        let stream = unix_socket::connect(&home.local_socket()).await.context("cannot reach the service")?;
        let (reader, writer) = stream.into_split();
        let nanos =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let mut this = Self {
            reader: LineReader::new(reader, MAX_LINE_BYTES),
            writer,
            said: 0,
            name: format!("{chat}-{nanos:x}"),
        };
        let chat: ChatId = chat.parse()?;
        this.tell(&FromTerminal::Attach { chat, protocol: PROTOCOL }).await?;
        Ok(this)
    }

    pub(super) async fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.said += 1;
        let id = PlatformMessageId::new(format!("{}-{}", self.name, self.said))?;
        self.tell(&FromTerminal::Say { id, text: text.to_owned(), sender_name: "judge".to_owned() }).await
    }

    /// The next reply; `None` when the host is gone.
    pub(super) async fn reply(&mut self) -> Option<String> {
        loop {
            let line = match self.reader.next().await {
                Ok(Some(Line::Text(line))) => line,
                Ok(Some(Line::Refused(_))) => continue,
                _ => return None,
            };
            if let Ok(ToTerminal::Reply { key, text, .. }) = serde_json::from_str(&line) {
                self.tell(&FromTerminal::Shown { key }).await.ok()?;
                return Some(text);
            }
        }
    }

    async fn tell(&mut self, what: &FromTerminal) -> anyhow::Result<()> {
        write_line(&mut self.writer, &to_line(what), STALL).await.context("the service does not listen")
    }
}

/// One other group: says something, waits for the one right reply, says the next thing after a pause.
struct Talker {
    group: String,
    pause: Duration,
    terminal: Terminal,
    number: u64,
}

/// What a talker found out.
#[derive(Default)]
struct Heard {
    due: u64,
    got: u64,
    times_ms: Vec<f64>,
    unexpected: Vec<String>,
}

impl Talker {
    async fn talk(&mut self, stop: &CancellationToken) -> Heard {
        let mut heard = Heard::default();
        while !stop.is_cancelled() {
            self.number += 1;
            let text = format!("ping {}", self.number);
            let wanted = format!("heard {text}");
            let since = Instant::now();
            heard.due += 1;
            if self.terminal.say(&text).await.is_err() {
                break;
            }
            let deadline = tokio::time::Instant::now() + LOST_AFTER;
            loop {
                match tokio::time::timeout_at(deadline, self.terminal.reply()).await {
                    Ok(Some(reply)) if reply == wanted => {
                        heard.got += 1;
                        heard.times_ms.push(since.elapsed().as_secs_f64() * 1000.0);
                        break;
                    }
                    Ok(Some(other)) => {
                        let shown: String = other.chars().take(200).collect();
                        heard.unexpected.push(format!("{} was told {shown:?}", self.group));
                    }
                    Ok(None) | Err(_) => break,
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.pause) => {}
                () = stop.cancelled() => {}
            }
        }
        heard
    }
}

/// All other groups.
pub(super) struct Crowd {
    talkers: Vec<Talker>,
    talking: Vec<AbortOnDropHandle<(Talker, Heard)>>,
    stop: CancellationToken,
}

impl Crowd {
    /// Has each group say its first word, so that all of them have folders, mailboxes and sessions.
    pub(super) async fn gather(home: &Home) -> anyhow::Result<Self> {
        let mut talkers = Vec::new();
        let all = VICTIMS.into_iter().map(|(group, pause)| (group, format!("local:{group}"), pause));
        for (group, chat, pause) in all.chain([("main", MAIN_CHAT.to_owned(), Duration::from_millis(400))]) {
            let mut terminal = Terminal::attach(home, &chat).await?;
            terminal.say("ping 0").await?;
            let first = tokio::time::timeout(LOST_AFTER, terminal.reply()).await;
            match first.ok().flatten() {
                Some(text) if text == "heard ping 0" => {}
                other => anyhow::bail!("the group {group} does not answer: {other:?}"),
            }
            talkers.push(Talker { group: group.to_owned(), pause, terminal, number: 0 });
        }
        Ok(Self { talkers, talking: Vec::new(), stop: CancellationToken::new() })
    }

    /// Talks for a while with nobody in the way.
    pub(super) async fn measure(&mut self, time: Duration) -> Vec<Talk> {
        self.go_on();
        tokio::time::sleep(time).await;
        self.pause().await.0
    }

    /// Talks until it is ended.
    pub(super) fn go_on(&mut self) {
        self.stop = CancellationToken::new();
        for mut talker in self.talkers.drain(..) {
            let stop = self.stop.clone();
            self.talking.push(AbortOnDropHandle::new(tokio::spawn(async move {
                let heard = talker.talk(&stop).await;
                (talker, heard)
            })));
        }
    }

    /// Ends the talk: what it came to, and what was heard that nobody of the group said.
    pub(super) async fn end(mut self) -> (Vec<Talk>, Vec<String>) {
        self.pause().await
    }

    async fn pause(&mut self) -> (Vec<Talk>, Vec<String>) {
        self.stop.cancel();
        let (mut talks, mut unexpected) = (Vec::new(), Vec::new());
        for talking in self.talking.drain(..) {
            let Ok((talker, heard)) = talking.await else { continue };
            unexpected.extend(heard.unexpected);
            talks.push(Talk::new(&talker.group, heard.due, heard.got, heard.times_ms));
            self.talkers.push(talker);
        }
        (talks, unexpected)
    }
}
