//! `nanoclaw backup`: makes, shows, checks and restores backups of a home.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use nanoclaw_core::time::Timestamp;
use serde::Serialize;

use super::{
    Place,
    failure::with_help,
    output::{self, BOLD, Columns},
};
use crate::backup::{
    BackupError, create, folder_of, read,
    restore::{self, Used},
};

/// What can be done with backups.
#[derive(Debug, clap::Subcommand)]
pub(super) enum BackupCommand {
    /// Make a backup, also while the service runs
    ///
    /// In it is all that cannot be made again: configuration, groups, skills, the database, sessions, and the logins of chat services. So it is
    /// as secret as the home. Not in it: credentials outside the home, logs, and what belongs to running containers.
    Create(CreateArgs),
    /// Show the backups that there are
    List(ListArgs),
    /// Read a backup to its end and compare everything in it with its sums
    Verify(VerifyArgs),
    /// Make the home that --home names of a backup
    Restore(RestoreArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    /// A file that is not there yet, or a folder; default: the folder backups/ of the home
    #[arg(value_name = "PATH")]
    to: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Another folder than backups/ of the home
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// The backup
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// Move what is in the home aside first, into a folder in it; nothing is deleted
    #[arg(long)]
    force: bool,
}

/// A backup, as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    path: PathBuf,
    made_at_ms: Timestamp,
    version: String,
    schema: i64,
    /// Of the backup's own file.
    file_bytes: u64,
    /// What is in it, when that was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
}

pub(super) async fn run(command: BackupCommand, place: &Place) -> anyhow::Result<()> {
    match command {
        BackupCommand::Create(args) => create(args, place).await,
        BackupCommand::List(args) => list(&args, place),
        BackupCommand::Verify(args) => verify(&args),
        BackupCommand::Restore(args) => restore(&args, place),
    }
}

async fn create(args: CreateArgs, place: &Place) -> anyhow::Result<()> {
    let home = place.existing_home()?;
    if !home.database().exists() {
        return Err(with_help(
            "there is nothing to back up: this home was never used",
            "`nanoclaw chat` or `nanoclaw run` begins",
        ));
    }
    let into = match args.to {
        None => {
            let folder = folder_of(&home);
            std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
                .create(&folder)?;
            folder.join(file_name())
        }
        Some(folder) if folder.is_dir() => folder.join(file_name()),
        Some(file) => file,
    };
    let terminal = output::stderr_is_terminal();
    let mut told = std::time::Instant::now();
    let progress = move |file: &str, bytes: u64| {
        if terminal && told.elapsed().as_millis() > 200 {
            told = std::time::Instant::now();
            output::rewrite(&format!("{}  {file}", output::size(bytes)));
        }
    };
    let written = create::create(&home, &into, progress).await;
    if terminal {
        output::rewrite("");
    }
    let written = written?;
    let label = read::label(&into)?;
    let mut shown = shown(&into, label)?;
    (shown.files, shown.bytes) = (Some(written.files), Some(written.bytes));
    if args.json {
        shown.remarks = written.remarks;
        return output::json(&shown);
    }
    for remark in &written.remarks {
        output::step(&format!("not as it was: {remark}"));
    }
    output::line(format!("{BOLD}{}{BOLD:#}", into.display()))?;
    Ok(output::line(format!(
        "{} files, {} in {}. It is as secret as the home, and best kept on another disk.",
        written.files,
        output::size(written.bytes),
        output::size(shown.file_bytes)
    ))?)
}

/// The name of a backup that is made now, in UTC.
fn file_name() -> String {
    let now = jiff::Timestamp::now().to_zoned(TimeZone::UTC);
    format!("nanoclaw-{}.tar.gz", now.strftime("%Y%m%d-%H%M%S"))
}

fn shown(path: &Path, label: crate::backup::Label) -> anyhow::Result<Shown> {
    Ok(Shown {
        path: path.to_owned(),
        made_at_ms: label.made_at_ms,
        version: label.version,
        schema: label.schema,
        file_bytes: std::fs::metadata(path)?.len(),
        files: None,
        bytes: None,
        remarks: Vec::new(),
    })
}

fn list(args: &ListArgs, place: &Place) -> anyhow::Result<()> {
    let (folder, zone) = match &args.folder {
        Some(folder) => (folder.clone(), TimeZone::system()),
        None => {
            let home = place.existing_home()?;
            (folder_of(&home), place.config(&home)?.time.zone.value)
        }
    };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>()?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && args.folder.is_none() => Vec::new(),
        Err(error) => return Err(anyhow::Error::new(error).context(format!("cannot read {}", folder.display()))),
    };
    let mut all = Vec::new();
    for path in entries.into_iter().map(|entry| entry.path()) {
        match read::label(&path) {
            Ok(label) => all.push(shown(&path, label)?),
            // Other things may lie there too.
            Err(BackupError::Foreign(_)) => {}
            Err(error) => output::step(&error.to_string()),
        }
    }
    all.sort_by_key(|shown| std::cmp::Reverse(shown.made_at_ms));
    if args.json {
        return output::json(&all);
    }
    if all.is_empty() {
        return Ok(output::line(format!(
            "There are no backups in {}. `nanoclaw backup create` makes one.",
            folder.display()
        ))?);
    }
    let mut columns = Columns::new(["BACKUP", "MADE", "SIZE", "VERSION"]);
    for shown in all {
        let made = output::time(shown.made_at_ms, &zone);
        columns.row([shown.path.display().to_string(), made, output::size(shown.file_bytes), shown.version]);
    }
    Ok(columns.print()?)
}

fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let verified = tokio::task::block_in_place(|| read::verify(&args.file))?;
    let mut shown = shown(&args.file, verified.label)?;
    (shown.files, shown.bytes) = (Some(verified.files), Some(verified.bytes));
    if args.json {
        return output::json(&shown);
    }
    let made = output::time(shown.made_at_ms, &TimeZone::system());
    Ok(output::line(format!(
        "It is whole: {} files, {}, made {made} by nanoclaw {}, schema {}.",
        verified.files,
        output::size(verified.bytes),
        shown.version,
        shown.schema
    ))?)
}

fn restore(args: &RestoreArgs, place: &Place) -> anyhow::Result<()> {
    let root = place.home()?.root().to_owned();
    let used = if args.force { Used::MoveAside } else { Used::Refuse };
    let restored = tokio::task::block_in_place(|| restore::restore(&args.file, &root, used))?;
    output::line(format!(
        "Restored {BOLD}{}{BOLD:#}: {} files, {}.",
        root.display(),
        restored.from.files,
        output::size(restored.from.bytes)
    ))?;
    if let Some(aside) = restored.aside {
        output::line(format!("What was there is in {}; remove it when you do not want it back.", aside.display()))?;
    }
    let made = output::time(restored.from.label.made_at_ms, &TimeZone::system());
    Ok(output::line(output::hanging(
        &format!(
            "It goes on as it stood at {made}: what was answered or sent after that, and was waiting then, is answered and sent once more. \
             Credentials are not in backups; `nanoclaw auth status` shows whether there are some."
        ),
        0,
    ))?)
}
