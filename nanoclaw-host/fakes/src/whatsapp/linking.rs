//! Linking a device: by the code that the owner's phone scans, or by the one that the owner types into it.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use wacore::{
    crypto::hkdf_sha256_into,
    libsignal::{
        crypto::aes_256_gcm_decrypt,
        protocol::{KeyPair, PublicKey},
    },
    pair::PairUtils,
    pair_code::PairCodeUtils,
};
use waproto::{
    buffa::{Message as _, MessageField},
    whatsapp::{
        ADVSignedDeviceIdentityHMAC, Message,
        message::{
            AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId, AppStateSyncKeyShare,
            ProtocolMessage, protocol_message::Type,
        },
    },
};

use super::{
    FakeWhatsApp,
    account::DEVICE,
    login::Phase,
    nodes::{Node, NodeBuilder, SERVICE, attr, child, content_of, node, now},
    noise::public,
    world::World,
};

/// The ids of the service's own queries while a device is linked.
const PAIR_DEVICE: &str = "pair-device";
const PAIR_SUCCESS: &str = "pair-success";
/// How many codes are shown one after the other.
const CODES: usize = 6;
/// By what the two stages of linking by a typed code know each other.
const REFERENCE: &[u8] = b"fake-reference";
/// The tag of all that is said about a typed code.
const TYPED: &str = "link_code_companion_reg";

/// A code that a client shows and that waits for being typed.
pub(super) struct TypedCode {
    connection: usize,
    /// The client's key, encrypted with the code.
    wrapped: Vec<u8>,
    /// The phone's key and the client's, after the code was typed.
    exchanged: Option<(KeyPair, [u8; 32])>,
}

impl TypedCode {
    pub(super) fn is_of(&self, connection: usize) -> bool {
        self.connection == connection
    }
}

/// Says what codes are made of to a client that is nobody yet.
pub(super) fn offer(world: &mut World, number: usize) {
    world.set_phase(number, Phase::Pairing);
    let references = (1..=CODES).map(|code| node("ref").bytes(format!("2@fake-{number}-{code}")).build());
    let codes = node("pair-device").children(references).build();
    world.say(number, query(PAIR_DEVICE).children([codes]).build());
}

/// The client answers a query of the service's.
pub(super) fn answered(world: &mut World, number: usize, said: &Node) -> Vec<Node> {
    if attr(said, "id") == PAIR_SUCCESS && attr(said, "type") == "result" {
        world.seen.pairings += 1;
        world.end(number, node("stream:error").attr("code", "515").build());
    }
    Vec::new()
}

/// The owner's phone scans a code.
pub(super) fn scan(world: &mut World, code: &str) -> anyhow::Result<()> {
    let (_, noise_key, identity) = PairUtils::parse_qr_code(code)?;
    let secret = code.split(',').nth(3).unwrap_or_default();
    let secret = base64::engine::general_purpose::STANDARD.decode(secret)?;
    let shows =
        |connection: &super::world::Connection| connection.phase == Phase::Pairing && connection.noise_key == noise_key;
    let waiting = world.connections.iter().find(|(_, connection)| shows(connection));
    let number = *waiting.context("no client that is connected shows this code")?.0;
    succeed(world, number, &identity, &secret)
}

/// The owner types a code into the phone.
pub(super) fn type_in(world: &mut World, code: &str) -> anyhow::Result<()> {
    let identity = world.account.phone.identity();
    let typed = world.typed_code.as_mut().context("no client shows a code to type")?;
    let code = code.replace('-', "");
    // A wrong code makes a wrong key of it, as nobody can tell yet.
    let theirs = PairCodeUtils::decrypt_primary_ephemeral_pub(&typed.wrapped, &code)?;
    let ours = KeyPair::generate(&mut rand::rng());
    let wrapped = PairCodeUtils::encrypt_ephemeral_pub(&public(&ours), &code);
    typed.exchanged = Some((ours, theirs));
    let number = typed.connection;
    let hello = node(TYPED).attr("stage", "primary_hello").children([
        node("link_code_pairing_wrapped_primary_ephemeral_pub").bytes(wrapped.to_vec()).build(),
        node("primary_identity_pub").bytes(identity).build(),
        node("link_code_pairing_ref").bytes(REFERENCE.to_vec()).build(),
    ]);
    let id = world.new_id();
    let news = node("notification").attr("from", SERVICE).attr("type", TYPED).attr("id", id);
    world.say(number, news.attr("t", now().to_string()).children([hello.build()]).build());
    Ok(())
}

/// What the client says of a code to type, and of being linked.
pub(super) fn asked(world: &mut World, number: usize, query: &Node) -> anyhow::Result<Vec<Node>> {
    if child(query, "remove-companion-device").is_some() {
        world.account.noise_key = None;
        return Ok(Vec::new());
    }
    let said = child(query, TYPED).context("bad-request")?;
    if attr(said, "stage") == "companion_finish" {
        finish(world, number, said)?;
        return Ok(Vec::new());
    }
    ensure!(attr(said, "jid") == FakeWhatsApp::BOT, "bad-request");
    let wrapped = content_of(said, "link_code_pairing_wrapped_companion_ephemeral_pub");
    world.typed_code = Some(TypedCode { connection: number, wrapped, exchanged: None });
    let reference = node("link_code_pairing_ref").bytes(REFERENCE.to_vec()).build();
    Ok(vec![node(TYPED).attr("stage", "companion_hello").children([reference]).build()])
}

