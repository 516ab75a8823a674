//! What the agent writes: the content of a marker block, and of a journal file.

use serde::{Deserialize, Serialize};

use super::dollars::Dollars;
use crate::{
    message::Seq,
    run::{BlockNumber, RunNumber},
    session::SessionId,
    time::Timestamp,
};

/// Whether a block tells of success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Success,
    /// It tells of a failure; the agent ends after it.
    Error,
}

/// What kind of failure; ours, so that the host can say the right thing and try again at the right time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No login, or it is refused: nothing helps but a person.
    Login,
    /// The plan's or key's quota is used up.
    Quota,
    /// The service is overloaded; later.
    Overload,
    /// The request was refused as it is.
    Refused,
    /// The session to resume does not exist (any more).
    NoSession,
    /// The task's script failed, so that nobody knows whether the agent is to wake; it did not.
    Script,
    /// Anything else.
    Other,
    /// A word from a newer agent.
    #[serde(other)]
    Unknown,
}

/// The JSON object between two markers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// Success or failure.
    pub status: Status,
    /// Text for the user; `None` says that there is nothing to say: the agent waits for input, or was silent.
    #[serde(default)]
    pub result: Option<String>,
    /// The session to resume next time; must not be stored from a failure (fault F8).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::session_or_none")]
    pub new_session_id: Option<SessionId>,
    /// What went wrong, with status error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Ours: what kind of failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    /// Ours: from when on it can work again (a quota's reset), in UTC milliseconds, when somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::moment_or_none")]
    pub retry_at: Option<Timestamp>,
    /// Ours: every message up to this one is answered by this block or an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_seq: Option<Seq>,
    /// Ours: `false` says that the task's script let the agent sleep, so that no model was asked; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::flag_or_none")]
    pub woke: Option<bool>,
    /// Ours: what the model's use cost since the last block that told of it, as far as the agent knows prices. An agent may say
    /// what it wants here: good for being shown, not for a bill.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::amount_or_none")]
    pub cost_usd: Option<Dollars>,
}

impl Block {
    /// A success with these words, or without any, that says nothing else.
    #[must_use]
    pub fn success(result: Option<String>) -> Self {
        Self {
            status: Status::Success,
            result,
            new_session_id: None,
            error: None,
            failure: None,
            retry_at: None,
            answered_seq: None,
            woke: None,
            cost_usd: None,
        }
    }
}

/// The content of `output/<run>-<block>.json` in the mailbox: a block again, in a file that survives a dead host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalEntry {
    /// The run.
    pub run: RunNumber,
    /// The block's place in the run's output.
    pub number: BlockNumber,
    /// The block.
    pub block: Block,
}

impl JournalEntry {
    /// The file's name: sorts by run, then by block.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{:010}-{:010}.json", self.run.0, self.number.0)
    }
}
