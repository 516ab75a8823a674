//! Through the gateway: with some hosts and one further upstream allowed, everything that might make more of them.
//!
//! What the hosts at the other end were really told is the judge's to say; here is what came back.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nanoclaw_core::protocol::hostile::{ALLOWED, Outcome, REACHED, Reach, SMUGGLED, canaries};

use super::{Attack, Tries as _, Try, ambiguous, client_hello, has, spellings};

/// How long the first byte of an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long more of an answer may take, once there is some.
const SILENCE: Duration = Duration::from_millis(700);
/// The most of an answer that is read.
const MOST_BYTES: usize = 256 * 1024;
/// How long it asks the same without end.
const FLOOD: Duration = Duration::from_secs(3);
/// Fewer connections than the gateway serves at a time, and more.
const FEW_CONNECTIONS: usize = 40;
const MANY_CONNECTIONS: usize = 200;

pub(super) fn run(attack: &mut Attack) {
    let (Some(socket), Some(reach)) = (attack.places.gateway.clone(), attack.orders.reach.clone()) else {
        attack.tries("an allowed host", |_| Outcome::Absent("nothing is allowed".to_owned()));
        return;
    };
    let door = Door { socket, reach };
    allowed(attack, &door);
    // What takes longest begins first.
    let tries = [changing, hidden, names_in_tls, targets, upstreams, heads].into_iter().flat_map(|some| some(&door));
    attack.tries_all(tries.collect());
    // Last, because the gateway has enough of us then.
    floods(attack, &door);
}

/// The gateway, and what is behind it.
struct Door {
    socket: PathBuf,
    reach: Reach,
}

/// What it may do: without that, nothing else here would show anything.
fn allowed(attack: &mut Attack, door: &Door) {
    let reach = &door.reach;
    let host = &reach.allowed;
    let works = |answer: Vec<u8>, how: &str| match has(&answer, ALLOWED) {
        true => Outcome::Allowed(how.to_owned()),
        false => Outcome::Succeeded(format!("what is allowed does not work: {}", first_words(&answer))),
    };
    attack.tries("allowed: TLS to its own name on port 443", |_| {
        works(door.tunnel(&format!("{host}:443"), host, &client_hello::naming(&[host])), "as configured")
    });
    attack.tries("allowed: anything on another port that is listed", |_| {
        let target = format!("{host}:{}", Reach::PLAIN_PORT);
        works(door.tunnel(&target, host, b"SSH-2.0-attacker\r\n"), "as configured")
    });
    attack.tries("allowed: plain HTTP", |_| {
        works(door.say(get(&format!("http://{host}/"), host, "").as_bytes()), "as configured")
    });
    attack.tries("allowed: its further upstream", |_| {
        let answer = door.say(get(&format!("/upstream/{}/desk", reach.upstream), "x", "").as_bytes());
        match (status(&answer).as_str(), canaries(&answer).is_empty()) {
            ("200", true) => Outcome::Allowed("answered, and nothing of its credential came back".to_owned()),
            (_, false) => Outcome::Succeeded("the credential came back".to_owned()),
            (other, true) => Outcome::Succeeded(format!("what is allowed does not work: answered {other}")),
        }
    });
}

