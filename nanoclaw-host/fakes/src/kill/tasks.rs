//! What people schedule in a round, at the command line: while a host lives, while it dies, and while there is none. And the
//! program's record of it, once nothing of it is left to do.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::sync::watch;

use super::{
    Chance,
    due_times::{Asked, Fired, Listed, TaskTally, judge},
    house::House,
};
use crate::chat_service::{ChatService, TaskName, chat_id};

/// The id of the first task: it is due in an hour, and commands are about it that must have a task.
pub(super) const FIRST_TASK: &str = "task-1";
/// How many tasks are asked for that are due while a host lives that is to kill itself.
const AT_ONCE: usize = 4;
/// People take up to so long between two commands while a host lives, in ms.
const BETWEEN_COMMANDS_MS: u64 = 150;
/// The latest time at which a task is due, in seconds from when it is asked for.
const LATEST_S: u64 = 4;
/// How often in a row a command may fail whose host may have died.
const MOST_FAILED: u32 = 30;
/// How long nothing of the tasks may get on: the host's pauses between tries take up to five minutes.
const STUCK: Duration = Duration::from_secs(7 * 60);
/// How soon it is looked again whether all tasks are done.
const PAUSE: Duration = Duration::from_millis(300);
/// How many records are read side by side.
const SIDE_BY_SIDE: usize = 8;

/// The tasks of a round.
pub(super) struct Scheduled {
    house: House,
    chance: Chance,
    chats: usize,
    /// How many due times are still to be asked for.
    left: usize,
    /// How many commands failed in a row.
    failed: u32,
    asked: Vec<Asked>,
    /// Which of them answer in their chat.
    loud: Vec<TaskName>,
}

impl Scheduled {
    /// Asks for the first task, and for some that are due every minute or two, while there is no host.
    pub(super) async fn begin(
        house: &House,
        chats: usize,
        due_times: usize,
        intervals: usize,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let chance = Chance::new(seed ^ 0x7A5C);
        let mut scheduled =
            Self { house: house.clone(), chance, chats, left: 0, failed: 0, asked: Vec::new(), loud: Vec::new() };
        scheduled.add("every 1h", &[]).await;
        let first = scheduled.asked.first_mut().context("the first task was asked for")?;
        ensure!(first.id.as_deref() == Some(FIRST_TASK), "the first task is not kept as {FIRST_TASK}: {first:?}");
        // It is never due in a round, but by hand.
        (first.rests, first.times) = (true, Vec::new());
        for number in 0..intervals {
            let minutes = 1 + number as i64 % 2;
            let terms = scheduled.terms();
            scheduled.add(&format!("every {minutes}m"), &terms).await;
            let asked = scheduled.asked.last_mut().context("it was asked for")?;
            ensure!(asked.id.is_some(), "a task is not kept although no host dies");
            asked.every_ms = Some(minutes * 60_000);
        }
        scheduled.left = due_times;
        Ok(scheduled)
    }

    /// How many due times are still to be asked for.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Asks for some tasks that are due in a moment, while there is no host; which of them answer in their chat.
    pub(super) async fn ask_unattended(&mut self) -> anyhow::Result<Vec<TaskName>> {
        let before = self.loud.len();
        for _ in 0..AT_ONCE {
            let terms = self.terms();
            self.add("in 1s", &terms).await;
        }
        ensure!(self.failed == 0, "a task is not kept although no host dies");
        Ok(self.loud.split_off(before))
    }

    /// Asks for so many due times, from when the host is ready on, to when it has ended and beyond: `host` is dropped then.
    pub(super) async fn ask(&mut self, count: usize, mut host: watch::Receiver<bool>) -> anyhow::Result<()> {
        // A command that finds no host works on the home by itself, and no host can start meanwhile.
        let _ = host.wait_for(|ready| *ready).await;
        let enough = self.left.saturating_sub(count);
        while self.left > enough {
            match self.chance.below(10) {
                0 => self.run_now().await,
                1..=3 => self.move_one().await,
                _ => {
                    let (when, terms) = (self.soon(), self.terms());
                    self.add(&when, &terms).await;
                }
            }
            ensure!(self.failed < MOST_FAILED, "{MOST_FAILED} commands about tasks failed one after the other");
            if host.has_changed().is_ok() {
                tokio::time::sleep(self.chance.up_to_ms(BETWEEN_COMMANDS_MS)).await;
            }
        }
        Ok(())
    }

    /// Gives tasks that are due again and again a last time.
    pub(super) async fn end_intervals(&mut self) -> anyhow::Result<()> {
        for asked in self.asked.iter_mut().filter(|asked| asked.every_ms.is_some()) {
            let id = asked.id.clone().context("it is kept")?;
            let said = self.house.succeeds(&["tasks", "update", &id, "--when", "in 1s", "--json"]).await?;
            asked.times.push(due(&said).context("a task that was given a time has none")?);
        }
        Ok(())
    }

