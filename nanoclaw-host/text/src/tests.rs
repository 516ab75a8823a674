use super::*;

mod properties;

const ALL: [Service; 4] = [Service::Telegram, Service::Slack, Service::Discord, Service::WhatsApp];

/// The texts of the messages, with Telegram's entities as tags.
fn shown(markdown: &str, service: Service) -> Vec<String> {
    messages(markdown, service).iter().map(with_tags).collect()
}

fn with_tags(piece: &Piece) -> String {
    let units: Vec<u16> = piece.text.encode_utf16().collect();
    let mut tagged = String::new();
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut entities = piece.entities.iter().peekable();
    let mut plain = 0;
    for at in 0..=units.len() {
        let ends = open.iter().rev().take_while(|(end, _)| *end == at).count();
        if ends > 0 || entities.peek().is_some_and(|entity| entity.offset == at) {
            tagged += &String::from_utf16(&units[plain..at]).expect("no entity cuts a surrogate pair in two");
            plain = at;
        }
        for (_, tag) in open.drain(open.len() - ends..).rev() {
            tagged += &format!("</{tag}>");
        }
        while let Some(entity) = entities.next_if(|entity| entity.offset == at) {
            let (opens, tag) = match &entity.kind {
                EntityKind::Bold => ("b".to_owned(), "b"),
                EntityKind::Italic => ("i".to_owned(), "i"),
                EntityKind::Strike => ("s".to_owned(), "s"),
                EntityKind::Code => ("code".to_owned(), "code"),
                EntityKind::Pre { language } => (format!("pre {language}").trim_end().to_owned(), "pre"),
                EntityKind::TextLink { url } => (format!("a {url}"), "a"),
                EntityKind::Blockquote => ("quote".to_owned(), "quote"),
            };
            tagged += &format!("<{opens}>");
            open.push((at + entity.length, tag.to_owned()));
        }
    }
    tagged + &String::from_utf16(&units[plain..]).expect("nothing is cut in two")
}

/// One message of one service for each line: Markdown, Telegram, Slack, Discord, WhatsApp.
#[track_caller]
fn assert_shown(examples: &[[&str; 5]]) {
    for [markdown, expected @ ..] in examples {
        for (service, expected) in ALL.into_iter().zip(expected) {
            assert_eq!(shown(markdown, service), [*expected], "{service:?} of {markdown:?}");
        }
    }
}

/// Read as it is in every service: with nothing around it, and in Discord with no sign but such as are escaped.
#[track_caller]
fn assert_unchanged(texts: &[&str]) {
    for text in texts {
        for service in ALL {
            let seen: Vec<String> = shown(text, service);
            let seen = if service == Service::Discord {
                seen.iter().map(|seen| without_escapes(seen)).collect()
            } else {
                seen
            };
            assert_eq!(seen, [*text], "{service:?}");
        }
    }
}

fn without_escapes(text: &str) -> String {
    let mut characters = text.chars().peekable();
    let mut seen = String::new();
    while let Some(character) = characters.next() {
        let escaped = if character == '\\' { characters.next_if(char::is_ascii_punctuation) } else { None };
        seen.push(escaped.unwrap_or(character));
    }
    seen
}

#[test]
fn emphasis_code_and_links_are_each_services_own() {
    assert_shown(&[
        ["**bold**", "<b>bold</b>", "*bold*", "**bold**", "*bold*"],
        ["*italic*", "<i>italic</i>", "_italic_", "_italic_", "_italic_"],
        ["~~gone~~", "<s>gone</s>", "~gone~", "~~gone~~", "~gone~"],
        ["`code`", "<code>code</code>", "`code`", "`code`", "`code`"],
        ["***both***", "<b><i>both</i></b>", "*_both_*", "**_both_**", "*_both_*"],
        ["**a `b` c**", "<b>a </b><code>b</code><b> c</b>", "*a `b` c*", "**a `b` c**", "*a `b` c*"],
        [
            "[docs](https://x.org/a?b=1&c=2)",
            "<a https://x.org/a?b=1&c=2>docs</a>",
            "<https://x.org/a?b=1&amp;c=2|docs>",
            "[docs](https://x.org/a?b=1&c=2)",
            "docs (https://x.org/a?b=1&c=2)",
        ],
        [
            "**[docs](https://x.org)**",
            "<b><a https://x.org>docs</a></b>",
            "*<https://x.org|docs>*",
            "**[docs](https://x.org)**",
            "*docs* (https://x.org)",
        ],
        [
            "<https://x.org/a_b_>",
            "https://x.org/a_b_",
            "https://x.org/a_b_",
            "https://x.org/a_b_",
            "https://x.org/a_b_",
        ],
        ["[https://x.org](https://x.org)", "https://x.org", "https://x.org", "https://x.org", "https://x.org"],
        ["[notes](notes.md)", "notes (notes.md)", "notes (notes.md)", "notes (notes.md)", "notes (notes.md)"],
        ["<me@x.org>", "me@x.org", "me@x.org", "me@x.org", "me@x.org"],
        [
            "![cat](https://x.org/c.png)",
            "cat (https://x.org/c.png)",
            "cat (https://x.org/c.png)",
            "cat (https://x.org/c.png)",
            "cat (https://x.org/c.png)",
        ],
    ]);
}