/// Both sides have the code: the phone finds the secret that the client made.
fn finish(world: &mut World, number: usize, said: &Node) -> anyhow::Result<()> {
    let typed = world.typed_code.take().filter(|typed| typed.connection == number).context("bad-request")?;
    let (ours, theirs) = typed.exchanged.context("bad-request")?;
    ensure!(content_of(said, "link_code_pairing_ref") == REFERENCE, "bad-request");
    let theirs = PublicKey::from_djb_public_key_bytes(&theirs)?;
    let shared = ours.private_key.calculate_agreement(&theirs)?;
    let wrapped = content_of(said, "link_code_pairing_wrapped_key_bundle");
    let (salt, rest) = wrapped.split_at_checked(32).context("bad-request")?;
    let (nonce, sealed) = rest.split_at_checked(12).context("bad-request")?;
    let mut key = [0; 32];
    hkdf_sha256_into(&shared, Some(salt), b"link_code_pairing_key_bundle_encryption_key", &mut key)?;
    let (mut bundle, nonce) = (Vec::new(), nonce.try_into()?);
    aes_256_gcm_decrypt(&key, nonce, b"", sealed, &mut bundle)?;
    let identity: [u8; 32] = bundle.get(..32).context("bad-request")?.try_into()?;
    let random = bundle.get(64..96).context("bad-request")?;
    let with_identity = world.account.phone.agree(&identity)?;
    let mut secret = [0; 32];
    hkdf_sha256_into(&[&shared[..], &with_identity, random].concat(), None, b"adv_secret", &mut secret)?;
    succeed(world, number, &identity, &secret)
}

/// The phone signs what the device is, and the service tells the device.
fn succeed(world: &mut World, number: usize, identity: &[u8; 32], secret: &[u8]) -> anyhow::Result<()> {
    let noise_key = world.connections.get(&number).context("the client has gone")?.noise_key;
    let signed = world.account.identity_of_device(identity).encode_to_vec();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret)?;
    mac.update(&signed);
    let hmac = Some(mac.finalize().into_bytes().to_vec());
    let identity = ADVSignedDeviceIdentityHMAC { details: Some(signed), hmac, ..Default::default() };
    world.account.link(noise_key);
    world.account.shares_key = true;
    world.people.forget_bot();
    world.queue.forget_sealed();
    let success = node("pair-success").children([
        node("device-identity").bytes(identity.encode_to_vec()).build(),
        node("device").attr("jid", FakeWhatsApp::BOT_DEVICE).attr("lid", FakeWhatsApp::BOT_LID_DEVICE).build(),
        node("platform").attr("name", "android").build(),
    ]);
    let query = query(PAIR_SUCCESS).attr("t", now().to_string()).children([success.build()]).build();
    world.say(number, query);
    Ok(())
}

/// The phone shares the key of the account's settings with a device that was linked just now.
pub(super) fn share_key(world: &mut World) -> Option<Node> {
    if !std::mem::take(&mut world.account.shares_key) {
        return None;
    }
    let id = world.new_id();
    let sealed = world.account.bundle().and_then(|bundle| {
        world.account.phone.meet_bot(&bundle)?;
        world.account.phone.seal(&shared_key())
    });
    let sealed = match sealed {
        Ok(sealed) => sealed,
        Err(error) => {
            world.seen.unreadable.push(format!("the phone cannot share its key: {error:#}"));
            return None;
        }
    };
    let encrypted = node("enc").attr("v", "2").attr("type", sealed.kind).bytes(sealed.bytes).build();
    let message = node("message").attr("from", FakeWhatsApp::BOT).attr("id", id).attr("type", "text");
    Some(message.attr("category", "peer").attr("t", now().to_string()).children([encrypted]).build())
}

fn shared_key() -> Message {
    let fingerprint =
        AppStateSyncKeyFingerprint { raw_id: Some(1), current_index: Some(DEVICE), device_indexes: vec![0, DEVICE] };
    let data = AppStateSyncKeyData {
        key_data: Some(vec![7; 32]),
        timestamp: Some(now() as i64 * 1000),
        fingerprint: MessageField::some(fingerprint),
    };
    let key = AppStateSyncKey {
        key_id: MessageField::some(AppStateSyncKeyId { key_id: Some(vec![0, 0, 0, 0, 0, 1]) }),
        key_data: MessageField::some(data),
    };
    let share = ProtocolMessage {
        r#type: Some(Type::APP_STATE_SYNC_KEY_SHARE),
        app_state_sync_key_share: MessageField::some(AppStateSyncKeyShare { keys: vec![key] }),
        ..Default::default()
    };
    Message { protocol_message: MessageField::some(share), ..Default::default() }
}

fn query(id: &'static str) -> NodeBuilder {
    node("iq").attr("from", SERVICE).attr("type", "set").attr("id", id).attr("xmlns", "md")
}
