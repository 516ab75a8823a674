//! A group's skills for one run: read anew, chosen, laid out.

use std::path::PathBuf;

use nanoclaw_core::{group::GroupFolder, launch::LaunchError};

use super::{HostLauncher, failed};
use crate::{
    config::Config,
    home::Home,
    skills::{Library, Shelf},
};

/// What a group has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupSkills {
    /// The folder to mount; `None`: it has none.
    pub(super) folder: Option<PathBuf>,
    /// Their names, in order.
    pub(super) names: Vec<String>,
    /// What was chosen for the group by name and it does not get, a sentence each.
    pub(super) shortfalls: Vec<String>,
    /// The folders that are no skills.
    pub(super) faults: Vec<String>,
}

/// Whether skills are put where a container finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LayOut {
    Yes,
    No,
}

impl GroupSkills {
    /// What a run would begin with now; `lay_out` puts it there. Blocking.
    pub(super) fn of(home: &Home, config: &Config, group: &GroupFolder, lay_out: bool) -> std::io::Result<Self> {
        let library = Library::read(&home.skills());
        let chosen = library.choose(&config.for_group(group).skills);
        let shelf = Shelf::new(home.skill_shelf());
        let folder = match (chosen.skills.is_empty(), lay_out) {
            (true, _) => None,
            (false, true) => Some(shelf.lay_out(&chosen.skills)?),
            (false, false) => Some(shelf.place(&chosen.skills)),
        };
        let fault_of = |name: &str| library.faults.iter().find(|fault| fault.name == name);
        let missing = chosen.missing.iter().map(|name| match fault_of(name.as_str()) {
            Some(fault) => fault.to_string(),
            None => format!("there is no skill {name}"),
        });
        Ok(Self {
            folder,
            names: chosen.skills.iter().map(|skill| skill.name.to_string()).collect(),
            shortfalls: missing.collect(),
            faults: library.faults.iter().map(ToString::to_string).collect(),
        })
    }
}

impl HostLauncher {
    /// What the group is to have, laid out for its container, or not. Off the async threads.
    pub(super) async fn group_skills(&self, group: &GroupFolder, lay_out: LayOut) -> Result<GroupSkills, LaunchError> {
        let (home, config, group) = (self.home.clone(), self.config.clone(), group.clone());
        let work = tokio::task::spawn_blocking(move || GroupSkills::of(&home, &config, &group, lay_out == LayOut::Yes));
        let made = work.await.map_err(|error| failed("lay out the group's skills", &error))?;
        let skills = made.map_err(|error| failed("lay out the group's skills", &error))?;
        if lay_out == LayOut::Yes {
            self.told.faults(skills.faults.clone());
        }
        Ok(skills)
    }
}
