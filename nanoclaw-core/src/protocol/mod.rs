//! The container contract: what goes in on standard input and in files, what comes out between markers and in files.
//!
//! Compatible with NanoClaw v1 both ways: an image made for v1 runs under our host, and our agent runs under a v1 host.
//! Everything that we add is optional, and unknown fields are ignored by both sides.

pub mod agent;
pub mod alive;
pub mod dollars;
pub mod environment;
pub mod fence;
pub mod gateway;
pub mod hostile;
pub mod input;
pub mod lists;
pub mod markers;
pub mod mounts;
pub mod output;
pub mod requests;
pub mod skills;

use self::dollars::Dollars;
use crate::{session::SessionId, time::Timestamp};

/// The version of our additions, in [`input::ContainerInput::protocol`].
pub const PROTOCOL_VERSION: u32 = 1;

#[cfg(test)]
mod tests;

/// Reads an optional session id and takes one that cannot be one (empty, with control characters) for none: without a
/// session a turn still has its answer, without the rest of the object it has not.
fn session_or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SessionId>, D::Error> {
    let text: Option<String> = serde::Deserialize::deserialize(deserializer)?;
    Ok(text.and_then(|text| SessionId::new(text).ok()))
}

/// A moment in milliseconds; `None` when it is anything else, which must not cost the block around it.
fn moment_or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let value: serde_json::Value = serde::Deserialize::deserialize(deserializer)?;
    Ok(value.as_i64().map(Timestamp::from_ms))
}

/// An amount; `None` when it is anything else, as above.
fn amount_or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Dollars>, D::Error> {
    let value: serde_json::Value = serde::Deserialize::deserialize(deserializer)?;
    Ok(value.as_f64().and_then(Dollars::new))
}

/// True or false; `None` when it is anything else, as above.
fn flag_or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let value: serde_json::Value = serde::Deserialize::deserialize(deserializer)?;
    Ok(value.as_bool())
}
