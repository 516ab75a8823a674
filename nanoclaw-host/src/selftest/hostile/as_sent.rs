//! Reads what a server was sent as the strictest server would, and says what another one could read differently: the proof
//! that nothing was hidden in a request.

/// What is wrong with `bytes`, which one connection brought: nothing but one request to `host`, which may have broken off.
/// Empty when all is well.
pub(super) fn problems(bytes: &[u8], host: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = bytes;
    let mut requests = 0;
    while !rest.is_empty() {
        let (head, body) = match end_of_head(rest) {
            Some(end) => (&rest[..end], &rest[end + 4..]),
            None => {
                // The sender gave up in the middle.
                found.extend(lines_of(rest).err());
                break;
            }
        };
        requests += 1;
        let Ok(lines) = lines_of(head).map_err(|problem| found.push(problem)) else { break };
        let Ok(framing) = framing(&lines, host, &mut found) else { break };
        rest = match framing {
            Framing::Length(length) => body.get(length..).unwrap_or_default(),
            Framing::Chunks => match after_chunks(body) {
                Ok(rest) => rest,
                Err(problem) => {
                    found.push(problem);
                    break;
                }
            },
        };
    }
    if requests > 1 {
        found.push(format!("{requests} requests on one connection"));
    }
    found
}

enum Framing {
    Length(usize),
    Chunks,
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n")
}

/// The lines of a head; an `Err` when they could be split in another way.
fn lines_of(head: &[u8]) -> Result<Vec<String>, String> {
    let text = String::from_utf8_lossy(head).into_owned();
    let lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    match lines.iter().find(|line| line.contains(['\r', '\n', '\0'])) {
        Some(line) => Err(format!("a line that can be split in two ways: {line:?}")),
        None => Ok(lines),
    }
}

fn framing(lines: &[String], host: &str, found: &mut Vec<String>) -> Result<Framing, ()> {
    let first = lines.first().map(String::as_str).unwrap_or_default();
    let words: Vec<&str> = first.split(' ').collect();
    match words.as_slice() {
        [_, target, "HTTP/1.1"] if target.starts_with('/') || *target == "*" => {
            if target.starts_with("/smuggled") {
                found.push(format!("a request that was hidden in another: {first:?}"));
            }
        }
        _ => {
            found.push(format!("no request: {first:?}"));
            return Err(());
        }
    }
    let mut headers = Vec::new();
    for line in &lines[1..] {
        match line.split_once(':') {
            Some((name, value)) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            _ => found.push(format!("no header: {line:?}")),
        }
    }
    let of = |wanted: &str| -> Vec<&str> {
        headers.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
    };
    if of("host") != [host] {
        found.push(format!("the host {:?} in place of {host}", of("host")));
    }
    match (of("content-length").as_slice(), of("transfer-encoding").as_slice()) {
        ([], []) => Ok(Framing::Length(0)),
        ([], ["chunked"]) => Ok(Framing::Chunks),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|_| found.push(format!("the length {length}")))
        }
        (lengths, codings) => {
            found.push(format!("a body of lengths {lengths:?} and codings {codings:?}"));
            Err(())
        }
    }
}

/// What follows a body in chunks; nothing when it breaks off.
fn after_chunks(mut body: &[u8]) -> Result<&[u8], String> {
    loop {
        let Some(end) = body.windows(2).position(|two| two == b"\r\n") else { return Ok(&[]) };
        let size = String::from_utf8_lossy(&body[..end]).into_owned();
        // Our own client makes chunks without extensions.
        let length = match usize::from_str_radix(&size, 16) {
            Ok(length) if size.bytes().all(|byte| byte.is_ascii_hexdigit()) => length,
            _ => return Err(format!("a chunk of the size {size:?}")),
        };
        body = &body[end + 2..];
        if length == 0 {
            // Trailers, and the empty line.
            let Some(end) = body.windows(2).position(|two| two == b"\r\n") else { return Ok(&[]) };
            return if end == 0 { Ok(&body[2..]) } else { Err("a trailer".to_owned()) };
        }
        match body.get(length..length.saturating_add(2)) {
            Some(b"\r\n") => body = &body[length + 2..],
            Some(_) => return Err("a chunk that is longer than it says".to_owned()),
            None => return Ok(&[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_is_well_whole_or_broken_off() {
        for good in [
            "",
            "GET / HTTP/1.1\r\nhost: h\r\n\r\n",
            "POST /x?y HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 300\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n30\r\nabc",
            "POST / HTTP/1.1\r\nho",
        ] {
            assert_eq!(problems(good.as_bytes(), "h"), Vec::<String>::new(), "{good:?}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_told() {
        let hidden = "GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n";
        for (bad, problem) in [
            (format!("GET / HTTP/1.1\r\nhost: h\r\n\r\n{hidden}"), "hidden in another"),
            (format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx{hidden}"), "2 requests"),
            (
                "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
                "a body of lengths",
            ),
            ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned(), "a body of"),
            ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: +1\r\n\r\n".to_owned(), "a body of"),
            ("GET / HTTP/1.1\r\nhost: other\r\n\r\n".to_owned(), "in place of h"),
            ("GET / HTTP/1.1\r\nhost: h\r\nhost: h\r\n\r\n".to_owned(), "in place of h"),
            ("GET / HTTP/1.1\r\nhost: h\r\n x: folded\r\n\r\n".to_owned(), "no header"),
            ("GET / HTTP/1.1\r\nhost: h\r\nx: a\nb: c\r\n\r\n".to_owned(), "two ways"),
            ("GET http://other/ HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(), "no request"),
            (
                "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\n\r\n".to_owned(),
                "size \"1;x=y\"",
            ),
            (
                "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n".to_owned(),
                "longer than it says",
            ),
        ] {
            let found = problems(bad.as_bytes(), "h");
            assert!(found.iter().any(|one| one.contains(problem)), "{bad:?}: {found:?}");
        }
    }
}
