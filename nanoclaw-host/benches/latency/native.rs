//! The small agent of our own in real containers, beside what the engine needs for any container of the same image, and what it
//! keeps in memory when it rests, beside Claude Code.
//!
//! The model is the fake one, in this process, which answers at once. What is timed is from the message on the bridge to the
//! reply on it, so with the commits of the message and of the reply.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bollard::{
    Docker,
    container::LogOutput,
    models::{ContainerCreateBody, HostConfig, HostConfigLogConfig},
    query_parameters::{
        AttachContainerOptionsBuilder, CreateContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions,
    },
};
use futures_util::StreamExt as _;
use nanoclaw_fakes::model_api::{FakeModelApi, Script, Turn};
use tokio::runtime::Runtime;

use crate::{
    containers::Bridge,
    figures::{Figure, Unit},
    program::Installation,
    standby::{Ahead, group},
};

/// How long an agent that rests is left alone before its memory is read.
const SETTLES_WITHIN: Duration = Duration::from_secs(3);

/// The image that the configuration names by default.
const IMAGE: &str = "nanoclaw-agent:latest";

/// A model that answers at once.
struct Model {
    fake: FakeModelApi,
    runtime: Runtime,
}

impl Model {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let script = Script::new(|_| Turn::Text("heard hello".to_owned()));
        let fake = runtime.block_on(FakeModelApi::start(script)).unwrap();
        Self { fake, runtime }
    }

    /// A home with one group whose agent asks this model.
    fn installation(&self, program: &Path, runtime: &str, agent: &str, limits: &str) -> Installation {
        let limits = format!("{limits}\n[model]\nbase_url = \"{}\"\n", self.fake.base_url());
        let installation = Installation::with_one_group(program, runtime, agent, &limits);
        installation.credential("ANTHROPIC_API_KEY=sk-ant-bench");
        installation
    }
}

pub(crate) fn measure(program: &Path, samples: usize) -> Vec<Figure> {
    let model = Model::start();
    let mut figures = Vec::new();
    for runtime in ["sandbox", "docker"] {
        eprintln!("{samples} messages to native agents in the runtime {runtime}, started for them and ahead");
        match turns(&model, program, runtime, samples) {
            Ok(more) => figures.extend(more),
            Err(error) => eprintln!("skipped: needs {runtime}, an image, and agent-runner beside nanoclaw: {error}"),
        }
        for (provider, agent) in [("native", Ok(String::new())), ("claude", claude(runtime))] {
            eprintln!("the memory of an agent {provider} that rests in the runtime {runtime}");
            match agent.and_then(|agent| resting(&model, program, runtime, provider, &agent)) {
                Ok(more) => figures.extend(more),
                Err(error) => eprintln!("skipped: needs {runtime}, an image, and {provider}: {error}"),
            }
        }
    }
    figures
}

/// One raw start of the image and one message to a container started for it, in turns, so that both have the same machine.
fn turns(model: &Model, program: &Path, runtime: &str, samples: usize) -> Result<Vec<Figure>, String> {
    let engine =
        (runtime == "docker").then(|| Docker::connect_with_local_defaults().map_err(|error| error.to_string()));
    let engine = engine.transpose()?;
    let native = "provider = \"native\"\n";
    let (mut raw, mut cold, mut ratios, mut ahead) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    {
        let installation = model.installation(program, runtime, native, &Ahead::No.config());
        let (_service, _) = installation.serve()?;
        let mut bridge = Bridge::connect(&installation)?;
        // The first one pays for what is cold.
        bridge.turn(0, 0)?;
        for number in 1..=samples {
            Ahead::No.ready(&installation)?;
            if let Some(engine) = &engine {
                raw.push(model.runtime.block_on(raw_start(engine)).map_err(|error| error.to_string())?);
            }
            cold.push(bridge.turn(0, number)?);
            if let (Some(raw), Some(cold)) = (raw.last(), cold.last()) {
                ratios.push(cold.as_secs_f64() / raw.as_secs_f64());
            }
        }
    }
    {
        let installation = model.installation(program, runtime, native, &Ahead::Yes.config());
        let (_service, _) = installation.serve()?;
        let mut bridge = Bridge::connect(&installation)?;
        bridge.turn(0, 0)?;
        for number in 1..=samples {
            Ahead::Yes.ready(&installation)?;
            ahead.push(bridge.turn(0, number)?);
        }
    }
    let cold = Figure::times(format!("{runtime}: native, message to reply, container started for it"), &cold);
    let ahead =
        Figure::times(format!("{runtime}: native, message to reply, container started ahead"), &ahead).under(15.0);
    if engine.is_none() {
        return Ok(vec![cold, ahead]);
    }
    let raw = Figure::times(
        format!("{runtime}: the engine alone: create, attach, start, first byte of the same image"),
        &raw,
    );
    let ratio =
        Figure::new(format!("{runtime}: native, started for it, to the engine alone before it"), Unit::Ratio, ratios);
    Ok(vec![raw, cold, ratio.under(1.1), ahead])
}

