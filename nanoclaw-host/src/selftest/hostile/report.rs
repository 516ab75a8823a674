//! What came out: each case with its verdict, and how the other groups fared; as JSON, and as the part of a document.

use std::{fmt::Write as _, time::Duration};

use nanoclaw_core::{
    protocol::hostile::{Attempt, Outcome},
    runtime::{Capabilities, RuntimeKind},
};
use serde::Serialize;

use super::Size;

/// What is concluded of one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The system refused it, or the host saw nothing of it.
    Contained,
    /// It worked, and should not have.
    Found,
    /// It worked by design, and concerns the attacker's own container or group alone.
    Own,
    /// There was nothing to attack.
    NotApplicable,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contained => "contained",
            Self::Found => "FOUND",
            Self::Own => "own",
            Self::NotApplicable => "not applicable",
        }
    }
}

/// One thing that was tried, or looked at afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Case {
    /// The attack that it belongs to; `host` for what the host saw.
    pub attack: String,
    /// What.
    pub name: String,
    /// What is concluded.
    pub verdict: Verdict,
    /// The system's words, or what was seen.
    pub detail: String,
}

impl Case {
    /// Of what the attacker says.
    pub(super) fn of_attempt(attack: &str, attempt: Attempt) -> Self {
        Self::host(attack, &attempt.name, attempt.outcome)
    }

    /// Of what the judge saw itself.
    pub(super) fn host(attack: &str, name: &str, outcome: Outcome) -> Self {
        let (verdict, detail) = match outcome {
            Outcome::Refused(detail) => (Verdict::Contained, detail),
            Outcome::Succeeded(detail) => (Verdict::Found, detail),
            Outcome::Allowed(detail) => (Verdict::Own, detail),
            Outcome::Absent(detail) => (Verdict::NotApplicable, detail),
        };
        // The words come from a container.
        let clean = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
        Self { attack: attack.to_owned(), name: clean(name), verdict, detail: clean(&detail) }
    }

    /// Of what the judge looked for on the host: `found` should be empty, for which `good` is the word.
    pub(super) fn of_findings(name: &str, found: &[String], good: &str) -> Self {
        let outcome = match found.is_empty() {
            true => Outcome::Refused(good.to_owned()),
            false => Outcome::Succeeded(found.join("; ")),
        };
        Self::host("host", name, outcome)
    }
}

/// How a group fared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Talk {
    /// Its folder.
    pub group: String,
    /// Replies that were due.
    pub due: u64,
    /// Replies that came, each right.
    pub got: u64,
    /// Half of them came within this.
    pub p50_ms: f64,
    /// All but one in a hundred came within this.
    pub p99_ms: f64,
    /// All came within this.
    pub longest_ms: f64,
}

impl Talk {
    pub(super) fn new(group: &str, due: u64, got: u64, mut times_ms: Vec<f64>) -> Self {
        times_ms.sort_by(f64::total_cmp);
        let at = |part: usize| times_ms.get((times_ms.len() * part / 100).min(times_ms.len().saturating_sub(1)));
        let of = |part| at(part).copied().unwrap_or_default();
        Self { group: group.to_owned(), due, got, p50_ms: of(50), p99_ms: of(99), longest_ms: of(100) }
    }
}

/// Everything that came out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether nothing was found.
    pub ok: bool,
    /// The command that does the same.
    pub command: String,
    /// The runtime.
    pub runtime: RuntimeKind,
    /// Its product, version and mode.
    pub description: String,
    /// The kernel.
    pub kernel: String,
    /// The service's version.
    pub version: &'static str,
    /// The user that the service ran as.
    pub user: u32,
    /// When, a day.
    pub date: String,
    /// How long the attacks went on.
    pub attacked_for_s: f64,
    /// Every case.
    pub cases: Vec<Case>,
    /// The other groups with nobody in the way.
    pub quiet: Vec<Talk>,
    /// The same while the attacks went on.
    pub under_attack: Vec<Talk>,
}

