//! `nanoclaw init`: makes a home.

use std::path::PathBuf;

use super::{
    Place,
    output::{self, BOLD, DIM},
};
use crate::home::initialise;

/// What `init` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Make a home: configuration, folders, first memory files\n\nWhat is there already stays as it is, so \
    it can be run again at any time."
)]
pub(super) struct InitArgs {
    /// The folder; default: what --home says, else ~/.local/share/nanoclaw
    #[arg(value_name = "DIR", conflicts_with = "home")]
    folder: Option<PathBuf>,
}

pub(super) fn run(args: InitArgs, place: &Place) -> anyhow::Result<()> {
    let home = place.home_or(args.folder.as_deref().or(place.given.as_deref()))?;
    let made = initialise(&home)?;
    let root = home.root().display();
    if made.paths.is_empty() {
        output::line(format!("The home {BOLD}{root}{BOLD:#} is complete; nothing was changed."))?;
        return Ok(());
    }
    output::line(format!("Made the home {BOLD}{root}{BOLD:#}:"))?;
    for path in made.paths.iter().filter(|path| *path != home.root()) {
        let shown = path.strip_prefix(home.root()).unwrap_or(path).display();
        output::line(format!("  {DIM}{shown}{}{DIM:#}", if path.is_dir() { "/" } else { "" }))?;
    }
    output::line("\nNext: `nanoclaw doctor` says what works here, `nanoclaw chat` starts a conversation.")?;
    Ok(())
}
