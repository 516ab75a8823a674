//! What must not be reached, and notes when it is: listeners on the host by TCP, UDP and abstract socket. And the upstream,
//! a model API that notes what it is sent.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::linux::net::SocketAddrExt as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nanoclaw_core::protocol::hostile::canaries;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket, UnixListener},
};
use tokio_util::task::AbortOnDropHandle;

/// What a listener that must not be reached answers.
const REACHED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nREACHED";
/// What the upstream answers to everything.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\nconnection: close\r\n\r\n{\"type\":\"answer\"}";
/// The most of a request that is kept.
const MOST_BYTES: usize = 1 << 20;

/// The listeners; all close when dropped.
pub(super) struct Witness {
    addresses: Vec<SocketAddr>,
    abstract_name: String,
    upstream: SocketAddr,
    reached: Arc<Mutex<Vec<String>>>,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    _workers: Vec<AbortOnDropHandle<()>>,
}

/// What the upstream was sent.
pub(super) struct UpstreamLog {
    /// How many requests.
    pub(super) requests: usize,
    /// How many of them had a canary in them.
    pub(super) with_credential: usize,
    all: Vec<Vec<u8>>,
}

impl UpstreamLog {
    /// Canaries of another kind than `credential`, and places where the credential has no business.
    pub(super) fn strange(&self, credential: &str) -> Vec<String> {
        let mut found = Vec::new();
        for request in &self.all {
            found.extend(canaries(request).into_iter().filter(|kind| kind != credential));
            let text = String::from_utf8_lossy(request);
            let times = text.lines().filter(|line| !canaries(line.as_bytes()).is_empty());
            found.extend(
                times
                    .filter(|line| !line.to_lowercase().starts_with("x-api-key:"))
                    .map(|_| "out of its header".to_owned()),
            );
        }
        found.sort();
        found.dedup();
        found
    }
}

impl Witness {
    /// Listens on every address that this machine has, on ports that nobody else has.
    pub(super) async fn listen() -> io::Result<Self> {
        let (reached, requests) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<Vec<u8>>>>::default());
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
                tokio::spawn(answer(stream, REACHED, None));
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

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let upstream = listener.local_addr()?;
        let log = requests.clone();
        workers.push(spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(answer(stream, ANSWER, Some(log.clone())));
            }
        }));
        Ok(Self { addresses, abstract_name, upstream, reached, requests, _workers: workers })
    }

    /// Where it listens on what must not be reached; loopback first.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The name of the abstract socket.
    pub(super) fn abstract_name(&self) -> &str {
        &self.abstract_name
    }

    /// The model API.
    pub(super) fn upstream_url(&self) -> String {
        format!("http://{}", self.upstream)
    }

    /// Who reached what must not be reached.
    pub(super) fn reached(&self) -> Vec<String> {
        log_of(&self.reached).clone()
    }

    /// What the upstream was sent.
    pub(super) fn upstream(&self) -> UpstreamLog {
        let all = log_of(&self.requests).clone();
        let with_credential = all.iter().filter(|request| !canaries(request).is_empty()).count();
        UpstreamLog { requests: all.len(), with_credential, all }
    }
}

fn log_of<T>(log: &Mutex<T>) -> MutexGuard<'_, T> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(work))
}

/// Reads a request, as far as it comes in one breath, and answers it.
async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    text: &'static [u8],
    log: Option<Arc<Mutex<Vec<Vec<u8>>>>>,
) {
    let mut request = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while request.len() < MOST_BYTES {
        match tokio::time::timeout(std::time::Duration::from_millis(500), stream.read(&mut chunk)).await {
            Ok(Ok(read)) if read > 0 => request.extend_from_slice(&chunk[..read]),
            _ => break,
        }
        if is_whole(&request) {
            break;
        }
    }
    if let Some(log) = log {
        log_of(&log).push(request);
    }
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
