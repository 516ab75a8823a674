//! Makes runs ready: what a group's container is made of, and why; its folders; its gateway; its log.
//!
//! [`plan`] decides and touches nothing, so that `nanoclaw explain` shows what is done; [`HostLauncher`] does it.

mod folders;
pub(crate) mod images;
mod log;
mod mounts;
mod plan;
mod shortfalls;
mod skills;
mod standby;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use nanoclaw_core::{
    attachment::NewFile,
    causes::with_causes,
    group::{Group, GroupFolder},
    launch::{KeptFile, Launch, LaunchError, Launcher, Rejoined, Tuning},
    mailbox::{GroupFile, Mailbox},
    orchestrator::{GroupTimes, PromptLimits},
    run::{Retry, RunId, RunKind, Trouble},
    runtime::{InstallId, Labels, RunAs, RuntimeError, RuntimeKind},
};
use tokio::sync::watch;

pub use mounts::said;
pub use plan::{Machine, MissingLimits, Plan, explain_mounts, plan};
pub use shortfalls::Told;

use crate::{
    admin::{
        Explain, from_config,
        types::{AdminError, Explanation},
    },
    config::Config,
    files::Outgoing,
    gateway::{Gateway, Policy},
    home::{self, Home},
    images::Images,
    runtimes::sandbox::HOST_IMAGE,
};

/// A person has to change something.
const SETUP: Retry = Retry::WhenMended { trouble: Trouble::Setup, after: None };
/// The machine does not do just now what it is asked (a full disk).
const HOST: Retry = Retry::WhenMended { trouble: Trouble::Host, after: None };

/// The machine, or what its runtime says as long as it is not there to be asked what it gives. Set by whoever made it.
pub type MachineWatch = watch::Receiver<Result<Arc<Machine>, RuntimeError>>;

/// The launcher of the host. Cheap to clone.
#[derive(Clone)]
pub struct HostLauncher {
    /// Where everything is.
    pub home: Home,
    /// What is configured.
    pub config: Arc<Config>,
    /// What the machine and the runtime give.
    pub machine: MachineWatch,
    /// This installation.
    pub install: InstallId,
    /// The way to the model.
    pub gateway: Arc<Gateway>,
    /// Gets the groups' images.
    pub images: Images,
    /// Where files go that agents send; `None`: none can be sent.
    pub outgoing: Option<Outgoing>,
    /// What the log was told of what runs go without.
    pub told: Told,
}

#[async_trait]
impl Launcher for HostLauncher {
    fn mailbox(&self, group: &GroupFolder) -> PathBuf {
        self.home.mailbox(group)
    }

    fn group_folder(&self, group: &GroupFolder) -> PathBuf {
        self.home.group(group)
    }

    fn tuning(&self, group: &GroupFolder) -> Tuning {
        let settings = self.config.for_group(group);
        let messages = *settings.max_messages_per_prompt as usize;
        let bytes = usize::try_from(*settings.max_prompt_size).unwrap_or(usize::MAX);
        Tuning {
            times: GroupTimes {
                idle: *settings.idle_timeout,
                run: *settings.run_timeout,
                turn: *settings.turn_timeout,
            },
            prompt: PromptLimits { messages, bytes, ..PromptLimits::default() },
        }
    }

    async fn prepare(&self, group: &Group, run: &RunId, _kind: &RunKind) -> Result<Launch, LaunchError> {
        let machine = self.machine()?;
        let mut plan = plan(group, &self.home, &self.config, &machine);
        plan_is_sound(&plan)?;
        if let Some(missing) = machine.runner.as_deref().filter(|runner| !runner.is_file()) {
            let reason = format!(
                "there is no agent-runner at {}; build it with `cargo build --release -p agent-runner`, or correct \
                 agent.runner in nanoclaw.toml",
                missing.display()
            );
            return Err(LaunchError { reason, retry: SETUP });
        }
        let image = self.image_of(group, &machine).await?;
        let additional = self.additional_mounts(group, &machine).await?;
        let skills = self.group_skills(&group.folder, skills::LayOut::Yes).await?;
        let mut shortfalls = shortfalls::Shortfalls::default();
        let folder = &group.folder;
        shortfalls.add(additional.shortfalls(), || {
            format!("`nanoclaw mounts check PATH --group {folder}` shows every rule.")
        });
        shortfalls.add(skills.shortfalls.clone(), || "`nanoclaw skills list` shows what there is.".to_owned());
        shortfalls.add(image.remarks, || "`nanoclaw image list` shows which image each group has.".to_owned());
        let notices = shortfalls.notices(folder, &self.told);
        plan.use_image(image.image);
        plan.add(&additional, &self.home);
        plan.add_skills(&skills);
        let this = self.clone();
        let (group, with, owner) = (group.clone(), With { gateway: plan.gateway, overlay: plan.overlay }, machine.user);
        // Folders are made and changed hands off the async threads: a memory folder can be large.
        let made = tokio::task::spawn_blocking(move || this.make_folders(&group, with, owner)).await;
        made.map_err(|error| failed("make the group's folders", &error))??;
        let guard = self.open_gateway(&plan, run, owner)?;
        let log = log::RunLog::create(&self.home.run_logs(&run.group), run.number)
            .map_err(|error| failed("make the run's log", &error))?;
        let labels = Labels { install: self.install.clone(), run: run.clone() };
        // What was judged is held open while the run lives, so that nothing else can be taken for it.
        let guard = Box::new((guard, additional));
        let mailbox = self.home.mailbox(&run.group);
        Ok(Launch { spec: plan.spec(labels), mailbox, log: Box::new(log), guard, notices })
    }

