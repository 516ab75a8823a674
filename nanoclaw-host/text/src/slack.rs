//! Slack: mrkdwn.
//!
//! *Source*: docs.slack.dev, "Formatting message text" (what is escaped, and that nothing else can be); `chat.postMessage` (a text is cut at
//! 40,000 letters); Slack's advice to clients to send no more than 4000, which we take for the limit: a longer one is hard to read.
//!
//! An agent pings nobody: `<!channel>`, `<!here>` and `<@U…>` begin with a sign that is escaped, addresses are the web's alone, and
//! `@channel` without it is plain text as long as the request has neither `parse` nor `link_names`.

use std::ops::Range;

use super::document::{Document, Mark, Row, Step};
use super::markup::{LOOKS_LIKE_BACKTICK, in_fence, prepare_without_escapes, sign, web_address_without};
use super::split::{Dialect, Writing};

pub(super) struct Slack;

impl Dialect for Slack {
    const LIMIT: usize = 4000;
    const QUOTE: &'static str = "> ";

    /// Code points, with the escapes: which of the two Slack counts it does not say, and this is the more.
    fn units(text: &str) -> usize {
        text.chars().count()
    }

    fn link(address: &str) -> Option<String> {
        web_address_without(address, "|<>`\"").map(|address| escape(&address)).filter(|address| address.len() <= 1500)
    }

    fn prepare(row: &mut Row) {
        prepare_without_escapes(row);
        // Within the text of a link signs are only signs. What all of it is can stand around it.
        let links: Vec<Range<usize>> = row.stretches(Mark::Link).into_iter().map(|(range, _)| range).collect();
        let common: Vec<_> = links
            .iter()
            .map(|link| {
                row.runs_in(link.clone())
                    .map(|(_, run)| run.marks)
                    .reduce(|all, marks| all.and(marks))
                    .unwrap_or_default()
                    .without(Mark::Code)
            })
            .collect();
        row.change(&links, |at, _| common[at]);
    }

    fn write(document: &Document, row: &Row, part: Range<usize>, _begins: bool, writing: &mut Writing) {
        if row.is_code() {
            return writing.push::<Self>(&escape(&in_fence(&row.text[part])));
        }
        for step in row.steps(part) {
            match step {
                Step::Open { mark: Mark::Link, link, .. } => {
                    writing.push::<Self>(&format!("<{}|", document.links[link]))
                }
                Step::Close(Mark::Link) => writing.push::<Self>(">"),
                Step::Open { mark, .. } | Step::Close(mark) => {
                    writing.push::<Self>(sign(mark).encode_utf8(&mut [0; 4]))
                }
                Step::Text(range) => writing.push::<Self>(&escape(&row.text[range]).replace('`', LOOKS_LIKE_BACKTICK)),
            }
        }
    }

    fn fence(_language: &str) -> (String, &'static str) {
        ("```\n".to_owned(), "\n```")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
