//! The Claude Code command line as a provider: one process for the whole run, stream-json both ways.
//!
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
mod failure;
mod lines;
mod process;
mod settings;
mod thinking;
mod transcript;

use std::path::PathBuf;

use nanoclaw_core::{protocol::output::FailureKind, session::SessionId, time::Timestamp};

use self::{
    lines::{Line, Outcome},
    process::Process,
};
use super::{Failure, Prompt, Said, Start, pictures};
use crate::log::say;

/// So many refused logins in one turn are believed. The program itself would try ten times, which takes three minutes; the
/// second try is for a login that was being renewed.
const LOGINS_REFUSED: u32 = 2;

/// The provider.
pub(crate) struct Claude {
    start: Start,
    /// Started with the first prompt.
    process: Option<Process>,
    /// Why it could not be started.
    not_started: Option<Failure>,
    session: Option<SessionId>,
    prompt: Option<Asked>,
    /// Whether this version tells of prompts by id; older ones do not.
    tells_of_prompts: bool,
    logins_refused: u32,
    /// When the limit that stands in the way is reset, as the program told it before it failed.
    limit_resets_at: Option<Timestamp>,
    /// The file of the compaction that has begun.
    archived: Option<PathBuf>,
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
            process: None,
            not_started: None,
            prompt: None,
            tells_of_prompts: false,
            logins_refused: 0,
            limit_resets_at: None,
            archived: None,
            start,
        }
    }

    pub(crate) fn ask(&mut self, prompt: Prompt) {
        let id = lines::prompt_id();
        let pictures = pictures::of(&prompt.files, &self.start.places.group);
        let line = lines::user_message(&id, &prompt.text, &pictures);
        self.prompt = Some(Asked { id, taken_up: false });
        self.logins_refused = 0;
        if self.process.is_none() {
            if let Some(reason) = transcript::unfit(&self.start) {
                self.not_started = Some(Failure::new(FailureKind::NoSession, reason));
                return;
            }
            match Process::start(&self.start) {
                Ok(process) => self.process = Some(process),
                Err(failure) => {
                    self.not_started = Some(failure);
                    return;
                }
            }
        }
        if let Some(process) = &mut self.process {
            // A process that does not take it has ended, and that is told by its lines and its exit (fault F29).
            process.send(line);
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Said, Failure> {
        if let Some(failure) = self.not_started.take() {
            return Err(failure);
        }
        loop {
            let Some(process) = &mut self.process else { return std::future::pending().await };
            let Some(line) = process.line().await else {
                let ending = process.ending().await;
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
                Line::Result { session, unasked, outcome } => {
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
                Ok(Some(Said { text, session: self.session.clone(), answers_prompt }))
            }
            // Before the program takes anything up it can fail as a whole, so with a prompt open any failure counts.
            Outcome::Failure(failure) if self.prompt.is_some() => {
                let told = self.limit_resets_at.filter(|_| failure.kind == FailureKind::Quota);
                Err(Failure { retry_at: failure.retry_at.or(told), ..failure })
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
        if let Some(process) = self.process.take() {
            process.stop().await;
        }
    }
}
