//! What an agent is told of how to think, and by which way it asks a model.

use nanoclaw_core::{protocol::agent::AgentSettings, runtime::GuestValue};

use crate::config::{GroupSettings, Provider, Thinking};

/// The value of [`AGENT`](nanoclaw_core::protocol::environment::AGENT); `None` where everything is left to the agent. There
/// is no secret in it: the configuration refuses what looks like one.
pub(super) fn variable(thinking: &Thinking) -> Option<GuestValue> {
    let settings = thinking.settings();
    if settings == AgentSettings::default() {
        return None;
    }
    let text = serde_json::to_string(&settings).expect("texts and numbers by names that are texts are JSON");
    Some(GuestValue::Text(text))
}

/// For people: the network of a container that has no way to the model API, and why.
pub(super) fn network(settings: &GroupSettings) -> (String, String) {
    match (*settings.provider, settings.thinking.upstream()) {
        (Provider::Native, Some(name)) => (
            format!(
                "none but loopback; the model is the upstream {name} of the host's gateway, which adds the credential"
            ),
            "api".to_owned(),
        ),
        (Provider::Native, None) => ("none but loopback".to_owned(), "its model is inside the container".to_owned()),
        _ => ("none but loopback".to_owned(), "the offline provider calls no model".to_owned()),
    }
}
