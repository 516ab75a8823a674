//! One client's socket: frames in messages of WebSocket, encrypted after the handshake, each with a node in it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::extract::ws::{Message, WebSocket};
use wacore::{framing, libsignal::protocol::KeyPair};
use wacore_binary::{consts::WA_CONN_HEADER, marshal, util};
use wacore_noise::NoiseCipher;

use super::{
    nodes::Node,
    noise::{self, Agreed, Answered},
};

/// How long a client may take to go.
const GOODBYE: Duration = Duration::from_secs(2);

pub(super) struct Link {
    socket: WebSocket,
    frames: framing::FrameDecoder,
    to_client: NoiseCipher,
    from_client: NoiseCipher,
    /// Each frame is encrypted with its number.
    sent: u32,
    received: u32,
}

/// What the client said of itself.
pub(super) struct Greeting {
    pub(super) handshake: noise::Handshake,
    pub(super) noise_key: [u8; 32],
    pub(super) payload: waproto::whatsapp::ClientPayload,
}

impl Link {
    /// Shakes hands.
    pub(super) async fn open(mut socket: WebSocket, keys: &KeyPair) -> anyhow::Result<(Self, Greeting)> {
        let first = message(&mut socket).await?.context("it left")?;
        ensure!(first.starts_with(&WA_CONN_HEADER), "it does not begin as WhatsApp does");
        let mut frames = framing::FrameDecoder::new();
        frames.feed(&first[WA_CONN_HEADER.len()..]);
        let hello = frame(&mut socket, &mut frames).await?.context("it left")?;
        let agreed = match noise::answer(keys, &hello)? {
            Answered::Done(said, agreed) => {
                say(&mut socket, &said).await?;
                *agreed
            }
            Answered::More(said, unfinished) => {
                say(&mut socket, &said).await?;
                let finish = frame(&mut socket, &mut frames).await?.context("it left")?;
                unfinished.finish(&finish)?
            }
        };
        let Agreed { handshake, noise_key, payload, to_client, from_client } = agreed;
        let link = Self { socket, frames, to_client, from_client, sent: 0, received: 0 };
        Ok((link, Greeting { handshake, noise_key, payload }))
    }

    /// The next node, or `None` when the client left. Nothing is lost when this is not waited for to its end.
    pub(super) async fn receive(&mut self) -> anyhow::Result<Option<Node>> {
        let Some(mut frame) = frame(&mut self.socket, &mut self.frames).await? else { return Ok(None) };
        self.from_client.decrypt_in_place_with_counter(self.received, &mut frame)?;
        self.received += 1;
        let unpacked = util::unpack(&frame)?;
        Ok(Some(marshal::unmarshal_ref(&unpacked)?.to_owned()))
    }

    pub(super) async fn send(&mut self, node: &Node) -> anyhow::Result<()> {
        let frame = self.to_client.encrypt_with_counter(self.sent, &marshal::marshal(node)?)?;
        self.sent += 1;
        say(&mut self.socket, &frame).await
    }

    /// Says goodbye and waits, for a while, until the client has gone: what was said before would be lost else, when the client says something
    /// at the same time.
    pub(super) async fn close(&mut self) {
        let leaving = async {
            self.socket.send(Message::Close(None)).await?;
            while self.socket.recv().await.transpose()?.is_some() {}
            Ok::<_, axum::Error>(())
        };
        // Who does not go is dropped.
        let _ = tokio::time::timeout(GOODBYE, leaving).await;
    }
}

async fn say(socket: &mut WebSocket, frame: &[u8]) -> anyhow::Result<()> {
    Ok(socket.send(Message::Binary(framing::encode_frame(frame, None)?.into())).await?)
}

async fn frame(socket: &mut WebSocket, frames: &mut framing::FrameDecoder) -> anyhow::Result<Option<Vec<u8>>> {
    loop {
        if let Some(frame) = frames.decode_frame() {
            return Ok(Some(frame.to_vec()));
        }
        let Some(message) = message(socket).await? else { return Ok(None) };
        frames.feed(&message);
    }
}

/// The next message of bytes.
async fn message(socket: &mut WebSocket) -> anyhow::Result<Option<Vec<u8>>> {
    loop {
        match socket.recv().await.transpose()? {
            Some(Message::Binary(bytes)) => return Ok(Some(bytes.to_vec())),
            Some(Message::Close(_)) | None => return Ok(None),
            Some(_) => {}
        }
    }
}
