//! What people write: one message of a chat after the other, acknowledged to WhatsApp only when the host has it.
//!
//! The library holds back its acknowledgement until [`on_messages`](InboundDurabilityHook::on_messages) returns, and has the decrypted
//! message in the store until then. So there is nothing to be kept here: what the host has not accepted when this program ends, comes
//! again. Live messages come one by one, and chats apart from each other; those that waited while we were away come all together.

use std::{io::Write as _, path::Path, sync::Arc};

use async_trait::async_trait;
use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use wacore::{store::traits::ProtocolStore as _, types::events::InboundMessage};
use wacore_binary::Jid;
use whatsapp_rust::{Client, types::durability_hook::InboundDurabilityHook};

use super::{
    http::LARGEST_BYTES,
    meaning::{File, Me, Said, downloadable, meaning},
    names::Names,
};
use crate::{
    STEPS,
    bridge::{
        Bridge,
        desk::Taken,
        wire::{Attachment, Chat},
    },
    panics::caught,
    store::Store,
};

/// Takes in what people write.
#[derive(Debug, Clone)]
pub struct Receiver(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    bridge: Bridge,
    store: Store,
    names: Names,
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
                if let Err(error) = caught(self.take(&client, item)).await {
                    tracing::error!(id = item.info.id, error, "a message is left out, after it met a fault of ours");
                }
            }
        }));
        tokio::select! {
            _ = all => Ok(()),
            () = self.0.stop.cancelled() => anyhow::bail!("this program ends; what is not accepted comes again"),
        }
    }
}

impl Receiver {
    /// Hands in at `bridge` what people write, until `stop`.
    #[must_use]
    pub fn new(bridge: Bridge, store: Store, stop: CancellationToken) -> Self {
        Self(Arc::new(Parts { bridge, store, names: Names::default(), stop }))
    }

    /// Sees one message to its end: the host has it, or it is nothing for the host.
    pub async fn take(&self, client: &Client, item: &InboundMessage) {
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
                return;
            }
        };
        if !message.is_group {
            let name = message.sender_name.clone();
            self.0.bridge.chat(Chat::known(message.chat.clone(), name, false));
        }
        if let Some(file) = file {
            message.attachments.push(self.fetch(client, item, &message.chat, file).await);
        }
        let (chat, id) = (message.chat.clone(), message.id.clone());
        tracing::debug!(target: STEPS, chat, id, "handed to the host");
        let taken = self.0.bridge.message(message).await;
        tracing::debug!(target: STEPS, chat, id, "taken by the host");
        match taken {
            Taken::Accepted { registered: true } => {}
            Taken::Accepted { registered: false } => tracing::debug!(chat, "a message in a chat that is no group"),
            Taken::Refused(reason) => {
                tracing::error!(chat, id, reason, "the host does not take a message; it is left out")
            }
        }
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
