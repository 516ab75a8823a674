//! What somebody asks to be scheduled, or to be changed about a task: checked here, whether an agent asks or a person does.
//!
//! Pure: the clock is given. What is refused is refused with what would be right, in words that agents and people can act on.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{CatchUp, NewTask, Overlap, Task, TaskContext, TaskSettings, TaskTerms, TaskUpdate};
use crate::{delivery::DeliveryKey, group::GroupFolder, schedule::Schedule, time::Timestamp};

/// The most bytes of a task's prompt, and of its script.
pub const LONGEST_TEXT: usize = 64 * 1024;
/// How many of its next times whoever asks is shown, so that a person can check them.
pub const TIMES_SHOWN: usize = 3;
/// How many characters of a wrong word are repeated.
const REPEATED: usize = 80;

/// What is wrong with what was asked for, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTask(String);

/// What is asked of a task; `None` was not said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// What the agent is to be told. A new task needs it.
    pub prompt: Option<String>,
    /// When. A new task needs it.
    pub when: Option<When>,
    /// The name of the zone in which that is meant. A task that is to have another keeps its local times.
    pub zone: Option<String>,
    /// How it is to be done.
    pub terms: TermsAsked,
    /// What is to run before; an empty one is none.
    pub script: Option<String>,
}

/// When a task is to be due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// As people write it: what [`Schedule::read`] takes.
    Written(String),
    /// As NanoClaw v1 has it: what [`Schedule::parse`] takes.
    OfKind {
        /// `cron`, `interval` or `once`; `None`: the kind that the task has.
        kind: Option<String>,
        /// The value; `None` is refused.
        value: Option<String>,
    },
}

/// What was said of how a task is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TermsAsked {
    /// In which conversation.
    pub context: Option<TaskContext>,
    /// What becomes of times that were missed.
    pub catch_up: Option<CatchUp>,
    /// What becomes of times that come too early.
    pub overlap: Option<Overlap>,
    /// Whether its results are recorded and not sent to the chat.
    pub silent: Option<bool>,
}

impl TermsAsked {
    /// What was said, and for the rest what was before.
    #[must_use]
    pub fn over(self, before: TaskTerms) -> TaskTerms {
        TaskTerms {
            context: self.context.unwrap_or(before.context),
            catch_up: self.catch_up.unwrap_or(before.catch_up),
            overlap: self.overlap.unwrap_or(before.overlap),
            silent: self.silent.unwrap_or(before.silent),
        }
    }
}

impl Asked {
    /// The task of `group` that `by` asks for under `key`. Times are meant in `zone` unless another is named.
    ///
    /// # Errors
    /// [`BadTask`].
    pub fn new_task(
        self,
        key: DeliveryKey,
        (group, by): (GroupFolder, GroupFolder),
        zone: &TimeZone,
        settings: &TaskSettings,
        now: Timestamp,
    ) -> Result<NewTask, BadTask> {
        let zone = self.zone.as_deref().map_or_else(|| Ok(zone.clone()), zone_of)?;
        let when = self.when.ok_or_else(|| bad(NO_SCHEDULE))?;
        let (schedule, first_due) = first(when.schedule(None, now, &zone)?, &zone, settings, now)?;
        Ok(NewTask {
            key,
            group,
            created_by: by,
            prompt: prompt(self.prompt.unwrap_or_default())?,
            schedule,
            zone,
            first_due,
            terms: self.terms.over(TaskTerms::default()),
            script: self.script.map(script).transpose()?.flatten(),
        })
    }

