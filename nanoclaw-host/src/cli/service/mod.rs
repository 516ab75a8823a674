//! `nanoclaw service`: the service under systemd.

mod systemctl;
mod unit;

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use nanoclaw_core::runtime::RuntimeKind;
use serde::Serialize;

use self::{
    systemctl::{Manager, booted, version},
    unit::{Isolation, MARK, Scope, Unit},
};
use super::{
    Place,
    failure::with_help,
    output::{self, BOLD, DIM, GREEN, RED},
};
use crate::{
    config::{Config, RuntimeChoice},
    home::Home,
};

/// What can be done with the service.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ServiceCommand {
    /// Write a systemd unit for this home, and start it now and at every boot
    ///
    /// Again: replaces the unit and restarts the service; containers of Docker and Podman go on meanwhile and are taken over.
    Install(InstallArgs),
    /// Stop the service and remove its unit; the home stays
    Uninstall(WhichArgs),
    /// Show how systemd sees the service
    Status(StatusArgs),
    /// Show the service's log
    Logs(LogsArgs),
}

/// Which unit is meant.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct WhichArgs {
    /// The unit of this user; the default of everybody but root
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// The unit of the machine; the default of root
    #[arg(long)]
    system: bool,
    /// The unit's name, for more than one home
    #[arg(long, value_name = "NAME", default_value = "nanoclaw", value_parser = name)]
    name: String,
}

#[derive(Debug, Default, clap::Args)]
pub(super) struct InstallArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// As whom the machine's unit runs the service; default: whoever owns the home
    #[arg(long = "as", value_name = "USER", value_parser = account)]
    run_as: Option<String>,
    /// A secret that systemd hands over, from a file that only root must be able to read; may be repeated
    #[arg(long = "credential", value_name = "NAME=FILE", value_parser = credential)]
    credentials: Vec<(String, String)>,
    /// Replace a unit of this name that was not written by this command
    #[arg(long)]
    force: bool,
    /// Write the unit, and start nothing
    #[arg(long)]
    no_start: bool,
    /// Print the unit, and change nothing
    #[arg(long)]
    print: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct LogsArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Go on with what is logged from now on
    #[arg(short, long)]
    follow: bool,
    /// How many lines of the past
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 100)]
    lines: u32,
}

