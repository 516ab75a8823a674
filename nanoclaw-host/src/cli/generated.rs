//! What is made from the description of the command line: completions for shells, and manual pages.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{
    Cli,
    failure::with_help,
    output::{self, OutputError},
};

/// What `completions` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Print the completions of a shell\n\n  bash  nanoclaw completions bash > ~/.local/share/bash-completion/completions/nanoclaw\n  \
    zsh   nanoclaw completions zsh > ~/.zfunc/_nanoclaw     (with ~/.zfunc in $fpath)\n  \
    fish  nanoclaw completions fish > ~/.config/fish/completions/nanoclaw.fish"
)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// What `man` can be told.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Write a page for each command into this folder instead, which must exist
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<(), OutputError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nanoclaw", &mut text);
    output::line(String::from_utf8_lossy(&text).trim_end())
}

pub(super) fn man(args: &ManArgs) -> anyhow::Result<()> {
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return Ok(output::line(String::from_utf8_lossy(&page).trim_end())?);
    };
    clap_mangen::generate_to(Cli::command(), folder).map_err(|error| {
        let what = format!("cannot write the pages into {}: {error}", folder.display());
        with_help(what, "the folder must exist and be writable")
    })?;
    Ok(output::line(format!("Wrote the pages into {}: `man -l {0}/nanoclaw.1` shows one.", folder.display()))?)
}
