//! `nanoclaw chat`: a conversation in the terminal.
//!
//! A client of a host and nothing more: it is handed a connection to `store/local.sock` and does not know whether the running
//! service is behind it or a host that was started for the occasion.

mod conversation;
mod editor;
mod screen;

use std::{
    future::Future,
    io::{BufRead, IsTerminal},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use nanoclaw_core::{chat::ChatId, run::Trouble};
use tokio::{
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::Instant,
};

pub use self::screen::{Display, Streams};
use self::{
    conversation::{Conversation, Heard, Said},
    editor::Editor,
};
use crate::channels::MAX_LINE_BYTES;

/// How often a sign of life moves, where there is a terminal to move it on.
const TICK: Duration = Duration::from_millis(120);

/// How often the machine's own trouble is met before nobody waits for its end any more.
const HOST_TROUBLES: u32 = 3;

/// How many lines may be typed ahead.
const TYPED_AHEAD: usize = 16;

/// How many messages may be said before the host's word on the first; without a limit both ends could come to wait for the
/// other to read.
const SAID_AHEAD: usize = 32;

/// The arguments of `nanoclaw chat`.
#[derive(Debug, Clone, clap::Args)]
pub struct ChatArgs {
    /// Say this, print the replies on stdout, and leave once it is answered. Can be repeated: each further message is a
    /// follow-up to the same agent, said when the one before it is answered
    #[arg(short, long = "message", value_name = "TEXT")]
    pub messages: Vec<String>,

    /// The chat, `local:` and a name
    #[arg(long, value_name = "CHAT", default_value = "local:main")]
    pub chat: ChatId,

    /// Leave when an answer takes longer than this; without it there is no limit
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: Option<u32>,
}

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything that was said is answered, or the user left on purpose.
    Finished,
    /// Something that was said was not kept, or was given up.
    Failed,
    /// Something keeps the assistant from answering, and waiting does not help. What was said is kept.
    Stuck,
    /// An answer took too long. It comes at the next conversation.
    TimedOut,
    /// Ctrl-C, or the like. Answers that were under way come at the next conversation.
    Interrupted,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Finished => 0,
            Ending::Failed | Ending::Stuck | Ending::TimedOut => 1,
            Ending::Interrupted => 130,
        })
    }
}

/// Talks over `stream`, a connection to a host's `store/local.sock`: with `-m` says the messages; otherwise takes what is
/// typed, with line editing on a terminal. Replies go to stdout, everything else to stderr.
///
/// # Errors
/// When the host refuses the terminal or goes away, or stdout does.
pub async fn run(args: ChatArgs, stream: UnixStream) -> anyhow::Result<Ending> {
    let interrupt = asked_to_leave();
    if !args.messages.is_empty() {
        return say_and_wait(&args, stream, &mut Streams::standard(), interrupt).await;
    }
    let on_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if on_terminal && let Ok((mut editor, typed)) = Editor::start(TYPED_AHEAD) {
        return converse(&args, stream, typed, AtEnd::Leave, &mut editor, interrupt).await;
    }
    // A pipe, or a terminal that can do no more than lines.
    converse(&args, stream, piped_lines(), AtEnd::Wait, &mut Streams::standard(), interrupt).await
}

/// Resolves when the user leaves in the middle: by Ctrl-C, by closing the terminal's window, or by a kill. A host that was
/// started for the conversation can end its containers then.
async fn asked_to_leave() {
    let told = async |kind: SignalKind| match signal(kind) {
        Ok(mut signals) => _ = signals.recv().await,
        // No handler, so the signal ends the program by itself.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = told(SignalKind::interrupt()) => {}
        () = told(SignalKind::terminate()) => {}
        () = told(SignalKind::hangup()) => {}
    }
}

/// Says `args.messages` one after the other, each when the one before it is answered.
///
/// # Errors
/// When the host refuses the terminal or goes away, or `display` fails.
pub async fn say_and_wait(
    args: &ChatArgs,
    stream: UnixStream,
    display: &mut dyn Display,
    interrupt: impl Future<Output = ()>,
) -> anyhow::Result<Ending> {
    let mut interrupt = pin!(interrupt);
    let mut talk = Talk::start(args, stream, display).await?;
    for message in &args.messages {
        talk.say(message).await?;
        while !talk.settled() {
            let event = tokio::select! {
                event = talk.next() => event?,
                () = &mut interrupt => return talk.end(Ending::Interrupted),
            };
            talk.show(event).await?;
            if talk.overdue {
                return talk.end(Ending::TimedOut);
            }
            if talk.stuck && !talk.settled() {
                return talk.end(Ending::Stuck);
            }
        }
        if talk.failed {
            return talk.end(Ending::Failed);
        }
    }
    talk.end(Ending::Finished)
}