pub(super) fn run(command: ServiceCommand, place: &Place) -> anyhow::Result<ExitCode> {
    match command {
        ServiceCommand::Install(args) => install(&args, place, &mut |line| Ok(output::line(line)?))?,
        ServiceCommand::Uninstall(args) => uninstall(&args)?,
        ServiceCommand::Status(args) => return status(&args),
        ServiceCommand::Logs(args) => {
            let mut words = vec![format!("--lines={}", args.lines)];
            words.extend(args.follow.then(|| "--follow".to_owned()));
            let done = args.which.manager().journal(&args.which.unit(), &words)?;
            return Ok(if done.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Default for WhichArgs {
    fn default() -> Self {
        Self { user: false, system: false, name: "nanoclaw".to_owned() }
    }
}

impl WhichArgs {
    fn manager(&self) -> Manager {
        if self.system || (!self.user && rustix::process::geteuid().is_root()) {
            Manager::System
        } else {
            Manager::User
        }
    }

    fn unit(&self) -> String {
        format!("{}.service", self.name)
    }

    fn file(&self) -> anyhow::Result<PathBuf> {
        Ok(self.manager().units()?.join(self.unit()))
    }
}

/// What there is of a unit that `service install` would write without further words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// None.
    None,
    /// It runs this home.
    OfThisHome,
    /// It is of another home, or written by hand.
    OfAnother,
}

/// How it stands with that unit, and whether systemd runs this machine.
pub(super) fn standing(home: &Home) -> anyhow::Result<(Standing, bool)> {
    let Some(text) = read(&WhichArgs::default().file()?)? else { return Ok((Standing::None, booted())) };
    let root = fs::canonicalize(home.root()).unwrap_or_else(|_| home.root().to_owned());
    let ours = text.starts_with(MARK) && unit::is_of_home(&text, &root);
    Ok((if ours { Standing::OfThisHome } else { Standing::OfAnother }, booted()))
}

/// Writes the unit and starts it; tells by `say` what was done.
pub(super) fn install(
    args: &InstallArgs,
    place: &Place,
    say: &mut dyn FnMut(String) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let home = place.existing_home()?;
    // A service that cannot start is found now, and not in its log.
    let config = place.config(&home)?;
    let (manager, file) = (args.which.manager(), args.which.file()?);
    let root = fs::canonicalize(home.root())?;
    let program = std::env::current_exe()?;
    let scope = match (manager, &args.run_as) {
        (Manager::User, None) => Scope::User,
        (Manager::User, Some(_)) => {
            return Err(with_help("a user's own unit runs as that user", "leave out --as, or use --system as root"));
        }
        (Manager::System, Some(user)) => Scope::System { user: user.clone() },
        // A number is a name to systemd as well.
        (Manager::System, None) => Scope::System { user: fs::metadata(&root)?.uid().to_string() },
    };
    let unit = Unit {
        scope,
        isolation: isolation(&config),
        program: &program,
        home: &root,
        systemd: version()?,
        credentials: &args.credentials,
    };
    let text = unit.text()?;
    if args.print {
        return say(text.trim_end().to_owned());
    }
    if !booted() && !args.no_start {
        return Err(with_help(
            "systemd does not run this machine",
            "--no-start writes the unit all the same, --print shows it; elsewhere, have what supervises services start `nanoclaw run`",
        ));
    }
    let before = read(&file)?;
    if before.as_ref().is_some_and(|before| !before.starts_with(MARK)) && !args.force {
        return Err(with_help(
            format!("{} was not written by this command", file.display()),
            "--force replaces it, --name writes a unit of another name",
        ));
    }
    write(&file, &text)?;
    say(format!("{} {BOLD}{}{BOLD:#}", if before.is_some() { "Replaced" } else { "Wrote" }, file.display()))?;
    if args.no_start {
        return say(format!("Next: {}", by_hand(manager, &args.which.unit())));
    }
    let name = args.which.unit();
    manager.systemctl(&["daemon-reload"])?;
    manager.systemctl(&["enable", &name])?;
    output::step("starting, until messages are taken");
    // Waits for the service's own word that it is ready.
    if let Err(error) = manager.systemctl(&["restart", &name]) {
        return Err(with_help(format!("{error}"), "`nanoclaw service logs` says why; the unit stays"));
    }
    say(format!("{GREEN}{name} runs{GREEN:#}: `nanoclaw status` shows how it stands."))?;
    if manager == Manager::User && !lingers() {
        say(output::hanging(
            "It ends when you log out, and does not start before you log in: `loginctl enable-linger` lets it go on.",
            0,
        ))?;
    }
    Ok(())
}

/// What is to be done by hand for a unit that is only written.
fn by_hand(manager: Manager, unit: &str) -> String {
    let user = if manager == Manager::User { " --user" } else { "" };
    format!("`systemctl{user} daemon-reload && systemctl{user} enable --now {unit}`")
}

fn uninstall(which: &WhichArgs) -> anyhow::Result<()> {
    let (manager, file, name) = (which.manager(), which.file()?, which.unit());
    match read(&file)? {
        None => return Err(not_installed(&file)),
        Some(text) if !text.starts_with(MARK) => {
            let help = format!("`systemctl disable --now {name}` stops it; remove the file yourself");
            return Err(with_help(format!("{} was not written by `nanoclaw service install`", file.display()), help));
        }
        Some(_) => {}
    }
    if booted() {
        manager.systemctl(&["disable", "--now", &name])?;
    }
    fs::remove_file(&file)?;
    if booted() {
        manager.systemctl(&["daemon-reload"])?;
    }
    Ok(output::line(format!("Removed {}. The home and all that is in it stay.", file.display()))?)
}

fn not_installed(file: &Path) -> anyhow::Error {
    with_help(
        format!("there is no {}", file.display()),
        "`nanoclaw service install` writes it; --user, --system and --name say which is meant",
    )
}

/// How systemd sees the service.
#[derive(Debug, Serialize)]
struct Seen {
    unit: String,
    /// `active`, `activating`, `failed`, `inactive`, …
    state: String,
    /// `enabled`: started at every boot.
    at_boot: String,
    process: Option<u32>,
    /// What the service says of itself.
    says: Option<String>,
    /// How often it was restarted by itself.
    restarts: u32,
    /// How it ended last: `success`, `watchdog`, `exit-code`, …
    result: String,
}

fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let (manager, file, unit) = (args.which.manager(), args.which.file()?, args.which.unit());
    if read(&file)?.is_none() {
        return Err(not_installed(&file));
    }
    let wanted = "--property=ActiveState,UnitFileState,MainPID,StatusText,NRestarts,Result";
    let seen = seen(unit.clone(), &manager.systemctl(&["show", &unit, wanted])?);
    let runs = seen.state == "active";
    let code = if runs { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        output::json(&seen)?;
        return Ok(code);
    }
    let colour = if runs { GREEN } else { RED };
    let Seen { state, at_boot, restarts, result, .. } = &seen;
    output::line(format!("{BOLD}{unit}{BOLD:#} is {colour}{state}{colour:#}; at boot: {at_boot}"))?;
    if let Some(process) = seen.process {
        output::line(format!("process {process}, restarted {restarts} times by itself"))?;
    }
    if let Some(says) = &seen.says {
        output::line(output::hanging(&output::clean(says), 0))?;
    }
    if !runs {
        output::line(format!("it ended last with: {result}; `nanoclaw service logs` says more"))?;
    }
    output::line(format!("{DIM}{}{DIM:#}", file.display()))?;
    Ok(code)
}

/// Reads what `systemctl show` says: lines of `Key=value`.
fn seen(unit: String, shown: &str) -> Seen {
    let values: BTreeMap<_, _> = shown.lines().filter_map(|line| line.split_once('=')).collect();
    let text = |key: &str| values.get(key).copied().unwrap_or_default().to_owned();
    let or_unknown = |text: String| if text.is_empty() { "unknown".to_owned() } else { text };
    Seen {
        unit,
        state: or_unknown(text("ActiveState")),
        at_boot: or_unknown(text("UnitFileState")),
        process: text("MainPID").parse().ok().filter(|pid| *pid != 0),
        says: Some(text("StatusText")).filter(|text| !text.is_empty()),
        restarts: text("NRestarts").parse().unwrap_or_default(),
        result: or_unknown(text("Result")),
    }
}

/// What the service will need to do itself. Where the runtime is chosen at the start, it may be the sandbox.
fn isolation(config: &Config) -> Isolation {
    match *config.container.runtime {
        RuntimeChoice::Fixed(RuntimeKind::Docker | RuntimeKind::Podman) => Isolation::Engine,
        RuntimeChoice::Fixed(_) | RuntimeChoice::Auto => Isolation::Own,
    }
}

/// Whether this user's services go on after a logout. What cannot be found out is no reason to say something.
pub(super) fn lingers() -> bool {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let asked = Command::new("loginctl").args(["show-user", &uid, "--property=Linger"]).stderr(Stdio::null()).output();
    asked.map_or(true, |said| !String::from_utf8_lossy(&said.stdout).contains("Linger=no"))
}

/// The name of the unit of this user's own systemd that runs the home at `root`; `None`: there is none.
pub(super) fn users_unit_of(root: &Path) -> Option<String> {
    let root = fs::canonicalize(root).ok()?;
    let home = unit::home_argument(&root).ok()?;
    let units = fs::read_dir(Manager::User.units().ok()?).ok()?.flatten();
    let mut names: Vec<String> = units
        .filter(|entry| read(&entry.path()).is_ok_and(|text| text.is_some_and(|text| text.contains(&home))))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".service"))
        .collect();
    names.sort();
    names.into_iter().next()
}

