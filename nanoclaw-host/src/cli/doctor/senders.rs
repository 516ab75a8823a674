//! What `doctor` says of the list of senders.

use super::Check;
use crate::{config::SendersConfig, senders::read};

/// The check. Blocking.
pub(super) fn check(config: &SendersConfig) -> Check {
    const NAME: &str = "senders";
    match read(config) {
        Ok(None) if config.list.is_none() => Check::warning(
            NAME,
            "everybody in a registered chat may speak to its agent: neither HOME nor XDG_CONFIG_HOME is set, so nobody knows where \
             a list of senders would be",
            "set one of them where the service is started",
        ),
        Ok(None) => Check::ok(NAME, "there is no list, so everybody in a registered chat may speak to its agent"),
        Ok(Some(policy)) => Check::ok(NAME, format!("the list is good and has rules for {} chats", policy.chats.len())),
        Err(bad) => Check::failed(
            NAME,
            format!("nobody but the owner may speak to agents: {bad}"),
            "mend it, which holds at once; docs/senders.md shows how it must look",
        ),
    }
}
