//! What the host says in its own log of an agent that does what it should not: on one line, in part, and not without end.

use std::time::Duration;

use crate::pace::Pace;

/// How many complaints about one run are logged at once, and then one how often.
const AT_ONCE: u32 = 20;
const EVERY: Duration = Duration::from_secs(30);

/// The most characters that are repeated of what an agent wrote.
const SHOWN_CHARS: usize = 300;

/// The complaints about one run.
pub(super) struct Complaints {
    pace: Pace,
    unsaid: u64,
}

impl Complaints {
    pub(super) fn new() -> Self {
        Self { pace: Pace::new(AT_ONCE, EVERY), unsaid: 0 }
    }

    /// Whether one more is to be logged, and how many were not since the last that was.
    pub(super) fn one_more(&mut self) -> Option<u64> {
        if self.pace.wait().is_some() {
            self.unsaid += 1;
            return None;
        }
        self.pace.spend(1);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// What an agent wrote, or what has some of it in it, fit for a line of the log or a reason: one line without control
/// characters, and not all of it when it is long.
pub(in crate::orchestrator) fn in_short(text: &str) -> String {
    let mut short = on_one_line(text.chars().take(SHOWN_CHARS));
    if text.chars().nth(SHOWN_CHARS).is_some() {
        short.push('…');
    }
    short
}

/// Text with spaces for everything that could begin a line, drive a terminal, or turn the order of letters around.
pub(super) fn on_one_line(text: impl Iterator<Item = char>) -> String {
    let dangerous = |c: char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.map(|c| if dangerous(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_complaints_is_counted_and_not_logged() {
        let mut complaints = Complaints::new();
        let logged = (0..100_000).filter_map(|_| complaints.one_more()).count();
        assert_eq!(logged, 20);
        tokio::time::sleep(EVERY).await;
        assert_eq!(complaints.one_more(), Some(99_980));
        assert_eq!(complaints.one_more(), None);
    }

    #[test]
    fn what_an_agent_wrote_forges_no_line_and_no_colour_and_is_not_repeated_whole() {
        let forged = in_short("unknown variant `a\n2026-11-21 INFO all is well\x1b[2J\r`");
        assert_eq!(forged, "unknown variant `a 2026-11-21 INFO all is well [2J `");
        assert_eq!(in_short(&"é".repeat(1_000_000)).chars().count(), SHOWN_CHARS + 1);
        assert_eq!(in_short("short"), "short");
        assert_eq!(in_short("a\u{9b}2Jb\u{202e}c\u{2028}d"), "a 2Jb c d");
    }
}
