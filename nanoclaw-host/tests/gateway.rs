//! The gateway with real sockets: a client on the group's side, a fake model API on the other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use nanoclaw_core::{group::GroupFolder, runtime::RunAs, secret::Secret};
use nanoclaw_fakes::model_api::{FakeModelApi, Script, Turn};
use nanoclaw_host::gateway::{Credential, Gateway, GatewayError, GatewaySocket, Policy, SOCKET_NAME, Upstream, tls};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

#[path = "support/captured_log.rs"]
mod captured_log;

use captured_log::Log;

const KEY: &str = "sk-REAL-credential";

#[tokio::test]
async fn the_credential_is_added_and_the_placeholder_taken_off() {
    let house = House::new().await;
    let response = house
        .ask("hello")
        .header("x-api-key", "placeholder-key")
        .header("authorization", "Bearer placeholder-token")
        .header("cookie", "a=placeholder-cookie")
        .header("proxy-authorization", "Basic placeholder-proxy")
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", "one-2025-01-01,two-2025-02-02")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text_of(&json_of(response).await), "echo: hello");

    let requests = house.api.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("x-api-key"), Some(KEY));
    assert_eq!(requests[0].header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(requests[0].header("anthropic-beta"), Some("one-2025-01-01,two-2025-02-02"));
    assert_eq!(requests[0].header("host"), Some(house.api.addr.to_string().as_str()));
    assert_eq!(requests[0].query, "beta=true");
    assert!(!format!("{:?}", requests[0].headers).contains("placeholder"), "{:?}", requests[0].headers);
}

#[tokio::test]
async fn an_oauth_token_is_sent_as_bearer_and_the_beta_word_kept() {
    let house = House::with(|upstream| upstream.credential = Some(Credential::Bearer(Secret::new(KEY)))).await;
    let response = house
        .ask("hello")
        .header("x-api-key", "placeholder")
        .header("anthropic-beta", "oauth-2025-04-20")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let request = &house.api.requests()[0];
    assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(request.header("x-api-key"), None);
    assert_eq!(request.header("anthropic-beta"), Some("oauth-2025-04-20"));
}

#[tokio::test]
async fn events_of_a_stream_arrive_one_by_one() {
    let house = House::new().await;
    let steps = house.api.step_events();
    let mut response = house.ask_streamed("one two three").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let mut seen = String::new();
    for expected in ["message_start", "content_block_start", "ping", "content_block_delta"] {
        // The next event is let go only when this one is here: one that waited for company would never come.
        steps.release(1);
        let chunk = within(response.chunk()).await.unwrap().expect("the stream goes on");
        let chunk = String::from_utf8(chunk.to_vec()).unwrap();
        assert!(chunk.starts_with(&format!("event: {expected}\n")), "{chunk}");
        assert_eq!(chunk.matches("event: ").count(), 1, "{chunk}");
        seen.push_str(&chunk);
    }
    drop(steps);
    while let Some(chunk) = within(response.chunk()).await.unwrap() {
        seen.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(seen.trim_end().ends_with(r#"data: {"type":"message_stop"}"#), "{seen}");
}

#[tokio::test]
async fn a_requests_body_is_not_held_back() {
    let (upstream, base_url) = raw_upstream().await;
    let house = House::at(Upstream::new(base_url, key())).await;
    let (more, rest) = tokio::sync::oneshot::channel::<()>();
    let first = stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"first-part")) });
    let second = stream::once(async move {
        rest.await.unwrap();
        Ok(Bytes::from_static(b"second-part"))
    });
    let parts = reqwest::Body::wrap_stream(first.chain(second));
    let client = tokio::spawn(house.request(Method::POST, "/v1/messages").body(parts).send());
    let (mut connection, _) = within(upstream.accept()).await.unwrap();
    // The first part is here while the client still has the second.
    read_until(&mut connection, "first-part").await;
    more.send(()).unwrap();
    read_until(&mut connection, "second-part").await;
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    assert_eq!(within(client).await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_gateway_opened_anew_in_the_same_folder_is_found_there() {
    let mut house = House::new().await;
    // What a container has: the folder, not the socket in it.
    let mounted = std::fs::File::open(house.dir.path().join("gateway")).unwrap();
    let inside = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", mounted.as_raw_fd()));
    assert!(post(&inside).await.is_ok());

    house.socket = None;
    assert!(post(&inside).await.is_err());
    house.socket = Some(house.open("gateway", "family"));
    assert!(post(&inside).await.is_ok());
}

#[tokio::test]
async fn what_a_dead_host_left_is_replaced() {
    let house = House::new().await;
    let dir = house.dir.path().join("left");
    std::fs::create_dir(&dir).unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.join(SOCKET_NAME)).unwrap());
    assert!(post(&dir.join(SOCKET_NAME)).await.is_err());
    let socket = house.open("left", "family");
    assert!(post(socket.path()).await.is_ok());
}

