//! Files that come with messages: which are fetched, and fetching one into the spool's `arriving/`.

use std::{path::Path, time::Duration};

use nanoclaw_core::{
    attachment::{Attachment, Fetched},
    chat::ChatId,
};
use tokio::io::AsyncWriteExt as _;

use super::{
    Telegram,
    media::{File, Place, file_of},
    receive::{Heard, told_again},
    trouble::Trouble,
    update::Said,
};
use crate::{channels::clean_name, config::show_size, files::Spool};

/// How long one file may take.
const FETCH_LIMIT: Duration = Duration::from_secs(120);
/// How often one is tried: a message does not wait long for its files.
const TRIES: u32 = 2;

impl Telegram {
    /// Fetches the file of a message into `arriving/`. Returns what the message says of it, and its name there.
    pub(super) async fn fetch(
        &self,
        heard: &Heard<'_>,
        chat: &ChatId,
        said: &Said,
    ) -> (Vec<Attachment>, Vec<Option<String>>) {
        let Some(file) = &said.file else { return (Vec::new(), Vec::new()) };
        let fetched = match &self.files {
            None => Err(Some("this host takes no files".to_owned())),
            Some(spool) => fetch(heard, spool, chat, said, file).await,
        };
        let (reason, name) = match fetched {
            Ok(name) => (None, Some(name)),
            Err(reason) => (reason, None),
        };
        let attachment = Attachment {
            kind: file.kind.to_owned(),
            name: file.name.as_deref().and_then(clean_name),
            fetched: Fetched::No { reason },
        };
        (vec![attachment], vec![name])
    }
}

/// Fetches one file; an error is why there is none, as it follows "not fetched: ".
async fn fetch(
    heard: &Heard<'_>,
    spool: &Spool,
    chat: &ChatId,
    said: &Said,
    file: &File,
) -> Result<String, Option<String>> {
    let most = spool.limits().file_bytes;
    let Some(place) = &file.place else {
        // A sticker is all in its name.
        return Err((file.kind != "sticker").then(|| "Telegram does not have it any more".to_owned()));
    };
    if place.bytes > most {
        return Err(Some(too_large(most)));
    }
    // The same name for the same file, so that a message that is said again does not leave a second one.
    let plain: String = chat.as_str().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let name = format!("telegram-{plain}-{}", said.message);
    let path = spool.arriving().join(&name);
    let (mut place, mut tried) = (place.clone(), 0);
    loop {
        tried += 1;
        let stopped = match tokio::time::timeout(FETCH_LIMIT, download(heard, &place, most, &path)).await {
            Ok(Ok(())) => return Ok(name),
            Ok(Err(stopped)) => stopped,
            Err(_) => Stopped::For(format!("it did not come within {FETCH_LIMIT:?}")),
        };
        spool.done_with(&name);
        match stopped {
            Stopped::For(reason) => return Err(Some(reason)),
            Stopped::Perhaps(reason) if tried >= TRIES => return Err(Some(reason)),
            Stopped::Perhaps(reason) => tracing::debug!(reason, "fetching a file again"),
            Stopped::Elsewhere if tried >= TRIES => return Err(Some("Telegram does not say where it is".to_owned())),
            Stopped::Elsewhere => {
                let told = told_again(heard, said.chat, said.message).await;
                let now = told.and_then(|(message, _)| file_of(&message.media?)?.place);
                place = now.ok_or_else(|| Some("Telegram does not say any more where it is".to_owned()))?;
            }
        }
    }
}

async fn download(heard: &Heard<'_>, place: &Place, most: u64, path: &Path) -> Result<(), Stopped> {
    let here = |error: std::io::Error| Stopped::For(format!("this host could not keep it: {error}"));
    let mut pieces = heard.client.iter_download(place);
    let mut copy = tokio::fs::File::create(path).await.map_err(here)?;
    let mut bytes = 0_u64;
    while let Some(piece) = pieces.next().await.map_err(|error| of_telegram(Trouble::of(error)))? {
        bytes += piece.len() as u64;
        if bytes > most {
            return Err(Stopped::For(too_large(most)));
        }
        copy.write_all(&piece).await.map_err(here)?;
    }
    copy.flush().await.map_err(here)
}

fn of_telegram(trouble: Trouble) -> Stopped {
    match trouble {
        Trouble::Told(error) if error.name.starts_with("FILE_REFERENCE_") => Stopped::Elsewhere,
        Trouble::Told(error) if error.code < 500 => Stopped::For(format!("Telegram refused: {}", error.name)),
        Trouble::Told(error) => Stopped::Perhaps(format!("Telegram met an error of its own ({})", error.name)),
        Trouble::Unclear(reason) | Trouble::NotStored(reason) => Stopped::Perhaps(reason),
    }
}

/// Why a file is not there.
enum Stopped {
    /// It will not be.
    For(String),
    /// It may be the next time.
    Perhaps(String),
    /// What Telegram said of where it is does not hold any more: that is so for some hours only.
    Elsewhere,
}

fn too_large(most: u64) -> String {
    format!("it is larger than {}, the most that is taken", show_size(most))
}
