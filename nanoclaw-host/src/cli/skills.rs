//! `nanoclaw skills`: which there are, who has them, and what is wrong with those that nobody can have.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::{
    Place,
    output::{self, BOLD, Columns, DIM, GREEN, RED},
};
use crate::{
    home::{Home, initialise},
    skills::{Fault, Library, Origin, Skill, SkillName, is_shipped},
};

/// What can be done with skills.
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
A skill is a folder with a SKILL.md that says when to use it and how. Agents get theirs read-only; what is changed holds
from each group's next run on. `skills` in nanoclaw.toml says which groups have which; docs/skills.md how one is written.

Examples:
  nanoclaw skills list
  nanoclaw skills check ./billing               could this folder be one?
  nanoclaw skills add ./billing                 copy it into the home
  nanoclaw skills remove billing")]
pub(super) enum SkillsCommand {
    /// List what there is, and who has it
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy a folder into the home, so that it is a skill from now on
    Add {
        /// The folder; its name becomes the skill's
        folder: PathBuf,
        /// Take the place of one that the home has already
        #[arg(long)]
        replace: bool,
    },
    /// Remove a skill from the home; one that came with the program is back afterwards
    Remove {
        /// Its name
        name: String,
    },
    /// Say what is wrong with a folder, or with all of the home's; ends with 1 when something is
    Check {
        /// The folder; default: all skills
        folder: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A skill, for programs.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    description: String,
    /// `shipped`, or the folder.
    from: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    programs: Vec<String>,
    /// The folders of the groups that have it.
    groups: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Checked {
    ok: bool,
    skills: Vec<String>,
    faults: Vec<FaultShown>,
}

#[derive(Debug, Serialize)]
struct FaultShown {
    name: String,
    reason: String,
}

pub(super) async fn run(command: SkillsCommand, place: &Place) -> anyhow::Result<ExitCode> {
    match command {
        SkillsCommand::List { json } => list(place, json).await?,
        SkillsCommand::Add { folder, replace } => {
            let home = place.home()?;
            initialise(&home)?;
            let (name, replaced) = tokio::task::spawn_blocking(move || add(&home, &folder, replace)).await??;
            let done = if replaced { "Replaced" } else { "Added" };
            output::line(format!("{done} the skill {BOLD}{name}{BOLD:#}. Groups have it from their next run on."))?;
        }
        SkillsCommand::Remove { name } => {
            let home = place.home()?;
            let shipped = tokio::task::spawn_blocking(move || remove(&home, &name)).await??;
            output::line(match shipped {
                true => "Removed. The one of this name that came with the program is in use again.",
                false => "Removed. Containers that live have it until they end.",
            })?;
        }
        SkillsCommand::Check { folder, json } => return check(place, folder, json).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(place: &Place, json: bool) -> anyhow::Result<()> {
    let (home, config) = place.open().await?;
    let library = library(place.home()?).await?;
    let mut listed: Vec<Listed> = library
        .skills()
        .map(|skill| Listed {
            name: skill.name.to_string(),
            description: skill.description.clone(),
            from: from(skill),
            programs: skill.programs.clone(),
            groups: Vec::new(),
        })
        .collect();
    for group in home.groups().await? {
        let choice = config.for_group(&group.folder).skills.value;
        for skill in library.choose(&choice).skills {
            if let Some(listed) = listed.iter_mut().find(|listed| listed.name == skill.name.as_str()) {
                listed.groups.push(group.folder.to_string());
            }
        }
    }
    if json {
        return output::json(&listed);
    }
    let mut columns = Columns::new(["SKILL", "FROM", "GROUPS", "WHEN IT IS USED"]);
    for skill in listed {
        let groups = if skill.groups.is_empty() { "-".to_owned() } else { skill.groups.join(", ") };
        let mut description = skill.description;
        if !skill.programs.is_empty() {
            description.push_str(&format!(" (needs {})", skill.programs.join(", ")));
        }
        columns.row([skill.name, skill.from, groups, description]);
    }
    columns.print()?;
    for fault in &library.faults {
        output::line(format!("{RED}{}{RED:#}", output::clean(&fault.to_string())))?;
    }
    Ok(())
}

async fn check(place: &Place, folder: Option<PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    let (skills, faults) = match folder {
        Some(folder) => {
            let name = name_of(&folder)?;
            match tokio::task::spawn_blocking(move || Library::read_one(&folder, &name)).await? {
                Ok(skill) => (vec![skill.name.to_string()], Vec::new()),
                Err(fault) => (Vec::new(), vec![fault]),
            }
        }
        None => {
            let library = library(place.home()?).await?;
            (library.skills().map(|skill| skill.name.to_string()).collect(), library.faults)
        }
    };
    let ok = faults.is_empty();
    if json {
        let faults = faults.into_iter().map(|Fault { name, reason }| FaultShown { name, reason }).collect();
        output::json(&Checked { ok, skills, faults })?;
    } else {
        for name in skills {
            output::line(format!("{GREEN}ok{GREEN:#}  {name}"))?;
        }
        for fault in faults {
            output::line(format!("{RED}no{RED:#}  {}", output::clean(&fault.to_string())))?;
        }
        if !ok {
            output::line(format!("{DIM}docs/skills.md says how one is written.{DIM:#}"))?;
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Copies the folder; whether one was replaced. What was there stays until the copy is whole.
fn add(home: &Home, folder: &Path, replace: bool) -> anyhow::Result<(SkillName, bool)> {
    let name = name_of(folder)?;
    let skill = Library::read_one(folder, &name)?;
    let place = home.skills().join(&name);
    let there = fs::symlink_metadata(&place).is_ok();
    if there && !replace {
        bail!("the home has a skill {name} already; --replace puts this one in its place");
    }
    let draft = tempfile::Builder::new().prefix(".draft-").tempdir_in(home.skills())?;
    let copy = draft.path().join("new");
    skill.write_to(&copy).with_context(|| format!("failed to copy {}", folder.display()))?;
    if there {
        // Into the draft, which goes at the end with everything in it.
        fs::rename(&place, draft.path().join("old"))
            .with_context(|| format!("failed to move {} away", place.display()))?;
    }
    fs::rename(&copy, &place).with_context(|| format!("failed to make {}", place.display()))?;
    Ok((skill.name, there))
}

/// Removes it; whether a shipped one has its name.
fn remove(home: &Home, name: &str) -> anyhow::Result<bool> {
    // Not by the rules for names: what is no skill is to be got rid of too.
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        bail!("{name:?} is no name of a skill");
    }
    let place = home.skills().join(name);
    match fs::symlink_metadata(&place) {
        Ok(found) if found.is_dir() => {
            // In one step, so that no run begins with half of it.
            let away = tempfile::Builder::new().prefix(".draft-").tempdir_in(home.skills())?;
            fs::rename(&place, away.path().join("old"))?;
        }
        Ok(found) if found.is_symlink() => fs::remove_file(&place)?,
        Ok(_) => bail!("{} is a file, and no skill", place.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_shipped(name) => bail!(
            "{name} came with the program and cannot be removed; `skills` in nanoclaw.toml says which skills groups have"
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("the home has no skill {name}"),
        Err(error) => return Err(error).with_context(|| format!("failed to look at {}", place.display())),
    }
    Ok(is_shipped(name))
}

async fn library(home: Home) -> anyhow::Result<Library> {
    Ok(tokio::task::spawn_blocking(move || Library::read(&home.skills())).await?)
}

/// What a skill in this folder is called.
fn name_of(folder: &Path) -> anyhow::Result<String> {
    let whole = fs::canonicalize(folder).with_context(|| format!("{} cannot be looked at", folder.display()))?;
    let name = whole.file_name().and_then(|name| name.to_str()).context("the folder's name is not UTF-8")?;
    Ok(name.to_owned())
}

fn from(skill: &Skill) -> String {
    match &skill.origin {
        Origin::Shipped => "shipped".to_owned(),
        Origin::Folder(path) => output::clean(&path.to_string_lossy()).to_string(),
    }
}
