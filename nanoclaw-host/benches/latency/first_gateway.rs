//! What the first group with a model pays, once in a host's life: the system's certificates are read for it. Nothing is
//! connected to.

use std::{
    fs,
    time::{Duration, Instant},
};

use nanoclaw_core::{group::GroupFolder, runtime::RunAs};
use nanoclaw_host::gateway::{Gateway, Policy, Upstream, tls};

use crate::{
    figures::{Figure, Unit},
    program::folder,
};

/// How often a gateway is made anew.
const GATEWAYS: usize = 20;

pub(crate) fn measure() -> Vec<Figure> {
    tls::install_provider();
    let runtime = nanoclaw_host::cli::event_loop().unwrap();
    let _entered = runtime.enter();
    let before = anonymous_mebibytes();
    let (first, kept) = open("https://api.anthropic.com");
    let grown = anonymous_mebibytes() - before;
    let mut times = vec![first];
    times.extend((1..GATEWAYS).map(|_| open("https://api.anthropic.com").0));
    drop(kept);
    let without: Vec<_> = (0..GATEWAYS).map(|_| open("http://127.0.0.1:9").0).collect();
    vec![
        Figure::times("a host's first gateway, opened with the system's certificates", &times),
        Figure::times("the same to plain HTTP, which reads none", &without),
        Figure::new("memory of its own that the first one added", Unit::Mebibytes, vec![grown]),
    ]
}

/// A new gateway's first socket: how long opening it took, and what must live on for its memory to.
fn open(url: &str) -> (Duration, Gateway) {
    let folder = folder();
    let own = rustix::process::getuid().as_raw();
    let user = RunAs { uid: own, gid: rustix::process::getgid().as_raw() };
    let gateway = Gateway::new(Upstream::new(url, None)).unwrap();
    let begun = Instant::now();
    let socket = gateway.open(folder.path(), &GroupFolder::new("main").unwrap(), Policy::model_api(), user).unwrap();
    let took = begun.elapsed();
    drop(socket);
    (took, gateway)
}

fn anonymous_mebibytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}
