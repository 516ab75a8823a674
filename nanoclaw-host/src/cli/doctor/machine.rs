//! What `doctor` says of the machine and the user's standing on it: user namespaces, limits that hold, the group of Docker, and
//! whether a user's own service outlives the login.

use std::fs;

use nanoclaw_core::runtime::{Capabilities, RuntimeKind};

use super::Check;
use crate::{cli::service, config::Config, home::Home};

/// What was found of user namespaces. The kernel is asked by an attempt, its settings only for the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Namespaces {
    /// Whether this is root, who needs none.
    pub(super) root: bool,
    /// What the sandbox was found to give; `Err`: why it cannot be used.
    pub(super) sandbox: Option<Result<bool, String>>,
    /// The runtime that is used.
    pub(super) chosen: Option<RuntimeKind>,
    /// Settings of the kernel that refuse them, each with the command that allows them.
    pub(super) refused_by: Vec<(&'static str, &'static str)>,
}

/// The settings that are known to refuse namespaces to ordinary users, with the value at which they do.
const REFUSING: [(&str, &str, &str, &str); 3] = [
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user.max_user_namespaces is 0",
        "sudo sysctl -w user.max_user_namespaces=10000",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "kernel.unprivileged_userns_clone is 0",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

/// Which of the kernel's settings refuse them.
pub(super) fn refused_by() -> Vec<(&'static str, &'static str)> {
    let is_set = |(file, value, ..): &&(&str, &str, &str, &str)| {
        fs::read_to_string(file).is_ok_and(|text| text.trim() == *value)
    };
    REFUSING.iter().filter(is_set).map(|(.., what, command)| (*what, *command)).collect()
}

pub(super) fn user_namespaces(found: &Namespaces) -> Check {
    const NAME: &str = "user-namespaces";
    let Namespaces { root, sandbox, chosen, refused_by } = found;
    match (root, sandbox) {
        (true, _) => return Check::ok(NAME, "root needs none"),
        (_, Some(Ok(true))) => return Check::ok(NAME, "an ordinary user can have them here"),
        (_, None) => return Check::skipped(NAME, "the sandbox was not tried"),
        (_, Some(Ok(false) | Err(_))) => {}
    }
    let because = match refused_by.as_slice() {
        [] => match sandbox {
            Some(Err(reason)) => format!(": {reason}"),
            _ => String::new(),
        },
        all => format!(": {}", all.iter().map(|(what, _)| *what).collect::<Vec<_>>().join(", ")),
    };
    let detail = format!("an ordinary user cannot have them here{because}");
    if chosen.is_some_and(|chosen| chosen != RuntimeKind::Sandbox) {
        return Check::ok(NAME, format!("{detail}; the runtime that is used needs none"));
    }
    let help = match refused_by.as_slice() {
        [] => "`sudo apt install bubblewrap`, which may have them where others may not; or install Docker".to_owned(),
        all => format!(
            "`{}`; a file in /etc/sysctl.d keeps it over a restart of the machine",
            all.iter().map(|(_, command)| *command).collect::<Vec<_>>().join(" && ")
        ),
    };
    match sandbox {
        // It works without, with less: Landlock alone.
        Some(Ok(_)) => Check::warning(NAME, detail, help),
        _ => Check::failed(NAME, detail, help),
    }
}

/// Whether the bounds that containers are given hold, on the runtime that is used.
pub(super) fn limits(config: &Config, chosen: Option<(RuntimeKind, &Capabilities)>) -> Check {
    const NAME: &str = "limits";
    let Some((kind, found)) = chosen else { return Check::skipped(NAME, "there is no runtime") };
    let asked = &config.container;
    let all = [
        ("memory", asked.memory_bytes.is_some(), asked.memory_bytes.is_explicit(), found.memory_limit),
        ("pids", asked.pids.is_some(), asked.pids.is_explicit(), found.pids_limit),
        ("cpus", asked.milli_cpus.is_some(), asked.milli_cpus.is_explicit(), found.cpu_limit),
    ];
    let missing: Vec<(&str, bool)> = all
        .into_iter()
        .filter(|(_, asked, _, holds)| *asked && !holds)
        .map(|(name, _, explicit, _)| (name, explicit))
        .collect();
    if missing.is_empty() {
        return Check::ok(NAME, format!("{kind} holds containers to those of [container]"));
    }
    let names = missing.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let detail = format!("{kind} does not hold containers to these of [container] here: {names}");
    let help = match kind {
        RuntimeKind::Sandbox => {
            "`nanoclaw service install` has systemd hand control groups over; or run it as root, or say \"none\" for them"
        }
        _ => {
            "the engine needs the kernel's control groups (`docker info` says which it lacks); or say \"none\" for them"
        }
    };
    // The sandbox goes without those that nobody asked for in so many words, and says so; anything else is refused at the start.
    let goes_without = kind == RuntimeKind::Sandbox && missing.iter().all(|(_, explicit)| !explicit);
    match goes_without {
        true => Check::warning(NAME, detail, help),
        false => Check::failed(NAME, format!("{detail}, so no container starts"), help),
    }
}

/// Who this process is, and what `/etc/group` says of the group of Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) root: bool,
    pub(super) user: String,
    /// The groups of this process, by number.
    pub(super) groups: Vec<u32>,
    /// The number of the group docker, and who is in it; `None`: there is none.
    pub(super) docker: Option<(u32, Vec<String>)>,
}