/// How long the engine takes to have a byte from a container that has nothing of ours.
async fn raw_start(engine: &Docker) -> Result<Duration, bollard::errors::Error> {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        entrypoint: words(&["/bin/sh"]),
        cmd: words(&["-c", "echo"]),
        attach_stdout: Some(true),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            // As ours have: a copy of the output on the engine's disk would be work that they do not make.
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let begun = Instant::now();
    let id = engine.create_container(None::<CreateContainerOptions>, body).await?.id;
    let options = AttachContainerOptionsBuilder::default().stream(true).stdout(true).build();
    let mut attached = engine.attach_container(&id, Some(options)).await?;
    engine.start_container(&id, None::<StartContainerOptions>).await?;
    let first: Option<LogOutput> = attached.output.next().await.transpose()?;
    let took = begun.elapsed();
    assert!(first.is_some(), "the container said nothing");
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    engine.remove_container(&id, Some(options)).await?;
    Ok(took)
}

/// The `[agent]` section's line for Claude Code, which an image may have and the sandbox takes from this machine.
fn claude(runtime: &str) -> Result<String, String> {
    match std::env::var_os("NANOCLAW_TEST_CLAUDE").map(PathBuf::from) {
        Some(claude) => Ok(format!("claude = {claude:?}\n")),
        None if runtime == "sandbox" => Err("NANOCLAW_TEST_CLAUDE does not name it".to_owned()),
        None => Ok(String::new()),
    }
}

/// What an agent that has answered and waits for more keeps in memory.
fn resting(model: &Model, program: &Path, runtime: &str, provider: &str, agent: &str) -> Result<Vec<Figure>, String> {
    let installation = model.installation(program, runtime, &format!("provider = \"{provider}\"\n{agent}"), "");
    let (_service, _) = installation.serve()?;
    let mut bridge = Bridge::connect(&installation)?;
    bridge.turn(0, 0)?;
    std::thread::sleep(SETTLES_WITHIN);
    let mut figures = Vec::new();
    if let Some(bytes) = group(&installation)?["memory_bytes"].as_f64() {
        let name = format!("{runtime}: {provider} at rest: memory of its container, as the runtime counts it");
        figures.push(Figure::new(name, Unit::Mebibytes, vec![bytes / f64::from(1 << 20)]));
    }
    let Resident { shared_once, each } = Resident::of(&installation);
    let name = format!("{runtime}: {provider} at rest: resident memory of its processes, what they share counted once");
    let figure = Figure::new(name, Unit::Mebibytes, vec![shared_once]);
    figures.push(if provider == "native" { figure.under(12.0) } else { figure });
    let name = format!("{runtime}: {provider} at rest: the same, counted for each");
    figures.push(Figure::new(name, Unit::Mebibytes, vec![each]));
    Ok(figures)
}

/// The resident memory of a container's processes, MiB.
#[derive(Default)]
struct Resident {
    /// What several have is divided among them: two that run one program have its pages once.
    shared_once: f64,
    each: f64,
}

impl Resident {
    /// Of this home's container: of all processes that have its mailbox among their mounts and are in another mount namespace
    /// than this program.
    fn of(installation: &Installation) -> Self {
        let of_this = fs::read_link("/proc/self/ns/mnt").ok();
        let mailbox = installation.home.root().join("store/ipc");
        let mailbox = mailbox.to_string_lossy();
        let mut resident = Self::default();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let path = entry.path();
            let Ok(mounts) = fs::read_to_string(path.join("mountinfo")) else { continue };
            if !mounts.contains(&*mailbox) || fs::read_link(path.join("ns/mnt")).ok() == of_this {
                continue;
            }
            let mappings = fs::read_to_string(path.join("smaps_rollup")).unwrap_or_default();
            let mebibytes = |key: &str| {
                let value = mappings.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
                value.and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
            };
            resident.shared_once += mebibytes("Pss:");
            resident.each += mebibytes("Rss:");
        }
        resident
    }
}
