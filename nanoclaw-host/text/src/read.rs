//! Markdown to rows.
//!
//! The parser is CommonMark's with GitHub's tables, task lists and struck text. What a chat wants otherwise is decided here: a
//! line break is a line break, HTML is text, what is no Markdown stays as it is, and nothing that is read is lost.

use std::collections::HashMap;
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};

use super::document::{Document, Gap, Kind, Mark, Marks, Row, is_blank};
use super::literal::{is_literal, is_path_separator};
use super::table::Table;

/// What a horizontal rule is shown as.
const RULE: &str = "———";
/// Lists and quotes that are nested deeper look like this deep.
const DEEPEST_LIST: usize = 8;
const DEEPEST_QUOTE: usize = 4;
/// Markers of lists in one row. More than that stand in rows of their own, so that a row's prefix is bounded.
const LONGEST_MARKERS: usize = 32;
/// The longest name of a language that a fence keeps, in letters.
const LONGEST_LANGUAGE: usize = 32;

/// Reads `markdown`. `link` is how a service writes an address that a text can be linked to; `None` for one that it cannot, which is
/// then shown behind the text.
///
/// The document is empty if nothing of `markdown` can be seen, and only then.
pub(super) fn read(markdown: &str, link: fn(&str) -> Option<String>) -> Document {
    let source = without_control_characters(markdown);
    let document = Reader::new(&source, link).read();
    if document.rows.is_empty() && !is_blank(&source) { as_it_is(&source) } else { document }
}

/// Signs of Markdown alone, as `#` or two fences with nothing in between: whoever writes only that means the signs.
fn as_it_is(source: &str) -> Document {
    let mut document = Document::default();
    for line in source.lines().filter(|line| !is_blank(line)) {
        let mut row = Row::default();
        row.push(line.trim(), Marks::default(), 0);
        document.rows.push(row);
    }
    document
}

/// Every line break as `\n`; of other control characters only the tab is left, since services refuse or lose them.
fn without_control_characters(markdown: &str) -> String {
    let mut source = String::with_capacity(markdown.len());
    let mut characters = markdown.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => {
                characters.next_if_eq(&'\n');
                source.push('\n');
            }
            '\n' | '\t' => source.push(character),
            _ if character.is_control() => {}
            _ => source.push(character),
        }
    }
    source
}

struct Reader<'a> {
    source: &'a str,
    link: fn(&str) -> Option<String>,
    document: Document,
    /// The row that is being read; `begun` once something is in it.
    row: Row,
    begun: bool,
    /// Where what was read last ends in the source, for the gap before what comes next.
    shown: usize,
    /// Up to where the source is accounted for.
    covered: usize,
    /// Within a paragraph, heading, table, or block of code or HTML.
    in_leaf: bool,
    leaf_at: usize,
    kind: Kind,
    /// The number that an item would have next; `None` for a list without numbers.
    lists: Vec<Option<u64>>,
    /// Markers of items of which nothing was read yet, and where they begin.
    markers: String,
    markers_at: usize,
    quotes: usize,
    quote: usize,
    /// How many of each mark are open.
    open: [usize; Mark::ALL.len()],
    /// Emphasis that is open: `None`, or the sign if it stands for itself.
    emphasis: Vec<Option<&'a str>>,
    links: Vec<OpenLink>,
    /// The link that is open, if the service can link to it.
    link_now: Option<usize>,
    /// What was read since the outermost link or image was opened.
    link_text: String,
    table: Option<Table>,
    /// Where link definitions that are used begin and end.
    used: HashMap<usize, usize>,
}

