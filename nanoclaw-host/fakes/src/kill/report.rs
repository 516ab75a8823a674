//! The scorecard: rows as a table that is also Markdown, and as JSON.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Plan, Row, TaskTally};
use crate::chat_service::Tally;

/// What a column counts in a row.
type Count = fn(&Row) -> u64;

/// The columns that count something.
const COUNTS: [(&str, Count); 13] = [
    ("kills", |row| row.kills),
    ("messages in", |row| row.tally.said),
    ("answered", |row| row.tally.answered),
    ("duplicated", |row| row.tally.duplicated),
    ("lost", |row| row.tally.lost()),
    ("agents' requests", |row| row.tally.asking),
    ("granted", |row| row.tally.asked_shown),
    ("granted twice", |row| row.tally.asked_duplicated),
    ("requests lost", |row| row.tally.asked_lost()),
    ("asked again", |row| row.tally.asked_again),
    ("known to be shown", |row| row.tally.sent_again + row.tally.found),
    ("out of order", |row| row.tally.out_of_order),
    ("adopted", |row| row.adopted),
];

/// What a column counts in a row with tasks.
type TaskCount = fn(&Row, &TaskTally) -> u64;

/// The columns of rows with tasks.
const TASK_COUNTS: [(&str, TaskCount); 16] = [
    ("kills", |row, _| row.kills),
    ("tasks", |_, tasks| tasks.tasks),
    ("due times", |_, tasks| tasks.due),
    ("done", |_, tasks| tasks.done),
    ("silently", |_, tasks| tasks.silent),
    ("missed", |_, tasks| tasks.missed),
    ("stood for", |_, tasks| tasks.stood_for),
    ("too early", |_, tasks| tasks.overlapped),
    ("given up", |_, tasks| tasks.given_up),
    ("runs", |_, tasks| tasks.runs),
    ("lost", |_, tasks| tasks.lost),
    ("doubled", |_, tasks| tasks.doubled),
    ("messages in", |row, _| row.tally.said),
    ("answered", |row, _| row.tally.answered),
    ("messages lost", |row, _| row.tally.lost()),
    ("shown twice", |row, _| row.tally.duplicated),
];

/// All rows, with what was needed to make them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Scorecard {
    /// The machine, a line.
    pub machine: String,
    /// Groups of a round.
    pub groups: usize,
    /// Messages of each group.
    pub messages: usize,
    /// Containers at once.
    pub cap: usize,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A scorecard without rows.
#[must_use]
pub fn scorecard(plan: &Plan) -> Scorecard {
    Scorecard { machine: machine(), groups: plan.groups, messages: plan.messages, cap: plan.cap, rows: Vec::new() }
}

impl Scorecard {
    /// Adds a row, in the place of one of the same fault on the same runtime.
    pub fn add(&mut self, row: Row) {
        self.rows.retain(|old| (old.fault, old.runtime) != (row.fault, row.runtime));
        self.rows.push(row);
        self.rows.sort_by_key(|row| (row.fault, row.runtime.to_string() != "sandbox"));
    }

