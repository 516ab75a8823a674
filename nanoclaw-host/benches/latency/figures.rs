//! What was measured, and how it is shown.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde_json::json;

/// One figure: what it is, its samples, and what it is to stay under.
pub(crate) struct Figure {
    name: String,
    unit: Unit,
    samples: Vec<f64>,
    target: Option<Target>,
}

/// What the median of a figure is to be.
#[derive(Debug, Clone, Copy)]
enum Target {
    Under(f64),
    /// Not the median but the p99.
    P99Under(f64),
    AtLeast(f64),
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Mebibytes,
    /// Whole things, such as ticks of a clock.
    Count,
    /// Things a second.
    PerSecond,
    /// One thing for another.
    Ratio,
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::Count | Self::Ratio => "",
            Self::PerSecond => "/s",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Milliseconds if value < 10.0 => format!("{value:.2}"),
            Self::Milliseconds | Self::Mebibytes => format!("{value:.1}"),
            Self::Count | Self::PerSecond => format!("{value:.0}"),
            Self::Ratio => format!("{value:.2}"),
        }
    }
}

impl Figure {
    /// How long something took.
    pub(crate) fn times(name: impl Into<String>, samples: &[Duration]) -> Self {
        let samples = samples.iter().map(|sample| sample.as_secs_f64() * 1000.0).collect();
        Self::new(name, Unit::Milliseconds, samples)
    }

    pub(crate) fn new(name: impl Into<String>, unit: Unit, mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { name: name.into(), unit, samples, target: None }
    }

    /// The same with what its median is to stay under.
    pub(crate) fn under(self, target: f64) -> Self {
        Self { target: Some(Target::Under(target)), ..self }
    }

    /// The same with what its p99 is to stay under.
    pub(crate) fn p99_under(self, target: f64) -> Self {
        Self { target: Some(Target::P99Under(target)), ..self }
    }

    /// The same with what its median is to reach.
    pub(crate) fn at_least(self, target: f64) -> Self {
        Self { target: Some(Target::AtLeast(target)), ..self }
    }

    /// The target in words, and whether it is met; empty when there is none.
    fn verdict(&self) -> String {
        let (sign, target, met) = match self.target {
            None => return String::new(),
            Some(Target::Under(target)) => ("<", target, self.quantile(0.5) < target),
            Some(Target::P99Under(target)) => ("p99 <", target, self.quantile(0.99) < target),
            Some(Target::AtLeast(target)) => ("≥", target, self.quantile(0.5) >= target),
        };
        format!("{sign} {target} {}", if met { "met" } else { "MISSED" })
    }

    /// The smallest sample that `share` of all samples are not above; NaN of none.
    fn quantile(&self, share: f64) -> f64 {
        let count = self.samples.len();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small"
        )]
        let rank = (share * count as f64).ceil().max(1.0) as usize;
        self.samples.get(rank.min(count).wrapping_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// Prints all figures, as a table that is also Markdown, or as JSON.
pub(crate) fn show(machine: &str, all: &[Figure], as_json: bool) {
    if as_json {
        let figures: Vec<_> = all
            .iter()
            .map(|figure| {
                json!({
                    "name": figure.name, "unit": figure.unit.word(), "samples": figure.samples.len(),
                    "min": figure.quantile(0.0), "p50": figure.quantile(0.5), "p99": figure.quantile(0.99),
                    "max": figure.quantile(1.0), "p50_target": figure.verdict(),
                })
            })
            .collect();
        let all = json!({ "machine": machine, "figures": figures });
        println!("{}", serde_json::to_string_pretty(&all).unwrap());
        return;
    }
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(["", "unit", "samples", "min", "p50", "p99", "max", "target of p50"]);
    for figure in all {
        let quantile = |share| figure.unit.show(figure.quantile(share));
        table.add_row([
            figure.name.clone(),
            figure.unit.word().to_owned(),
            figure.samples.len().to_string(),
            quantile(0.0),
            quantile(0.5),
            quantile(0.99),
            quantile(1.0),
            figure.verdict(),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{machine}\n\n{table}");
}
