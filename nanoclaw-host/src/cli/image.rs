//! `nanoclaw image`: builds, lists and removes the images that agents run in.

mod work;

use std::sync::Arc;

use nanoclaw_core::{group::GroupFolder, runtime::ImageRef, time::Timestamp};
use serde::Serialize;

use super::{
    Place,
    output::{self, BOLD, Columns},
    parts,
};
use crate::{
    cli::failure::with_help,
    config::{Config, ProcessEnvironment},
    images::{Flavour, ImageError, Source, step_in_words},
    programs::{self, Purpose},
    runtimes::engine_api::image::BuildError,
};

/// What can be done with images.
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
Examples:
  nanoclaw image build --base debian:12   what every agent needs, on an image that is here
  nanoclaw image build --flavour slim     small: a shell, git and curl; fetches Debian packages
  nanoclaw image build --flavour full     Claude Code, Python, Node.js and build tools
  nanoclaw image build --group family     what the packages or the dockerfile of a group ask for
  nanoclaw image list
  nanoclaw image prune")]
pub(super) enum ImageCommand {
    /// Build the agent image, one of its flavours, or the image of a group, with Docker or Podman
    Build {
        /// The base: an image's name, a root file system as a tar file, or its folder; default: one that is found
        #[arg(long)]
        base: Option<String>,
        /// The name of the new image; default: what the configuration says
        #[arg(long)]
        tag: Option<ImageRef>,
        /// The Claude Code program for Linux to put into it; default: none is added, and to the flavour full the one that is
        /// pinned in it
        #[arg(long, value_name = "PATH")]
        claude: Option<std::path::PathBuf>,
        /// Build this flavour, whose Debian packages are fetched: on a Debian as base
        #[arg(long, value_enum)]
        flavour: Option<Flavour>,
        /// Build the image of this group instead, if its packages or dockerfile ask for one that is not there
        #[arg(long, value_name = "FOLDER", conflicts_with_all = ["base", "tag", "claude", "flavour"])]
        group: Option<GroupFolder>,
        /// Build also what is there, and take nothing from earlier builds
        #[arg(long)]
        force: bool,
    },
    /// List the images of agents and groups: what each has, and who uses it
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove the images that were built here and that nothing uses any more
    Prune,
}

/// An image that agents could run in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ImageView {
    /// Its name.
    pub(super) name: String,
    /// Its bytes on disk; `None` when it is not there.
    pub(super) size_bytes: Option<u64>,
    /// When it was built; `None` when it is not there, or was not built here.
    pub(super) created_at_ms: Option<Timestamp>,
    /// `slim`, `full`, or `group` for one that was built for a group; `None` for any other.
    pub(super) flavour: Option<String>,
    /// Whether it brings the Claude Code program along.
    pub(super) has_claude: bool,
    /// Whether it is the configured one.
    pub(super) configured: bool,
    /// The groups whose next run takes it, of those that have a table in nanoclaw.toml.
    pub(super) used_by: Vec<GroupFolder>,
}

pub(super) async fn run(command: ImageCommand, place: &Place) -> anyhow::Result<()> {
    let home = place.existing_home()?;
    let config = place.config(&home)?;
    match command {
        ImageCommand::Build { group: Some(group), force, .. } => {
            let progress = Arc::new(Progress::new());
            let showing = progress.clone();
            let built =
                work::build_for_group(&home, &config, &group, force, Arc::new(move |line| showing.log(line))).await;
            progress.clear();
            let (image, is_new) = built.map_err(was_shown)?;
            let source = Source::of(&config.for_group(&group));
            if !source.is_built() {
                return Ok(output::line(format!(
                    "There is nothing to build: {group} has neither packages nor a dockerfile in nanoclaw.toml, so it takes \
                     {BOLD}{image}{BOLD:#}."
                ))?);
            }
            let verb = if is_new { "Built" } else { "There is nothing to build:" };
            let size = work::size_of(&config, &image)
                .await?
                .map_or_else(String::new, |bytes| format!(", {}", output::image_size(bytes)));
            Ok(output::line(format!("{verb} {BOLD}{image}{BOLD:#} for {group}{size}."))?)
        }
        ImageCommand::Build { flavour: Some(flavour), base, tag, claude, force, .. } => {
            let tag = tag.unwrap_or_else(|| config.container.image.value.clone());
            let progress = Progress::new();
            let wanted = work::FlavourWanted { flavour, name: tag, base, claude, anew: force };
            let built = work::build_flavour(&config, wanted, &|line| progress.log(line)).await;
            progress.clear();
            let built = built.map_err(was_shown)?;
            let (size, budget) = (output::image_size(built.size_bytes), output::image_size(flavour.budget_bytes()));
            output::line(format!(
                "Built {BOLD}{}{BOLD:#}, flavour {flavour}, {size}; its budget is {budget}.",
                built.name
            ))?;
            if built.size_bytes > flavour.budget_bytes() {
                output::note("It is larger than it should be: another base than a small Debian 12 may be why.");
            }
            if flavour == Flavour::Slim {
                output::note(
                    "What it was gathered from is kept for the next build; `nanoclaw image prune` frees the space.",
                );
            }
            Ok(())
        }
        ImageCommand::Build { base, tag, claude, .. } => {
            let tag = tag.unwrap_or_else(|| config.container.image.value.clone());
            let progress = Progress::new();
            let built =
                parts::build_image(&config, &tag, base.as_deref(), claude.as_deref(), &|line| progress.show(line))
                    .await;
            progress.clear();
            let built = built?;
            let size = output::image_size(built.size_bytes);
            Ok(output::line(format!("Built {BOLD}{}{BOLD:#}, {size}.", built.name))?)
        }
        ImageCommand::List { json } => list(&work::list(&home, &config).await?, json, &config),
        ImageCommand::Prune => {
            let pruned = work::prune(&home, &config).await?;
            for image in &pruned.removed {
                let (name, size) = (shown(image.name.as_str()), output::image_size(image.size_bytes));
                output::line(format!("Removed {name}, {size}."))?;
            }
            for name in &pruned.kept {
                output::line(format!("Kept {}: a container or another image needs it.", shown(name.as_str())))?;
            }
            let total: u64 = pruned.removed.iter().map(|image| image.size_bytes).sum();
            Ok(output::line(match pruned.removed.len() {
                0 => "There is nothing to remove.".to_owned(),
                count => {
                    format!(
                        "{count} removed, {} at most (what they share is counted for each).",
                        output::image_size(total)
                    )
                }
            })?)
        }
    }
}

