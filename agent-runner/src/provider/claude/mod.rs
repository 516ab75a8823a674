//! The Claude Code command line as a provider: one process for the whole run, stream-json both ways. It is started with the
//! first prompt, or ahead of it; then it is handed the prompt if it would be started the same now.
//!
//! * [`command_line`] is what it is started with, and [`made_of`] that and the files that it reads by itself.
//! * [`process`] starts it and carries lines to and from it.
//! * [`lines`] says what its lines mean.
//! * [`thinking`] tells it how to think; [`archive`] keeps what it is about to forget.
//! * [`failure`] says what kind of failure an error is.
//! * [`settings`] gives it our tools, and sees to it that it has them.
//! * [`transcript`] says which session is too large to be resumed.
//!
//! Which answer belongs to which prompt is not guessed: each prompt has an id of its own, and the program says when it
//! takes that prompt up. It also speaks unasked, when a command in the background has ended; such an answer must not pass
//! for the answer to a prompt that came in meanwhile.

mod archive;
mod command_line;
mod failure;
mod lines;
mod made_of;
mod process;
mod settings;
mod thinking;
mod transcript;

use std::path::PathBuf;

use nanoclaw_core::{
    protocol::{dollars::Dollars, output::FailureKind},
    session::SessionId,
    time::Timestamp,
};

use self::{
    lines::{Line, Outcome},
    made_of::MadeOf,
    process::Process,
    thinking::Thinking,
};
use super::{Failure, Prompt, Said, Start, pictures};
use crate::log::say;

/// So many refused logins in one turn are believed. The program itself would try ten times, which takes three minutes; the
/// second try is for a login that was being renewed.
const LOGINS_REFUSED: u32 = 2;

/// The provider.
pub(crate) struct Claude {
    start: Start,
    /// A process that was started ahead of the first prompt.
    ahead: Option<Ahead>,
    /// The one that is handed the prompts, from the first one on.
    process: Option<Process>,
    /// The prompt that is to be handed over next.
    to_hand: Option<Vec<u8>>,
    /// The prompt that a process was handed which was started ahead and has not said anything yet.
    handed_ahead: Option<Vec<u8>>,
    session: Option<SessionId>,
    prompt: Option<Asked>,
    /// Whether this version tells of prompts by id; older ones do not.
    tells_of_prompts: bool,
    logins_refused: u32,
    /// When the limit that stands in the way is reset, as the program told it before it failed.
    limit_resets_at: Option<Timestamp>,
    /// The file of the compaction that has begun.
    archived: Option<PathBuf>,
    /// What was spent and is not told yet.
    spent: Option<Dollars>,
}

/// A process that waits for the first prompt.
struct Ahead {
    process: Process,
    made_of: MadeOf,
}

/// The prompt that is not answered yet.
struct Asked {
    id: String,
    /// Whether the program has taken it up: the next result answers it.
    taken_up: bool,
}

impl Claude {
    pub(crate) fn new(start: Start) -> Self {
        Self {
            session: None,
            ahead: None,
            process: None,
            to_hand: None,
            handed_ahead: None,
            prompt: None,
            tells_of_prompts: false,
            logins_refused: 0,
            limit_resets_at: None,
            archived: None,
            spent: None,
            start,
        }
    }

    pub(crate) fn start_ahead(&mut self) {
        if let Some(reason) = transcript::unfit(&self.start) {
            return say!("claude is not started ahead: {reason}");
        }
        let made_of = MadeOf::now(&self.start);
        match made_of.and_then(|made_of| Ok(Ahead { process: Process::start(&made_of.command_line)?, made_of })) {
            Ok(ahead) => self.ahead = Some(ahead),
            Err(failure) => say!("claude cannot be started ahead: {}", failure.reason),
        }
    }

    pub(crate) fn take_over(&mut self, other: &mut Self) {
        self.ahead = other.ahead.take();
    }

    pub(crate) fn ask(&mut self, prompt: Prompt) {
        let id = lines::prompt_id();
        let pictures = pictures::of(&prompt.files, &self.start.places.group);
        self.to_hand = Some(lines::user_message(&id, &prompt.text, &pictures));
        self.prompt = Some(Asked { id, taken_up: false });
        self.logins_refused = 0;
    }

    /// Hands a prompt to the process. A process that does not take it has ended, and that is told by its lines and its exit
    /// (fault F29).
    async fn hand(&mut self, line: Vec<u8>) -> Result<(), Failure> {
        let process = match self.process.take() {
            Some(process) => process,
            None => self.begin(&line).await?,
        };
        self.process.insert(process).send(line);
        Ok(())
    }

