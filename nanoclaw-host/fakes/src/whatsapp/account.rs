//! The account that the client is a linked device of: its numbers, its phone, and the keys of the device.

use std::{collections::VecDeque, sync::Arc};

use anyhow::Context as _;
use wacore::{
    libsignal::protocol::{IdentityKey, PreKeyBundle, PublicKey},
    store::{
        Device,
        device::{CachedNoiseCert, CachedServerCertChain},
    },
};
use waproto::{
    buffa::Message as _,
    whatsapp::{ADVDeviceIdentity, ADVKeyIndexList, ADVSignedDeviceIdentity, ADVSignedKeyIndexList},
};

use super::{
    FakeWhatsApp,
    nodes::{Node, bare, child, children, content_of, now, number},
    noise::{INTERMEDIATE, VALID},
    party::Party,
};

/// Before what an account signs of its devices, and a device of itself.
const ACCOUNT_SIGNS: [u8; 2] = [6, 0];
const DEVICE_SIGNS: [u8; 2] = [6, 1];
/// With fewer one-time keys the client is to upload more.
const FEW_KEYS: usize = 10;
/// The device's number within its account.
pub(super) const DEVICE: u32 = 7;

pub(super) struct Account {
    /// The owner's phone, which linked the device.
    pub(super) phone: Party,
    /// By which the linked device is known, if one is linked.
    pub(super) noise_key: Option<[u8; 32]>,
    /// What the device uploaded, when it has.
    keys: Option<Keys>,
    /// Whether the phone has yet to share the key of the account's settings, which a client waits for that was linked just now.
    pub(super) shares_key: bool,
    /// Whether the client was told that few one-time keys are left.
    was_warned: bool,
}

struct Keys {
    registration: u32,
    identity: IdentityKey,
    signed: (u32, PublicKey, Vec<u8>),
    /// Each is handed out once.
    one_time: VecDeque<(u32, PublicKey)>,
}

impl Account {
    pub(super) fn new() -> Self {
        Self { phone: Party::new(), noise_key: None, keys: None, shares_key: false, was_warned: false }
    }

    /// Another device is linked in place of one that was.
    pub(super) fn link(&mut self, noise_key: [u8; 32]) {
        self.noise_key = Some(noise_key);
        self.keys = None;
    }

    /// What the phone signs when it links a device.
    pub(super) fn identity_of_device(&self, device: &[u8; 32]) -> ADVSignedDeviceIdentity {
        let details = ADVDeviceIdentity {
            raw_id: Some(1),
            timestamp: Some(now()),
            key_index: Some(DEVICE),
            ..Default::default()
        };
        let details = details.encode_to_vec();
        let signature = self.phone.sign(&[&ACCOUNT_SIGNS[..], &details, device].concat());
        ADVSignedDeviceIdentity {
            details: Some(details),
            account_signature_key: Some(self.phone.identity()),
            account_signature: Some(signature),
            ..Default::default()
        }
    }

    /// Makes a client's new device look as after it was linked.
    pub(super) fn seed(&mut self, device: &mut Device, server: [u8; 32]) {
        let mut identity = [0; 32];
        identity.copy_from_slice(device.identity_key.public_key.public_key_bytes());
        let mut noise_key = [0; 32];
        noise_key.copy_from_slice(device.noise_key.public_key.public_key_bytes());
        self.link(noise_key);
        let mut signed = self.identity_of_device(&identity);
        let details = signed.details.clone().unwrap_or_default();
        let said = [&DEVICE_SIGNS[..], &details, &identity, &self.phone.identity()].concat();
        let signature = device.identity_key.private_key.calculate_signature(&said, &mut rand::rng());
        signed.device_signature = signature.ok().map(|signature| signature.to_vec());
        device.pn = FakeWhatsApp::BOT_DEVICE.parse().ok();
        device.lid = FakeWhatsApp::BOT_LID_DEVICE.parse().ok();
        device.account = Some(Arc::new(signed));
        FakeWhatsApp::BOT_NAME.clone_into(&mut device.push_name);
        let certificate = |key| CachedNoiseCert { key, not_before: VALID.0 as i64, not_after: VALID.1 as i64 };
        let chain = CachedServerCertChain { intermediate: certificate(INTERMEDIATE), leaf: certificate(server) };
        device.server_cert_chain = Some(chain);
    }