/// What the end of the input means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// Leave.
    Leave,
    /// Leave once everything is answered.
    Wait,
}

/// Says each line of `typed` as it comes. `/quit` ends the input.
///
/// # Errors
/// When the host refuses the terminal or goes away, or `display` fails.
pub async fn converse(
    args: &ChatArgs,
    stream: UnixStream,
    mut typed: mpsc::Receiver<String>,
    at_end: AtEnd,
    display: &mut dyn Display,
    interrupt: impl Future<Output = ()>,
) -> anyhow::Result<Ending> {
    let mut interrupt = pin!(interrupt);
    let mut talk = Talk::start(args, stream, display).await?;
    talk.greet()?;
    let mut open = true;
    while open || (at_end == AtEnd::Wait && !talk.settled()) {
        tokio::select! {
            line = typed.recv(), if open && talk.conversation.unaccepted() < SAID_AHEAD => match line {
                Some(line) if line.trim() == "/quit" => open = false,
                Some(line) if line.trim().is_empty() => {}
                Some(line) => talk.say(&line).await?,
                None => open = false,
            },
            event = talk.next() => talk.show(event?).await?,
            () = &mut interrupt => return talk.end(Ending::Interrupted),
        }
        if talk.stuck && !open && !talk.settled() && at_end == AtEnd::Wait {
            return talk.end(Ending::Stuck);
        }
        if talk.overdue {
            match at_end {
                AtEnd::Wait => return talk.end(Ending::TimedOut),
                AtEnd::Leave => talk.forgive()?,
            }
        }
    }
    let failed = talk.failed && at_end == AtEnd::Wait;
    talk.end(if failed { Ending::Failed } else { Ending::Finished })
}

/// The lines of stdin. Read on a thread of their own: a read that never returns must not hold up the end of the program.
fn piped_lines() -> mpsc::Receiver<String> {
    let (queue, lines) = mpsc::channel(TYPED_AHEAD);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut line = Vec::new();
        while stdin.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            line.clear();
            if queue.blocking_send(text).is_err() {
                return;
            }
        }
    });
    lines
}

/// A time as people say it.
fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds @ 90..5400 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h", (seconds + 1800) / 3600),
    }
}

/// What comes next in a conversation.
enum Event {
    /// A line of the host.
    Heard(Heard),
    /// A moment to show a sign of life.
    Tick,
    /// The answer is late.
    Late,
}

/// A conversation, what is shown of it, and what it still waits for.
struct Talk<'a> {
    conversation: Conversation,
    display: &'a mut dyn Display,
    timeout: Option<Duration>,
    /// When the answer that is waited for is late.
    deadline: Option<Instant>,
    next_tick: Option<Instant>,
    /// Something was not kept or was given up.
    failed: bool,
    /// How often the machine's own trouble was met, which mostly passes.
    host_troubles: u32,
    /// What is waited for will not come soon.
    stuck: bool,
    /// The deadline has passed.
    overdue: bool,
}

impl<'a> Talk<'a> {
    async fn start(args: &ChatArgs, stream: UnixStream, display: &'a mut dyn Display) -> anyhow::Result<Self> {
        let conversation = Conversation::attach(stream, &args.chat).await?;
        if !conversation.registered {
            bail!(
                "{chat} is not registered, so nobody would answer; register it with: nanoclaw groups add {chat} --name NAME",
                chat = args.chat
            );
        }
        if let Some(hint) = &conversation.hint {
            display.note(hint)?;
        }
        let timeout = args.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        Ok(Self {
            conversation,
            display,
            timeout,
            deadline: None,
            next_tick: None,
            failed: false,
            host_troubles: 0,
            stuck: false,
            overdue: false,
        })
    }

    fn greet(&mut self) -> anyhow::Result<()> {
        Ok(self.display.greet(&self.conversation.assistant, self.conversation.chat.as_str())?)
    }

