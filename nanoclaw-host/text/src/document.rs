//! A text between Markdown and a chat service: rows as a reader sees them, with what is bold, code or a link in each.
//!
//! Every service is made from the same rows. What a sign of Markdown was is known by now, so nothing here is escaped.

use std::ops::Range;

/// What was read from Markdown.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) rows: Vec<Row>,
    /// The addresses of links, as the service wants them written. A run names its own by its place here.
    pub(super) links: Vec<String>,
    /// The language of each block of code; empty for none. A row of code names its block by its place here.
    pub(super) languages: Vec<String>,
}

/// One line of the chat.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// What stands between it and the row before.
    pub(super) gap: Gap,
    /// The quote that it is part of. Rows of one quote have one number.
    pub(super) quote: Option<usize>,
    /// Indentation and marker of a list, and the signs of quotes within a quote. At most some sixty letters.
    pub(super) prefix: String,
    /// What is read, without a line break. Begins and ends with no white space, unless it is code.
    pub(super) text: String,
    /// What each part of `text` is. The parts follow each other and end with it.
    pub(super) runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Text,
    /// With its level, 1 to 6.
    Heading(usize),
    /// A line of the block of that number.
    Code(usize),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Gap {
    #[default]
    Line,
    /// An empty line: a new paragraph.
    Blank,
}

impl Gap {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Gap::Line => "\n",
            Gap::Blank => "\n\n",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Where it ends in the row's text, in bytes.
    pub(super) end: usize,
    pub(super) marks: Marks,
    /// Counts only with [`Mark::Link`].
    pub(super) link: usize,
}

/// What a run can be. In this order they are opened where several begin and end together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Bold,
    Italic,
    Strike,
    Link,
    Code,
}

impl Mark {
    pub(super) const ALL: [Mark; 5] = [Mark::Bold, Mark::Italic, Mark::Strike, Mark::Link, Mark::Code];
}

/// A set of marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    pub(super) fn has(self, mark: Mark) -> bool {
        self.0 & (1 << mark as u8) != 0
    }

    pub(super) fn with(self, mark: Mark) -> Self {
        Marks(self.0 | (1 << mark as u8))
    }

    pub(super) fn without(self, mark: Mark) -> Self {
        Marks(self.0 & !(1 << mark as u8))
    }

    pub(super) fn and(self, other: Self) -> Self {
        Marks(self.0 & other.0)
    }
}

impl Row {
    /// Adds `text` at the end.
    pub(super) fn push(&mut self, text: &str, marks: Marks, link: usize) {
        if text.is_empty() {
            return;
        }
        self.text.push_str(text);
        let end = self.text.len();
        match self.runs.last_mut() {
            Some(last) if last.marks == marks && (last.link == link || !marks.has(Mark::Link)) => last.end = end,
            _ => self.runs.push(Run { end, marks, link }),
        }
    }

    pub(super) fn is_code(&self) -> bool {
        matches!(self.kind, Kind::Code(_))
    }

    /// Takes white space away at both ends.
    pub(super) fn trim(&mut self) {
        self.text.truncate(self.text.trim_end().len());
        let leading = self.text.len() - self.text.trim_start().len();
        self.text.drain(..leading);
        let length = self.text.len();
        for run in &mut self.runs {
            run.end = run.end.saturating_sub(leading).min(length);
        }
        let mut start = 0;
        self.runs.retain(|run| std::mem::replace(&mut start, run.end) < run.end);
    }

    /// The runs with the places where they begin, within `window`.
    pub(super) fn runs_in(&self, window: Range<usize>) -> impl Iterator<Item = (Range<usize>, Run)> {
        let first = self.runs.partition_point(|run| run.end <= window.start);
        let mut start = window.start;
        self.runs[first..].iter().map_while(move |run| {
            let range = start..run.end.min(window.end);
            start = range.end;
            (range.start < range.end).then_some((range, *run))
        })
    }

