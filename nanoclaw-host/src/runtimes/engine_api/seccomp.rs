//! The filter on system calls at Podman: its own one, without what makes namespaces and mounts and what uses the kernel's keys.
//!
//! Docker lets nobody without the capability for it do that. Podman's profile, made for containers in containers, lets
//! everybody, so that anyone inside can have a user namespace with every capability in it and so reach far more of the kernel.

use std::{io, path::PathBuf, sync::Mutex, sync::PoisonError};

use serde_json::{Value, json};

/// Refused with "operation not permitted", as by Docker's profile.
const DENIED: [&str; 17] = [
    "add_key",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "keyctl",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "pivot_root",
    "request_key",
    "setns",
    "umount",
    "umount2",
    "unshare",
    "userfaultfd",
];
/// The flags of `clone` that make namespaces, all of them.
const CLONE_NEW: u64 = 0x7e02_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// A profile, in a file that the engine reads when it makes a container.
#[derive(Debug)]
pub(super) struct Profile {
    text: String,
    file: Mutex<Option<tempfile::NamedTempFile>>,
}

impl Profile {
    /// What is left of the engine's own profile, which is this text.
    ///
    /// # Errors
    /// When that is no profile.
    pub(super) fn of(own: &str) -> Result<Self, serde_json::Error> {
        let text = tightened(serde_json::from_str(own)?).to_string();
        Ok(Self { text, file: Mutex::default() })
    }

    /// Where it is. Written when it is not there: what cleans a folder for temporary files may have found it.
    pub(super) fn path(&self) -> io::Result<PathBuf> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = file.as_ref().map(tempfile::NamedTempFile::path).filter(|path| path.exists()) {
            return Ok(there.to_owned());
        }
        let made = tempfile::Builder::new().prefix("nanoclaw-seccomp-").suffix(".json").tempfile()?;
        std::fs::write(made.path(), &self.text)?;
        Ok(file.insert(made).path().to_owned())
    }
}

fn tightened(mut profile: Value) -> Value {
    let Some(rules) = profile.get_mut("syscalls").and_then(Value::as_array_mut) else { return profile };
    let ours =
        |name: &Value| name.as_str().is_some_and(|name| DENIED.contains(&name) || ["clone", "clone3"].contains(&name));
    for rule in rules.iter_mut() {
        if let Some(names) = rule.get_mut("names").and_then(Value::as_array_mut) {
            names.retain(|name| !ours(name));
        }
    }
    rules.retain(|rule| rule["names"].as_array().is_some_and(|names| !names.is_empty()));
    rules.extend([
        json!({ "names": DENIED, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM }),
        json!({
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": CLONE_NEW, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
        }),
        // Its flags are out of a filter's sight. Who is told that it is not there takes `clone`.
        json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }),
    ]);
    profile
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const OWN: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "syscalls": [
            { "names": ["read", "clone", "clone3", "unshare", "mount"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["setns"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } }
        ]
    }"#;

    #[test]
    fn what_makes_namespaces_is_taken_out_and_the_rest_stays() {
        let rules = tightened(serde_json::from_str(OWN).unwrap());
        let rules = rules["syscalls"].as_array().unwrap();
        let allowed: Vec<_> = rules.iter().filter(|rule| rule["action"] == "SCMP_ACT_ALLOW").collect();
        assert_eq!(allowed.len(), 2, "{rules:?}");
        assert_eq!(allowed[0]["names"], json!(["read"]));
        assert_eq!(
            (&allowed[1]["names"], &allowed[1]["args"][0]["value"]),
            (&json!(["clone"]), &json!(2_114_060_288_u64))
        );
        let denied = rules.iter().find(|rule| rule["errnoRet"] == 1).unwrap()["names"].as_array().unwrap();
        assert!(["unshare", "setns", "mount"].iter().all(|name| denied.contains(&json!(name))));
    }

    #[test]
    fn a_profile_that_was_cleaned_away_is_written_again() {
        let profile = Profile::of(OWN).unwrap();
        let path = profile.path().unwrap();
        assert_eq!(profile.path().unwrap(), path);
        std::fs::remove_file(&path).unwrap();
        let again = profile.path().unwrap();
        assert_eq!(std::fs::read_to_string(&again).unwrap(), profile.text);
        drop(profile);
        assert!(!again.exists());
        assert!(Profile::of("no profile").is_err());
    }
}
