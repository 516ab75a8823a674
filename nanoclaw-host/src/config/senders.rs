//! `[senders]`: who may speak to agents, and what strangers are told. The list of senders itself is a file outside every mount
//! ([`crate::senders`]).

use std::path::PathBuf;

use nanoclaw_core::senders::UnknownPrivate;

use super::{
    reader::Reader,
    setting::Setting,
    value::{self, Raw, Right},
};
use crate::credentials::{private_folder, users_folder};

/// Who may speak to agents, and what strangers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendersConfig {
    /// The list of senders; `None` when nobody knows where the user's configuration is.
    pub list: Option<PathBuf>,
    /// Where NanoClaw v1 has it, when that is another place.
    pub elsewhere: Option<PathBuf>,
    /// What somebody is told who writes privately in a chat that is no group.
    pub unknown_private: Setting<UnknownPrivate>,
}

impl SendersConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const NAME: &str = "sender-allowlist.json";
        let list = private_folder(reader.environment()).map(|folder| folder.join(NAME));
        let of_v1 = users_folder(reader.environment()).map(|folder| folder.join("nanoclaw").join(NAME));
        let mut section = reader.section("senders");
        let unknown_private = section.read("unknown_private", None, UnknownPrivate::default(), unknown_private);
        section.finish();
        Self { elsewhere: of_v1.filter(|other| list.as_ref() != Some(other)), list, unknown_private }
    }
}

fn unknown_private(raw: &Raw<'_>) -> Result<UnknownPrivate, Right> {
    const RIGHT: &str = "\"ignore\" or \"hint\"";
    match value::line(32)(raw).map_err(|_| RIGHT)?.as_str() {
        "ignore" => Ok(UnknownPrivate::Ignore),
        "hint" => Ok(UnknownPrivate::Hint),
        _ => Err(RIGHT.into()),
    }
}