    /// The longest parts of the text that have `mark`; a link's part is that of one link.
    pub(super) fn stretches(&self, mark: Mark) -> Vec<(Range<usize>, usize)> {
        let mut stretches: Vec<(Range<usize>, usize)> = Vec::new();
        for (range, run) in self.runs_in(0..self.text.len()).filter(|(_, run)| run.marks.has(mark)) {
            match stretches.last_mut() {
                Some((last, link)) if last.end == range.start && (mark != Mark::Link || *link == run.link) => {
                    last.end = range.end
                }
                _ => stretches.push((range, run.link)),
            }
        }
        stretches
    }

    /// Changes the marks within each of `ranges`, which are in order and apart from each other. `change` is told which of them it is.
    pub(super) fn change(&mut self, ranges: &[Range<usize>], change: impl Fn(usize, Marks) -> Marks) {
        if ranges.is_empty() {
            return;
        }
        let mut changed: Vec<Run> = Vec::with_capacity(self.runs.len() + 2 * ranges.len());
        let mut ranges = ranges.iter().enumerate().peekable();
        for (range, run) in self.runs_in(0..self.text.len()) {
            let mut start = range.start;
            while start < range.end {
                while ranges.next_if(|(_, ours)| ours.end <= start).is_some() {}
                let (end, marks) = match ranges.peek() {
                    Some((at, ours)) if ours.start <= start => (ours.end.min(range.end), change(*at, run.marks)),
                    Some((_, ours)) => (ours.start.min(range.end), run.marks),
                    None => (range.end, run.marks),
                };
                changed.push(Run { end, marks, ..run });
                start = end;
            }
        }
        self.runs = changed;
    }

    /// What `window` of the text consists of, in order: every mark that is opened is closed again, the last first.
    ///
    /// Of marks that begin together the one that lasts longest is opened first, so that none has to be closed and opened
    /// again within another unless they really overlap.
    pub(super) fn steps(&self, window: Range<usize>) -> Vec<Step> {
        let pieces: Vec<(Range<usize>, Run)> = self.runs_in(window).collect();
        let mut lasting = vec![[0usize; Mark::ALL.len()]; pieces.len()];
        for at in (0..pieces.len()).rev() {
            for mark in Mark::ALL {
                let goes_on = pieces.get(at + 1).is_some_and(|(_, next)| continues(mark, &pieces[at].1, next));
                lasting[at][mark as usize] = if goes_on { lasting[at + 1][mark as usize] } else { pieces[at].0.end };
            }
        }
        let mut steps = Vec::new();
        let mut open: Vec<(Mark, Run)> = Vec::new();
        for (at, (range, run)) in pieces.iter().enumerate() {
            let kept = open.iter().take_while(|(mark, before)| continues(*mark, before, run)).count();
            for (mark, _) in open.drain(kept..).rev() {
                steps.push(Step::Close(mark));
            }
            let mut begins: Vec<Mark> = Mark::ALL
                .into_iter()
                .filter(|mark| run.marks.has(*mark) && open.iter().all(|(opened, _)| opened != mark))
                .collect();
            begins.sort_by_key(|mark| std::cmp::Reverse(lasting[at][*mark as usize]));
            for mark in begins {
                steps.push(Step::Open { mark, link: run.link, range: range.start..lasting[at][mark as usize] });
                open.push((mark, *run));
            }
            steps.push(Step::Text(range.clone()));
        }
        steps.extend(open.into_iter().rev().map(|(mark, _)| Step::Close(mark)));
        steps
    }
}

fn continues(mark: Mark, before: &Run, next: &Run) -> bool {
    before.marks.has(mark) && next.marks.has(mark) && (mark != Mark::Link || before.link == next.link)
}

/// See [`Row::steps`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// `range` is what it is opened for, `link` the link's number if it is one.
    Open {
        mark: Mark,
        link: usize,
        range: Range<usize>,
    },
    Text(Range<usize>),
    Close(Mark),
}

/// Whether a reader sees nothing of it.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || is_invisible(c))
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
