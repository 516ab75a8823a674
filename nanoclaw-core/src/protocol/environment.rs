//! The names of the environment variables by which a container learns where things are. Each has the v1 path as default,
//! so an agent runs under a v1 host too.

/// The group's folder and working directory; default `/workspace/group`.
pub const GROUP_DIR: &str = "NANOCLAW_GROUP_DIR";
/// The mailbox; default `/workspace/ipc`.
pub const IPC_DIR: &str = "NANOCLAW_IPC_DIR";
/// The folder that all groups share, read-only; default `/workspace/global`, which the main group does not have.
pub const GLOBAL_DIR: &str = "NANOCLAW_GLOBAL_DIR";
/// The parent of additional mounts; default `/workspace/extra`.
pub const EXTRA_DIR: &str = "NANOCLAW_EXTRA_DIR";
/// The group's overlay; default `/app/src`.
pub const OVERLAY_DIR: &str = "NANOCLAW_OVERLAY_DIR";
/// The gateway's unix socket; absent: there is no gateway.
pub const GATEWAY_SOCKET: &str = "NANOCLAW_GATEWAY_SOCKET";
/// What kind of credential the gateway adds, so that clients can be given a placeholder of that kind: `api_key` or `oauth`;
/// default `api_key`. Nothing of the credential itself. See [`ModelAuth`].
pub const MODEL_AUTH: &str = "NANOCLAW_MODEL_AUTH";
/// Set (to `1`) when the gateway carries the group to hosts that its operator allowed: init then makes it the command's proxy.
pub const EGRESS: &str = "NANOCLAW_GATEWAY_EGRESS";
/// The names of the further upstreams that the group may ask, with commas between them. Init sets a variable for each: see
/// [`upstream_variable`].
pub const UPSTREAMS: &str = "NANOCLAW_GATEWAY_UPSTREAMS";
/// The provider: `offline`, `claude` or `native`; default `claude`.
pub const PROVIDER: &str = "NANOCLAW_PROVIDER";
/// How the agent thinks: [`super::agent::AgentSettings`] as JSON, without any secret; absent: all defaults.
pub const AGENT: &str = "NANOCLAW_AGENT";
/// The program of the Claude Code command line; default `claude` on the path.
pub const CLAUDE: &str = "NANOCLAW_CLAUDE";
/// What is known of the input of a container that is started before there is a prompt: [`super::input::Ahead`] as JSON. Absent:
/// its input comes at once.
pub const AHEAD: &str = "NANOCLAW_AHEAD";
/// The run's number, for the journal; absent: no journal is written.
pub const RUN: &str = "NANOCLAW_RUN";
/// For `agent-runner mcp`: the group's own chat. As NanoClaw v1 has it, like the next two.
pub const CHAT: &str = "NANOCLAW_CHAT_JID";
/// The same: the group's folder, by its name.
pub const FOLDER: &str = "NANOCLAW_GROUP_FOLDER";
/// The same: `1` for the main group. It decides what is offered, not what is granted.
pub const IS_MAIN: &str = "NANOCLAW_IS_MAIN";
/// The loopback port on which init forwards to the gateway.
pub const GATEWAY_PORT: u16 = 8788;

/// The variable that has the address of the further upstream `name`: `NANOCLAW_UPSTREAM_GITHUB` for `github`. What is no
/// letter or digit in the name becomes `_`.
#[must_use]
pub fn upstream_variable(name: &str) -> String {
    let word: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("NANOCLAW_UPSTREAM_{word}")
}

/// The kinds of credential that clients of the model's API tell apart: the values of [`MODEL_AUTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModelAuth {
    /// An API key, or anything else that asks for no more than to be sent.
    #[default]
    ApiKey,
    /// A subscription's token. Clients that know of it say so in `anthropic-beta`, without which it is refused.
    OAuth,
}

impl ModelAuth {
    /// The word for it in the environment.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::OAuth => "oauth",
        }
    }

    /// What the word stands for; `None`: nothing that this version knows.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::ApiKey, Self::OAuth].into_iter().find(|auth| auth.as_str() == word)
    }
}

/// Where things are inside a container that has a mount table of its own.
pub mod guest {
    /// See [`super::GROUP_DIR`].
    pub const GROUP_DIR: &str = "/workspace/group";
    /// See [`super::IPC_DIR`].
    pub const IPC_DIR: &str = "/workspace/ipc";
    /// See [`super::GLOBAL_DIR`].
    pub const GLOBAL_DIR: &str = "/workspace/global";
    /// See [`super::EXTRA_DIR`].
    pub const EXTRA_DIR: &str = "/workspace/extra";
    /// The project of the main group, where there is one.
    pub const PROJECT_DIR: &str = "/workspace/project";
    /// See [`super::OVERLAY_DIR`].
    pub const OVERLAY_DIR: &str = "/app/src";
    /// Home of the agent.
    pub const HOME: &str = "/home/node";
    /// The provider's own state, a session folder among it.
    pub const CLAUDE_DIR: &str = "/home/node/.claude";
    /// The folder in which the gateway's socket is mounted, read-only.
    pub const GATEWAY_DIR: &str = "/run/nanoclaw";
    /// The gateway's socket in it.
    pub const GATEWAY_SOCKET: &str = "/run/nanoclaw/gateway.sock";
    /// Our own program, mounted read-only.
    pub const RUNNER: &str = "/nanoclaw/bin/agent-runner";
    /// The Claude Code program, when it is mounted from the host.
    pub const CLAUDE: &str = "/nanoclaw/bin/claude";
}
