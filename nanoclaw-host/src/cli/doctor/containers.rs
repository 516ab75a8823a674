//! What `doctor` says of containers that nobody has, and of other hosts that would take this one's work or words.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use nanoclaw_core::{
    run::RunId,
    runtime::{ContainerId, ContainerRuntime, ContainerSummary, InstallId, RuntimeKind},
};

use super::{Check, database::Database, fix::Fix};
use crate::{
    admin::{AdminHandler as _, Client, types::CredentialsView},
    app,
    config::{Config, Enabled},
    home::Home,
    stores::sqlite::{Inspected, inspect},
};

/// Containers of this installation that belong to no run which is open.
///
/// The containers are listed before the runs are read again: one that is started meanwhile has its run by then.
pub(super) async fn orphans(home: &Home, found: &Database, runtime: Option<&Arc<dyn ContainerRuntime>>) -> Check {
    const NAME: &str = "orphans";
    let Some(runtime) = runtime else { return Check::skipped(NAME, "there is no runtime") };
    let install = match found {
        Ok(Some(Inspected { install: Some(install), .. })) => match InstallId::new(install.clone()) {
            Ok(install) => install,
            Err(error) => return Check::skipped(NAME, error.to_string()),
        },
        Ok(_) => return Check::ok(NAME, "nothing ran yet"),
        Err(_) => return Check::skipped(NAME, "the database cannot be read"),
    };
    let listed = match runtime.list(&install).await {
        Ok(listed) => listed,
        Err(error) => return Check::skipped(NAME, error.to_string()),
    };
    match inspect(&home.database(), None).await {
        Ok(Some(now)) => judge_orphans(runtime.kind(), &install, &listed, &now.open_runs),
        _ => Check::skipped(NAME, "the database cannot be read"),
    }
}

fn judge_orphans(kind: RuntimeKind, install: &InstallId, listed: &[ContainerSummary], open: &[RunId]) -> Check {
    const NAME: &str = "orphans";
    let run = |container: &ContainerSummary| RunId { group: container.group.clone(), number: container.number };
    let orphans: Vec<&ContainerSummary> = listed.iter().filter(|container| !open.contains(&run(container))).collect();
    if orphans.is_empty() {
        return Check::ok(NAME, format!("{} containers, each of a run that is open", listed.len()));
    }
    let told: Vec<String> = orphans
        .iter()
        .map(|one| format!("{} of {}{}", one.id, run(one), if one.running { ", which runs" } else { "" }))
        .collect();
    let fixes: Vec<Fix> = orphans
        .iter()
        .map(|one| Fix::Orphan { runtime: kind, install: install.clone(), id: one.id.clone(), run: run(one) })
        .collect();
    let commands: Vec<String> = fixes.iter().map(Fix::command).collect();
    let help = format!("`{}`; the next start of the service removes them as well", commands.join(" && "));
    Check::warning(NAME, format!("containers of no open run: {}", told.join("; ")), help).mended_by(fixes)
}

/// Removes an orphan, if it still is one.
pub(super) async fn remove(
    home: &Home,
    config: &Config,
    kind: RuntimeKind,
    install: &InstallId,
    id: &ContainerId,
    run: &RunId,
) -> Result<(), String> {
    let told = |error: nanoclaw_core::runtime::RuntimeError| error.to_string();
    let candidate = app::every_runtime(home, config, Some(kind)).await.into_iter().next();
    let runtime = candidate.ok_or("there is no such runtime")?.1.map_err(told)?;
    let listed = runtime.list(install).await.map_err(told)?;
    if !listed.iter().any(|one| one.id == *id && one.group == run.group && one.number == run.number) {
        return Ok(());
    }
    let now = inspect(&home.database(), None).await.map_err(|error| error.to_string())?;
    if now.is_none_or(|now| now.open_runs.contains(run)) {
        return Err("its run is open now".to_owned());
    }
    runtime.remove(id).await.map_err(told)
}

/// Another host of this user that runs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OtherHost {
    pid: u32,
    home: String,
    install: Option<String>,
    /// Fingerprints of the secrets that it has, by their names.
    secrets: BTreeMap<String, String>,
    /// The channels that it is connected to, or tries.
    channels: Vec<String>,
}

/// A chat service that lets one program in at a time, or tells each of several everything: its channel, and the secret that is
/// the identity there.
const IDENTITIES: [(&str, &str); 3] =
    [("telegram", "TELEGRAM_BOT_TOKEN"), ("discord", "DISCORD_BOT_TOKEN"), ("slack", "SLACK_APP_TOKEN")];

/// Whether another host on this machine is the same to containers or to a chat service as this one.
pub(super) async fn identity(home: &Home, config: Option<&Config>, found: &Database) -> Check {
    let install = match found {
        Ok(Some(found)) => found.install.clone(),
        _ => None,
    };
    let own_home = home.clone();
    let others = tokio::task::spawn_blocking(move || hosts_beside(&own_home)).await.unwrap_or_default();
    let mut asked = Vec::new();
    for (pid, other) in others {
        asked.push(ask(pid, &other).await);
    }
    judge_identity(&asked, install.as_deref(), &config.map(own_secrets).unwrap_or_default())
}

/// The fingerprints of the secrets by which chat services know this host, by channel: of those that it uses.
fn own_secrets(config: &Config) -> BTreeMap<&'static str, String> {
    let channels = &config.channels;
    let is_used = |channel: &str| match channel {
        "telegram" => *channels.telegram.enabled != Enabled::No,
        "discord" => *channels.discord.enabled != Enabled::No,
        _ => *channels.slack.enabled != Enabled::No,
    };
    let secrets = IDENTITIES.into_iter().filter(|(channel, _)| is_used(channel));
    secrets
        .filter_map(|(channel, name)| {
            Some((channel, crate::credentials::fingerprint(&config.credentials.secret_named(name)?)))
        })
        .collect()
}

