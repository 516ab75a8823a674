//! The WebSocket: lines come in, acknowledgements go out, and silence is noticed.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use tokio::{
    net::TcpStream,
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// How often we ask whether the other end is there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// After so much silence it is not. It answers each of our pings.
const SILENCE: Duration = Duration::from_secs(35);
/// How long the other end may take to read a line.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// The longest line that is taken, in bytes. Slack's messages have up to 40,000 characters, and an envelope little more.
const LONGEST_LINE: usize = 4 << 20;

/// A connection.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    ping: Interval,
    heard: Instant,
}

impl Socket {
    /// Connects to `url`.
    ///
    /// # Errors
    /// Why there is no connection, in words without the address, which opens the socket to whoever has it.
    pub(super) async fn connect(url: &str, tls: Arc<ClientConfig>) -> Result<Self, String> {
        let config = WebSocketConfig::default().max_message_size(Some(LONGEST_LINE)).max_frame_size(Some(LONGEST_LINE));
        let connecting = connect_async_tls_with_config(url, Some(config), true, Some(Connector::Rustls(tls)));
        let (stream, _) = match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(connected) => connected.map_err(|error| format!("Slack's socket cannot be opened: {error}"))?,
            Err(_) => return Err(format!("Slack's socket was not open within {CONNECT_LIMIT:?}")),
        };
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { stream, ping, heard: Instant::now() })
    }

    /// The next line. Can be dropped and called again.
    ///
    /// # Errors
    /// Why none will come any more.
    pub(super) async fn next(&mut self) -> Result<String, String> {
        loop {
            tokio::select! {
                message = self.stream.next() => {
                    self.heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                        Some(Ok(Message::Close(_))) => return Err("Slack closed the connection".to_owned()),
                        // Pings are answered by the library.
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(format!("the connection to Slack broke: {error}")),
                        None => return Err("the connection to Slack ended".to_owned()),
                    }
                }
                _ = self.ping.tick() => {
                    if self.heard.elapsed() > SILENCE {
                        return Err(format!("nothing was heard of Slack for {SILENCE:?}"));
                    }
                    // Not in the select: a ping is small, and what stands in its way ends the connection.
                    self.write(Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    /// Says that what came with `envelope` is done with.
    ///
    /// # Errors
    /// Why it cannot be said; Slack will say the message again.
    pub(super) async fn acknowledge(&mut self, envelope: &str) -> Result<(), String> {
        let line = serde_json::json!({ "envelope_id": envelope }).to_string();
        self.write(Message::Text(line.into())).await
    }

    /// Says good-bye, if the other end listens.
    pub(super) async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.close(None)).await;
    }

    async fn write(&mut self, message: Message) -> Result<(), String> {
        match tokio::time::timeout(WRITE_LIMIT, self.stream.send(message)).await {
            Ok(written) => written.map_err(|error| format!("the connection to Slack broke: {error}")),
            Err(_) => Err(format!("Slack read nothing for {WRITE_LIMIT:?}")),
        }
    }
}
