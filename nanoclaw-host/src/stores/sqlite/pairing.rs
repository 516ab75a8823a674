//! The last pairing. What a code does is core's decision; that, and what follows on it, is done at once here.

use nanoclaw_core::{
    pairing::{Heard, Pairing, PairingId, SaidCode},
    secret::Secret,
    time::Timestamp,
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, SqliteConnection, SqliteExecutor, sqlite::SqliteRow};

use super::{failure::Problem, groups, outbox, rows};

pub(super) async fn last(database: impl SqliteExecutor<'_>) -> Result<Option<Pairing>, Problem> {
    let row = sqlx::query("SELECT * FROM pairing").fetch_optional(database).await?;
    row.as_ref().map(pairing).transpose()
}

pub(super) async fn keep(write: &mut SqliteConnection, pairing: &Pairing) -> Result<(), Problem> {
    let ended = pairing.end.as_ref().map(to_json).transpose()?;
    sqlx::query(
        "INSERT INTO pairing (place, id, hash, registers, ends_at_ms, tried, ended) VALUES (1, $1, $2, $3, $4, $5, $6)
         ON CONFLICT (place) DO UPDATE SET
             id = excluded.id, hash = excluded.hash, registers = excluded.registers, ends_at_ms = excluded.ends_at_ms,
             tried = excluded.tried, ended = excluded.ended",
    )
    .bind(pairing.id.as_str())
    .bind(pairing.hash.reveal())
    .bind(to_json(&pairing.registers)?)
    .bind(pairing.ends_at.as_ms())
    .bind(to_json(&pairing.tried)?)
    .bind(ended)
    .execute(write)
    .await?;
    Ok(())
}

pub(super) async fn withdraw(write: &mut SqliteConnection, id: &PairingId) -> Result<(), Problem> {
    if let Some(mut last) = last(&mut *write).await?.filter(|last| last.id == *id) {
        last.withdraw();
        keep(write, &last).await?;
    }
    Ok(())
}

pub(super) async fn hear(write: &mut SqliteConnection, code: &SaidCode, at: Timestamp) -> Result<Heard, Problem> {
    let Some(mut pairing) = last(&mut *write).await? else { return Ok(Heard::Nothing) };
    let mut heard = pairing.hear(code, at);
    if let Heard::Claims(group) = &heard {
        match groups::add(write, group).await {
            Ok(()) => {}
            // It looks before it writes, so nothing is written yet.
            Err(Problem::Answer(taken)) => {
                pairing.refuse(code, taken.to_string());
                heard = Heard::Refused;
            }
            Err(problem) => return Err(problem),
        }
    }
    match heard {
        Heard::Claims(_) | Heard::Refused => {
            outbox::post(write, &pairing.answer(code), at).await?;
        }
        Heard::Wrong { .. } => {}
        Heard::Again | Heard::Nothing => return Ok(heard),
    }
    keep(write, &pairing).await?;
    Ok(heard)
}

fn pairing(row: &SqliteRow) -> Result<Pairing, Problem> {
    Ok(Pairing {
        id: rows::id(row, "id")?,
        hash: Secret::new(row.try_get::<String, _>("hash")?),
        registers: from_json(row.try_get("registers")?)?,
        ends_at: rows::moment(row, "ends_at_ms")?,
        tried: from_json(row.try_get("tried")?)?,
        end: row.try_get::<Option<&str>, _>("ended")?.map(from_json).transpose()?,
    })
}

fn to_json(value: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(value)
        .map_err(|error| Problem::Refused(format!("a pairing cannot be written as JSON: {error}")))
}

fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, Problem> {
    serde_json::from_str(json).map_err(|error| Problem::Refused(format!("the stored pairing cannot be read: {error}")))
}
