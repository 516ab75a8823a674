//! The steps that a message takes through the host, as debug lines: `level = "info,nanoclaw::steps=debug"` in `[log]` tells where
//! time goes. They name messages by chat and id, prompts by run and the last place in them, replies by their key; never a text.
//!
//! | line | with | what happened |
//! | --- | --- | --- |
//! | `seen` | `chat`, `id` | the client of the service has a message in its hands |
//! | `told by a bridge` | `chat`, `id` | the same of a bridge, which may log steps of its own |
//! | `committed` | `chat`, `id`, `seq` | it is in the inbox |
//! | `prompt written` | `run`, `through` | a new container has its whole prompt, up to the message at that place |
//! | `follow-up written` | `run`, `through` | the same for a container that lives |
//! | `reply decoded` | `run`, `block` | a block of the agent's is read, from its output or its journal |
//! | `reply committed` | `run`, `block`, `key` | its reply is in the outbox |
//! | `handed to the channel` | `chat`, `key` | the channel sends it |
//! | `sent` | `chat`, `key` | the service has it |

/// The target of these lines.
pub const STEPS: &str = "nanoclaw::steps";