    /// Waits until nothing of any task is left to do; the record.
    pub(super) async fn settled(&self) -> anyhow::Result<Vec<(Listed, Vec<Fired>)>> {
        let (mut least, mut since) = (usize::MAX, Instant::now());
        loop {
            let listed: Vec<Listed> = serde_json::from_str(&self.house.succeeds(&["tasks", "list", "--json"]).await?)?;
            let listed: Vec<Listed> =
                listed.into_iter().filter(|task| TaskName::read(&task.prompt).is_some()).collect();
            let mut open = listed.iter().filter(|task| task.id != FIRST_TASK && task.status != "completed").count();
            if open == 0 {
                let found = self.records(listed).await?;
                open = found.iter().flat_map(|(_, record)| record).filter(|fired| fired.is_open()).count();
                if open == 0 {
                    return Ok(found);
                }
            }
            if open < least {
                (least, since) = (open, Instant::now());
            } else if since.elapsed() > STUCK {
                bail!("nothing of the tasks got on for {STUCK:?}, and {open} are not done");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn records(&self, listed: Vec<Listed>) -> anyhow::Result<Vec<(Listed, Vec<Fired>)>> {
        let mut found = Vec::new();
        for some in listed.chunks(SIDE_BY_SIDE) {
            let read = async |task: &Listed| {
                let said = self.house.succeeds(&["tasks", "log", &task.id, "-n", "1000", "--json"]).await?;
                anyhow::Ok((task.clone(), serde_json::from_str::<Vec<Fired>>(&said)?))
            };
            found.extend(try_join_all(some.iter().map(read)).await?);
        }
        Ok(found)
    }

    /// What became of all that, now.
    pub(super) fn tally(&self, found: &[(Listed, Vec<Fired>)], service: &ChatService) -> TaskTally {
        judge(&self.asked, found, &service.task_answers(), &service.tally().notices)
    }

    fn soon(&mut self) -> String {
        format!("in {}s", 1 + self.chance.below(LATEST_S))
    }

    /// How a task is to be done: all choices alike.
    fn terms(&mut self) -> Vec<&'static str> {
        let mut one_of = |all: &[&'static str]| self.chance.one_of(all).copied().unwrap_or_default();
        let mut words = vec!["--context", one_of(&["group", "isolated", "own"])];
        words.extend(["--catch-up", one_of(&["skip", "once", "all"])]);
        words.extend(["--overlap", one_of(&["skip", "queue"])]);
        if self.chance.below(8) == 0 {
            words.push("--silent");
        }
        words
    }

    /// Somebody asks for a task. When the command fails the task may be kept or not.
    async fn add(&mut self, when: &str, terms: &[&str]) {
        let places = self.chance.below(self.chats as u64);
        let name = TaskName { chat: usize::try_from(places).unwrap_or(0), number: self.asked.len() };
        let (chat, prompt) = (chat_id(name.chat), name.to_string());
        let mut words = vec!["tasks", "add", &chat, "--when", when, &prompt, "--json"];
        words.extend(terms);
        let mut asked = Asked::default();
        if let Some(said) = self.command(&words).await {
            asked.id = serde_json::from_str::<Value>(&said).ok().and_then(|task| Some(task["id"].as_str()?.to_owned()));
            asked.times.extend(due(&said));
            if asked.times.is_empty() {
                // It was due before it could be told when.
                (asked.moved_in_doubt, asked.last_in_doubt) = (true, true);
            }
            if !terms.contains(&"--silent") {
                self.loud.push(name);
            }
        }
        self.asked.push(asked);
    }

    /// Somebody gives a task another time, perhaps while it is at an earlier one.
    async fn move_one(&mut self) {
        let when = self.soon();
        let Some((number, id)) = self.one_that_is_kept() else { return self.add(&when, &[]).await };
        let said = self.command(&["tasks", "update", &id, "--when", &when, "--json"]).await;
        let asked = &mut self.asked[number];
        let due = said.as_deref().and_then(due);
        asked.times.extend(due);
        asked.last_in_doubt = due.is_none();
        asked.moved_in_doubt |= due.is_none();
    }

    /// Somebody has a task run now, beside its times.
    async fn run_now(&mut self) {
        let when = self.soon();
        let Some((number, id)) = self.one_that_is_kept() else { return self.add(&when, &[]).await };
        let said = self.command(&["tasks", "run", &id, "--json"]).await;
        let asked = &mut self.asked[number];
        match said {
            Some(_) => asked.by_hand += 1,
            None => asked.by_hand_in_doubt += 1,
        }
    }

    /// A task of which it is known that it is kept, and that is not due again and again.
    fn one_that_is_kept(&mut self) -> Option<(usize, String)> {
        let kept = self.asked.iter().enumerate().filter(|(_, asked)| asked.every_ms.is_none() && !asked.rests);
        let kept: Vec<_> = kept.filter_map(|(number, asked)| Some((number, asked.id.clone()?))).collect();
        self.chance.one_of(&kept).cloned()
    }

    /// Gives a command that asks for a due time; what was said, `None` when the host died before.
    async fn command(&mut self, words: &[&str]) -> Option<String> {
        let said = self.house.succeeds(words).await.ok();
        match said {
            Some(_) => (self.left, self.failed) = (self.left.saturating_sub(1), 0),
            None => self.failed += 1,
        }
        said
    }
}

/// When a task is due next, as a command says.
fn due(said: &str) -> Option<i64> {
    serde_json::from_str::<Value>(said).ok()?["next_due_ms"].as_i64()
}
