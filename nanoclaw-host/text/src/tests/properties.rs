//! What holds for any text.

use proptest::prelude::*;
use unicode_segmentation::UnicodeSegmentation;

use super::*;

fn limit(service: Service) -> usize {
    match service {
        Service::Telegram => 4096,
        Service::Slack => 4000,
        Service::Discord => 2000,
        Service::WhatsApp => 65_536,
    }
}

fn units(text: &str, service: Service) -> usize {
    match service {
        Service::Telegram | Service::WhatsApp => text.encode_utf16().count(),
        Service::Slack | Service::Discord => text.chars().count(),
    }
}

/// What holds for the messages of any text at all.
fn check(markdown: &str, service: Service) -> Vec<Piece> {
    let pieces = messages(markdown, service);
    for piece in &pieces {
        let length = units(&piece.text, service);
        assert!(length <= limit(service), "{length} units for {service:?}");
        assert!(!document::is_blank(&piece.text), "nothing to see in {:?}", piece.text);
        assert_eq!(piece.text.trim_end(), piece.text);
        if service == Service::Telegram {
            check_entities(piece);
        } else {
            assert!(piece.entities.is_empty());
            assert!(piece.text.matches("```").count().is_multiple_of(2), "fences in {:?}", piece.text);
        }
    }
    pieces
}

fn check_entities(piece: &Piece) {
    let units: Vec<u16> = piece.text.encode_utf16().collect();
    assert!(piece.entities.len() <= 100);
    let mut open: Vec<usize> = Vec::new();
    let mut before = (0, usize::MAX);
    for entity in &piece.entities {
        let (start, end) = (entity.offset, entity.offset + entity.length);
        assert!(start < end && end <= units.len(), "{entity:?} of {}", units.len());
        let is_half = |at: &usize| units.get(*at).is_some_and(|unit| (0xDC00..0xE000).contains(unit));
        assert!(!is_half(&start) && !is_half(&end), "{entity:?} cuts a surrogate pair");
        assert!(before.0 < start || before.1 >= entity.length, "{entity:?} is out of order");
        before = (start, entity.length);
        open.retain(|open| *open > start);
        assert!(open.iter().all(|open| *open >= end), "{entity:?} lies across another");
        open.push(end);
    }
}

/// Letters and digits in their order, which no formatting adds or takes away.
fn letters(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").chars().filter(|c| c.is_alphanumeric() && *c != 'ˋ').collect()
}

/// Whether a fence names the language of its code, which is no part of what is read.
fn names_a_language(text: &str) -> bool {
    let lines = text.lines().map(|line| line.trim_start_matches([' ', '>', '-']));
    lines
        .filter(|line| line.starts_with("```") || line.starts_with("~~~"))
        .any(|line| line.contains(char::is_alphanumeric))
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}", "[a-zA-Z0-9]{1,4}", "[а-яا-ي中文éß]{1,4}", Just("👩‍👩‍👧".to_owned())]
}

/// Words with signs around them, as agents write them and as they do not.
fn markdown() -> impl Strategy<Value = String> {
    let sign = prop_oneof![
        Just(" "),
        Just(" "),
        Just("\n"),
        Just("\n\n"),
        Just("*"),
        Just("**"),
        Just("_"),
        Just("__"),
        Just("~~"),
        Just("`"),
        Just("\n- "),
        Just("\n  - "),
        Just("\n> "),
        Just("\n# "),
        Just("\n\n```\n"),
        Just(" | "),
        Just("\n| "),
        Just("|---|---|\n"),
        Just("["),
        Just("] "),
        Just("<"),
        Just(">"),
        Just("\\"),
        Just("\n---\n"),
        Just(":"),
        Just("\u{200b}"),
    ];
    prop::collection::vec((word(), prop::collection::vec(sign, 1..4)), 0..60)
        .prop_map(|parts| parts.into_iter().map(|(word, signs)| word + &signs.concat()).collect())
}

fn plain_paragraph() -> impl Strategy<Value = String> {
    prop::collection::vec(word(), 1..80).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_at_all_is_cut_into_messages_that_services_take(text in any::<String>()) {
        for service in ALL {
            check(&text, service);
        }
    }

    #[test]
    fn every_letter_is_seen_once_and_in_its_order(text in markdown(), times in 1..40usize) {
        let text = text.repeat(times);
        prop_assume!(!names_a_language(&text));
        for service in ALL {
            let pieces = check(&text, service);
            let shown: String = pieces.iter().map(|piece| letters(&piece.text)).collect();
            prop_assert_eq!(shown, letters(&text), "{:?}", service);
        }
    }

    #[test]
    fn plain_text_within_the_limit_is_one_message_as_it_is(paragraphs in prop::collection::vec(plain_paragraph(), 1..4)) {
        let text = paragraphs.join("\n\n");
        for service in ALL {
            if units(&text, service) <= limit(service) {
                prop_assert_eq!(messages(&text, service), [Piece { text: text.clone(), entities: Vec::new() }]);
            }
        }
    }

    #[test]
    fn no_grapheme_is_cut(words in prop::collection::vec(prop_oneof![Just("🏳️‍🌈"), Just("e\u{301}"), Just("नि"), Just("🇩🇪"), Just("x"), Just("한")], 1500..3000)) {
        let text = words.concat();
        let whole: Vec<&str> = text.graphemes(true).collect();
        let pieces = check(&text, Service::Discord);
        let again: Vec<&str> = pieces.iter().flat_map(|piece| piece.text.graphemes(true)).collect();
        prop_assert_eq!(again, whole);
    }
}

/// Texts that cost a careless reader or cutter the square of their length, or worse.
const HOSTILE: [&str; 28] = [
    "word ",
    "*",
    "_a",
    "**a *b ",
    "[",
    "![",
    "> ",
    "- ",
    "1. ",
    "`",
    "` ``",
    "|",
    "| a |\n",
    "\\",
    "<a ",
    "&",
    "\n",
    " \n",
    "```\n",
    "a\u{301}",
    "[a]: b\n",
    "[a](b",
    "*a *",
    "~~a ~~",
    "x*(",
    "- a\n\n",
    "# a\n",
    "👩‍👩‍👧",
];

#[test]
fn a_hostile_text_is_cut_as_any_other() {
    for part in HOSTILE {
        let text = part.repeat((1 << 15) / part.len());
        for service in ALL {
            check(&text, service);
        }
    }
}

#[test]
fn a_megabyte_is_cut_in_bounded_time() {
    for part in ["A sentence of words. ", "[", "> ", "| a |\n"] {
        let text = part.repeat((1 << 20) / part.len());
        assert!(!check(&text, Service::Discord).is_empty());
    }
}

#[test]
fn deep_nesting_is_shown_and_does_not_overflow_the_stack() {
    for (opens, closes) in [(">", ""), ("[", "]"), ("- ", ""), ("*a ", "*"), ("![", "](b)"), ("1. ", ""), ("> - ", "")]
    {
        let text = format!("{}here{}", opens.repeat(10_000), closes.repeat(10_000));
        for service in ALL {
            let pieces = check(&text, service);
            assert!(pieces.iter().any(|piece| piece.text.contains("here")), "{service:?} of {opens}");
        }
    }
}