impl Report {
    pub(super) fn new(
        (runtime, size, attacks): (RuntimeKind, Size, &[String]),
        capabilities: Capabilities,
        cases: Vec<Case>,
        quiet: Vec<Talk>,
        under_attack: Vec<Talk>,
        attacked_for: Duration,
    ) -> Self {
        let kernel = rustix::system::uname();
        let mut command = format!("nanoclaw selftest hostile --runtime {runtime}");
        if size == Size::Full {
            command.push_str(" --full");
        }
        if !attacks.is_empty() {
            command.push_str(&format!(" --only {}", attacks.join(",")));
        }
        Self {
            ok: !cases.iter().any(|case| case.verdict == Verdict::Found),
            command,
            runtime,
            description: capabilities.description,
            kernel: kernel.release().to_string_lossy().into_owned(),
            version: env!("CARGO_PKG_VERSION"),
            user: rustix::process::geteuid().as_raw(),
            date: jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().to_string(),
            attacked_for_s: attacked_for.as_secs_f64(),
            cases,
            quiet,
            under_attack,
        }
    }

    /// How many cases have this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|case| case.verdict == verdict).count()
    }

    /// What was found.
    #[must_use]
    pub fn found(&self) -> Vec<&Case> {
        self.cases.iter().filter(|case| case.verdict == Verdict::Found).collect()
    }

    /// One line with the figures.
    #[must_use]
    pub fn figures(&self) -> String {
        format!(
            "{} cases: {} contained, {} found, {} that concern the attacker's own group alone, {} not applicable",
            self.cases.len(),
            self.count(Verdict::Contained),
            self.count(Verdict::Found),
            self.count(Verdict::Own),
            self.count(Verdict::NotApplicable)
        )
    }

    /// The name under which the document knows this runtime on this kind of user.
    #[must_use]
    pub fn title(&self) -> String {
        let user = if self.user == 0 { "root" } else { "an ordinary user" };
        format!("{} as {user}", self.runtime)
    }

    /// The part of a document, in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let line = |text: &mut String, words: String| {
            let _ = writeln!(text, "{words}");
        };
        line(&mut text, format!("### {}\n", self.title()));
        line(&mut text, format!("`{}`, {}: {}\n", self.command, self.date, self.figures()));
        line(
            &mut text,
            format!(
                "{}; Linux {}; nanoclaw {}; attacked for {:.0} s.\n",
                self.description, self.kernel, self.version, self.attacked_for_s
            ),
        );
        line(
            &mut text,
            "| other group | replies due / got | quiet p50 / p99 | under attack p50 / p99 / slowest |".to_owned(),
        );
        line(&mut text, "| --- | --- | --- | --- |".to_owned());
        for talk in &self.under_attack {
            let quiet = self.quiet.iter().find(|quiet| quiet.group == talk.group);
            let quiet = quiet.map_or_else(String::new, |quiet| format!("{:.0} / {:.0} ms", quiet.p50_ms, quiet.p99_ms));
            line(
                &mut text,
                format!(
                    "| {} | {} / {} | {quiet} | {:.0} / {:.0} / {:.0} ms |",
                    talk.group, talk.due, talk.got, talk.p50_ms, talk.p99_ms, talk.longest_ms
                ),
            );
        }
        line(
            &mut text,
            "\n| attack | contained | found | own | not applicable |\n| --- | --- | --- | --- | --- |".to_owned(),
        );
        for attack in super::ATTACKS.into_iter().chain(["host"]) {
            let count =
                |verdict| self.cases.iter().filter(|case| case.attack == attack && case.verdict == verdict).count();
            let counts = [Verdict::Contained, Verdict::Found, Verdict::Own, Verdict::NotApplicable].map(count);
            if counts.iter().any(|count| *count > 0) {
                let [contained, found, own, none] = counts;
                line(&mut text, format!("| {attack} | {contained} | {found} | {own} | {none} |"));
            }
        }
        for (verdict, title) in [
            (Verdict::Found, "Found:"),
            (Verdict::NotApplicable, "Not applicable:"),
            (Verdict::Own, "By design, within the attacker's own container and group:"),
        ] {
            let cases: Vec<&Case> = self.cases.iter().filter(|case| case.verdict == verdict).collect();
            if cases.is_empty() {
                continue;
            }
            line(&mut text, format!("\n{title}\n"));
            let mut shown: Vec<String> = cases.iter().map(|case| format!("* {}: {}", case.name, case.detail)).collect();
            // What the links point to is the same sentence many times.
            shown.retain(|text| verdict == Verdict::Found || !text.contains("left there; the host must not follow it"));
            line(&mut text, shown.join("\n"));
        }
        text
    }
}
