//! `nanoclaw image`: builds and lists the images that agents run in.

use nanoclaw_core::{runtime::ImageRef, time::Timestamp};
use serde::Serialize;

use super::{
    Place,
    output::{self, BOLD, Columns},
    parts,
};

/// What can be done with images.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ImageCommand {
    /// Build the agent image with Docker or Podman, from a base image that is on this machine
    Build {
        /// The base: an image's name, a root file system as a tar file, or its folder; default: one that is found
        #[arg(long)]
        base: Option<String>,
        /// The name of the new image; default: what the configuration says
        #[arg(long)]
        tag: Option<ImageRef>,
        /// The Claude Code program for Linux to put into it; default: none is added
        #[arg(long, value_name = "PATH")]
        claude: Option<std::path::PathBuf>,
    },
    /// List the agent images
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// An image that agents could run in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ImageView {
    /// Its name.
    pub(super) name: String,
    /// Its bytes on disk.
    pub(super) size_bytes: u64,
    /// When it was built.
    pub(super) created_at_ms: Timestamp,
    /// Whether it brings the Claude Code program along.
    pub(super) has_claude: bool,
    /// Whether it is the configured one.
    pub(super) configured: bool,
}

pub(super) async fn run(command: ImageCommand, place: &Place) -> anyhow::Result<()> {
    let home = place.existing_home()?;
    let config = place.config(&home)?;
    match command {
        ImageCommand::Build { base, tag, claude } => {
            let tag = tag.unwrap_or_else(|| config.container.image.value.clone());
            let progress = Progress::new();
            let built =
                parts::build_image(&config, &tag, base.as_deref(), claude.as_deref(), &|line| progress.show(line))
                    .await;
            progress.clear();
            let built = built?;
            let size = output::size(built.size_bytes);
            Ok(output::line(format!("Built {BOLD}{}{BOLD:#}, {size}.", built.name))?)
        }
        ImageCommand::List { json } => {
            let images: Vec<ImageView> = parts::list_images(&config)
                .await?
                .into_iter()
                .map(|image| ImageView {
                    configured: image.name == config.container.image.value,
                    name: image.name.to_string(),
                    size_bytes: image.size_bytes,
                    created_at_ms: image.created_at,
                    has_claude: image.has_claude,
                })
                .collect();
            if json {
                return output::json(&images);
            }
            if images.is_empty() {
                return Ok(output::line("There are no agent images yet. `nanoclaw image build` builds one.")?);
            }
            let mut columns = Columns::new(["IMAGE", "SIZE", "BUILT", ""]);
            for image in images {
                columns.row([
                    image.name,
                    output::size(image.size_bytes),
                    output::time(image.created_at_ms, &config.time.zone),
                    if image.configured { "configured".to_owned() } else { String::new() },
                ]);
            }
            Ok(columns.print()?)
        }
    }
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

    fn clear(&self) {
        if output::stderr_is_terminal() {
            output::rewrite("");
        }
    }
}
