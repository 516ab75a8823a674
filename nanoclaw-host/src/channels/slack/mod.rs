//! Slack, by Socket Mode: the host connects to Slack, so nothing has to reach the host.
//!
//! What people write comes over one WebSocket (the shared `socket`), as envelopes that are read (`event`), made readable (`text_in`) and
//! handed in, chat by chat (`receive`); an envelope is acknowledged when its message is committed. Replies go out by the Web API
//! (`send`), each piece with a mark by which it is found again. What was said while nobody was connected is asked for (`catch_up`). `session` is the order in which a connection is made, `trouble`
//! what Slack's errors mean, `client` the one that knows how Slack is called (the crate `slack-morphism`).
//!
//! The socket is our own and not that crate's listener, which tries a refused token for ever without a word, acknowledges what
//! it cannot read, and handles one message after the other: a large file in one chat would hold up all others.

mod catch_up;
mod client;
mod event;
mod fetch;
mod people;
mod receive;
mod send;
mod session;
mod text_in;
mod trouble;

use std::sync::{Arc, OnceLock};

use nanoclaw_core::{
    chat::{ChannelName, ChatId},
    secret::Secret,
};
use reqwest::Url;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::{
    client::{Client, ClientError},
    people::People,
};
use super::{
    bridge::Claim,
    ports::{ChannelHost, Intake, ServiceParts},
    progress::Progress,
    service,
    status::{ChannelState, ChannelWatch, StatusKeeper},
};
use crate::{credentials::Credentials, files::Spool};

/// How the ids of its chats begin; what follows is Slack's id of the conversation.
const PREFIX: &str = "slack:";

/// The credential with which it writes and reads: of the app as it is installed in a workspace.
pub const BOT_TOKEN: &str = "SLACK_BOT_TOKEN";
/// The credential with which it connects: of the app itself.
pub const APP_TOKEN: &str = "SLACK_APP_TOKEN";

/// How Slack is used.
#[derive(Debug, Clone)]
pub struct SlackSettings {
    /// Whether somebody said that it should be: then missing credentials are trouble.
    pub required: bool,
    /// The Web API; a method is a name below it.
    pub api_url: Url,
}

/// The channel to Slack.
pub(super) struct Slack {
    name: ChannelName,
    claim: Claim,
    settings: SlackSettings,
    /// Made when it is first needed: the certificates that it reads take time and memory.
    client: OnceLock<Client>,
    credentials: Credentials,
    intake: Arc<dyn Intake>,
    host: Arc<dyn ChannelHost>,
    files: Option<Arc<Spool>>,
    status: StatusKeeper,
    people: People,
    progress: Progress,
    /// A send was refused for its token: whoever is connected looks whether it still is taken.
    doubted: Notify,
}

/// Adds the channel to the host. What is returned beside its state keeps it connected until `stop` is cancelled, and has to be
/// run.
pub fn start(
    parts: ServiceParts<SlackSettings>,
    stop: CancellationToken,
) -> (ChannelWatch, impl Future<Output = ()> + Send + 'static) {
    let ServiceParts { settings, credentials, intake, host, files } = parts;
    let name = ChannelName::new("slack").expect("a plain word is a channel's name");
    let claim = Claim::new(vec![PREFIX.to_owned()], Vec::new()).expect("the prefix has the form that claims want");
    let changes = credentials.changes();
    let slack = Arc::new(Slack {
        client: OnceLock::new(),
        status: StatusKeeper::new(name.clone(), ChannelState::Connecting),
        people: People::default(),
        progress: Progress::default(),
        doubted: Notify::new(),
        name,
        claim,
        settings,
        credentials,
        intake,
        host,
        files,
    });
    let watch = slack.status.watch(slack.claim.clone());
    slack.host.add_channel(slack.clone());
    (watch, async move { service::keep(&*slack, changes, stop).await })
}

/// Both tokens.
#[derive(Debug, Clone)]
struct Tokens {
    bot: Secret,
    app: Secret,
}

/// Why there are no tokens to connect with.
#[derive(Debug, PartialEq, Eq)]
enum NoTokens {
    /// These are missing.
    Missing(Vec<&'static str>),
    /// This one is not what its name says; what it should begin with.
    WrongKind(&'static str, &'static str),
}

impl Slack {
    fn tokens(&self) -> Result<Tokens, NoTokens> {
        tokens(self.credentials.secret_named(BOT_TOKEN), self.credentials.secret_named(APP_TOKEN))
    }

    fn client(&self) -> Result<&Client, ClientError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = Client::new(&self.settings.api_url)?;
        // Of two at once, the first one's is kept.
        Ok(self.client.get_or_init(|| made))
    }
}

fn tokens(bot: Option<Secret>, app: Option<Secret>) -> Result<Tokens, NoTokens> {
    match (bot, app) {
        (Some(bot), _) if !bot.reveal().starts_with("xoxb-") => Err(NoTokens::WrongKind(BOT_TOKEN, "xoxb-")),
        (_, Some(app)) if !app.reveal().starts_with("xapp-") => Err(NoTokens::WrongKind(APP_TOKEN, "xapp-")),
        (Some(bot), Some(app)) => Ok(Tokens { bot, app }),
        (bot, app) => {
            let missing = [(bot.is_none(), BOT_TOKEN), (app.is_none(), APP_TOKEN)];
            Err(NoTokens::Missing(missing.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect()))
        }
    }
}

/// The chat of Slack's conversation `id`; `None` when that is no id.
fn chat_of(id: &str) -> Option<ChatId> {
    let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| ChatId::new(format!("{PREFIX}{id}")).ok()).flatten()
}

/// Slack's id of the conversation that `chat` is.
fn conversation_of(chat: &ChatId) -> &str {
    chat.as_str().strip_prefix(PREFIX).unwrap_or(chat.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_by_how_they_begin() {
        let secret = |text: &str| Some(Secret::new(text));
        assert!(tokens(secret("xoxb-1"), secret("xapp-1")).is_ok());
        for (bot, app, expected) in [
            (None, None, NoTokens::Missing(vec![BOT_TOKEN, APP_TOKEN])),
            (secret("xoxb-1"), None, NoTokens::Missing(vec![APP_TOKEN])),
            (secret("xapp-1"), secret("xoxb-1"), NoTokens::WrongKind(BOT_TOKEN, "xoxb-")),
            (secret("xoxb-1"), secret("xoxp-1"), NoTokens::WrongKind(APP_TOKEN, "xapp-")),
        ] {
            assert_eq!(tokens(bot, app).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_chat_is_its_conversation_with_the_prefix() {
        let chat = chat_of("C0123").unwrap();
        assert_eq!((chat.as_str(), conversation_of(&chat)), ("slack:C0123", "C0123"));
        for bad in ["", "C1:2", "C1\n", "../x"] {
            assert_eq!(chat_of(bad), None, "{bad:?}");
        }
    }
}
