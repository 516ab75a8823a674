//! The gateway, the one door there is, asked for everything that is not behind it.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use nanoclaw_core::protocol::{
    environment::GATEWAY_PORT,
    hostile::{Outcome, REACHED, canaries},
};

use super::{Attack, has};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most of an answer that is read.
const MOST_BYTES: u64 = 256 * 1024;

pub(super) fn run(attack: &mut Attack) {
    let Some(socket) = attack.places.gateway.clone() else {
        attack.tries("gateway", |_| Outcome::Absent("there is no gateway".to_owned()));
        return;
    };
    for (name, request) in requests(attack) {
        attack.tries(format!("gateway: {name}"), |_| judge(&ask(&socket, &request)));
    }
    attack.tries("gateway: what it may do, credential and all", |_| {
        let body = r#"{"model":"x","max_tokens":1,"messages":[]}"#;
        let request = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-api-key: placeholder\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let both = [ask(&socket, &request), ask_loopback(&request)];
        match both {
            [Ok(first), Ok(second)] if canaries(&[first.as_slice(), &second].concat()).is_empty() => {
                Outcome::Allowed(format!("answered {}", status(&first)))
            }
            [Ok(_), Ok(_)] => Outcome::Succeeded("the credential came back".to_owned()),
            [first, second] => Outcome::Refused(format!("{:?}, {:?}", first.err(), second.err())),
        }
    });
}

/// Requests that nobody may make, each with its name.
fn requests(attack: &Attack) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut hosts: Vec<String> = [
        "example.com:443",
        "1.1.1.1:443",
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "metadata.google.internal:80",
        "localhost:22",
        "127.0.0.1:2375",
        "[::1]:22",
        "10.0.0.1:443",
        "192.168.0.1:80",
        "100.64.0.1:443",
        "0.0.0.0:22",
        "[::ffff:169.254.169.254]:80",
        "[64:ff9b::a9fe:a9fe]:80",
        "api.anthropic.com:22",
    ]
    .map(str::to_owned)
    .into();
    for address in &attack.orders.addresses {
        let port = address.port();
        hosts.push(address.to_string());
        // The same by names and numbers that a filter by text does not know.
        for spelling in
            ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.nip.io", "[::ffff:127.0.0.1]", "LOCALHOST."]
        {
            hosts.push(format!("{spelling}:{port}"));
        }
    }
    hosts.sort();
    hosts.dedup();
    for host in &hosts {
        let connect = format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        found.push((format!("CONNECT {host}"), connect));
        let absolute =
            format!("GET http://{host}/latest/meta-data/ HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        found.push((format!("absolute form to {host}"), absolute));
    }
    let own = attack.orders.addresses.first().map_or_else(|| "example.com".to_owned(), SocketAddr::to_string);
    for (name, lines) in [
        ("TRACE, which would show the credential", "TRACE /v1/messages HTTP/1.1\r\nhost: x".to_owned()),
        ("files of the operator's account", "GET /v1/files HTTP/1.1\r\nhost: x".to_owned()),
        ("the organisation's keys", "GET /v1/organizations/api_keys HTTP/1.1\r\nhost: x".to_owned()),
        ("out of its paths by dots", "GET /v1/models/../../admin HTTP/1.1\r\nhost: x".to_owned()),
        ("out of its paths by escapes", "GET /v1/models/%2e%2e%2fadmin HTTP/1.1\r\nhost: x".to_owned()),
        ("another host in the header", format!("GET /latest/meta-data/ HTTP/1.1\r\nhost: {own}")),
        ("another host by x-forwarded-host", format!("GET /x HTTP/1.1\r\nhost: x\r\nx-forwarded-host: {own}")),
        ("a host behind an @", "GET http://127.0.0.1:8788@example.com/v1/models HTTP/1.1\r\nhost: x".to_owned()),
        ("an upgrade", "GET /v1/models-x HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket".to_owned()),
        (
            "a second request hidden in the first (length and chunks)",
            "POST /v1/nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/files \
             HTTP/1.1\r\nhost: x"
                .to_owned(),
        ),
        ("a head of a mebibyte", format!("GET /v1/files HTTP/1.1\r\nhost: x\r\nx: {}", "a".repeat(1 << 20))),
        ("a method that nobody knows", "NANOCLAW / HTTP/1.1\r\nhost: x".to_owned()),
        ("no HTTP at all", "\u{1}\u{2}\u{3}".to_owned()),
    ] {
        found.push((name.to_owned(), format!("{lines}\r\nconnection: close\r\n\r\n")));
    }
    found
}

/// Only a refusal is right: status 4xx or 5xx of the gateway's own, or no answer at all.
fn judge(answer: &std::io::Result<Vec<u8>>) -> Outcome {
    match answer {
        Err(error) => Outcome::Refused(error.to_string()),
        Ok(bytes) if has(bytes, REACHED) => Outcome::Succeeded("a listener of the host answered".to_owned()),
        Ok(bytes) if !canaries(bytes).is_empty() => Outcome::Succeeded("the credential came back".to_owned()),
        Ok(bytes) => match status(bytes).as_str() {
            code if code.starts_with(['1', '2', '3']) => Outcome::Succeeded(format!("answered {code}")),
            "" => Outcome::Refused("hung up".to_owned()),
            code => Outcome::Refused(format!("answered {code}")),
        },
    }
}

fn status(answer: &[u8]) -> String {
    let head = String::from_utf8_lossy(&answer[..answer.len().min(64)]).into_owned();
    head.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

fn ask(socket: &Path, request: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // It may hang up before it has read everything; what it said is there all the same.
    let written = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    if request.starts_with("CONNECT") {
        // A tunnel that is there would stay open: its first words are enough.
        let mut first = [0; 4096];
        let read = stream.read(&mut first)?;
        answer.extend_from_slice(&first[..read]);
    } else if let Err(error) = stream.take(MOST_BYTES).read_to_end(&mut answer)
        && answer.is_empty()
    {
        written?;
        return Err(error);
    }
    Ok(answer)
}

fn ask_loopback(request: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, GATEWAY_PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}
