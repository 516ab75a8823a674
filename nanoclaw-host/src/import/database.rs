//! Reads v1's database from a copy of it: tables and columns that some versions lack are left out, and rows that make no sense are
//! counted.

use std::{collections::BTreeMap, path::Path};

use nanoclaw_core::time::Timestamp;
use sqlx::{
    ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

use super::{
    ImportError,
    v1::{V1, V1Chat, V1Group, V1Message, V1Quote, V1Run, V1Task},
};

/// What every v1 has that can be read, table by table.
const NEEDED: [(&str, &[&str]); 3] = [
    ("chats", &["jid"]),
    ("messages", &["id", "chat_jid", "content", "timestamp"]),
    ("registered_groups", &["jid", "name", "folder"]),
];
/// What may be missing as a whole.
const TASKS: (&str, &[&str]) =
    ("scheduled_tasks", &["id", "group_folder", "prompt", "schedule_type", "schedule_value", "status"]);

/// Puts what is in the database at `copy` into `v1`. `database` is where it is a copy of, for errors.
pub(super) async fn read(copy: &Path, database: &Path, assistant: &str, v1: &mut V1) -> Result<(), ImportError> {
    let damaged = |error: sqlx::Error| ImportError::Damaged { path: database.to_owned(), what: said(&error) };
    // It is ours: what a process that died has left in a journal or a log beside it is put in order here.
    let options = SqliteConnectOptions::new().filename(copy).disable_statement_logging();
    let mut connection = options.connect().await.map_err(damaged)?;
    let found = whole(&mut connection).await.map_err(damaged)?;
    if found != "ok" {
        return Err(ImportError::Damaged { path: database.to_owned(), what: found });
    }
    let mut tables = Tables { connection, unreadable: BTreeMap::new() };
    for (table, columns) in NEEDED {
        tables.need(table, columns, database).await?;
    }
    let has_tasks = tables.has(TASKS.0).await.map_err(damaged)?;
    if has_tasks {
        tables.need(TASKS.0, TASKS.1, database).await?;
    }
    tables.read(assistant, has_tasks, v1).await.map_err(damaged)?;
    v1.unreadable = tables.unreadable;
    tables.connection.close().await.map_err(damaged)
}

async fn whole(connection: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await
}

/// What SQLite says, without the machinery around it.
fn said(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

struct Tables {
    connection: SqliteConnection,
    unreadable: BTreeMap<&'static str, usize>,
}

impl Tables {
    async fn need(&mut self, table: &str, columns: &[&str], database: &Path) -> Result<(), ImportError> {
        let lacks = |what: String| ImportError::Lacks { path: database.to_owned(), what };
        let damaged = |error: sqlx::Error| ImportError::Damaged { path: database.to_owned(), what: said(&error) };
        let there = self.columns(table).await.map_err(damaged)?;
        if there.is_empty() {
            return Err(lacks(format!("table {table}")));
        }
        match columns.iter().find(|column| !there.iter().any(|name| name == *column)) {
            Some(column) => Err(lacks(format!("column {table}.{column}"))),
            None => Ok(()),
        }
    }

    async fn columns(&mut self, table: &str) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT name FROM pragma_table_info($1)").bind(table).fetch_all(&mut self.connection).await
    }

    async fn has(&mut self, table: &str) -> Result<bool, sqlx::Error> {
        Ok(!self.columns(table).await?.is_empty())
    }

    async fn all(&mut self, query: &'static str) -> Result<Vec<SqliteRow>, sqlx::Error> {
        sqlx::query(query).fetch_all(&mut self.connection).await
    }

    /// What `make` makes of each row of `table`, and how often it made nothing.
    fn each<T>(&mut self, table: &'static str, rows: &[SqliteRow], make: impl Fn(&SqliteRow) -> Option<T>) -> Vec<T> {
        let made: Vec<T> = rows.iter().filter_map(make).collect();
        if made.len() < rows.len() {
            self.unreadable.insert(table, rows.len() - made.len());
        }
        made
    }

    async fn read(&mut self, assistant: &str, has_tasks: bool, v1: &mut V1) -> Result<(), sqlx::Error> {
        let rows = self.all("SELECT * FROM chats WHERE jid <> '__group_sync__' ORDER BY jid").await?;
        v1.chats = self.each("chats", &rows, chat);

        let rows = self.all("SELECT * FROM registered_groups ORDER BY rowid").await?;
        let has_main = self.columns("registered_groups").await?.iter().any(|column| column == "is_main");
        v1.groups = self.each("registered_groups", &rows, |row| group(row, has_main));

        let rows = self.all("SELECT * FROM messages ORDER BY timestamp, rowid").await?;
        v1.messages = self.each("messages", &rows, |row| message(row, assistant));

        if self.has("router_state").await? {
            let rows = self.all("SELECT * FROM router_state WHERE key = 'last_agent_timestamp'").await?;
            let cursors = rows.first().and_then(|row| text(row, "value")).unwrap_or_default();
            match serde_json::from_str::<BTreeMap<String, String>>(&cursors) {
                Ok(cursors) => {
                    v1.cursors =
                        cursors.into_iter().filter_map(|(chat, at)| moment(&at).map(|at| (chat, at))).collect();
                }
                Err(_) if cursors.is_empty() => {}
                Err(_) => {
                    self.unreadable.insert("router_state", 1);
                }
            }
        }
        if self.has("sessions").await? {
            let rows = self.all("SELECT * FROM sessions").await?;
            let pairs =
                self.each("sessions", &rows, |row| Some((text(row, "group_folder")?, text(row, "session_id")?)));
            v1.sessions = pairs.into_iter().filter(|(_, session)| !session.is_empty()).collect();
        }
        if has_tasks {
            let rows = self.all("SELECT * FROM scheduled_tasks ORDER BY rowid").await?;
            v1.tasks = self.each("scheduled_tasks", &rows, task);
            if self.has("task_run_logs").await? {
                let rows = self.all("SELECT * FROM task_run_logs ORDER BY run_at, rowid").await?;
                let runs = self.each("task_run_logs", &rows, run);
                let mut by_task: BTreeMap<String, Vec<V1Run>> = BTreeMap::new();
                for (task, run) in runs {
                    by_task.entry(task).or_default().push(run);
                }
                for task in &mut v1.tasks {
                    task.runs = by_task.remove(&task.id).unwrap_or_default();
                }
            }
        }
        Ok(())
    }
}

/// A column as text, whatever it has; `None` when it is NULL, not there, or not UTF-8.
fn text(row: &SqliteRow, column: &str) -> Option<String> {
    row.try_get_unchecked::<Option<String>, _>(column).ok().flatten()
}

/// A column that is 1 or 0; `missing` when it is neither.
fn flag(row: &SqliteRow, column: &str, missing: bool) -> bool {
    row.try_get_unchecked::<Option<i64>, _>(column).ok().flatten().map_or(missing, |number| number != 0)
}

fn time(row: &SqliteRow, column: &str) -> Option<Timestamp> {
    moment(&text(row, column)?)
}

/// A moment as v1 writes it: ISO 8601 in UTC; or as SQLite does, which means UTC too.
fn moment(text: &str) -> Option<Timestamp> {
    let at = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let local: jiff::civil::DateTime = text.parse().ok()?;
        Some(local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(Timestamp::from_ms(at.as_millisecond()))
}

fn chat(row: &SqliteRow) -> Option<V1Chat> {
    Some(V1Chat {
        jid: text(row, "jid").filter(|jid| !jid.is_empty())?,
        name: text(row, "name").filter(|name| !name.trim().is_empty()),
        last_message: time(row, "last_message_time"),
        is_group: flag(row, "is_group", false),
    })
}

fn group(row: &SqliteRow, has_main: bool) -> Option<V1Group> {
    let folder = text(row, "folder")?;
    Some(V1Group {
        jid: text(row, "jid")?,
        name: text(row, "name")?,
        trigger: text(row, "trigger_pattern"),
        requires_trigger: flag(row, "requires_trigger", true),
        // Before there was such a column, the main group was the one in this folder.
        is_main: if has_main { flag(row, "is_main", false) } else { folder == "main" },
        added_at: time(row, "added_at"),
        container_config: text(row, "container_config").filter(|config| !config.trim().is_empty()),
        folder,
    })
}

fn message(row: &SqliteRow, assistant: &str) -> Option<V1Message> {
    let text_of = |column: &str| text(row, column).filter(|text| !text.is_empty());
    let content = text(row, "content").unwrap_or_default();
    let sender = text_of("sender").unwrap_or_else(|| "unknown".to_owned());
    // So v1 told its own words before there was a column for it.
    let is_bot = flag(row, "is_bot_message", false) || content.starts_with(&format!("{assistant}:"));
    Some(V1Message {
        jid: text_of("chat_jid")?,
        id: text_of("id")?,
        sender_name: text_of("sender_name").unwrap_or_else(|| sender.clone()),
        sender,
        at: time(row, "timestamp")?,
        is_from_me: flag(row, "is_from_me", false),
        is_bot,
        quote: text_of("reply_to_message_id").map(|id| V1Quote {
            id,
            sender_name: text_of("reply_to_sender_name"),
            text: text_of("reply_to_message_content"),
        }),
        text: content,
    })
}

fn task(row: &SqliteRow) -> Option<V1Task> {
    Some(V1Task {
        id: text(row, "id")?,
        folder: text(row, "group_folder")?,
        prompt: text(row, "prompt")?,
        kind: text(row, "schedule_type")?,
        value: text(row, "schedule_value")?,
        next_run: time(row, "next_run"),
        status: text(row, "status").unwrap_or_else(|| "active".to_owned()),
        created_at: time(row, "created_at"),
        context: text(row, "context_mode"),
        script: text(row, "script").filter(|script| !script.trim().is_empty()),
        runs: Vec::new(),
    })
}

fn run(row: &SqliteRow) -> Option<(String, V1Run)> {
    let run = V1Run {
        at: time(row, "run_at")?,
        duration_ms: row.try_get_unchecked::<Option<i64>, _>("duration_ms").ok().flatten()?.try_into().ok()?,
        success: text(row, "status")? == "success",
        result: text(row, "result").filter(|text| !text.trim().is_empty()),
        error: text(row, "error").filter(|text| !text.trim().is_empty()),
    };
    Some((text(row, "task_id")?, run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_v1_and_as_sqlite_write_them() {
        for text in
            ["2026-03-04T12:30:00.000Z", "2026-03-04T12:30:00Z", "2026-03-04T13:30:00+01:00", "2026-03-04 12:30:00"]
        {
            assert_eq!(moment(text).map(Timestamp::as_ms), Some(1_772_627_400_000), "{text}");
        }
        for text in ["", "yesterday", "12:30"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
