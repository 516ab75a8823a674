//! What the gateway adds to a request, to the first byte of a stream, and what goes through a tunnel: each beside the same
//! without a gateway, in turns, so that both meet the same minute of the machine.

use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use nanoclaw_core::{group::GroupFolder, runtime::RunAs, secret::Secret};
use nanoclaw_fakes::model_api::{FakeModelApi, Script};
use nanoclaw_host::gateway::{
    AllowList, Credential, Gateway, GatewaySocket, Policy, PrivateEndpoints, Resolve, Upstream, tls,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UnixListener, UnixStream},
};

use crate::{
    figures::{Figure, Unit},
    program::folder,
};

/// What is sent through a tunnel at once.
const TRANSFER: usize = 512 << 20;
/// How often it is sent.
const TRANSFERS: usize = 7;
/// What does not count: connections are made, caches are filled.
const WARM_UP: usize = 20;

pub(crate) fn measure(samples: usize) -> Vec<Figure> {
    tls::install_provider();
    let runtime = nanoclaw_host::cli::event_loop().unwrap();
    let mut all = runtime.block_on(requests(samples));
    all.extend(runtime.block_on(tunnels()));
    all
}

async fn requests(samples: usize) -> Vec<Figure> {
    let api = FakeModelApi::start(Script::echo()).await.unwrap();
    let credential = Some(Credential::ApiKey(Secret::new("key")));
    let gateway = Gateway::new(Upstream::new(api.base_url(), credential)).unwrap();
    let place = folder();
    let socket = open(&gateway, place.path(), Policy { limits: unlimited(), ..Policy::model_api() });
    let through = client().unix_socket(socket.path().to_owned()).build().unwrap();
    let direct = client().build().unwrap();
    let (mut whole, mut first) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for round in 0..samples + WARM_UP {
        for stream in [false, true] {
            let without = ask(&direct, &api.base_url(), stream).await;
            let with = ask(&through, "http://127.0.0.1:8788", stream).await;
            if round >= WARM_UP {
                let times = if stream { &mut first } else { &mut whole };
                times.0.push(without);
                times.1.push(with);
            }
        }
    }
    let mut figures = compared("a request answered whole", &whole);
    figures.extend(compared("the first byte of a stream", &first));
    figures
}

/// The figure without, the figure with, and what it adds: the difference of each pair, of which the median counts.
fn compared(name: &str, (without, with): &(Vec<Duration>, Vec<Duration>)) -> Vec<Figure> {
    let added = without.iter().zip(with).map(|(a, b)| (b.as_secs_f64() - a.as_secs_f64()) * 1000.0).collect();
    vec![
        Figure::times(format!("{name}, direct"), without),
        Figure::times(format!("{name}, through the gateway"), with),
        Figure::new(format!("{name}: what the gateway adds"), Unit::Milliseconds, added).under(1.0),
    ]
}

/// How long a question takes: to the end of its answer, or to the first byte of its stream.
async fn ask(client: &reqwest::Client, base: &str, stream: bool) -> Duration {
    let body = serde_json::json!({"model": "m", "max_tokens": 64, "stream": stream,
        "messages": [{"role": "user", "content": "hello"}]});
    let begun = Instant::now();
    let request = client.post(format!("{base}/v1/messages")).header("x-api-key", "key").body(body.to_string());
    let mut response = request.send().await.unwrap().error_for_status().unwrap();
    response.chunk().await.unwrap().unwrap();
    let first = begun.elapsed();
    while response.chunk().await.unwrap().is_some() {}
    if stream { first } else { begun.elapsed() }
}

async fn tunnels() -> Vec<Figure> {
    let far = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("far.test:{}", far.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = far.accept().await {
            tokio::spawn(send(stream));
        }
    });
    let place = folder();
    let raw = UnixListener::bind(place.path().join("raw.sock")).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = raw.accept().await {
            tokio::spawn(send(stream));
        }
    });
    let model = Upstream::new("http://127.0.0.1:9", None);
    let gateway = Gateway::with(model, Vec::new(), &PrivateEndpoints::default(), Arc::new(Loopback)).unwrap();
    let mut policy = Policy::hosts(AllowList::parse([target.as_str()]).unwrap());
    policy.private = PrivateEndpoints::parse([target.as_str()]).unwrap();
    let socket = open(&gateway, &place.path().join("gateway"), policy);
    let (mut plain, mut tunnelled) = (Vec::new(), Vec::new());
    for _ in 0..TRANSFERS {
        let mut stream = UnixStream::connect(place.path().join("raw.sock")).await.unwrap();
        plain.push(receive(&mut stream).await);
        let mut stream = UnixStream::connect(socket.path()).await.unwrap();
        stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "));
        tunnelled.push(receive(&mut stream).await);
    }
    let ratio = plain.iter().zip(&tunnelled).map(|(raw, tunnel)| tunnel / raw).collect();
    vec![
        Figure::new("MiB a second through a unix socket alone", Unit::PerSecond, plain),
        Figure::new("MiB a second through a tunnel", Unit::PerSecond, tunnelled).at_least(500.0),
        Figure::new("a tunnel for the socket alone", Unit::Ratio, ratio),
    ]
}

async fn send(mut to: impl AsyncWrite + Unpin) {
    let block = vec![7; 1 << 20];
    for _ in 0..TRANSFER >> 20 {
        if to.write_all(&block).await.is_err() {
            return;
        }
    }
}

/// MiB a second until the other side ends.
async fn receive(from: &mut (impl AsyncRead + Unpin)) -> f64 {
    let (mut buffer, mut total, begun) = (vec![0; 256 << 10], 0, Instant::now());
    loop {
        match from.read(&mut buffer).await.unwrap() {
            0 => break,
            length => total += length,
        }
    }
    assert_eq!(total, TRANSFER);
    (TRANSFER >> 20) as f64 / begun.elapsed().as_secs_f64()
}

fn unlimited() -> nanoclaw_host::gateway::Limits {
    nanoclaw_host::gateway::Limits { requests_a_minute: u32::MAX, ..Default::default() }
}

fn open(gateway: &Gateway, place: &std::path::Path, policy: Policy) -> GatewaySocket {
    let own = rustix::process::getuid().as_raw();
    let user = RunAs { uid: own, gid: rustix::process::getgid().as_raw() };
    gateway.open(place, &GroupFolder::new("main").unwrap(), policy, user).unwrap()
}

fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().tls_certs_only([]).no_proxy()
}

/// Every name is this machine.
struct Loopback;

#[async_trait]
impl Resolve for Loopback {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}
