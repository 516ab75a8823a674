//! Telegram: plain text, and beside it what its parts are.
//!
//! *Source* of the limits: core.telegram.org/api/entities (offsets and lengths in UTF-16 code units) and the Bot API's rules of
//! entities: code is neither in another nor has another in it, links do not contain each other, quotes neither.

use std::ops::Range;

use super::document::{Document, Kind, Mark, Marks, Row, Step};
use super::markup::{all_bold, web_address};
use super::split::{Dialect, Writing};
use super::{Entity, EntityKind};

pub(super) struct Telegram;

impl Dialect for Telegram {
    const LIMIT: usize = 4096;
    /// What a message has beyond that the server drops, and says nothing.
    const MOST_ENTITIES: Option<usize> = Some(100);
    const QUOTE: &'static str = "";

    fn units(text: &str) -> usize {
        text.encode_utf16().count()
    }

    fn link(address: &str) -> Option<String> {
        web_address(address).map(str::to_owned)
    }

    fn prepare(row: &mut Row) {
        if let Kind::Heading(_) = row.kind {
            all_bold(row);
        }
        for run in &mut row.runs {
            if run.marks.has(Mark::Link) {
                run.marks = run.marks.without(Mark::Code);
            } else if run.marks.has(Mark::Code) {
                run.marks = Marks::default().with(Mark::Code);
            }
        }
    }

    fn write(document: &Document, row: &Row, part: Range<usize>, _begins: bool, writing: &mut Writing) {
        let mut open = Vec::new();
        for step in row.steps(part) {
            match step {
                Step::Open { mark, link, .. } => {
                    open.push(writing.entities.len());
                    let kind = match mark {
                        Mark::Bold => EntityKind::Bold,
                        Mark::Italic => EntityKind::Italic,
                        Mark::Strike => EntityKind::Strike,
                        Mark::Code => EntityKind::Code,
                        Mark::Link => EntityKind::TextLink { url: document.links[link].clone() },
                    };
                    writing.entities.push(Entity { kind, offset: writing.units, length: 0 });
                }
                Step::Text(range) => writing.push::<Self>(&row.text[range]),
                Step::Close(_) => {
                    if let Some(entity) = open.pop().and_then(|at| writing.entities.get_mut(at)) {
                        entity.length = writing.units - entity.offset;
                    }
                }
            }
        }
    }

    fn fence(_language: &str) -> (String, &'static str) {
        (String::new(), "")
    }
}
