//! What the launcher has to know of this machine.

use nanoclaw_core::runtime::{RunAs, RuntimeKind};

use super::choose::Chosen;
use crate::{
    config::{Config, ProcessEnvironment, UserChoice},
    launcher::{Machine, MissingLimits},
    programs::{self, Purpose},
};

/// The user inside where the host is root: the first ordinary one, which agent images have as `node`.
const ORDINARY: RunAs = RunAs { uid: 1000, gid: 1000 };

pub(super) fn of(config: &Config, chosen: &Chosen) -> Machine {
    let runtime = chosen.runtime.kind();
    let purpose = Purpose::of(runtime);
    Machine {
        runtime,
        runtime_because: chosen.because.clone(),
        capabilities: chosen.capabilities.clone(),
        user: container_user(config),
        runner: programs::runner(&config.agent, purpose, &ProcessEnvironment),
        claude: programs::claude(&config.agent, purpose, &ProcessEnvironment),
        missing_limits: if runtime == RuntimeKind::Sandbox {
            MissingLimits::LeaveOutDefaults
        } else {
            MissingLimits::Refuse
        },
    }
}

/// The user inside containers.
#[must_use]
pub fn container_user(config: &Config) -> RunAs {
    let own = RunAs { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
    match *config.container.user {
        UserChoice::Fixed(user) => user,
        UserChoice::Auto if own.uid == 0 || own.gid == 0 => ORDINARY,
        UserChoice::Auto => own,
    }
}
