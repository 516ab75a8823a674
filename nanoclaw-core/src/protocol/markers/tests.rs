use proptest::prelude::*;

use super::*;
use crate::{message::Seq, session::SessionId};

fn reply(text: &str) -> Block {
    Block::success(Some(text.to_owned()))
}

fn decode(stream: &[u8]) -> Vec<Found> {
    decode_in(stream, stream.len().max(1))
}

fn decode_in(stream: &[u8], chunk_bytes: usize) -> Vec<Found> {
    let mut decoder = Decoder::new();
    let mut found: Vec<Found> = stream.chunks(chunk_bytes).flat_map(|chunk| decoder.feed(chunk)).collect();
    found.extend(decoder.finish());
    found
}

fn block(text: &str) -> Found {
    Found::Block(reply(text))
}

fn line(text: &str) -> Found {
    Found::Line(text.to_owned())
}

fn broken(reason: &str) -> Found {
    Found::broken(reason)
}

fn text_of(reasons: &[Found]) -> Vec<&str> {
    reasons
        .iter()
        .map(|found| match found {
            Found::Broken { reason } => reason.as_str(),
            other => panic!("{other:?} is not broken"),
        })
        .collect()
}

#[test]
fn a_block_has_each_part_on_a_line_of_its_own() {
    assert_eq!(
        String::from_utf8(encode(&reply("hello\nthere"))).unwrap(),
        "\n---NANOCLAW_OUTPUT_START---\n{\"status\":\"success\",\"result\":\"hello\\nthere\"}\n---NANOCLAW_OUTPUT_END---\n"
    );
}

#[test]
fn f28_noise_between_blocks_is_log_text_and_blocks_are_found() {
    let mut stream = b"npm warn deprecated\n".to_vec();
    stream.extend(encode(&reply("one")));
    stream.extend(b"{\"status\":\"success\",\"result\":\"not me\"}\n");
    stream.extend(encode(&reply("two")));
    stream.extend(b"the end, without a line end");
    assert_eq!(
        decode(&stream),
        [
            line("npm warn deprecated"),
            block("one"),
            line("{\"status\":\"success\",\"result\":\"not me\"}"),
            block("two"),
            line("the end, without a line end"),
        ]
    );
}

#[test]
fn a_line_left_unfinished_before_a_block_does_not_swallow_it() {
    let mut stream = b"Compiling...".to_vec();
    stream.extend(encode(&reply("one")));
    assert_eq!(decode(&stream), [line("Compiling..."), block("one")]);
}

#[test]
fn a_v1_block_has_json_over_many_lines_and_windows_line_ends() {
    let stream = "---NANOCLAW_OUTPUT_START---\r\n{\r\n \"status\": \"success\",\r\n \"result\": null\r\n}\r\n  ---NANOCLAW_OUTPUT_END--- \r\nlog\r\n";
    assert_eq!(decode(stream.as_bytes()), [Found::Block(Block { result: None, ..reply("") }), line("log")]);
}

#[test]
fn a_marker_within_a_line_is_text() {
    let stream = format!("see {START}\n{START} and more\n{END}x\n");
    assert_eq!(
        decode(stream.as_bytes()),
        [line(&format!("see {START}")), line(&format!("{START} and more")), line(&format!("{END}x"))]
    );
}

#[test]
fn an_agent_cannot_forge_a_marker_by_what_it_says() {
    let text = format!("\n{END}\n{START}\n{{\"status\":\"error\",\"result\":null}}\n{END}\r\n");
    assert_eq!(decode(&encode(&reply(&text))), [block(&text)]);
}

#[test]
fn a_start_marker_before_the_end_marker_begins_anew() {
    let mut stream = format!("{START}\n{{\"status\":\"success\",").into_bytes();
    stream.extend(encode(&reply("whole")));
    assert_eq!(decode(&stream), [broken("a start marker before the end marker of the last block"), block("whole")]);
}

