//! `nanoclaw-whatsapp unlink`.

use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{DONE, Place, say};
use crate::{
    client::session::{NotNow, shut_down},
    store::{Account, Store},
};

/// How long WhatsApp is tried to be told.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn run(place: &Place, stop: CancellationToken) -> anyhow::Result<u8> {
    let store = Store::open(&place.database()).await.context("stop the service, or turn WhatsApp off, first")?;
    let Account::Linked { jid, refused } = store.account().await? else {
        say("no WhatsApp account is linked")?;
        return Ok(DONE);
    };
    let told = refused.is_some() || tell(place, &store, &stop).await?;
    store.remove().await?;
    say(format_args!("unlinked: {jid}"))?;
    if !told {
        say("WhatsApp could not be told. On the phone: Settings, Linked devices, choose NanoClaw, Log out.")?;
    }
    Ok(DONE)
}

/// Tells WhatsApp; whether it could be told.
async fn tell(place: &Place, store: &Store, stop: &CancellationToken) -> anyhow::Result<bool> {
    let bot = place.reach().client(store)?.with_inbound_durability_hook(NotNow).build().await?;
    let client = bot.client();
    let handle = bot.spawn();
    let connected = tokio::select! {
        connected = client.wait_for_connected(PATIENCE) => connected.is_ok(),
        () = stop.cancelled() => false,
    };
    if connected {
        client.logout().await;
    }
    shut_down(handle).await;
    Ok(connected)
}
