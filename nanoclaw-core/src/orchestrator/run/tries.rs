//! How long a run is patient with a store or a disk that does not do what it is asked.

use std::time::Duration;

/// How often it is asked before the run is given up.
const TRIES: u32 = 8;

/// The tries of one thing. A full disk passes, and so does a busy database: minutes of an agent's work are not thrown away
/// for one error.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
}

impl Tries {
    /// One more try has failed. The pause before the next: 0.2 seconds, then twice as long each time, 25 seconds in all;
    /// `None` when that was the last.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        self.failed += 1;
        (self.failed < TRIES).then(|| Duration::from_millis(100 << self.failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_given_about_half_a_minute() {
        let mut tries = Tries::default();
        let pauses: Vec<Duration> = std::iter::from_fn(|| tries.pause()).collect();
        assert_eq!((pauses.len(), pauses[0]), (7, Duration::from_millis(200)));
        assert_eq!(pauses.iter().sum::<Duration>(), Duration::from_millis(25_400));
    }
}
