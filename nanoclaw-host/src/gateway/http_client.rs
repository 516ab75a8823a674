//! What all HTTP clients of the gateway have in common: they do what the agent asked for and nothing besides.

use std::{sync::OnceLock, time::Duration};

use reqwest::{Client, ClientBuilder, Url, redirect, retry};

use super::{GatewayError, tls};

/// A client's settings for requests to `url`: no redirect followed, nothing tried again, what the agent asked for in
/// `accept-encoding` as it came, whatever other parts of this program make the client capable of.
pub(super) fn builder(url: &Url, connect: Duration, silence: Duration) -> ClientBuilder {
    tls::install_provider();
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .connect_timeout(connect)
        .read_timeout(silence)
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd();
    // Without TLS no certificates are needed, so none need be installed.
    if url.scheme() == "http" { builder.tls_certs_only([]) } else { builder }
}

/// Makes a client unless there is one. Takes some milliseconds then, because it reads all of the system's certificates.
pub(super) fn make_once(
    client: &OnceLock<Client>,
    make: impl FnOnce() -> reqwest::Result<Client>,
) -> Result<(), GatewayError> {
    if client.get().is_none() {
        // Of two at once, the first one's is kept.
        let _ = client.set(make().map_err(GatewayError::Tls)?);
    }
    Ok(())
}