impl Membership {
    pub(super) fn read() -> Self {
        let id = rustix::process::geteuid();
        let groups = rustix::process::getgroups().unwrap_or_default();
        let own = rustix::process::getegid().as_raw();
        Self {
            root: id.is_root(),
            user: user_of(&fs::read_to_string("/etc/passwd").unwrap_or_default(), id.as_raw()).unwrap_or_default(),
            groups: groups.into_iter().map(|group| group.as_raw()).chain([own]).collect(),
            docker: group_named(&fs::read_to_string("/etc/group").unwrap_or_default(), "docker"),
        }
    }
}

/// The name of user `id` in the text of passwd(5).
fn user_of(text: &str, id: u32) -> Option<String> {
    let id = id.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    })
}

/// The number and the members of a group in the text of group(5).
fn group_named(text: &str, wanted: &str) -> Option<(u32, Vec<String>)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let (number, members) = (fields.nth(1)?.parse().ok()?, fields.next().unwrap_or_default());
        (name == wanted)
            .then(|| (number, members.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect()))
    })
}

/// Whether the user was put into the group of Docker after this process's login.
pub(super) fn docker_group(found: &Membership) -> Check {
    const NAME: &str = "docker-group";
    let Membership { root, user, groups, docker } = found;
    match docker {
        _ if *root => Check::ok(NAME, "root needs no group"),
        None => Check::ok(NAME, "there is no group docker"),
        Some((number, _)) if groups.contains(number) => Check::ok(NAME, "this process is in the group docker"),
        Some((_, members)) if members.contains(user) => Check::failed(
            NAME,
            format!("{user} is in the group docker, and what was started before that, like this shell, is not yet"),
            "`newgrp docker` for this shell; log out and in for all, and for a service of your own `loginctl terminate-user $USER`",
        ),
        Some(_) => Check::ok(NAME, format!("{user} is not in the group docker, and so cannot use Docker's own socket")),
    }
}

/// Whether a service of the user's own goes on when the user logs out.
pub(super) fn linger(home: &Home) -> Check {
    judge_linger(service::users_unit_of(home.root()), service::lingers)
}

