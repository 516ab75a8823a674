//! What is started before there is any input, in a container that was started ahead: the provider, by what the host knows of
//! the input already.

use std::collections::BTreeMap;

use nanoclaw_core::protocol::{environment::AHEAD, input};

use super::started_with;
use crate::{
    log::say,
    places::{Places, set},
    provider::Provider,
};

/// Starts it, as far as it can be without a prompt; `None` where nothing is known. What is wrong is judged when the input is
/// there, and only then: nobody has asked for anything yet.
pub(super) fn start(places: &Places) -> Option<Provider> {
    let text = set(AHEAD)?;
    let known: input::Ahead = serde_json::from_str(&text.to_string_lossy())
        .inspect_err(|error| say!("{AHEAD} cannot be used, so nothing is started ahead: {error}"))
        .ok()?;
    let (start, _) = started_with(known, places.clone(), BTreeMap::new()).ok()?;
    let mut provider = Provider::new(start);
    provider.start_ahead();
    Some(provider)
}
