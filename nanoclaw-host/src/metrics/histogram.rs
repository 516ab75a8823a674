//! How long something took, counted in buckets. Counting takes no lock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::text::Page;

/// Upper bounds in seconds for what takes milliseconds to seconds: a commit, a send.
pub const SHORT: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds in seconds for what takes up to hours: a wait, a turn, a run.
pub const LONG: &[f64] = &[0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0];

/// Lengths of time in buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One a bound, and one for what is beyond them all.
    counts: Box<[AtomicU64]>,
    microseconds: AtomicU64,
}

impl Histogram {
    /// One with these upper bounds, in seconds, rising.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, counts, microseconds: AtomicU64::new(0) }
    }

    /// Counts one that took so long.
    pub fn observe(&self, length: Duration) {
        let seconds = length.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Adds its series to the family `name` of `page`, which was begun.
    pub fn write(&self, page: &mut Page, name: &str, labels: &[(&str, &str)]) {
        let bucket = format!("{name}_bucket");
        let mut so_far = 0;
        let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&self.counts) {
            so_far += count.load(Ordering::Relaxed);
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            page.sample(&bucket, &labels, so_far);
        }
        let seconds = self.microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        page.sample(&format!("{name}_sum"), labels, seconds);
        // What the last bucket says, so that both are the same moment.
        page.sample(&format!("{name}_count"), labels, so_far);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::text::Kind;

    #[test]
    fn each_is_counted_in_every_bucket_that_it_fits_in() {
        let histogram = Histogram::new(&[0.5, 1.0, 10.0]);
        for ms in [500, 501, 1000, 60_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        assert_eq!(histogram.count(), 4);
        let mut page = Page::default();
        page.family("x_seconds", Kind::Histogram, "How long.");
        histogram.write(&mut page, "x_seconds", &[("kind", "a")]);
        insta::assert_snapshot!(page.into_text(), @r#"
        # HELP x_seconds How long.
        # TYPE x_seconds histogram
        x_seconds_bucket{kind="a",le="0.5"} 1
        x_seconds_bucket{kind="a",le="1"} 3
        x_seconds_bucket{kind="a",le="10"} 3
        x_seconds_bucket{kind="a",le="+Inf"} 4
        x_seconds_sum{kind="a"} 62.001
        x_seconds_count{kind="a"} 4
        "#);
    }
}