    /// The process for the first prompt, which is `line`: the one that was started ahead, or a new one.
    async fn begin(&mut self, line: &[u8]) -> Result<Process, Failure> {
        if let Some(reason) = transcript::unfit(&self.start) {
            return Err(Failure::new(FailureKind::NoSession, reason));
        }
        let now = MadeOf::now(&self.start)?;
        Thinking::new(self.start.settings.clone())?.say_what_cannot_be();
        if let Some(Ahead { mut process, made_of }) = self.ahead.take() {
            let Some(reason) = process.ended().or_else(|| made_of.differs_from(&now)) else {
                self.handed_ahead = Some(line.to_vec());
                return Ok(process);
            };
            say!("claude was started ahead and is started anew: {reason}");
            process.stop().await;
        }
        Process::start(&now.command_line)
    }

    pub(crate) async fn next(&mut self) -> Result<Said, Failure> {
        if let Some(line) = self.to_hand.take() {
            self.hand(line).await?;
        }
        loop {
            let Some(process) = &mut self.process else { return std::future::pending().await };
            let line = process.line().await;
            let handed_ahead = self.handed_ahead.take();
            let Some(line) = line else {
                let ending = process.ending().await;
                if let Some(line) = handed_ahead {
                    // It was dying when it was looked at, which says nothing about what it was asked.
                    say!("claude was started ahead and is started anew: it ended before it took the prompt ({ending})");
                    self.stop().await;
                    self.hand(line).await?;
                    continue;
                }
                return Err(Failure::other(format!("claude ended without an answer: {ending}")));
            };
            match line {
                Line::Session(session) => self.session = Some(session),
                Line::PromptTakenUp { id } => {
                    self.tells_of_prompts = true;
                    if let Some(asked) = &mut self.prompt
                        && asked.id == id
                    {
                        asked.taken_up = true;
                    }
                }
                Line::TriesAgain { status, error } => {
                    say!("claude: the model's API failed ({error}); it tries again");
                    self.logins_refused += u32::from(status == Some(401));
                    if self.logins_refused >= LOGINS_REFUSED {
                        let reason = "the model's API refuses the login (401)".to_owned();
                        return Err(Failure::new(FailureKind::Login, reason));
                    }
                }
                Line::Compacts { session } => self.archive(session, None).await,
                Line::Compacted { session, boundary } => {
                    self.archive(session, Some(boundary)).await;
                    self.archived = None;
                }
                Line::Limit { resets_at } => self.limit_resets_at = resets_at,
                Line::Result { session, unasked, outcome, cost } => {
                    self.spent = cost.map(|cost| cost + self.spent.unwrap_or_default()).or(self.spent);
                    let answers_prompt = match &self.prompt {
                        None => false,
                        Some(asked) if self.tells_of_prompts => asked.taken_up,
                        Some(_) => !unasked,
                    };
                    if let Some(said) = self.conclude(session, answers_prompt, outcome)? {
                        return Ok(said);
                    }
                }
                Line::Other => {}
            }
        }
    }

    /// Keeps what the program is about to forget, off the agent's only thread: a transcript can be large.
    async fn archive(&mut self, session: String, boundary: Option<String>) {
        let (start, written) = (self.start.clone(), self.archived.clone());
        let archive = move || archive::conversation(&start, &session, boundary.as_deref(), written);
        self.archived = tokio::task::spawn_blocking(archive).await.unwrap_or_default();
    }

    /// What a result comes to; `None` when it is nothing to say.
    fn conclude(
        &mut self,
        session: Option<SessionId>,
        answers_prompt: bool,
        outcome: Outcome,
    ) -> Result<Option<Said>, Failure> {
        match outcome {
            Outcome::Answer(text) => {
                if session.is_some() {
                    self.session = session;
                }
                if answers_prompt {
                    self.prompt = None;
                } else if text.is_none() {
                    return Ok(None);
                }
                Ok(Some(Said { text, session: self.session.clone(), answers_prompt, cost: self.spent.take() }))
            }
            // Before the program takes anything up it can fail as a whole, so with a prompt open any failure counts.
            Outcome::Failure(failure) if self.prompt.is_some() => {
                let told = self.limit_resets_at.filter(|_| failure.kind == FailureKind::Quota);
                Err(Failure { retry_at: failure.retry_at.or(told), cost: self.spent.take(), ..failure })
            }
            Outcome::Failure(failure) => {
                say!("claude: work that nobody waits for failed: {}", failure.reason);
                Ok(None)
            }
        }
    }

    pub(crate) fn close(&mut self) {
        if let Some(process) = &mut self.process {
            process.close_input();
        }
    }

    pub(crate) async fn stop(&mut self) {
        let ahead = self.ahead.take().map(|ahead| ahead.process);
        for process in [ahead, self.process.take()].into_iter().flatten() {
            process.stop().await;
        }
    }
}