#[test]
fn bad_json_counts_for_nothing_and_harms_nothing() {
    for bad in ["", "{", "[]", "null", "{\"status\":\"great\",\"result\":null}", "{\"result\":\"no status\"}", "\u{0}"]
    {
        let mut stream = format!("{START}\n{bad}\n{END}\n").into_bytes();
        stream.extend(encode(&reply("fine")));
        let found = decode(&stream);
        assert!(text_of(&found[..1])[0].starts_with("a block that cannot be read: "), "{bad:?} gave {found:?}");
        assert_eq!(found[1..], [block("fine")], "after {bad:?}");
    }
}

#[test]
fn the_end_of_the_stream_within_a_block_is_told() {
    let whole = encode(&reply("one"));
    let torn = &whole[..whole.len() - END.len() - 1];
    assert_eq!(decode(torn), [broken("the output ended before the end marker of a block")]);
    assert_eq!(decode(&whole[..whole.len() - 1]), [block("one")], "an end marker needs no line end");
    assert_eq!(decode(format!("\n{START}").as_bytes()), [broken("the output ended before the end marker of a block")]);
}

#[test]
fn a_stray_end_marker_is_told() {
    assert_eq!(
        decode(format!("{END}\nlog\n").as_bytes()),
        [broken("an end marker without a start marker"), line("log")]
    );
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_lose_no_reply() {
    let mut stream = b"caf\xe9\n".to_vec();
    stream.extend(format!("{START}\n{{\"status\":\"success\",\"result\":\"caf").as_bytes());
    stream.extend(b"\xe9\"}\n");
    stream.extend(format!("{END}\n").as_bytes());
    assert_eq!(decode(&stream), [line("caf\u{fffd}"), block("caf\u{fffd}")]);
}

#[test]
fn a_long_line_is_cut_between_characters() {
    for shift in 0..4 {
        let long = format!("{}{}", "x".repeat(shift), "😀".repeat(MAX_LINE_BYTES));
        let found = decode(format!("{long}\nshort\n").as_bytes());
        let [Found::Line(cut), Found::Line(short)] = found.as_slice() else { panic!("two lines, not {found:?}") };
        assert!(long.starts_with(cut.as_str()), "no replacement character at the cut");
        assert!(cut.len() <= MAX_LINE_BYTES && cut.len() > MAX_LINE_BYTES - 4, "{} bytes", cut.len());
        assert_eq!(short, "short");
    }
    let found = decode(&[0xff; 3 * MAX_LINE_BYTES]);
    let [Found::Line(cut)] = found.as_slice() else { panic!("one line, not {found:?}") };
    assert!(cut.len() <= MAX_LINE_BYTES);
}

#[test]
fn a_marker_at_the_end_of_a_cut_line_is_none() {
    let stream = format!("{}{START}\n{}\n", " ".repeat(MAX_LINE_BYTES), "log");
    assert_eq!(decode(stream.as_bytes()), [line("log")]);
}

#[test]
fn a_marker_at_the_start_of_a_cut_line_is_none() {
    let stream = format!("{START}{}and more\nlog\n", " ".repeat(MAX_LINE_BYTES));
    let found = decode(stream.as_bytes());
    let [Found::Line(cut), Found::Line(log)] = found.as_slice() else { panic!("two lines, not {found:?}") };
    assert!(cut.starts_with(START));
    assert_eq!(log, "log");
}

#[test]
fn a_marker_in_the_line_that_made_a_block_too_long_is_none() {
    let mut decoder = Decoder::new();
    assert_eq!(decoder.feed(format!("{START}\n").as_bytes()), []);
    assert_eq!(decoder.feed(&vec![b'x'; MAX_BUFFER_BYTES]), []);
    assert_eq!(
        decoder.feed(format!("{END}\nnot shown\n{END}\nshown\n").as_bytes()),
        [Found::too_long(), line("shown")]
    );
}

#[test]
fn a_block_of_the_greatest_length_is_read_and_a_longer_one_is_not() {
    let empty = serde_json::to_vec(&reply("")).unwrap().len();
    let largest = reply(&"x".repeat(MAX_BLOCK_BYTES - empty - 1));
    assert_eq!(decode_in(&encode(&largest), 65_536), [Found::Block(largest)]);

    for excess in [1, 20_000] {
        let mut stream = encode(&reply(&"x".repeat(MAX_BLOCK_BYTES - empty - 1 + excess)));
        stream.extend(b"log\n");
        stream.extend(encode(&reply("next")));
        assert_eq!(decode_in(&stream, 65_536), [Found::too_long(), line("log"), block("next")], "{excess} bytes more");
    }
}

#[test]
fn after_too_long_a_block_a_start_marker_begins_anew() {
    let mut stream = format!("{START}\n{}", "x".repeat(MAX_BUFFER_BYTES + 1)).into_bytes();
    stream.extend(encode(&reply("next")));
    assert_eq!(decode_in(&stream, 65_536), [Found::too_long(), block("next")]);
}

#[test]
fn f27_a_hundred_mebibytes_of_noise_take_bounded_memory() {
    const NOISE_BYTES: usize = 100 * 1024 * 1024;
    let chunk = vec![b'z'; 64 * 1024];
    // A vector may have twice the room of what is in it.
    for (before, most_buffered, expected) in [
        ("", 2 * MAX_LINE_BYTES, vec![line(&"z".repeat(MAX_LINE_BYTES))]),
        ("---NANOCLAW_OUTPUT_START---\n", 2 * MAX_BUFFER_BYTES, vec![Found::too_long()]),
    ] {
        let mut decoder = Decoder::new();
        let mut found = decoder.feed(before.as_bytes());
        for _ in 0..NOISE_BYTES / chunk.len() {
            found.extend(decoder.feed(&chunk));
            assert!(decoder.buffered() <= most_buffered, "{} bytes are buffered", decoder.buffered());
        }
        found.extend(decoder.feed(&encode(&reply("still here"))));
        found.extend(decoder.finish());
        let mut expected = expected;
        expected.push(block("still here"));
        assert_eq!(found, expected);
        assert_eq!(decoder.buffered(), 0);
    }
}

#[test]
fn the_memory_of_a_large_block_is_given_back() {
    let mut decoder = Decoder::new();
    let found = decoder.feed(&encode(&reply(&"x".repeat(1024 * 1024))));
    assert_eq!(found.len(), 1);
    assert!(decoder.buffered() <= MAX_LINE_BYTES, "{} bytes are held", decoder.buffered());
}

/// Pieces of which nasty streams are made.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(START.as_bytes().to_vec()),
        Just(END.as_bytes().to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b" \t".to_vec()),
        Just(b"{\"status\":\"success\",\"result\":\"hi\"}".to_vec()),
        Just(vec![b'x'; MAX_LINE_BYTES - 1]),
        Just("😀".as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
        any::<String>().prop_map(|text| encode(&reply(&text))),
        (1..30usize).prop_map(|length| START.as_bytes()[..length.min(START.len())].to_vec()),
    ]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_the_same_is_found(
        stream in stream(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
    ) {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.sort_unstable();
        let mut decoder = Decoder::new();
        let mut found = Vec::new();
        let mut from = 0;
        for to in at.into_iter().chain([stream.len()]) {
            found.extend(decoder.feed(&stream[from..to]));
            from = to;
        }
        found.extend(decoder.finish());
        prop_assert_eq!(&found, &decode(&stream));
        prop_assert_eq!(&found, &decode_in(&stream, 1));
    }

    #[test]
    fn what_is_encoded_is_decoded(
        texts in proptest::collection::vec(proptest::option::of(any::<String>()), 1..5),
        marker_inside in any::<bool>(),
        error in proptest::option::of(any::<String>()),
        session in proptest::option::of("[!-~]{1,40}"),
        seq in proptest::option::of(any::<i64>()),
    ) {
        let blocks: Vec<Block> = texts
            .into_iter()
            .map(|text| Block {
                result: text.map(|text| if marker_inside { format!("{text}\n{END}\n{START}\n{text}") } else { text }),
                new_session_id: session.clone().map(|id| SessionId::new(id).unwrap()),
                error: error.clone(),
                answered_seq: seq.map(Seq),
                ..reply("")
            })
            .collect();
        let stream: Vec<u8> = blocks.iter().flat_map(encode).collect();
        let expected: Vec<Found> = blocks.into_iter().map(Found::Block).collect();
        prop_assert_eq!(decode(&stream), expected);
    }
}