    /// What changes about `task`.
    ///
    /// # Errors
    /// [`BadTask`], also when nothing was said that is to change.
    pub fn update(self, task: &Task, settings: &TaskSettings, now: Timestamp) -> Result<TaskUpdate, BadTask> {
        let zone = self.zone.as_deref().map(zone_of).transpose()?;
        let meant_in = zone.as_ref().unwrap_or(&task.zone);
        let schedule = match (self.when, &zone, &task.schedule) {
            (Some(when), ..) => Some(when.schedule(Some(task.schedule.kind()), now, meant_in)?),
            // Its local times stay and are at other moments; an interval has none.
            (None, Some(_), local @ (Schedule::Cron(_) | Schedule::Once(_))) => Some(local.clone()),
            (None, ..) => None,
        };
        let schedule = schedule.map(|schedule| first(schedule, meant_in, settings, now)).transpose()?;
        let update = TaskUpdate {
            prompt: self.prompt.map(prompt).transpose()?,
            schedule,
            zone,
            script: self.script.map(script).transpose()?,
            terms: (self.terms != TermsAsked::default()).then(|| self.terms.over(task.terms)),
        };
        if update.is_empty() {
            return Err(bad("nothing was said that is to change"));
        }
        Ok(update)
    }
}

impl When {
    /// `kind` is that of the task as it is.
    fn schedule(self, kind: Option<&str>, now: Timestamp, zone: &TimeZone) -> Result<Schedule, BadTask> {
        let schedule = match self {
            Self::Written(text) => Schedule::read(&text, now, zone),
            Self::OfKind { value: None, .. } => return Err(bad("a schedule_type needs a schedule_value")),
            Self::OfKind { kind: said, value: Some(value) } => match said.as_deref().or(kind) {
                Some(kind) => Schedule::parse(kind, &value),
                None => return Err(bad("a schedule_value needs a schedule_type: cron, interval or once")),
            },
        };
        schedule.map_err(|error| bad(error.to_string()))
    }
}

const NO_SCHEDULE: &str = "it was not said when: a schedule is `every 5m`, `in 2h`, a local time such as `2026-12-01 09:00`, or five \
                           fields of cron such as `0 9 * * 1-5` for weekdays at nine";

/// With its first time. One that would be due too often is refused.
fn first(
    schedule: Schedule,
    zone: &TimeZone,
    settings: &TaskSettings,
    now: Timestamp,
) -> Result<(Schedule, Timestamp), BadTask> {
    let first_due = schedule.first_after(now, zone).map_err(|error| bad(error.to_string()))?;
    let shortest = settings.shortest_interval;
    if schedule.shortest_gap(now, zone).is_some_and(|gap| gap < shortest) {
        let shortest = jiff::SignedDuration::try_from(shortest).unwrap_or(jiff::SignedDuration::MAX);
        return Err(bad(format!("{schedule} is too often: here a task may be due every {shortest:#} at most")));
    }
    Ok((schedule, first_due))
}

/// The zone of this name; one without a name of its own could not be kept.
fn zone_of(name: &str) -> Result<TimeZone, BadTask> {
    let known = TimeZone::get(name.trim()).ok().filter(|zone| zone.iana_name().is_some());
    known.ok_or_else(|| {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(REPEATED).collect();
        bad(format!("there is no zone {shown:?}; a zone has a name such as Europe/Berlin, America/New_York or UTC"))
    })
}

fn prompt(text: String) -> Result<String, BadTask> {
    if text.trim().is_empty() {
        return Err(bad("the prompt is empty; it says what is to be done"));
    }
    bounded("prompt", text)
}

/// `None` for one that is to be no more.
fn script(text: String) -> Result<Option<String>, BadTask> {
    Ok(Some(bounded("script", text)?).filter(|text| !text.trim().is_empty()))
}

fn bounded(what: &str, text: String) -> Result<String, BadTask> {
    match text.len() {
        0..=LONGEST_TEXT => Ok(text),
        bytes => Err(bad(format!(
            "the {what} has {bytes} bytes; it may have {LONGEST_TEXT}. Keep the rest in a file of the group's folder and name it"
        ))),
    }
}

fn bad(what: impl Into<String>) -> BadTask {
    BadTask(what.into())
}

#[cfg(test)]
mod tests;
