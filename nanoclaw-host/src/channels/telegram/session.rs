//! One connection to Telegram: made in the order in which each step can say best what is wrong, then served until it ends.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::{BoxFuture, FutureExt as _, OptionFuture};
use grammers_client::{
    Client, SenderPool,
    sender::{ConnectionParams, NoRetries},
    session::{
        Session as _,
        types::{PeerAuth, PeerInfo, UpdateState, UpdatesState},
        updates::UpdatesLike,
    },
    tl::{self, enums, functions},
};
use nanoclaw_core::{causes::with_causes, time::Timestamp};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    API_HASH, API_ID, BOT_TOKEN, Keys, Line, Me, NoKeys, PREFIX, Telegram, call,
    feed::{Feed, Stopped, not_stored},
    receive::Receiver,
    store::{BotSession, State, StateError},
    trouble::{Trouble, new_credential},
};
use crate::{
    channels::{
        service::{Ending, Service},
        status::{ChannelState, StatusKeeper},
    },
    credentials::fingerprint,
};

/// The most of what Telegram pushes that waits to be put in order. What comes beyond it is dropped, and asked for again.
const MOST_PUSHED: NonZeroUsize = NonZeroUsize::new(2048).expect("it is not zero");
/// How often we ask whether the other end is there. The connection by itself may not notice for a quarter of an hour.
const PROBE_EVERY: Duration = Duration::from_secs(45);
/// How long the last words may take when a session ends.
const LONGEST_END: Duration = Duration::from_secs(5);

#[async_trait]
impl Service for Telegram {
    async fn session(&self, stop: &CancellationToken) -> Ending {
        let keys = match self.keys() {
            Ok(keys) => keys,
            Err(none) => return without_keys(&none, self.settings.required),
        };
        let session = match self.remembered(keys.bot).await {
            Ok(session) => session,
            Err(error) => return Ending::Lost { reason: with_causes(&error), after: None },
        };
        let pool = SenderPool::with_configuration(session.clone(), keys.api_id, parameters());
        let (client, handle) = (Client::new(pool.handle.clone()), pool.handle);
        // Not a worker of its own: what it does is over when the session is.
        let mut running = std::pin::pin!(pool.runner.run());
        let ending = tokio::select! {
            biased;
            ending = self.connect_and_serve(&keys, &client, &session, pool.updates, stop).boxed() => ending,
            () = &mut running => {
                return Ending::Lost { reason: "the connection to Telegram ended".to_owned(), after: None };
            }
        };
        handle.quit();
        let _ = timeout(LONGEST_END, running).await;
        ending
    }

    fn status(&self) -> &StatusKeeper {
        &self.status
    }
}

/// How the client says what it is. All of it is written out: the defaults ask other programs what this machine is, and tell it.
fn parameters() -> ConnectionParams {
    ConnectionParams {
        device_model: "NanoClaw".to_owned(),
        system_version: std::env::consts::OS.to_owned(),
        app_version: env!("CARGO_PKG_VERSION").to_owned(),
        system_lang_code: "en".to_owned(),
        lang_code: "en".to_owned(),
        use_ipv6: false,
        // What is tried again, and when, is decided by who asked.
        retry_policy: Box::new(NoRetries),
        updates_channel_capacity: MOST_PUSHED,
        __non_exhaustive: (),
    }
}

/// Connects, and signs in where that is needed. Returns who we are.
async fn connect(client: &Client, session: &BotSession, keys: &Keys) -> Result<Me, Trouble> {
    let signed_in = session.signed_in_with().as_deref() == Some(&*fingerprint(&keys.token));
    if !signed_in {
        sign_in(client, session, keys).await?;
    }
    match who_we_are(client).await {
        // Logged out since, or the key was one that Telegram does not know: once more, from the beginning.
        Err(trouble) if trouble.is_signed_out() && signed_in => {
            tracing::warn!(error = trouble.word(), "Telegram does not know the session any more; signing in anew");
            sign_in(client, session, keys).await?;
            who_we_are(client).await
        }
        known => known,
    }
}

