//! What one group may do through the gateway: data, made by whoever opens its socket.

use nanoclaw_core::run::RunNumber;

use super::{AllowList, Limits, PrivateEndpoints};

/// What one group may do. The default is nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Whether it may ask the model API, with the host's credential.
    pub model_api: bool,
    /// The hosts and ports that it may reach, with no credential but its own.
    pub allow: AllowList,
    /// Those among them that may have an address that is not public.
    pub private: PrivateEndpoints,
    /// The further upstreams that it may ask, by name, with the credential that each has.
    pub upstreams: Vec<String>,
    /// How much of everything.
    pub limits: Limits,
    /// The run that the socket is opened for, for the log.
    pub run: Option<RunNumber>,
    /// Where an operator allows this group a host, for refusals: `[groups.family]`.
    pub allowed_in: Option<String>,
}

impl Policy {
    /// The model API and nothing else.
    #[must_use]
    pub fn model_api() -> Self {
        Self { model_api: true, ..Self::default() }
    }

    /// These hosts, by CONNECT and plain HTTP, and nothing else.
    #[must_use]
    pub fn hosts(allow: AllowList) -> Self {
        Self { allow, ..Self::default() }
    }
}
