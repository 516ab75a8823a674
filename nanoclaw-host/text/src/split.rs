//! Rows to messages: as many rows in each as the service takes.
//!
//! A message ends at the end of a paragraph where one is far enough from its beginning, else at the end of a line, else within a line:
//! behind a sentence, a word, a grapheme, and, if a single grapheme is longer than a message, behind a code point. What is cut
//! is closed, and opened again in the next message. The same document gives the same messages, always.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::document::{Document, Gap, Kind, Row, is_blank};
use super::{Entity, EntityKind, Piece};

/// How a service writes rows.
pub(super) trait Dialect {
    /// The longest message, in units.
    const LIMIT: usize;
    /// The most entities that a message has; `None` for a service without any.
    const MOST_ENTITIES: Option<usize> = None;
    /// What a line of a quote begins with.
    const QUOTE: &'static str;

    /// How the service measures a text.
    fn units(text: &str) -> usize;

    /// How an address is written that a text is linked to; `None` if the service cannot do that.
    fn link(address: &str) -> Option<String>;

    /// Makes of a row what the service can show.
    fn prepare(row: &mut Row);

    /// Writes `part` of a row. `begins` says that nothing of the row was written before; the prefix is written already.
    fn write(document: &Document, row: &Row, part: Range<usize>, begins: bool, piece: &mut Writing);

    /// What stands before and behind a block of code.
    fn fence(language: &str) -> (String, &'static str);
}

/// A message that is being written.
#[derive(Debug, Default)]
pub(super) struct Writing {
    pub(super) text: String,
    /// Of `text`.
    pub(super) units: usize,
    pub(super) entities: Vec<Entity>,
}

impl Writing {
    pub(super) fn push<D: Dialect>(&mut self, text: &str) {
        self.text.push_str(text);
        self.units += D::units(text);
    }
}

/// A row or part of one.
#[derive(Debug, Clone)]
struct Part {
    row: usize,
    range: Range<usize>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    units: usize,
    entities: usize,
}

/// The messages for `document`, in order; none of them is empty.
pub(super) fn split<D: Dialect>(document: &Document) -> Vec<Piece> {
    Splitter::<D> {
        document,
        pieces: Vec::new(),
        parts: Vec::new(),
        costs: Vec::new(),
        dialect: std::marker::PhantomData,
    }
    .split()
}

struct Splitter<'a, D> {
    document: &'a Document,
    pieces: Vec<Piece>,
    /// What the next message has so far, and what it costs up to and with each part, all closed.
    parts: Vec<Part>,
    costs: Vec<Cost>,
    dialect: std::marker::PhantomData<D>,
}

