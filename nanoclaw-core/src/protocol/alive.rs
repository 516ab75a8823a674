//! Signs of life: a file that an agent writes anew every few seconds, busy or resting, for as long as its loop turns.
//!
//! By them a host tells long quiet work from an agent that hangs. What is in the file is nobody's business; that it changed
//! is all. An agent that never writes it (v1's) is judged by what it says alone.

use std::time::Duration;

/// The name of the file in the mailbox's `alive/`.
pub const BEAT_FILE: &str = "beat";

/// How often it is written, by temporary name and rename.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(5);