    async fn fingerprint(&self, group: &Group, run: &RunId, _kind: &RunKind) -> Result<String, LaunchError> {
        self.fingerprint_of(group, run).await
    }

    async fn rejoin(&self, group: &Group, run: &RunId) -> Result<Rejoined, LaunchError> {
        // A problem of the plan is one for the next container; this one runs.
        let machine = self.machine()?;
        let mut plan = plan(group, &self.home, &self.config, &machine);
        // Nor is it another configuration: who was given a gateway keeps one, and is told by it what is not allowed any more.
        plan.gateway |= self.home.gateway(&run.group).is_dir();
        let guard = self.open_gateway(&plan, run, machine.user)?;
        let log = log::RunLog::append(&self.home.run_logs(&run.group), run.number)
            .map_err(|error| failed("go on with the run's log", &error))?;
        Ok(Rejoined { mailbox: self.home.mailbox(&run.group), log: Box::new(log), guard })
    }

    async fn bring_files(&self, group: &GroupFolder, files: &[NewFile]) -> Vec<Option<String>> {
        let (spool, folder, new) = (self.home.files(), self.home.group(group), files.to_owned());
        let bring = move || new.iter().map(|new| crate::files::bring(&spool, &folder, new).err()).collect::<Vec<_>>();
        let brought = tokio::task::spawn_blocking(bring).await;
        brought.unwrap_or_else(|error| files.iter().map(|_| Some(error.to_string())).collect())
    }

    async fn keep_file(&self, group: &GroupFolder, file: GroupFile) -> Result<KeptFile, String> {
        match &self.outgoing {
            Some(outgoing) => outgoing.keep(group, file).await,
            None => Err("this host sends no files".to_owned()),
        }
    }
}

/// Which folders a container sees besides those that each does.
#[derive(Debug, Clone, Copy)]
struct With {
    gateway: bool,
    overlay: bool,
}

impl HostLauncher {
    /// What the runtime says becomes the reason why nothing starts; `retry` tells whether somebody has to do something.
    fn machine(&self) -> Result<Arc<Machine>, LaunchError> {
        self.machine.borrow().clone().map_err(|error| LaunchError {
            reason: error.to_string(),
            retry: if error.passes_by_itself() { HOST } else { SETUP },
        })
    }

    /// The run's gateway while the result lives; nothing for a group that has none.
    fn open_gateway(&self, plan: &Plan, run: &RunId, owner: RunAs) -> Result<Box<dyn Send + Sync>, LaunchError> {
        if !plan.gateway {
            return Ok(Box::new(()));
        }
        let policy = Policy { run: Some(run.number), ..plan.policy.clone() };
        let socket = self.gateway.open(&self.home.gateway(&run.group), &run.group, policy, owner);
        let socket = socket.map_err(|error| failed("open the group's gateway", &error))?;
        if !socket.is_served() {
            let reason = "failed to open the group's gateway: its worker ended at once; see the log".to_owned();
            return Err(LaunchError { reason, retry: HOST });
        }
        Ok(Box::new(socket))
    }

