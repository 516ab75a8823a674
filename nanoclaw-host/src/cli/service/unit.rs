//! The text of a systemd unit for the service; pure.

use std::{fmt::Write as _, path::Path};

/// How each unit begins that this program wrote, and no other.
pub(super) const MARK: &str = "# Written by `nanoclaw service install`, which replaces it.\n";

/// Whose unit it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// Of the user who asks, in the user's own systemd.
    User,
    /// Of the machine, as the user of this name.
    System {
        /// The name.
        user: String,
    },
}

/// What the service's own process does, which decides what can be taken from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    /// It asks an engine for containers, and needs little itself.
    Engine,
    /// It makes containers itself, or may: it needs namespaces, mounts and control groups.
    Own,
}

/// A unit to be written.
#[derive(Debug, Clone)]
pub(super) struct Unit<'a> {
    pub(super) scope: Scope,
    pub(super) isolation: Isolation,
    /// `nanoclaw`, absolute.
    pub(super) program: &'a Path,
    /// The home, absolute.
    pub(super) home: &'a Path,
    /// The version of systemd that reads it; what it does not know it would complain of.
    pub(super) systemd: u32,
    /// Credentials that systemd hands over: the secret's name, and the file that it is in.
    pub(super) credentials: &'a [(String, String)],
}

/// A path that no unit can name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the path {0:?} cannot be said in a unit: it has a control character or is not UTF-8, or it is a program's and has a `$`"
)]
pub(super) struct Unsayable(String);

/// From this version on the pauses between restarts can grow.
const GROWING_PAUSES: u32 = 254;

impl Unit<'_> {
    /// The unit's text.
    pub(super) fn text(&self) -> Result<String, Unsayable> {
        let mut text = format!("{MARK}[Unit]\nDescription=NanoClaw: assistants for chat groups\n");
        text += "Documentation=https://github.com/nanoclaw/nanoclaw\n";
        text += match self.scope {
            Scope::User => "After=podman.socket\n",
            Scope::System { .. } => {
                "Wants=network-online.target\nAfter=network-online.target docker.service podman.socket\n"
            }
        };
        // However often it fails: people who write to it must find it when what was wrong is mended.
        text += "StartLimitIntervalSec=0\n\n[Service]\n";
        text += "# Ready when messages are taken; restarted when its main loop does not answer for so long.\n";
        text += "Type=notify\nNotifyAccess=main\nWatchdogSec=60\nTimeoutStartSec=5min\n";
        // `$` begins a variable in arguments, and nothing in the program's own path, which no variable may name.
        let program = quoted(self.program)?;
        if program.contains('$') {
            return Err(Unsayable(program));
        }
        let home = home_argument(self.home)?;
        let _ = writeln!(text, "ExecStart={program} {home} run");
        if let Scope::System { user } = &self.scope {
            let _ = writeln!(text, "User={user}");
        }
        text += "# The service is asked to end; containers of an engine go on, and the next start takes them over.\n";
        text += "KillMode=mixed\nTimeoutStopSec=60\nRestart=always\n";
        text += if self.systemd >= GROWING_PAUSES {
            "RestartSec=1\nRestartSteps=6\nRestartMaxDelaySec=2min\n"
        } else {
            "RestartSec=5\n"
        };
        for (name, file) in self.credentials {
            // Here the rest of the line is the path, as it stands.
            let _ = writeln!(text, "LoadCredential={name}:{}", sayable(Path::new(file))?.replace('%', "%%"));
        }
        self.harden(&mut text);
        text += match self.scope {
            Scope::User => "\n[Install]\nWantedBy=default.target\n",
            Scope::System { .. } => "\n[Install]\nWantedBy=multi-user.target\n",
        };
        Ok(text)
    }

    fn harden(&self, text: &mut String) {
        text.push_str("# A container that lacks memory is not the end of the service.\nOOMPolicy=continue\n");
        text.push_str("UMask=0077\nNoNewPrivileges=yes\nLockPersonality=yes\nRestrictRealtime=yes\nSystemCallArchitectures=native\n");
        text.push_str("RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\nSystemCallErrorNumber=EPERM\n");
        let user = match &self.scope {
            Scope::User => None,
            Scope::System { user } => Some(user.as_str()),
        };
        if user.is_some_and(|user| user != "root" && user != "0") {
            // In namespaces of its own a process has all capabilities whatever is said here.
            text.push_str("CapabilityBoundingSet=\nAmbientCapabilities=\n");
        }
        match self.isolation {
            Isolation::Own => {
                text.push_str("SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap\n");
                text.push_str("# Containers of the sandbox are made by the service itself, with limits of their own below its group.\n");
                text.push_str("Delegate=yes\n");
            }
            Isolation::Engine => {
                text.push_str("SystemCallFilter=@system-service\nRestrictNamespaces=yes\nRestrictSUIDSGID=yes\n");
                if user.is_some() {
                    // What a user's own systemd can do only in a user namespace, where groups such as docker's are gone.
                    text.push_str("ProtectSystem=full\nProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\n");
                    text.push_str(
                        "ProtectControlGroups=yes\nProtectClock=yes\nProtectHostname=yes\nPrivateDevices=yes\n",
                    );
                }
            }
        }
    }
}

/// How the unit names its home to the program.
pub(super) fn home_argument(home: &Path) -> Result<String, Unsayable> {
    Ok(format!("--home {}", quoted(home)?.replace('$', "$$")))
}

/// Whether the unit of this text, which this program wrote, runs the home at `root`.
pub(super) fn is_of_home(text: &str, root: &Path) -> bool {
    home_argument(root).is_ok_and(|home| text.contains(&format!(" {home} run\n")))
}

