//! What `doctor` says of tasks: those that rest after failures, and those whose group is gone.

use nanoclaw_core::{group::GroupFolder, tasks::TaskStatus};

use super::Check;
use crate::{
    admin::TaskView,
    cli::{Place, output},
    home::Home,
};

const NAME: &str = "tasks";

/// How many of each are told.
const TOLD: usize = 5;

/// The check, as whoever has the home says.
pub(super) async fn check(place: &Place, home: &Home) -> Check {
    if !home.database().exists() {
        return Check::ok(NAME, "nothing is scheduled");
    }
    // What keeps the home from being asked is told by other checks.
    let Ok((home, _)) = place.open().await else { return Check::skipped(NAME, "the home cannot be asked") };
    match (home.tasks(None).await, home.groups().await) {
        (Ok(tasks), Ok(groups)) => {
            let groups: Vec<GroupFolder> = groups.into_iter().map(|group| group.folder).collect();
            judge(&tasks, &groups)
        }
        (Err(error), _) | (_, Err(error)) => Check::skipped(NAME, error.message),
    }
}

fn judge(tasks: &[TaskView], groups: &[GroupFolder]) -> Check {
    let alive = |task: &&TaskView| matches!(task.status, TaskStatus::Active | TaskStatus::Paused);
    let (there, gone): (Vec<&TaskView>, Vec<&TaskView>) =
        tasks.iter().filter(alive).partition(|task| groups.contains(&task.group));
    let resting: Vec<&TaskView> =
        there.iter().copied().filter(|task| task.status == TaskStatus::Paused && task.paused_why.is_some()).collect();
    if resting.is_empty() && gone.is_empty() {
        return Check::ok(NAME, format!("{} scheduled, and none rests after failures", there.len()));
    }
    let mut lines = Vec::new();
    for task in resting.iter().take(TOLD) {
        let why = task.paused_why.as_deref().map(|why| output::shortened(why, 200)).unwrap_or_default();
        lines.push(format!("{} ({}) rests: {why}", task.id, task.group));
    }
    lines.extend(
        gone.iter().take(TOLD).map(|task| format!("{} is of {}, which is no group any more", task.id, task.group)),
    );
    let more = resting.len().saturating_sub(TOLD) + gone.len().saturating_sub(TOLD);
    if more > 0 {
        lines.push(format!("and {more} more: `nanoclaw tasks list`"));
    }
    let of_each = |verb: &str, tasks: &[&TaskView]| -> Vec<String> {
        tasks.iter().map(|task| format!("nanoclaw tasks {verb} {}", task.id)).collect()
    };
    let commands = [of_each("resume", &resting), of_each("cancel", &gone)].concat().join(" && ");
    Check::warning(NAME, lines.join("\n"), format!("`{commands}`; `nanoclaw tasks log ID` shows how its runs went"))
}
