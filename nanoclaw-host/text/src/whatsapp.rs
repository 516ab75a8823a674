//! WhatsApp: signs around words, and no links but those it recognises itself.
//!
//! *Source*: WhatsApp's help, "How to format your messages". The limit is what its clients let people type; they count UTF-16 code
//! units.

use std::ops::Range;

use super::document::{Document, Row, Step};
use super::markup::{LOOKS_LIKE_BACKTICK, in_fence, prepare_without_escapes, sign};
use super::split::{Dialect, Writing};

pub(super) struct WhatsApp;

impl Dialect for WhatsApp {
    const LIMIT: usize = 65_536;
    const QUOTE: &'static str = "> ";

    fn units(text: &str) -> usize {
        text.encode_utf16().count()
    }

    fn link(_address: &str) -> Option<String> {
        None
    }

    fn prepare(row: &mut Row) {
        prepare_without_escapes(row);
    }

    fn write(_document: &Document, row: &Row, part: Range<usize>, _begins: bool, writing: &mut Writing) {
        if row.is_code() {
            return writing.push::<Self>(&in_fence(&row.text[part]));
        }
        for step in row.steps(part) {
            match step {
                Step::Open { mark, .. } | Step::Close(mark) => {
                    writing.push::<Self>(sign(mark).encode_utf8(&mut [0; 4]))
                }
                Step::Text(range) => writing.push::<Self>(&row.text[range].replace('`', LOOKS_LIKE_BACKTICK)),
            }
        }
    }

    fn fence(_language: &str) -> (String, &'static str) {
        ("```\n".to_owned(), "\n```")
    }
}
