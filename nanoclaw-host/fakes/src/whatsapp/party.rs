//! Somebody's phone: it encrypts for the bot, and decrypts what the bot says.
//!
//! The functions of Signal are asynchronous for stores that wait. These do not, so each is done at once.

use anyhow::Context as _;
use futures_util::FutureExt as _;
use wacore::{
    libsignal::protocol::{
        CiphertextMessage, DeviceId, IdentityKeyPair, KeyPair, PreKeyBundle, PreKeySignalMessage, ProtocolAddress,
        PublicKey, SenderKeyDistributionMessage, SenderKeyName, SignalMessage, UsePQRatchet,
        create_sender_key_distribution_message, group_decrypt, group_encrypt, message_decrypt, message_encrypt,
        process_prekey_bundle, process_sender_key_distribution_message,
    },
    messages::{MessageUtils, decode_plaintext},
};
use waproto::whatsapp::Message;

use super::{
    nodes::{Node, node},
    stores::{Identities, OneTimeKeys, SenderKeys, Sessions, SignedKey},
};

/// How plaintexts are padded.
const PADDING: u8 = 2;
/// The number that phones register with.
pub(super) const REGISTRATION: u32 = 4242;
/// Under which name a phone's own keys for groups are kept.
const OWN: &str = "own";

pub(super) struct Party {
    identities: Identities,
    sessions: Sessions,
    one_time: OneTimeKeys,
    signed: SignedKey,
    sender_keys: SenderKeys,
    next_one_time: u32,
}

/// A message that is encrypted for one device, with its kind: `pkmsg`, which begins a session, or `msg`.
pub(super) struct Sealed {
    pub(super) kind: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Where the last byte is of that by which a reader sees that nothing was changed.
    check_at: usize,
}

impl Sealed {
    fn new(kind: &'static str, bytes: &[u8], check_at: usize) -> Self {
        Self { kind, bytes: bytes.to_vec(), check_at }
    }

    /// Changes it, so that nobody can read it, and everybody sees that it was changed.
    pub(super) fn spoil(mut self) -> Self {
        self.bytes[self.check_at] ^= 1;
        self
    }
}

impl Party {
    pub(super) fn new() -> Self {
        let own = IdentityKeyPair::generate(&mut rand::rng());
        let signed = KeyPair::generate(&mut rand::rng());
        let signature = sign(&own, &signed.public_key.serialize());
        Self {
            identities: Identities { own, registration: REGISTRATION, known: Default::default() },
            sessions: Sessions::default(),
            one_time: OneTimeKeys::default(),
            signed: SignedKey(signed, signature),
            sender_keys: SenderKeys::default(),
            next_one_time: 1,
        }
    }

    pub(super) fn identity(&self) -> Vec<u8> {
        self.identities.own.public_key().public_key_bytes().to_vec()
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        sign(&self.identities.own, bytes)
    }

    /// What this phone's identity and another's key agree upon.
    pub(super) fn agree(&self, key: &[u8; 32]) -> anyhow::Result<[u8; 32]> {
        Ok(self.identities.own.private_key().calculate_agreement(&PublicKey::from_djb_public_key_bytes(key)?)?)
    }

    /// What the service hands out of this phone's keys, with a one-time key that nobody else gets.
    pub(super) fn bundle(&mut self, address: &str) -> Node {
        let id = self.next_one_time;
        self.next_one_time += 1;
        let one_time = KeyPair::generate(&mut rand::rng());
        let value = one_time.public_key.public_key_bytes().to_vec();
        self.one_time.0.insert(id, one_time);
        let id = id.to_be_bytes()[1..].to_vec();
        let SignedKey(signed, signature) = &self.signed;
        let key = [node("id").bytes(id).build(), node("value").bytes(value).build()];
        let signed = [
            node("id").bytes(vec![0, 0, 1]).build(),
            node("value").bytes(signed.public_key.public_key_bytes().to_vec()).build(),
            node("signature").bytes(signature.clone()).build(),
        ];
        node("user")
            .attr("jid", address)
            .children([
                node("registration").bytes(self.identities.registration.to_be_bytes().to_vec()).build(),
                node("type").bytes(vec![5]).build(),
                node("identity").bytes(self.identity()).build(),
                node("key").children(key).build(),
                node("skey").children(signed).build(),
            ])
            .build()
    }

