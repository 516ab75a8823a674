//! What people write: one message of a chat after the other, acknowledged to WhatsApp only when the host has it.
//!
//! The library holds back its acknowledgement until [`on_messages`](InboundDurabilityHook::on_messages) returns, and has the decrypted
//! message in the store until then. So there is nothing to be kept here: what the host has not accepted when this program ends, comes
//! again. Live messages come one by one, and chats apart from each other; those that waited while we were away come all together, and none of
//! them is acknowledged, nor the next asked for, before the last of them is taken. So a message that the host cannot store is waited for, for
//! as long as other chats can bear it; then all is refused that comes with it or after it in its chat ([`Behind`]), and goes on being
//! offered to the host from here.

use std::{
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use wacore::{store::traits::ProtocolStore as _, types::events::InboundMessage};
use wacore_binary::Jid;
use whatsapp_rust::{Client, types::durability_hook::InboundDurabilityHook};

use super::{
    behind::Behind,
    http::LARGEST_BYTES,
    meaning::{File, Me, Said, downloadable, meaning},
    names::Names,
};
use crate::{
    STEPS,
    bridge::{
        Bridge,
        desk::Taken,
        wire::{Attachment, Chat, Message},
    },
    panics::caught,
    store::Store,
};

/// How long other chats are given to be stored with the one for which a new connection is wanted, so that one is enough.
const TOGETHER: Duration = Duration::from_secs(1);

/// Takes in what people write.
#[derive(Debug, Clone)]
pub struct Receiver(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    bridge: Bridge,
    store: Store,
    names: Names,
    /// How long the host may need for a message.
    patience: Duration,
    behind: Mutex<Behind>,
    /// One message each of the chats that are behind, which the host goes on being offered.
    late: Mutex<JoinSet<()>>,
    /// The host has one of them.
    news: Notify,
    stop: CancellationToken,
}

#[async_trait]
impl InboundDurabilityHook for Receiver {
    async fn on_messages(&self, client: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        let mut chats: Vec<(&Jid, Vec<&InboundMessage>)> = Vec::new();
        for item in batch {
            let chat = &item.info.source.chat;
            match chats.iter_mut().find(|(known, _)| known.is_same_chat_as(chat)) {
                Some((_, items)) => items.push(item),
                None => chats.push((chat, vec![item])),
            }
        }
        let all = join_all(chats.into_iter().map(async |(_, items)| {
            for item in items {
                // The library's own worker of the chat must not end by a fault of ours.
                match caught(self.take_in_time(&client, item)).await {
                    Ok(true) => {}
                    Ok(false) => return false,
                    Err(error) => {
                        tracing::error!(
                            id = item.info.id,
                            error,
                            "a message is left out, after it met a fault of ours"
                        );
                    }
                }
            }
            true
        }));
        tokio::select! {
            taken = all => {
                anyhow::ensure!(taken.into_iter().all(|taken| taken), "the host cannot store a chat's messages; they come again");
                Ok(())
            }
            () = self.0.stop.cancelled() => anyhow::bail!("this program ends; what is not accepted comes again"),
        }
    }
}

impl Receiver {
    /// Hands in at `bridge` what people write, until `stop`. A message for which the host needs longer than `patience` holds up its own chat
    /// alone from then on.
    #[must_use]
    pub fn new(bridge: Bridge, store: Store, patience: Duration, stop: CancellationToken) -> Self {
        let (names, behind, late, news) = (Names::default(), Mutex::default(), Mutex::default(), Notify::new());
        Self(Arc::new(Parts { bridge, store, names, patience, behind, late, news, stop }))
    }

    /// Sees one message to its end, however long that takes: the host has it, or it is nothing for the host.
    pub async fn take(&self, client: &Client, item: &InboundMessage) {
        if let Some(message) = self.message_of(client, item).await {
            hand_over(self.0.bridge.clone(), message).await;
        }
    }

    /// The same in its place among what is said in its chat, and not for long; `false`: it has to come again.
    async fn take_in_time(&self, client: &Client, item: &InboundMessage) -> bool {
        let (chat, id) = (item.info.source.chat.to_non_ad_string(), &item.info.id);
        if !self.behind().takes(&chat, id) {
            tracing::debug!(chat, id, "a message waits for an earlier one of its chat; it comes again");
            return false;
        }
        let Some(message) = self.message_of(client, item).await else { return true };
        let mut handing = Box::pin(hand_over(self.0.bridge.clone(), message));
        if tokio::time::timeout(self.0.patience, &mut handing).await.is_ok() {
            return true;
        }
        tracing::warn!(chat, id, "the host does not store a message; its chat waits for that, and others go on");
        self.behind().falls_behind(&chat, id);
        let receiver = self.clone();
        let mut late = self.late();
        while late.try_join_next().is_some() {}
        late.spawn(async move {
            handing.await;
            receiver.behind().is_stored(&chat);
            receiver.0.news.notify_one();
        });
        false
    }

    /// Waits until a new connection to WhatsApp would bring what was refused and can be taken now, and at least until `not_before`. Can be
    /// dropped and called again.
    pub async fn wants_connection(&self, not_before: Instant) {
        while !self.behind().wants_connection() {
            self.0.news.notified().await;
        }
        tokio::time::sleep_until(not_before.max(Instant::now() + TOGETHER)).await;
    }

    /// See [`Behind::connection_ended`].
    pub fn connection_ended(&self) {
        self.behind().connection_ended();
    }

    /// See [`Behind::all_came`].
    pub fn all_came(&self) {
        self.behind().all_came();
        self.0.news.notify_one();
    }

    /// Nothing is offered to the host any more; what was not stored comes again with the next client.
    pub async fn end(&self) {
        let mut late = std::mem::take(&mut *self.late());
        late.shutdown().await;
        *self.behind() = Behind::default();
    }

    fn behind(&self) -> MutexGuard<'_, Behind> {
        // Each change is whole, so a panic elsewhere leaves it right.
        self.0.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the host is to have of a message, with its file; `None`: it is nothing for the host.
    async fn message_of(&self, client: &Client, item: &InboundMessage) -> Option<Message> {
        let source = &item.info.source;
        tracing::debug!(target: STEPS, chat = %source.chat, id = item.info.id, "decrypted and kept");
        let phone = self.phone_of(&source.sender, source.sender_alt.as_ref()).await;
        for jid in [Some(&source.sender), source.sender_alt.as_ref(), phone.as_ref()].into_iter().flatten() {
            self.0.names.note(jid, &item.info.push_name);
        }
        let Said { mut message, file } = match meaning(item, phone, &me(client), &self.0.names) {
            Ok(said) => said,
            Err(why) => {
                tracing::debug!(id = item.info.id, why, "a message is nothing for the host");
                return None;
            }
        };
        if !message.is_group {
            let name = message.sender_name.clone();
            self.0.bridge.chat(Chat::known(message.chat.clone(), name, false));
        }
        if let Some(file) = file {
            message.attachments.push(self.fetch(client, item, &message.chat, file).await);
        }
        Some(message)
    }

    /// The phone number's address of somebody; `None` when it is not known, or is what we have.
    async fn phone_of(&self, jid: &Jid, alternative: Option<&Jid>) -> Option<Jid> {
        if !jid.is_lid() {
            return None;
        }
        if let Some(phone) = alternative.filter(|jid| jid.is_pn()) {
            return Some(phone.to_non_ad());
        }
        let known = self.0.store.get_lid_mapping(&jid.user).await.ok().flatten()?;
        format!("{}@s.whatsapp.net", known.phone_number).parse().ok()
    }

    /// Fetches the file of a message for the host, or says why there is none.
    async fn fetch(&self, client: &Client, item: &InboundMessage, chat: &str, file: File) -> Attachment {
        let File { kind, name, bytes } = file;
        let (file, error) = match self.fetched(client, item, chat, bytes).await {
            Ok(file) => (Some(file), None),
            Err(why) => (None, Some(why)),
        };
        Attachment { kind, name, file, error }
    }

    async fn fetched(
        &self,
        client: &Client,
        item: &InboundMessage,
        chat: &str,
        bytes: Option<u64>,
    ) -> Result<String, String> {
        let bytes = bytes.ok_or("it is not fetched")?;
        let Some((folder, most)) = self.0.bridge.files().await else {
            return Err("the host takes no files".to_owned());
        };
        let most = most.min(LARGEST_BYTES);
        if bytes > most {
            return Err(format!("it has {} MB", bytes.div_ceil(1 << 20)));
        }
        let source = downloadable(&item.message).ok_or("it is not there")?;
        // The host keeps nothing of other chats.
        if !self.0.bridge.is_registered(chat.to_owned()).await {
            return Err("its chat was no group".to_owned());
        }
        let content = client.download(source).await.map_err(|error| {
            tracing::warn!(id = item.info.id, error = format!("{error:#}"), "a file could not be fetched");
            "WhatsApp did not give it out".to_owned()
        })?;
        if content.len() as u64 > most {
            return Err(format!("it has {} MB", (content.len() as u64).div_ceil(1 << 20)));
        }
        // The same name when the message comes again.
        let name = format!("whatsapp-{}", hex(&Sha256::digest(format!("{chat}\0{}", item.info.id))[..16]));
        let path = folder.join(&name);
        let written = tokio::task::spawn_blocking(move || write(&path, &content)).await;
        match written.map_err(std::io::Error::other).flatten() {
            Ok(()) => Ok(name),
            Err(error) => {
                tracing::error!(%error, "a file that came could not be written");
                Err("it could not be written".to_owned())
            }
        }
    }
}

/// Says a message to the host until that has decided on it.
async fn hand_over(bridge: Bridge, message: Message) {
    let (chat, id) = (message.chat.clone(), message.id.clone());
    tracing::debug!(target: STEPS, chat, id, "handed to the host");
    let taken = bridge.message(message).await;
    tracing::debug!(target: STEPS, chat, id, "taken by the host");
    match taken {
        Taken::Accepted { registered: true } => {}
        Taken::Accepted { registered: false } => tracing::debug!(chat, "a message in a chat that is no group"),
        Taken::Refused(reason) => {
            tracing::error!(chat, id, reason, "the host does not take a message; it is left out");
        }
    }
}

/// Who we are.
#[must_use]
pub fn me(client: &Client) -> Me {
    let without_device = |jid: Option<Jid>| jid.map(|jid| jid.to_non_ad());
    Me { phone: without_device(client.pn()), lid: without_device(client.lid()), name: client.push_name() }
}

fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    std::fs::File::create(path)?.write_all(content)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
