//! A WebSocket to a chat service: lines come in, lines go out, and silence is noticed.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use tokio::{
    net::TcpStream,
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{
        Message,
        protocol::{CloseFrame, WebSocketConfig},
    },
};

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// How often we ask whether the other end is there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// After so much silence it is not. It answers each of our pings.
const SILENCE: Duration = Duration::from_secs(35);
/// How long the other end may take to read a line.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// To whom a connection is, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// The service, in people's words.
    pub(super) service: &'static str,
    /// The longest line that is taken, in bytes.
    pub(super) longest_line: usize,
    /// Whether we ask the other end whether it is there; without, the service has a way of its own.
    pub(super) pings: bool,
}

/// The connection is gone, or never was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gone {
    /// Why.
    pub(super) reason: String,
    /// With what number the other end closed it.
    pub(super) code: Option<u16>,
}

/// A connection.
pub(super) struct Socket {
    link: Link,
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    ping: Interval,
    heard: Instant,
}

impl Socket {
    /// Connects to `url`.
    ///
    /// # Errors
    /// Why there is no connection, in words without the address, which may open the socket to whoever has it.
    pub(super) async fn connect(link: Link, url: &str, tls: Arc<ClientConfig>) -> Result<Self, Gone> {
        let (service, most) = (link.service, Some(link.longest_line));
        let config = WebSocketConfig::default().max_message_size(most).max_frame_size(most);
        let connecting = connect_async_tls_with_config(url, Some(config), true, Some(Connector::Rustls(tls)));
        let (stream, _) = match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(connected) => {
                connected.map_err(|error| gone(format!("{service}'s socket cannot be opened: {error}")))?
            }
            Err(_) => return Err(gone(format!("{service}'s socket was not open within {CONNECT_LIMIT:?}"))),
        };
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { link, stream, ping, heard: Instant::now() })
    }

    /// The next line. Can be dropped and called again.
    ///
    /// # Errors
    /// Why none will come any more.
    pub(super) async fn next(&mut self) -> Result<String, Gone> {
        let service = self.link.service;
        loop {
            tokio::select! {
                message = self.stream.next() => {
                    self.heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                        Some(Ok(Message::Close(frame))) => return Err(closed(service, frame)),
                        // Pings are answered by the library.
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(gone(format!("the connection to {service} broke: {error}"))),
                        None => return Err(gone(format!("the connection to {service} ended"))),
                    }
                }
                _ = self.ping.tick(), if self.link.pings => {
                    if self.heard.elapsed() > SILENCE {
                        return Err(gone(format!("nothing was heard of {service} for {SILENCE:?}")));
                    }
                    // Not in the select: a ping is small, and what stands in its way ends the connection.
                    self.write(Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    /// Says a line.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub(super) async fn say(&mut self, line: String) -> Result<(), Gone> {
        self.write(Message::Text(line.into())).await
    }

    /// Says good-bye, if the other end listens.
    pub(super) async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.close(None)).await;
    }

    async fn write(&mut self, message: Message) -> Result<(), Gone> {
        let service = self.link.service;
        match tokio::time::timeout(WRITE_LIMIT, self.stream.send(message)).await {
            Ok(written) => written.map_err(|error| gone(format!("the connection to {service} broke: {error}"))),
            Err(_) => Err(gone(format!("{service} read nothing for {WRITE_LIMIT:?}"))),
        }
    }
}

fn gone(reason: String) -> Gone {
    Gone { reason, code: None }
}

fn closed(service: &str, frame: Option<CloseFrame>) -> Gone {
    match frame {
        Some(frame) => {
            let code = u16::from(frame.code);
            let words = if frame.reason.is_empty() { String::new() } else { format!(", {}", frame.reason.as_str()) };
            Gone { reason: format!("{service} closed the connection ({code}{words})"), code: Some(code) }
        }
        None => gone(format!("{service} closed the connection")),
    }
}
