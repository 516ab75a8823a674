//! The server's part of the handshake: Noise XX, by which a client learns the server's key, and Noise IK, which begins with it.

use anyhow::Context as _;
use wacore::libsignal::protocol::KeyPair;
use wacore_binary::consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, WA_CONN_HEADER};
use wacore_noise::{NoiseCipher, NoiseHandshake};
use waproto::{
    buffa::{Message as _, MessageField},
    whatsapp::{
        CertChain, ClientPayload, HandshakeMessage,
        cert_chain::{NoiseCertificate, noise_certificate::Details},
        handshake_message::ServerHello,
    },
};

/// From when until when the server's certificates are good, in seconds since 1970.
pub(super) const VALID: (u64, u64) = (1_700_000_000, 4_000_000_000);
/// The key of the certificate in between, which signs nothing.
pub(super) const INTERMEDIATE: [u8; 32] = [0xCC; 32];

/// How a client shook hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// It did not know the server's key.
    Xx,
    /// It knew the server's key.
    Ik,
}

/// What is agreed upon.
pub(super) struct Agreed {
    pub(super) handshake: Handshake,
    /// The client's own key, by which a device that is linked is known.
    pub(super) noise_key: [u8; 32],
    pub(super) payload: ClientPayload,
    pub(super) to_client: NoiseCipher,
    pub(super) from_client: NoiseCipher,
}

/// A handshake that waits for the client's second frame.
pub(super) struct Unfinished {
    noise: NoiseHandshake,
    ephemeral: KeyPair,
}

pub(super) enum Answered {
    /// Say this, and hear the client's second frame.
    More(Vec<u8>, Box<Unfinished>),
    /// Say this, and it is done.
    Done(Vec<u8>, Box<Agreed>),
}

/// Answers the client's first frame.
pub(super) fn answer(keys: &KeyPair, hello: &[u8]) -> anyhow::Result<Answered> {
    let hello = HandshakeMessage::decode_from_slice(hello)?.client_hello.into_option().context("no hello")?;
    let theirs: [u8; 32] = key(hello.ephemeral)?;
    let ours = public(keys);
    let private = keys.private_key.serialize();
    let ephemeral = KeyPair::generate(&mut rand::rng());
    let ephemeral_public = public(&ephemeral);
    let ephemeral_private = ephemeral.private_key.serialize();
    let Some(encrypted) = hello.r#static else {
        let mut noise = NoiseHandshake::new(NOISE_PATTERN_XX, &WA_CONN_HEADER)?;
        noise.authenticate(&theirs);
        noise.authenticate(&ephemeral_public);
        noise.mix_shared_secret(ephemeral_private, &theirs)?;
        let encrypted = noise.encrypt(&ours)?;
        noise.mix_shared_secret(private, &theirs)?;
        let certificates = noise.encrypt(&certificates(&ours))?;
        let said = server_hello(ephemeral_public, Some(encrypted), certificates);
        return Ok(Answered::More(said, Box::new(Unfinished { noise, ephemeral })));
    };
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER)?;
    noise.authenticate(&ours);
    noise.authenticate(&theirs);
    noise.mix_shared_secret(private, &theirs)?;
    let noise_key = key(Some(noise.decrypt(&encrypted)?))?;
    noise.mix_shared_secret(private, &noise_key)?;
    let payload = noise.decrypt(&hello.payload.context("no payload")?)?;
    noise.authenticate(&ephemeral_public);
    noise.mix_shared_secret(ephemeral_private, &theirs)?;
    noise.mix_shared_secret(ephemeral_private, &noise_key)?;
    let certificates = noise.encrypt(&certificates(&ours))?;
    let said = server_hello(ephemeral_public, None, certificates);
    Ok(Answered::Done(said, Box::new(agreed(noise, Handshake::Ik, noise_key, &payload)?)))
}

impl Unfinished {
    /// Hears the client's second frame.
    pub(super) fn finish(self, frame: &[u8]) -> anyhow::Result<Agreed> {
        let Self { mut noise, ephemeral } = self;
        let finish = HandshakeMessage::decode_from_slice(frame)?.client_finish.into_option().context("no finish")?;
        let noise_key = key(Some(noise.decrypt(&finish.r#static.context("no key")?)?))?;
        noise.mix_shared_secret(ephemeral.private_key.serialize(), &noise_key)?;
        let payload = noise.decrypt(&finish.payload.context("no payload")?)?;
        agreed(noise, Handshake::Xx, noise_key, &payload)
    }
}

/// A key's public half, as it is written.
pub(super) fn public(keys: &KeyPair) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(keys.public_key.public_key_bytes());
    bytes
}

fn agreed(noise: NoiseHandshake, handshake: Handshake, noise_key: [u8; 32], payload: &[u8]) -> anyhow::Result<Agreed> {
    let (from_client, to_client) = noise.finish()?;
    let payload = ClientPayload::decode_from_slice(payload)?;
    Ok(Agreed { handshake, noise_key, payload, to_client, from_client })
}

fn key(bytes: Option<Vec<u8>>) -> anyhow::Result<[u8; 32]> {
    bytes.and_then(|bytes| bytes.try_into().ok()).context("a key has 32 bytes")
}

fn server_hello(ephemeral: [u8; 32], key: Option<Vec<u8>>, payload: Vec<u8>) -> Vec<u8> {
    let ephemeral = Some(ephemeral.to_vec());
    let hello = ServerHello { ephemeral, r#static: key, payload: Some(payload), ..Default::default() };
    HandshakeMessage { server_hello: MessageField::some(hello), ..Default::default() }.encode_to_vec()
}

/// Certificates as WhatsApp's, but for their signatures.
fn certificates(leaf: &[u8; 32]) -> Vec<u8> {
    let certificate = |serial, issuer_serial, key: &[u8; 32]| {
        let details = Details {
            serial: Some(serial),
            issuer_serial: Some(issuer_serial),
            key: Some(key.to_vec()),
            not_before: Some(VALID.0),
            not_after: Some(VALID.1),
        };
        let details = Some(details.encode_to_vec());
        MessageField::some(NoiseCertificate { details, signature: Some(vec![0; 64]) })
    };
    CertChain { intermediate: certificate(1, 0, &INTERMEDIATE), leaf: certificate(2, 1, leaf) }.encode_to_vec()
}