    /// Whether every row is.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.rows.iter().all(Row::is_clean)
    }

    /// The tables.
    #[must_use]
    pub fn table(&self) -> String {
        format!("{}\n{}", self.messages_table(), self.tasks_table())
    }

    /// The table of the rows without tasks.
    fn messages_table(&self) -> String {
        let rows = || self.rows.iter().filter(|row| row.tasks.is_none());
        let heads: Vec<&str> = COUNTS.iter().map(|(head, _)| *head).collect();
        let mut text = format!("| fault | runtime | {} | dead to ready, ms: p50, p99 |\n", heads.join(" | "));
        let _ = writeln!(text, "| --- | --- |{} ---: |", " ---: |".repeat(COUNTS.len()));
        for row in rows() {
            let ready = ready(row);
            let counts: Vec<String> = COUNTS.iter().map(|(_, count)| count(row).to_string()).collect();
            let _ = writeln!(text, "| {} | {} | {} | {ready} |", row.fault.describe(), row.runtime, counts.join(" | "));
        }
        let sum = |count: Count| rows().map(count).sum::<u64>();
        let sums: Vec<String> = COUNTS.iter().map(|(_, count)| format!("**{}**", sum(*count))).collect();
        let _ = writeln!(text, "| **all** | | {} | |", sums.join(" | "));
        text
    }

    /// The table of the rows with tasks.
    fn tasks_table(&self) -> String {
        let heads: Vec<&str> = TASK_COUNTS.iter().map(|(head, _)| *head).collect();
        let mut text = format!("| fault | runtime | {} | dead to ready, ms: p50, p99 |\n", heads.join(" | "));
        let _ = writeln!(text, "| --- | --- |{} ---: |", " ---: |".repeat(TASK_COUNTS.len()));
        for row in &self.rows {
            let Some(tasks) = &row.tasks else { continue };
            let counts: Vec<String> = TASK_COUNTS.iter().map(|(_, count)| count(row, tasks).to_string()).collect();
            let (fault, counts, ready) = (row.fault.describe(), counts.join(" | "), ready(row));
            let _ = writeln!(text, "| {fault} | {} | {counts} | {ready} |", row.runtime);
        }
        text
    }

    /// The page `docs/scorecard.md`; `note` says what was special when these rows were made.
    #[must_use]
    pub fn markdown(&self, note: Option<&str>) -> String {
        let mut page = format!(
            "# Scorecard\n\n\
             What becomes of messages while things die. Made by a program, on a machine with root, Docker and busybox; this is the command:\n\n\
             ```sh\n{COMMAND}\n```\n\n\
             The program is the real `nanoclaw run`, built with failpoints, with real containers and `offline` agents. A chat service that \
             outlives every host says {} messages in each of {} groups, at most {} containers at once, and a fault happens all the \
             time. Every tenth message has its agent ask the host, by a request file, to send a further message, in the main group half the time \
             to another chat. The service resends what was not accepted, confirms what it shows up to 8 ms later, and lets every fifteenth send \
             fail at first. In one home it shows a message once for each key, in the next it shows what is sent again twice, and can be asked \
             what it showed. When all is said the host is started without a fault; then everything must be answered, once, all that agents \
             asked for shown, once, and a host that is started after that must say nothing more. Each row takes two such homes or more.\n\n",
            self.messages, self.groups, self.cap,
        );
        page.push_str(&self.messages_table());
        page.push_str(EXPLAINED);
        page.push_str(ABOUT_TASKS);
        page.push_str(&self.tasks_table());
        page.push_str(TASKS_EXPLAINED);
        let _ = writeln!(page, "\nMachine: {}. The programs are debug builds.", self.machine);
        if let Some(note) = note {
            let _ = writeln!(page, "\n{note}");
        }
        for row in &self.rows {
            page.push_str(&remarks(row));
        }
        page
    }
}

/// How soon hosts were ready again.
fn ready(row: &Row) -> String {
    match row.ready_ms.as_slice() {
        [] => "–".to_owned(),
        some => format!("{:.0}, {:.0}", quantile(some, 0.5), quantile(some, 0.99)),
    }
}

/// What stands below the table about one row.
fn remarks(row: &Row) -> String {
    let mut text = String::new();
    let of = format!("{} on {}", row.fault.describe(), row.runtime);
    let never: Vec<&str> = row.not_passed.iter().filter_map(|point| point.strip_suffix(":1")).collect();
    let on = if row.tasks.is_some() { of.clone() } else { row.runtime.to_string() };
    if !never.is_empty() {
        let _ = writeln!(text, "\nFailpoints that no host passed ({on}): `{}`.", never.join("`, `"));
    }
    let later = row.not_passed.len() - never.len();
    if later > 0 {
        let _ = writeln!(text, "\nFailpoints that no host passed as often as asked for ({on}): {later}.");
    }
    for wrong in row.tasks.iter().flat_map(|tasks| &tasks.wrong) {
        let _ = writeln!(text, "\n**{of}**: {wrong}");
    }
    let tally = &row.tally;
    if tally.odd > 0 {
        let Tally { odd, odd_ended, odd_duplicated, .. } = tally;
        let _ = writeln!(
            text,
            "\nMessages that must fail, for good or at first ({}): {odd}; their chat was told the end of {odd_ended}, twice of \
             {odd_duplicated}.",
            row.runtime
        );
    }
    if tally.asked_refused > 0 {
        let _ = writeln!(text, "\n{of}: {} requests that could not be made, as the agents said.", tally.asked_refused);
    }
    if !tally.notices.is_empty() {
        let _ = writeln!(text, "\n{of}: the host told chats of its troubles {} times.", tally.notices.len());
    }
    if tally.asked_unanswered > 0 {
        let _ =
            writeln!(text, "\n**{of}**: {} agents heard nothing of what they had asked for", tally.asked_unanswered);
    }
    if tally.texts_changed > 0 {
        let _ = writeln!(text, "\n**{of}**: {} messages were sent again with another text", tally.texts_changed);
    }
    for trouble in &row.troubles {
        let _ = writeln!(text, "\n**{of}**: {trouble}");
    }
    for other in &tally.other_texts {
        let _ = writeln!(text, "\n**{of}**, not an answer: {other}");
    }
    text
}

