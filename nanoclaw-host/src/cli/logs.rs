//! `nanoclaw logs`: what a group's containers logged. Works on the files alone, whether a service runs or not.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use inotify::{Inotify, WatchMask};
use nanoclaw_core::group::GroupFolder;

use super::{
    Place, failure,
    output::{self, DIM},
};
use crate::home::Home;

/// What `logs` can be told.
#[derive(Debug, clap::Args)]
pub(super) struct LogsArgs {
    /// The group's folder
    group: GroupFolder,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// How many lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
}

/// How much of a log file's end is looked at.
const LONGEST_TAIL_BYTES: u64 = 4 * 1024 * 1024;

pub(super) async fn run(args: LogsArgs, place: &Place) -> anyhow::Result<()> {
    let home = place.existing_home()?;
    let folder = home.run_logs(&args.group);
    if !folder.is_dir() {
        return Err(nothing_logged(&home, &args.group));
    }
    // Watched before it is read, so that nothing falls between.
    let watched = if args.follow { Some(watch(&folder)?) } else { None };
    let mut files = log_files(&folder)?;
    let mut shown = Vec::new();
    let mut missing = args.lines;
    while missing > 0
        && let Some(path) = files.pop()
    {
        let (text, end) = tail(&path, missing)?;
        missing -= text.lines().count();
        shown.push((path, text, end));
    }
    for (path, text, _) in shown.iter().rev() {
        header(path)?;
        match text.trim_end_matches('\n') {
            "" => output::line(format!("{DIM}(nothing){DIM:#}"))?,
            text => output::line(output::clean(text))?,
        }
    }
    match watched {
        Some(watched) => {
            let current = match shown.into_iter().next() {
                Some((path, _, end)) => Some((path, end)),
                None => newest_at_end(&folder)?,
            };
            follow(watched, &folder, current).await
        }
        None => Ok(()),
    }
}

fn nothing_logged(home: &Home, group: &GroupFolder) -> anyhow::Error {
    let parent = home.store().join("logs");
    let groups: Vec<String> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let help = match crate::config::nearest(group.as_str(), groups.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => "a group has a log once it has run; `nanoclaw groups list` shows all groups".to_owned(),
    };
    failure::with_help(format!("nothing was logged for a group {group}"), help)
}

/// The log files, oldest first.
fn log_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<(SystemTime, PathBuf)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                files.push((metadata.modified()?, entry.path()));
            }
        }
        Ok(files)
    };
    let mut files = read().with_context(|| format!("cannot read {}", folder.display()))?;
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn newest_at_end(folder: &Path) -> anyhow::Result<Option<(PathBuf, u64)>> {
    let newest = log_files(folder)?.pop();
    newest.map(|path| tail(&path, 0).map(|(_, end)| (path, end))).transpose()
}

/// The last lines of a file, at most `lines` of them, and the offset at which they end.
fn tail(path: &Path, lines: usize) -> anyhow::Result<(String, u64)> {
    let read = || -> io::Result<(Vec<u8>, u64)> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(LONGEST_TAIL_BYTES);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        let read = file.take(length - from).read_to_end(&mut bytes)?;
        Ok((bytes, from + read as u64))
    };
    let (bytes, end) = read().with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.split_inclusive('\n').collect();
    Ok((all[all.len().saturating_sub(lines)..].concat(), end))
}

fn header(path: &Path) -> Result<(), output::OutputError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    output::line(format!("{DIM}==> {} <=={DIM:#}", output::clean(&name)))
}

fn watch(folder: &Path) -> anyhow::Result<Inotify> {
    let watch = || -> io::Result<Inotify> {
        let inotify = Inotify::init()?;
        inotify.watches().add(folder, WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO)?;
        Ok(inotify)
    };
    watch().with_context(|| format!("cannot watch {}", folder.display()))
}

/// Prints what is added to the newest file, and goes over to a newer one when it comes.
async fn follow(watched: Inotify, folder: &Path, mut current: Option<(PathBuf, u64)>) -> anyhow::Result<()> {
    let mut buffer = [0; 4096];
    let mut events = watched.into_event_stream(&mut buffer)?;
    loop {
        if let Some((path, end)) = &mut current {
            print_from(path, end)?;
        }
        let newest = log_files(folder)?.pop();
        if let Some(newest) = newest.filter(|newest| current.as_ref().is_none_or(|(path, _)| path != newest)) {
            header(&newest)?;
            current = Some((newest, 0));
            continue;
        }
        if events.next().await.transpose()?.is_none() {
            return Ok(());
        }
    }
}

/// Prints the whole lines from `end` on, and moves it past them.
fn print_from(path: &Path, end: &mut u64) -> anyhow::Result<()> {
    loop {
        let mut bytes = Vec::new();
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.with_context(|| format!("cannot read {}", path.display()))?,
        };
        if file.metadata()?.len() < *end {
            *end = 0;
        }
        file.seek(SeekFrom::Start(*end))?;
        file.take(LONGEST_TAIL_BYTES).read_to_end(&mut bytes)?;
        let full = bytes.len() as u64 == LONGEST_TAIL_BYTES;
        let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => newline + 1,
            None if full => bytes.len(),
            None => return Ok(()),
        };
        *end += whole as u64;
        output::line(output::clean(String::from_utf8_lossy(&bytes[..whole]).trim_end_matches('\n')))?;
        if !full {
            return Ok(());
        }
    }
}