/// A link or an image of which the text is being read.
struct OpenLink {
    address: String,
    /// Where its text begins in `link_text`.
    text_start: usize,
    is_linked: bool,
    /// Where it begins: which row, and where in it.
    row: usize,
    start: usize,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str, link: fn(&str) -> Option<String>) -> Self {
        Reader {
            source,
            link,
            document: Document::default(),
            row: Row::default(),
            begun: false,
            shown: 0,
            covered: 0,
            in_leaf: false,
            leaf_at: 0,
            kind: Kind::Text,
            lists: Vec::new(),
            markers: String::new(),
            markers_at: 0,
            quotes: 0,
            quote: 0,
            open: Default::default(),
            emphasis: Vec::new(),
            links: Vec::new(),
            link_now: None,
            link_text: String::new(),
            table: None,
            used: HashMap::new(),
        }
    }

    fn read(mut self) -> Document {
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
        let mut parser = Parser::new_ext(self.source, options).into_offset_iter();
        let events: Vec<(Event<'_>, Range<usize>)> = parser.by_ref().collect();
        for (event, _) in &events {
            if let Event::Start(Tag::Link { link_type, id, .. } | Tag::Image { link_type, id, .. }) = event
                && matches!(link_type, LinkType::Reference | LinkType::Collapsed | LinkType::Shortcut)
                && let Some(definition) = parser.reference_definitions().get(id)
            {
                self.used.insert(definition.span.start, definition.span.end);
            }
        }
        for (event, range) in events {
            self.event(event, range);
        }
        self.unused_definitions(self.source.len());
        self.end_row();
        self.document
    }

    fn event(&mut self, event: Event<'_>, range: Range<usize>) {
        if !self.in_leaf && !self.begun {
            self.unused_definitions(if matches!(event, Event::End(_)) { range.end } else { range.start });
        }
        match event {
            Event::Start(tag) => self.start(tag, range),
            Event::End(tag) => self.end(tag, range),
            Event::Text(text) => {
                if matches!(self.kind, Kind::Code(_)) {
                    return self.code(&text, range);
                }
                let escaped = range.start > self.shown && self.source.as_bytes()[range.start - 1] == b'\\';
                if escaped && is_path_separator(self.source, range.start - 1) {
                    self.text("\\", range.start - 1..range.start, self.marks());
                }
                self.text(&text, range, self.marks());
            }
            Event::Code(text) => self.text(&text, range, self.marks().with(Mark::Code)),
            Event::Html(text) | Event::InlineHtml(text) => self.lines(&text, range),
            Event::SoftBreak => self.line_break(range),
            Event::HardBreak => {
                if self.source[range.clone()].starts_with('\\') && is_path_separator(self.source, range.start) {
                    self.text("\\", range.start..range.start + 1, self.marks());
                }
                self.line_break(range);
            }
            Event::Rule => {
                self.end_row();
                self.text(RULE, range.clone(), Marks::default());
                self.end_row();
                self.covered = range.end;
            }
            Event::TaskListMarker(done) => self.text(if done { "[x] " } else { "[ ] " }, range, Marks::default()),
            // Options that are not asked for.
            Event::FootnoteReference(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.text(&text, range, self.marks())
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>, range: Range<usize>) {
        match tag {
            Tag::Emphasis => self.start_emphasis(Mark::Italic, range),
            Tag::Strong => self.start_emphasis(Mark::Bold, range),
            Tag::Strikethrough => self.start_emphasis(Mark::Strike, range),
            Tag::Link { dest_url, .. } => self.start_link(&dest_url, (self.link)(&dest_url), range),
            Tag::Image { dest_url, .. } => self.start_link(&dest_url, None, range),
            Tag::TableHead | Tag::TableRow => {
                self.covered = range.start;
                if let Some(table) = &mut self.table {
                    table.start_row();
                }
            }
            Tag::TableCell => {
                self.covered = range.end;
                if let Some(table) = &mut self.table {
                    table.start_cell();
                }
            }
            Tag::Table(_) => {
                self.start_leaf(&range);
                self.begin(range.start);
                self.table = Some(Table::default());
            }
            Tag::Heading { level, .. } => {
                self.start_leaf(&range);
                self.kind = Kind::Heading(level as usize);
            }
            Tag::CodeBlock(kind) => {
                self.start_leaf(&range);
                self.kind = Kind::Code(self.document.languages.len());
                self.document.languages.push(match kind {
                    CodeBlockKind::Fenced(info) => language(&info),
                    CodeBlockKind::Indented => String::new(),
                });
            }
            Tag::Paragraph | Tag::HtmlBlock => self.start_leaf(&range),
            Tag::List(number) => {
                self.end_row();
                self.lists.push(number);
                self.covered = range.start;
            }
            Tag::Item => self.start_item(range),
            Tag::BlockQuote(_) => {
                self.end_row();
                if self.quotes == 0 {
                    self.quote += 1;
                }
                self.quotes += 1;
                self.covered = range.start;
            }
            _ => self.end_row(),
        }
    }

    fn end(&mut self, tag: TagEnd, range: Range<usize>) {
        match tag {
            TagEnd::Emphasis => self.end_emphasis(Mark::Italic, range),
            TagEnd::Strong => self.end_emphasis(Mark::Bold, range),
            TagEnd::Strikethrough => self.end_emphasis(Mark::Strike, range),
            TagEnd::Link | TagEnd::Image => self.end_link(range),
            TagEnd::TableCell => {}
            TagEnd::TableHead | TagEnd::TableRow => {
                // What stands behind the last column is no cell for the parser.
                let rest = &self.source[self.covered.min(range.end)..range.end];
                if let Some(table) = &mut self.table {
                    for cell in rest.split('|').filter(|cell| !is_blank(cell)) {
                        table.start_cell();
                        table.push(cell, Marks::default(), 0);
                    }
                }
                self.covered = range.end;
            }
            TagEnd::Table => {
                let first = std::mem::take(&mut self.row);
                self.begun = false;
                if let Some(table) = self.table.take() {
                    table.rows(first, &mut self.document);
                }
                self.end_leaf(range);
            }
            TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::CodeBlock | TagEnd::HtmlBlock => self.end_leaf(range),
            TagEnd::Item => {
                self.end_row();
                self.markers_alone();
                self.covered = range.end;
            }
            TagEnd::List(_) => {
                self.end_row();
                self.lists.pop();
                self.covered = range.end;
            }
            TagEnd::BlockQuote(_) => {
                self.end_row();
                self.quotes -= 1;
                self.covered = range.end;
            }
            _ => self.end_row(),
        }
    }

    fn start_leaf(&mut self, range: &Range<usize>) {
        self.end_row();
        self.covered = range.start;
        self.in_leaf = true;
        self.leaf_at = range.start;
    }

    fn end_leaf(&mut self, range: Range<usize>) {
        self.end_row();
        while self.document.rows.pop_if(|row| row.is_code() && row.kind == self.kind && is_blank(&row.text)).is_some() {
        }
        let kind = std::mem::take(&mut self.kind);
        let is_empty = matches!(kind, Kind::Code(_)) && self.document.rows.last().is_none_or(|row| row.kind != kind);
        if is_empty && self.source[range.clone()].contains(char::is_alphanumeric) {
            // Words behind a fence with no code below are no language.
            self.lines(self.source[range.clone()].trim_end(), range.clone());
            self.end_row();
        }
        self.in_leaf = false;
        self.shown = self.shown.max(range.start + self.source[range.clone()].trim_end().len());
        self.covered = range.end;
    }

    fn start_item(&mut self, range: Range<usize>) {
        self.end_row();
        let item = self.source[range.start..].trim_start();
        let marker = match self.lists.last_mut() {
            Some(Some(next)) => {
                // As it was written, unless that would not count up, as in `1. 1. 1.`
                let digits = item.bytes().take_while(u8::is_ascii_digit).count();
                let number = item[..digits].parse::<u64>().unwrap_or(*next).max(*next);
                *next = number.saturating_add(1);
                format!("{number}{} ", if item[digits..].starts_with(')') { ')' } else { '.' })
            }
            _ => "- ".to_owned(),
        };
        if self.markers.len() + marker.len() > LONGEST_MARKERS {
            self.markers_alone();
        }
        if self.markers.is_empty() {
            self.markers_at = range.start;
            self.markers = self.indentation(self.lists.len().saturating_sub(1));
        }
        self.markers.push_str(&marker);
        self.covered = range.start;
    }

    /// An item, or several in each other, with nothing in it.
    fn markers_alone(&mut self) {
        if !self.markers.is_empty() {
            let at = self.markers_at;
            let end = at + self.source[at..].find('\n').unwrap_or(self.source.len() - at);
            self.begin(at);
            self.shown = self.shown.max(at + self.source[at..end].trim_end().len());
            self.row.prefix.truncate(self.row.prefix.trim_end().len());
            self.document.rows.push(std::mem::take(&mut self.row));
            self.begun = false;
        }
    }

    fn indentation(&self, depth: usize) -> String {
        "  ".repeat(depth.min(DEEPEST_LIST))
    }

    fn start_emphasis(&mut self, mark: Mark, range: Range<usize>) {
        if is_literal(self.source, range.start, range.end) {
            let length = if mark == Mark::Bold || self.source[range.start..].starts_with("~~") { 2 } else { 1 };
            let sign = &self.source[range.start..range.start + length];
            self.text(sign, range.start..range.start + length, self.marks());
            self.emphasis.push(Some(sign));
        } else {
            self.open[mark as usize] += 1;
            self.emphasis.push(None);
        }
    }

    fn end_emphasis(&mut self, mark: Mark, range: Range<usize>) {
        match self.emphasis.pop() {
            Some(Some(sign)) => self.text(sign, range.end - sign.len()..range.end, self.marks()),
            _ => self.open[mark as usize] -= 1,
        }
    }

    fn start_link(&mut self, address: &str, link: Option<String>, range: Range<usize>) {
        if !self.begun {
            self.begin(range.start);
        }
        self.covered = self.covered.max(range.start);
        let is_linked = link.is_some();
        if let Some(link) = link {
            self.link_now = Some(self.document.links.len());
            self.document.links.push(link);
            self.open[Mark::Link as usize] += 1;
        }
        let (row, start) = (self.document.rows.len(), self.row.text.len());
        self.links.push(OpenLink {
            address: address.to_owned(),
            text_start: self.link_text.len(),
            is_linked,
            row,
            start,
        });
    }

    fn end_link(&mut self, range: Range<usize>) {
        let Some(open) = self.links.pop() else { return };
        let address = open.address.strip_prefix("mailto:").unwrap_or(&open.address);
        let text = self.link_text[open.text_start..].trim();
        let (is_same, is_empty) = (text == address || text == open.address, is_blank(text));
        if open.is_linked {
            if is_same && self.table.is_none() && open.row == self.document.rows.len() {
                // Services recognise an address by themselves.
                let here = open.start..self.row.text.len();
                self.row.change(std::slice::from_ref(&here), |_, marks| marks.without(Mark::Link));
            }
            self.open[Mark::Link as usize] -= 1;
            self.link_now = None;
        }
        if is_empty {
            self.text(address, range.clone(), self.marks());
        } else if !open.is_linked && !is_same && !address.is_empty() {
            self.text(&format!(" ({address})"), range.clone(), Marks::default());
        }
        if self.links.is_empty() {
            self.link_text.clear();
        }
        self.seen(range.end);
    }

    /// What everything is that is read now.
    fn marks(&self) -> Marks {
        let open = Mark::ALL.into_iter().filter(|mark| self.open[*mark as usize] > 0);
        open.fold(Marks::default(), Marks::with)
    }

    fn text(&mut self, text: &str, range: Range<usize>, marks: Marks) {
        let link = self.link_now.unwrap_or(0);
        if !self.links.is_empty() {
            self.link_text.push_str(text);
        }
        if let Some(table) = &mut self.table {
            table.push(text, marks, link);
        } else {
            self.begin(range.start);
            self.row.push(text, marks, link);
        }
        self.seen(range.end);
    }

    /// Text that may have line breaks, as it is.
    fn lines(&mut self, text: &str, range: Range<usize>) {
        for (at, line) in text.split('\n').enumerate() {
            if at > 0 {
                self.line_break(range.clone());
            }
            if !line.is_empty() {
                self.text(line, range.clone(), self.marks());
            }
        }
    }

    fn code(&mut self, text: &str, range: Range<usize>) {
        for line in text.split_inclusive('\n') {
            self.begin(self.leaf_at);
            self.row.push(line.trim_end(), Marks::default(), 0);
            if line.ends_with('\n') {
                self.end_row();
            }
        }
        self.seen(range.end);
    }

    fn line_break(&mut self, range: Range<usize>) {
        self.seen(range.start);
        if let Some(table) = &mut self.table {
            table.push(" ", Marks::default(), 0);
        } else {
            self.end_row();
        }
    }

    fn seen(&mut self, end: usize) {
        self.shown = self.shown.max(self.source[..end].trim_end_matches('\n').len());
        self.covered = self.covered.max(end);
    }

    /// Begins a row with what is read at `at`, unless one is begun.
    fn begin(&mut self, at: usize) {
        if self.begun {
            return;
        }
        let markers = std::mem::take(&mut self.markers);
        if matches!(self.kind, Kind::Code(_)) && !markers.is_empty() {
            // A block of code begins a line of its own.
            self.markers = markers;
            let kind = std::mem::take(&mut self.kind);
            self.markers_alone();
            self.kind = kind;
            return self.begin(at);
        }
        let begins = if markers.is_empty() { at } else { self.markers_at };
        let between = &self.source[self.shown.min(begins)..begins];
        self.begun = true;
        self.row.kind = self.kind;
        let is_first =
            self.document.rows.last().is_none_or(|before| !self.row.is_code() || before.kind != self.row.kind);
        let is_apart = is_first && between.bytes().filter(|byte| *byte == b'\n').count() > 1;
        self.row.gap = if is_apart { Gap::Blank } else { Gap::Line };
        if self.row.is_code() {
            return;
        }
        self.row.quote = (self.quotes > 0).then_some(self.quote);
        self.row.prefix = "> ".repeat(self.quotes.saturating_sub(1).min(DEEPEST_QUOTE - 1));
        if markers.is_empty() {
            self.row.prefix += &self.indentation(self.lists.len());
        } else {
            self.row.prefix += &markers;
        }
    }

    fn end_row(&mut self) {
        if !std::mem::take(&mut self.begun) {
            return;
        }
        let mut row = std::mem::take(&mut self.row);
        if !row.is_code() {
            row.trim();
            if is_blank(&row.text) {
                // Its markers wait for what can be seen.
                if row.prefix.trim().ends_with(|c: char| "-.)".contains(c)) {
                    row.prefix.truncate(row.prefix.trim_end().len());
                    row.text.clear();
                    row.runs.clear();
                    self.document.rows.push(row);
                }
                return;
            }
        }
        self.document.rows.push(row);
    }

    /// Shows the link definitions between what is covered and `end` that no link uses: `[10:32]: hello` is one for Markdown, and would be lost.
    fn unused_definitions(&mut self, end: usize) {
        let mut at = self.covered;
        while at < end
            && let Some(found) = self.source[at..end].find('[')
        {
            let start = at + found;
            if let Some(used) = self.used.get(&start) {
                at = (*used).max(start + 1);
                continue;
            }
            let line_end = start + self.source[start..end].find('\n').unwrap_or(end - start);
            self.text(&self.source[start..line_end], start..line_end, Marks::default());
            self.end_row();
            at = line_end;
        }
        self.covered = self.covered.max(end);
    }
}

/// The language in a fence's first line: its first word, if it is a name.
fn language(info: &str) -> String {
    let word = info.split([' ', ',', '{', '\t']).next().unwrap_or_default();
    let is_name = word.chars().count() <= LONGEST_LANGUAGE
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "+-#._".contains(c));
    if is_name { word.to_owned() } else { String::new() }
}
