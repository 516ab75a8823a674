//! Telegram, as a bot, by MTProto: the host connects to Telegram, so nothing has to reach the host.
//!
//! What people write comes as numbered updates (`feed`) that are read (`update`, `media`), made readable (`text_in`) and handed in, chat by
//! chat (`receive`). Nothing is acknowledged one by one: up to where all is taken in (`checkpoint`) is stored (`store`), and from there on
//! Telegram is asked after a break. Replies go out each with an id that is derived from its key (`send`), so that Telegram
//! itself shows none twice. `session` is the order in which a connection is made, `trouble` what Telegram's errors mean. The
//! protocol, the connections and the order of updates are the crate `grammers-client`'s.

mod checkpoint;
mod feed;
mod fetch;
mod gaps;
mod media;
mod receive;
mod send;
mod session;
mod store;
mod text_in;
mod trouble;
mod update;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use grammers_client::{Client, session::types::PeerId, tl};
use nanoclaw_core::{
    chat::{ChannelName, ChatId},
    secret::Secret,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::{
    feed::ANSWER_LIMIT,
    store::{BotSession, State},
    trouble::Trouble,
};
use super::{
    bridge::Claim,
    ports::{ChannelHost, Intake, ServiceParts},
    progress::Progress,
    service,
    status::{ChannelState, ChannelWatch, StatusKeeper},
};
use crate::{credentials::Credentials, files::Spool};

/// How the ids of its chats begin; what follows is the id that the Bot API gives the chat: a person's own, negative for a group,
/// `-100…` for a supergroup.
const PREFIX: &str = "tg:";

/// The credential that is the number of the application, from my.telegram.org.
pub const API_ID: &str = "TELEGRAM_API_ID";
/// The credential that belongs to that number.
pub const API_HASH: &str = "TELEGRAM_API_HASH";
/// The credential of the bot, from @BotFather.
pub const BOT_TOKEN: &str = "TELEGRAM_BOT_TOKEN";

/// How Telegram is used.
#[derive(Debug, Clone)]
pub struct TelegramSettings {
    /// Whether somebody said that it should be: then missing credentials are trouble.
    pub required: bool,
    /// The database with its session; made with its folder when it is not there.
    pub state: PathBuf,
}

/// The channel to Telegram.
pub(super) struct Telegram {
    name: ChannelName,
    claim: Claim,
    settings: TelegramSettings,
    /// Opened when it is first needed, and held from then on.
    state: tokio::sync::Mutex<Option<Arc<State>>>,
    credentials: Credentials,
    intake: Arc<dyn Intake>,
    host: Arc<dyn ChannelHost>,
    files: Option<Arc<Spool>>,
    status: StatusKeeper,
    progress: Progress,
    /// While there is a connection.
    line: Mutex<Option<Line>>,
    /// Telegram did not know us at a send: whoever is connected looks whether it still does.
    doubted: Notify,
}

/// A connection, for those who send.
#[derive(Clone)]
struct Line {
    client: Client,
    session: Arc<BotSession>,
}

/// Who we are, as Telegram knows us.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Me {
    id: i64,
    /// Without the `@`.
    username: Option<String>,
}

impl Me {
    fn peer(&self) -> PeerId {
        PeerId::user(self.id).unwrap_or_else(PeerId::self_user)
    }
}

/// Adds the channel to the host. What is returned beside its state keeps it connected until `stop` is cancelled, and has to be
/// run.
pub fn start(
    parts: ServiceParts<TelegramSettings>,
    stop: CancellationToken,
) -> (ChannelWatch, impl Future<Output = ()> + Send + 'static) {
    let ServiceParts { settings, credentials, intake, host, files } = parts;
    let name = ChannelName::new("telegram").expect("a plain word is a channel's name");
    let claim = Claim::new(vec![PREFIX.to_owned()], Vec::new()).expect("the prefix has the form that claims want");
    let changes = credentials.changes();
    let telegram = Arc::new(Telegram {
        state: tokio::sync::Mutex::default(),
        status: StatusKeeper::new(name.clone(), ChannelState::Connecting),
        progress: Progress::default(),
        line: Mutex::default(),
        doubted: Notify::new(),
        name,
        claim,
        settings,
        credentials,
        intake,
        host,
        files,
    });
    let watch = telegram.status.watch(telegram.claim.clone());
    telegram.host.add_channel(telegram.clone());
    (watch, async move { service::keep(&*telegram, changes, stop).await })
}

