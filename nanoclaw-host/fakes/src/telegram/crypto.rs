//! MTProto 2.0's encryption with a key that both sides have already.
//!
//! *Source*: core.telegram.org/mtproto/description, "Defining AES Key and Initialization Vector". A payload is the key's id (8 bytes), the
//! message's key (16 bytes), and the message with its padding, encrypted by AES-256-IGE.

use grammers_crypto::aes;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// A key that was agreed upon.
pub(super) type AuthKey = [u8; 256];

/// Who sent a message; the two take different parts of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Client,
    Server,
}

/// Why a payload cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is not encrypted: the client wants to agree upon a key.
    Handshake,
    /// It is encrypted with a key that is not this one.
    UnknownKey,
    /// It is too short, or was changed on its way.
    Damaged,
}

const HEADER: usize = 24;

impl From {
    fn offset(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 8,
        }
    }
}

/// The id by which a payload says which key it is encrypted with.
pub(super) fn key_id(key: &AuthKey) -> [u8; 8] {
    let mut id = [0; 8];
    id.copy_from_slice(&Sha1::digest(key)[12..20]);
    id
}

/// The payload of a message. The padding is not random: nobody listens here.
pub(super) fn seal(key: &AuthKey, from: From, message: &[u8]) -> Vec<u8> {
    let mut encrypted = message.to_vec();
    let least = message.len() + 12;
    encrypted.resize(least.next_multiple_of(16), 7);
    let message_key = message_key(key, from, &encrypted);
    let (aes_key, iv) = derive(key, from, &message_key);
    aes::ige_encrypt(&mut encrypted, &aes_key, &iv);
    [&key_id(key)[..], &message_key[..], &encrypted[..]].concat()
}

/// The message of a payload, with its padding.
pub(super) fn open(key: &AuthKey, from: From, payload: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let (id, rest) = payload.split_at_checked(8).ok_or(Unreadable::Damaged)?;
    match id {
        [0, 0, 0, 0, 0, 0, 0, 0] => return Err(Unreadable::Handshake),
        id if id != key_id(key) => return Err(Unreadable::UnknownKey),
        _ => {}
    }
    let (message_key_sent, encrypted) = rest.split_at_checked(HEADER - 8).ok_or(Unreadable::Damaged)?;
    if encrypted.is_empty() || encrypted.len() % 16 != 0 {
        return Err(Unreadable::Damaged);
    }
    let (aes_key, iv) = derive(key, from, message_key_sent);
    let mut message = encrypted.to_vec();
    aes::ige_decrypt(&mut message, &aes_key, &iv);
    match message_key(key, from, &message) == message_key_sent {
        true => Ok(message),
        false => Err(Unreadable::Damaged),
    }
}

fn message_key(key: &AuthKey, from: From, padded: &[u8]) -> [u8; 16] {
    let x = from.offset();
    let large = Sha256::new().chain_update(&key[88 + x..120 + x]).chain_update(padded).finalize();
    let mut middle = [0; 16];
    middle.copy_from_slice(&large[8..24]);
    middle
}

fn derive(key: &AuthKey, from: From, message_key: &[u8]) -> ([u8; 32], [u8; 32]) {
    let x = from.offset();
    let a = Sha256::new().chain_update(message_key).chain_update(&key[x..x + 36]).finalize();
    let b = Sha256::new().chain_update(&key[40 + x..76 + x]).chain_update(message_key).finalize();
    let (mut aes_key, mut iv) = ([0; 32], [0; 32]);
    for (target, outer, inner) in [(&mut aes_key, &a, &b), (&mut iv, &b, &a)] {
        target[..8].copy_from_slice(&outer[..8]);
        target[8..24].copy_from_slice(&inner[8..24]);
        target[24..].copy_from_slice(&outer[24..]);
    }
    (aes_key, iv)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AuthKey {
        std::array::from_fn(|at| (at * 7 + 3) as u8)
    }

    #[test]
    fn a_message_of_either_side_is_read_by_the_other_with_12_to_1024_bytes_of_padding() {
        for (from, length) in [(From::Client, 32), (From::Server, 36), (From::Client, 5000), (From::Server, 20)] {
            let message = vec![42; length];
            let payload = seal(&key(), from, &message);
            let read = open(&key(), from, &payload).expect("it was sealed with the same key");
            assert_eq!(read[..length], message, "{length}");
            assert!((12..=1024).contains(&(read.len() - length)), "{length}");
        }
    }

    #[test]
    fn what_the_client_library_encrypts_is_read_and_what_is_sealed_is_read_by_it() {
        let theirs = grammers_crypto::AuthKey::from_bytes(key());
        let message = vec![9; 48];
        let mut buffer = grammers_crypto::DequeBuffer::with_capacity(48, 64);
        buffer.extend(message.iter().copied());
        grammers_crypto::encrypt_data_v2(&mut buffer, &theirs);
        let read = open(&key(), From::Client, buffer.as_ref()).expect("the library has the same key");
        assert_eq!(read[..48], message);

        let mut payload = seal(&key(), From::Server, &message);
        let read = grammers_crypto::decrypt_data_v2(&mut payload, &theirs).expect("it was sealed with the same key");
        assert_eq!(read[..48], message);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let payload = seal(&key(), From::Client, &[1; 32]);
        assert_eq!(open(&[5; 256], From::Client, &payload), Err(Unreadable::UnknownKey));
        assert_eq!(open(&key(), From::Server, &payload), Err(Unreadable::Damaged), "the other side's direction");
        assert_eq!(open(&key(), From::Client, &[0; 40]), Err(Unreadable::Handshake));
        assert_eq!(open(&key(), From::Client, &payload[..payload.len() - 4]), Err(Unreadable::Damaged));
        assert_eq!(open(&key(), From::Client, &[]), Err(Unreadable::Damaged));
        let mut changed = payload.clone();
        *changed.last_mut().expect("it is not empty") ^= 1;
        assert_eq!(open(&key(), From::Client, &changed), Err(Unreadable::Damaged));
    }
}