/// A path as one word of a unit, by systemd.syntax(7) and, for `%`, systemd.unit(5).
fn quoted(path: &Path) -> Result<String, Unsayable> {
    let escaped = sayable(path)?.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    Ok(format!("\"{escaped}\""))
}

fn sayable(path: &Path) -> Result<&str, Unsayable> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    text.ok_or_else(|| Unsayable(path.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(scope: Scope, isolation: Isolation, systemd: u32) -> Unit<'static> {
        let (program, home) = (Path::new("/usr/bin/nanoclaw"), Path::new("/home/anna/.local/share/nanoclaw"));
        Unit { scope, isolation, program, home, systemd, credentials: &[] }
    }

    fn system(user: &str) -> Scope {
        Scope::System { user: user.to_owned() }
    }

    fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    #[test]
    fn a_users_unit_for_an_engine_and_a_machines_unit_for_the_sandbox() {
        insta::assert_snapshot!(unit(Scope::User, Isolation::Engine, 252).text().unwrap(), @r##"
# Written by `nanoclaw service install`, which replaces it.
[Unit]
Description=NanoClaw: assistants for chat groups
Documentation=https://github.com/nanoclaw/nanoclaw
After=podman.socket
StartLimitIntervalSec=0

[Service]
# Ready when messages are taken; restarted when its main loop does not answer for so long.
Type=notify
NotifyAccess=main
WatchdogSec=60
TimeoutStartSec=5min
ExecStart="/usr/bin/nanoclaw" --home "/home/anna/.local/share/nanoclaw" run
# The service is asked to end; containers of an engine go on, and the next start takes them over.
KillMode=mixed
TimeoutStopSec=60
Restart=always
RestartSec=5
# A container that lacks memory is not the end of the service.
OOMPolicy=continue
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
RestrictNamespaces=yes
RestrictSUIDSGID=yes

[Install]
WantedBy=default.target
"##);
        insta::assert_snapshot!(unit(system("anna"), Isolation::Own, 257).text().unwrap(), @r##"
# Written by `nanoclaw service install`, which replaces it.
[Unit]
Description=NanoClaw: assistants for chat groups
Documentation=https://github.com/nanoclaw/nanoclaw
Wants=network-online.target
After=network-online.target docker.service podman.socket
StartLimitIntervalSec=0

[Service]
# Ready when messages are taken; restarted when its main loop does not answer for so long.
Type=notify
NotifyAccess=main
WatchdogSec=60
TimeoutStartSec=5min
ExecStart="/usr/bin/nanoclaw" --home "/home/anna/.local/share/nanoclaw" run
User=anna
# The service is asked to end; containers of an engine go on, and the next start takes them over.
KillMode=mixed
TimeoutStopSec=60
Restart=always
RestartSec=1
RestartSteps=6
RestartMaxDelaySec=2min
# A container that lacks memory is not the end of the service.
OOMPolicy=continue
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallErrorNumber=EPERM
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap
# Containers of the sandbox are made by the service itself, with limits of their own below its group.
Delegate=yes

[Install]
WantedBy=multi-user.target
"##);
    }

    #[test]
    fn what_the_service_needs_to_make_containers_itself_is_left_to_it() {
        for scope in [Scope::User, system("anna"), system("root")] {
            let text = unit(scope, Isolation::Own, 252).text().unwrap();
            for taken in ["RestrictNamespaces", "ProtectSystem", "ProtectKernelTunables", "PrivateDevices"] {
                assert_eq!(value(&text, taken), None, "{taken}");
            }
            let calls = value(&text, "SystemCallFilter").unwrap();
            assert!(calls.starts_with('~') && !calls.contains("@mount") && !calls.contains("@privileged"), "{calls}");
            assert_eq!(value(&text, "Delegate"), Some("yes"));
        }
    }

    #[test]
    fn root_keeps_its_capabilities_and_nobody_else() {
        let text = |user: &str| unit(system(user), Isolation::Engine, 252).text().unwrap();
        assert_eq!(value(&text("root"), "CapabilityBoundingSet"), None);
        assert_eq!(value(&text("0"), "CapabilityBoundingSet"), None);
        assert_eq!(value(&text("anna"), "CapabilityBoundingSet"), Some(""));
    }

    #[test]
    fn pauses_between_restarts_grow_where_systemd_can() {
        let text = |version| unit(Scope::User, Isolation::Engine, version).text().unwrap();
        assert_eq!((value(&text(253), "RestartSec"), value(&text(253), "RestartSteps")), (Some("5"), None));
        assert_eq!((value(&text(254), "RestartSec"), value(&text(254), "RestartSteps")), (Some("1"), Some("6")));
    }

    #[test]
    fn paths_say_themselves_and_nothing_else() {
        let odd = Unit { home: Path::new("/srv/a b%h$HOME\"c"), ..unit(Scope::User, Isolation::Engine, 252) };
        assert_eq!(
            value(&odd.text().unwrap(), "ExecStart"),
            Some("\"/usr/bin/nanoclaw\" --home \"/srv/a b%%h$$HOME\\\"c\" run")
        );
        let lines = Unit { home: Path::new("/srv/a\nUser=root"), ..unit(Scope::User, Isolation::Engine, 252) };
        assert!(lines.text().is_err());
        let dollar = Unit { program: Path::new("/opt/$x/nanoclaw"), ..unit(Scope::User, Isolation::Engine, 252) };
        assert!(dollar.text().is_err());
    }
}
