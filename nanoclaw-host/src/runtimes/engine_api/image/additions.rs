//! What every agent image has beyond its base.

use std::{io::Read, path::Path};

use bollard::{
    Docker,
    errors::Error as EngineError,
    query_parameters::{ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder},
};
use futures_util::TryStreamExt;

use super::{
    super::errors,
    archive::{Content, Entry},
};

/// The agent's user, the same as in NanoClaw v1's image.
const USER: &str = "node";
const USER_ID: u64 = 1000;
const HOME: &str = "home/node";
/// Where mounts go; their places are there without any mount too.
const FOLDERS: [&str; 7] = [
    "workspace",
    "workspace/group",
    "workspace/ipc",
    "workspace/global",
    "workspace/extra",
    "nanoclaw",
    "nanoclaw/bin",
];
const CLAUDE: &str = "usr/local/bin/claude";
/// A file of users longer than this is none.
const MOST_USERS_BYTES: u64 = 1 << 20;

/// What to put on top of the files of `container`, parents before what is in them.
pub(super) async fn for_base(
    docker: &Docker,
    container: &str,
    claude: Option<&Path>,
) -> Result<Vec<Entry>, EngineError> {
    let mut entries = Vec::new();
    let mut parents = vec!["etc", "home"];
    if claude.is_some() {
        parents.extend(["usr", "usr/local", "usr/local/bin"]);
    }
    for parent in parents {
        // A folder that is there keeps its mode and owner; a link that stands for one stays a link.
        if !is_there(docker, container, parent).await? {
            entries.push(folder(parent, 0o755, 0));
        }
    }
    entries.extend(FOLDERS.map(|path| folder(path, 0o755, if path.starts_with("workspace/") { USER_ID } else { 0 })));
    // Whoever the container runs as has this as home.
    entries.push(folder(HOME, 0o777, USER_ID));

    let users = format!("{USER}:x:{USER_ID}:{USER_ID}:{USER}:/{HOME}:/bin/sh");
    let groups = format!("{USER}:x:{USER_ID}:");
    for (path, line) in [("etc/passwd", users), ("etc/group", groups)] {
        let text = read(docker, container, path).await?;
        if let Some(text) = with_line(text.as_deref().unwrap_or_default(), &line) {
            entries.push(Entry { path: path.to_owned(), mode: 0o644, user: 0, content: Content::Text(text) });
        }
    }
    if let Some(claude) = claude {
        let content = Content::File(claude.to_owned());
        entries.push(Entry { path: CLAUDE.to_owned(), mode: 0o755, user: 0, content });
    }
    Ok(entries)
}

fn folder(path: &str, mode: u32, user: u64) -> Entry {
    Entry { path: path.to_owned(), mode, user, content: Content::Folder }
}

/// `text` with `line` at its end, or `None` when one of its lines has the same name or number.
fn with_line(text: &str, line: &str) -> Option<String> {
    let key = |line: &str, place: usize| line.split(':').nth(place).map(str::to_owned);
    let taken = |known: &str| key(known, 0) == key(line, 0) || key(known, 2) == key(line, 2);
    if text.lines().any(taken) {
        return None;
    }
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Some(format!("{text}{end}{line}\n"))
}

async fn is_there(docker: &Docker, container: &str, path: &str) -> Result<bool, EngineError> {
    let options = ContainerArchiveInfoOptionsBuilder::default().path(&format!("/{path}")).build();
    match docker.get_container_archive_info(container, Some(options)).await {
        Ok(_) => Ok(true),
        Err(error) if errors::is_not_there(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The text of a file; `None` when there is no such regular file.
async fn read(docker: &Docker, container: &str, path: &str) -> Result<Option<String>, EngineError> {
    let options = DownloadFromContainerOptionsBuilder::default().path(&format!("/{path}")).build();
    let archive = docker.download_from_container(container, Some(options)).try_collect::<Vec<_>>().await;
    let archive = match archive {
        Ok(pieces) => pieces.concat(),
        Err(error) if errors::is_not_there(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut archive = tar::Archive::new(&archive[..]);
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.header().entry_type().is_file() {
            let mut bytes = Vec::new();
            entry.take(MOST_USERS_BYTES).read_to_end(&mut bytes)?;
            return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::with_line;

    #[test]
    fn a_user_is_added_once_and_never_twice() {
        let line = "node:x:1000:1000:node:/home/node:/bin/sh";
        assert_eq!(with_line("", line), Some(format!("{line}\n")));
        assert_eq!(with_line("root:x:0:0::/:", line), Some(format!("root:x:0:0::/:\n{line}\n")));
        assert_eq!(with_line("root:x:0:0::/:\nnode:x:1001:1001::/:\n", line), None, "the name is taken");
        assert_eq!(with_line("someone:x:1000:1000::/:\n", line), None, "the number is taken");
    }
}
