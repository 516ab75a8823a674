//! What `doctor` says of skills: folders that are none, and names that groups ask for in vain.

use super::Check;
use crate::{config::Config, home::Home, skills::Library};

/// The check. Blocking.
pub(super) fn check(home: &Home, config: &Config) -> Check {
    const NAME: &str = "skills";
    let library = Library::read(&home.skills());
    let mut lines: Vec<String> = library.faults.iter().map(ToString::to_string).collect();
    let own = config.groups.iter().filter_map(|(folder, own)| Some((folder.as_str(), &own.skills.as_ref()?.value)));
    for (whom, choice) in [("agent.skills", &config.agent.skills.value)].into_iter().chain(own) {
        for name in library.choose(choice).missing {
            if !library.faults.iter().any(|fault| fault.name == name.as_str()) {
                lines.push(format!("{whom} asks for a skill {name}, and there is none"));
            }
        }
    }
    match lines.is_empty() {
        true => Check::ok(NAME, format!("{} can be used", library.skills().count())),
        false => {
            Check::warning(NAME, lines.join("; "), "docs/skills.md says how one is written; `nanoclaw skills list`")
        }
    }
}
