//! Rebuilds the host when a migration is added or changed: `sqlx::migrate!` reads them while compiling. Tells a release of which commit
//! it is.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-env-changed=NANOCLAW_COMMIT");
    // Who builds while developing does not wait for a new build after each commit.
    if std::env::var("PROFILE").as_deref() != Ok("release") || std::env::var_os("NANOCLAW_COMMIT").is_some() {
        return;
    }
    // Nothing to tell where this is no checkout, or there is no git.
    if let Some(commit) = git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]) {
        println!("cargo::rustc-env=NANOCLAW_COMMIT={commit}");
        if let Some(head) = git(&["rev-parse", "--git-path", "HEAD"]) {
            println!("cargo::rerun-if-changed={head}");
        }
        if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
            println!("cargo::rerun-if-changed={log}");
        }
    }
}

fn git(words: &[&str]) -> Option<String> {
    let said = Command::new("git").args(words).output().ok().filter(|said| said.status.success())?;
    let text = String::from_utf8(said.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