impl<D: Dialect> Splitter<'_, D> {
    fn split(mut self) -> Vec<Piece> {
        let (mut row, mut from) = (0, 0);
        while let Some(next) = self.document.rows.get(row) {
            if self.parts.is_empty() && next.is_code() && is_blank(&next.text[from..]) {
                // No message begins with an empty line.
                (row, from) = (row + 1, 0);
                continue;
            }
            let part = Part { row, range: from..next.text.len() };
            if self.push_if_it_fits(&part) {
                (row, from) = (row + 1, 0);
                continue;
            }
            if let Some(end) = self.best_end(&part) {
                (row, from) = self.parts.get(end).map_or((row, from), |first| (first.row, first.range.start));
                self.finish(end);
            } else if let Some(cut) = self.cut(&part) {
                let fits = self.push_if_it_fits(&Part { row, range: from..cut.end });
                debug_assert!(fits, "what was measured does not fit");
                self.finish(self.parts.len());
                (row, from) = if cut.next < next.text.len() { (row, cut.next) } else { (row + 1, 0) };
            } else {
                let end = self.without_headings(self.parts.len());
                (row, from) = self.parts.get(end).map_or((row, from), |first| (first.row, first.range.start));
                self.finish(end);
            }
        }
        self.finish(self.parts.len());
        self.pieces
    }

    fn row(&self, part: &Part) -> &Row {
        &self.document.rows[part.row]
    }

    /// Adds `part` to the message, unless it is too long then.
    fn push_if_it_fits(&mut self, part: &Part) -> bool {
        // Not even looked at as a whole, if it is far too long: its rest comes again for every message.
        if longer_than(&self.row(part).text[part.range.clone()], D::LIMIT).is_some() {
            return false;
        }
        let cost = self.cost_with(part);
        let fits = Self::fits(cost);
        if fits {
            self.parts.push(part.clone());
            self.costs.push(cost);
        }
        fits
    }

    fn fits(cost: Cost) -> bool {
        cost.units <= D::LIMIT && D::MOST_ENTITIES.is_none_or(|most| cost.entities <= most)
    }

    /// What the message would cost with `part` at its end.
    fn cost_with(&self, part: &Part) -> Cost {
        let mut cost = self.costs.last().copied().unwrap_or_default();
        let row = self.row(part);
        let before = self.parts.last().map(|before| self.row(before));
        let goes_on = before.is_some_and(|before| before.is_code() && before.kind == row.kind);
        if before.is_some() {
            cost.units += D::units(row.gap.as_str());
        }
        if let Kind::Code(block) = row.kind
            && !goes_on
        {
            let (opens, closes) = D::fence(&self.document.languages[block]);
            cost.units += D::units(&opens) + D::units(closes);
            cost.entities += 1;
        }
        let mut writing = Writing::default();
        self.write(part, &mut writing);
        cost.units += writing.units;
        cost.entities += writing.entities.len() + usize::from(row.quote.is_some());
        cost
    }

    /// Writes a part without what stands around it.
    fn write(&self, part: &Part, writing: &mut Writing) {
        let row = self.row(part);
        let begins = part.range.start == 0;
        if row.quote.is_some() {
            writing.push::<D>(D::QUOTE);
        }
        if begins {
            writing.push::<D>(&row.prefix);
        }
        D::write(self.document, row, part.range.clone(), begins, writing);
    }

    /// Behind how many parts the message should end, if `next` has to wait for another one.
    ///
    /// A message is filled to a quarter at least, so that the work on a text grows with its length and nobody gets crumbs. No message ends
    /// with a heading.
    fn best_end(&self, next: &Part) -> Option<usize> {
        let ends = |gap: Option<Gap>| {
            (1..=self.parts.len()).rev().take_while(|end| self.costs[end - 1].units >= D::LIMIT / 4).find(|end| {
                let first = self.parts.get(*end).unwrap_or(next);
                gap.is_none_or(|gap| self.row(first).gap == gap) && self.without_headings(*end) == *end
            })
        };
        ends(Some(Gap::Blank)).or_else(|| ends(None))
    }

    /// `end`, or fewer, so that the last part is no heading; `end` if all are.
    fn without_headings(&self, end: usize) -> usize {
        let is_heading = |part: &&Part| matches!(self.row(part).kind, Kind::Heading(_));
        match end - self.parts[..end].iter().rev().take_while(is_heading).count() {
            0 => end,
            fewer => fewer,
        }
    }

    /// Where to cut `part` so that its beginning fits into the message; `None` if there is too little room, and another message has more.
    fn cut(&self, part: &Part) -> Option<Cut> {
        let row = self.row(part);
        let used = self.costs.last().map_or(0, |cost| cost.units);
        if used > D::LIMIT - D::LIMIT / 8 {
            return None;
        }
        let length = longer_than(&row.text[part.range.clone()], D::LIMIT).unwrap_or(part.range.len());
        let window = &row.text[part.range.start..part.range.start + length];
        let graphemes: Vec<usize> = window.grapheme_indices(true).map(|(at, _)| at).skip(1).collect();
        let fits = |end: &usize| {
            Self::fits(self.cost_with(&Part { row: part.row, range: part.range.start..part.range.start + *end }))
        };
        let longest = longest(&graphemes, fits).or_else(|| {
            let code_points: Vec<usize> =
                window.char_indices().map(|(at, _)| at).skip(1).chain([window.len()]).collect();
            // In an empty message there is room for one code point, whatever it is.
            self.parts.is_empty().then(|| longest(&code_points, fits).unwrap_or(code_points[0]))
        })?;
        let end = Some(preferred(window, &graphemes, longest, row.is_code())).filter(fits).unwrap_or(longest);
        if row.is_code() {
            return Some(Cut { end: part.range.start + window[..end].trim_end().len(), next: part.range.start + end });
        }
        let (written, rest) = (window[..end].trim_end().len(), &row.text[part.range.start + end..]);
        // White space at the cut is what the cut stands for.
        let cut = Cut {
            end: part.range.start + written,
            next: part.range.start + end + (rest.len() - rest.trim_start().len()),
        };
        (written > 0).then_some(cut)
    }

    /// Makes a message of the first `end` parts, and forgets the others.
    fn finish(&mut self, end: usize) {
        self.parts.truncate(end);
        while self
            .parts
            .last()
            .is_some_and(|part| self.row(part).is_code() && is_blank(&self.row(part).text[part.range.clone()]))
        {
            self.parts.pop();
        }
        let parts = std::mem::take(&mut self.parts);
        self.costs.clear();
        let is_seen = |part: &Part| {
            let row = self.row(part);
            !is_blank(&row.text[part.range.clone()]) || (part.range.start == 0 && !is_blank(&row.prefix))
        };
        if !parts.iter().any(is_seen) {
            return;
        }
        let mut writing = Writing::default();
        let mut quote: Option<(usize, usize)> = None;
        let mut block: Option<(usize, usize, &'static str)> = None;
        for (at, part) in parts.iter().enumerate() {
            let row = self.row(part);
            self.end_block(&mut block, row.kind, &mut writing);
            end_quote::<D>(&mut quote, row.quote, &mut writing);
            if at > 0 {
                writing.push::<D>(row.gap.as_str());
            }
            if let Kind::Code(number) = row.kind
                && block.is_none()
            {
                let (opens, closes) = D::fence(&self.document.languages[number]);
                writing.push::<D>(&opens);
                block = Some((number, writing.units, closes));
            }
            if let Some(number) = row.quote
                && quote.is_none()
            {
                quote = Some((number, writing.units));
            }
            let mut written = Writing::default();
            self.write(part, &mut written);
            let text = if at == 0 && !row.is_code() { written.text.trim_start() } else { &written.text };
            let trimmed = written.text.len() - text.len();
            let offset = writing.units;
            writing.push::<D>(text);
            writing.entities.extend(
                written
                    .entities
                    .into_iter()
                    .map(|entity| Entity { offset: entity.offset + offset - trimmed, ..entity }),
            );
        }
        self.end_block(&mut block, Kind::Text, &mut writing);
        end_quote::<D>(&mut quote, None, &mut writing);
        writing.entities.sort_by_key(|entity| (entity.offset, std::cmp::Reverse(entity.length)));
        self.pieces.push(Piece { text: writing.text, entities: writing.entities });
    }

    fn end_block(&self, block: &mut Option<(usize, usize, &'static str)>, next: Kind, writing: &mut Writing) {
        if let Some((number, offset, closes)) = *block
            && next != Kind::Code(number)
        {
            if D::MOST_ENTITIES.is_some() {
                let kind = EntityKind::Pre { language: self.document.languages[number].clone() };
                writing.entities.push(Entity { kind, offset, length: writing.units - offset });
            }
            writing.push::<D>(closes);
            *block = None;
        }
    }
}

fn end_quote<D: Dialect>(quote: &mut Option<(usize, usize)>, next: Option<usize>, writing: &mut Writing) {
    if let Some((number, offset)) = *quote
        && next != Some(number)
    {
        if D::MOST_ENTITIES.is_some() {
            writing.entities.push(Entity { kind: EntityKind::Blockquote, offset, length: writing.units - offset });
        }
        *quote = None;
    }
}

struct Cut {
    end: usize,
    /// Where the next part begins.
    next: usize,
}

/// Where `text` has `limit` code points, if it has more. No service counts less than one for a code point.
fn longer_than(text: &str, limit: usize) -> Option<usize> {
    text.char_indices().nth(limit).map(|(at, _)| at)
}

/// The last of `ends`, which rise, that `fits`. Found by halving: what is longer costs more, but for a sign or two.
fn longest(ends: &[usize], fits: impl Fn(&usize) -> bool) -> Option<usize> {
    let count = ends.partition_point(&fits);
    ends[..count].iter().copied().rfind(fits)
}

/// Behind a sentence or a word in the second half of what is before `longest`, or there.
fn preferred(window: &str, graphemes: &[usize], longest: usize, is_code: bool) -> usize {
    let (mut word, mut sentence, mut before) = (None, None, ' ');
    let second_half = graphemes.iter().copied().skip_while(|at| *at < longest / 2).take_while(|at| *at <= longest);
    for at in second_half {
        before = window[..at].chars().next_back().unwrap_or(before);
        if window[at..].starts_with(char::is_whitespace) {
            word = Some(at);
            if ".!?…".contains(before) {
                sentence = Some(at);
            }
        } else if "。！？".contains(before) {
            sentence = Some(at);
        }
    }
    if is_code { word.unwrap_or(longest) } else { sentence.or(word).unwrap_or(longest) }
}
