//! The part of a plan that is not the same for every group: additional mounts, the project, and what covers secrets in them.

use std::{collections::BTreeMap, path::Path};

use nanoclaw_core::{
    protocol::{
        environment::guest,
        mounts::{CHECKED_MOUNTS, CheckedMounts},
        skills::{GUEST_SKILLS_DIR, SKILLS_DIR},
    },
    runtime::{Access, GuestValue, HeldSources, Mount},
};

use super::{Machine, Plan};
use crate::{
    admin::types::{ExplainedMount, Explanation},
    config::Config,
    home::Home,
    launcher::{
        mounts::{Additional, cover, said},
        skills::GroupSkills,
    },
    mounts::{Hidden, Judge, Opened},
};

/// What is added to a plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Extra {
    /// In order: what covers something comes after it.
    mounts: Vec<(Mount, String)>,
    checked: CheckedMounts,
    held: HeldSources,
    has_skills: bool,
    shortfalls: Vec<String>,
}

impl Plan {
    /// Adds what was allowed, and remembers what was not.
    pub(in crate::launcher) fn add(&mut self, additional: &Additional, home: &Home) {
        self.extra = Extra::of(additional, home);
    }

    /// Adds the group's skills.
    pub(in crate::launcher) fn add_skills(&mut self, skills: &GroupSkills) {
        self.extra.add_skills(skills);
    }
}

/// The explanation with what the group's container would see of the machine besides its own, judged now.
pub async fn explain_mounts(
    mut explanation: Explanation,
    home: &Home,
    config: &Config,
    machine: &Machine,
) -> Explanation {
    let (home, config) = (home.clone(), config.clone());
    let (runtime, own_mounts) = (machine.runtime, machine.capabilities.own_mounts);
    let (folder, role) = (explanation.group.folder.clone(), explanation.group.role);
    let judging = tokio::task::spawn_blocking(move || {
        let judge = Judge { config: &config.mounts, home: &home, runtime: Some(runtime), own_mounts };
        let mut extra = Extra::of(&Additional::of(&judge, &config, &folder, role), &home);
        match GroupSkills::of(&home, &config, &folder, false) {
            Ok(skills) => extra.add_skills(&skills),
            Err(error) => extra.shortfalls.push(format!("failed to look at the group's skills: {error}")),
        }
        extra
    });
    match judging.await {
        Ok(extra) => extra.explain(&mut explanation),
        Err(error) => explanation.problems.push(format!("failed to look at the group's additional mounts: {error}")),
    }
    explanation
}

impl Extra {
    fn of(additional: &Additional, home: &Home) -> Self {
        let mut extra = Self::default();
        if let Some(Ok(project)) = &additional.project {
            let why = "the project, which the main group alone can read ([mounts] project)".to_owned();
            extra.hang(&project.opened, guest::PROJECT_DIR.to_owned(), Access::ReadOnly, why);
            extra.cover(home, guest::PROJECT_DIR, &project.hidden);
        }
        for judged in &additional.judged {
            let Ok(accepted) = &judged.verdict else { continue };
            let granted = &accepted.granted;
            let target = format!("{}/{}", guest::EXTRA_DIR, granted.name);
            let reduced = granted.reduced.as_ref().map_or_else(String::new, |reduced| format!("; {reduced}"));
            let why = format!("{}, allowed by the root {}{reduced}", said(granted.access), granted.root);
            extra.hang(&accepted.opened, target.clone(), granted.access, why);
            extra.cover(home, &target, &accepted.hidden);
        }
        extra.shortfalls = additional.shortfalls();
        extra
    }

    fn add_skills(&mut self, skills: &GroupSkills) {
        if let Some(folder) = &skills.folder {
            let why = format!("its skills: {}", skills.names.join(", "));
            let target = GUEST_SKILLS_DIR.to_owned();
            self.mounts.push((Mount { source: folder.clone(), target, access: Access::ReadOnly }, why));
            self.has_skills = true;
        }
        self.shortfalls.extend(skills.shortfalls.iter().cloned());
    }

    pub(super) fn mounts(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.iter().map(|(mount, _)| mount)
    }

    /// What was judged, to be mounted as it is held.
    pub(super) fn held(&self) -> HeldSources {
        self.held.clone()
    }

    /// Tells process 1 what it must find, and where skills are.
    pub(super) fn tell(&self, env: &mut BTreeMap<String, GuestValue>) {
        if !self.checked.0.is_empty() {
            env.insert(CHECKED_MOUNTS.to_owned(), GuestValue::Text(self.checked.text()));
        }
        if self.has_skills {
            env.insert(SKILLS_DIR.to_owned(), GuestValue::Path(GUEST_SKILLS_DIR.to_owned()));
        }
    }

    pub(super) fn explain(&self, explanation: &mut Explanation) {
        explanation.mounts.extend(self.mounts.iter().map(|(mount, why)| ExplainedMount {
            source: mount.source.clone(),
            target: mount.target.clone(),
            access: mount.access,
            why: why.clone(),
        }));
        explanation.problems.extend(self.shortfalls.iter().cloned());
    }

    fn hang(&mut self, opened: &Opened, target: String, access: Access, why: String) {
        self.checked.0.insert(target.clone(), opened.id);
        self.held.insert(target.clone(), opened.handle());
        self.mounts.push((Mount { source: opened.found.path.clone(), target, access }, why));
    }

    fn cover(&mut self, home: &Home, top: &str, hidden: &[Hidden]) {
        for Hidden { path, folder } in hidden {
            let source = cover(home, *folder);
            let target = Path::new(top).join(path).to_string_lossy().into_owned();
            let why = "empty: covers what looks like a secret, or is NanoClaw's own".to_owned();
            self.mounts.push((Mount { source, target, access: Access::ReadOnly }, why));
        }
    }
}
