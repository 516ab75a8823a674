//! What the program is started with: its arguments and its environment, as the group's [settings](super::thinking) and its
//! folders have it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use nanoclaw_core::{
    group::GroupRole,
    protocol::environment::{CLAUDE, GATEWAY_PORT},
};

use super::{
    super::{Failure, Start},
    settings,
    thinking::Thinking,
};
use crate::{
    chat_tools::ChatTools,
    model_access,
    places::{Places, set},
};

/// The tools that are allowed without asking (list: NanoClaw v1). Nobody is there to be asked anyway; the sandbox around us
/// is what limits them.
const ALLOWED_TOOLS: &str = "Bash,Read,Write,Edit,Glob,Grep,WebSearch,WebFetch,Task,TaskOutput,TaskStop,TeamCreate,\
TeamDelete,SendMessage,TodoWrite,ToolSearch,Skill,NotebookEdit,mcp__nanoclaw__*";

/// What the program is told by its environment, unless the environment says otherwise already.
const DEFAULTS: [(&str, &str); 5] = [
    // There is no network but the gateway.
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    // As NanoClaw v1 has it in its settings.
    ("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "0"),
    ("CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD", "1"),
    ("CLAUDE_CODE_EXPERIMENTAL_AGENT_TEAMS", "1"),
];

/// A process that is started from the same is the same, as far as we can say what it is. Not to be shown: a v1 host's logins
/// are in the environment.
#[derive(PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    /// What is added to our own.
    pub(super) environment: Vec<(&'static str, OsString)>,
    /// Where it works.
    pub(super) folder: PathBuf,
}

impl CommandLine {
    /// What `start` comes to now.
    ///
    /// # Errors
    /// The settings ask for what is none of Claude Code's.
    pub(super) fn now(start: &Start) -> Result<Self, Failure> {
        let thinking = Thinking::new(start.settings.clone())?;
        let tools = ChatTools::new(&start.places, &start.chat, start.role).definitions();
        let tools: Vec<&'static str> = tools.into_iter().map(|tool| tool.name).collect();
        let servers = settings::servers(start, thinking.servers()).map_err(|error| {
            Failure::other(format!("cannot tell where this program is, which serves the tools: {error}"))
        })?;
        let mut arguments = arguments(start);
        arguments.extend(["--mcp-config".into(), servers.into()]);
        arguments.extend(thinking.arguments(&tools));
        let mut environment = environment(start);
        environment.extend(thinking.environment());
        Ok(Self {
            program: set(CLAUDE).unwrap_or_else(|| "claude".into()),
            arguments,
            environment,
            folder: start.places.group.clone(),
        })
    }
}

fn arguments(start: &Start) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
        "--dangerously-skip-permissions",
        "--setting-sources",
        "user,project",
        "--allowedTools",
        ALLOWED_TOOLS,
    ]
    .map(OsString::from)
    .into();
    if let Some(session) = &start.session {
        arguments.extend(["--resume".into(), session.as_str().into()]);
    }
    if let Some(file) = global_memory(start) {
        // The file and not its text: an argument has at most 128 KiB.
        arguments.extend(["--append-system-prompt-file".into(), file.into()]);
    }
    for folder in extra_folders(&start.places.extra) {
        arguments.extend(["--add-dir".into(), folder.into()]);
    }
    arguments
}

/// What all groups share. The main group has it in its project already.
pub(super) fn global_memory(start: &Start) -> Option<PathBuf> {
    let file = start.places.global.join("CLAUDE.md");
    (start.role == GroupRole::Ordinary && file.is_file()).then_some(file)
}

/// The additional mounts, in the order of their names.
pub(super) fn extra_folders(parent: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

fn environment(start: &Start) -> Vec<(&'static str, OsString)> {
    let Places { home, gateway, .. } = &start.places;
    let mut environment: Vec<(&'static str, OsString)> = vec![("HOME", home.into())];
    let unset = |name: &str| set(name).is_none();
    environment.extend(DEFAULTS.iter().filter(|(name, _)| unset(name)).map(|(name, value)| (*name, value.into())));
    if rustix::process::geteuid().is_root() {
        // It refuses to skip permissions as root, except where it is told that it is locked in.
        environment.push(("IS_SANDBOX", "1".into()));
    }
    if gateway.is_some() {
        // As init has it, for an agent that was started without init.
        let access = model_access::environment(GATEWAY_PORT, set);
        environment.extend(access.into_iter().map(|(name, value)| (name, value.into())));
    }
    environment.extend(start.secrets.iter().map(|(name, secret)| (*name, secret.reveal().into())));
    environment
}
