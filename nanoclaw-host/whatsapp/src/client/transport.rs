//! The socket to WhatsApp. As the library's own, but for two things: what is said is sent at once, and every address of the host is tried.
//!
//! The library leaves Nagle's algorithm on, which keeps a short frame back until the other side has acknowledged the one before: with a
//! peer that delays its acknowledgements, as Linux does, for 40 ms.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use http::{HeaderValue, header::ORIGIN};
use reqwest::Url;
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Connector};
use wacore::net::{WHATSAPP_WEB_ORIGIN, WHATSAPP_WEB_WS_URL};
use whatsapp_rust::transport::{Transport, TransportEvent, TransportFactory, default_tls_connector, from_websocket};

/// Connects to a WebSocket.
pub(super) struct Sockets {
    url: Url,
}

impl Sockets {
    /// To this address; `None`: WhatsApp's own.
    ///
    /// # Errors
    /// None with the library as it is: its address is one.
    pub(super) fn to(url: Option<&Url>) -> anyhow::Result<Self> {
        let own = || WHATSAPP_WEB_WS_URL.parse().context("the library's address of WhatsApp is none");
        Ok(Self { url: url.cloned().map_or_else(own, Ok)? })
    }
}

#[async_trait]
impl TransportFactory for Sockets {
    async fn create_transport(&self) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        let url = &self.url;
        let host = url.host_str().with_context(|| format!("{url} names no host"))?;
        // An address of version 6 stands in brackets there, which belong to URLs alone.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().with_context(|| format!("{url} names no port"))?;
        let stream =
            TcpStream::connect((host, port)).await.with_context(|| format!("cannot connect to {host}:{port}"))?;
        stream.set_nodelay(true)?;
        let connector = if url.scheme() == "ws" { Connector::Plain } else { default_tls_connector() };
        let stream = connector.wrap(host, stream).await.with_context(|| format!("no TLS with {host}"))?;
        let upgrade = ClientBuilder::from_uri(url.as_str().parse()?)
            .add_header(ORIGIN, HeaderValue::from_static(WHATSAPP_WEB_ORIGIN))
            .context("the origin cannot be said")?;
        let (socket, _) = upgrade.connect_on(stream).await.with_context(|| format!("{host} gives no WebSocket"))?;
        Ok(from_websocket(socket))
    }
}
