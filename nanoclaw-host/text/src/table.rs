//! Tables, which no chat service has.
//!
//! One that is narrow is a block of code with its columns aligned, as long as nothing in it is a link. Any other has a line for
//! each row, the one with the columns' names too: `first: second, third`.

use unicode_width::UnicodeWidthStr;

use super::document::{Document, Kind, Mark, Marks, Row};

/// The widest table that is shown as code, in columns. A telephone held upright shows about as many.
const WIDEST: usize = 48;
/// What is between two columns.
const BETWEEN: &str = "  ";

/// A table that is being read. The first row has the columns' names.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<Row>>,
}

impl Table {
    pub(super) fn start_row(&mut self) {
        self.rows.push(Vec::new());
    }

    pub(super) fn start_cell(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.push(Row::default());
        }
    }

    pub(super) fn push(&mut self, text: &str, marks: Marks, link: usize) {
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.last_mut()) {
            cell.push(text, marks, link);
        }
    }

    /// Adds the table to `document`. `first` is where it begins: the gap, the quote and the list's marker.
    pub(super) fn rows(mut self, first: Row, document: &mut Document) {
        for cell in self.rows.iter_mut().flatten() {
            cell.trim();
        }
        let is_empty = |row: &[Row]| row.iter().all(|cell| cell.text.is_empty());
        let has_names = self.rows.first().is_some_and(|row| !is_empty(row));
        self.rows.retain(|row| !is_empty(row));
        match self.widths() {
            Some(widths) => self.into_code(first, &widths, has_names, document),
            None => self.into_lines(first, document),
        }
    }

    /// How wide each column is, if the table is narrow enough to be code, and can be.
    fn widths(&self) -> Option<Vec<usize>> {
        let mut widths = Vec::new();
        for (at, cell) in self.rows.iter().flat_map(|row| row.iter().enumerate()) {
            if cell.runs.iter().any(|run| run.marks.has(Mark::Link)) || cell.text.contains("://") {
                return None;
            }
            if widths.len() <= at {
                widths.resize(at + 1, 0);
            }
            widths[at] = widths[at].max(cell.text.width());
        }
        let width = widths.iter().sum::<usize>() + BETWEEN.len() * widths.len().saturating_sub(1);
        (width <= WIDEST && widths.len() > 1).then_some(widths)
    }

    fn into_code(self, first: Row, widths: &[usize], has_names: bool, document: &mut Document) {
        let block = document.languages.len();
        document.languages.push(String::new());
        let mut gap = first.gap;
        if !first.prefix.trim().is_empty() {
            // A list's marker stands alone: a block of code begins a line of its own.
            let prefix = first.prefix.trim_end().to_owned();
            document.rows.push(Row { prefix, ..first });
            gap = Default::default();
        }
        let line: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        for (at, row) in self.rows.into_iter().enumerate() {
            let mut text = String::new();
            for (cell, width) in row.iter().zip(widths) {
                text.push_str(&cell.text);
                text.extend(std::iter::repeat_n(' ', width - cell.text.width() + BETWEEN.len()));
            }
            let mut code = Row { kind: Kind::Code(block), gap: std::mem::take(&mut gap), ..Row::default() };
            code.push(text.trim_end(), Marks::default(), 0);
            document.rows.push(code);
            if at == 0 && has_names {
                let mut code = Row { kind: Kind::Code(block), ..Row::default() };
                code.push(&line.join(BETWEEN), Marks::default(), 0);
                document.rows.push(code);
            }
        }
    }

    fn into_lines(self, first: Row, document: &mut Document) {
        let indentation = " ".repeat(first.prefix.len());
        let quote = first.quote;
        let mut next = Some(first);
        for cells in self.rows {
            let mut row = next.take().unwrap_or_else(|| Row { quote, prefix: indentation.clone(), ..Row::default() });
            let filled = cells.iter().enumerate().filter(|(_, cell)| !cell.text.is_empty());
            for (written, (at, cell)) in filled.enumerate() {
                if written > 0 {
                    row.push(if written == 1 && !cells[0].text.is_empty() { ": " } else { ", " }, Marks::default(), 0);
                }
                for (range, run) in cell.runs_in(0..cell.text.len()) {
                    let marks = if at == 0 && cells.len() > 1 { run.marks.with(Mark::Bold) } else { run.marks };
                    row.push(&cell.text[range], marks, run.link);
                }
            }
            document.rows.push(row);
        }
        // A list's marker stays, even with nothing behind it.
        document.rows.extend(next.filter(|row| !row.prefix.trim().is_empty()));
    }
}
