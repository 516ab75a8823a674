//! What a build prints, as lines that can be shown: engines hand it on in the pieces in which programs wrote it, coloured, with
//! lines that are written over and with remarks of their own.

use std::collections::VecDeque;

use crate::images::step_in_words;

/// As many of a build's last lines are kept for whoever has to mend it.
const LAST_LINES: usize = 20;
/// And as many characters of each.
const LONGEST_LINE: usize = 300;
/// A step's instruction is said whole elsewhere.
const LONGEST_STEP: usize = 120;
/// A line that does not end is one by then.
const LONGEST_PIECE: usize = 64 << 10;

/// A build's output so far.
#[derive(Debug, Default)]
pub(super) struct Printed {
    /// What came since the last end of a line.
    begun: String,
    step: Option<String>,
    /// Of the step, the oldest first.
    last: VecDeque<String>,
}

impl Printed {
    /// The lines that a piece completes, to be shown.
    pub(super) fn take(&mut self, piece: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let piece = without_colours(piece);
        // The engine's own lines are whole; what a program has begun ends there.
        if is_engines_own(&piece) {
            lines.extend(self.rest());
        }
        for part in piece.split_inclusive('\n') {
            self.begun.push_str(part);
            if part.ends_with('\n') || self.begun.len() > LONGEST_PIECE {
                let line = std::mem::take(&mut self.begun);
                lines.extend(self.ended(&line));
            }
        }
        lines
    }

    /// What is left when no more comes.
    pub(super) fn rest(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.begun);
        self.ended(&line)
    }

    /// The step that is being done, as the engine says it.
    pub(super) fn step(&self) -> Option<&str> {
        self.step.as_deref()
    }

    /// The last lines of it, the oldest first.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }

    fn ended(&mut self, line: &str) -> Option<String> {
        let line = line.trim_end_matches(['\r', '\n']);
        // What a line was written over with is what a terminal shows of it.
        let line = line.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or_default();
        if step_in_words(line).is_some() {
            self.last.clear();
            self.step = Some(on_one_line(line, usize::MAX));
            return Some(on_one_line(line, LONGEST_STEP));
        }
        if is_engines_own(line) && line.trim() != "---> Using cache" {
            return None;
        }
        let line = in_short(line);
        if line.is_empty() {
            return None;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        Some(line)
    }
}

/// What the builder says of itself.
fn is_engines_own(line: &str) -> bool {
    // Podman says `--> 1a2b3c` of a layer that is done.
    let line = line.trim();
    let is_layer = |rest: &str| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_hexdigit());
    step_in_words(line).is_some()
        || line.strip_prefix("--> ").is_some_and(is_layer)
        || ["--->", "Removing intermediate container ", "Successfully built "]
            .iter()
            .any(|beginning| line.starts_with(beginning))
}

/// A line as it may be shown: what a build prints is anybody's text.
pub(super) fn in_short(line: &str) -> String {
    let plain = without_colours(line);
    let clean: String = plain.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shortened(clean.trim(), LONGEST_LINE)
}

/// The same, and what its author broke into lines with spaces before is one.
fn on_one_line(line: &str, longest: usize) -> String {
    shortened(&line.split_whitespace().collect::<Vec<_>>().join(" "), longest)
}

fn shortened(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut parts = text.split("\u{1b}[");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        // What follows the escape ends with the first letter.
        plain.push_str(part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str]) -> Vec<String> {
        let mut printed = Printed::default();
        let mut lines: Vec<String> = pieces.iter().flat_map(|piece| printed.take(piece)).collect();
        lines.extend(printed.rest());
        lines
    }

    #[test]
    fn what_a_build_prints_is_shown_without_colours_and_bells() {
        assert_eq!(in_short("\u{1b}[91mno such tool\u{7}\u{1b}[0m\r"), "no such tool");
        assert_eq!(in_short("\u{1b}[0m"), "");
        assert_eq!(in_short("plain [x]"), "plain [x]");
        assert_eq!(in_short(&"ä".repeat(301)), format!("{}…", "ä".repeat(300)));
    }

    #[test]
    fn pieces_become_the_lines_that_a_program_wrote() {
        let pieces =
            ["\u{1b}[91mE\u{1b}[0m", "\u{1b}[91m: \u{1b}[0m", "\u{1b}[91mno package\n\u{1b}[0m", "a\nb", "c\n\n"];
        assert_eq!(shown(&pieces), ["E: no package", "a", "bc"]);
        assert_eq!(shown(&["Reading... 0%\r", "Reading... Done\r\n"]), ["Reading... Done"]);
        assert_eq!(shown(&["no end"]), ["no end"]);
        let long = "x".repeat(LONGEST_PIECE + 1);
        assert_eq!(shown(&[&long]).len(), 1);
    }

    #[test]
    fn what_the_builder_says_of_itself_is_left_out_but_its_steps() {
        let pieces = [
            "Step 1/2 : FROM x",
            "\n",
            " ---> 1a2b\n",
            " ---> \n",
            "Step 2/2 : RUN a     && b\n",
            " ---> Running in 3c4d\n",
            "half",
            "Removing intermediate container 3c4d\n",
            "Successfully built 5e6f\n",
            "Successfully tagged x:latest\n",
        ];
        assert_eq!(
            shown(&pieces),
            ["Step 1/2 : FROM x", "Step 2/2 : RUN a && b", "half", "Successfully tagged x:latest"]
        );
    }

    #[test]
    fn the_last_words_are_those_of_the_step_that_is_being_done() {
        let mut printed = Printed::default();
        for piece in ["Step 1/2 : RUN one\n", "of one\n", "Step 2/2 : RUN two\n", "of two\n"] {
            printed.take(piece);
        }
        assert_eq!((printed.step(), printed.last_lines()), (Some("Step 2/2 : RUN two"), vec!["of two".to_owned()]));
    }
}