/// Other hosts and ports, in every spelling.
fn targets(door: &Door) -> Vec<Try<'_>> {
    let mut all = Vec::new();
    let reach = &door.reach;
    for target in spellings::refused(reach) {
        all.tries(format!("CONNECT {}", shown(&target)), move || {
            let hello = client_hello::naming(&[&reach.allowed]);
            refused(&door.tunnel(&target, &reach.allowed, &hello))
        });
    }
    for host in spellings::refused_for_http(reach) {
        all.tries(format!("plain HTTP to {}", shown(&host)), move || {
            refused(&door.say(get(&format!("http://{host}/latest/meta-data/"), &reach.allowed, "").as_bytes()))
        });
    }
    for target in spellings::the_same(reach) {
        all.tries(format!("CONNECT {}, which is the allowed host", shown(&target)), move || {
            nowhere_else(&door.tunnel(&target, &reach.other, &client_hello::naming(&[&reach.allowed])))
        });
    }
    for host in [reach.other.clone(), "169.254.169.254".to_owned(), "localhost".to_owned(), "x\u{0}y".to_owned()] {
        all.tries(format!("the allowed host with the header host: {}", shown(&host)), move || {
            nowhere_else(&door.say(get(&format!("http://{}/", reach.allowed), &host, "").as_bytes()))
        });
    }
    all.tries("a redirect to metadata", move || {
        let answer = door.say(get(&format!("http://{}/redirect", reach.allowed), &reach.allowed, "").as_bytes());
        match (status(&answer).as_str(), has(&answer, REACHED)) {
            ("302", false) => {
                // The client follows, and is refused as any other.
                refused(&door.say(get("http://169.254.169.254/latest/meta-data/", "x", "").as_bytes()))
            }
            (code, _) => Outcome::Succeeded(format!("it was followed: {code}")),
        }
    });
    all
}

/// TLS that names another host than the tunnel's.
fn names_in_tls(door: &Door) -> Vec<Try<'_>> {
    let mut all = Vec::new();
    let (allowed, other) = (door.reach.allowed.as_str(), door.reach.other.as_str());
    let with_nul = format!("{allowed}\0.{other}");
    let below = format!("x.{allowed}");
    let long = format!("{}.{allowed}", "a".repeat(300));
    let mut both = client_hello::naming(&[other]);
    both.extend(client_hello::naming(&[allowed]));
    for (name, words) in [
        ("another host", client_hello::naming(&[other])),
        ("a host below the allowed one", client_hello::naming(&[&below])),
        ("a name with a zero in it", client_hello::naming(&[&with_nul])),
        ("a name of 300 letters", client_hello::naming(&[&long])),
        ("an address", client_hello::naming(&["169.254.169.254"])),
        ("no host", client_hello::naming(&[])),
        ("an empty name", client_hello::naming(&[""])),
        ("two hosts, the allowed one first", client_hello::naming(&[allowed, other])),
        ("two hosts, the allowed one last", client_hello::naming(&[other, allowed])),
        ("two extensions with a host", client_hello::twice(allowed, other)),
        ("another host, in records of one byte", client_hello::in_records_of(1, &client_hello::naming(&[other]))),
        ("another host, and the allowed one in a second message", both),
        (
            "an empty record before another host",
            [&[22, 3, 1, 0, 0], client_hello::naming(&[other]).as_slice()].concat(),
        ),
        ("plain HTTP on port 443", get("/", other, "").into_bytes()),
        ("an SSL 2 message", vec![0x80, 0x2e, 1, 0, 2, 0, 21, 0, 0, 0, 16]),
        ("an alert first", [&[21, 3, 1, 0, 2, 1, 0], client_hello::naming(&[other]).as_slice()].concat()),
        ("half a message, and then silence", client_hello::naming(&[allowed])[..40].to_vec()),
    ] {
        for port in [443, Reach::PLAIN_PORT] {
            // What is no TLS may pass where the port is not that of TLS.
            if port != 443 && (words[0] != 22 || name.starts_with("half")) {
                continue;
            }
            let words = words.clone();
            all.tries(format!("TLS on port {port} that names {name}"), move || {
                let answer = door.tunnel(&format!("{allowed}:{port}"), allowed, &words);
                match has(&answer, ALLOWED) || has(&answer, REACHED) {
                    true => Outcome::Succeeded("it was passed on".to_owned()),
                    false => Outcome::Refused(first_words(&answer)),
                }
            });
        }
    }
    all
}

