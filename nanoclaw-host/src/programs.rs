//! Finds the programs on this machine that go into containers: our agent-runner and Claude Code.

mod linkage;

use std::path::{Path, PathBuf};

use nanoclaw_core::runtime::RuntimeKind;
use rustix::fs::{Access, access};

pub use linkage::{Linkage, linkage};

use crate::config::{AgentConfig, Environment};

/// Where a program has to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// With this machine's own libraries.
    ThisMachine,
    /// In an image that may have another C library, or none.
    AnyImage,
}

impl Purpose {
    /// What programs for containers of this runtime are for.
    #[must_use]
    pub fn of(runtime: RuntimeKind) -> Self {
        match runtime {
            RuntimeKind::Docker | RuntimeKind::Podman => Self::AnyImage,
            RuntimeKind::Sandbox | RuntimeKind::Fake => Self::ThisMachine,
        }
    }
}

/// Our agent-runner: the configured one, else beside this program, else on the `PATH`; for any image a static one is taken
/// first, `agent-runner-static` beside this program or where `cargo static-runner` leaves it. `None` when there is none; a
/// configured path is returned whether it is there or not.
#[must_use]
pub fn runner(agent: &AgentConfig, purpose: Purpose, environment: &dyn Environment) -> Option<PathBuf> {
    let here = std::env::current_exe().ok();
    runner_near(here.as_deref(), agent, purpose, environment)
}

/// The Claude Code program for containers: the configured one, else, where this machine's programs run, the one on the
/// `PATH`. `None` when there is none, and for any image, which brings its own; a configured path is returned whether it is
/// there or not.
#[must_use]
pub fn claude(agent: &AgentConfig, purpose: Purpose, environment: &dyn Environment) -> Option<PathBuf> {
    let installed = || match purpose {
        Purpose::ThisMachine => on_path("claude", environment),
        Purpose::AnyImage => None,
    };
    agent.claude.value.clone().or_else(installed)
}

/// A program of ours for the host itself: the configured one, else beside this program, else on the `PATH`. `None` when there is none;
/// a configured path is returned whether it is there or not.
#[must_use]
pub fn companion(name: &str, configured: Option<&Path>, environment: &dyn Environment) -> Option<PathBuf> {
    let here = std::env::current_exe().ok();
    let beside = || here.as_deref()?.parent().map(|folder| folder.join(name)).filter(|path| can_be_started(path));
    configured.map(Path::to_owned).or_else(beside).or_else(|| on_path(name, environment))
}

