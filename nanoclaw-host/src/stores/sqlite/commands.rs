//! What people command of the host in a chat. Each is done at once with its answer, whose key says that it was done.

use nanoclaw_core::{
    chat::ChatId,
    delivery::{Answers, DeliveryKey, NewDelivery},
    group::GroupFolder,
    message::Seq,
    run::{RunEnding, RunId, RunNumber},
    session::SessionName,
    store::{GiveUp, NextSession, SessionContext, SessionEnded, StopWork, Stopped},
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection};

use super::{failure::Problem, firings, outbox, rows, runs, sessions, set_aside};

pub(super) async fn end_session(
    write: &mut SqliteConnection,
    group: &GroupFolder,
    next: &NextSession,
    answer: Option<&NewDelivery>,
    at: Timestamp,
) -> Result<SessionEnded, Problem> {
    let known = sqlx::query("SELECT session_name FROM groups WHERE folder = $1").bind(group.as_str());
    let known = known.fetch_optional(&mut *write).await?.ok_or_else(|| Problem::no_group(group))?;
    let current: SessionName = rows::id(&known, "session_name")?;
    if let Some(answer) = answer
        && is_done(write, &answer.key).await?
    {
        return Ok(SessionEnded::Before);
    }
    let ended = match next {
        NextSession::New => {
            sessions::forget(write, group, &SessionContext::Chat).await?;
            // Should a run say more of a conversation that was put aside and taken up again: this is another.
            sqlx::query(
                "UPDATE runs SET session_ended = 1, session_aside = NULLIF(session_aside, $2)
                 WHERE group_folder = $1 AND ended_at_ms IS NULL",
            )
            .bind(group.as_str())
            .bind(current.as_str())
            .execute(&mut *write)
            .await?;
            SessionEnded::Now
        }
        NextSession::Named(name) if *name == current => SessionEnded::Same,
        NextSession::Named(name) => {
            sessions::rename(write, group, &SessionContext::Chat, &SessionContext::Aside(current.clone())).await?;
            sessions::rename(write, group, &SessionContext::Aside(name.clone()), &SessionContext::Chat).await?;
            sqlx::query("UPDATE groups SET session_name = $2 WHERE folder = $1")
                .bind(group.as_str())
                .bind(name.as_str())
                .execute(&mut *write)
                .await?;
            sqlx::query(
                "UPDATE runs SET session_ended = 1, session_aside = $2
                 WHERE group_folder = $1 AND ended_at_ms IS NULL AND session_ended = 0",
            )
            .bind(group.as_str())
            .bind(current.as_str())
            .execute(&mut *write)
            .await?;
            SessionEnded::Now
        }
    };
    if let Some(answer) = answer {
        outbox::post(write, answer, at).await?;
    }
    Ok(ended)
}

pub(super) async fn stop_work(
    write: &mut SqliteConnection,
    group: &GroupFolder,
    stop: &StopWork,
    at: Timestamp,
) -> Result<Stopped, Problem> {
    let known = sqlx::query(
        "SELECT g.chat,
                (SELECT MAX(m.seq) FROM messages m
                 WHERE m.chat = g.chat AND m.seq > g.answered_through AND m.wakes = 1) AS newest,
                (SELECT r.number FROM runs r
                 WHERE r.group_folder = g.folder AND r.ended_at_ms IS NULL AND r.kind = 'chat') AS run
         FROM groups g WHERE g.folder = $1",
    )
    .bind(group.as_str())
    .fetch_optional(&mut *write)
    .await?
    .ok_or_else(|| Problem::no_group(group))?;
    if is_done(write, &stop.key).await? {
        return Ok(Stopped::Before);
    }
    let chat: ChatId = rows::id(&known, "chat")?;
    let newest = known.try_get::<Option<i64>, _>("newest")?.map(Seq);
    let task = match firings::stop_running(write, group, &stop.reason, at).await? {
        Some((task, run)) => {
            runs::close(write, &run, &RunEnding::Stopped, at).await?;
            Some(task)
        }
        None => None,
    };
    let answer = NewDelivery {
        key: stop.key.clone(),
        chat,
        text: stop.answer(newest.is_some(), task.is_some()),
        file: None,
        answers: Some(Answers::Message(stop.command.clone())),
    };
    let Some(through) = newest else {
        outbox::post(write, &answer, at).await?;
        return Ok(match task {
            None => Stopped::Nothing,
            task => Stopped::Work { through: None, run: None, task },
        });
    };
    let run = known.try_get::<Option<u32>, _>("run")?.map(RunNumber);
    let notice = Some(answer);
    let given_up = GiveUp { run, reason: stop.reason.clone(), notice, ..GiveUp::dropped(through) };
    set_aside::give_up(write, group, &given_up, at).await?;
    if let Some(number) = run {
        runs::close(write, &RunId { group: group.clone(), number }, &RunEnding::Stopped, at).await?;
    }
    Ok(Stopped::Work { through: Some(through), run, task })
}

async fn is_done(write: &mut SqliteConnection, key: &DeliveryKey) -> Result<bool, Problem> {
    let found = sqlx::query("SELECT 1 FROM outbox WHERE key = $1").bind(key.as_str()).fetch_optional(write).await?;
    Ok(found.is_some())
}
