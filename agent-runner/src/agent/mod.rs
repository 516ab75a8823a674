//! The agent: `agent-runner run`. One JSON object from standard input, then turns, until there is no reason to stay.
//!
//! This file owns the order of things; what thinks is a [`Provider`]. What is promised:
//!
//! * Each turn has one prompt, a known range of messages, and its block says up to which message everything is answered.
//!   While a turn runs, follow-ups stay in the mailbox: taken and pushed into the running turn they would share its answer,
//!   and if the container died, nobody could tell which of them had been answered.
//! * A request to close is honoured after the messages that lie there (fault F3), and a dying agent takes none (fault F23).
//! * A task's run takes no follow-ups at all (fault F52) and ends by itself after its turn. Its script, where it has one, runs
//!   before anything else, whatever the provider (fault F62).
//! * A block is written whole or not at all.
//! * What was started [`ahead`] of the input is used as far as the input, and whatever else may have changed, would have it so.
//! * For as long as the loop turns, the host is given signs of life, if it asked for our additions to the contract.

mod ahead;
mod beat;
mod follow_ups;
mod input;
mod output;
mod script;

pub(crate) use self::input::TASK_NOTICE;

use std::{collections::BTreeMap, time::Duration};

use nanoclaw_core::{
    causes::with_causes,
    group::GroupRole,
    message::Seq,
    protocol::{
        input::{Ahead, ContainerInput},
        output::{Block, FailureKind, Status},
    },
    secret::Secret,
    session::SessionId,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use self::{beat::Beat, follow_ups::FollowUps, input::Received, output::Output, script::Verdict};
use crate::{
    chat_tools::ChatTools,
    log::say,
    overlay::{self, Overlay, hooks::Hooks},
    places::{Places, set},
    provider::{self, Failure, Prompt, Provider, Said, Start},
};

/// The exit code after a failure that a block tells of.
const FAILED: u8 = 1;

/// What stands before a prompt whose session could not be resumed: an agent that does not know that it forgot would deny what
/// it said and promised.
pub(crate) const NEW_SESSION_NOTICE: &str = "[NEW SESSION - the earlier conversation of this chat cannot be gone on with, so you do not \
remember it. What was noted is in the files of the working folder, older conversations perhaps in conversations/.]";

/// How long a run that is over waits until its group was told what is wrong with its overlay.
const TELLING: Duration = Duration::from_secs(2);

/// How long a provider may take to say its last words when it is asked to close: work it left in the background.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How much longer it may take in a task's run, which nobody has asked to close: sub-agents may still have an answer. For as
/// long its group's chat waits.
const BACKGROUND_OF_A_TASK: Duration = Duration::from_secs(10 * 60);

/// Reads the input, takes turns, and returns the exit code.
pub(crate) fn main() -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say!("cannot start: {error}");
            return FAILED;
        }
    };
    let code = runtime.block_on(run()).unwrap_or_else(|error| {
        say!("{error:#}");
        FAILED
    });
    // Not waited for: asked to stop before there was any input, the read of standard input would hold the process.
    runtime.shutdown_background();
    code
}

async fn run() -> anyhow::Result<u8> {
    let mut stop = Stop::catch()?;
    let mut output = Output::standard()?;
    let places = Places::from_environment();
    let mut ahead = ahead::start(&places);
    let received = tokio::select! {
        () = stop.asked() => None,
        received = input::receive() => Some(received),
    };
    let Received { input, secrets } = match received {
        Some(Ok(received)) => received,
        not_received => {
            if let Some(provider) = &mut ahead {
                provider.stop().await;
            }
            let Some(Err(error)) = not_received else { return Ok(0) };
            output.write(&failed(&Failure::other(format!("the input cannot be used: {error:#}"))))?;
            return Ok(FAILED);
        }
    };
    let task = input.is_scheduled_task == Some(true);

    let mut follow_ups = match FollowUps::open(&places.mailbox) {
        Ok(follow_ups) => {
            follow_ups.forget_old_close();
            Some(follow_ups)
        }
        Err(error) => {
            let reason = format!("the mailbox cannot be used: {}", with_causes(&error));
            if !task {
                output.write(&failed(&Failure::other(reason)))?;
                return Ok(FAILED);
            }
            say!("{reason}; a task takes nothing from it");
            None
        }
    };
    let mut beat = input.protocol.and_then(|_| Beat::start(&places.mailbox));

    let mut text = input.prompt.clone();
    if let Some(script) = input.script.as_deref().filter(|script| task && !script.trim().is_empty()) {
        let checked = tokio::select! {
            biased;
            checked = unless_stopped(&mut beat, &mut stop, script::check(script, &places.group, script::PATIENCE)) => checked,
            () = FollowUps::close(&mut follow_ups) => None,
        };
        match checked {
            None => return Ok(0),
            Some(Ok(Verdict::Wake { data })) => text = script::prompt(&data, &text),
            Some(Ok(Verdict::Sleep)) => {
                say!("the task's script lets the agent sleep");
                output.write(&Block { woke: Some(false), ..silent(None, input.last_seq) })?;
                return Ok(0);
            }
            Some(Err(reason)) => {
                say!("{reason}");
                output.write(&failed(&Failure::new(FailureKind::Script, reason)))?;
                return Ok(FAILED);
            }
        }
    }
    // An empty prompt stays one: there is nothing to ask anybody.
    if task && !text.trim().is_empty() {
        text = format!("{}\n\n{text}", input::TASK_NOTICE);
    }

    let (start, overlay) = match started_with(input.ahead(), places, secrets) {
        Ok(started_with) => started_with,
        Err(failure) => {
            output.write(&failed(&failure))?;
            return Ok(FAILED);
        }
    };
    let tools = ChatTools::new(&start.places, &start.chat, start.role);
    let (troubles, chat, home) = (overlay.troubles().to_vec(), start.chat.clone(), start.places.home.clone());
    // Beside the work: the host takes a moment to answer.
    let telling = tokio::spawn(async move { overlay::tell(&troubles, &chat, &tools, &home).await });
    let provider = match ahead {
        Some(ahead) => ahead.now_of(start.clone()).await,
        None => Provider::new(start.clone()),
    };
    let agent = Agent {
        follow_ups,
        beat,
        provider,
        hooks: overlay.hooks().clone(),
        start,
        output,
        task,
        counted: input.last_seq.is_some(),
        handed: input.last_seq,
        // Every block says what is answered, the first ones too: one that says nothing would be taken for the word of an
        // agent that names no messages, and the prompt for answered.
        answered: input.last_seq.map(|_| Seq(input.first_seq.map_or(0, |first| first.0 - 1))),
        session: None,
    };
    let code = agent.live(Prompt { text, files: input.files.clone() }, &input, &mut stop).await;
    // A run can be over before it was its turn.
    let _ = timeout(TELLING, telling).await;
    code
}

