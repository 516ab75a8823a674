//! From the handshake until the client is ready for messages: linking a device, or logging in with one.

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use wacore::pair::PairUtils;
use waproto::{
    buffa::Message as _,
    whatsapp::{ADVSignedDeviceIdentityHMAC, ClientPayload},
};

use super::{
    FakeWhatsApp,
    nodes::{Node, SERVICE, attr, node, now},
    world::World,
};

/// The ids of the service's own queries while a device is linked.
const PAIR_DEVICE: &str = "pair-device";
const PAIR_SUCCESS: &str = "pair-success";
/// How many codes are shown one after the other.
const CODES: usize = 6;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was said yet.
    Greeted,
    /// It waits for its code to be scanned.
    Pairing,
    /// It is logged in and has not said yet that it is ready.
    LoggedIn,
    /// It was told how many messages wait, and asks for them.
    CatchingUp,
    /// It hears what is said at once.
    Live,
    /// It is being closed.
    Leaving,
}

/// The client says who it is, or that it is nobody yet.
pub(super) fn begin(world: &mut World, number: usize, payload: &ClientPayload) {
    let Some(connection) = world.connections.get_mut(&number) else { return };
    if payload.username.is_none() {
        connection.phase = Phase::Pairing;
        let references = (1..=CODES).map(|code| node("ref").bytes(format!("2@fake-{number}-{code}")).build());
        let codes = node("pair-device").children(references).build();
        let query = query(PAIR_DEVICE).children([codes]).build();
        return world.say(number, query);
    }
    let is_linked = world.account.noise_key == Some(connection.noise_key)
        && payload.username.is_some_and(|username| FakeWhatsApp::BOT == format!("{username}@{SERVICE}"));
    let refused = if is_linked { world.refusal.clone() } else { Some(failure(401)) };
    if let Some(refused) = refused {
        world.seen.failures += 1;
        return world.end(number, refused);
    }
    connection.phase = Phase::LoggedIn;
    // A device has one connection.
    let others: Vec<usize> = world.connections.keys().copied().filter(|other| *other != number).collect();
    for other in others {
        let replaced = node("conflict").attr("type", "replaced").build();
        world.end(other, node("stream:error").children([replaced]).build());
    }
    world.seen.logins += 1;
    let success = node("success")
        .attr("t", now().to_string())
        .attr("lid", FakeWhatsApp::BOT_LID_DEVICE)
        .attr("location", "fake")
        .build();
    world.say(number, success);
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
pub(super) fn scan(world: &mut World, code: &str) -> Result<(), String> {
    let (_, noise_key, identity) = PairUtils::parse_qr_code(code).map_err(|error| error.to_string())?;
    let secret = code.split(',').nth(3).unwrap_or_default();
    let secret = base64::engine::general_purpose::STANDARD.decode(secret).map_err(|error| error.to_string())?;
    let waiting = world
        .connections
        .iter()
        .find(|(_, connection)| connection.phase == Phase::Pairing && connection.noise_key == noise_key);
    let number = *waiting.ok_or("no client that is connected shows this code")?.0;
    let signed = world.account.identity_of_device(&identity).encode_to_vec();
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).map_err(|error| error.to_string())?;
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

/// That a login is refused with this reason.
pub(super) fn failure(reason: u16) -> Node {
    node("failure").attr("reason", reason.to_string()).attr("location", "fake").build()
}

fn query(id: &'static str) -> super::nodes::NodeBuilder {
    node("iq").attr("from", SERVICE).attr("type", "set").attr("id", id).attr("xmlns", "md")
}