/// Builds the configured image as setup wants it: `local`, `slim` or `full`, on `base` or on one that is found; says what came of it.
pub(super) async fn build_for_setup(config: &Config, kind: &str, base: Option<&str>) -> anyhow::Result<String> {
    let tag = config.container.image.value.clone();
    let progress = Progress::new();
    let flavour = match kind {
        "slim" => Some(Flavour::Slim),
        "full" => Some(Flavour::Full),
        _ => None,
    };
    let built = match flavour {
        Some(flavour) => {
            let base = base.map(str::to_owned);
            let wanted = work::FlavourWanted { flavour, name: tag, base, claude: None, anew: false };
            work::build_flavour(config, wanted, &|line| progress.log(line)).await
        }
        None => {
            // What a credential needs in it, if this machine has it.
            let claude = programs::claude(&config.agent, Purpose::ThisMachine, &ProcessEnvironment);
            parts::build_image(config, &tag, base, claude.as_deref(), &|line| progress.show(line)).await
        }
    };
    progress.clear();
    let built = built.map_err(was_shown)?;
    Ok(format!("built {}, {}", built.name, output::image_size(built.size_bytes)))
}

fn list(images: &[ImageView], json: bool, config: &Config) -> anyhow::Result<()> {
    if json {
        return output::json(&images);
    }
    if images.is_empty() {
        return Ok(output::line("There are no agent images yet. `nanoclaw image build` builds one.")?);
    }
    let mut columns = Columns::new(["IMAGE", "SIZE", "BUILT", "FLAVOUR", "USED BY"]);
    for image in images {
        let mut used_by: Vec<String> = image.used_by.iter().map(ToString::to_string).collect();
        if image.configured {
            used_by.insert(0, "configured".to_owned());
        }
        let dash = || "-".to_owned();
        columns.row([
            shown(&image.name),
            image.size_bytes.map_or_else(|| "not there".to_owned(), output::image_size),
            image.created_at_ms.map_or_else(dash, |at| output::time(at, &config.time.zone)),
            match (&image.flavour, image.has_claude) {
                (Some(flavour), _) => flavour.clone(),
                (None, true) => "with claude".to_owned(),
                (None, false) => dash(),
            },
            used_by.join(", "),
        ]);
    }
    Ok(columns.print()?)
}

/// An image that lost its name to a newer one, or is a stage of a flavour, has only the engine's long id.
fn shown(name: &str) -> String {
    match name.strip_prefix("sha256:") {
        Some(id) => format!("{} (no name)", id.get(..12).unwrap_or(id)),
        None => name.to_owned(),
    }
}

/// A build that failed before somebody's eyes is not told once more with its last words and the command that was just given.
fn was_shown(error: anyhow::Error) -> anyhow::Error {
    let image = error.chain().find_map(|cause| {
        // As a whole it would be what is transparent to it.
        let of_build = cause.downcast_ref::<BuildError>().and_then(|error| match error {
            BuildError::Image(error) => Some(error),
            _ => None,
        });
        of_build.or_else(|| cause.downcast_ref::<ImageError>())
    });
    let Some(ImageError::BuildFailed { what, reason, advice, .. }) = image else { return error };
    with_help(
        format!("{what} could not be built: {reason}"),
        advice.unwrap_or("what it printed is above; correct what it names, and build again"),
    )
}

/// Shows how something long goes: on a terminal one line that changes, elsewhere a line for each new step.
struct Progress {
    last_step: std::sync::Mutex<String>,
}

impl Progress {
    fn new() -> Self {
        Self { last_step: std::sync::Mutex::default() }
    }

    fn show(&self, line: &str) {
        if output::stderr_is_terminal() {
            output::rewrite(line);
            return;
        }
        // The step is what stands before the numbers.
        let step = line.split(':').next().unwrap_or(line).to_owned();
        let mut last = self.last_step.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last != step {
            output::note(&step);
            *last = step;
        }
    }

    /// The same for a build that prints lines of its own: all of them, but how much was handed over.
    fn log(&self, line: &str) {
        const COUNTS: [&str; 4] = ["handing over", "importing", "adding", "fetching"];
        if COUNTS.iter().any(|word| line.starts_with(word)) {
            return self.show(line);
        }
        self.clear();
        match step_in_words(line) {
            Some(_) => output::step(line),
            None => output::note(line),
        }
    }

    fn clear(&self) {
        if output::stderr_is_terminal() {
            output::rewrite("");
        }
    }
}
