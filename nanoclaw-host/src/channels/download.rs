//! Fetches a file that came with a message into the spool's `arriving/`, bounded in size, time and tries.

use std::{path::Path, time::Duration};

use reqwest::{Client, RequestBuilder, Response};
use rustls::ClientConfig;
use tokio::io::AsyncWriteExt as _;

use crate::{config::show_size, files::Spool};

/// How long one file may take.
const FETCH_LIMIT: Duration = Duration::from_secs(120);
/// How often one is tried: a message does not wait long for its files.
const TRIES: u32 = 2;

/// Why a file is not there, as it follows "not fetched: ".
#[derive(Debug)]
pub(super) enum Stopped {
    /// It will not be.
    For(String),
    /// It may be the next time.
    Perhaps(String),
}

/// A client that fetches files. It follows no redirection: one who follows where they lead would take a token along.
///
/// # Errors
/// When `tls` is none that the client can use.
pub(super) fn downloads(tls: &ClientConfig) -> Result<Client, reqwest::Error> {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(30))
        .use_preconfigured_tls(tls.clone())
        .build()
}

/// Fetches what `request` asks for as `name` in `arriving/`; an error is why there is none. `judge` looks at the answer before
/// it is read.
///
/// # Errors
/// Why there is no file, as it follows "not fetched: ".
pub(super) async fn fetch(
    spool: &Spool,
    name: &str,
    request: impl Fn() -> RequestBuilder,
    judge: impl Fn(&Response) -> Result<(), Stopped>,
) -> Result<(), String> {
    let path = spool.arriving().join(name);
    let most = spool.limits().file_bytes;
    let mut tried = 0;
    loop {
        tried += 1;
        let outcome = tokio::time::timeout(FETCH_LIMIT, download(request(), &judge, &path, most)).await;
        let stopped = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(stopped)) => stopped,
            Err(_) => Stopped::For(format!("it did not come within {FETCH_LIMIT:?}")),
        };
        spool.done_with(name);
        match stopped {
            Stopped::For(reason) => return Err(reason),
            Stopped::Perhaps(reason) if tried >= TRIES => return Err(reason),
            Stopped::Perhaps(reason) => tracing::debug!(reason, name, "fetching a file again"),
        }
    }
}

async fn download(
    request: RequestBuilder,
    judge: impl Fn(&Response) -> Result<(), Stopped>,
    path: &Path,
    most: u64,
) -> Result<(), Stopped> {
    let broken = |error: reqwest::Error| Stopped::Perhaps(format!("the connection broke: {}", error.without_url()));
    let here = |error: std::io::Error| Stopped::For(format!("this host could not keep it: {error}"));
    let mut answer = request.send().await.map_err(broken)?;
    judge(&answer)?;
    let mut copy = tokio::fs::File::create(path).await.map_err(here)?;
    let mut bytes = 0_u64;
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        bytes += chunk.len() as u64;
        if bytes > most {
            return Err(Stopped::For(too_large(most)));
        }
        copy.write_all(&chunk).await.map_err(here)?;
    }
    copy.flush().await.map_err(here)
}

/// What is said of a file that is larger than `most` bytes.
pub(super) fn too_large(most: u64) -> String {
    format!("it is larger than {}, the most that is taken", show_size(most))
}

/// What of `text` can be part of a plain name.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}
