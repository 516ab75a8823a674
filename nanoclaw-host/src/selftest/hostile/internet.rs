//! The internet as the attacked service's gateway finds it: names that mean what the judge says, a host that may be reached,
//! and everything else, where nobody may come. Not a packet leaves the machine.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nanoclaw_core::protocol::hostile::{ALLOWED, REACHED, Reach, SMUGGLED, canaries};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    as_sent,
    staged::{TO, WHO},
};

/// The host that the attacker may reach.
pub(super) const ALLOWED_HOST: &str = "allowed.nanoclaw.test";
/// The host that it may reach whose name has a new address each time.
pub(super) const CHANGING_HOST: &str = "changing.nanoclaw.test";
/// A public host that it may not reach.
pub(super) const OTHER_HOST: &str = "other.nanoclaw.test";

/// How many requests a group may make in a minute: more than all attempts, so that none is refused for another reason than
/// the one that it is about.
pub(super) const REQUESTS_A_MINUTE: u32 = 2000;

/// Public addresses, by what the gateway knows of them; nothing is ever sent there.
const ALLOWED_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9));
const CHANGING_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(9, 9, 9, 10));
const OTHER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(9, 9, 9, 11));

/// What the changing name means, one after the other. Each time that it is good, it is not the next time.
const CHANGES: [&str; 32] = [
    "9.9.9.10",
    "127.0.0.1",
    "9.9.9.10",
    "169.254.169.254",
    "9.9.9.10",
    "::ffff:127.0.0.1",
    "9.9.9.10",
    "::ffff:169.254.169.254",
    "9.9.9.10",
    "64:ff9b::7f00:1",
    "9.9.9.10",
    "64:ff9b::a9fe:a9fe",
    "9.9.9.10",
    "10.0.0.1",
    "9.9.9.10",
    "::1",
    "9.9.9.10",
    "0.0.0.0",
    "9.9.9.10",
    "9.9.9.10 127.0.0.1",
    "9.9.9.10",
    "169.254.169.254 9.9.9.10",
    "9.9.9.10",
    "fd00:ec2::254",
    "9.9.9.10",
    "fe80::1",
    "9.9.9.10",
    "100.64.0.1",
    "9.9.9.10",
    "2002:7f00:1::",
    "9.9.9.10",
    "::127.0.0.1",
];

/// How long a host waits for more of what it is told.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that is kept of one connection, and the most connections that are kept.
const MOST_BYTES: usize = 256 << 10;
const MOST_CONNECTIONS: usize = 20_000;

/// The internet; it ends when dropped.
pub(super) struct Internet {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _worker: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// Which names were asked about.
    names: Vec<String>,
    /// How often the changing name was.
    changes: usize,
    connections: Vec<Connection>,
}

struct Connection {
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Internet {
    pub(super) async fn begin() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = seen.clone();
        let worker = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Ok(Self { address, seen, _worker: AbortOnDropHandle::new(worker) })
    }

    /// Where the service finds it.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What an attacker is told of it.
    pub(super) fn reach(&self, upstream: &str, foreign_upstream: &str, upstream_addresses: Vec<SocketAddr>) -> Reach {
        Reach {
            allowed: ALLOWED_HOST.to_owned(),
            address: ALLOWED_ADDRESS,
            changing: CHANGING_HOST.to_owned(),
            answers: CHANGES.len(),
            other: OTHER_HOST.to_owned(),
            upstream: upstream.to_owned(),
            foreign_upstream: foreign_upstream.to_owned(),
            upstream_addresses,
            requests_a_minute: REQUESTS_A_MINUTE,
        }
    }

