//! `nanoclaw doctor` where containers and a model are: what was left over, an image that is gone, and `--live`.

use std::collections::BTreeMap;

use nanoclaw_core::{
    group::GroupFolder,
    run::{RunId, RunNumber},
    runtime::{ContainerSpec, HeldSources, Labels, Limits, RunAs},
};
use nanoclaw_fakes::model_api::{FakeModelApi, Script};
use rustix::process::Signal;
use serde_json::Value;

use crate::place::{On, Place, wait};

fn check(place: &Place, words: &[&str], name: &str) -> Value {
    let ended = place.run(["doctor", "--json"].iter().chain(words));
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended}"));
    report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap().clone()
}

#[test]
fn a_container_that_nobody_has_is_found_by_its_label_and_removed_and_that_of_a_run_is_left() {
    let Some(place) = Place::on(On::Docker) else { return };
    let service = place.service();
    assert_eq!(place.chat(&["hello"]).succeeded(), "heard hello\n");
    assert_eq!(check(&place, &[], "orphans")["outcome"], "ok");
    let (runtime, image, _) = place.parts();
    let run = RunId { group: GroupFolder::new("main").unwrap(), number: RunNumber(99) };
    let install = place.install().unwrap();
    let spec = ContainerSpec {
        name: format!("nanoclaw-{install}-main-99"),
        image,
        command: vec!["sleep".into(), "600".into()],
        env: BTreeMap::new(),
        mounts: Vec::new(),
        held: HeldSources::default(),
        workdir: "/".into(),
        user: RunAs { uid: 1000, gid: 1000 },
        limits: Limits { memory_bytes: None, pids: None, milli_cpus: None },
        tmp_bytes: 1 << 20,
        labels: Labels { install, run },
    };
    let orphan = wait(async { runtime.start(&spec).await.unwrap().id });
    let of_the_run: Vec<String> = place.container_ids().into_iter().filter(|id| *id != orphan.to_string()).collect();
    assert_eq!(of_the_run.len(), 1);
    let found = check(&place, &[], "orphans");
    assert_eq!(found["outcome"], "warning", "{found}");
    assert!(found["help"].as_str().unwrap().contains(&format!("`docker rm --force {orphan}`")), "{found}");
    let after = check(&place, &["--fix"], "orphans");
    assert_eq!(after["outcome"], "ok", "{after}");
    assert_eq!(place.container_ids(), of_the_run, "the agent rests as before");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

#[test]
fn an_image_that_is_gone_is_told_with_the_command_that_builds_it() {
    let Some(place) = Place::on(On::Docker) else { return };
    place.run(["init"]).succeeded();
    assert_eq!(check(&place, &[], "image")["outcome"], "ok");
    let mut command = place.command(["doctor", "--json"]);
    let output = command.env("CONTAINER_IMAGE", "nanoclaw-test-missing:none").output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "image").unwrap().clone();
    assert_eq!(found["outcome"], "failed", "{found}");
    assert!(found["help"].as_str().unwrap().contains("`nanoclaw image build`"), "{found}");
}

#[test]
fn live_asks_the_model_and_the_channels_with_and_without_the_service() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let api = runtime.block_on(FakeModelApi::start(Script::tools())).unwrap();
    place.configure(&format!("[model]\nbase_url = \"{}\"\n[agent]\nprovider = \"offline\"\n", api.base_url()));
    let live = |name: &str| check(&place, &["--live"], name)["outcome"].as_str().unwrap().to_owned();
    assert_eq!((live("live-model").as_str(), live("live-channels").as_str()), ("skipped", "skipped"));
    place.credential("ANTHROPIC_API_KEY=sk-ant-api03-x");
    assert_eq!(live("live-model"), "ok");
    let service = place.service();
    assert_eq!((live("live-model").as_str(), live("live-channels").as_str()), ("ok", "ok"));
    drop((api, runtime));
    assert_eq!(live("live-model"), "failed", "nobody answers there");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}