    /// Whether there is a session with the bot.
    pub(super) fn has_met_bot(&self) -> bool {
        self.sessions.0.contains_key(&bot())
    }

    /// There is no session with the bot any more.
    pub(super) fn forget_bot(&mut self) {
        self.sessions.0.clear();
    }

    /// Begins a session with the bot, in place of one that may be there.
    pub(super) fn meet_bot(&mut self, bundle: &PreKeyBundle) -> anyhow::Result<()> {
        self.forget_bot();
        at_once(process_prekey_bundle(
            &bot(),
            &mut self.sessions,
            &mut self.identities,
            bundle,
            &mut rand::rng(),
            UsePQRatchet::No,
        ))?;
        Ok(())
    }

    pub(super) fn seal(&mut self, message: &Message) -> anyhow::Result<Sealed> {
        let plaintext = MessageUtils::encode_and_pad(message);
        match at_once(message_encrypt(&plaintext, &bot(), &mut self.sessions, &mut self.identities))? {
            CiphertextMessage::PreKeySignalMessage(message) => {
                let (bytes, inner) = (message.serialized(), message.message().serialized());
                let at = bytes.windows(inner.len()).position(|part| part == inner).context("it has no message")?;
                Ok(Sealed::new("pkmsg", bytes, at + inner.len() - 1))
            }
            CiphertextMessage::SignalMessage(message) => {
                Ok(Sealed::new("msg", message.serialized(), message.serialized().len() - 1))
            }
            _ => anyhow::bail!("a message to one device is of another kind"),
        }
    }

    pub(super) fn unseal(&mut self, kind: &str, bytes: &[u8]) -> anyhow::Result<Message> {
        let sealed = match kind {
            "pkmsg" => CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(bytes)?),
            _ => CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes)?),
        };
        let unsealed = at_once(message_decrypt(
            &sealed,
            &bot(),
            &mut self.sessions,
            &mut self.identities,
            &mut self.one_time,
            &self.signed,
            &mut rand::rng(),
            UsePQRatchet::No,
        ))?;
        decode_plaintext(&unsealed.plaintext, PADDING)
    }

    /// What the bot needs to read what this phone says in a group.
    pub(super) fn sender_key(&mut self, group: &str) -> anyhow::Result<Vec<u8>> {
        let name = SenderKeyName::from_parts(group, OWN);
        let key = at_once(create_sender_key_distribution_message(&name, &mut self.sender_keys, &mut rand::rng()))?;
        Ok(key.serialized().to_vec())
    }

    pub(super) fn seal_for_group(&mut self, group: &str, message: &Message) -> anyhow::Result<Sealed> {
        let (name, plaintext) = (SenderKeyName::from_parts(group, OWN), MessageUtils::encode_and_pad(message));
        let sealed = at_once(group_encrypt(&mut self.sender_keys, &name, &plaintext, &mut rand::rng()))?;
        Ok(Sealed::new("skmsg", sealed.serialized(), sealed.serialized().len() - 1))
    }

    /// Learns the key by which the bot speaks in a group.
    pub(super) fn learn_sender_key(&mut self, group: &str, key: &[u8]) -> anyhow::Result<()> {
        let key = SenderKeyDistributionMessage::try_from(key)?;
        let name = SenderKeyName::from_parts(group, "bot");
        at_once(process_sender_key_distribution_message(&name, &key, &mut self.sender_keys))
    }

    pub(super) fn unseal_of_group(&mut self, group: &str, bytes: &[u8]) -> anyhow::Result<Message> {
        let name = SenderKeyName::from_parts(group, "bot");
        decode_plaintext(&at_once(group_decrypt(bytes, &mut self.sender_keys, &name))?, PADDING)
    }
}

/// Under which name everybody knows the bot's device: there is one.
fn bot() -> ProtocolAddress {
    ProtocolAddress::new("bot", DeviceId::new(0))
}

fn sign(own: &IdentityKeyPair, bytes: &[u8]) -> Vec<u8> {
    let signature = own.private_key().calculate_signature(bytes, &mut rand::rng());
    signature.expect("a key that was made here can sign").to_vec()
}

fn at_once<T, E>(done: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    Ok(done.now_or_never().context("a store in memory waits")??)
}
