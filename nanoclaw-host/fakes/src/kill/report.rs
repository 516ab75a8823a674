//! The scorecard: rows as a table that is also Markdown, and as JSON.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Plan, Row};

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

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| fault | runtime | kills | messages in | answered | duplicated | lost | sent again, same key | out of order | \
             dead to ready, ms: p50, p99 |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for row in &self.rows {
            let tally = &row.tally;
            let ready = match row.ready_ms.as_slice() {
                [] => "–".to_owned(),
                some => format!("{:.0}, {:.0}", quantile(some, 0.5), quantile(some, 0.99)),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {ready} |",
                row.fault.describe(),
                row.runtime,
                row.kills,
                tally.said,
                tally.answered,
                tally.duplicated,
                tally.lost(),
                tally.sent_again,
                tally.out_of_order,
            );
        }
        let sum = |of: &dyn Fn(&Row) -> u64| self.rows.iter().map(of).sum::<u64>();
        let _ = writeln!(
            text,
            "| **all** | | **{}** | **{}** | **{}** | **{}** | **{}** | {} | {} | |",
            sum(&|row| row.kills),
            sum(&|row| row.tally.said),
            sum(&|row| row.tally.answered),
            sum(&|row| row.tally.duplicated),
            sum(&|row| row.tally.lost()),
            sum(&|row| row.tally.sent_again),
            sum(&|row| row.tally.out_of_order),
        );
        text
    }

    /// The page `docs/scorecard.md`; `note` says what was special when these rows were made.
    #[must_use]
    pub fn markdown(&self, note: Option<&str>) -> String {
        let mut page = format!(
            "# Scorecard\n\n\
             What becomes of messages while things die. Made by a program; this is the command:\n\n\
             ```sh\n{COMMAND}\n```\n\n\
             The program is the real `nanoclaw run`, built with failpoints, with real containers and `offline` agents. A chat service that \
             outlives every host says {} messages in each of {} groups, at most {} containers at once, and a fault happens all the \
             time. It resends what was not accepted, shows a reply once for each key, and confirms it up to 8 ms later; every fifteenth send \
             fails at first. When all is said the host is started without a fault; then everything must be answered, once, and a host that is \
             started after that must say nothing more. Some rows take several such rounds, each in a new home.\n\n",
            self.messages, self.groups, self.cap,
        );
        page.push_str(&self.table());
        page.push_str(
            "\n* **answered**: messages whose answer was shown at least once. **duplicated**: answers that were shown once more, under another \
             key. **lost**: said and never answered. **sent again, same key**: the host did not know that it was shown; the service did.\n\
             * **out of order**: answers first shown after the answer to a message of the same chat that was accepted later.\n\
             * **kills** counts how often the fault happened: deaths of the host where it dies, else deaths of containers or of the daemon, or \
             spells of a full disk, of a service that does not read, of a frozen host.\n\
             * **dead to ready**: from the death of a host (for a restart: from the TERM) to the line with which the next one, started at once, says that it \
             takes messages.\n",
        );
        let _ = writeln!(page, "\nMachine: {}. This is a debug build, with other work on the machine.", self.machine);
        if let Some(note) = note {
            let _ = writeln!(page, "\n{note}");
        }
        for row in &self.rows {
            if !row.not_passed.is_empty() {
                let mut names: Vec<&str> = row.not_passed.iter().map(String::as_str).collect();
                names.sort_unstable();
                let _ = writeln!(page, "\nFailpoints that no host passed ({}): `{}`.", row.runtime, names.join("`, `"));
            }
            for trouble in &row.troubles {
                let _ = writeln!(page, "\n**{} on {}**: {trouble}", row.fault.describe(), row.runtime);
            }
            for text in &row.tally.other_texts {
                let _ = writeln!(page, "\n**{} on {}**, not an answer: {text}", row.fault.describe(), row.runtime);
            }
        }
        page
    }
}

/// How the page is made.
const COMMAND: &str = "\
cargo build -p nanoclaw-host --features failpoints && cargo build -p agent-runner && cargo static-runner
cargo run -p nanoclaw-fakes --bin nanoclaw-kill -- --program target/debug/nanoclaw --markdown docs/scorecard.md";

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
