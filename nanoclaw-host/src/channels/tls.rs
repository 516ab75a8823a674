//! How the host knows that a service is who it says: by the certificates that this machine trusts, with ring.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use reqwest::Url;
use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// The certificates that this machine trusts cannot be read.
    #[error(
        "the certificates of this machine cannot be read, which services are known by (on Debian: apt install ca-certificates)"
    )]
    Certificates(#[source] std::io::Error),
    /// The cryptography is not as it should be.
    #[error("TLS cannot be used")]
    Tls(#[source] rustls::Error),
}

/// For connections to the service at `url`.
pub(super) fn tls_for(url: &Url) -> Result<ClientConfig, TlsError> {
    // A provider of its own: what depends on the process having chosen one panics where nobody has.
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Tls)?;
    let tls = match url.scheme() {
        // Without TLS no certificates are needed, so none need be installed.
        "http" => tls.with_root_certificates(RootCertStore::empty()),
        _ => tls.with_native_roots().map_err(TlsError::Certificates)?,
    };
    Ok(tls.with_no_client_auth())
}