    /// Where the gateway went and nobody may go.
    pub(super) fn gone_astray(&self) -> Vec<String> {
        let seen = lock(&self.seen);
        let strange = seen.connections.iter().filter(|connection| !may_be_reached(connection.to));
        strange.map(|connection| connection.to.to_string()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Names that the gateway asked about and that nobody may reach.
    pub(super) fn strange_names(&self) -> Vec<String> {
        let seen = lock(&self.seen);
        let known = [ALLOWED_HOST, CHANGING_HOST, "localhost"];
        let strange = seen.names.iter().filter(|name| !known.contains(&name.as_str()));
        strange.cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What the hosts that may be reached were told and should not have been: a canary, a request that was hidden in
    /// another one, TLS for another host.
    pub(super) fn strange_words(&self) -> Vec<String> {
        let seen = lock(&self.seen);
        let mut found = BTreeSet::new();
        for connection in seen.connections.iter().filter(|connection| may_be_reached(connection.to)) {
            let (to, bytes) = (connection.to, connection.bytes.as_slice());
            let host = if to.ip() == ALLOWED_ADDRESS { ALLOWED_HOST } else { CHANGING_HOST };
            let mut problems: Vec<String> =
                canaries(bytes).into_iter().map(|kind| format!("a canary, {kind}")).collect();
            match to.port() {
                80 => problems.extend(as_sent::problems(bytes, host)),
                443 if !bytes.is_empty() => {
                    let first = String::from_utf8_lossy(bytes).to_ascii_lowercase();
                    if bytes[0] != 22 || !first.contains(host) {
                        problems.push(format!("something else than TLS for {host}"));
                    }
                }
                _ => {}
            }
            found.extend(problems.into_iter().map(|problem| format!("{to} was sent {problem}")));
        }
        found.into_iter().collect()
    }

    /// What was not even tried, so that nothing is known of it: each address that may be reached and was not, and answers of
    /// the changing name that nobody got.
    pub(super) fn untried(&self) -> Vec<String> {
        let seen = lock(&self.seen);
        let mut found = Vec::new();
        for (address, port) in [
            (ALLOWED_ADDRESS, 443),
            (ALLOWED_ADDRESS, 80),
            (ALLOWED_ADDRESS, Reach::PLAIN_PORT),
            (CHANGING_ADDRESS, 443),
        ] {
            let to = SocketAddr::new(address, port);
            if !seen.connections.iter().any(|connection| connection.to == to && !connection.bytes.is_empty()) {
                found.push(format!("nobody spoke to {to}, who was allowed to"));
            }
        }
        if seen.changes < CHANGES.len() {
            found.push(format!("{} of {} answers of the changing name", seen.changes, CHANGES.len()));
        }
        found
    }

    /// How many connections came to where they may.
    pub(super) fn allowed_connections(&self) -> usize {
        lock(&self.seen).connections.iter().filter(|connection| may_be_reached(connection.to)).count()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn may_be_reached(to: SocketAddr) -> bool {
    match to.port() {
        443 | 80 => [ALLOWED_ADDRESS, CHANGING_ADDRESS].contains(&to.ip()),
        port => port == Reach::PLAIN_PORT && to.ip() == ALLOWED_ADDRESS,
    }
}

/// Serves one question or one connection.
async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        match tokio::time::timeout(PATIENCE, stream.read_u8()).await {
            Ok(Ok(byte)) if line.len() < 1024 => line.push(byte),
            _ => return,
        }
    }
    let line = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
    if let Some(name) = line.strip_prefix(WHO) {
        let answer = meaning(&mut lock(&seen), name);
        let _ = stream.write_all(answer.as_bytes()).await;
    } else if let Some(to) = line.strip_prefix(TO).and_then(|to| to.parse().ok()) {
        play(to, stream, &seen).await;
    }
}

/// What a name means now.
fn meaning(seen: &mut Seen, name: &str) -> String {
    if seen.names.len() < MOST_CONNECTIONS {
        seen.names.push(name.to_owned());
    }
    match name {
        ALLOWED_HOST => ALLOWED_ADDRESS.to_string(),
        OTHER_HOST => OTHER_ADDRESS.to_string(),
        // Of further upstreams, which are really there.
        "localhost" => Ipv4Addr::LOCALHOST.to_string(),
        CHANGING_HOST => {
            seen.changes += 1;
            CHANGES[(seen.changes - 1) % CHANGES.len()].to_owned()
        }
        _ => String::new(),
    }
}

/// Plays the host at `to`.
async fn play(to: SocketAddr, mut stream: TcpStream, seen: &Mutex<Seen>) {
    let number = {
        let mut seen = lock(seen);
        if seen.connections.len() >= MOST_CONNECTIONS {
            return;
        }
        seen.connections.push(Connection { to, bytes: Vec::new() });
        seen.connections.len() - 1
    };
    let is_http = to.port() == 80;
    let mut all = Vec::new();
    let mut answered = 0;
    let mut chunk = [0; 16 * 1024];
    while let Ok(Ok(read @ 1..)) = tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await {
        all.extend_from_slice(&chunk[..read]);
        {
            let kept = &mut lock(seen).connections[number].bytes;
            let room = MOST_BYTES.saturating_sub(kept.len());
            kept.extend_from_slice(&chunk[..read.min(room)]);
        }
        // A careless server on purpose: whatever looks like one more request is answered.
        let asked = if is_http { all.windows(4).filter(|four| four == b"\r\n\r\n").count().max(answered) } else { 1 };
        while answered < asked {
            answered += 1;
            if stream.write_all(answer(to, &all, answered == 1).as_bytes()).await.is_err() {
                return;
            }
        }
        if all.len() > MOST_BYTES {
            return;
        }
    }
}

fn answer(to: SocketAddr, asked: &[u8], first: bool) -> String {
    let http = |word: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{word}", word.len());
    if !may_be_reached(to) {
        return http(REACHED);
    }
    if to.port() != 80 {
        return ALLOWED.to_owned();
    }
    if asked.starts_with(b"GET /redirect ") {
        return "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data/\r\ncontent-length: 0\r\n\r\n"
            .to_owned();
    }
    http(if first { ALLOWED } else { SMUGGLED })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Resolve as _;
    use crate::selftest::hostile::StagedInternet;

    async fn told(internet: &Internet, to: &str, words: &str) -> String {
        let staged = StagedInternet::at(internet.address()).unwrap();
        let mut stream = staged.connect(to.parse().unwrap()).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn whoever_comes_where_nobody_may_is_told_so_and_noted() {
        let internet = Internet::begin().await.unwrap();
        assert!(told(&internet, "9.9.9.9:443", "hello").await.contains(ALLOWED));
        assert_eq!(internet.gone_astray(), Vec::<String>::new());
        for to in ["127.0.0.1:443", "9.9.9.9:22", "[::1]:80", "9.9.9.11:443"] {
            assert!(told(&internet, to, "GET / HTTP/1.1\r\n\r\n").await.contains(REACHED), "{to}");
        }
        assert_eq!(internet.gone_astray().len(), 4);
        assert_eq!(internet.allowed_connections(), 1);
    }

    #[tokio::test]
    async fn a_host_that_is_told_what_it_should_not_be_is_noted() {
        let internet = Internet::begin().await.unwrap();
        let good = format!("GET / HTTP/1.1\r\nhost: {ALLOWED_HOST}\r\n\r\n");
        assert!(told(&internet, "9.9.9.9:80", &good).await.contains(ALLOWED));
        assert_eq!(internet.strange_words(), Vec::<String>::new());
        assert!(told(&internet, "9.9.9.9:80", &good.repeat(2)).await.contains(SMUGGLED));
        told(&internet, "9.9.9.9:443", "GET / HTTP/1.1\r\n\r\n").await;
        told(&internet, "9.9.9.9:8443", &nanoclaw_core::protocol::hostile::canary("env", 7)).await;
        let words = internet.strange_words().join("\n");
        for part in ["2 requests", "else than TLS", "a canary, env"] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }

    #[tokio::test]
    async fn the_changing_name_changes_and_unknown_names_are_none() {
        let internet = Internet::begin().await.unwrap();
        let staged = StagedInternet::at(internet.address()).unwrap();
        let mut answers = Vec::new();
        for _ in CHANGES {
            answers.push(staged.resolve(CHANGING_HOST).await.unwrap());
        }
        assert_eq!(answers[0], [CHANGING_ADDRESS]);
        assert_eq!(answers[1], [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        assert_eq!(answers[19].len(), 2);
        assert_eq!(internet.strange_names(), Vec::<String>::new());
        assert!(staged.resolve("evil.test").await.is_err());
        assert_eq!(internet.strange_names(), ["evil.test"]);
        assert!(!internet.untried().is_empty(), "nobody spoke to anybody");
    }

    #[test]
    fn only_this_machine_can_play_the_internet() {
        assert!(StagedInternet::at("10.0.0.1:1".parse().unwrap()).is_err());
        assert!(StagedInternet::at("[::1]:1".parse().unwrap()).is_ok());
    }
}
