//! `nanoclaw-whatsapp run`.

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{DONE, NOT_LINKED, Place};
use crate::{
    bridge::Bridge,
    client::session::{self, Ending, LINK, logged_out},
    store::{Account, Store, peek},
};

/// How long a host that is not there is waited for, to be told why we end.
const LAST_WORD: Duration = Duration::from_secs(3);

pub(super) async fn run(place: &Place, supervised: bool, stop: CancellationToken) -> anyhow::Result<u8> {
    if supervised {
        stop_with_stdin(stop.clone());
    }
    // Before anything is locked or made: without an account there is nothing to be kept.
    let account = peek(&place.database()).await.context("cannot use the linked account")?;
    let store = match account {
        Account::None => None,
        Account::Linked { .. } => Some(Store::open(&place.database()).await.context("cannot use the linked account")?),
    };
    let (bridge, wanted) = Bridge::new(place.socket());
    let hang_up = CancellationToken::new();
    let connection = tokio::spawn({
        let (bridge, hang_up) = (bridge.clone(), hang_up.clone());
        async move { bridge.run(hang_up).await }
    });
    let code = match (store, account) {
        (Some(_), Account::Linked { refused: Some(refused), .. }) => give_up(&bridge, &refused.reason).await,
        (Some(store), Account::Linked { refused: None, .. }) => {
            match session::run(&store, &place.reach(), &bridge, wanted, &stop).await {
                Ok(Ending::Stopped) => Ok(DONE),
                Ok(Ending::LoggedOut(reason)) => give_up(&bridge, &reason).await,
                Err(error) => Err(error),
            }
        }
        (_, Account::None) | (None, _) => give_up(&bridge, "no WhatsApp account is linked").await,
    };
    hang_up.cancel();
    connection.await?;
    code
}

/// Tells the host, if it is there soon, that a person has to do something; and whoever started us, by the last line that is logged.
async fn give_up(bridge: &Bridge, reason: &str) -> anyhow::Result<u8> {
    bridge.status(logged_out(reason));
    let _ = tokio::time::timeout(LAST_WORD, bridge.files()).await;
    writeln!(std::io::stderr(), "{reason}; link it with `{LINK}`")?;
    Ok(NOT_LINKED)
}

fn stop_with_stdin(stop: CancellationToken) {
    // A thread, since a read of standard input cannot be taken back.
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while std::io::stdin().read(&mut buffer).is_ok_and(|read| read > 0) {}
        stop.cancel();
    });
}