/// Whether this user can start the program at `path`.
#[must_use]
pub fn can_be_started(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// `here` is the program that runs.
fn runner_near(
    here: Option<&Path>,
    agent: &AgentConfig,
    purpose: Purpose,
    environment: &dyn Environment,
) -> Option<PathBuf> {
    if agent.runner.value.is_some() {
        return agent.runner.value.clone();
    }
    let folder = here.and_then(Path::parent);
    let beside = |name: &str| folder.map(|folder| folder.join(name)).filter(|path| path.is_file());
    let built = || {
        let target = folder?.parent()?;
        Some(target.join("x86_64-unknown-linux-gnu/release/agent-runner")).filter(|path| path.is_file())
    };
    let for_any_image = match purpose {
        Purpose::AnyImage => beside("agent-runner-static").or_else(built),
        Purpose::ThisMachine => None,
    };
    for_any_image.or_else(|| beside("agent-runner")).or_else(|| on_path("agent-runner", environment))
}

pub(crate) fn on_path(program: &str, environment: &dyn Environment) -> Option<PathBuf> {
    let path = environment.get("PATH")?;
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|program| can_be_started(program))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ffi::OsString, fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::config::{Config, environment_of};

    /// A folder with programs in it.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn with(programs: &[&str]) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            for program in programs {
                let path = machine.path(program);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, "").unwrap();
                fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            }
            machine
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// A `PATH` of these folders.
        fn environment(&self, folders: &[&str]) -> BTreeMap<String, OsString> {
            let path = std::env::join_paths(folders.iter().map(|folder| self.path(folder))).unwrap();
            BTreeMap::from([("PATH".to_owned(), path)])
        }

        /// Our agent-runner for the program `target/release/nanoclaw`.
        fn runner(&self, purpose: Purpose) -> Option<PathBuf> {
            let here = self.path("target/release/nanoclaw");
            runner_near(Some(&here), &agent(""), purpose, &self.environment(&["bin"]))
        }
    }

    fn agent(text: &str) -> AgentConfig {
        let config =
            Config::parse(Path::new("x"), &format!("[agent]\n{text}"), Path::new("/home"), &environment_of([]));
        config.unwrap().agent
    }

    const BESIDE: &str = "target/release/agent-runner";
    const STATIC_BESIDE: &str = "target/release/agent-runner-static";
    const STATIC_BUILT: &str = "target/x86_64-unknown-linux-gnu/release/agent-runner";
    const ON_PATH: &str = "bin/agent-runner";

    #[test]
    fn the_runner_beside_the_program_goes_before_one_on_the_path() {
        let machine = Machine::with(&[BESIDE, STATIC_BESIDE, STATIC_BUILT, ON_PATH]);
        assert_eq!(machine.runner(Purpose::ThisMachine), Some(machine.path(BESIDE)));
        let machine = Machine::with(&[STATIC_BESIDE, STATIC_BUILT, ON_PATH]);
        assert_eq!(machine.runner(Purpose::ThisMachine), Some(machine.path(ON_PATH)));
        assert_eq!(Machine::with(&[]).runner(Purpose::ThisMachine), None);
    }

    #[test]
    fn for_any_image_a_static_runner_goes_first_and_another_will_do() {
        let mut there = vec![STATIC_BESIDE, STATIC_BUILT, BESIDE, ON_PATH];
        while let Some(first) = there.first() {
            let machine = Machine::with(&there);
            assert_eq!(machine.runner(Purpose::AnyImage), Some(machine.path(first)));
            there.remove(0);
        }
        assert_eq!(Machine::with(&[]).runner(Purpose::AnyImage), None);
    }

    #[test]
    fn a_configured_program_is_taken_whether_it_is_there_or_not() {
        let machine = Machine::with(&[BESIDE, STATIC_BESIDE, "bin/claude"]);
        let (here, environment) = (machine.path("target/release/nanoclaw"), machine.environment(&["bin"]));
        let agent = agent("runner = \"/not/there\"\nclaude = \"/not/there/either\"");
        for purpose in [Purpose::ThisMachine, Purpose::AnyImage] {
            let runner = runner_near(Some(&here), &agent, purpose, &environment);
            assert_eq!(runner, Some("/not/there".into()));
            assert_eq!(claude(&agent, purpose, &environment), Some("/not/there/either".into()));
        }
    }

    #[test]
    fn an_image_brings_its_own_claude() {
        let machine = Machine::with(&["bin/claude"]);
        let environment = machine.environment(&["bin"]);
        assert_eq!(claude(&agent(""), Purpose::ThisMachine, &environment), Some(machine.path("bin/claude")));
        assert_eq!(claude(&agent(""), Purpose::AnyImage, &environment), None);
    }

    #[test]
    fn only_what_can_be_started_is_found_on_the_path() {
        let machine = Machine::with(&["second/claude"]);
        fs::create_dir_all(machine.path("folder/claude")).unwrap();
        fs::create_dir(machine.path("first")).unwrap();
        fs::write(machine.path("first/claude"), "a text").unwrap();
        let environment = machine.environment(&["missing", "folder", "first", "second"]);
        assert_eq!(on_path("claude", &environment), Some(machine.path("second/claude")));
        let relative = environment_of([("PATH", "second:.")]);
        assert_eq!(on_path("claude", &relative), None);
    }
}
