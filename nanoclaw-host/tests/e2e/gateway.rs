//! The gateway's life beside that of an agent who works: its host is killed or ended and starts again, or the gateway's own
//! worker fails while the host lives.
//!
//! No test is timed. How soon an agent has its gateway again is printed, as `measured: …`.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    thread,
    time::Instant,
};

use nanoclaw_fakes::model_api::{FakeModelApi, Script};
use rustix::process::Signal;

use crate::{
    adoption::{End, end},
    bridge::{Bridge, Chat, register},
    place::{On, Place, on_each_runtime},
    process::until,
};

on_each_runtime![a_gateway_whose_worker_fails_serves_live_containers_on];

const KEY: &str = "sk-ant-REAL-0123456789";

/// What an agent does while its host goes and comes back: a tunnel of before, requests that it makes while there is no
/// gateway, and others when there is one again. It and the test tell each other by files.
const LIFE: &str = r#"
round=$1 site=$2
question='{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}'
tell() { : > "$1-$round"; }
wait_for() { until [ -e "$1-$round" ]; do busybox usleep 5000; done; }
model() { busybox wget -Y off -q -O - --post-data "$question" "$ANTHROPIC_BASE_URL/v1/messages"; }
fetch() { busybox wget -q -O - "http://$site/"; }
# Asks until there is an answer; each refusal has to be the one that says that there is no gateway.
insist() {
    until $1 > "/tmp/$2" 2> "/tmp/$2.refused"; do
        grep -q ' 502 ' "/tmp/$2.refused" || cat "/tmp/$2.refused" >> "odd-$round"
        busybox usleep 50000
    done
    cp "/tmp/$2" ".$2" && mv ".$2" "$2-$round"
}
# A tunnel that says $2, until the other side ends it.
tunnel() {
    mkfifo "/tmp/$1-$round"
    exec 3<>"/tmp/$1-$round"
    printf 'CONNECT %s HTTP/1.1\r\nhost: %s\r\n\r\n%s\n' "$site" "$site" "$2" >&3
    busybox nc 127.0.0.1 8788 <&3 > "$1-$round"
    tell "$1-over"
}
connections() { grep -c '0100007F:2254 01 ' /proc/net/tcp; }

tunnel before ping &
wait_for away
wait_for before-over
insist model model-away &
insist fetch fetch-away &
until [ "$(connections)" -ge 2 ]; do busybox usleep 5000; done
tell asking
wait
wait_for next
insist model model-next
insist fetch fetch-next
tunnel tunnel-next bye
tell done
"#;

/// A group `net_family` whose agent is ours, with a way to a fake model and to one allowed host.
struct House<'a> {
    place: &'a Place,
    site: String,
    _model: FakeModelApi,
    // The fake's workers live in it.
    _runtime: tokio::runtime::Runtime,
}

impl<'a> House<'a> {
    fn new(place: &'a Place) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let model = runtime.block_on(FakeModelApi::start(Script::echo())).unwrap();
        model.expect_key(KEY);
        let site = format!("127.0.0.1:{}", far());
        // With a command of its own a group is given the model, also where that is our offline agent.
        place.configure(&format!(
            "[agent]\nprovider = \"offline\"\ncommand = [\"/nanoclaw/bin/agent-runner\", \"run\"]\n\
             [model]\nbase_url = \"{}\"\n[gateway]\nprivate = [\"{site}\"]\nallow = [\"{site}\"]\n",
            model.base_url()
        ));
        place.credential(&format!("ANTHROPIC_API_KEY={KEY}"));
        register(place);
        std::fs::create_dir_all(place.group("net_family")).unwrap();
        std::fs::write(place.group("net_family").join("life.sh"), LIFE).unwrap();
        Self { place, site, _model: model, _runtime: runtime }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.group("net_family").join(name)
    }

    fn tell(&self, name: &str) {
        std::fs::write(self.file(name), "").unwrap();
    }

    /// What is in this file, once there is something of which `enough` is true.
    fn read_when(&self, name: &str, enough: impl Fn(&str) -> bool) -> String {
        until(name, || {
            let text = std::fs::read_to_string(self.file(name)).ok()?;
            enough(&text).then_some(text)
        })
    }
}

/// A host on loopback, which no container reaches by itself: to a request it answers `from far`, to a tunnel it says
/// everything back, and ends it when that was `bye`.
fn far() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || far_end(stream));
        }
    });
    port
}

fn far_end(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let said = &buffer[..length];
        let answer: &[u8] = match said.starts_with(b"GET ") {
            true => b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nfrom far",
            false => said,
        };
        if stream.write_all(answer).is_err() || answer != said || said.ends_with(b"bye\n") {
            return;
        }
    }
}

