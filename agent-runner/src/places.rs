//! Where things are inside the container: read once from the environment, v1's paths where it says nothing.

use std::{env, ffi::OsString, path::PathBuf};

use nanoclaw_core::{
    mailbox::Mailbox,
    protocol::environment::{EXTRA_DIR, GATEWAY_SOCKET, GLOBAL_DIR, GROUP_DIR, IPC_DIR, RUN, guest},
    run::RunNumber,
};

use crate::log::say;

/// Where things are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The group's folder, the working directory.
    pub(crate) group: PathBuf,
    /// The folder that all groups share; need not exist.
    pub(crate) global: PathBuf,
    /// The parent of additional mounts; need not exist.
    pub(crate) extra: PathBuf,
    /// The files shared with the host.
    pub(crate) mailbox: Mailbox,
    /// The agent's home.
    pub(crate) home: PathBuf,
    /// The gateway's unix socket; `None`: there is no gateway.
    pub(crate) gateway: Option<PathBuf>,
    /// This run; `None`: the host wants no journal.
    pub(crate) run: Option<RunNumber>,
}

impl Places {
    /// What the environment says.
    pub(crate) fn from_environment() -> Self {
        let path = |name, default: &str| set(name).map_or_else(|| PathBuf::from(default), PathBuf::from);
        Self {
            group: path(GROUP_DIR, guest::GROUP_DIR),
            global: path(GLOBAL_DIR, guest::GLOBAL_DIR),
            extra: path(EXTRA_DIR, guest::EXTRA_DIR),
            mailbox: Mailbox::new(path(IPC_DIR, guest::IPC_DIR)),
            home: path("HOME", guest::HOME),
            gateway: set(GATEWAY_SOCKET).map(PathBuf::from),
            run: set(RUN).and_then(|text| {
                let number = text.to_str().and_then(|text| text.parse().ok()).map(RunNumber);
                if number.is_none() {
                    say!("{RUN} is {text:?}, which is no number: no journal is kept");
                }
                number
            }),
        }
    }
}

/// The variable `name`, unless it is empty.
pub(crate) fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