#[test]
fn blocks_are_each_services_own() {
    assert_shown(&[
        ["# Title\n\ntext", "<b>Title</b>\n\ntext", "*Title*\n\ntext", "# Title\n\ntext", "*Title*\n\ntext"],
        ["##### Deep", "<b>Deep</b>", "*Deep*", "### Deep", "*Deep*"],
        ["> said\n> twice", "<quote>said\ntwice</quote>", "> said\n> twice", "> said\n> twice", "> said\n> twice"],
        ["> a\n> > b", "<quote>a\n> b</quote>", "> a\n> > b", "> a\n> > b", "> a\n> > b"],
        [
            "```rust\nfn a() {\n    b\n}\n```",
            "<pre rust>fn a() {\n    b\n}</pre>",
            "```\nfn a() {\n    b\n}\n```",
            "```rust\nfn a() {\n    b\n}\n```",
            "```\nfn a() {\n    b\n}\n```",
        ],
        ["a\n\n---\n\nb", "a\n\n———\n\nb", "a\n\n———\n\nb", "a\n\n———\n\nb", "a\n\n———\n\nb"],
        [
            "- a\n  - *b*\n    1. c\n- [x] d",
            "- a\n  - <i>b</i>\n    1. c\n- [x] d",
            "- a\n  - _b_\n    1. c\n- [x] d",
            "- a\n  - _b_\n    1. c\n- [x] d",
            "- a\n  - _b_\n    1. c\n- [x] d",
        ],
        [
            "- a\n  ```sh\n  ls\n  ```\n- b",
            "- a\n<pre sh>ls</pre>\n- b",
            "- a\n```\nls\n```\n- b",
            "- a\n```sh\nls\n```\n- b",
            "- a\n```\nls\n```\n- b",
        ],
    ]);
}

#[test]
fn what_is_no_markdown_is_seen_unchanged_in_every_service() {
    assert_unchanged(&[
        "one\ntwo\n\nthree",
        "snake_case_names",
        "2*3*4 = 24",
        "2 * 3 * 4",
        "- a dash\n- another",
        "Shopping:\n- milk\n- bread",
        "3. three\n5. five",
        "https://x.org/_a_/b__c__?d=*e*",
        "see https://x.org/a_b_c, please",
        "5 ~ 6, ~/a and ~/b",
        "a | b || c",
        "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
        "שלום עולם, مرحبا",
        "#hashtag and @channel",
        "[10:32]: hello",
        "[a]: b\n\nand more",
        "1986. A great year",
        "it costs 5$, or 6%",
        "-",
    ]);
}

