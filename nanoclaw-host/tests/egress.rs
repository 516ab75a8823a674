//! Egress with real sockets: clients on a group's side, hosts on loopback that names are made to lead to, and everybody's
//! attempts to get where they must not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::Method;
use nanoclaw_core::{group::GroupFolder, runtime::RunAs, secret::Secret};
use nanoclaw_fakes::model_api::{FakeModelApi, Script};
use nanoclaw_host::gateway::{
    AllowList, Credential, FurtherUpstream, Gateway, GatewaySocket, Injection, Limits, Policy, PrivateEndpoints,
    Resolve, Upstream, tls,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

#[path = "support/captured_log.rs"]
mod captured_log;

use captured_log::Log;

const SECRET: &str = "REAL-upstream-secret";

#[tokio::test]
async fn a_tunnel_leads_to_an_allowed_host_and_carries_bytes_both_ways() {
    let house = House::new(Echo::start().await).await;
    let (answer, mut tunnel) = house.connect(&house.site()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    tunnel.write_all(b"hello").await.unwrap();
    assert_eq!(read_exactly(&mut tunnel, 5).await, b"hello");
    // Half an end is passed on, and the other half still comes.
    tunnel.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within(tunnel.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"bye");
    let counts = &house.gateway.counts()[0];
    assert_eq!((counts.requests, counts.refused, counts.bytes_sent, counts.bytes_received), (1, 0, 5, 8));
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_refused_with_the_line_that_allows_it() {
    let house = House::new(Echo::start().await).await;
    for target in ["evil.test:443", &format!("site.test:{}", house.far.port() ^ 1), "sub.site.test:443"] {
        let (answer, _) = house.connect(target).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.contains("x-nanoclaw-gateway: host-not-allowed"), "{answer}");
        assert!(answer.contains(&format!("allow = [\\\"{target}\\\"]")), "{answer}");
    }
    let answer = house.say("GET http://evil.test/ HTTP/1.1\r\nhost: site.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "the target counts, not the header: {answer}");
    assert_eq!(house.resolver.asked(), Vec::<String>::new(), "what is not allowed is not even resolved");
    assert_eq!(house.gateway.counts()[0].refused, 4);
}

#[tokio::test]
async fn an_address_that_is_not_public_is_refused_whatever_name_it_has() {
    let house = House::new(Echo::start().await).await;
    for address in [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "169.254.169.254",
        "100.64.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.2.1",
        "168.63.129.16",
        "::1",
        "::",
        "fd00::1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "::10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "2002:a00:1::1",
        "2001:0:a00:1::1",
        "2001:db8::1",
    ] {
        house.resolver.set("public.test", &[address]);
        for port in [443, 80] {
            let (answer, _) = house.connect(&format!("public.test:{port}")).await;
            assert!(answer.contains("x-nanoclaw-gateway: address-not-public"), "{address}: {answer}");
        }
        let answer = house.say("GET http://public.test/ HTTP/1.1\r\nhost: public.test\r\n\r\n").await;
        assert!(answer.contains("address-not-public"), "{address}: {answer}");
    }
}

#[tokio::test]
async fn one_private_address_among_public_ones_spoils_them() {
    let house = House::new(Echo::start().await).await;
    for mixed in [["93.184.216.34", "10.0.0.1"], ["10.0.0.1", "93.184.216.34"], ["2606:4700::1", "fd00::1"]] {
        house.resolver.set("public.test", &mixed);
        let (answer, _) = house.connect("public.test:443").await;
        assert!(answer.contains("address-not-public"), "{answer}");
    }
    house.resolver.set("public.test", &[]);
    let (answer, _) = house.connect("public.test:443").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("host-unknown"), "{answer}");
}

#[tokio::test]
async fn a_name_that_changes_its_answer_gains_nothing() {
    let house = House::new(Echo::start().await).await;
    // The name is asked about once a request, and that one answer is used: the second one would lead elsewhere.
    house.resolver.change("site.test", &[&["127.0.0.1"], &["169.254.169.254"], &["127.0.0.1"]]);
    let (answer, mut tunnel) = house.connect(&house.site()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    tunnel.write_all(b"hello").await.unwrap();
    assert_eq!(read_exactly(&mut tunnel, 5).await, b"hello");
    assert_eq!(house.resolver.asked().len(), 1);
    // A private name is trusted for private addresses, not for metadata.
    let (answer, _) = house.connect(&house.site()).await;
    assert!(answer.contains("address-not-public"), "{answer}");
}

#[tokio::test]
async fn an_address_in_the_request_is_refused_unless_it_is_a_listed_endpoint() {
    let echo = Echo::start().await;
    let port = echo.port();
    let house = House::with(echo, |policy| {
        let own = format!("127.0.0.1:{port}");
        policy.allow = AllowList::parse([own.as_str(), "10.0.0.1:443"]).unwrap();
        policy.private = PrivateEndpoints::parse([own.as_str()]).unwrap();
    })
    .await;
    let (answer, mut tunnel) = house.connect(&format!("127.0.0.1:{port}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    tunnel.write_all(b"x").await.unwrap();
    for target in ["127.0.0.1:1", "127.0.0.2:443", "8.8.8.8:443", "[::1]:443"] {
        let (answer, _) = house.connect(target).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
    }
    let (answer, _) = house.connect("10.0.0.1:443").await;
    assert!(answer.contains("address-not-public"), "allowed, and no exception: {answer}");
    for disguised in ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.0.0.1", "[::ffff:127.0.0.1"] {
        let (answer, _) = house.connect(&format!("{disguised}:{port}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{disguised}: {answer}");
    }
    assert_eq!(house.resolver.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn tls_in_a_tunnel_names_the_host_of_the_tunnel() {
    let house = House::new(Echo::start().await).await;
    let hello = client_hello("site.test");
    let (_, mut tunnel) = house.connect(&house.site()).await;
    // However slowly it comes.
    for part in hello.chunks(50) {
        tunnel.write_all(part).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(read_exactly(&mut tunnel, hello.len()).await, hello);
    let seen = house.far.bytes();

    for (name, why) in [("evil.test", "another name"), ("127.0.0.1", "no name")] {
        let (answer, mut tunnel) = house.connect(&house.site()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        tunnel.write_all(&client_hello(name)).await.unwrap();
        let mut alert = Vec::new();
        let _ = within(tunnel.read_to_end(&mut alert)).await;
        assert_eq!(alert, [21, 3, 1, 0, 2, 2, 112], "{why}");
    }
    assert_eq!(house.far.bytes(), seen, "nothing of it went out");
}

#[tokio::test]
async fn plain_http_goes_on_with_the_targets_name_and_without_what_is_the_connections() {
    let far = Web::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-far: 1\r\nconnection: close\r\n\r\nok").await;
    let house = House::new(far).await;
    let answer = house
        .say(&format!(
            "POST http://SITE.test:{}/path?q=1 HTTP/1.1\r\nhost: internal.corp\r\nauthorization: Bearer own\r\n\
             proxy-authorization: Basic x\r\nconnection: x-private\r\nx-private: 1\r\ncontent-length: 4\r\n\r\nbody",
            house.far.port()
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
    let request = house.far.text();
    assert!(request.starts_with("POST /path?q=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: site.test:{}\r\n", house.far.port())), "{request}");
    assert!(request.contains("authorization: Bearer own"), "the agent's own word to this host is its own: {request}");
    for gone in ["internal.corp", "proxy-authorization", "x-private", "REAL"] {
        assert!(!request.contains(gone), "{gone}: {request}");
    }
    assert!(request.ends_with("\r\n\r\nbody"), "{request}");
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_the_clients_and_is_refused_when_it_follows() {
    let far = Web::start(
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    )
    .await;
    let house = House::new(far).await;
    let answer = house.get().await;
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    let answer = house.say("GET http://169.254.169.254/latest/ HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(house.far.connections(), 1);
}

#[tokio::test]
async fn what_two_readers_could_take_for_different_requests_reaches_the_host_as_one() {
    let port_of = |house: &House<Web>| house.far.port();
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: site.test\r\n\r\n";
    for (name, head, body) in [
        ("both lengths", "content-length: 6\r\ntransfer-encoding: chunked", format!("0\r\n\r\n{smuggled}")),
        (
            "both lengths, the other way",
            "transfer-encoding: chunked\r\ncontent-length: 3",
            format!("0\r\n\r\n{smuggled}"),
        ),
        ("two lengths", "content-length: 0\r\ncontent-length: 46", smuggled.to_owned()),
        ("a length with a sign", "content-length: +0", smuggled.to_owned()),
        ("a folded line", "x-a: 1\r\n transfer-encoding: chunked\r\ncontent-length: 0", smuggled.to_owned()),
        ("a space before the colon", "content-length : 0", smuggled.to_owned()),
        ("an unknown coding", "transfer-encoding: xchunked", format!("0\r\n\r\n{smuggled}")),
        ("a coding behind a tab", "transfer-encoding:\tchunked, identity", format!("0\r\n\r\n{smuggled}")),
    ] {
        let far = Web::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        let house = House::new(far).await;
        let target = format!("http://site.test:{}/first", port_of(&house));
        let answer = house.say(&format!("POST {target} HTTP/1.1\r\nhost: site.test\r\n{head}\r\n\r\n{body}")).await;
        let seen = house.far.text();
        assert!(!seen.contains("smuggled"), "{name}: {seen}\n{answer}");
        assert!(seen.matches("HTTP/1.1\r\n").count() <= 1, "{name}: {seen}");
        assert!(!(seen.contains("content-length") && seen.contains("transfer-encoding")), "{name}: {seen}");
    }
}

#[tokio::test]
async fn what_is_sent_with_a_connect_is_the_tunnels_and_no_further_request() {
    let house = House::new(Echo::start().await).await;
    let mut stream = UnixStream::connect(house.socket.path()).await.unwrap();
    let pipelined = "CONNECT evil.test:443 HTTP/1.1\r\nhost: evil.test\r\n\r\n";
    let text = format!("CONNECT {0} HTTP/1.1\r\nhost: {0}\r\n\r\n{pipelined}", house.site());
    stream.write_all(text.as_bytes()).await.unwrap();
    let answer = read_head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(read_exactly(&mut stream, pipelined.len()).await, pipelined.as_bytes());
    assert_eq!(house.gateway.counts()[0].requests, 1);
}

#[tokio::test]
async fn heads_that_are_floods_are_refused() {
    let house = House::new(Echo::start().await).await;
    let many = "x-many: 1\r\n".repeat(500);
    let huge = format!("x-huge: {}\r\n", "a".repeat(256 << 10));
    for flood in [&many, &huge] {
        let answer = house.say(&format!("CONNECT {} HTTP/1.1\r\n{flood}\r\n", house.site())).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert_eq!(house.far.connections(), 0);
}

#[tokio::test]
async fn who_drips_its_head_or_its_body_is_given_up() {
    let far = Web::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let house = House::with(far, |policy| {
        policy.limits = Limits { head_time: MOMENT, idle: MOMENT, ..Limits::default() };
    })
    .await;
    let mut slow = UnixStream::connect(house.socket.path()).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let mut rest = Vec::new();
    let _ = within(slow.read_to_end(&mut rest)).await;
    let answer = house
        .say(&format!("POST http://{}/ HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf", house.site()))
        .await;
    assert!(answer.starts_with("HTTP/1.1 408 ") || answer.starts_with("HTTP/1.1 504 "), "{answer}");
    // A tunnel in which nothing moves ends too.
    let quiet = House::with(Silent::start().await, |policy| policy.limits.idle = MOMENT).await;
    let (_, mut tunnel) = quiet.connect(&quiet.site()).await;
    assert_eq!(within(tunnel.read(&mut [0; 1])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_limit_that_is_reached_says_which_and_when_again() {
    let house = House::with(Echo::start().await, |policy| {
        policy.limits = Limits { tunnels: 2, requests_a_minute: 6, request_bytes: 100, ..Limits::default() };
    })
    .await;
    let first = house.connect(&house.site()).await.1;
    let _second = house.connect(&house.site()).await.1;
    let (answer, _) = house.connect(&house.site()).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("2 tunnels at a time"), "{answer}");
    assert!(answer.contains("retry-after: 5"), "{answer}");
    drop(first);
    let large = format!("POST http://{}/ HTTP/1.1\r\nhost: x\r\ncontent-length: 101\r\n\r\n", house.site());
    let answer = house.say(&format!("{large}{}", "x".repeat(101))).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("100 bytes"), "{answer}");
    let chunked = format!("POST http://{}/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", house.site());
    let answer = house.say(&format!("{chunked}65\r\n{}\r\n0\r\n\r\n", "x".repeat(0x65))).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let _sixth = house.connect("evil.test:443").await;
    let (answer, _) = house.connect(&house.site()).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("6 requests a minute"), "{answer}");
    // Another group has its own.
    let other = house.open_for("other", &house.policy);
    let (answer, _) = connect_at(other.path(), &house.site()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn who_asks_without_end_waits_for_each_refusal_and_fills_no_log() {
    let log = Log::capture();
    let house = House::with(Echo::start().await, |policy| policy.limits.requests_a_minute = 3).await;
    for _ in 0..3 {
        assert!(house.say("GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.starts_with("HTTP/1.1 403 "));
    }
    let begun = std::time::Instant::now();
    let flood = (0..40).map(|_| house.say("GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n"));
    for answer in futures_util::future::join_all(flood).await {
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    }
    assert!(begun.elapsed() >= Duration::from_secs(1));
    for _ in 0..5 {
        assert!(house.say("HEAD / HTTP/1.1\r\nhost: x\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
    }
    let told = log.events(4).await;
    assert_eq!(told.len(), 4, "{told:#?}");
    let last = &told[3]["fields"];
    assert!(last.to_string().contains("too-many") && last["others"] == 0, "{told:#?}");
    assert_eq!(house.gateway.counts()[0].refused, 43, "each of them counts");
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_until_another_one_ends() {
    let house = House::with(Echo::start().await, |policy| policy.limits.connections = 1).await;
    let (answer, first) = house.connect(&house.site()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut second = UnixStream::connect(house.socket.path()).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let early = tokio::time::timeout(MOMENT, second.read_u8()).await;
    assert!(early.is_err(), "it was served beside the first");
    drop(first);
    let answer = read_head(&mut second).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended_though_it_never_stands_still() {
    let house = House::with(Drip::start().await, |policy| policy.limits.request_time = MOMENT).await;
    // It would not end by itself.
    house.get().await;
    // So is one that the group sends drop by drop, to a host that says nothing before it is whole.
    let house = House::with(Silent::start().await, |policy| policy.limits.request_time = MOMENT).await;
    let mut slow = UnixStream::connect(house.socket.path()).await.unwrap();
    let head = format!("POST http://{}/ HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n", house.site());
    slow.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = slow.split();
    let drips = async {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(MOMENT / 10).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        _ = within(read.read_to_end(&mut answer)) => {}
        () = drips => {}
    }
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
}

/// The resolver is the one part that a test can make fail by a panic; the gateway treats all of them the same.
#[tokio::test]
async fn a_fault_of_the_gateways_own_is_answered_and_costs_nobody_else_anything() {
    let house = House::new(Echo::start().await).await;
    let (_, mut before) = house.connect(&house.site()).await;
    for _ in 0..2 {
        let (answer, _) = house.connect("fault.test:443").await;
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("x-nanoclaw-gateway: failed"), "{answer}");
        assert!(answer.contains("the host's log says more"), "{answer}");
    }
    let (answer, _after) = house.connect(&house.site()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    before.write_all(b"still here").await.unwrap();
    assert_eq!(read_exactly(&mut before, 10).await, b"still here");
    assert_eq!(house.gateway.counts()[0].requests, 4, "every one is counted");
}

#[tokio::test]
async fn a_gibibyte_through_a_tunnel_takes_no_more_memory_than_a_mebibyte() {
    const GIBIBYTE: usize = 1 << 30;
    if in_a_process_of_its_own("a_gibibyte_through_a_tunnel_takes_no_more_memory_than_a_mebibyte") {
        return;
    }
    let house = House::new(Source::start(GIBIBYTE).await).await;
    let (_, mut tunnel) = house.connect(&house.site()).await;
    let mut buffer = vec![0; 1 << 20];
    let (mut total, mut before, mut most) = (0, 0, 0);
    loop {
        let length = within(tunnel.read(&mut buffer)).await.unwrap();
        if length == 0 {
            break;
        }
        total += length;
        if total > GIBIBYTE / 16 && before == 0 {
            before = resident_kibibytes();
        }
        if total.is_multiple_of(64) {
            most = most.max(resident_kibibytes());
        }
    }
    assert_eq!(total, GIBIBYTE);
    assert!(before > 0 && most > 0, "it was not looked at");
    assert!(most < before + 8 * 1024, "{before} KiB grew to {most} KiB");
}

#[tokio::test]
async fn a_gateway_that_was_opened_anew_carries_new_tunnels() {
    let mut house = House::new(Echo::start().await).await;
    let (_, mut old) = house.connect(&house.site()).await;
    let dir = house.dir.path().join("gateway");
    let opened = house.gateway.open(&dir, &folder("family"), house.policy.clone(), own_user()).unwrap();
    drop(std::mem::replace(&mut house.socket, opened));
    assert_eq!(within(old.read(&mut [0; 1])).await.unwrap_or(0), 0, "the old one ended with its gateway");
    let (answer, mut tunnel) = house.connect(&house.site()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    tunnel.write_all(b"again").await.unwrap();
    assert_eq!(read_exactly(&mut tunnel, 5).await, b"again");
}

#[tokio::test]
async fn a_further_upstream_gets_the_hosts_credential_and_nothing_of_the_agents() {
    for (inject, expected) in [
        (Injection::Bearer, format!("authorization: Bearer {SECRET}")),
        (Injection::Header("x-token".parse().unwrap()), format!("x-token: {SECRET}")),
        (Injection::Basic("me".to_owned()), "authorization: Basic bWU6UkVBTC11cHN0cmVhbS1zZWNyZXQ=".to_owned()),
        (Injection::Query("key".to_owned()), format!("key={SECRET}")),
    ] {
        let far =
            Web::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=b\r\nconnection: close\r\n\r\nok").await;
        let house = House::with_upstream(far, inject, true).await;
        let answer = house
            .say(
                "GET /upstream/site/repos/me?key=fake&a=1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer fake\r\n\
                 x-token: fake\r\nx-api-key: fake\r\ncookie: c=fake\r\n\r\n",
            )
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("set-cookie"), "{answer}");
        let request = house.far.text();
        assert!(request.starts_with("GET /base/repos/me?"), "{request}");
        assert!(request.contains(&expected), "{expected}: {request}");
        let query_is_the_agents = !expected.starts_with("key=");
        assert_eq!(
            request.matches("fake").count() - usize::from(request.contains("x-token: fake")),
            usize::from(query_is_the_agents),
            "{request}"
        );
        for path in ["/upstream/site/admin", "/upstream/site/repos/../admin", "/upstream/site/repos/%2e%2e/admin"] {
            let answer = house.say(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
            assert!(answer.contains("not-of-upstream") || answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
        }
        let answer = house.say("DELETE /upstream/site/repos HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.contains("not-of-upstream"), "{answer}");
        assert_eq!(house.far.connections(), 1);
    }
}

#[tokio::test]
async fn a_further_upstream_is_for_its_groups_and_not_at_a_private_address_by_accident() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let ask = "GET /upstream/site/repos HTTP/1.1\r\nhost: x\r\n\r\n";
    let house = House::with_upstream(Web::start(ok).await, Injection::Bearer, true).await;
    let other = house.open_for("other", &Policy::model_api());
    let answer = say_at(other.path(), ask).await;
    assert!(answer.contains("no-such-upstream"), "{answer}");
    assert_eq!(house.far.connections(), 0);

    let unexcepted = House::with_upstream(Web::start(ok).await, Injection::Bearer, false).await;
    let answer = unexcepted.say(ask).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("the host itself") && !answer.contains(SECRET), "{answer}");
    assert_eq!(unexcepted.far.connections(), 0);
}

#[tokio::test]
async fn a_further_upstreams_secret_is_replaced_between_two_requests_and_without_one_it_is_not_asked() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let ask = "GET /upstream/site/repos HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let house = House::with_upstream(Web::start(ok).await, Injection::Bearer, true).await;
    assert!(house.say(ask).await.starts_with("HTTP/1.1 200 "));
    house.gateway.set_upstream_secret("site", Some(Secret::new("the-new-one"))).unwrap();
    assert!(house.say(ask).await.starts_with("HTTP/1.1 200 "));
    let asked = house.far.text();
    assert!(asked.contains(&format!("Bearer {SECRET}")) && asked.contains("Bearer the-new-one"), "{asked}");
    house.gateway.set_upstream_secret("site", None).unwrap();
    let answer = house.say(ask).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("no secret for the upstream site"), "{answer}");
    assert_eq!(house.far.connections(), 2);
    house.gateway.set_upstream_secret("nobody declared this", None).unwrap();
}

#[tokio::test]
async fn tokens_are_counted_for_the_group_that_spent_them() {
    let api = FakeModelApi::start(Script::echo()).await.unwrap();
    let upstream = Upstream::new(api.base_url(), Some(Credential::ApiKey(Secret::new("key"))));
    let gateway = Gateway::new(upstream).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let socket = gateway.open(dir.path(), &folder("family"), Policy::model_api(), own_user()).unwrap();
    tls::install_provider();
    let client = reqwest::Client::builder().unix_socket(socket.path().to_owned()).tls_certs_only([]).no_proxy();
    let client = client.build().unwrap();
    let mut usages = Vec::new();
    for stream in [false, true] {
        let body = serde_json::json!({"model": "m", "max_tokens": 9, "stream": stream,
            "messages": [{"role": "user", "content": "hello you"}]});
        let request = client.post("http://127.0.0.1:8788/v1/messages").body(body.to_string());
        let answer = request.header("accept-encoding", "gzip, br").send().await.unwrap().text().await.unwrap();
        assert!(answer.contains("usage"), "{answer}");
        let counts = gateway.counts().remove(0);
        usages.push((counts.input_tokens, counts.output_tokens));
    }
    assert!(usages[0].0 > 0 && usages[0].1 > 0, "{usages:?}");
    assert_eq!(usages[1], (usages[0].0 * 2, usages[0].1 * 2), "the same streamed costs the same");
    assert_eq!(api.requests()[0].header("accept-encoding"), Some("identity"));
}

/// A short time, in tests of what is given up.
const MOMENT: Duration = Duration::from_millis(100);

/// A gateway with one group's socket, and one host that `site.test` leads to.
struct House<F> {
    far: F,
    gateway: Gateway,
    resolver: Names,
    policy: Policy,
    dir: TempDir,
    socket: GatewaySocket,
}

impl<F: Far> House<F> {
    async fn new(far: F) -> Self {
        Self::with(far, |_| {}).await
    }

    async fn with(far: F, change: impl FnOnce(&mut Policy)) -> Self {
        Self::made(far, Vec::new(), true, change)
    }

    async fn with_upstream(far: F, inject: Injection, excepted: bool) -> Self {
        let upstream = FurtherUpstream {
            name: "site".parse().unwrap(),
            // Plain HTTP is spoken to loopback only.
            base_url: format!("http://localhost:{}/base", far.port()),
            inject,
            secret: Some(Secret::new(SECRET)),
            methods: vec![Method::GET],
            paths: vec!["/repos".to_owned()],
        };
        Self::made(far, vec![upstream], excepted, |policy| policy.upstreams = vec!["site".to_owned()])
    }

    fn made(far: F, further: Vec<FurtherUpstream>, excepted: bool, change: impl FnOnce(&mut Policy)) -> Self {
        Log::install();
        tls::install_provider();
        let resolver = Names::default();
        resolver.set("site.test", &["127.0.0.1"]);
        resolver.set("localhost", &["127.0.0.1"]);
        let site = format!("site.test:{}", far.port());
        let excepts = [site.clone(), format!("localhost:{}", far.port())];
        let private = PrivateEndpoints::parse(excepts.iter().map(String::as_str).filter(|_| excepted)).unwrap();
        let mut policy =
            Policy::hosts(AllowList::parse([site.as_str(), "public.test", "public.test:80", "fault.test"]).unwrap());
        policy.private = private.clone();
        change(&mut policy);
        let model = Upstream::new("http://127.0.0.1:9", None);
        let gateway = Gateway::with(model, further, &private, Arc::new(resolver.clone())).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let socket = gateway.open(&dir.path().join("gateway"), &folder("family"), policy.clone(), own_user()).unwrap();
        Self { far, gateway, resolver, policy, dir, socket }
    }

    fn open_for(&self, group: &str, policy: &Policy) -> GatewaySocket {
        self.gateway.open(&self.dir.path().join(group), &folder(group), policy.clone(), own_user()).unwrap()
    }

    fn site(&self) -> String {
        format!("site.test:{}", self.far.port())
    }

    async fn connect(&self, target: &str) -> (String, UnixStream) {
        connect_at(self.socket.path(), target).await
    }

    async fn say(&self, text: &str) -> String {
        say_at(self.socket.path(), text).await
    }

    async fn get(&self) -> String {
        self.say(&format!("GET http://{}/ HTTP/1.1\r\nhost: x\r\n\r\n", self.site())).await
    }
}

/// Asks for a tunnel; the head of the answer, with its body when it is a refusal.
async fn connect_at(socket: &std::path::Path, target: &str) -> (String, UnixStream) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = read_head(&mut stream).await;
    if !answer.starts_with("HTTP/1.1 200 ") {
        let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let body = read_exactly(&mut stream, length.trim().parse().unwrap()).await;
        answer.push_str(std::str::from_utf8(&body).unwrap());
    }
    (answer, stream)
}

/// Sends `text`, and returns what comes until the other side ends or has said what it wants.
async fn say_at(socket: &std::path::Path, text: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let text = text.replacen("\r\nhost:", "\r\nconnection: close\r\nhost:", 1);
    // The gateway may answer and close before all is written.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match within(stream.read_u8()).await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

async fn read_exactly(stream: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    within(stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

fn folder(name: &str) -> GroupFolder {
    GroupFolder::new(name).unwrap()
}

fn own_user() -> RunAs {
    RunAs { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

fn client_hello(name: &str) -> Vec<u8> {
    tls::install_provider();
    let config =
        rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Runs the test of this name, which asks this first, once more where no other test uses memory; `false` there.
fn in_a_process_of_its_own(test: &str) -> bool {
    const ALONE: &str = "NANOCLAW_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return false;
    }
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let output = alone.args(["--exact", test, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    true
}

fn resident_kibibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// A bound that is reached only when something hangs.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("took longer than 30 s")
}

/// A resolver that says what a test wants, one answer after the other; the last one stays.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    answers: BTreeMap<String, Vec<Vec<IpAddr>>>,
    asked: Vec<String>,
}

impl Names {
    fn set(&self, name: &str, addresses: &[&str]) {
        self.change(name, &[addresses]);
    }

    fn change(&self, name: &str, answers: &[&[&str]]) {
        let parsed = |addresses: &&[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.0.lock().unwrap().answers.insert(name.to_owned(), answers.iter().map(parsed).collect());
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().asked.clone()
    }
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        assert_ne!(host, "fault.test", "an injected fault");
        let known = &mut *self.0.lock().unwrap();
        known.asked.push(host.to_owned());
        let answers = known.answers.get_mut(host).ok_or_else(|| io::Error::other("no such name"))?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

/// A host on loopback.
trait Far {
    fn port(&self) -> u16;
}

/// What a host saw.
#[derive(Clone, Default)]
struct Seen {
    bytes: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicUsize>,
}

macro_rules! far {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        struct $name {
            address: SocketAddr,
            #[expect(dead_code, reason = "not every host is asked what it saw")]
            seen: Seen,
        }
        impl Far for $name {
            fn port(&self) -> u16 {
                self.address.port()
            }
        }
    };
}

/// Serves connections for as long as the test's runtime lives.
async fn listen<C: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream, Seen) -> C + Send + 'static,
) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let shared = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            shared.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream, shared.clone()));
        }
    });
    (address, seen)
}

/// Says everything back, and `bye` at the end.
struct Echo {
    address: SocketAddr,
    seen: Seen,
}

impl Far for Echo {
    fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Echo {
    async fn start() -> Self {
        let (address, seen) = listen(|mut stream, seen| async move {
            let mut buffer = vec![0; 4096];
            while let Ok(length) = stream.read(&mut buffer).await {
                if length == 0 {
                    let _ = stream.write_all(b"bye").await;
                    return;
                }
                seen.bytes.lock().unwrap().extend_from_slice(&buffer[..length]);
                let _ = stream.write_all(&buffer[..length]).await;
            }
        })
        .await;
        Self { address, seen }
    }

    fn bytes(&self) -> Vec<u8> {
        self.seen.bytes.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

/// Answers every request with the same text, once its head and its body are there.
struct Web {
    address: SocketAddr,
    seen: Seen,
}

impl Far for Web {
    fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Web {
    async fn start(answer: &'static str) -> Self {
        let (address, seen) = listen(move |mut stream, seen| async move {
            let mut buffer = vec![0; 4096];
            loop {
                let Ok(length @ 1..) = stream.read(&mut buffer).await else { return };
                let text = {
                    let mut bytes = seen.bytes.lock().unwrap();
                    bytes.extend_from_slice(&buffer[..length]);
                    String::from_utf8_lossy(&bytes).to_lowercase()
                };
                let Some((head, body)) = text.rsplit_once("\r\n\r\n") else { continue };
                let expected = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let complete = match expected.and_then(|length| length.trim().parse::<usize>().ok()) {
                    Some(length) => body.len() >= length,
                    None => !head.contains("chunked") || text.ends_with("0\r\n\r\n"),
                };
                if complete {
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                    // Whatever comes after the first request is seen as well.
                    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                        seen.bytes.lock().unwrap().extend_from_slice(&buffer[..length]);
                    }
                    return;
                }
            }
        })
        .await;
        Self { address, seen }
    }

    fn text(&self) -> String {
        String::from_utf8(self.seen.bytes.lock().unwrap().clone()).unwrap()
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

far!(Silent, "Says nothing and does not end.");

impl Silent {
    async fn start() -> Self {
        let (address, seen) = listen(|stream, _| async move {
            let _open = stream;
            std::future::pending().await
        })
        .await;
        Self { address, seen }
    }
}

far!(Drip, "Answers a request with a body that never stands still and never ends.");

impl Drip {
    async fn start() -> Self {
        let (address, seen) = listen(|mut stream, _| async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(MOMENT / 10).await;
            }
        })
        .await;
        Self { address, seen }
    }
}

far!(Source, "Sends so many bytes and ends.");

impl Source {
    async fn start(bytes: usize) -> Self {
        let (address, seen) = listen(move |mut stream, _| async move {
            let block = vec![7; 1 << 20];
            for _ in 0..bytes >> 20 {
                if stream.write_all(&block).await.is_err() {
                    return;
                }
            }
        })
        .await;
        Self { address, seen }
    }
}