/// All that is needed to sign in.
#[derive(Debug, Clone)]
struct Keys {
    api_id: i32,
    api_hash: Secret,
    token: Secret,
    /// The bot's id, with which its token begins.
    bot: i64,
}

/// Why there is nothing to sign in with.
#[derive(Debug, PartialEq, Eq)]
enum NoKeys {
    /// These are missing.
    Missing(Vec<&'static str>),
    /// This one is not what its name says; what it should be.
    WrongKind(&'static str, &'static str),
}

impl Telegram {
    fn keys(&self) -> Result<Keys, NoKeys> {
        let named = |name| self.credentials.secret_named(name);
        keys(named(API_ID), named(API_HASH), named(BOT_TOKEN))
    }

    fn line(&self) -> Option<Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_line(&self, line: Option<Line>) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }
}

fn keys(api_id: Option<Secret>, api_hash: Option<Secret>, token: Option<Secret>) -> Result<Keys, NoKeys> {
    let (Some(id), Some(api_hash), Some(token)) = (&api_id, api_hash.clone(), token.clone()) else {
        let missing = [(api_id.is_none(), API_ID), (api_hash.is_none(), API_HASH), (token.is_none(), BOT_TOKEN)];
        return Err(NoKeys::Missing(missing.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect()));
    };
    let Some(api_id) = id.reveal().parse().ok().filter(|id| *id > 0) else {
        return Err(NoKeys::WrongKind(API_ID, "a number"));
    };
    let bot = token.reveal().split_once(':').and_then(|(bot, _)| bot.parse().ok());
    match bot.filter(|bot| PeerId::user(*bot).is_some()) {
        Some(bot) => Ok(Keys { api_id, api_hash, token, bot }),
        None => Err(NoKeys::WrongKind(BOT_TOKEN, "a number, a colon, and letters")),
    }
}

/// Asks Telegram, with a limit to its answer.
async fn call<R: tl::RemoteCall>(client: &Client, request: &R) -> Result<R::Return, Trouble> {
    match tokio::time::timeout(ANSWER_LIMIT, client.invoke(request)).await {
        Ok(answer) => answer.map_err(Trouble::of),
        Err(_) => Err(Trouble::no_answer(ANSWER_LIMIT)),
    }
}

/// The chat that a peer of Telegram's is.
fn chat_of(peer: PeerId) -> Option<ChatId> {
    ChatId::new(format!("{PREFIX}{}", peer.bot_api_dialog_id()?)).ok()
}

/// The peer of Telegram's that `chat` is.
fn peer_of(chat: &ChatId) -> Option<PeerId> {
    let id = chat.as_str().strip_prefix(PREFIX)?.parse().ok()?;
    PeerId::from_bot_api_dialog_id(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_of_the_wrong_kind_is_named() {
        let secret = |text: &str| Some(Secret::new(text));
        let good = keys(secret("12"), secret("0f"), secret("777:abc")).unwrap();
        assert_eq!((good.api_id, good.bot), (12, 777));
        for (id, hash, token, expected) in [
            (None, None, None, NoKeys::Missing(vec![API_ID, API_HASH, BOT_TOKEN])),
            (secret("12"), None, secret("777:abc"), NoKeys::Missing(vec![API_HASH])),
            (secret("0f"), secret("12"), secret("777:abc"), NoKeys::WrongKind(API_ID, "a number")),
            (secret("12"), secret("0f"), secret("abc"), NoKeys::WrongKind(BOT_TOKEN, "a number, a colon, and letters")),
            (
                secret("12"),
                secret("0f"),
                secret("-7:a"),
                NoKeys::WrongKind(BOT_TOKEN, "a number, a colon, and letters"),
            ),
        ] {
            assert_eq!(keys(id, hash, token).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_chat_is_known_by_the_id_of_the_bot_api() {
        for (peer, id) in [
            (PeerId::user(1001), "tg:1001"),
            (PeerId::chat(4242), "tg:-4242"),
            (PeerId::channel(5555), "tg:-1000000005555"),
        ] {
            let chat = chat_of(peer.unwrap()).unwrap();
            assert_eq!((chat.as_str(), peer_of(&chat)), (id, peer));
        }
        for bad in ["tg:", "tg:x", "tg:0", "tg:99999999999999999999", "slack:C1"] {
            assert_eq!(peer_of(&bad.parse().unwrap_or_else(|_| "tg:x".parse().unwrap())), None, "{bad}");
        }
    }
}
