//! A bot that is made with the client library.

use std::{
    net::{Ipv6Addr, SocketAddrV6},
    sync::Arc,
    time::Duration,
};

use grammers_client::{
    Client, InvocationError,
    client::UpdateStream,
    tl,
    update::{Message, Update},
};
use grammers_mtsender::{ConnectionParams, NoRetries, SenderPool, SenderPoolHandle, UpdatesConfiguration};
use grammers_session::{
    Session as _,
    storages::MemorySession,
    types::{DcOption, PeerId, PeerRef},
};
use nanoclaw_fakes::telegram::FakeTelegram;
use tokio::task::JoinHandle;

pub(crate) const ANN: i64 = 1001;
pub(crate) const FAMILY: i64 = -42;
pub(crate) const TEAM: i64 = FakeTelegram::SUPERGROUP - 55;

/// How often the stream of updates may say that the connection is gone before it works again.
const TRIES: usize = 20;

/// A bot that is signed in.
pub(crate) struct Bot {
    session: Arc<MemorySession>,
    pub(crate) client: Client,
    handle: SenderPoolHandle,
    updates: UpdateStream,
    runner: JoinHandle<()>,
}

/// A session that knows where the fake is, and the key.
async fn session(telegram: &FakeTelegram) -> Arc<MemorySession> {
    let access = telegram.access();
    let session = MemorySession::default();
    let ipv6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, access.address.port(), 0, 0);
    let dc = DcOption { id: access.dc_id, ipv4: access.address, ipv6, auth_key: Some(access.auth_key) };
    session.set_dc_option(&dc).await.expect("it is in memory");
    session.set_home_dc_id(access.dc_id).await.expect("it is in memory");
    Arc::new(session)
}

impl Bot {
    pub(crate) async fn begin(telegram: &FakeTelegram, session: Arc<MemorySession>) -> Self {
        let access = telegram.access();
        let parameters = ConnectionParams { retry_policy: Box::new(NoRetries), ..ConnectionParams::default() };
        let SenderPool { runner, handle, updates } =
            SenderPool::with_configuration(session.clone(), access.api_id, parameters);
        let (client, thin) = (Client::new(handle.clone()), handle.thin.clone());
        let runner = tokio::spawn(runner.run());
        if !client.is_authorized().await.expect("the fake answers") {
            client.bot_sign_in(access.bot_token, access.api_hash).await.expect("the token is right");
        }
        let configuration = UpdatesConfiguration { catch_up: true };
        let updates = client.stream_updates(updates, configuration).await.expect("the session is in memory");
        Self { session, client, handle: thin, updates, runner }
    }

    pub(crate) async fn signed_in(telegram: &FakeTelegram) -> Self {
        Self::begin(telegram, session(telegram).await).await
    }

    pub(crate) async fn end(self) -> Arc<MemorySession> {
        self.updates.sync_update_state().await.expect("the session is in memory");
        self.handle.quit();
        self.runner.await.expect("it does not panic");
        self.session
    }

    /// The next update, after as many errors of the connection as there are.
    pub(crate) async fn update(&mut self) -> Update {
        let mut errors = Vec::new();
        for _ in 0..TRIES {
            match tokio::time::timeout(Duration::from_secs(10), self.updates.next()).await {
                Ok(Ok(update)) => return update,
                Ok(Err(error)) => errors.push(error.to_string()),
                Err(_) => panic!("no update came after {errors:?}"),
            }
            tokio::task::yield_now().await;
        }
        panic!("no update came after {errors:?}");
    }

    /// The next message that somebody else wrote.
    pub(crate) async fn heard(&mut self) -> Message {
        loop {
            match self.update().await {
                Update::NewMessage(message) if !message.outgoing() && message.action().is_none() => return message,
                _ => {}
            }
        }
    }

    pub(crate) async fn heard_texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            texts.push(self.heard().await.text().to_owned());
        }
        texts
    }

    pub(crate) async fn send(
        &self,
        peer: PeerRef,
        text: &str,
        random_id: i64,
    ) -> Result<tl::enums::Updates, InvocationError> {
        self.client.invoke(&send_message(peer, text, random_id)).await
    }
}

pub(crate) fn send_message(peer: PeerRef, text: &str, random_id: i64) -> tl::functions::messages::SendMessage {
    tl::functions::messages::SendMessage {
        no_webpage: true,
        silent: false,
        background: false,
        clear_draft: false,
        noforwards: false,
        update_stickersets_order: false,
        invert_media: false,
        allow_paid_floodskip: false,
        peer: peer.into(),
        reply_to: None,
        message: text.to_owned(),
        random_id,
        reply_markup: None,
        entities: None,
        schedule_date: None,
        schedule_repeat_period: None,
        send_as: None,
        quick_reply_shortcut: None,
        effect: None,
        allow_paid_stars: None,
        suggested_post: None,
        rich_message: None,
    }
}

pub(crate) fn family() -> PeerRef {
    PeerId::chat(42).expect("it is an id of a group").to_ambient_ref()
}