async fn sign_in(client: &Client, session: &BotSession, keys: &Keys) -> Result<(), Trouble> {
    session.set_signed_in(None).await.map_err(not_stored)?;
    let request = functions::auth::ImportBotAuthorization {
        flags: 0,
        api_id: keys.api_id,
        api_hash: keys.api_hash.reveal().to_owned(),
        bot_auth_token: keys.token.reveal().to_owned(),
    };
    let answer = match call(client, &request).await {
        // The account is kept elsewhere.
        Err(Trouble::Told(error)) if error.code == 303 && error.value.is_some() => {
            let home = error.value.and_then(|home| i32::try_from(home).ok()).unwrap_or_default();
            session.set_home_dc_id(home).await.map_err(not_stored)?;
            call(client, &request).await?
        }
        answer => answer?,
    };
    if let enums::auth::Authorization::Authorization(authorization) = answer
        && let enums::User::User(user) = authorization.user
    {
        let auth = user.access_hash.map(PeerAuth::from_hash);
        let me = PeerInfo::User { id: user.id, auth, bot: Some(true), is_self: Some(true) };
        session.cache_peer(me).await.map_err(not_stored)?;
    }
    // Where we were is where we are: the numbers are the account's, not the session's. Only the first time there are none.
    if session.updates_state().await.map_err(not_stored)?.pts == 0 {
        let enums::updates::State::State(now) = call(client, &functions::updates::GetState {}).await?;
        let (pts, qts, date, seq) = (now.pts, now.qts, now.date, now.seq);
        let now = UpdateState::All(UpdatesState { pts, qts, date, seq, channels: Vec::new() });
        session.set_update_state(now).await.map_err(not_stored)?;
    }
    session.set_signed_in(Some(&fingerprint(&keys.token))).await.map_err(not_stored)
}

async fn who_we_are(client: &Client) -> Result<Me, Trouble> {
    let ourselves = functions::users::GetUsers { id: vec![enums::InputUser::UserSelf] };
    match call(client, &ourselves).await?.into_iter().next() {
        Some(enums::User::User(user)) => Ok(Me { id: user.id, username: user.username }),
        _ => Err(Trouble::Unclear("Telegram does not say who we are".to_owned())),
    }
}

impl Telegram {
    async fn remembered(&self, bot: i64) -> Result<Arc<BotSession>, StateError> {
        let mut state = self.state.lock().await;
        let open = match &*state {
            Some(open) => open.clone(),
            None => state.insert(Arc::new(State::open(&self.settings.state).await?)).clone(),
        };
        BotSession::load(open, bot).await.map(Arc::new)
    }