/// What a provider is started with, as the input, the operator and the group's overlay have it.
fn started_with(
    known: Ahead,
    places: Places,
    secrets: BTreeMap<&'static str, Secret>,
) -> Result<(Start, Overlay), Failure> {
    let mut overlay = Overlay::read(&overlay::folder());
    let (provider, settings) = overlay.on(provider::from_environment()?, set);
    let Ahead { session_id: session, group_folder: folder, chat_jid: chat, is_main, .. } = known;
    let role = if is_main { GroupRole::Main } else { GroupRole::Ordinary };
    Ok((Start { session, folder, chat, role, places, secrets, provider, settings }, overlay))
}

/// Waits for `work` while the host is given signs of life; `None`: asked to stop meanwhile.
async fn unless_stopped<T>(beat: &mut Option<Beat>, stop: &mut Stop, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.asked() => None,
        never = Beat::go_on(beat) => match never {},
        done = work => Some(done),
    }
}

/// One run's agent.
struct Agent {
    provider: Provider,
    /// What the provider was started with, for starting it anew.
    start: Start,
    /// What the group has run besides.
    hooks: Hooks,
    /// In a task's run for the request to close alone; `None` where that cannot be heard.
    follow_ups: Option<FollowUps>,
    /// `None`: the host asked for none.
    beat: Option<Beat>,
    output: Output,
    task: bool,
    /// Whether the host counts messages; a v1 host does not, and wants to be told that we wait for input.
    counted: bool,
    /// The newest message that was handed to the provider.
    handed: Option<Seq>,
    /// The newest message that is answered; `None` only where the host does not count.
    answered: Option<Seq>,
    /// The session, once the provider has told it.
    session: Option<SessionId>,
}

/// What the agent does between turns.
enum Next {
    Turn,
    Wait,
    Close,
}

impl Agent {
    async fn live(mut self, first: Prompt, input: &ContainerInput, stop: &mut Stop) -> anyhow::Result<u8> {
        let mut prompt = first;
        if let Some(follow_ups) = self.follow_ups.as_mut().filter(|_| !self.task) {
            let taken = follow_ups.take(input.last_seq);
            for more in &taken.texts {
                prompt.text.push('\n');
                prompt.text.push_str(more);
            }
            prompt.files.extend(taken.files);
            self.handed = self.handed.max(taken.last);
        }
        let group = self.start.places.group.clone();
        if unless_stopped(&mut self.beat, stop, self.hooks.before_first_prompt(&group)).await.is_none()
            || self.hooked(&mut prompt.text, stop).await.is_none()
        {
            return Ok(0);
        }
        let mut busy = self.ask(prompt.clone())?;

        loop {
            while !busy {
                match self.between_turns(&mut prompt)? {
                    Next::Turn => {
                        if self.hooked(&mut prompt.text, stop).await.is_none() {
                            self.provider.stop().await;
                            return Ok(0);
                        }
                        busy = self.ask(prompt.clone())?;
                    }
                    Next::Wait => break,
                    Next::Close => return self.close(stop).await,
                }
            }
            tokio::select! {
                biased;
                () = stop.asked() => {
                    // From here on no message is taken: it belongs to the next run.
                    self.provider.stop().await;
                    return Ok(0);
                }
                never = Beat::go_on(&mut self.beat) => match never {},
                said = self.provider.next() => match said {
                    Ok(said) => {
                        let (answers, text) = (said.answers_prompt, said.text.clone());
                        self.tell(said)?;
                        if answers {
                            busy = false;
                            let told = self.hooks.after_answer(text.as_deref().unwrap_or_default(), &group);
                            if unless_stopped(&mut self.beat, stop, told).await.is_none() {
                                self.provider.stop().await;
                                return Ok(0);
                            }
                        }
                    }
                    Err(failure) if failure.kind == FailureKind::NoSession && self.start.session.is_some() => {
                        say!("{}; starting a new session", failure.reason);
                        self.provider.stop().await;
                        self.start.session = None;
                        prompt.text = format!("{NEW_SESSION_NOTICE}\n\n{}", prompt.text);
                        self.provider = Provider::new(self.start.clone());
                        busy = self.ask(prompt.clone())?;
                    }
                    Err(failure) => return self.fail(&failure).await,
                },
                () = FollowUps::changed(&mut self.follow_ups), if !busy => {}
            }
        }
    }

