//! Carries health and figures to whoever asks, in HTTP/1.1: `GET /live`, `/health`, `/health?deep=1`, `/metrics`.
//!
//! One request a connection, few connections at once, and little time for each: on a port of loopback every user of this machine can
//! connect. What is said there is nobody's secret, but it names groups and channels, so a page in a browser must not read it by a
//! name that leads here: a request has to name this machine as it is asked.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::report::{Health, Report};
use crate::{
    metrics::text::CONTENT_TYPE,
    panics::{FAULT_PAUSE, caught},
    unix_socket::Listener,
};

/// Connections at once on each listener; a further one waits.
const MAX_CONNECTIONS: usize = 16;
/// How long a client may take to say what it wants.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection may take in all.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// The largest head of a request.
const BUFFER_BYTES: usize = 8 * 1024;
/// The wait after a failed accept: out of open files, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Whoever knows how the service is.
#[async_trait]
pub trait Looks: Send + Sync + 'static {
    /// Whether the process answers and its loop does.
    async fn live(&self) -> bool;

    /// How the service is; `deep`: with a question to the model about the credential.
    async fn health(&self, deep: bool) -> Report;

    /// All figures, in Prometheus' text format.
    async fn metrics(&self) -> String;
}

/// Where it is asked.
pub enum Door {
    /// A socket that is this user's alone.
    Socket(Listener),
    /// A port of loopback.
    Port(TcpListener),
}

/// Answers until `stop`, then lets go of everybody.
pub async fn serve(door: Door, looks: Arc<dyn Looks>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let Err(panicked) = caught(accept_all(&door, &looks, &mut connections)).await;
            tracing::error!(error = %panicked, "questions about health are not taken for a moment");
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    };
    stop.run_until_cancelled(accepting).await;
    drop(door);
    connections.shutdown().await;
}

async fn accept_all(door: &Door, looks: &Arc<dyn Looks>, connections: &mut JoinSet<()>) -> Infallible {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let place = places.clone().acquire_owned().await.ok();
        while connections.try_join_next().is_some() {}
        let accepted = match door {
            Door::Socket(listener) => listener.accept().await.map(|stream| answer_all(stream, None, looks.clone())),
            Door::Port(listener) => listener
                .accept()
                .await
                .and_then(|(stream, _)| Ok((stream.local_addr()?.ip(), stream)))
                .map(|(ip, stream)| answer_all(stream, Some(ip), looks.clone())),
        };
        match accepted {
            Ok(answering) => {
                connections.spawn(async move {
                    let _ = tokio::time::timeout(CONNECTION_TIME, answering).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a question about health; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers what is asked on one connection; `ip`: the address that was connected to, where there is one.
fn answer_all<S>(stream: S, ip: Option<IpAddr>, looks: Arc<dyn Looks>) -> futures_util::future::BoxFuture<'static, ()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Box::pin(async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let looks = looks.clone();
            async move { Ok::<_, Infallible>(answer(&request, ip, &*looks).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(BUFFER_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "whoever asked about health went away");
        }
    })
}

async fn answer<B>(request: &Request<B>, ip: Option<IpAddr>, looks: &dyn Looks) -> Response<Full<Bytes>> {
    if let Some(ip) = ip
        && !names_this_machine(request.headers().get(header::HOST), ip)
    {
        return plain(StatusCode::FORBIDDEN, "ask by the address: http://127.0.0.1:PORT or http://localhost:PORT\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET is what can be said here\n");
    }
    match request.uri().path() {
        "/live" => match looks.live().await {
            true => plain(StatusCode::OK, "live\n"),
            false => plain(StatusCode::SERVICE_UNAVAILABLE, "the orchestrator's loop does not answer\n"),
        },
        "/health" => {
            let report = looks.health(is_deep(request.uri())).await;
            let status =
                if report.status == Health::Failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            let text =
                serde_json::to_string_pretty(&report).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
            with_type(status, "application/json", format!("{text}\n"))
        }
        "/metrics" => with_type(StatusCode::OK, CONTENT_TYPE, looks.metrics().await),
        _ => plain(StatusCode::NOT_FOUND, "there are /live, /health, /health?deep=1 and /metrics\n"),
    }
}

fn is_deep(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|part| matches!(part, "deep" | "deep=1" | "deep=true"))
}

/// Whether a request's host is this machine, and not a name that somebody else made lead here.
fn names_this_machine(host: Option<&HeaderValue>, ip: IpAddr) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address == ip)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", text)
}

fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use nanoclaw_core::time::Timestamp;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{health::report::Check, unix_socket};

    struct Known(Health);

    #[async_trait]
    impl Looks for Known {
        async fn live(&self) -> bool {
            self.0 != Health::Failing
        }

        async fn health(&self, deep: bool) -> Report {
            let check = Check { status: self.0, ..Check::ok(if deep { "credential" } else { "store" }) };
            Report::of(vec![check], Timestamp::from_ms(7))
        }

        async fn metrics(&self) -> String {
            "nanoclaw_up 1\n".to_owned()
        }
    }

    async fn said(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        // One who says too much is reset when its answer is out.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    /// Asks one that is so, by a socket.
    async fn asked(health: Health, request: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health.sock");
        let (door, stop) = (Door::Socket(Listener::bind(&path).unwrap()), CancellationToken::new());
        let serving = tokio::spawn(serve(door, Arc::new(Known(health)), stop.clone()));
        let answer = said(unix_socket::connect(&path).await.unwrap(), request).await;
        stop.cancel();
        serving.await.unwrap();
        assert!(!path.exists(), "the socket goes with its server");
        answer
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
    }

    #[tokio::test]
    async fn health_is_told_with_the_status_that_probes_go_by() {
        for (health, status) in [(Health::Ok, "200 OK"), (Health::Degraded, "200 OK"), (Health::Failing, "503 ")] {
            let answer = asked(health, &get("/health")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert_eq!((&body["status"], &body["checks"][0]["name"]), (&health.word().into(), &"store".into()));
        }
        let answer = asked(Health::Ok, &get("/health?deep=1")).await;
        assert!(answer.contains("\"credential\""), "{answer}");
        assert!(asked(Health::Failing, &get("/live")).await.starts_with("HTTP/1.1 503 "));
        assert!(asked(Health::Ok, &get("/live")).await.ends_with("live\n"));
        let answer = asked(Health::Ok, &get("/metrics")).await;
        assert!(answer.contains("text/plain; version=0.0.4") && answer.ends_with("\nnanoclaw_up 1\n"), "{answer}");
    }

    #[tokio::test]
    async fn what_is_no_question_is_refused() {
        for (request, status) in [
            (get("/secrets"), "404"),
            ("POST /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n".to_owned(), "405"),
            ("nonsense\r\n\r\n".to_owned(), "400"),
            (format!("GET /live HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(4 * BUFFER_BYTES)), "431"),
        ] {
            let answer = asked(Health::Ok, &request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.40}: {answer}");
        }
    }

    #[tokio::test]
    async fn on_a_port_a_page_cannot_ask_by_a_name_of_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(Door::Port(listener), Arc::new(Known(Health::Ok)), stop.clone()));
        let asked = async |host: &str| {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            said(stream, &format!("GET /live HTTP/1.1\r\nhost: {host}\r\n\r\n")).await
        };
        for host in [address.to_string(), format!("localhost:{}", address.port()), "LOCALHOST".to_owned()] {
            assert!(asked(&host).await.starts_with("HTTP/1.1 200 "), "{host}");
        }
        for host in ["evil.example", "evil.example:9180", "", "127.0.0.1.evil.example", "192.168.0.1"] {
            assert!(asked(host).await.starts_with("HTTP/1.1 403 "), "{host}");
        }
        stop.cancel();
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_is_let_go_and_holds_up_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(Door::Port(listener), Arc::new(Known(Health::Ok)), stop.clone()));
        let mut silent = Vec::new();
        for _ in 0..=MAX_CONNECTIONS {
            silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
        }
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let answer = said(stream, &format!("GET /live HTTP/1.1\r\nhost: {address}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        stop.cancel();
        serving.await.unwrap();
    }
}