    fn make_folders(&self, group: &Group, with: With, owner: RunAs) -> Result<(), LaunchError> {
        home::write_group_memory(&self.home, group).map_err(|error| failed("make the group's folder", &error))?;
        let mailbox = Mailbox::new(self.home.mailbox(&group.folder));
        mailbox.create().map_err(|error| failed("make the group's mailbox", &error))?;
        let sessions = self.home.sessions(&group.folder);
        let overlay = with.overlay.then(|| self.home.overlay(&group.folder));
        let gateway = with.gateway.then(|| self.home.gateway(&group.folder));
        let mut made = vec![sessions.clone(), self.home.global()];
        made.extend(gateway.into_iter().chain(overlay.clone()));
        for folder in made {
            std::fs::create_dir_all(&folder).map_err(|error| failed(&format!("make {}", folder.display()), &error))?;
        }
        // Whatever the agent has put in its place is the agent's affair, a link too: nothing of ours is written there.
        let state = sessions.join(".claude");
        match std::fs::create_dir(&state) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed(&format!("make {}", state.display()), &error));
            }
            _ => {}
        }
        let trees = [self.home.group(&group.folder), sessions, mailbox.root().to_owned()];
        for tree in trees.into_iter().chain(overlay) {
            folders::hand_over(&tree, owner)
                .map_err(|error| failed(&format!("give {} to the container's user", tree.display()), &error))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Explain for HostLauncher {
    async fn explain(&self, group: &Group) -> Result<Explanation, AdminError> {
        let machine = self.machine.borrow().clone();
        Ok(match machine {
            Ok(machine) => {
                let explanation = plan(group, &self.home, &self.config, &machine).explanation(group, &self.config);
                explain_mounts(explanation, &self.home, &self.config, &machine).await
            }
            Err(error) => {
                let mut explanation = from_config(group, &self.config);
                explanation.problems.push(format!("{error}; what depends on it is not shown"));
                explanation
            }
        })
    }
}

fn plan_is_sound(plan: &Plan) -> Result<(), LaunchError> {
    match plan.problems.first() {
        Some(problem) => Err(LaunchError { reason: problem.clone(), retry: SETUP }),
        None => Ok(()),
    }
}

fn failed(action: &str, error: &dyn std::error::Error) -> LaunchError {
    let reason = format!("failed to {action}: {}", with_causes(error));
    LaunchError { reason, retry: HOST }
}

/// The image that a runtime takes: the sandbox has none of an engine's, so it takes the host's own programs unless a root
/// folder was asked for.
#[must_use]
pub fn image_for(
    runtime: RuntimeKind,
    image: &crate::config::Setting<nanoclaw_core::runtime::ImageRef>,
) -> nanoclaw_core::runtime::ImageRef {
    if runtime == RuntimeKind::Sandbox && !(image.is_explicit() && image.as_str().starts_with('/')) {
        return HOST_IMAGE.parse().expect("a plain word is an image name");
    }
    image.value.clone()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nanoclaw_core::{group::GroupRole, run::RunNumber};

    use super::*;
    use crate::{
        config::environment_of,
        gateway::{Upstream, tls},
    };

    #[tokio::test]
    async fn f37_while_the_runtime_is_away_no_run_is_made_ready_and_its_own_words_say_why() {
        tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let config = Config::parse(Path::new("nanoclaw.toml"), "", home.root(), &environment_of([])).unwrap();
        let (machine, watch) = watch::channel(Err(RuntimeError::TimedOut { action: "reach the engine" }));
        let images = config.images.clone();
        let launcher = HostLauncher {
            home: home.clone(),
            config: Arc::new(config),
            machine: watch,
            install: InstallId::new("0123456789").unwrap(),
            gateway: Arc::new(Gateway::new(Upstream::new("http://127.0.0.1:9", None)).unwrap()),
            images: Images::new(home.root(), &images),
            outgoing: None,
            told: Told::default(),
        };
        let group = plan::tests::group(GroupRole::Ordinary);
        let run = RunId { group: group.folder.clone(), number: RunNumber(1) };
        let mend =
            RuntimeError::NotEnforced { what: "the memory limit".to_owned(), remedy: "use cgroup v2".to_owned() };
        for (error, retry) in [(RuntimeError::TimedOut { action: "reach the engine" }, HOST), (mend, SETUP)] {
            machine.send_modify(|machine| *machine = Err(error.clone()));
            let refused = launcher.prepare(&group, &run, &RunKind::Chat).await.err().unwrap();
            assert_eq!((refused.reason, refused.retry), (error.to_string(), retry));
            assert!(launcher.rejoin(&group, &run).await.is_err());
            let explained = launcher.explain(&group).await.unwrap();
            assert!(explained.problems.iter().any(|problem| problem.starts_with(&error.to_string())), "{explained:?}");
        }
        assert!(!home.group(&group.folder).exists(), "nothing was made");
    }
}