/// A name that is public when it is asked about, and somewhere else a moment later.
fn changing(door: &Door) -> Vec<Try<'_>> {
    let mut all = Vec::new();
    let reach = &door.reach;
    let host = &reach.changing;
    let judge = |answers: Vec<Vec<u8>>| {
        let reached = answers.iter().filter(|answer| has(answer, REACHED)).count();
        let (through, all) = (answers.iter().filter(|answer| has(answer, ALLOWED)).count(), answers.len());
        match reached {
            0 => Outcome::Refused(format!("{through} of {all} were carried, each to a public address")),
            _ => Outcome::Succeeded(format!("{reached} of {all} led where nobody may")),
        }
    };
    all.tries("a name that changes its answer, by CONNECT", move || {
        let hello = client_hello::naming(&[host]);
        judge((0..=reach.answers).map(|_| door.tunnel(&format!("{host}:443"), host, &hello)).collect())
    });
    all.tries("a name that changes its answer, by plain HTTP", move || {
        judge((0..=reach.answers).map(|_| door.say(get(&format!("http://{host}/"), host, "").as_bytes())).collect())
    });
    all.tries("a name that changes its answer, twice on one connection", move || {
        let twice =
            format!("GET http://{host}/ HTTP/1.1\r\nhost: {host}\r\n\r\n{}", get(&format!("http://{host}/"), host, ""));
        judge((0..=reach.answers / 2).map(|_| door.say(twice.as_bytes())).collect())
    });
    all.tries("a name that changes its answer, many at the same time", move || {
        judge(std::thread::scope(|scope| {
            let ask =
                || (0..4).map(|_| door.say(get(&format!("http://{host}/"), host, "").as_bytes())).collect::<Vec<_>>();
            let workers: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        }))
    });
    all
}

/// Requests that hide another one, to everybody who can be asked.
fn hidden(door: &Door) -> Vec<Try<'_>> {
    let mut all = Vec::new();
    let reach = &door.reach;
    for (whom, target, host) in [
        ("an allowed host", format!("http://{}/first", reach.allowed), reach.allowed.as_str()),
        ("the model API", "/v1/messages".to_owned(), "x"),
        ("its further upstream", format!("/upstream/{}/desk/first", reach.upstream), "x"),
    ] {
        for (name, request) in ambiguous::requests(&target, host, &reach.allowed) {
            all.tries(format!("to {whom}, hidden: {name}"), move || nowhere_else(&door.say(&request)));
        }
    }
    for (name, second) in [
        ("to metadata", get("http://169.254.169.254/latest/meta-data/", "x", "")),
        ("to a host that is not listed", get(&format!("http://{}/", reach.other), &reach.allowed, "")),
        (
            "a tunnel to a host that is not listed",
            format!("CONNECT {0}:443 HTTP/1.1\r\nhost: {0}\r\n\r\n", reach.other),
        ),
        ("to another group's upstream", get(&format!("/upstream/{}/desk", reach.foreign_upstream), "x", "")),
    ] {
        let first = format!("GET http://{0}/ HTTP/1.1\r\nhost: {0}\r\n\r\n", reach.allowed);
        let both = format!("{first}{second}");
        all.tries(format!("a second request on the connection of an allowed one, {name}"), move || {
            nowhere_else(&door.say(both.as_bytes()))
        });
        all.tries(format!("in a tunnel, a second request {name}"), move || {
            let target = format!("{}:{}", reach.allowed, Reach::PLAIN_PORT);
            nowhere_else(&door.tunnel(&target, &reach.allowed, second.as_bytes()))
        });
    }
    all
}