/// How the page is made.
const COMMAND: &str = "\
cargo build -p nanoclaw-host --features failpoints && cargo build -p agent-runner && cargo static-runner
cargo run -p nanoclaw-fakes --bin nanoclaw-kill -- --program target/debug/nanoclaw --markdown docs/scorecard.md";

/// What the columns mean, and how to make part of the page.
const EXPLAINED: &str = "
* **kills** counts how often the fault happened: deaths of the host where it dies, else deaths of containers or of the daemon, or \
spells of a full disk, of a service that does not read, of a frozen host.
* **answered**: messages whose answer was shown at least once. **duplicated**: answers that were shown once more, under another \
key, or under the same by a service that shows repeats. **lost**: said and never answered.
* **agents' requests**: messages whose agent asks for a further one. **granted**: that was shown. **granted twice**: one request was carried out \
twice. **requests lost**: neither shown, nor did the agent say that it could not be. **asked again**: an agent died between its request and \
its answer, as the sandbox's do with their host, so that the next agent got the same message and asked as well. The host cannot tell \
that from wanting it twice; an agent that is to do things once must look what it did.
* **known to be shown**: sent again with its key, which the service knew, or found when the service was asked: the host before had died \
between sending and noting it.
* **out of order**: answers first shown after the answer to a message of the same chat that was accepted later.
* **adopted**: containers that went on without their host and that the next one took over. Those of the sandbox end with it.
* **dead to ready**: from the death of a host (for a restart: from the TERM) to the line with which the next one, started at once, says \
that it takes messages.

The harness starts a Docker daemon and containerd of its own, with everything in its folder; the machine's own are left alone. \
`--runtime sandbox` or `docker` makes the rows of one runtime, `--fault kill,disk` those of some faults, `--kills N` and `--passings N` make \
them longer or shorter, `--point NAME` tries single failpoints (`nanoclaw failpoints` lists them), `--json FILE` keeps all figures, and \
`--render FILE` makes the page of some of those. The row of the full disk needs root, Docker's need root and `dockerd`. What went wrong is \
kept in `--folder`, with the logs of all hosts.

Some points are beyond the harness. `runtime.probe` and `runtime.ensure_image` are called while the runtime is chosen, before there are failpoints. \
`runtime.stop` is called when a container is stopped, which Docker's are only when they do not end by themselves. The sandbox's containers are \
not adopted, so that nothing of `runtime.adopt`, `launcher.rejoin` and `store.cursor` is passed there. `store.turns_taken` and \
`store.delivery_postponed` take moments that the harness does not choose: a host that ends while an agent has a follow-up and has said nothing \
yet, a bridge that is gone when a send begins.
";

/// What happens in the rows with tasks.
const ABOUT_TASKS: &str = "
## Scheduled tasks

What becomes of due times. In these rows people also schedule tasks by `nanoclaw tasks add`, while a host lives, while it dies and while there is \
none: tasks that are due once, of which some are moved (`tasks update --when`) while they are at an earlier time and some run beside their times \
(`tasks run`), and twenty in each home that are due every minute or two. Contexts, catch-up policies and overlap policies are drawn by chance, and \
every eighth is silent. Messages are said in the same groups meanwhile. In the middle of each home of the second row nobody starts a host for 125 \
seconds. In the end every time that a command named must be in the record of its task, once, with the outcome that its policies say, and every \
time that is done must have been said in the chat once. `--fault task-failpoints,task-kill` makes these rows alone, `--due-times N` makes the second \
longer or shorter.

";

/// What the columns of the rows with tasks mean.
const TASKS_EXPLAINED: &str = "
* **due times**: those that came; **done**: the task was run for them, and its answer shown, or (**silently**) kept in the record.
* **missed**: passed while no host was there, and left out as the task's `skip` says; **stood for**: another time of the task stands for them, as \
`once` says. **too early**: left out since an earlier time of the task was not done, as its overlap policy says, or since it rested.
* **given up**: three hosts in a row died while the task ran; its chat was told.
* **runs**: one for each time that is done or given up, and one more whenever a host died with one.
* **lost**: a task that was said to be kept and is not, a time that is not in the record, an answer that was not shown. **doubled**: a time or a task \
that is there twice, an answer beyond one for each time that is done.
";

/// The smallest sample that `share` of all are not above.
fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()).wrapping_sub(1)).copied().unwrap_or(f64::NAN)
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cpus} processors ({}), Linux {}", model.map_or("unknown", |(_, model)| model), kernel.trim())
}
