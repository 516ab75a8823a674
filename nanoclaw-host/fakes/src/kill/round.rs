//! One round: a home, a chat service, and the end at which everything must have been answered.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use super::{
    Chance, Fault, LEAST_ROUNDS, On, Plan, Row, STUCK,
    due_times::TaskTally,
    engine::Engine,
    house::{Host, House, PATIENCE},
    tasks::Scheduled,
};
use crate::chat_service::{Behaviour, ChatService, Repeats, Tally};

/// Longer than a delivery takes that nothing keeps.
const QUIET: Duration = Duration::from_millis(700);

/// How a host says in its log that it takes a container over.
const ADOPTS: &str = "adopting a container that outlived its host";

/// A round that has begun.
pub(super) struct Round {
    pub(super) house: House,
    pub(super) service: ChatService,
    /// What people schedule; `None` when they do not.
    pub(super) tasks: Option<Scheduled>,
    /// What its service does with repeats.
    pub(super) repeats: Repeats,
    pub(super) chance: Chance,
    /// How long a host lives at most before it is killed at random: so long that its containers come to answers.
    pub(super) longest_life_ms: u64,
    pub(super) plan: Plan,
    /// When the last host died; `None` when one lives, or none was started.
    pub(super) died: Option<Instant>,
    folder: PathBuf,
    /// The home is on a small disk of its own.
    mounted: bool,
}

impl Round {
    /// Makes the home and starts the chat service; no host runs.
    pub(super) async fn begin(
        plan: &Plan,
        on: On,
        engine: Option<&Engine>,
        name: &str,
        fault: Fault,
        number: u32,
    ) -> anyhow::Result<Self> {
        let folder = plan.folder.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(folder.join("home"))?;
        let mounted = fault == Fault::Disk;
        if mounted {
            mount_small(&folder.join("home"))?;
        }
        let house = House::build(&plan.program, on, engine, &folder, plan.groups, plan.cap).await?;
        ensure!(
            house.bridge_socket().as_os_str().len() <= 107,
            "the path of {} is longer than a socket's may be; name a shorter --folder",
            house.bridge_socket().display()
        );
        let seed = plan.seed.wrapping_mul(1000).wrapping_add(u64::from(number));
        // One kind of service in one round, the other in the next.
        let repeats = if number.is_multiple_of(2) { Repeats::Finds } else { Repeats::Deduplicates };
        let service = ChatService::start(Behaviour {
            socket: house.bridge_socket(),
            chats: plan.groups,
            messages: plan.messages,
            repeats,
            slowest_send: Duration::from_millis(8),
            fails_one_in: 15,
            seed,
        });
        let longest_life_ms = match (on, fault.has_tasks()) {
            (On::Sandbox, false) => 1200,
            (On::Docker, false) => 2500,
            // A task whose runs die with three hosts is given up; that is to be rare.
            (_, true) => 4000,
        };
        let tasks = match fault.has_tasks() {
            true => {
                let due_times = plan.due_times.div_ceil(LEAST_ROUNDS as usize);
                Some(Scheduled::begin(&house, plan.groups, due_times, plan.intervals, seed).await?)
            }
            false => None,
        };
        let (chance, plan) = (Chance::new(seed), plan.clone());
        Ok(Self { house, service, tasks, repeats, chance, longest_life_ms, plan, died: None, folder, mounted })
    }

    /// Starts a host that is to live, waits until it is ready, and notes how long that took since the last one died.
    pub(super) async fn start(&mut self, row: &mut Row) -> anyhow::Result<Host> {
        let mut host = self.house.start(None)?;
        let ready = host.ready().await?.with_context(|| format!("a host ended at its start; see {}", self.log()))?;
        self.note_ready(ready, row);
        Ok(host)
    }

    pub(super) fn note_ready(&mut self, ready: Instant, row: &mut Row) {
        if let Some(died) = self.died.take() {
            row.ready_ms.push(ready.saturating_duration_since(died).as_secs_f64() * 1000.0);
        }
    }

    pub(super) fn log(&self) -> String {
        self.house.log().display().to_string()
    }

    /// Ends the round without any fault, and says what came of it.
    pub(super) async fn finish(mut self, name: &str, row: &mut Row) -> anyhow::Result<Tally> {
        if let Err(error) = self.come_to_rest(row).await {
            row.troubles.push(format!("{name}: {error:#}"));
        }
        let tally = self.service.tally();
        let tasks_are_clean = row.tasks.as_ref().is_none_or(TaskTally::is_clean);
        let log = std::fs::read_to_string(self.house.log()).unwrap_or_default();
        row.adopted += log.lines().filter(|line| line.contains(ADOPTS)).count() as u64;
        if self.mounted {
            let _ = std::process::Command::new("umount").arg("--lazy").arg(self.folder.join("home")).status();
        }
        // What went wrong is kept to be looked at.
        if !self.plan.keep && tally.is_clean() && tasks_are_clean && row.troubles.is_empty() {
            std::fs::remove_dir_all(&self.folder)?;
        }
        Ok(tally)
    }

    async fn come_to_rest(&mut self, row: &mut Row) -> anyhow::Result<()> {
        self.mend_odd()?;
        self.service.read(true);
        self.service.say(self.plan.groups * self.plan.messages);
        // A host that a failed round dropped is killed by now, and may not have let go of the home yet.
        tokio::time::sleep(QUIET).await;
        let host = self.start(row).await?;
        let all = self.service.answered(STUCK).await;
        ensure!(all, "nothing got on for {STUCK:?}, and not everything is answered; see {}", self.log());
        self.tasks_come_to_rest(row).await?;
        tokio::time::sleep(QUIET).await;
        host.end().await?;
        // A host that comes up with nothing to do must say nothing more.
        let sends = self.service.tally().sends;
        let host = self.start(row).await?;
        ensure!(self.service.connected(PATIENCE).await, "the host lets no bridge in; see {}", self.log());
        tokio::time::sleep(QUIET).await;
        host.end().await?;
        ensure!(self.service.tally().sends == sends, "a host with nothing to do sent something; see {}", self.log());
        Ok(())
    }

    /// Waits until all tasks are done and what they said is shown, and counts what became of them.
    async fn tasks_come_to_rest(&mut self, row: &mut Row) -> anyhow::Result<()> {
        let Some(tasks) = &mut self.tasks else { return Ok(()) };
        tasks.end_intervals().await?;
        let found = tasks.settled().await?;
        let begun = Instant::now();
        let tally = loop {
            let tally = tasks.tally(&found, &self.service);
            // What was said last may still be on its way.
            if tally.lost == 0 || begun.elapsed() > PATIENCE {
                break tally;
            }
            tokio::time::sleep(QUIET).await;
        };
        row.tasks.get_or_insert_default().add(tally);
        Ok(())
    }

    /// Lets odd messages be answered that waited for that.
    pub(super) fn mend_odd(&self) -> anyhow::Result<()> {
        for file in self.service.awaited_files() {
            std::fs::write(self.house.odd_folder().join(file), "")?;
        }
        Ok(())
    }

    /// Where the home is.
    pub(super) fn home(&self) -> PathBuf {
        self.house.home()
    }
}

/// Mounts a small disk of memory, so that it can be filled.
fn mount_small(at: &Path) -> anyhow::Result<()> {
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=48m,mode=755", "kill"])
        .arg(at)
        .output()?;
    let said = String::from_utf8_lossy(&mounted.stderr);
    ensure!(mounted.status.success(), "cannot mount a small disk (this needs root): {}", said.trim());
    Ok(())
}