pub fn a_live_agent_has_its_gateway_again_when_the_next_host_is_ready(place: &Place) {
    let house = House::new(place);
    let mut chat = Chat::default();
    let mut service = place.service_that_lets_go();
    let mut containers = Vec::new();
    for (round, how) in [End::Killed, End::Asked, End::Killed].into_iter().enumerate() {
        let named = |name: &str| format!("{name}-{round}");
        let any = |_: &str| true;
        let mut bridge = Bridge::connect(place);
        let ask = format!("sh life.sh {round} {}", house.site);
        bridge.message(&round.to_string(), &format!("!run {ask}"));
        let tunnel = house.read_when(&named("before"), |text| text.ends_with("ping\n"));
        assert!(tunnel.starts_with("HTTP/1.1 200 "), "{tunnel}");
        end(service, how);
        house.tell(&named("away"));
        house.read_when(&named("before-over"), any);
        house.read_when(&named("asking"), any);

        service = place.service_that_lets_go();
        let ready = Instant::now();
        let away = ["model-away", "fetch-away"].map(|name| house.read_when(&named(name), any));
        let waited = ready.elapsed();
        let asked = Instant::now();
        house.tell(&named("next"));
        house.read_when(&named("done"), any);
        println!(
            "measured: round {round}, {}: what was asked while there was no gateway is answered {waited:?} after the host \
             was ready; then a question to the model, one to a host and a tunnel, one after the other: {:?}",
            place.on.unwrap(),
            asked.elapsed()
        );
        let [model_next, fetch_next] = ["model-next", "fetch-next"].map(|name| house.read_when(&named(name), any));
        for model in [&away[0], &model_next] {
            assert!(model.contains("hello") && model.contains("usage"), "{model}");
        }
        assert_eq!([&away[1], &fetch_next], ["from far"; 2]);
        let tunnel = house.read_when(&named("tunnel-next"), any);
        assert!(tunnel.starts_with("HTTP/1.1 200 ") && tunnel.ends_with("bye\n"), "{tunnel}");
        assert!(!house.file(&named("odd")).exists(), "{:?}", std::fs::read_to_string(house.file(&named("odd"))));

        let mut bridge = Bridge::connect(place);
        assert_eq!(bridge.show(&mut chat), format!("ran {ask}"));
        containers.extend(place.container_ids());
    }
    containers.dedup();
    assert_eq!(containers.len(), 1, "one container went through it all");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

#[test]
fn a_live_agent_has_its_gateway_again_when_the_next_host_is_ready_in_docker() {
    if let Some(place) = Place::on(On::Docker) {
        a_live_agent_has_its_gateway_again_when_the_next_host_is_ready(&place);
    }
}

/// Without an answer it would wait for a gateway that nobody is going to open.
#[test]
fn a_live_agent_that_is_allowed_nothing_any_more_is_told_so_at_once_in_docker() {
    let Some(place) = Place::on(On::Docker) else { return };
    let site = format!("127.0.0.1:{}", far());
    place.configure(&format!("[gateway]\nprivate = [\"{site}\"]\nallow = [\"{site}\"]\n"));
    register(&place);
    let fetch = format!("busybox wget -q -O - http://{site}/");
    let (mut chat, service) = (Chat::default(), place.service_that_lets_go());
    let mut bridge = Bridge::connect(&place);
    bridge.message("1", &format!("!run {fetch}"));
    assert_eq!(bridge.show(&mut chat), format!("ran {fetch}: from far"));
    let before = place.container_ids();
    service.kill();

    place.configure("");
    let service = place.service();
    let mut bridge = Bridge::connect(&place);
    bridge.message("2", &format!("!run {fetch}"));
    let answer = bridge.show(&mut chat);
    assert!(answer.contains(" 403 "), "{answer}");
    assert_eq!((before.len(), place.container_ids()), (1, before), "the same container goes on");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

fn a_gateway_whose_worker_fails_serves_live_containers_on(place: &Place) {
    let site = format!("127.0.0.1:{}", far());
    place.configure(&format!("[gateway]\nprivate = [\"{site}\"]\nallow = [\"{site}\"]\n"));
    let fetch = format!("busybox wget -q -O - http://{site}/");
    // Before the hello of process 1, right after it is accepted, and when the first request is.
    for passing in [1, 2, 4] {
        let service = place.service_that_panics_at(&format!("gateway.accept:{passing}"));
        let said = format!("!run {fetch}");
        let answers = place.chat(&[&said, &said, &said]).succeeded();
        assert_eq!(answers, format!("ran {fetch}: from far\n").repeat(3));
        service.until_stderr(|text| text.contains("the gateway stopped to accept connections"));
        let used = &place.json(["gateway", "--json"])[0];
        assert_eq!((&used["requests"], &used["refused"]), (&3.into(), &0.into()), "{used}");
        service.signal(Signal::TERM);
        let ended = service.ended();
        assert_eq!(ended.code, Some(0), "{ended}");
        assert_eq!(ended.stderr.matches("the gateway stopped to accept").count(), 1, "one line: {ended}");
    }
}

#[test]
fn a_fault_in_the_watch_over_the_credentials_costs_a_moment() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let service = place.service_that_panics_at("credentials.reload:1");
    service.until_stderr(|text| text.contains("changes of the credentials are not seen for a moment"));
    place.credential(&format!("ANTHROPIC_API_KEY={KEY}"));
    let log = service.until_stderr(|text| text.contains("is used from now on"));
    assert!(!log.contains(KEY), "{log}");
    // And it is still watched.
    std::fs::remove_file(place.folder().join(".config/nanoclaw/credentials")).unwrap();
    service.until_stderr(|text| text.contains("there is no credential for the model any more"));
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}
