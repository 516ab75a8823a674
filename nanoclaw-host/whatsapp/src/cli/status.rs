//! `nanoclaw-whatsapp status`.

use super::{DONE, Place, say};
use crate::store::{Account, peek};

pub(super) async fn run(place: &Place, json: bool) -> anyhow::Result<u8> {
    let account = peek(&place.database()).await?;
    if json {
        let told = match &account {
            Account::None => serde_json::json!({ "linked": false }),
            Account::Linked { jid, refused: None } => serde_json::json!({ "linked": true, "jid": jid }),
            Account::Linked { jid, refused: Some(refused) } => {
                serde_json::json!({ "linked": false, "jid": jid, "refused": refused.reason, "refused_at_ms": refused.at_ms })
            }
        };
        say(told)?;
        return Ok(DONE);
    }
    say(match account {
        Account::None => "no WhatsApp account is linked".to_owned(),
        Account::Linked { jid, refused: None } => format!("linked: {jid}"),
        Account::Linked { jid, refused: Some(refused) } => format!("not linked any more: {jid} ({})", refused.reason),
    })?;
    Ok(DONE)
}
