//! `nanoclaw explain`: what a group's container is made of and may do, and why.

use super::{
    Place,
    output::{self, BOLD, Columns, DIM, YELLOW},
};

/// What `explain` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Show what a group's container is made of and may do, and why\n\nEach line says where it comes from: \
    the default, a line of nanoclaw.toml, an environment\nvariable, or a rule. Nothing is started."
)]
pub(super) struct ExplainArgs {
    /// The group's folder, or its chat id
    group: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ExplainArgs, place: &Place) -> anyhow::Result<()> {
    let (home, _) = place.open().await?;
    let root = place.home()?.root().to_owned();
    let explanation = home.explain(&args.group).await?;
    if args.json {
        return output::json(&explanation);
    }
    let group = &explanation.group;
    let (name, chat) = (output::clean(&group.name), output::clean(group.chat.as_str()));
    output::line(format!("{BOLD}{}{BOLD:#} {DIM}{name}, {chat}{DIM:#}\n", group.folder))?;
    let mut columns = Columns::new(["WHAT", "VALUE", "WHY"]);
    for setting in explanation.settings {
        columns.row([setting.name, setting.value, setting.why]);
    }
    columns.print()?;
    if !explanation.mounts.is_empty() {
        let note = format!("Paths on the host are under {}, unless they begin with /.", root.display());
        output::line(format!("\n{DIM}{}{DIM:#}", output::hanging(&note, 0)))?;
        let mut columns = Columns::new(["INSIDE", "", "ON THE HOST", "WHY"]);
        for mount in explanation.mounts {
            let source = mount.source.strip_prefix(&root).unwrap_or(&mount.source);
            columns.row([mount.target, mount.access.to_string(), source.display().to_string(), mount.why]);
        }
        columns.print()?;
    }
    for problem in explanation.problems {
        output::line(format!("\n{YELLOW}problem:{YELLOW:#} {}", output::clean(&problem)))?;
    }
    Ok(())
}