    async fn connect_and_serve<'a>(
        &'a self,
        keys: &'a Keys,
        client: &'a Client,
        session: &'a Arc<BotSession>,
        pushed: mpsc::Receiver<UpdatesLike>,
        stop: &'a CancellationToken,
    ) -> Ending {
        let connected = async {
            let me = connect(client, session, keys).await?;
            let feed = Feed::new(client.clone(), session.clone(), pushed).await?;
            Ok((me, feed))
        };
        let connected = tokio::select! {
            connected = connected => connected,
            () = stop.cancelled() => return Ending::Stopped,
        };
        match connected {
            Ok((me, feed)) => self.serve(client, session, me, feed, stop).await,
            Err(trouble) => {
                self.forget_what_is_void(session, &trouble).await;
                trouble.for_connection()
            }
        }
    }

    async fn serve(
        &self,
        client: &Client,
        session: &Arc<BotSession>,
        me: Me,
        mut feed: Feed,
        stop: &CancellationToken,
    ) -> Ending {
        tracing::info!(bot = me.id, username = me.username, "connected to Telegram");
        let _while_it_lasts = OnLine::new(self, Line { client: client.clone(), session: session.clone() });
        self.status.set(ChannelState::Connected { since: Timestamp::now() });
        self.host.channel_connected(&self.name);
        let mut receiver = Receiver::new(self, client, session.clone(), me);
        // One batch is read ahead. Reading goes on from where it was whatever else happens: a question in the middle is not asked again.
        let (read, mut batches) = mpsc::channel(1);
        let mut reading = std::pin::pin!(async {
            loop {
                match feed.next().await {
                    Ok(batch) => drop(read.send(batch).await),
                    Err(stopped) => return stopped,
                }
            }
        });
        let mut watching = std::pin::pin!(self.watch_over(client));
        let mut saving: OptionFuture<BoxFuture<'_, Result<(), StateError>>> = None.into();
        let mut is_saving = false;
        let ending = loop {
            if !is_saving && let Some(state) = receiver.reached() {
                saving = Some(session.set_update_state(UpdateState::All(state)).boxed()).into();
                is_saving = true;
            }
            let trouble = tokio::select! {
                biased;
                () = stop.cancelled() => break Ending::Stopped,
                saved = &mut saving, if is_saving => {
                    is_saving = false;
                    match saved {
                        Some(Err(error)) => not_stored(error),
                        Some(Ok(())) | None => continue,
                    }
                }
                done = receiver.done() => match done {
                    Ok(()) => continue,
                    Err(reason) => Trouble::NotStored(reason),
                },
                Some(batch) = batches.recv(), if receiver.has_room() => {
                    receiver.take(batch);
                    continue;
                }
                stopped = &mut reading => match stopped {
                    Stopped::Trouble(trouble) => trouble,
                    Stopped::TooMuch => {
                        Trouble::Unclear("more came than can be taken in; asking Telegram for it again".to_owned())
                    }
                },
                trouble = &mut watching => trouble,
            };
            self.forget_what_is_void(session, &trouble).await;
            break match trouble.is_signed_out() {
                true => Ending::Lost {
                    reason: format!(
                        "Telegram does not know the session any more ({}); signing in anew",
                        trouble.word()
                    ),
                    after: None,
                },
                false => trouble.for_connection(),
            };
        };
        // What was begun is seen to its end, and noted; of the rest Telegram is asked again.
        if is_saving {
            let _ = timeout(LONGEST_END, saving).await;
        }
        if let Some(state) = receiver.end().await
            && let Err(error) = session.set_update_state(UpdateState::All(state)).await
        {
            tracing::warn!(error = with_causes(&error), "up to where Telegram was heard could not be stored");
        }
        ending
    }

    /// Looks whether the other end is there, and, when a send says so, whether it still knows us. Ends when not.
    async fn watch_over(&self, client: &Client) -> Trouble {
        loop {
            let looked = tokio::select! {
                () = self.doubted.notified() => who_we_are(client).await.map(|_| ()),
                () = tokio::time::sleep(PROBE_EVERY) => {
                    call(client, &functions::Ping { ping_id: 1 }).await.map(|tl::enums::Pong::Pong(_)| ())
                }
            };
            if let Err(trouble) = looked {
                return trouble;
            }
        }
    }

    /// A session that Telegram ended is not tried again.
    async fn forget_what_is_void(&self, session: &BotSession, trouble: &Trouble) {
        let forgotten = async {
            if trouble.is_signed_out() || trouble.word() == "AUTH_KEY_DUPLICATED" {
                session.set_signed_in(None).await?;
            }
            if trouble.word() == "AUTH_KEY_DUPLICATED" {
                session.forget_key(session.home_dc_id()?).await?;
            }
            Ok::<_, StateError>(())
        };
        if let Err(error) = forgotten.await {
            tracing::warn!(error = with_causes(&error), "a session that is over could not be forgotten");
        }
    }
}

/// While it is there, messages can be sent.
struct OnLine<'a>(&'a Telegram);

impl<'a> OnLine<'a> {
    fn new(telegram: &'a Telegram, line: Line) -> Self {
        telegram.set_line(Some(line));
        Self(telegram)
    }
}

impl Drop for OnLine<'_> {
    fn drop(&mut self) {
        self.0.set_line(None);
    }
}

/// What follows when there is nothing to sign in with; `required`: somebody said that Telegram is to be used.
fn without_keys(none: &NoKeys, required: bool) -> Ending {
    match none {
        // Some of three say that somebody wants it.
        NoKeys::Missing(names) if required || names.len() < 3 => Ending::Refused {
            reason: format!("there is no {}", names.join(" and no ")),
            remedy: names.iter().map(|name| new_credential(name)).collect::<Vec<_>>().join("; "),
        },
        NoKeys::Missing(_) => {
            Ending::Unused { needs: format!("{API_ID}, {API_HASH} and {BOT_TOKEN}, for chats {PREFIX}…") }
        }
        NoKeys::WrongKind(name, is) => Ending::Refused {
            reason: format!("{name} is not what it should be: it is not {is}"),
            remedy: new_credential(name),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_of_credentials_that_nobody_wants() {
        let all = NoKeys::Missing(vec![API_ID, API_HASH, BOT_TOKEN]);
        assert!(matches!(without_keys(&all, false), Ending::Unused { .. }));
        let Ending::Refused { remedy, .. } = without_keys(&all, true) else { panic!("it was asked for") };
        assert!(
            remedy.contains("auth set TELEGRAM_API_ID") && remedy.contains("auth set TELEGRAM_BOT_TOKEN"),
            "{remedy}"
        );
        let one = NoKeys::Missing(vec![API_HASH]);
        assert!(matches!(without_keys(&one, false), Ending::Refused { .. }));
    }
}
