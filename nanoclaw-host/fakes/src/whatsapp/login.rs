//! From the handshake until the client is ready for messages.

use waproto::whatsapp::ClientPayload;

use super::{
    FakeWhatsApp, linking,
    nodes::{Node, SERVICE, node, now},
    world::World,
};

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was said yet.
    Greeted,
    /// It waits for its code to be scanned or typed.
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
    let Some(connection) = world.connections.get(&number) else { return };
    let Some(username) = payload.username else { return linking::offer(world, number) };
    let is_linked =
        world.account.noise_key == Some(connection.noise_key) && FakeWhatsApp::BOT == format!("{username}@{SERVICE}");
    let refused = if is_linked { world.refusal.clone() } else { Some(failure(401)) };
    if let Some(refused) = refused {
        world.seen.failures += 1;
        return world.end(number, refused);
    }
    world.set_phase(number, Phase::LoggedIn);
    // A device has one connection.
    let others: Vec<usize> = world.connections.keys().copied().filter(|other| *other != number).collect();
    for other in others {
        world.end(other, conflict("replaced"));
    }
    world.seen.logins += 1;
    let success = node("success")
        .attr("t", now().to_string())
        .attr("lid", FakeWhatsApp::BOT_LID_DEVICE)
        .attr("location", "fake")
        .build();
    world.say(number, success);
}

/// That a login is refused with this reason.
pub(super) fn failure(reason: u16) -> Node {
    node("failure").attr("reason", reason.to_string()).attr("location", "fake").build()
}

/// That the stream ends because the device's place is taken.
pub(super) fn conflict(kind: &'static str) -> Node {
    let conflict = node("conflict").attr("type", kind).build();
    let error = node("stream:error");
    let error = if kind == "device_removed" { error.attr("code", "401") } else { error };
    error.children([conflict]).build()
}

impl World {
    pub(super) fn phase(&self, number: usize) -> Option<Phase> {
        self.connections.get(&number).map(|connection| connection.phase)
    }

    pub(super) fn set_phase(&mut self, number: usize, phase: Phase) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.phase = phase;
        }
    }
}
