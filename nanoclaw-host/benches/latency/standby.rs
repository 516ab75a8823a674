//! What a container that was started ahead saves: the same message to the same group, with a container that waits and without,
//! until the first byte of its prompt is read inside.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use inotify::{Inotify, WatchMask};
use serde_json::Value;

use crate::{containers::Bridge, figures::Figure, program::Installation};

/// How long a container may take to stand by.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that notes in its group's folder when it has read a byte, and answers. Appended to, since to empty a file is to change
/// it too.
const AGENT: &str = "head -c 1 >> /workspace/group/first; cat > /dev/null; \
    printf '%s\\n' ---NANOCLAW_OUTPUT_START--- '{\\\"status\\\":\\\"success\\\",\\\"result\\\":\\\"heard hello\\\"}' \
    ---NANOCLAW_OUTPUT_END---";

/// How a group's container comes to be, and how the group stands before that.
pub(crate) const WAYS: [(Ahead, &str); 2] = [(Ahead::No, "started for it"), (Ahead::Yes, "started ahead")];

/// Whether containers are started ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    No,
    Yes,
}

impl Ahead {
    /// What goes into the configuration, at the end of `[limits]`: a container ends as soon as it has answered, so that each
    /// message needs another one.
    pub(crate) fn config(self) -> String {
        format!("idle_timeout = \"0s\"\n\n[standby]\ngroups = {}\n", u8::from(self == Self::Yes))
    }

    /// Waits until the next message is to be said.
    pub(crate) fn ready(self, installation: &Installation) -> Result<(), String> {
        let state = if self == Self::Yes { "standby" } else { "idle" };
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if group(installation)?["state"] == state {
                // One that waits has begun; it comes to its input meanwhile.
                std::thread::sleep(Duration::from_millis(300));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("the group never was {state}"))
    }
}

/// How the only group stands.
pub(crate) fn group(installation: &Installation) -> Result<Value, String> {
    let said = installation.command(&["ps", "--json"]).output().map_err(|error| error.to_string())?;
    let status: Value = serde_json::from_slice(&said.stdout).map_err(|error| error.to_string())?;
    status["groups"].get(0).cloned().ok_or_else(|| "there is no group".to_owned())
}

pub(crate) fn measure(program: &Path, samples: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    for runtime in ["sandbox", "docker"] {
        for (ahead, what) in WAYS {
            eprintln!("{samples} messages to containers of the runtime {runtime}, {what}");
            match turns(program, runtime, ahead, samples) {
                Ok((prompts, replies)) => figures.extend([
                    Figure::times(
                        format!(
                            "{runtime}: message on the bridge to first byte of the prompt inside, container {what}"
                        ),
                        &prompts,
                    ),
                    Figure::times(
                        format!("{runtime}: the same to the reply on the bridge, container {what}"),
                        &replies,
                    ),
                ]),
                Err(error) => {
                    eprintln!("skipped: needs {runtime}, an image, and agent-runner beside nanoclaw: {error}")
                }
            }
        }
    }
    figures
}

fn turns(
    program: &Path,
    runtime: &str,
    ahead: Ahead,
    samples: usize,
) -> Result<(Vec<Duration>, Vec<Duration>), String> {
    let agent = format!("provider = \"offline\"\ncommand = [\"/bin/sh\", \"-c\", \"{AGENT}\"]\n");
    let installation = Installation::with_one_group(program, runtime, &agent, &ahead.config());
    let (service, _) = installation.serve()?;
    let mut bridge = Bridge::connect(&installation)?;
    bridge.turn(0, 0)?;
    let mut prompted = Prompted::watch(&installation)?;
    let (mut prompts, mut replies) = (Vec::new(), Vec::new());
    for number in 1..=samples {
        ahead.ready(&installation)?;
        let begun = Instant::now();
        bridge.message(0, number)?;
        prompts.push(prompted.next()?.duration_since(begun));
        let replied = bridge.reply(0)?;
        replies.push(replied.duration_since(begun));
    }
    drop((bridge, service));
    Ok((prompts, replies))
}

/// Sees what [`AGENT`] notes.
struct Prompted(Inotify);

impl Prompted {
    fn watch(installation: &Installation) -> Result<Self, String> {
        let inotify = Inotify::init().map_err(|error| error.to_string())?;
        let file = installation.home.groups().join("group0/first");
        inotify.watches().add(file, WatchMask::MODIFY).map_err(|error| error.to_string())?;
        Ok(Self(inotify))
    }

    fn next(&mut self) -> Result<Instant, String> {
        self.0.read_events_blocking(&mut [0; 1024]).map_err(|error| error.to_string())?;
        Ok(Instant::now())
    }
}