#[tokio::test]
async fn a_successors_socket_survives_the_end_of_its_predecessor() {
    let house = House::new().await;
    let first = house.open("shared", "family");
    let second = house.open("shared", "family");
    drop(first);
    assert!(post(second.path()).await.is_ok());
}

#[tokio::test]
async fn every_other_path_is_refused_in_the_apis_own_form() {
    let house = House::new().await;
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/admin"),
        (Method::GET, "/v1/a%2fb"),
        (Method::DELETE, "/v1/files/file_1"),
        (Method::POST, "/v1/files"),
        (Method::POST, "/v1/messages/batches"),
        (Method::GET, "/v1/skills"),
        (Method::TRACE, "/v1/messages"),
    ] {
        let response = house.request(method.clone(), path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{method} {path}");
        assert_eq!(response.headers()["x-nanoclaw-gateway"], "not-allowed");
        let error = json_of(response).await;
        assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("permission_error")));
        assert!(error["error"]["message"].as_str().unwrap().contains("is not allowed"), "{error}");
    }
    for head in [
        "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443",
        "GET http://example.com/v1/messages HTTP/1.1\r\nhost: example.com",
        "GET /v1/../admin HTTP/1.1\r\nhost: localhost",
        "GET /v1/%2e%2e/admin HTTP/1.1\r\nhost: localhost",
    ] {
        let answer = say(&house, &format!("{head}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{head}: {answer}");
    }
    assert!(house.api.requests().is_empty());
}

#[tokio::test]
async fn a_refusal_is_read_by_a_client_that_sends_much_first() {
    let house = House::with(|upstream| upstream.credential = None).await;
    let response = house.request(Method::POST, "/v1/messages").body(vec![b'x'; 4 << 20]).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let response = house.request(Method::POST, "/other").body(vec![b'x'; 4 << 20]).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_first_question_is_answered_without_the_model_api() {
    let house = House::new().await;
    let response = house.request(Method::HEAD, "/").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-nanoclaw-gateway"], "alive");
    assert!(house.api.requests().is_empty());
}

#[tokio::test]
async fn without_a_credential_the_answer_says_what_to_configure() {
    let house = House::with(|upstream| upstream.credential = None).await;
    let response = house.ask("hello").header("x-api-key", KEY).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let error = json_of(response).await;
    assert_eq!(error["error"]["type"], "authentication_error");
    assert!(error["error"]["message"].as_str().unwrap().contains("nanoclaw auth set"), "{error}");
    assert!(house.api.requests().is_empty(), "a group's own key is not sent on");
}

#[tokio::test]
async fn the_apis_own_errors_come_through() {
    let house = House::new().await;
    house.api.set_script(Script::new(|_| Turn::rate_limited(Duration::from_secs(7))));
    let response = house.ask("hello").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "7");
    assert!(!response.headers().contains_key("x-nanoclaw-gateway"));
    assert_eq!(json_of(response).await["error"]["type"], "rate_limit_error");

    house.api.expect_key("another key");
    let response = house.ask("hello").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let error = json_of(response).await;
    assert_eq!(error["error"], json!({"type": "authentication_error", "message": "invalid x-api-key"}));
}

#[tokio::test]
async fn a_question_that_fails_for_good_is_not_asked_again() {
    let house = House::new().await;
    assert!(!house.ask("hello").send().await.unwrap().headers().contains_key("x-should-retry"));
    house.api.expect_key("another key");
    let wrong_key = house.ask("hello").send().await.unwrap();
    let refused = house.request(Method::GET, "/other").send().await.unwrap();
    let no_key = House::with(|upstream| upstream.credential = None).await.ask("hello").send().await.unwrap();
    for (response, status) in [(wrong_key, 401), (refused, 403), (no_key, 401)] {
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["x-should-retry"], "false");
    }
    // An overload passes, and so may be asked again.
    let busy = House::new().await;
    busy.api.set_script(Script::new(|_| Turn::overloaded()));
    let response = busy.ask("hello").send().await.unwrap();
    assert_eq!(response.status(), 529);
    assert!(!response.headers().contains_key("x-should-retry"));
}

