//! Promises about what a command finds: its arguments, its environment, its working directory, its user.

use super::{Promise, SuiteContext, expect_that, promise};
use crate::runtime::{Access, Exit, GuestValue};

pub(super) const PROMISES: &[Promise] = &[
    promise!(arguments_arrive_unchanged, Nothing, "No shell and no splitting between the spec and the command."),
    promise!(the_environment_is_what_was_asked, Nothing, "Every variable as it is, and nothing of the host's."),
    promise!(the_working_directory_is_what_was_asked, Nothing, "The command starts in it."),
    promise!(the_user_is_what_was_asked, Nothing, "User and group ids are the spec's, and not root's."),
];

async fn arguments_arrive_unchanged(context: &SuiteContext) -> Result<(), String> {
    let odd = ["a b", "", "*", "$HOME", "`id`", "\"'\\", "--flag=x", "grüße", "two\nlines"];
    let mut spec = context.spec("for one in \"$@\"; do printf '<%s>' \"$one\"; done");
    spec.command.push("script".into());
    spec.command.extend(odd.iter().map(|text| GuestValue::from(*text)));
    let ended = context.run_spec(&spec, b"").await?;
    let wanted: String = odd.iter().map(|text| format!("<{text}>")).collect();
    expect_that!(ended.text() == wanted, "wanted {wanted:?}, got {}", ended.told());
    Ok(())
}

async fn the_environment_is_what_was_asked(context: &SuiteContext) -> Result<(), String> {
    /// What an engine or a shell adds by itself.
    const TOLERATED: [&str; 9] = ["PATH", "HOME", "HOSTNAME", "TERM", "container", "PWD", "OLDPWD", "SHLVL", "_"];
    let asked =
        [("SUITE_A", "1"), ("SUITE_B", "a b=c \"d\" 'e' $HOME `id` \\"), ("SUITE_EMPTY", ""), ("TZ", "Asia/Tokyo")];
    let mut spec = context.spec("env");
    spec.env.extend(asked.iter().map(|(name, value)| ((*name).to_owned(), GuestValue::from(*value))));
    let ended = context.run_spec(&spec, b"").await?;
    let text = ended.text();
    for (name, value) in asked {
        let line = format!("{name}={value}");
        expect_that!(text.lines().any(|seen| seen == line), "wanted {line:?}, got {}", ended.told());
    }
    // Where containers have no /tmp of their own, this is the way to their private one.
    let own_tmp = |name: &str| name == "TMPDIR" && !context.capabilities.own_mounts;
    let asked_for = |name: &str| asked.iter().any(|(known, _)| *known == name) || own_tmp(name);
    let foreign: Vec<&str> = text
        .lines()
        .filter(|line| line.split_once('=').is_none_or(|(name, _)| !asked_for(name) && !TOLERATED.contains(&name)))
        .collect();
    expect_that!(foreign.is_empty(), "nobody asked for {foreign:?}");
    expect_that!(text.lines().any(|line| line.starts_with("PATH=/")), "there is no PATH: {}", ended.told());
    Ok(())
}

async fn the_working_directory_is_what_was_asked(context: &SuiteContext) -> Result<(), String> {
    let folder = context.folder("work")?;
    let mut spec = context.spec("echo here > mark; pwd -P");
    context.mount(&mut spec, "WORK", &folder, "/workspace/group", Access::ReadWrite);
    spec.workdir = GuestValue::Path("/workspace/group".to_owned());
    let ended = context.run_spec(&spec, b"").await?;
    expect_that!(ended.exit == Exit::Code(0), "{}", ended.told());
    let mark = std::fs::read_to_string(folder.join("mark")).unwrap_or_default();
    expect_that!(mark == "here\n", "a file written to the working directory did not arrive: {}", ended.told());
    if context.capabilities.own_mounts {
        expect_that!(ended.text() == "/workspace/group\n", "it is {:?}", ended.text());
    }
    Ok(())
}

async fn the_user_is_what_was_asked(context: &SuiteContext) -> Result<(), String> {
    let ended = context.run("id -u; id -g", b"").await?;
    let wanted = format!("{}\n{}\n", context.user.uid, context.user.gid);
    expect_that!(ended.text() == wanted, "wanted {wanted:?}, got {}", ended.told());
    Ok(())
}