    /// Takes what the device uploads; one-time keys come to those that are there.
    pub(super) fn take_keys(&mut self, query: &Node) -> anyhow::Result<()> {
        let uploaded = Keys::read(query, child(query, "list").map(children).unwrap_or_default())?;
        match &mut self.keys {
            Some(keys) if keys.identity == uploaded.identity => {
                keys.signed = uploaded.signed;
                keys.one_time.extend(uploaded.one_time);
            }
            keys => *keys = Some(uploaded),
        }
        Ok(())
    }

    /// Another signed key takes the place of the one that was there.
    pub(super) fn rotate(&mut self, query: &Node) -> anyhow::Result<()> {
        let signed = child(query, "rotate").and_then(|rotate| child(rotate, "skey")).context("no key")?;
        let signed = signed_key(signed)?;
        self.keys.as_mut().context("no keys yet")?.signed = signed;
        Ok(())
    }

    pub(super) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Whether the client is to be told that few one-time keys are left: once, until there are more.
    pub(super) fn takes_warning(&mut self) -> bool {
        let warns = self.keys.is_some() && self.keys_left() < FEW_KEYS;
        let was_warned = std::mem::replace(&mut self.was_warned, warns);
        warns && !was_warned
    }

    /// How many one-time keys are left.
    pub(super) fn keys_left(&self) -> usize {
        self.keys.as_ref().map_or(0, |keys| keys.one_time.len())
    }

    /// What is handed out of the device's keys to who wants to write to it, with a one-time key that nobody else gets, as long as there are some.
    pub(super) fn bundle(&mut self) -> anyhow::Result<PreKeyBundle> {
        self.keys.as_mut().context("the device has uploaded no keys yet")?.bundle()
    }

    /// The same from what the device tells itself, when it asks for a message again.
    pub(super) fn bundle_in_receipt(receipt: &Node) -> Option<anyhow::Result<PreKeyBundle>> {
        let keys = child(receipt, "keys")?;
        let one_time: Vec<Node> = child(keys, "key").cloned().into_iter().collect();
        let registration = content_of(receipt, "registration");
        let read = Keys::read(keys, &one_time).and_then(|mut keys| {
            keys.registration = number(&registration);
            keys.bundle()
        });
        Some(read)
    }

    /// The numbers of the account's devices, as the phone signs them.
    pub(super) fn device_list(&self) -> Vec<u8> {
        let list = ADVKeyIndexList {
            raw_id: Some(1),
            timestamp: Some(now()),
            current_index: Some(DEVICE),
            valid_indexes: vec![0, DEVICE],
            ..Default::default()
        };
        let details = list.encode_to_vec();
        let signature = Some(self.phone.sign(&[&[6, 2][..], &details].concat()));
        ADVSignedKeyIndexList { details: Some(details), account_signature: signature, ..Default::default() }
            .encode_to_vec()
    }
}

impl Keys {
    fn read(node: &Node, one_time: &[Node]) -> anyhow::Result<Self> {
        let identity = IdentityKey::new(PublicKey::from_djb_public_key_bytes(&content_of(node, "identity"))?);
        let signed = signed_key(child(node, "skey").context("no signed key")?)?;
        let one_time = one_time
            .iter()
            .map(|key| {
                let value = PublicKey::from_djb_public_key_bytes(&content_of(key, "value"))?;
                Ok((number(&content_of(key, "id")), value))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { registration: number(&content_of(node, "registration")), identity, signed, one_time })
    }

    fn bundle(&mut self) -> anyhow::Result<PreKeyBundle> {
        let one_time = self.one_time.pop_front().map(|(id, key)| (id.into(), key));
        let (id, key, signature) = self.signed.clone();
        Ok(PreKeyBundle::new(self.registration, DEVICE.into(), one_time, id.into(), key, signature, self.identity)?)
    }
}

fn signed_key(node: &Node) -> anyhow::Result<(u32, PublicKey, Vec<u8>)> {
    let key = PublicKey::from_djb_public_key_bytes(&content_of(node, "value"))?;
    Ok((number(&content_of(node, "id")), key, content_of(node, "signature")))
}

/// Whether an address, of whatever device, is the account's.
pub(super) fn is_bot(address: &str) -> bool {
    let address = bare(address);
    address == FakeWhatsApp::BOT || address == FakeWhatsApp::BOT_LID
}