/// Further upstreams: another group's, and its own beyond what it may ask.
fn upstreams(door: &Door) -> Vec<Try<'_>> {
    let mut all = Vec::new();
    let reach = &door.reach;
    let (own, foreign) = (&reach.upstream, &reach.foreign_upstream);
    let mut paths: Vec<String> = [
        "",
        "/",
        "/other",
        "/desk/../other",
        "/desk/..",
        "/desk/./x",
        "/desk//x",
        "/desk/%2e%2e/other",
        "/desk/%2E./x",
        "/desk%2f..%2fother",
        "/desk;x=1/../other",
        "/desk/..;/other",
        "/desk\\..\\other",
        "/desk%5c..%5cother",
        "/desk%00",
        "/deskother",
        "/DESK",
        "/%64esk/../x",
        "//desk",
        "/desk%3b/x",
        "/desk%25%32%65",
        "?/desk",
        "/desk/%252e%252e/x",
    ]
    .map(|path| format!("/upstream/{own}{path}"))
    .into();
    for path in [
        format!("/upstream/{foreign}/desk"),
        format!("/upstream/{}/desk", foreign.to_uppercase()),
        format!("/upstream/{own}/../{foreign}/desk"),
        format!("/upstream/./{foreign}/desk"),
        format!("/upstream//{foreign}/desk"),
        format!("/upstream/%{:x}{}/desk", foreign.as_bytes()[0], &foreign[1..]),
        format!("/upstream/{own}%2f..%2f{foreign}/desk"),
        format!("/upstream/{own}@{foreign}/desk"),
        format!("http://127.0.0.1:8788/upstream/{foreign}/desk"),
        format!("/upstream/../upstream/{foreign}/desk"),
    ] {
        paths.push(path);
    }
    for path in paths {
        all.tries(format!("upstream {}", shown(&path)), move || refused(&door.say(get(&path, "x", "").as_bytes())));
    }
    let desk = format!("/upstream/{own}/desk");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"] {
        let lines = format!("{method} {desk} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        all.tries(format!("its upstream by {method}"), move || refused(&door.say(lines.as_bytes())));
    }
    for (name, lines) in [
        ("a credential of its own", "authorization: Bearer stolen\r\n"),
        ("the credential's header named as the connection's", "connection: authorization, host\r\n"),
        ("another method by a header", "x-http-method-override: DELETE\r\n"),
        ("another host by headers", "x-forwarded-host: other\r\nforwarded: host=other\r\nx-original-url: /other\r\n"),
        ("the gateway's own mark", "x-nanoclaw-gateway: allowed\r\n"),
    ] {
        let request = get(&desk, "x", lines);
        all.tries(format!("its upstream with {name}"), move || nowhere_else(&door.say(request.as_bytes())));
    }
    all.tries("its upstream, which sends it on to metadata", move || {
        let answer = door.say(get(&format!("{desk}/redirect"), "x", "").as_bytes());
        match status(&answer).as_str() {
            "302" if canaries(&answer).is_empty() => Outcome::Refused("it is not followed".to_owned()),
            code => Outcome::Succeeded(format!("it was followed: {code}")),
        }
    });
    for address in &reach.upstream_addresses {
        for host in [address.to_string(), format!("localhost:{}", address.port())] {
            let url = format!("http://{host}/base/other");
            all.tries(format!("past the gateway's paths: {url}"), move || {
                refused(&door.say(get(&url, "x", "").as_bytes()))
            });
            all.tries(format!("past the gateway's paths: CONNECT {host}"), move || {
                refused(&door.tunnel(&host, &host, b"GET"))
            });
        }
    }
    all
}

/// Heads that no reader should take.
fn heads(door: &Door) -> Vec<Try<'_>> {
    let mut all = Vec::new();
    let reach = &door.reach;
    let url = format!("http://{}/", reach.allowed);
    let host = &reach.allowed;
    for (name, request) in [
        ("a header of a mebibyte", get(&url, host, &format!("x-huge: {}\r\n", "a".repeat(1 << 20)))),
        ("ten thousand headers", get(&url, host, &"x-many: 1\r\n".repeat(10_000))),
        ("an address of 128 KiB", get(&format!("{url}{}", "a".repeat(128 << 10)), host, "")),
        ("a host of 100,000 letters", get(&format!("http://{}.{host}/", "a".repeat(100_000)), host, "")),
        ("a header's name with a space", get(&url, host, "x y: z\r\n")),
        ("a header without a name", get(&url, host, ": z\r\n")),
        ("a header with a zero", get(&url, host, "x: a\0b\r\n")),
        ("two blanks before the version", format!("GET {url}  HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")),
        (
            "a line end in the path",
            format!("GET {url}\r\nx-injected: 1 HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
        ),
        ("a bare carriage return in the path", get(&format!("{url}a\rx-injected: 1"), host, "")),
        ("a bare newline in the path", get(&format!("{url}a\nx-injected: 1"), host, "")),
        ("a zero in the path", get(&format!("{url}a\0b"), host, "")),
        ("HTTP/0.9", format!("GET {url}\r\n\r\n")),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("HTTP/3.0", format!("GET {url} HTTP/3.0\r\nhost: {host}\r\nconnection: close\r\n\r\n")),
        ("https by the proxy", get(&format!("https://{host}/"), host, "")),
        ("another scheme", get("file:///etc/passwd", host, "")),
        ("a scheme that nobody knows", get(&format!("gopher://{host}/"), host, "")),
    ] {
        all.tries(format!("a head with {name}"), move || refused(&door.say(request.as_bytes())));
    }
    for (name, url) in [
        ("escaped line ends in the path", format!("{url}a%0d%0ax-injected:%201%0d%0a%0d%0aGET%20/smuggled")),
        ("escaped line ends in the query", format!("{url}?a=%0d%0ahost:%20x")),
        ("a fragment", format!("{url}#@{}/", reach.other)),
        ("a backslash", format!("{url}\\@{}/", reach.other)),
    ] {
        all.tries(format!("a path with {name}"), move || nowhere_else(&door.say(get(&url, host, "").as_bytes())));
    }
    all
}