#[test]
fn what_a_service_would_take_for_formatting_is_kept_from_it() {
    assert_shown(&[
        ["<tag> & co", "<tag> & co", "&lt;tag&gt; &amp; co", "<tag> & co", "<tag> & co"],
        ["\\*no\\*", "*no*", "`*no*`", "\\*no\\*", "`*no*`"],
        [
            "a /b/__init__.py c",
            "a /b/__init__.py c",
            "a `/b/__init__.py` c",
            "a /b/\\_\\_init\\_\\_.py c",
            "a `/b/__init__.py` c",
        ],
        ["C:\\dir\\.git", "C:\\dir\\.git", "C:\\dir\\.git", "C:\\\\dir\\\\.git", "C:\\dir\\.git"],
        ["\\\\server\\share", "\\\\server\\share", "\\\\server\\share", "\\\\\\\\server\\\\share", "\\\\server\\share"],
        ["a**b**c", "a**b**c", "`a**b**c`", "a\\*\\*b\\*\\*c", "`a**b**c`"],
        ["a __dunder", "a __dunder", "a __dunder", "a \\_\\_dunder", "a __dunder"],
        ["\\# no", "# no", "# no", "\\# no", "# no"],
        ["a \\`b", "a `b", "a ˋb", "a \\`b", "a ˋb"],
        ["``a`b``", "<code>a`b</code>", "`aˋb`", "``a`b``", "`aˋb`"],
        ["||a||", "||a||", "||a||", "\\|\\|a\\|\\|", "||a||"],
        ["中文**粗体**中文", "中文<b>粗体</b>中文", "中文*粗体*中文", "中文**粗体**中文", "中文*粗体*中文"],
        ["**API**s", "<b>API</b>s", "APIs", "**API**s", "APIs"],
        ["**2*3**", "<b>2*3</b>", "2*3", "**2\\*3**", "2*3"],
    ]);
}

#[test]
fn nobody_is_pinged_in_slack() {
    for (markdown, expected) in [
        ("<!channel> <!here> <@U123> @channel", "&lt;!channel&gt; &lt;!here&gt; &lt;@U123&gt; @channel"),
        ("[all](!channel) [you](@U123)", "all (!channel) you (@U123)"),
        ("[all](<!channel>)", "all (!channel)"),
        ("[x](https://x.org/|<!here>)", "<https://x.org/%7C%3C!here%3E|x>"),
        ("`<!channel>`", "`&lt;!channel&gt;`"),
        ("```\n<!channel>\n```", "```\n&lt;!channel&gt;\n```"),
        ("![<!channel>](<!here>)", "&lt;!channel&gt; (!here)"),
    ] {
        assert_eq!(shown(markdown, Service::Slack), [expected], "{markdown}");
    }
}

#[test]
fn a_narrow_table_is_aligned_as_code_and_a_wide_one_a_line_a_row() {
    let narrow = "| Name | Price |\n|---|--:|\n| **Tea** | 2 |\n| Coffee | 10 |";
    let code = "Name    Price\n------  -----\nTea     2\nCoffee  10";
    assert_eq!(shown(narrow, Service::Telegram), [format!("<pre>{code}</pre>")]);
    assert_eq!(shown(narrow, Service::Slack), [format!("```\n{code}\n```")]);
    let linked = "| Name | Where | Stock |\n|---|---|---|\n| Tea | [shop](https://x.org) | 3 |";
    assert_shown(&[[
        linked,
        "<b>Name</b>: Where, Stock\n<b>Tea</b>: <a https://x.org>shop</a>, 3",
        "*Name*: Where, Stock\n*Tea*: <https://x.org|shop>, 3",
        "**Name**: Where, Stock\n**Tea**: [shop](https://x.org), 3",
        "*Name*: Where, Stock\n*Tea*: shop (https://x.org), 3",
    ]]);
    let long = "word ".repeat(12);
    let wide = format!("| A | B |\n|---|---|\n| x | {long} |");
    assert_eq!(shown(&wide, Service::Slack), [format!("*A*: B\n*x*: {}", long.trim_end())]);
}

#[test]
fn what_stands_behind_a_tables_last_column_is_not_lost() {
    assert_eq!(shown("| A | B |\n|---|---|\n| 1 | 2 | 3 |", Service::Slack), ["```\nA  B\n-  -  -\n1  2  3\n```"]);
}

#[test]
fn wide_letters_keep_a_tables_columns_aligned() {
    assert_eq!(
        shown("| A | B |\n|---|---|\n| 茶 | 1 |\n| x | 2 |", Service::Telegram),
        ["<pre>A   B\n--  -\n茶  1\nx   2</pre>"]
    );
}

#[test]
fn nothing_to_see_is_no_message_and_signs_alone_are_one() {
    for service in ALL {
        for nothing in ["", " \n\t\n", "\u{200b}\u{feff}"] {
            assert_eq!(messages(nothing, service), [], "{nothing:?}");
        }
        for signs in ["#", ">", "```\n```"] {
            assert_eq!(messages(signs, service).len(), 1, "{signs:?}");
        }
    }
}

