//! The text format of Prometheus, version 0.0.4 (source: prometheus.io, "Exposition formats").

use std::fmt::{Display, Write as _};

/// The content type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; begins anew with the process. Its name ends with `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A page of figures. A family is begun once, and its samples follow it.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// Begins the family `name`. Help is one line of plain words.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        debug_assert_eq!(kind == Kind::Counter, name.ends_with("_total"), "{name}");
        debug_assert!(!help.contains(['\n', '\\']), "{name}");
        // Writing into a text cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.word());
    }

    /// Adds a sample to the family that was begun last, or to a series of it such as `…_sum`.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for character in text.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// All of it.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_each_family_with_its_samples_and_labels_that_cannot_break_out() {
        let mut page = Page::default();
        page.single("nanoclaw_containers", Kind::Gauge, "Containers now.", 3);
        page.family("nanoclaw_deliveries_total", Kind::Counter, "Tries to send.");
        page.sample("nanoclaw_deliveries_total", &[("channel", "a\"b\\c\nd"), ("outcome", "sent")], 7_u64);
        insta::assert_snapshot!(page.into_text(), @r#"
        # HELP nanoclaw_containers Containers now.
        # TYPE nanoclaw_containers gauge
        nanoclaw_containers 3
        # HELP nanoclaw_deliveries_total Tries to send.
        # TYPE nanoclaw_deliveries_total counter
        nanoclaw_deliveries_total{channel="a\"b\\c\nd",outcome="sent"} 7
        "#);
    }
}
