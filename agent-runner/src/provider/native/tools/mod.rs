//! What the agent can do. Each tool has one definition: its name, what the model is told of it, what it takes, and the doing.
//!
//! Whatever a tool is given and whatever becomes of it, there is a result: a tool that fails says so in words, one that
//! gives more than a model can read is cut and says so.

mod bash;
mod chat;
mod files;
mod limits;
pub(super) mod mcp;
#[cfg(test)]
mod place;
mod search;
mod web;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use self::{
    bash::Bash,
    chat::Chat,
    files::{Edit, Read, Write},
    mcp::Servers,
    search::{Glob, Grep},
    web::WebFetch,
};
use super::{
    super::Start,
    conversation::{Seen, ToolResult, ToolUse},
};
use nanoclaw_core::protocol::agent::AgentSettings;

/// What a model is told of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToolSpec {
    pub(super) name: String,
    pub(super) description: String,
    /// A JSON schema of an object.
    pub(super) schema: Value,
}

/// What a tool gave, or in words why it failed.
pub(super) type Outcome = Result<Vec<Seen>, String>;

/// One of our own tools.
trait Tool {
    const NAME: &'static str;
    /// What happens, truly: the model has no other source.
    const DESCRIPTION: &'static str;
    /// What it takes.
    type Input: DeserializeOwned;
    /// The same as a JSON schema.
    fn schema() -> Value;
    /// Does it.
    async fn call(workplace: &Workplace, input: Self::Input) -> Outcome;
}

/// Where the tools work.
#[derive(Debug)]
pub(super) struct Workplace {
    /// The folder in which commands and relative paths begin; a command can change it for those after it.
    folder: Mutex<PathBuf>,
    /// Held by whoever changes a file by reading it first.
    changing: Mutex<()>,
    /// Files of our own.
    own: PathBuf,
}

impl Workplace {
    pub(super) fn new(group: &Path, home: &Path) -> Self {
        Self {
            folder: Mutex::new(group.to_owned()),
            changing: Mutex::new(()),
            own: home.join(".claude").join("native"),
        }
    }

    /// A path as a model means it.
    async fn path(&self, path: &str) -> PathBuf {
        self.folder.lock().await.join(path)
    }
}

/// A closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    Bash,
    Read,
    Write,
    Edit,
    Glob,
    Grep,
    WebFetch,
}

const OWN: [Own; 7] = [Own::Bash, Own::Read, Own::Write, Own::Edit, Own::Glob, Own::Grep, Own::WebFetch];

impl Own {
    fn spec(self) -> ToolSpec {
        match self {
            Self::Bash => spec::<Bash>(),
            Self::Read => spec::<Read>(),
            Self::Write => spec::<Write>(),
            Self::Edit => spec::<Edit>(),
            Self::Glob => spec::<Glob>(),
            Self::Grep => spec::<Grep>(),
            Self::WebFetch => spec::<WebFetch>(),
        }
    }

    async fn call(self, workplace: &Workplace, input: Value) -> Outcome {
        match self {
            Self::Bash => call::<Bash>(workplace, input).await,
            Self::Read => call::<Read>(workplace, input).await,
            Self::Write => call::<Write>(workplace, input).await,
            Self::Edit => call::<Edit>(workplace, input).await,
            Self::Glob => call::<Glob>(workplace, input).await,
            Self::Grep => call::<Grep>(workplace, input).await,
            Self::WebFetch => call::<WebFetch>(workplace, input).await,
        }
    }
}

fn spec<T: Tool>() -> ToolSpec {
    ToolSpec { name: T::NAME.to_owned(), description: T::DESCRIPTION.to_owned(), schema: T::schema() }
}

async fn call<T: Tool>(workplace: &Workplace, input: Value) -> Outcome {
    let input = serde_json::from_value(input).map_err(|error| format!("{} does not take that: {error}", T::NAME))?;
    T::call(workplace, input).await
}

/// All tools that an agent has.
pub(super) struct Toolbox {
    workplace: Workplace,
    own: Vec<Own>,
    chat: Chat,
    servers: Servers,
    /// The first are those of `own`, in its order.
    specs: Vec<ToolSpec>,
}

impl Toolbox {
    /// The tools that the settings permit. Servers are started; one that does not start is said in the log and to the
    /// model, and the others work.
    pub(super) async fn new(start: &Start, settings: &AgentSettings) -> Self {
        let own = OWN.into_iter().map(|own| (own, own.spec()));
        let (own, mut specs): (Vec<Own>, Vec<ToolSpec>) =
            own.filter(|(_, spec)| settings.tools.permit(&spec.name)).unzip();
        let servers = Servers::start(start, settings).await;
        let chat = Chat::new(start);
        specs.extend(chat.specs().iter().filter(|spec| settings.tools.permit(&spec.name)).cloned());
        specs.extend(servers.specs().filter(|spec| settings.tools.permit(&spec.name)).cloned());
        Self { workplace: Workplace::new(&start.places.group, &start.places.home), own, chat, servers, specs }
    }

    /// What the model is told.
    pub(super) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// What is wrong with servers, for the model to know; empty when nothing is.
    pub(super) fn troubles(&self) -> &[String] {
        self.servers.troubles()
    }

    /// Does it.
    pub(super) async fn call(&self, used: &ToolUse) -> ToolResult {
        let outcome = match &used.malformed {
            Some(reason) => {
                Err(format!("{} was not called, because what it was given cannot be read: {reason}", used.name))
            }
            None => self.outcome(used).await,
        };
        let (content, is_error) = match outcome {
            Ok(content) => (content, false),
            Err(words) => (vec![Seen::text(words)], true),
        };
        ToolResult { id: used.id.clone(), content: limits::bounded(content), is_error }
    }

    async fn outcome(&self, used: &ToolUse) -> Outcome {
        let Some(place) = self.specs.iter().position(|spec| spec.name == used.name) else {
            let names: Vec<&str> = self.specs.iter().map(|spec| spec.name.as_str()).collect();
            return Err(format!("there is no tool {:?}; there are: {}", used.name, names.join(", ")));
        };
        let input = used.input.clone();
        if let Some(own) = self.own.get(place) {
            own.call(&self.workplace, input).await
        } else if let Some(name) = used.name.strip_prefix(chat::PREFIX) {
            self.chat.call(name, input).await
        } else {
            self.servers.call(&used.name, input).await
        }
    }

    /// Ends what was started.
    pub(super) async fn stop(self) {
        self.servers.stop().await;
    }
}

/// Work that would hold up the agent's only thread, its signs of life among it.
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| format!("it was interrupted: {error}"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_told_by_a_name_words_and_an_object_of_described_fields() {
        for own in OWN {
            let spec = own.spec();
            assert!(spec.name.len() <= 64 && spec.description.len() > 40, "{spec:?}");
            assert_eq!(spec.schema["type"], "object", "{spec:?}");
            let fields = spec.schema["properties"].as_object().unwrap();
            assert!(
                fields.values().all(|field| field["description"].is_string() && field["type"].is_string()),
                "{spec:?}"
            );
            let required = spec.schema["required"].as_array().unwrap();
            assert!(required.iter().all(|name| fields.contains_key(name.as_str().unwrap())), "{spec:?}");
        }
    }
}