/// `unit`: that of the user's own systemd which runs this home.
fn judge_linger(unit: Option<String>, lingers: impl FnOnce() -> bool) -> Check {
    const NAME: &str = "linger";
    match unit {
        None => Check::ok(NAME, "no unit of this user's own runs this home"),
        Some(unit) if lingers() => Check::ok(NAME, format!("{unit} goes on after a logout")),
        Some(unit) => Check::warning(
            NAME,
            format!("{unit} ends when you log out, and does not start before you log in"),
            "`loginctl enable-linger`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{cli::doctor::Outcome, config::environment_of};

    #[test]
    fn namespaces_that_are_refused_are_a_failure_only_where_they_are_needed() {
        let found = |sandbox, chosen| Namespaces {
            root: false,
            sandbox: Some(sandbox),
            chosen,
            refused_by: vec![("a setting is 0", "sudo sysctl -w a=1")],
        };
        let outcome = |found: &Namespaces| user_namespaces(found).outcome;
        let no = || Err("EPERM".to_owned());
        assert_eq!(outcome(&found(Ok(true), Some(RuntimeKind::Sandbox))), Outcome::Ok);
        assert_eq!(outcome(&found(no(), Some(RuntimeKind::Docker))), Outcome::Ok);
        assert_eq!(outcome(&found(Ok(false), Some(RuntimeKind::Sandbox))), Outcome::Warning);
        let failed = user_namespaces(&found(no(), None));
        assert_eq!(failed.outcome, Outcome::Failed);
        assert!(failed.help.unwrap().starts_with("`sudo sysctl -w a=1`"));
        assert_eq!(outcome(&Namespaces { root: true, ..found(no(), None) }), Outcome::Ok);
    }

    #[test]
    fn a_limit_that_does_not_hold_is_a_failure_where_containers_would_be_refused() {
        let config = |text| Config::parse(Path::new("/x"), text, Path::new("/"), &environment_of([])).unwrap();
        let found = |holds| Capabilities {
            description: String::new(),
            own_mounts: true,
            own_network: true,
            memory_limit: holds,
            tells_out_of_memory: holds,
            pids_limit: true,
            cpu_limit: holds,
            images: true,
            outlive_host: false,
            remarks: Vec::new(),
        };
        let outcome = |text, kind, holds| limits(&config(text), Some((kind, &found(holds)))).outcome;
        assert_eq!(outcome("", RuntimeKind::Sandbox, true), Outcome::Ok);
        assert_eq!(outcome("", RuntimeKind::Sandbox, false), Outcome::Warning);
        assert_eq!(outcome("[container]\nmemory = \"1GiB\"\n", RuntimeKind::Sandbox, false), Outcome::Failed);
        assert_eq!(outcome("", RuntimeKind::Docker, false), Outcome::Failed);
        let none = "[container]\nmemory = \"none\"\ncpus = \"none\"\n";
        assert_eq!(outcome(none, RuntimeKind::Docker, false), Outcome::Ok);
    }

    #[test]
    fn who_joined_the_group_of_docker_after_the_login_is_told() {
        let docker = group_named("root:x:0:\ndocker:x:998:bob,ann\n", "docker");
        assert_eq!(docker, Some((998, vec!["bob".to_owned(), "ann".to_owned()])));
        assert_eq!(user_of("root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n", 1000).unwrap(), "ann");
        let found = |user: &str, groups: &[u32]| Membership {
            root: false,
            user: user.to_owned(),
            groups: groups.to_vec(),
            docker: docker.clone(),
        };
        assert_eq!(docker_group(&found("ann", &[1000])).outcome, Outcome::Failed);
        for fine in [found("ann", &[1000, 998]), found("eve", &[1001]), Membership { root: true, ..found("ann", &[]) }]
        {
            assert_eq!(docker_group(&fine).outcome, Outcome::Ok, "{fine:?}");
        }
    }

    #[test]
    fn a_users_own_service_without_linger_is_worth_a_word() {
        let unit = || Some("nanoclaw.service".to_owned());
        assert_eq!(judge_linger(unit(), || false).outcome, Outcome::Warning);
        assert_eq!(judge_linger(unit(), || true).outcome, Outcome::Ok);
        assert_eq!(judge_linger(None, || false).outcome, Outcome::Ok);
    }
}
