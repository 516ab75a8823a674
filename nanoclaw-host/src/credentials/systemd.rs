//! Credentials that systemd hands to the service: a file each in `$CREDENTIALS_DIRECTORY`.
//!
//! `LoadCredential=anthropic-api-key:/etc/nanoclaw/key` makes one that is named so; small letters and hyphens stand for the
//! capitals and underscores of the name.

use std::path::PathBuf;

use super::{Found, Origin, file, kind};
use crate::config::{Environment, Mistake, Place};

/// Reads the secrets that systemd handed over; nothing when it did not start this process, or handed over none.
pub(super) fn read(
    environment: &dyn Environment,
    mistakes: &mut Vec<Mistake>,
    remarks: &mut Vec<String>,
) -> Vec<Found> {
    let Some(folder) = environment.get("CREDENTIALS_DIRECTORY").map(PathBuf::from) else { return Vec::new() };
    let mut refuse = |path: PathBuf, key, message| mistakes.push(Mistake { place: Place::File(path), key, message });
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
        Err(error) => {
            refuse(folder, None, format!("CREDENTIALS_DIRECTORY names it, and it cannot be read: {error}"));
            return Vec::new();
        }
    };
    paths.sort();
    let mut found: Vec<Found> = Vec::new();
    for path in paths {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = file_name.to_ascii_uppercase().replace('-', "_");
        if !kind::is_name(&name) {
            remarks.push(format!("{}: it is no secret of NanoClaw's, by its name", path.display()));
            continue;
        }
        if let Some(first) = found.iter().find(|found| found.name == name) {
            let message = format!("{} is {name} too; hand over one of them", first.origin);
            refuse(path, Some(name), message);
            continue;
        }
        let read = file::trusted_text(&path)
            .and_then(|(text, since)| kind::checked(&text).map(|secret| (secret, since)).map_err(str::to_owned));
        match read {
            Ok((secret, since)) => {
                found.push(Found { name, secret, origin: Origin::Systemd { name: file_name }, since });
            }
            Err(problem) => refuse(path, Some(name), format!("it {problem}")),
        }
    }
    found
}