    /// Adds to a prompt what the group's hook has to say; `None`: asked to stop meanwhile.
    async fn hooked(&mut self, text: &mut String, stop: &mut Stop) -> Option<()> {
        if !text.trim().is_empty() {
            let hooked = self.hooks.before_prompt(std::mem::take(text), &self.start.places.group);
            *text = unless_stopped(&mut self.beat, stop, hooked).await?;
        }
        Some(())
    }

    /// Hands a prompt to the provider; whether that began a turn. Nothing to say to a provider is nothing to answer: an
    /// empty prompt is answered by silence at once, as the model's API would refuse it (fault F22).
    fn ask(&mut self, prompt: Prompt) -> anyhow::Result<bool> {
        if prompt.text.trim().is_empty() {
            self.answered = self.handed;
            self.output.write(&silent(self.session.clone(), self.answered))?;
            return Ok(false);
        }
        self.provider.ask(prompt);
        Ok(true)
    }

    /// Takes what lies in the mailbox into `prompt`.
    fn between_turns(&mut self, prompt: &mut Prompt) -> anyhow::Result<Next> {
        let Some(follow_ups) = self.follow_ups.as_mut().filter(|_| !self.task) else { return Ok(Next::Close) };
        // Asked for before the messages are looked at: then every message that was there before the request is seen.
        let close = follow_ups.close_asked();
        let taken = follow_ups.take(self.handed);
        if !taken.texts.is_empty() {
            *prompt = Prompt { text: taken.texts.join("\n"), files: taken.files };
            self.handed = self.handed.max(taken.last);
            return Ok(Next::Turn);
        }
        if close {
            follow_ups.forget_close();
            return Ok(Next::Close);
        }
        Ok(Next::Wait)
    }

    /// Writes the block for what the provider said.
    fn tell(&mut self, said: Said) -> anyhow::Result<()> {
        if said.session.is_some() {
            self.session = said.session;
        }
        if said.answers_prompt {
            self.answered = self.handed;
        }
        let block = Block { result: said.text, cost_usd: said.cost, ..silent(self.session.clone(), self.answered) };
        self.output.write(&block)?;
        if said.answers_prompt && !self.counted && !self.task {
            // v1's word for "waiting for input"; its host counts on it.
            self.output.write(&silent(self.session.clone(), None))?;
        }
        Ok(())
    }

    /// Lets the provider end, telling what it still has to say.
    async fn close(mut self, stop: &mut Stop) -> anyhow::Result<u8> {
        self.provider.close();
        let (mut beat, mut follow_ups) = (self.beat.take(), self.follow_ups.take());
        let patience = if self.task { BACKGROUND_OF_A_TASK } else { Duration::ZERO };
        let last_words = async {
            while let Some(said) = self.provider.last_word().await {
                self.tell(said)?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            biased;
            () = stop.asked() => {}
            never = Beat::go_on(&mut beat) => match never {},
            told = last_words => told?,
            () = async {
                let _ = timeout(patience, FollowUps::close(&mut follow_ups)).await;
                tokio::time::sleep(LAST_WORDS).await;
            } => {}
        }
        self.provider.stop().await;
        Ok(0)
    }

    async fn fail(mut self, failure: &Failure) -> anyhow::Result<u8> {
        self.output.write(&failed(failure))?;
        self.provider.stop().await;
        Ok(FAILED)
    }
}

/// A success without words.
fn silent(session: Option<SessionId>, answered: Option<Seq>) -> Block {
    Block { new_session_id: session, answered_seq: answered, ..Block::success(None) }
}

/// A failure. It never carries the session: a host would store it, and resume what is broken for ever (fault F8).
fn failed(failure: &Failure) -> Block {
    Block {
        status: Status::Error,
        error: Some(failure.reason.clone()),
        failure: Some(failure.kind),
        retry_at: failure.retry_at,
        cost_usd: failure.cost,
        ..silent(None, None)
    }
}

/// The signals by which a container is asked to stop.
struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            signals: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            ],
        })
    }

    async fn asked(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.signals;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
