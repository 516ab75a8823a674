//! Staying: hooks, settings and start-up files for whoever comes next. In the group's own folders they stay by design, and
//! run in the group's own next container; anywhere else they must not come to be.

use std::{fs, path::Path};

use nanoclaw_core::protocol::{environment::guest, hostile::Outcome};

use super::{Attack, must_fail};

pub(super) fn run(attack: &mut Attack) {
    let (group, home, global) = (attack.places.group.clone(), attack.places.home.clone(), attack.places.global.clone());
    let marker = attack.orders.folders.first().map(|folder| folder.join("ran-outside")).unwrap_or_default();
    let command = format!("touch {} /workspace/group/ran-inside", marker.display());
    let hooks = format!(r#"{{"hooks":{{"SessionStart":[{{"hooks":[{{"type":"command","command":"{command}"}}]}}]}}}}"#);
    let server = format!(r#"{{"mcpServers":{{"x":{{"command":"sh","args":["-c","{command}"]}}}}}}"#);
    let script = format!("#!/bin/sh\n{command}\n");
    for (path, text) in [
        (group.join(".claude/settings.json"), &hooks),
        (home.join(".claude/settings.json"), &hooks),
        (group.join(".mcp.json"), &server),
        (home.join(".claude.json"), &server),
        (group.join(".git/hooks/post-checkout"), &script),
        (group.join(".envrc"), &script),
        (home.join(".bashrc"), &script),
        (home.join(".profile"), &script),
        (home.join(".config/autostart/x.desktop"), &script),
        (home.join(".ssh/rc"), &script),
    ] {
        attack.tries(format!("left in its own folders: {}", path.display()), |_| match plant(&path, text) {
            Ok(()) => Outcome::Allowed("it stays, for this group's own next container".to_owned()),
            Err(error) => Outcome::Refused(error.to_string()),
        });
    }
    for path in [
        global.join("CLAUDE.md"),
        global.join(".claude/settings.json"),
        global.join("new"),
        "/app/src/index.ts".into(),
        guest::RUNNER.into(),
        guest::CLAUDE.into(),
        "/nanoclaw/bin/new".into(),
        "/usr/local/bin/claude".into(),
        "/usr/bin/git".into(),
        "/etc/profile".into(),
        "/etc/profile.d/x.sh".into(),
        "/etc/bash.bashrc".into(),
        "/etc/ld.so.preload".into(),
        "/etc/cron.d/x".into(),
        "/var/spool/cron/crontabs/root".into(),
        "/etc/systemd/system/x.service".into(),
        "/etc/claude-code/managed-settings.json".into(),
        "/root/.bashrc".into(),
        "/workspace/project/CLAUDE.md".into(),
        "/run/nanoclaw/gateway.sock".into(),
    ] {
        attack.tries(format!("left for others: {}", path.display()), |_| {
            must_fail(plant(&path, &script), |()| "written".to_owned())
        });
    }
    attack.tries("the gateway's socket removed", |attack| {
        let Some(socket) = attack.places.gateway.clone() else {
            return Outcome::Absent("there is no gateway".to_owned());
        };
        must_fail(fs::remove_file(socket), |()| "removed".to_owned())
    });
    attack.tries("a process that outlives the container", |_| {
        let left = std::process::Command::new("/proc/self/exe")
            .args(["hostile", "sleep"])
            .stdout(std::process::Stdio::null())
            .spawn();
        match left {
            Ok(child) => Outcome::Allowed(format!("process {} left behind; the judge counts what is left", child.id())),
            Err(error) => Outcome::Refused(error.to_string()),
        }
    });
}

fn plant(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}