#[tokio::test]
async fn the_other_questions_of_the_api_pass() {
    let house = House::new().await;
    let count = house.request(Method::POST, "/v1/messages/count_tokens").body(body("hello", false).to_string());
    assert!(json_of(count.send().await.unwrap()).await["input_tokens"].is_u64());
    let models = house.request(Method::GET, "/v1/models?limit=5").send().await.unwrap();
    assert!(json_of(models).await["data"].is_array());
    assert_eq!(house.api.requests()[1].query, "limit=5");
}

#[tokio::test]
async fn an_unreachable_model_api_is_named() {
    let (listener, base_url) = raw_upstream().await;
    drop(listener);
    let house = House::at(Upstream::new(&base_url, key())).await;
    let response = house.ask("hello").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.headers()["x-nanoclaw-gateway"], "upstream-unreachable");
    let error = json_of(response).await;
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains(base_url.trim_start_matches("http://")), "{message}");
    assert!(message.contains("refused"), "{message}");
}

#[tokio::test]
async fn a_silent_model_api_is_given_up() {
    let (_listener, base_url) = raw_upstream().await;
    let mut upstream = Upstream::new(base_url, key());
    upstream.silence_timeout = Duration::from_millis(50);
    let response = House::at(upstream).await.ask("hello").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_stream_that_breaks_off_does_not_look_complete() {
    let house = House::new().await;
    house.api.cut_streams_after(2.try_into().ok());
    let mut response = house.ask_streamed("hello").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut seen = Vec::new();
    let end = loop {
        match within(response.chunk()).await {
            Ok(Some(chunk)) => seen.extend_from_slice(&chunk),
            end => break end,
        }
    };
    assert!(String::from_utf8_lossy(&seen).contains("content_block_start"));
    assert!(end.is_err(), "{end:?}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_upstream() {
    let (upstream, base_url) = raw_upstream().await;
    let house = House::at(Upstream::new(base_url, key())).await;
    let client = tokio::spawn(house.ask("hello").send());
    let (mut connection, _) = within(upstream.accept()).await.unwrap();
    read_until(&mut connection, "hello").await;
    client.abort();
    // End of stream, or a reset: either way it is over.
    let mut rest = [0; 1024];
    while !matches!(within(connection.read(&mut rest)).await, Ok(0) | Err(_)) {}
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (upstream, base_url) = raw_upstream().await;
    let house = House::at(Upstream::new(base_url, key())).await;
    // The client on the group's side must not follow it either, or the test would not see whose fault it was.
    let client = client_builder(house.socket().path()).redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = client.post("http://127.0.0.1:8788/v1/messages").body(body("hello", false).to_string());
    let client = tokio::spawn(request.send());
    let (mut connection, _) = within(upstream.accept()).await.unwrap();
    read_until(&mut connection, "hello").await;
    let elsewhere = format!("HTTP/1.1 307 Go\r\nlocation: {}/v1/x\r\ncontent-length: 0\r\n\r\n", house.api.base_url());
    connection.write_all(elsewhere.as_bytes()).await.unwrap();
    assert_eq!(within(client).await.unwrap().unwrap().status(), StatusCode::TEMPORARY_REDIRECT);
    assert!(house.api.requests().is_empty(), "the credential went elsewhere");
}

#[tokio::test]
async fn the_folder_may_have_a_long_path() {
    let house = House::new().await;
    let deep = ["a".repeat(100), "b".repeat(100), "gateway".into()].join("/");
    let socket = house.open(&deep, "family");
    assert!(socket.path().as_os_str().len() > 200);
    let folder = std::fs::File::open(socket.path().parent().unwrap()).unwrap();
    let short = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", folder.as_raw_fd()));
    assert!(post(&short).await.is_ok());
}

#[tokio::test]
async fn a_group_is_known_by_its_socket_and_by_nothing_it_says() {
    let house = House::new().await;
    let log = Log::capture();
    let work = house.open("work", "work");
    let request = client(work.path()).post("http://127.0.0.1:8788/v1/messages").header("host", "family");
    let response = request.header("x-group", "family").body(body("hello", false).to_string()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.bytes().await.unwrap();
    let events = log.events(1).await;
    assert_eq!(events[0]["fields"]["group"], "work");

    let path = work.path().to_owned();
    drop(work);
    assert!(post(&path).await.is_err());
    assert!(post(house.socket().path()).await.is_ok());
}

#[tokio::test]
async fn one_event_tells_of_a_request_and_nothing_of_its_content() {
    let house = House::new().await;
    let log = Log::capture();
    let answer = house.ask("a secret question").header("x-api-key", "placeholder").send().await.unwrap();
    let bytes = answer.bytes().await.unwrap();
    let _ = house.request(Method::GET, "/other?token=query-secret").send().await.unwrap().bytes().await.unwrap();

    let events = log.events(2).await;
    assert_eq!(events.len(), 2);
    let fields = &events[0]["fields"];
    assert_eq!(fields["group"], "family");
    assert_eq!(fields["method"], "POST");
    assert_eq!(fields["path"], "\"/v1/messages\"");
    assert_eq!(fields["status"], 200);
    assert_eq!(fields["bytes"], bytes.len());
    assert_eq!(fields["complete"], true);
    assert!(fields["ms"].is_u64(), "{fields}");
    assert_eq!((&fields["rule"], &fields["verdict"]), (&json!("model_api"), &json!("allowed")));
    assert!(fields["output_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{fields}");
    assert_eq!(events[1]["fields"]["status"], 403);
    assert_eq!(events[1]["fields"]["verdict"], "not-allowed");
    for secret in [KEY, "secret question", "placeholder", "query-secret"] {
        assert!(!log.text().contains(secret), "{secret} was logged: {}", log.text());
    }
}

#[tokio::test]
async fn dropping_the_socket_ends_what_was_on_it() {
    let mut house = House::new().await;
    let path = house.socket().path().to_owned();
    let steps = house.api.step_events();
    // The head leaves the fake only together with the first event.
    steps.release(1);
    let mut response = within(house.ask_streamed("hello").send()).await.unwrap();
    assert!(within(response.chunk()).await.unwrap().is_some());
    house.socket = None;
    assert!(!path.exists());
    assert!(within(response.chunk()).await.is_err(), "a stream went on without its gateway");
    assert!(UnixStream::connect(&path).await.is_err());
}

#[tokio::test]
async fn a_closed_socket_is_gone_when_close_returns() {
    let mut house = House::new().await;
    let mut connection = UnixStream::connect(house.socket().path()).await.unwrap();
    let socket = house.socket.take().unwrap();
    let path = socket.path().to_owned();
    socket.close().await;
    assert!(!path.exists());
    assert_eq!(within(connection.read(&mut [0; 1])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_head_that_is_too_big_is_refused() {
    let house = House::new().await;
    let huge = format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-huge: {}\r\n\r\n", "a".repeat(256 * 1024));
    let answer = say(&house, &huge).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-many: 1\r\n".repeat(200));
    let answer = say(&house, &many).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(house.api.requests().is_empty());
}

#[tokio::test]
async fn one_groups_flood_of_connections_keeps_no_other_group_out() {
    let house = House::new().await;
    let flooded = house.open("flooded", "flooded");
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.push(UnixStream::connect(flooded.path()).await.unwrap());
    }
    assert_eq!(within(house.ask("hello").send()).await.unwrap().status(), StatusCode::OK);
    drop(flood);
    assert!(within(post(flooded.path())).await.is_ok(), "a flood that is over leaves nothing behind");
}

#[tokio::test]
async fn the_socket_is_the_containers_users_and_the_folder_the_hosts() {
    let house = House::new().await;
    let socket = house.socket().path().metadata().unwrap();
    let folder = house.socket().path().parent().unwrap().metadata().unwrap();
    assert_eq!(socket.uid(), run_user().uid);
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    assert_eq!(folder.permissions().mode() & 0o777, 0o711);
    assert_eq!(folder.uid(), own_ids().0);
}

#[tokio::test]
async fn a_link_in_place_of_the_folder_is_refused() {
    let house = House::new().await;
    let target = house.dir.path().join("target");
    std::fs::create_dir(&target).unwrap();
    let link = house.dir.path().join("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let opened = house.gateway.open(&link, &GroupFolder::new("family").unwrap(), Policy::model_api(), run_user());
    assert!(matches!(opened, Err(GatewayError::Folder { .. })));
    assert!(!target.join(SOCKET_NAME).exists());
}

#[tokio::test]
async fn another_users_folder_is_refused() {
    if own_ids().0 != 0 {
        println!("skipped: needs root, to make a folder that is another user's");
        return;
    }
    let house = House::new().await;
    let foreign = house.dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::os::unix::fs::chown(&foreign, Some(1000), Some(1000)).unwrap();
    let opened = house.gateway.open(&foreign, &GroupFolder::new("family").unwrap(), Policy::model_api(), run_user());
    assert!(matches!(opened, Err(GatewayError::ForeignFolder { owner: 1000, .. })));
}

/// A gateway with the socket of the group `family`, and a fake model API that wants [`KEY`].
struct House {
    api: FakeModelApi,
    gateway: Gateway,
    dir: TempDir,
    socket: Option<GatewaySocket>,
}

impl House {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Upstream)) -> Self {
        let api = FakeModelApi::start(Script::echo()).await.unwrap();
        api.expect_key(KEY);
        let mut upstream = Upstream::new(api.base_url(), key());
        change(&mut upstream);
        Self::of(api, upstream)
    }

    /// With an upstream of the test's own; the fake is there to see that nothing comes.
    async fn at(upstream: Upstream) -> Self {
        Self::of(FakeModelApi::start(Script::echo()).await.unwrap(), upstream)
    }

    fn of(api: FakeModelApi, upstream: Upstream) -> Self {
        Log::install();
        let gateway = Gateway::new(upstream).unwrap();
        let mut house = Self { api, gateway, dir: tempfile::tempdir().unwrap(), socket: None };
        house.socket = Some(house.open("gateway", "family"));
        house
    }

    fn open(&self, dir: &str, group: &str) -> GatewaySocket {
        self.gateway
            .open(&self.dir.path().join(dir), &GroupFolder::new(group).unwrap(), Policy::model_api(), run_user())
            .unwrap()
    }

    fn socket(&self) -> &GatewaySocket {
        self.socket.as_ref().unwrap()
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        client(self.socket().path()).request(method, format!("http://127.0.0.1:8788{path}"))
    }

    fn ask(&self, text: &str) -> reqwest::RequestBuilder {
        self.request(Method::POST, "/v1/messages?beta=true").body(body(text, false).to_string())
    }

    fn ask_streamed(&self, text: &str) -> reqwest::RequestBuilder {
        self.request(Method::POST, "/v1/messages?beta=true").body(body(text, true).to_string())
    }
}

fn key() -> Option<Credential> {
    Some(Credential::ApiKey(Secret::new(KEY)))
}

fn own_ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// A container never runs as root; an ordinary user's containers run as that user.
fn run_user() -> RunAs {
    match own_ids() {
        (0, _) => RunAs { uid: 1000, gid: 1000 },
        (uid, gid) => RunAs { uid, gid },
    }
}

fn client_builder(socket: &Path) -> reqwest::ClientBuilder {
    tls::install_provider();
    reqwest::Client::builder().unix_socket(socket.to_owned()).tls_certs_only([]).no_proxy()
}

fn client(socket: &Path) -> reqwest::Client {
    client_builder(socket).build().unwrap()
}

fn body(text: &str, stream: bool) -> Value {
    json!({"model": "claude-test", "max_tokens": 64, "stream": stream, "messages": [{"role": "user", "content": text}]})
}

async fn json_of(response: reqwest::Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

fn text_of(answer: &Value) -> &str {
    answer["content"][0]["text"].as_str().unwrap_or_default()
}

/// A question and its answer over `socket`, on a connection of its own.
async fn post(socket: &Path) -> Result<(), reqwest::Error> {
    let request = client(socket).post("http://127.0.0.1:8788/v1/messages").body(body("hello", false).to_string());
    request.send().await?.error_for_status().map(drop)
}

/// Sends `text` as it is and returns the answer's beginning.
async fn say(house: &House, text: &str) -> String {
    let mut connection = UnixStream::connect(house.socket().path()).await.unwrap();
    // The gateway may answer and close before all is written.
    let _ = connection.write_all(text.as_bytes()).await;
    let mut answer = vec![0; 4096];
    let length = within(connection.read(&mut answer)).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// A model API played by hand.
async fn raw_upstream() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    (listener, base_url)
}

async fn read_until(connection: &mut TcpStream, wanted: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        assert_ne!(within(connection.read_buf(&mut seen)).await.unwrap(), 0, "ended without {wanted}");
    }
}

/// A bound that is reached only when something hangs.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("took longer than 20 s")
}
