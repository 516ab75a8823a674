//! What an agent asks for, and whether it may. The sender is the mailbox's group, whatever a file says.

use super::run::RunContext;
use crate::{
    chat::ChatId,
    delivery::{DeliveryKey, NewDelivery},
    group::{Group, GroupRole},
    mailbox::Claimed,
    protocol::requests::{Answer, MessageRequest},
    run::RunId,
    time::Timestamp,
};

/// Sends a message for the agent. `None` when the store failed and the request must be tried again.
pub(super) async fn message(context: &RunContext, group: &Group, run: &RunId, claimed: &Claimed) -> Option<Answer> {
    let delivery = match allowed_message(group, run, claimed) {
        Ok(delivery) => delivery,
        Err(reason) => {
            tracing::warn!(%run, file = claimed.name, %reason, "refused an agent's request");
            return Some(Answer::Refused { reason });
        }
    };
    match context.store.post(&delivery, Timestamp::now()).await {
        Ok(_) => {
            context.nudges.chat(&delivery.chat);
            Some(Answer::Done { detail: format!("stored for delivery to {}", delivery.chat) })
        }
        Err(error) => {
            tracing::error!(%run, file = claimed.name, %error, "cannot store an agent's message; trying again");
            None
        }
    }
}

/// Decides whether the request is one, and whether `group` may make it.
fn allowed_message(group: &Group, run: &RunId, claimed: &Claimed) -> Result<NewDelivery, String> {
    let bytes = claimed.content.as_ref().map_err(ToString::to_string)?;
    let MessageRequest::Message { chat_jid, text, .. } =
        serde_json::from_slice(bytes).map_err(|error| format!("the file is no request: {error}"))?;
    let chat = ChatId::new(chat_jid).map_err(|error| error.to_string())?;
    if text.trim().is_empty() {
        return Err("the text is empty".to_owned());
    }
    if chat != group.chat && group.role != GroupRole::Main {
        return Err(format!(
            "this group may write to its own chat {} only; the main group may write to any",
            group.chat
        ));
    }
    Ok(NewDelivery { key: DeliveryKey::request(run, &claimed.name), chat, text })
}

/// Tasks and registrations are not served by files yet; the agent is told instead of left waiting.
pub(super) fn task(claimed: &Claimed) -> Answer {
    let kind = claimed
        .content
        .as_ref()
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(bytes).ok())
        .and_then(|value| value.get("type").and_then(|kind| kind.as_str()).map(str::to_owned));
    let reason = match kind.as_deref() {
        Some("register_group" | "refresh_groups") => {
            "this host registers groups on its command line only: nanoclaw groups add".to_owned()
        }
        Some(kind) => format!("this host does not take {kind:?} requests"),
        None => "the file is no request".to_owned(),
    };
    Answer::Refused { reason }
}