    async fn say(&mut self, text: &str) -> anyhow::Result<()> {
        if self.conversation.say(text).await? == Said::TooLong {
            self.failed = true;
            self.display.note(&format!("this was not said: it is longer than {} KiB", MAX_LINE_BYTES / 1024))?;
        }
        self.deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        Ok(())
    }

    fn settled(&self) -> bool {
        self.conversation.settled()
    }

    /// What comes next. Can be dropped and called again without loss.
    async fn next(&mut self) -> anyhow::Result<Event> {
        let deadline = self.deadline.filter(|_| !self.conversation.settled());
        tokio::select! {
            heard = self.conversation.hear() => Ok(Event::Heard(heard?)),
            () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                Ok(Event::Late)
            }
            () = tokio::time::sleep_until(self.next_tick.unwrap_or_else(Instant::now)), if self.next_tick.is_some() => {
                Ok(Event::Tick)
            }
        }
    }

    async fn show(&mut self, event: Event) -> anyhow::Result<()> {
        let heard = match event {
            Event::Heard(heard) => heard,
            Event::Late => {
                self.overdue = true;
                return Ok(());
            }
            Event::Tick => {
                self.next_tick = Some(Instant::now() + TICK);
                return Ok(self.display.tick()?);
            }
        };
        match heard {
            Heard::Reply { key, text, seen } => {
                if !seen {
                    self.display.reply(&self.conversation.assistant, &text).context("cannot show a reply")?;
                }
                // Only now: what was not shown must come again.
                self.conversation.shown(key).await?;
            }
            Heard::Typing { on } => {
                self.display.typing(&self.conversation.assistant, on)?;
                self.next_tick = (on && self.display.is_animated()).then(|| Instant::now() + TICK);
            }
            Heard::Trouble { reason, retry_in } => {
                let tenths = Duration::from_millis(u64::try_from(retry_in.as_millis() / 100 * 100).unwrap_or(u64::MAX));
                self.display.note(&format!("the agent failed: {reason}; it is tried again in {tenths:?}"))?;
            }
            Heard::Paused { trouble, reason, retry_in } => {
                self.host_troubles += u32::from(trouble == Trouble::Host);
                self.stuck = match trouble {
                    Trouble::Preparing => false,
                    Trouble::Host => self.host_troubles >= HOST_TROUBLES,
                    Trouble::Login | Trouble::Quota | Trouble::Setup => true,
                };
                let cause = match trouble {
                    Trouble::Preparing => String::new(),
                    trouble => format!(", because of a trouble with the {trouble}"),
                };
                self.display.note(&format!(
                    "not answered yet{cause}: the run {reason}; it is kept, and tried again in {}",
                    in_words(retry_in)
                ))?;
            }
            Heard::GaveUp { reason } => {
                self.failed = true;
                self.display.note(&format!("gave up: {reason}"))?;
            }
            Heard::NotKept { reason } => {
                self.failed = true;
                self.display.note(&format!("this was not kept: {reason}"))?;
            }
            Heard::KeptAsContext => {
                let assistant = &self.conversation.assistant;
                self.display.note(&format!(
                    "kept for later: it does not call {assistant}; begin with @{assistant} to have it answered"
                ))?;
            }
            Heard::Refused { reason } => self.display.note(&reason)?,
            Heard::Progress => {}
        }
        Ok(())
    }

    /// An answer is late, and somebody sits there who can see that for himself.
    fn forgive(&mut self) -> anyhow::Result<()> {
        self.overdue = false;
        self.deadline = None;
        Ok(self.display.note("this takes longer than --timeout; still waiting")?)
    }

    fn end(self, ending: Ending) -> anyhow::Result<Ending> {
        self.display.typing(&self.conversation.assistant, false)?;
        let later = "what was said is kept; its answer comes at the next nanoclaw chat";
        match (ending, self.timeout) {
            (Ending::TimedOut, Some(timeout)) => {
                self.display.note(&format!("no answer within {timeout:?}; {later}"))?
            }
            (Ending::Stuck, _) => {
                self.display.note(
                    "no answer for now; `nanoclaw turns list` shows what waits, `nanoclaw doctor` what is wrong",
                )?;
            }
            (Ending::Interrupted, _) if !self.settled() => self.display.note(&format!("left; {later}"))?,
            _ => {}
        }
        Ok(ending)
    }
}
