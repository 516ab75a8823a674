//! The filter on system calls: ours, and not the one that an engine happens to have.
//!
//! The hostile self-test found what the engines' own leave open: `AF_VSOCK`, which no network namespace holds back, so that an
//! agent without a network reached the hypervisor (Docker 20.10, Podman 4.3); `io_uring`; debugging; and the 32-bit and x32
//! tables, in which some of it is open again. Podman's, made for containers in containers, lets everybody make user namespaces
//! besides, with every capability in them. What is allowed follows the profile of containers/common (Apache-2.0) without
//! whatever needs a capability there, without those, and with sockets of the families that stay inside a network namespace alone.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use super::dialect::Dialect;

/// In the form that `--security-opt seccomp=FILE` reads. Calls that are not in it do not exist (ENOSYS, upon which programs
/// try the older one); those that are refused by name are not permitted.
const PROFILE: &str = include_str!("seccomp/profile.json");

/// The filter as an engine is told of it.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// Podman reads it from a file when it makes a container.
    file: Mutex<Option<tempfile::NamedTempFile>>,
}

impl Filter {
    /// The security option that carries it: the text itself for Docker, a file's path for Podman. The file is written when it
    /// is not there: what cleans a folder for temporary files may have found it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn option(&self, dialect: Dialect) -> io::Result<String> {
        if dialect == Dialect::Docker {
            return Ok(format!("seccomp={PROFILE}"));
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let there = file.take().filter(|file| file.path().exists());
        let there = match there {
            Some(there) => there,
            None => {
                let made = tempfile::Builder::new().prefix("nanoclaw-seccomp-").suffix(".json").tempfile()?;
                std::fs::write(made.path(), PROFILE)?;
                made
            }
        };
        Ok(format!("seccomp={}", file.insert(there).path().display()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::Value;

    use super::*;

    fn rules(action: &str) -> Vec<Value> {
        let profile: Value = serde_json::from_str(PROFILE).unwrap();
        let rules = profile["syscalls"].as_array().unwrap().clone();
        rules.into_iter().filter(|rule| rule["action"] == action).collect()
    }

    fn named(rule: &Value, name: &str) -> bool {
        rule["names"].as_array().unwrap().iter().any(|known| known == name)
    }

    #[test]
    fn what_reaches_past_the_walls_is_allowed_by_no_rule() {
        for name in [
            "mount",
            "unshare",
            "setns",
            "bpf",
            "io_uring_setup",
            "ptrace",
            "keyctl",
            "userfaultfd",
            "socketcall",
            "clone3",
        ] {
            assert!(!rules("SCMP_ACT_ALLOW").iter().any(|rule| named(rule, name)), "{name}");
            assert!(rules("SCMP_ACT_ERRNO").iter().any(|rule| named(rule, name)), "{name} is refused by name");
        }
    }

    #[test]
    fn sockets_are_of_unix_ip_and_netlink_alone() {
        let families: Vec<i64> = rules("SCMP_ACT_ALLOW")
            .iter()
            .filter(|rule| named(rule, "socket"))
            .map(|rule| rule["args"][0]["value"].as_i64().unwrap())
            .collect();
        assert_eq!(families, [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(i64::from));
    }

    #[test]
    fn a_clone_makes_no_namespace() {
        let clone: Vec<Value> = rules("SCMP_ACT_ALLOW").into_iter().filter(|rule| named(rule, "clone")).collect();
        let all = libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWCGROUP;
        assert_eq!(clone.len(), 1);
        assert_eq!(clone[0]["args"][0]["value"].as_i64().unwrap(), i64::from(all));
        assert_eq!(clone[0]["args"][0]["op"], "SCMP_CMP_MASKED_EQ");
    }

    #[test]
    fn a_profile_that_was_cleaned_away_is_written_again() {
        let filter = Filter::default();
        let option = filter.option(Dialect::Podman).unwrap();
        assert_eq!(filter.option(Dialect::Podman).unwrap(), option);
        let path = option.strip_prefix("seccomp=").unwrap();
        std::fs::remove_file(path).unwrap();
        let again = filter.option(Dialect::Podman).unwrap();
        let path = again.strip_prefix("seccomp=").unwrap().to_owned();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), PROFILE);
        drop(filter);
        assert!(!std::path::Path::new(&path).exists());
    }
}
