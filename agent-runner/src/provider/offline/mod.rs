//! The provider without a model: deterministic, and able to use everything that an agent can use.
//!
//! Each message of a prompt is answered by a line `heard <text>`, all lines of one prompt in one reply. A message that is a
//! command does what it says instead: see [`command`], and `docs/offline-provider.md` for people.

mod command;
mod memory;
mod prompt;

use nanoclaw_core::protocol::output::FailureKind;

use self::{
    command::{Command, Done, Tools},
    memory::Memory,
};
use super::{Failure, Said, Start};
use crate::chat_tools::ChatTools;

/// The provider.
pub(crate) struct Offline {
    start: Start,
    memory: Option<Memory>,
    prompt: Option<String>,
    chat_tools: ChatTools,
}

impl Offline {
    pub(crate) fn new(start: Start) -> Self {
        let chat_tools = ChatTools::new(&start.places, &start.chat, start.role);
        Self { start, memory: None, prompt: None, chat_tools }
    }

    pub(crate) fn ask(&mut self, prompt: String) {
        self.prompt = Some(prompt);
    }

    pub(crate) async fn next(&mut self) -> Result<Said, Failure> {
        match self.prompt.take() {
            Some(prompt) => self.answer(&prompt).await,
            None => std::future::pending().await,
        }
    }

    async fn answer(&mut self, prompt: &str) -> Result<Said, Failure> {
        let mut memory = match self.memory.take() {
            Some(memory) => memory,
            None => self.open_memory()?,
        };
        let mut parts = Vec::new();
        for message in prompt::messages(prompt) {
            let done = match command::parse(&message.text) {
                Some(command) => self.run(&command, &memory).await?,
                None => Done::Say(format!("heard {}", message.text)),
            };
            memory.hear(&message);
            match done {
                Done::Say(text) => parts.push(text),
                Done::Silence => {}
            }
        }
        // Kept before the answer goes out, so that what was answered is remembered.
        memory.keep().map_err(|error| Failure::other(format!("cannot remember the conversation: {error}")))?;
        let said = Said {
            text: (!parts.is_empty()).then(|| parts.join("\n")),
            session: Some(memory.session().clone()),
            answers_prompt: true,
            cost: None,
        };
        self.memory = Some(memory);
        Ok(said)
    }

    async fn run(&self, command: &Command, memory: &Memory) -> Result<Done, Failure> {
        Tools { places: &self.start.places, chat: &self.start.chat, chat_tools: &self.chat_tools, memory }
            .run(command)
            .await
    }

    fn open_memory(&self) -> Result<Memory, Failure> {
        let folder = self.start.places.home.join(".claude/offline");
        let Some(session) = &self.start.session else { return Ok(Memory::new(folder)) };
        match Memory::open(&folder, session) {
            Ok(Some(memory)) => Ok(memory),
            Ok(None) => {
                let reason = format!("no conversation found with session id {session}");
                Err(Failure::new(FailureKind::NoSession, reason))
            }
            Err(error) => Err(Failure::other(format!("cannot read the session {session} in {folder:?}: {error}"))),
        }
    }
}
