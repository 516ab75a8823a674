//! What must not be reached, and notes when it is: listeners on the host by TCP, UDP and abstract socket. And upstreams,
//! which note what they are sent: a model API, and two services that take a credential.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::linux::net::SocketAddrExt as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nanoclaw_core::protocol::hostile::{REACHED, canaries};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket, UnixListener},
};
use tokio_util::task::AbortOnDropHandle;

use super::as_sent;

/// What an upstream answers to everything but [`REDIRECT_PATH`].
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\nconnection: close\r\n\r\n{\"type\":\"answer\"}";
/// What ends a path that is answered by sending the client on.
const REDIRECT_PATH: &str = "/redirect";
/// Where to.
const REDIRECT: &[u8] =
    b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data/\r\ncontent-length: 0\r\n\
    connection: close\r\n\r\n";
/// The most of a request that is kept.
const MOST_BYTES: usize = 1 << 20;
/// How long the rest of a request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The listeners; all close when dropped.
pub(super) struct Witness {
    addresses: Vec<SocketAddr>,
    abstract_name: String,
    /// The model API.
    pub(super) model_api: Upstream,
    /// A service that one attacker may ask.
    pub(super) desk: Upstream,
    /// One that none may ask.
    pub(super) vault: Upstream,
    reached: Arc<Mutex<Vec<String>>>,
    _workers: Vec<AbortOnDropHandle<()>>,
}

/// A service that is sent a credential, and notes every request.
pub(super) struct Upstream {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    _worker: AbortOnDropHandle<()>,
}

/// What an upstream was sent.
pub(super) struct UpstreamLog {
    /// How many requests.
    pub(super) requests: usize,
    /// How many of them had a canary in them.
    pub(super) with_credential: usize,
    all: Vec<Vec<u8>>,
}

impl Upstream {
    async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let requests = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let log = requests.clone();
        let worker = spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(answer(stream, log.clone()));
            }
        });
        Ok(Self { address, requests, _worker: worker })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was sent.
    pub(super) fn log(&self) -> UpstreamLog {
        let all = log_of(&self.requests).clone();
        let with_credential = all.iter().filter(|request| !canaries(request).is_empty()).count();
        UpstreamLog { requests: all.len(), with_credential, all }
    }
}

impl UpstreamLog {
    /// What it should not have been sent: canaries of another kind than `credential`, or that one anywhere but behind
    /// `header`, which is in lower case; and more than one request to `host` on a connection.
    pub(super) fn strange(&self, credential: &str, header: &str, host: &str) -> Vec<String> {
        let mut found = Vec::new();
        for request in &self.all {
            found.extend(canaries(request).into_iter().filter(|kind| kind != credential));
            let text = String::from_utf8_lossy(request);
            let with_canary = text.lines().filter(|line| !canaries(line.as_bytes()).is_empty());
            found.extend(
                with_canary
                    .filter(|line| !line.to_lowercase().starts_with(header))
                    .map(|_| format!("{credential} out of its header")),
            );
            found.extend(as_sent::problems(request, host));
        }
        found.sort();
        found.dedup();
        found
    }
}

impl Witness {
    /// Listens on every address that this machine has, on ports that nobody else has.
    pub(super) async fn listen() -> io::Result<Self> {
        let reached = Arc::<Mutex<Vec<String>>>::default();
        let mut workers = Vec::new();
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let port = listener.local_addr()?.port();
        let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        let mut addresses: Vec<SocketAddr> = vec![(Ipv4Addr::LOCALHOST, port).into()];
        addresses.extend(own_addresses().into_iter().map(|address| SocketAddr::new(address, port)));

        let log = reached.clone();
        workers.push(spawn(async move {
            loop {
                let Ok((stream, from)) = listener.accept().await else { continue };
                log_of(&log).push(format!("TCP from {from}"));
                tokio::spawn(say_reached(stream));
            }
        }));
        let log = reached.clone();
        workers.push(spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                if let Ok((_, from)) = datagrams.recv_from(&mut buffer).await {
                    log_of(&log).push(format!("UDP from {from}"));
                }
            }
        }));

        let abstract_name = format!("nanoclaw-selftest-{}-{port}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&abstract_name)?;
        let listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let log = reached.clone();
        workers.push(spawn(async move {
            loop {
                if listener.accept().await.is_ok() {
                    log_of(&log).push("the abstract socket".to_owned());
                }
            }
        }));

        Ok(Self {
            addresses,
            abstract_name,
            model_api: Upstream::listen().await?,
            desk: Upstream::listen().await?,
            vault: Upstream::listen().await?,
            reached,
            _workers: workers,
        })
    }

    /// Where it listens on what must not be reached; loopback first.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The name of the abstract socket.
    pub(super) fn abstract_name(&self) -> &str {
        &self.abstract_name
    }

    /// Who reached what must not be reached.
    pub(super) fn reached(&self) -> Vec<String> {
        log_of(&self.reached).clone()
    }
}

fn log_of<T>(log: &Mutex<T>) -> MutexGuard<'_, T> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(work))
}

/// Hears a first word and answers it.
async fn say_reached(mut stream: TcpStream) {
    let _ = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut [0; 1024])).await;
    let length = REACHED.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{REACHED}");
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Reads a request, notes it and answers it. A connection on which nothing is said is none: clients keep such in store.
async fn answer(mut stream: TcpStream, log: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut request = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while request.len() < MOST_BYTES && !is_whole(&request) {
        match tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await {
            Ok(Ok(read)) if read > 0 => request.extend_from_slice(&chunk[..read]),
            _ => break,
        }
    }
    if request.is_empty() {
        return;
    }
    let target = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or_default().to_owned();
    log_of(&log).push(request);
    let text = if target.ends_with(REDIRECT_PATH) { REDIRECT } else { ANSWER };
    let _ = stream.write_all(text).await;
    let _ = stream.shutdown().await;
}

/// Whether head and body of a request are there.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_lowercase();
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    body.len() >= length.unwrap_or(0)
}

/// The addresses of this machine's interfaces but loopback, of IPv4: those that a bridge could lead to.
fn own_addresses() -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let mut found: Vec<IpAddr> = lines
        .windows(2)
        .filter(|pair| pair[1].contains("/32 host LOCAL"))
        .filter_map(|pair| pair[0].trim().strip_prefix("|-- ")?.parse().ok())
        .filter(|address: &IpAddr| !address.is_loopback())
        .collect();
    found.sort();
    found.dedup();
    found
}
