//! A verdict as it is shown: every rule that was passed, and the one that decided.

use std::path::PathBuf;

use nanoclaw_core::{
    mounts::{Kind, Refusal},
    protocol::environment::guest,
    runtime::Access,
};
use serde::Serialize;

use super::{Bounds, Judged, Project, search};

/// A verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The path as it was written.
    pub host: String,
    /// Whether it is mounted.
    pub allowed: bool,
    /// Where it is, without links; `None` when it is refused.
    pub path: Option<PathBuf>,
    /// Where it is mounted; `None` when it is refused.
    pub target: Option<String>,
    /// What was asked for.
    pub asked: Access,
    /// What may be done with it; `None` when it is refused.
    pub access: Option<Access>,
    /// The root that allows it, as it was written.
    pub root: Option<String>,
    /// The word for why it is refused; the same in every version.
    pub refusal: Option<&'static str>,
    /// Why it is refused, or less than was asked for, in words.
    pub reason: Option<String>,
    /// The rules in the order in which they are asked, up to the one that refuses.
    pub rules: Vec<Rule>,
    /// How many names in it look like secrets and are not covered; `None` when that was not looked for.
    pub secrets: Option<usize>,
}

/// A rule and what it said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its name, the same in every version.
    pub name: &'static str,
    /// Whether it lets the mount pass.
    pub passed: bool,
    /// What it found.
    pub found: String,
}

/// The rules in the order in which they are asked.
const RULES: [(&str, &str); 8] = [
    ("name", "its name inside is one plain name that no other mount has"),
    ("allowlist", "there is an allowlist, which nobody else can write"),
    ("path", "it is there"),
    ("guarded", "it touches nothing of NanoClaw's own, no engine's socket and nothing of the system"),
    ("kind", "it is a folder or a regular file"),
    ("blocked", "no part of its path is blocked"),
    ("root", "it lies under an allowed root"),
    ("secrets", "what is to be covered in it can be covered"),
];

impl Report {
    /// The report on one verdict. Blocking: with `look_inside` it counts what looks like a secret.
    #[must_use]
    pub fn of(judged: &Judged, look_inside: bool) -> Self {
        let Judged { request, verdict } = judged;
        let accepted = verdict.as_ref().ok();
        let refusal = verdict.as_ref().err();
        let decides = refusal.map(rule_of);
        let mut rules: Vec<Rule> = Vec::new();
        for (name, passed) in RULES {
            if Some(name) == decides {
                let found = refusal.map(ToString::to_string).unwrap_or_default();
                rules.push(Rule { name, passed: false, found });
                break;
            }
            let found = match (name, accepted) {
                ("name", Some(accepted)) => format!("{:?}", accepted.granted.name),
                ("path", Some(accepted)) => accepted.opened.found.path.display().to_string(),
                ("kind", Some(accepted)) => match accepted.opened.found.kind {
                    Kind::Folder => "it is a folder".to_owned(),
                    _ => "it is a file".to_owned(),
                },
                ("root", Some(accepted)) => accepted.granted.root.clone(),
                ("secrets", Some(accepted)) if request.hide_secrets => format!("{} covered", accepted.hidden.len()),
                ("secrets", _) => continue,
                _ => passed.to_owned(),
            };
            rules.push(Rule { name, passed: true, found });
        }
        let reduced = accepted.and_then(|accepted| accepted.granted.reduced.as_ref());
        if let Some(accepted) = accepted {
            let found = match (reduced, accepted.granted.access) {
                (Some(reduced), _) => format!("read-only, because {reduced}"),
                (None, Access::ReadOnly) => "read-only, as asked for".to_owned(),
                (None, Access::ReadWrite) => "read-write: asked for, and allowed by the root".to_owned(),
            };
            rules.push(Rule { name: "access", passed: reduced.is_none(), found });
        }
        let look = accepted.filter(|accepted| look_inside && accepted.hidden.is_empty());
        Self {
            host: request.host.clone(),
            allowed: accepted.is_some(),
            path: accepted.map(|accepted| accepted.opened.found.path.clone()),
            target: accepted.map(|accepted| format!("{}/{}", guest::EXTRA_DIR, accepted.granted.name)),
            asked: request.access,
            access: accepted.map(|accepted| accepted.granted.access),
            root: accepted.map(|accepted| accepted.granted.root.clone()),
            refusal: refusal.map(Refusal::word),
            reason: refusal.map(ToString::to_string).or_else(|| reduced.map(ToString::to_string)),
            rules,
            secrets: look.map(|accepted| search(&accepted.opened, Bounds::OF_A_CHECK, |_| false).found.len()),
        }
    }
}

impl Report {
    /// The report on the project, which no allowlist and no root decides about.
    #[must_use]
    pub fn of_project(host: String, verdict: Result<&Project, &Refusal>) -> Self {
        let project = verdict.ok();
        Self {
            host,
            allowed: project.is_some(),
            path: project.map(|project| project.opened.found.path.clone()),
            target: project.map(|_| guest::PROJECT_DIR.to_owned()),
            asked: Access::ReadOnly,
            access: project.map(|_| Access::ReadOnly),
            root: project.map(|project| format!("[mounts] project, {} covered", project.hidden.len())),
            refusal: verdict.err().map(Refusal::word),
            reason: verdict.err().map(ToString::to_string),
            rules: Vec::new(),
            secrets: None,
        }
    }
}

/// The name of the rule that refuses so.
fn rule_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::BadName { .. } | Refusal::NameTaken { .. } => "name",
        Refusal::NoAllowlist { .. } | Refusal::BadAllowlist { .. } | Refusal::NoMounts => "allowlist",
        Refusal::NotThere { .. } | Refusal::BadPath { .. } => "path",
        Refusal::Guarded { .. } => "guarded",
        Refusal::NeitherFolderNorFile => "kind",
        Refusal::Blocked { .. } => "blocked",
        Refusal::NotUnderAllowedRoot { .. } => "root",
        Refusal::CannotHide { .. } => "secrets",
    }
}
