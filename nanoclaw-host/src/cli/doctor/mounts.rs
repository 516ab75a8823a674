//! What `doctor` says of mounts: the allowlist's health, and what looks like a secret in what groups are shown.

use nanoclaw_core::{group::GroupRole, mounts::Refusal};

use super::Check;
use crate::{
    config::Config,
    home::Home,
    mounts::{Bounds, Judge, read_allowlist, search},
};

/// How many names are told for one mount.
const NAMES_TOLD: usize = 5;

/// The checks, in order. Blocking: looks through mounts, a few seconds each at most.
pub(super) fn checks(home: &Home, config: &Config) -> Vec<Check> {
    vec![allowlist(config), secrets(home, config)]
}

fn allowlist(config: &Config) -> Check {
    const NAME: &str = "mount-allowlist";
    let asked: usize =
        config.groups.values().filter_map(|group| group.mounts.as_ref()).map(|mounts| mounts.len()).sum();
    match read_allowlist(&config.mounts) {
        Ok(list) => {
            let gone: Vec<&str> =
                list.roots.iter().filter(|root| root.path.is_none()).map(|root| root.written.as_str()).collect();
            if !gone.is_empty() {
                let detail = format!("these allowed roots are not there: {}", gone.join(", "));
                return Check::warning(NAME, detail, "correct or remove them; nothing under them can be mounted");
            }
            if list.roots.iter().any(|root| root.path.as_ref().is_some_and(|path| path.parent().is_none())) {
                let detail = "/ is an allowed root, so everything that is not blocked can be mounted";
                return Check::warning(NAME, detail, "allow the folders that are meant");
            }
            Check::ok(NAME, format!("{} allowed roots, {asked} mounts are asked for", list.roots.len()))
        }
        Err(Refusal::NoAllowlist { .. }) if asked == 0 => Check::ok(NAME, "there is none, and no mounts are asked for"),
        Err(refusal) if asked == 0 => {
            Check::warning(NAME, refusal.to_string(), "no mount is allowed until it is mended")
        }
        Err(refusal) => {
            let detail = format!("{asked} mounts are asked for, and {refusal}");
            Check::failed(
                NAME,
                detail,
                "docs/mounts.md shows how it must look; `nanoclaw mounts allow PATH` adds to it",
            )
        }
    }
}

fn secrets(home: &Home, config: &Config) -> Check {
    const NAME: &str = "mount-secrets";
    let judge = Judge { config: &config.mounts, home, runtime: None, own_mounts: true };
    let (mut looked, mut lines) = (0, Vec::new());
    for (folder, group) in &config.groups {
        let Some(requests) = &group.mounts else { continue };
        // The role decides about writing alone, which is nothing to secrets.
        for judged in judge.all(requests, GroupRole::Ordinary) {
            let Ok(accepted) = judged.verdict else { continue };
            looked += 1;
            if judged.request.hide_secrets {
                continue;
            }
            let search = search(&accepted.opened, Bounds::OF_A_CHECK, |_| false);
            if !search.found.is_empty() {
                let mut names: Vec<String> =
                    search.found.iter().take(NAMES_TOLD).map(|found| found.path.display().to_string()).collect();
                match search.found.len().saturating_sub(NAMES_TOLD) {
                    0 => {}
                    more => names.push(format!("and {more} more")),
                }
                lines.push(format!("{folder} can read in {}: {}", judged.request.host, names.join(", ")));
            }
            if let Some(gave_up) = search.gave_up {
                lines.push(format!("{folder}: not all of {} was looked at: {gave_up}", judged.request.host));
            }
        }
    }
    match lines.as_slice() {
        [] if looked == 0 => Check::ok(NAME, "no group has additional mounts"),
        [] => Check::ok(NAME, format!("no name in {looked} mounts looks like a secret that is shown")),
        lines => Check::warning(
            NAME,
            lines.join("\n"),
            "move them out of the mount, or cover them with hide_secrets = true; agents can read what they are shown",
        ),
    }
}
