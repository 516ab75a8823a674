//! What each call of the REST API answers.

use serde_json::{Value, json};

use super::{
    State,
    world::{Call, World},
};

/// The longest text of a message, in characters.
const LONGEST_TEXT: usize = 2000;
/// The longest nonce, in characters.
const LONGEST_NONCE: usize = 25;

/// Discord says no: the status, its number, its words.
pub(super) type No = (u16, u64, &'static str);

/// Files that came with a call, by name.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// Answers a call.
pub(super) fn answer(state: &State, call: &Call, files: &Files) -> Result<Value, No> {
    state.change(|world| {
        if !call.authorization.strip_prefix("Bot ").is_some_and(|token| world.takes(token)) {
            return Err((401, 0, "401: Unauthorized"));
        }
        match call.what.as_str() {
            super::GATEWAY => Ok(gateway(world, state)),
            super::POST => post(world, call, files),
            super::HISTORY => history(world, call),
            super::TYPING => may(world, &call.channel, true).map(|()| Value::Null),
            _ => Err((404, 0, "404: Not Found")),
        }
    })
}

fn gateway(world: &World, state: &State) -> Value {
    let (remaining, reset_after) = world.no_session_for.map_or((999, 0), |ms| (0, ms));
    json!({
        "url": format!("ws://{}/gateway", state.addr), "shards": 1,
        "session_start_limit": {"total": 1000, "remaining": remaining, "reset_after": reset_after, "max_concurrency": 1},
    })
}

fn may(world: &World, channel: &str, write: bool) -> Result<(), No> {
    let channel = world.channels.get(channel).ok_or((404, 10003, "Unknown Channel"))?;
    match () {
        () if !world.in_guild => Err((403, 50001, "Missing Access")),
        () if write && channel.muted => Err((403, 50013, "Missing Permissions")),
        () => Ok(()),
    }
}

fn post(world: &mut World, call: &Call, files: &Files) -> Result<Value, No> {
    may(world, &call.channel, true)?;
    let arguments = &call.arguments;
    let text = arguments["content"].as_str().unwrap_or_default();
    match text.chars().count() {
        0 if files.is_empty() => return Err((400, 50006, "Cannot send an empty message")),
        0..=LONGEST_TEXT => {}
        _ => return Err((400, 50035, "Invalid Form Body")),
    }
    let nonce = &arguments["nonce"];
    if nonce.as_str().is_some_and(|nonce| nonce.chars().count() > LONGEST_NONCE) {
        return Err((400, 50035, "Invalid Form Body"));
    }
    let enforced = nonce.as_str().filter(|_| arguments["enforce_nonce"] == true).map(str::to_owned);
    if let Some(posted) = enforced.as_ref().and_then(|nonce| world.nonces.get(nonce)) {
        return Ok(posted.clone());
    }
    let replied_to = replied_to(world, call)?;
    let posted = world.post(&call.channel, text, nonce, files, replied_to);
    if let Some(nonce) = enforced {
        world.nonces.insert(nonce, posted.clone());
    }
    Ok(posted)
}

/// The message of the channel that is replied to.
fn replied_to(world: &World, call: &Call) -> Result<Option<Value>, No> {
    let reference = &call.arguments["message_reference"];
    let Some(id) = reference["message_id"].as_str() else { return Ok(None) };
    let channel = world.channels.get(&call.channel);
    match channel.and_then(|channel| channel.history.iter().find(|message| message["id"] == id)) {
        Some(found) => Ok(Some(found.clone())),
        None if reference["fail_if_not_exists"] == false => Ok(None),
        None => Err((400, 50035, "Invalid Form Body")),
    }
}

fn history(world: &World, call: &Call) -> Result<Value, No> {
    may(world, &call.channel, false)?;
    let number = |name: &str| call.arguments[name].as_str().and_then(|text| text.parse::<u64>().ok());
    let limit = number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(50);
    if !(1..=100).contains(&limit) {
        return Err((400, 50035, "Invalid Form Body"));
    }
    let all = world.channels.get(&call.channel).map(|channel| channel.history.as_slice()).unwrap_or_default();
    let id = |message: &Value| message["id"].as_str().and_then(|id| id.parse::<u64>().ok()).unwrap_or(0);
    let mut page: Vec<Value> = match (number("after"), number("before")) {
        (Some(after), _) => all.iter().filter(|message| id(message) > after).take(limit).cloned().collect(),
        (None, before) => {
            let mut latest: Vec<Value> = all
                .iter()
                .rev()
                .filter(|message| before.is_none_or(|before| id(message) < before))
                .take(limit)
                .cloned()
                .collect();
            latest.reverse();
            latest
        }
    };
    page.reverse();
    Ok(json!(page))
}
