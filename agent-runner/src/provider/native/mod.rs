//! The agent loop of our own: asks a model, does what it wants done, until it has an answer. For small images and many groups.
//!
//! * [`settings`] says which model, and where.
//! * [`conversation`] is what was said; [`session`] owns it, and the file in which it survives.
//! * [`wire`] asks the model; nobody else knows of its APIs.
//! * [`tools`] do things.
//! * [`prompt`] says what the model is told to be, [`skills`] what it can read about how to do things.
//! * [`forgetting`] says which sessions are not kept.
//! * [`compaction`] says what becomes of a conversation that is too long.
//!
//! A turn is one prompt. What the model says last in it is the answer. Prompts that come meanwhile wait for it (see
//! [`crate::agent`]). A turn that is cut off in the middle leaves a conversation that can be resumed, and no processes.

mod compaction;
mod conversation;
mod forgetting;
mod prompt;
mod session;
mod settings;
mod skills;
mod tools;
mod wire;

use std::{io, time::SystemTime};

use futures_util::future::join_all;
use nanoclaw_core::{protocol::output::FailureKind, session::SessionId};

use self::{
    conversation::{Message, Said, Seen, ToolResult, words},
    session::{NotOpened, Session},
    settings::Settings,
    tools::Toolbox,
    wire::{Kind, Model, Reply, Request, Stop, Trouble},
};
use super::{Failure, Prompt, Said as Told, Start, pictures};
use crate::{log::say, places::set};

/// The provider.
pub(crate) struct Native {
    start: Start,
    prompt: Option<Prompt>,
    /// From the first prompt on.
    agent: Option<Box<Agent>>,
}

impl Native {
    pub(crate) fn new(start: Start) -> Self {
        Self { start, prompt: None, agent: None }
    }

    pub(crate) fn ask(&mut self, prompt: Prompt) {
        self.prompt = Some(prompt);
    }

    pub(crate) async fn next(&mut self) -> Result<Told, Failure> {
        let Some(prompt) = self.prompt.take() else { return std::future::pending().await };
        let agent = match &mut self.agent {
            Some(agent) => agent,
            none => none.insert(Box::new(Agent::new(self.start.clone()).await?)),
        };
        let text = agent.turn(prompt).await?;
        Ok(Told { text, session: Some(agent.session.id().clone()), answers_prompt: true, cost: None })
    }

    /// Ends what was started. A command that runs is killed when its turn is given up, which was before this.
    pub(crate) async fn stop(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.tools.stop().await;
        }
    }
}

/// Everything that takes turns.
struct Agent {
    start: Start,
    settings: Settings,
    model: Model,
    tools: Toolbox,
    session: Session,
    /// What the conversation had after the last answer: tokens, and how many messages they are.
    counted: Option<(u64, usize)>,
}

/// Why a turn has no answer.
struct NoAnswer {
    failure: Failure,
    /// Whether the turn's content may be why.
    forget: bool,
}

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        Self { failure: cannot_remember(&error), forget: false }
    }
}

impl From<Trouble> for NoAnswer {
    fn from(trouble: Trouble) -> Self {
        let forget = matches!(trouble.kind, Kind::Refused | Kind::TooLong);
        Self { failure: trouble.failure(), forget }
    }
}

fn cannot_remember(error: &io::Error) -> Failure {
    Failure::other(format!("cannot remember the conversation: {error}"))
}

impl Agent {
    async fn new(start: Start) -> Result<Self, Failure> {
        let settings = Settings::new(&start, set)?;
        let model = Model::new(&settings).map_err(Trouble::failure)?;
        // Before anything is started: a session that is gone begins everything anew.
        let session = open(&start, start.session.as_ref())?;
        let tools = Toolbox::new(&start, &settings.given).await;
        Ok(Self { start, settings, model, tools, session, counted: None })
    }

    /// Answers a prompt; `None` is silence.
    async fn turn(&mut self, prompt: Prompt) -> Result<Option<String>, Failure> {
        let pictures = pictures::of(&prompt.files, &self.start.places.group);
        if pictures.is_empty() {
            return self.turn_with(vec![Seen::text(prompt.text)]).await;
        }
        let shown = pictures
            .into_iter()
            .map(|picture| Seen::Image { media_type: picture.media_type.to_owned(), data: picture.data });
        let mut parts = vec![Seen::text(prompt.text.clone())];
        parts.extend(shown);
        match self.turn_with(parts).await {
            // A picture that the model cannot read, or a model that cannot see, must not cost the message its answer.
            Err(failure) if failure.kind == FailureKind::Refused => {
                say!("asking again without the pictures: {}", failure.reason);
                let note = "(The pictures named above could not be shown to you; use tools on their files.)";
                self.turn_with(vec![Seen::text(prompt.text), Seen::text(note)]).await
            }
            outcome => outcome,
        }
    }

    async fn turn_with(&mut self, prompt: Vec<Seen>) -> Result<Option<String>, Failure> {
        self.session.prompt(prompt).map_err(|error| cannot_remember(&error))?;
        match self.answer().await {
            Ok(text) => {
                self.session.answered().map_err(|error| cannot_remember(&error))?;
                Ok(text)
            }
            Err(NoAnswer { failure, forget }) => {
                if let Err(error) = self.session.failed(&failure.reason, forget) {
                    say!("cannot remember that the turn failed: {error}");
                }
                Err(failure)
            }
        }
    }