#[test]
fn words_behind_an_empty_fence_are_not_lost() {
    assert_eq!(shown("Run\n\n```ls -la\n```", Service::Telegram), ["Run\n\n```ls -la\n```"]);
}

#[test]
fn a_link_definition_that_a_link_uses_is_not_seen_and_any_other_is() {
    let text = "See [docs][1] and [x].\n\n[1]: https://x.org\n[2]: https://y.org\n[2]: again";
    assert_eq!(shown(text, Service::Discord), ["See [docs](https://x.org) and [x].\n\n[2]: https://y.org\n[2]: again"]);
}

#[test]
fn a_message_ends_with_a_paragraph() {
    let paragraph = "word ".repeat(150);
    let text = [paragraph.trim_end(); 5].join("\n\n");
    let pieces = shown(&text, Service::Discord);
    assert_eq!(pieces.len(), 3);
    assert_eq!(pieces.join("\n\n"), text);
}

#[test]
fn a_long_paragraph_is_cut_behind_a_sentence_and_a_long_sentence_behind_a_word() {
    let sentences = "Here is one more sentence of it. ".repeat(100);
    let pieces = shown(sentences.trim_end(), Service::Discord);
    assert!(pieces.iter().all(|piece| piece.ends_with('.')), "{pieces:?}");
    assert_eq!(pieces.join(" "), sentences.trim_end());
    let words = "word ".repeat(1000);
    let pieces = shown(words.trim_end(), Service::Discord);
    assert_eq!(pieces.join(" "), words.trim_end());
}

#[test]
fn a_word_longer_than_a_message_is_cut_between_graphemes() {
    let family = "👩‍👩‍👧‍👦".repeat(1000);
    for service in ALL {
        let pieces = messages(&family, service);
        assert!(pieces.iter().all(|piece| piece.text.starts_with('👩') && piece.text.ends_with('👦')));
        assert_eq!(pieces.iter().map(|piece| piece.text.as_str()).collect::<String>(), family);
    }
    let one_grapheme = format!("e{}", "\u{301}".repeat(10_000));
    assert_eq!(shown(&one_grapheme, Service::Discord).concat(), one_grapheme);
}

#[test]
fn code_that_is_cut_is_closed_and_opened_again_with_its_language() {
    let line = "    let x = 1; // and a comment behind it\n";
    let code = format!("```rust\n{}```\n\nDone.", line.repeat(100));
    let pieces = shown(&code, Service::Discord);
    assert!(pieces.len() > 2);
    for piece in &pieces[..pieces.len() - 1] {
        assert!(piece.starts_with("```rust\n    let") && piece.ends_with("it\n```"), "{piece}");
    }
    assert!(pieces[pieces.len() - 1].ends_with("```\n\nDone."));
    let pieces = shown(&code, Service::Telegram);
    assert!(pieces[0].starts_with("<pre rust>    let") && pieces[1].starts_with("<pre rust>    let"), "{pieces:?}");
}

#[test]
fn formatting_that_is_cut_goes_on_in_the_next_message() {
    let text = format!("**{}**", "bold word ".repeat(500).trim_end());
    for (service, opens, closes) in
        [(Service::Telegram, "<b>", "</b>"), (Service::Slack, "*", "*"), (Service::Discord, "**", "**")]
    {
        let pieces = shown(&text, service);
        assert!(pieces.len() > 1);
        assert!(
            pieces.iter().all(|piece| piece.starts_with(opens) && piece.ends_with(closes)),
            "{service:?} {pieces:?}"
        );
    }
}

#[test]
fn no_message_ends_with_a_heading() {
    for length in 1500..2000 {
        let text = format!("{}\n\n## Heading\n\n{}", "x".repeat(length), "word ".repeat(200));
        let pieces = shown(&text, Service::Discord);
        assert!(pieces.iter().all(|piece| !piece.ends_with("Heading")), "{length}");
    }
}

#[test]
fn telegram_gets_no_more_entities_than_it_takes() {
    let text = "**a** b ".repeat(150);
    let pieces = messages(&text, Service::Telegram);
    assert_eq!(pieces.iter().map(|piece| piece.entities.len()).sum::<usize>(), 150);
    assert!(pieces.iter().all(|piece| piece.entities.len() <= 100));
}

#[test]
fn asterisks_of_nanoclaw_v1_are_italic() {
    assert_eq!(shown("*Reminder*: call", Service::WhatsApp), ["_Reminder_: call"]);
}