/// Connections, tunnels and requests without end.
fn floods(attack: &mut Attack, door: &Door) {
    let reach = &door.reach;
    let lives = |name: &str| {
        let since = Instant::now();
        let answer = door.say(get(&format!("http://{}/", reach.allowed), &reach.allowed, "").as_bytes());
        match has(&answer, ALLOWED) {
            true => Outcome::Refused(format!("{name}, it answers after {} ms", since.elapsed().as_millis())),
            false => Outcome::Succeeded(format!("its own gateway is dead: {}", first_words(&answer))),
        }
    };
    attack.tries(format!("{FEW_CONNECTIONS} connections that begin a request and do not go on"), |_| {
        let open: Vec<_> = (0..FEW_CONNECTIONS).filter_map(|_| begun(&door.socket).ok()).collect();
        let outcome = lives("while they are open");
        drop(open);
        outcome
    });
    attack.tries(format!("{MANY_CONNECTIONS} of them"), |_| {
        drop((0..MANY_CONNECTIONS).filter_map(|_| begun(&door.socket).ok()).collect::<Vec<_>>());
        lives("once they are gone")
    });
    attack.tries("more tunnels than there are", |_| {
        let target = format!("{}:{}", reach.allowed, Reach::PLAIN_PORT);
        let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
        let mut open = Vec::new();
        for number in 0..64 {
            match exchange(&door.socket, request.as_bytes(), b"", true) {
                Ok((stream, answer)) if status(&answer) == "200" => open.push(stream),
                Ok((_, answer)) => return Outcome::Refused(format!("{number} tunnels, then {}", first_words(&answer))),
                Err(error) => return Outcome::Refused(format!("{number} tunnels, then {error}")),
            }
        }
        Outcome::Succeeded(format!("{} tunnels", open.len()))
    });
    attack.tries("asking without end whether it is there", |_| {
        let (since, mut count) = (Instant::now(), 0);
        while since.elapsed() < FLOOD {
            count += usize::from(exchange(&door.socket, b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n", b"", true).is_ok());
        }
        Outcome::Allowed(format!("{count} answers in {} s", FLOOD.as_secs()))
    });
    attack.tries("requests without end", |_| {
        let one = "GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n";
        // Twice, should they fall into two minutes.
        let most = reach.requests_a_minute * 2 + 2;
        for number in 0..most {
            match exchange(&door.socket, one.as_bytes(), b"", true) {
                Ok((_, answer)) if status(&answer) == "429" => {
                    return Outcome::Refused(format!("{number} requests, then {}", first_words(&answer)));
                }
                Ok(_) => {}
                Err(error) => return Outcome::Refused(format!("{number} requests, then {error}")),
            }
        }
        Outcome::Allowed(format!("{most} requests, which came too slowly for the bound"))
    });
}

/// A connection on which a request was begun.
fn begun(socket: &Path) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_nonblocking(true)?;
    // One that waits to be accepted takes it as well.
    let _ = stream.write(b"GET /v1/models HTTP/1.1\r\nx: ");
    Ok(stream)
}

impl Door {
    /// Sends a request and returns what comes back; waits where the gateway says that it was asked too often.
    fn say(&self, request: &[u8]) -> Vec<u8> {
        self.patiently(request, b"")
    }

    /// Asks for a tunnel to `target`, and where there is one says `words` in it.
    fn tunnel(&self, target: &str, host: &str, words: &[u8]) -> Vec<u8> {
        self.patiently(format!("CONNECT {target} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes(), words)
    }

    fn patiently(&self, request: &[u8], words: &[u8]) -> Vec<u8> {
        loop {
            let answer = match exchange(&self.socket, request, words, false) {
                Ok((_, answer)) => answer,
                Err(error) => return format!("no answer: {error}").into_bytes(),
            };
            let text = String::from_utf8_lossy(&answer);
            // A refusal for another reason than the one that is looked for would show nothing.
            let again_in = text.lines().find_map(|line| line.strip_prefix("retry-after: ")?.trim().parse().ok());
            match again_in.filter(|_| status(&answer) == "429") {
                Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
                None => return answer,
            }
        }
    }
}

/// Says `request`, and once it was answered well says `words` and goes on reading. `short`: reads no further than the first
/// piece of the answer.
fn exchange(socket: &Path, request: &[u8], words: &[u8], short: bool) -> std::io::Result<(UnixStream, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // It may hang up before it has read everything; what it said is there all the same.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    let is_tunnel = request.starts_with(b"CONNECT");
    let mut said = !is_tunnel;
    while answer.len() < MOST_BYTES {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if answer.is_empty() => return Err(error),
            Err(_) => break,
        }
        if short {
            break;
        }
        if !said && status(&answer).starts_with('2') && has(&answer, "\r\n\r\n") {
            said = true;
            // The gateway gives a client ten seconds for its first words, and what it has to say may come after that.
            stream.write_all(words)?;
            continue;
        }
        stream.set_read_timeout(Some(SILENCE))?;
    }
    Ok((stream, answer))
}

fn get(target: &str, host: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{lines}connection: close\r\n\r\n")
}

/// Only a refusal is right: nothing but an error, or no answer at all.
fn refused(answer: &[u8]) -> Outcome {
    match nowhere_else(answer) {
        Outcome::Refused(_) => match status(answer) {
            code if code.starts_with(['1', '2', '3']) => Outcome::Succeeded(format!("answered {code}")),
            _ => Outcome::Refused(first_words(answer)),
        },
        gained => gained,
    }
}

/// It may be answered, but only by whom it may reach, and without a credential.
fn nowhere_else(answer: &[u8]) -> Outcome {
    if has(answer, REACHED) {
        Outcome::Succeeded("somebody answered whom nobody may reach".to_owned())
    } else if has(answer, SMUGGLED) {
        Outcome::Succeeded("the hidden request was answered".to_owned())
    } else if !canaries(answer).is_empty() {
        Outcome::Succeeded("a credential came back".to_owned())
    } else {
        Outcome::Refused(first_words(answer))
    }
}

fn status(answer: &[u8]) -> String {
    let head = String::from_utf8_lossy(&answer[..answer.len().min(64)]).into_owned();
    head.split_whitespace().nth(1).filter(|_| head.starts_with("HTTP/")).unwrap_or_default().to_owned()
}

/// The status and the gateway's word for why, or the beginning of whatever it is.
fn first_words(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let code = status(answer);
    match text.lines().find_map(|line| line.strip_prefix("x-nanoclaw-gateway: ")) {
        Some(word) => format!("answered {code} {word}"),
        None if !code.is_empty() => format!("answered {code}"),
        None if answer.is_empty() => "hung up".to_owned(),
        None => shown(&text),
    }
}

/// The beginning of a text that may be long or odd.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    short.escape_debug().to_string()
}
