//! Discord, by its gateway: the host connects to Discord, so nothing has to reach the host.
//!
//! What happens comes over one WebSocket (the shared `socket`) in payloads (`gateway`), which are told apart (`event`, `places`), made
//! readable (`text_in`) and handed in, chat by chat (`receive`). What was said while nobody was connected is asked for (`catch_up`).
//! Replies go out by the REST API (`send`), in pieces that Discord shows once. `session` is the order in which a connection is
//! made, `trouble` what Discord's errors mean, `client` the one that knows how Discord is called (the crate `serenity`).
//!
//! The gateway is our own and not that crate's, which hands each event to a worker of its own, so that order is lost; is told what it
//! cannot read only by its log, words and all; counts an event as heard before anybody has stored it; and asks an address of its own
//! choice when Discord does not say where the gateway is. Discord has no acknowledgement. But a session that is gone on with is told
//! again what came after the number that we say, and we say that of the last event with which all is done: so what could not be
//! stored comes again.

mod catch_up;
mod client;
mod event;
mod fetch;
mod gateway;
mod places;
mod receive;
mod send;
mod session;
mod text_in;
mod trouble;

use std::{
    collections::HashMap,
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use nanoclaw_core::{
    chat::{ChannelName, ChatId},
    secret::Secret,
};
use reqwest::Url;
use serenity::model::id::ChannelId;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    client::{Client, ClientError},
    places::Places,
    session::Held,
};
use super::{
    bridge::Claim,
    ports::{ChannelHost, Intake, ServiceParts},
    progress::Progress,
    service,
    status::{ChannelState, ChannelWatch, StatusKeeper},
};
use crate::{credentials::Credentials, files::Spool};

/// How the ids of its chats begin; what follows is Discord's id of the channel.
const PREFIX: &str = "dc:";

/// The credential with which it connects, writes and reads: that of the bot.
pub const TOKEN: &str = "DISCORD_BOT_TOKEN";

/// How Discord is used.
#[derive(Debug, Clone)]
pub struct DiscordSettings {
    /// Whether somebody said that it should be: then a missing credential is trouble.
    pub required: bool,
    /// Where the REST API is; `/api/v10` follows.
    pub api_url: Url,
}

/// The channel to Discord.
pub(super) struct Discord {
    name: ChannelName,
    claim: Claim,
    settings: DiscordSettings,
    /// Made when it is first needed: the certificates that it reads take time and memory.
    client: OnceLock<Client>,
    credentials: Credentials,
    intake: Arc<dyn Intake>,
    host: Arc<dyn ChannelHost>,
    files: Option<Arc<Spool>>,
    status: StatusKeeper,
    progress: Progress,
    known: Mutex<Known>,
    /// A send was refused for its token: whoever is connected looks whether it still is taken.
    doubted: Notify,
}

/// What is known from one session to the next.
#[derive(Default)]
struct Known {
    /// The session that can be gone on with.
    held: Option<Held>,
    /// The bot's user.
    me: Option<String>,
    places: Places,
    /// The names of chats that the store has.
    noted: HashMap<ChatId, String>,
    /// Until when Discord shows in a chat that the bot is typing.
    typing: HashMap<ChatId, Instant>,
}

/// Adds the channel to the host. What is returned beside its state keeps it connected until `stop` is cancelled, and has to be
/// run.
pub fn start(
    parts: ServiceParts<DiscordSettings>,
    stop: CancellationToken,
) -> (ChannelWatch, impl Future<Output = ()> + Send + 'static) {
    let ServiceParts { settings, credentials, intake, host, files } = parts;
    let name = ChannelName::new("discord").expect("a plain word is a channel's name");
    let claim = Claim::new(vec![PREFIX.to_owned()], Vec::new()).expect("the prefix has the form that claims want");
    let changes = credentials.changes();
    let discord = Arc::new(Discord {
        client: OnceLock::new(),
        status: StatusKeeper::new(name.clone(), ChannelState::Connecting),
        progress: Progress::default(),
        known: Mutex::default(),
        doubted: Notify::new(),
        name,
        claim,
        settings,
        credentials,
        intake,
        host,
        files,
    });
    let watch = discord.status.watch(discord.claim.clone());
    discord.host.add_channel(discord.clone());
    (watch, async move { service::keep(&*discord, changes, stop).await })
}

impl Discord {
    fn token(&self) -> Option<Secret> {
        self.credentials.secret_named(TOKEN)
    }

    fn client(&self) -> Result<&Client, ClientError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = Client::new(&self.settings.api_url)?;
        // Of two at once, the first one's is kept.
        Ok(self.client.get_or_init(|| made))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The chat of Discord's channel `id`; `None` when that is no id.
fn chat_of(id: &str) -> Option<ChatId> {
    id.parse::<NonZeroU64>().ok()?;
    ChatId::new(format!("{PREFIX}{id}")).ok()
}

/// Discord's id of the channel that `chat` is; `None` when it is none.
fn channel_of(chat: &ChatId) -> Option<ChannelId> {
    let id = chat.as_str().strip_prefix(PREFIX)?.parse::<NonZeroU64>().ok()?;
    Some(ChannelId::from(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_is_its_channel_with_the_prefix() {
        let chat = chat_of("1478731235843899392").unwrap();
        assert_eq!(chat.as_str(), "dc:1478731235843899392");
        assert_eq!(channel_of(&chat).unwrap().get(), 1_478_731_235_843_899_392);
        for bad in ["", "0", "x", "1:2", "-1", "99999999999999999999"] {
            assert_eq!(chat_of(bad), None, "{bad:?}");
        }
        assert_eq!(channel_of(&"dc:general".parse().unwrap()), None);
        assert_eq!(channel_of(&"slack:1".parse().unwrap()), None);
    }
}