    /// Asks the model and does what it wants, until it is done.
    async fn answer(&mut self) -> Result<Option<String>, NoAnswer> {
        let system = prompt::system(&self.start, self.settings.given.prompt.as_deref(), self.tools.troubles());
        let mut rounds = 0;
        let mut asked_again = false;
        loop {
            let reply = self.ask(&system).await?;
            if reply.stop == Stop::Refused {
                let reason = words(&reply.parts).unwrap_or_else(|| "it gives no reason".to_owned());
                let failure = Failure::new(FailureKind::Refused, format!("the model refuses to answer: {reason}"));
                return Err(NoAnswer { failure, forget: true });
            }
            let message = Message::Model(reply.parts.clone());
            if reply.stop == Stop::Done && words(&reply.parts).is_none() && message.tool_uses().next().is_none() {
                // No word and no deed: perhaps a slip. Asked once more; then it is silence.
                if asked_again {
                    return Ok(None);
                }
                say!("the model's answer is empty; asking once more");
                asked_again = true;
                continue;
            }
            self.session.said(reply.parts.clone())?;
            self.counted = reply.tokens.map(|tokens| (tokens, self.session.messages().len()));
            if message.tool_uses().next().is_none() {
                match reply.stop {
                    Stop::Pause if rounds < self.settings.max_tool_rounds => {
                        rounds += 1;
                        continue;
                    }
                    Stop::Length => return Ok(Some(cut(words(&reply.parts)))),
                    _ => return Ok(words(&reply.parts)),
                }
            }
            let results: Vec<ToolResult> = join_all(message.tool_uses().map(|used| self.tools.call(used))).await;
            self.session.results(results)?;
            rounds += 1;
            if rounds >= self.settings.max_tool_rounds {
                return self.give_up(rounds);
            }
        }
    }

    /// The next answer to the conversation. Where it has become too long it is compacted first.
    async fn ask(&mut self, system: &str) -> Result<Reply, NoAnswer> {
        if self.is_long() {
            self.compact().await?;
        }
        let tools = self.tools.specs();
        let request = Request { system, messages: self.session.messages(), tools };
        match self.model.ask(request).await {
            Err(trouble) if trouble.kind == Kind::TooLong && self.can_be_compacted() => {
                say!("{}", trouble.reason);
                self.compact().await?;
                let request = Request { system, messages: self.session.messages(), tools: self.tools.specs() };
                Ok(self.model.ask(request).await?)
            }
            answered => Ok(answered?),
        }
    }

    fn is_long(&self) -> bool {
        let messages = self.session.messages();
        let size = |messages: &[Message]| messages.iter().map(Message::size).sum::<usize>();
        let counted = self.counted.filter(|(_, count)| *count <= messages.len());
        let added = counted.map_or(0, |(_, count)| size(&messages[count..]));
        self.can_be_compacted()
            && compaction::is_due(
                self.settings.context_window,
                counted.map(|(tokens, _)| tokens),
                added,
                size(messages),
            )
    }

    /// Whether there is more than a prompt, or a summary and a prompt.
    fn can_be_compacted(&self) -> bool {
        self.session.messages().len() > 2
    }

    /// Replaces the conversation by a summary and the prompt that is being answered.
    async fn compact(&mut self) -> Result<(), NoAnswer> {
        let messages = self.session.messages();
        let archive = match compaction::archive(&self.start.places.group.join("conversations"), messages) {
            Ok(path) => Some(path),
            Err(error) => {
                say!("the conversation cannot be put into conversations/: {error}");
                None
            }
        };
        let text = compaction::to_summarise(messages, self.settings.context_window);
        let task =
            [Message::User(vec![Seen::text(format!("{}\n\n<conversation>\n{text}</conversation>", compaction::TASK))])];
        let notes = match self.model.ask(Request { system: "", messages: &task, tools: &[] }).await {
            Ok(reply) => words(&reply.parts).unwrap_or_else(|| "(none)".to_owned()),
            // Without notes is better than never again.
            Err(trouble) if matches!(trouble.kind, Kind::Refused | Kind::TooLong) => {
                say!("there are no notes about the conversation: {}", trouble.reason);
                "(none)".to_owned()
            }
            Err(trouble) => return Err(trouble.into()),
        };
        let mut kept = vec![compaction::summary(&notes, archive.as_deref())];
        let turn = self.session.turn();
        kept.extend(messages.get(turn).cloned());
        let open = (kept.len() > 1).then_some(1);
        say!("the conversation was compacted: {} messages are now {}", messages.len(), kept.len());
        self.session.compacted(kept, open)?;
        self.counted = None;
        Ok(())
    }

    /// The answer of a turn that does not come to an end.
    fn give_up(&mut self, rounds: u32) -> Result<Option<String>, NoAnswer> {
        let text = format!(
            "I stopped here: {rounds} rounds of using tools did not bring me to an answer. What I did until now is done. \
             Write to me if I am to go on."
        );
        self.session.said(vec![Said::text(text.clone())])?;
        Ok(Some(text))
    }
}

fn cut(text: Option<String>) -> String {
    let text = text.unwrap_or_default();
    format!("{text}\n\n(This answer reached the most that I may say at once and was cut here.)").trim().to_owned()
}

fn open(start: &Start, session: Option<&SessionId>) -> Result<Session, Failure> {
    let folder = start.places.home.join(".claude").join("native");
    let Some(id) = session else {
        if let Err(error) = forgetting::forget(&folder, SystemTime::now()) {
            say!("cannot remove old sessions in {folder:?}: {error}");
        }
        return Ok(Session::new(&folder));
    };
    Session::open(&folder, id).map_err(|not| match not {
        NotOpened::None(reason) => Failure::new(FailureKind::NoSession, reason),
        NotOpened::Io(error) => Failure::other(format!("cannot read the session {id} in {folder:?}: {error}")),
    })
}

/// Makes `ring` the cryptography of TLS in this process; later calls change nothing.
fn install_tls() {
    // An error says that there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