fn judge_identity(others: &[OtherHost], install: Option<&str>, own: &BTreeMap<&str, String>) -> Check {
    const NAME: &str = "identity";
    for other in others {
        let OtherHost { pid, home, .. } = other;
        if install.is_some() && other.install.as_deref() == install {
            return Check::failed(
                NAME,
                format!(
                    "process {pid} works on {home}, a copy of this home: each takes the other's containers for its own, and both \
                     answer the same chats"
                ),
                format!("`kill {pid}` ends that one; use one of the two homes only"),
            );
        }
        for (channel, secret) in IDENTITIES {
            let same = own.get(channel).is_some_and(|own| other.secrets.get(secret) == Some(own));
            if same && other.channels.iter().any(|used| used == channel) {
                return Check::failed(
                    NAME,
                    format!(
                        "process {pid} works on {home} and is the same bot on {channel} ({secret}): messages go to either"
                    ),
                    format!(
                        "`kill {pid}` ends that one; or give one of them a bot of its own, or say enabled = false under \
                         [channels.{channel}] there"
                    ),
                );
            }
        }
    }
    match others.len() {
        0 => Check::ok(NAME, "no other host of this user runs here"),
        count => Check::ok(NAME, format!("{count} other hosts of this user run here, and share nothing with this one")),
    }
}

/// The homes that other processes of this user work on, by the lock that each holds open.
fn hosts_beside(own: &Home) -> Vec<(u32, Home)> {
    let own_root = own.root().canonicalize().unwrap_or_else(|_| own.root().to_owned());
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Of other users' processes nothing can be seen.
        for open in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(open.path()) else { continue };
            let root = target.parent().and_then(Path::parent);
            let is_lock = target.ends_with("store/host.lock");
            let Some(home) = root.filter(|root| is_lock && **root != own_root).and_then(|root| Home::at(root).ok())
            else {
                continue;
            };
            if home.lock_file() == target && !found.iter().any(|(_, known)| *known == home) {
                found.push((pid, home));
            }
        }
    }
    found
}

async fn ask(pid: u32, home: &Home) -> OtherHost {
    let database = inspect(&home.database(), None).await.ok().flatten();
    let mut other = OtherHost {
        pid,
        home: home.root().display().to_string(),
        install: database.and_then(|found| found.install),
        secrets: BTreeMap::new(),
        channels: Vec::new(),
    };
    if let Ok(client) = Client::connect(home).await {
        if let Ok(CredentialsView { named, .. }) = client.credentials().await {
            other.secrets = named.into_iter().filter_map(|one| Some((one.name, one.fingerprint?))).collect();
        }
        let service = client.status().await.ok().and_then(|status| status.service);
        other.channels = service.into_iter().flat_map(|service| service.channels).map(|channel| channel.name).collect();
    }
    other
}

#[cfg(test)]
mod tests {
    use nanoclaw_core::{group::GroupFolder, run::RunNumber};

    use super::*;
    use crate::cli::doctor::Outcome;

    #[test]
    fn a_container_of_no_open_run_is_an_orphan_and_one_of_an_open_run_is_none() {
        let group = GroupFolder::new("family").unwrap();
        let container = |number, running| ContainerSummary {
            id: ContainerId::new(format!("c{number}")).unwrap(),
            group: group.clone(),
            number: RunNumber(number),
            running,
        };
        let open = [RunId { group: group.clone(), number: RunNumber(2) }];
        let install = InstallId::new("abcdefgh12").unwrap();
        let judged = |listed: &[ContainerSummary]| judge_orphans(RuntimeKind::Docker, &install, listed, &open);
        assert_eq!(judged(&[]).outcome, Outcome::Ok);
        assert_eq!(judged(&[container(2, true)]).outcome, Outcome::Ok);
        let found = judged(&[container(1, true), container(2, true), container(3, false)]);
        assert_eq!((found.outcome, found.fixes.len()), (Outcome::Warning, 2));
        assert!(found.help.unwrap().starts_with("`docker rm --force c1 && docker rm --force c3`"));
    }

    #[test]
    fn another_host_with_this_ones_installation_or_bot_is_found_and_a_stranger_is_none() {
        let other = |install: &str, secret: &str, channels: &[&str]| OtherHost {
            pid: 7,
            home: "/other".to_owned(),
            install: Some(install.to_owned()),
            secrets: BTreeMap::from([("TELEGRAM_BOT_TOKEN".to_owned(), secret.to_owned())]),
            channels: channels.iter().map(|&name| name.to_owned()).collect(),
        };
        let own = BTreeMap::from([("telegram", "aa".to_owned())]);
        let outcome = |other: OtherHost| judge_identity(&[other], Some("me"), &own).outcome;
        assert_eq!(outcome(other("you", "bb", &["local", "telegram"])), Outcome::Ok);
        assert_eq!(outcome(other("you", "aa", &["local"])), Outcome::Ok, "it does not use it");
        assert_eq!(outcome(other("you", "aa", &["local", "telegram"])), Outcome::Failed);
        assert_eq!(outcome(other("me", "bb", &[])), Outcome::Failed);
        assert_eq!(judge_identity(&[], None, &own).outcome, Outcome::Ok);
    }
}