/// The text of a file; `None`: there is none.
fn read(file: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context(format!("cannot read {}", file.display()))),
    }
}

/// Puts `text` into `file` at once and whole.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = |error: std::io::Error| {
        with_help(
            format!("cannot write {}: {error}", file.display()),
            "the machine's unit takes root; --user writes one of your own",
        )
    };
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(cannot)?;
    let mut new = tempfile::Builder::new()
        .prefix(".nanoclaw-")
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(cannot)?;
    new.write_all(text.as_bytes()).map_err(cannot)?;
    new.persist(file).map_err(|error| cannot(error.error))?;
    Ok(())
}

/// The name of a unit without its ending, by systemd.unit(5).
fn name(word: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = !word.is_empty() && word.len() <= 100 && word.chars().all(plain) && !word.starts_with(['.', '-']);
    good.then(|| word.to_owned()).ok_or_else(|| "it is made of letters, digits, `-`, `_` and `.`".to_owned())
}

/// The name or number of a user, by useradd(8).
fn account(word: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = !word.is_empty() && word.len() <= 32 && word.chars().all(plain) && !word.starts_with('-');
    good.then(|| word.to_owned()).ok_or_else(|| "it is the name or the number of a user".to_owned())
}

/// A secret's name, as systemd wants it, and the file that it is in.
fn credential(word: &str) -> Result<(String, String), String> {
    let (secret, file) = word.split_once('=').ok_or("it is NAME=FILE")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if secret.is_empty() || !secret.chars().all(plain) {
        return Err("the name is made of letters, digits, `-`, `_` and `.`".to_owned());
    }
    if !Path::new(file).is_absolute() {
        return Err("the file is named by its whole path".to_owned());
    }
    Ok((secret.to_owned(), file.to_owned()))
}
