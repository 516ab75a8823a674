//! How values look in a table: ids as their text, closed sets as words.

use nanoclaw_core::{
    InvalidId,
    chat::ChatKind,
    group::GroupRole,
    message::Author,
    runtime::RuntimeKind,
    store::{DeliveryState, SetAsideState, TurnState},
    tasks::{CatchUp, FiringState, Overlap, TaskContext, TaskStatus},
    time::Timestamp,
};
use sqlx::{Row, sqlite::SqliteRow};

use super::failure::Problem;

/// Reads a text id.
pub(super) fn id<T: TryFrom<String, Error = InvalidId>>(row: &SqliteRow, column: &str) -> Result<T, Problem> {
    Ok(T::try_from(row.try_get::<String, _>(column)?)?)
}

/// Reads a text id or NULL.
pub(super) fn optional_id<T: TryFrom<String, Error = InvalidId>>(
    row: &SqliteRow,
    column: &str,
) -> Result<Option<T>, Problem> {
    Ok(row.try_get::<Option<String>, _>(column)?.map(T::try_from).transpose()?)
}

/// Reads a moment.
pub(super) fn moment(row: &SqliteRow, column: &str) -> Result<Timestamp, Problem> {
    Ok(Timestamp::from_ms(row.try_get(column)?))
}

/// Reads a moment or NULL.
pub(super) fn optional_moment(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, Problem> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_ms))
}

/// Reads a number that fits 32 bits without a sign.
pub(super) fn number(row: &SqliteRow, column: &str) -> Result<u32, Problem> {
    let stored: i64 = row.try_get(column)?;
    u32::try_from(stored).map_err(|_| Problem::Refused(format!("a stored {column} is {stored}")))
}

/// Reads a member of a closed set.
pub(super) fn word<T: Word>(row: &SqliteRow, column: &str) -> Result<T, Problem> {
    from_word(&row.try_get::<String, _>(column)?, column)
}

/// Reads a member of a closed set or NULL.
pub(super) fn optional_word<T: Word>(row: &SqliteRow, column: &str) -> Result<Option<T>, Problem> {
    row.try_get::<Option<String>, _>(column)?.map(|word| from_word(&word, column)).transpose()
}

fn from_word<T: Word>(word: &str, column: &str) -> Result<T, Problem> {
    T::of(word).ok_or_else(|| Problem::Refused(format!("a stored {column} is {word:?}, which is none")))
}

/// A closed set whose members are kept as words. The words are part of the schema: they must not change.
pub(super) trait Word: Sized + Copy {
    /// The word of a member.
    fn word(self) -> &'static str;
    /// The member of a word.
    fn of(word: &str) -> Option<Self>;
}

macro_rules! words {
    ($($set:ident { $($member:ident = $word:literal),+ })+) => {
        $(impl Word for $set {
            fn word(self) -> &'static str {
                match self { $($set::$member => $word),+ }
            }
            fn of(word: &str) -> Option<Self> {
                match word { $($word => Some($set::$member),)+ _ => None }
            }
        })+
    };
}

words! {
    ChatKind { Group = "group", Private = "private" }
    GroupRole { Main = "main", Ordinary = "ordinary" }
    Author { Person = "person", Owner = "owner" }
    RuntimeKind { Docker = "docker", Podman = "podman", Sandbox = "sandbox", Fake = "fake" }
    TurnState { Handed = "handed", Taken = "taken", Answered = "answered", Unanswered = "unanswered" }
    DeliveryState {
        Pending = "pending", Sending = "sending", Sent = "sent", Failed = "failed", Unknown = "unknown", Dropped = "dropped"
    }
    SetAsideState { Kept = "kept", Retried = "retried", Dropped = "dropped" }
    TaskStatus { Active = "active", Paused = "paused", Completed = "completed", Cancelled = "cancelled" }
    TaskContext { Group = "group", Isolated = "isolated", Own = "own" }
    CatchUp { Skip = "skip", Once = "once", All = "all" }
    Overlap { Skip = "skip", Queue = "queue" }
    FiringState {
        Waiting = "waiting", Running = "running", Done = "done", Failed = "failed", Skipped = "skipped",
        Cancelled = "cancelled"
    }
}
