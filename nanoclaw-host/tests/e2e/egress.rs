//! What a container reaches through the gateway as its proxy, and what it is told where it does not.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use crate::place::{Place, on_each_runtime};

on_each_runtime! {
    an_allowed_host_is_reached_through_the_proxy_and_another_one_is_refused_with_the_remedy,
    without_an_allowed_host_there_is_no_way_out_and_no_proxy,
    a_container_whose_gateway_is_away_does_not_start_its_agent,
}

/// A web server on the host's loopback, which no container reaches by itself.
fn web() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nfrom far");
        }
    });
    port
}

pub fn an_allowed_host_is_reached_through_the_proxy_and_another_one_is_refused_with_the_remedy(place: &Place) {
    let port = web();
    let own = format!("127.0.0.1:{port}");
    place.configure(&format!("[gateway]\nprivate = [\"{own}\"]\n[groups.main]\nallow = [\"{own}\"]\n"));
    let _service = place.service();
    let fetch = format!("!run busybox wget -q -O - http://{own}/");
    let answer = place.chat(&[&fetch]).succeeded();
    assert!(answer.contains("from far"), "{answer}");
    // The first lines of the answer to a tunnel.
    let tunnel = |target: &str| {
        format!(
            "!run (printf 'CONNECT {target} HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n'; sleep 2) | busybox nc -w 5 127.0.0.1 8788"
        )
    };
    let answer = place.chat(&[&tunnel("evil.invalid:443")]).succeeded();
    assert!(answer.contains("HTTP/1.1 403 Forbidden"), "{answer}");
    assert!(answer.contains("evil.invalid:443 is not allowed for this group"), "{answer}");
    assert!(answer.contains("in [gateway] or [groups.main] of nanoclaw.toml"), "{answer}");
    let answer = place.chat(&["!run busybox wget -q -O - http://169.254.169.254/latest/"]).succeeded();
    assert!(answer.contains("403"), "{answer}");
    let used = &place.json(["gateway", "--json"])[0];
    assert_eq!((&used["group"], &used["requests"], &used["refused"]), (&"main".into(), &3.into(), &2.into()), "{used}");
    let explained = place.run(["explain", "main"]).succeeded();
    assert!(explained.contains(&own), "{explained}");
}

pub fn without_an_allowed_host_there_is_no_way_out_and_no_proxy(place: &Place) {
    let port = web();
    let answer = place.chat(&["!env HTTPS_PROXY", &format!("!connect 127.0.0.1:{port}")]).succeeded();
    assert!(answer.contains("HTTPS_PROXY is not set"), "{answer}");
    assert!(!answer.contains("connected to"), "{answer}");
}

pub fn a_container_whose_gateway_is_away_does_not_start_its_agent(place: &Place) {
    // Inside, nothing is at the place where the agent's process 1 looks for the gateway: its variable is ours to set by the
    // command alone, which runs under process 1 of another gateway.
    place.configure("[gateway]\nallow = [\"example.com\"]\n");
    let inner = "!run NANOCLAW_GATEWAY_SOCKET=/run/nanoclaw/none.sock $(readlink /proc/1/exe) init -- echo started; echo code $?";
    let answer = place.chat(&[inner]).succeeded();
    assert!(answer.contains("code 80"), "{answer}");
    assert!(answer.contains("the command is not started") && !answer.contains("\nstarted"), "{answer}");
}
