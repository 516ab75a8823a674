//! The hardening profile: what confines a container, as data, and what differs from it.
//!
//! The profile is the one source from which each runtime renders its own words, against which what was created is compared
//! ([`inspected`](super::inspected)), and against which a canary's testimony is judged ([`witness`](super::witness)). It has
//! fields for what may vary and none that could weaken it: what is always so is in [`HardeningProfile::ALWAYS`] and can be
//! neither configured nor left out.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ContainerSpec, Limits, RunAs};

/// What confines one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardeningProfile {
    /// The user inside; never root.
    pub user: RunAs,
    /// Upper bounds. `None` is for a bound that the operator did without, or that this machine cannot enforce and the operator
    /// knows of.
    pub limits: Limits,
    /// Bytes of the private `/tmp`, which is always noexec, nosuid and nodev.
    pub tmp_bytes: u64,
}

/// Something that is not as the profile says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deviation {
    /// What it is about: "network", "capabilities", "mounts".
    pub point: String,
    /// What the profile says.
    pub wanted: String,
    /// What was found.
    pub found: String,
}

impl Deviation {
    /// A point, what it should be and what it is.
    pub fn new(point: impl Into<String>, wanted: impl Into<String>, found: impl Into<String>) -> Self {
        Self { point: point.into(), wanted: wanted.into(), found: found.into() }
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} was asked for, found {}", self.point, self.wanted, self.found)
    }
}

/// All of them in one line; empty when there are none.
#[must_use]
pub fn in_one_line(deviations: &[Deviation]) -> String {
    deviations.iter().map(Deviation::to_string).collect::<Vec<_>>().join("; ")
}

impl HardeningProfile {
    /// What holds for every container, each with its name. Part of the fingerprint, so that a canary that showed less than
    /// this version promises counts for nothing.
    pub const ALWAYS: [(&'static str, &'static str); 9] = [
        ("network", "none but loopback"),
        ("capabilities", "none, and none to be gained"),
        ("new privileges", "cannot be had"),
        ("system calls", "filtered"),
        ("root", "read-only"),
        ("namespaces", "own processes, ipc, host name and mounts"),
        ("devices", "the harmless ones"),
        ("engine", "no socket of one"),
        ("/tmp", "noexec, nosuid, nodev"),
    ];

    /// Bounds for a canary: those that this profile has, so small that reaching them takes a moment and harms nobody. Exhausting
    /// a real bound of gigabytes would cost the machine's own memory, and shows nothing more: that the number is the right one
    /// is seen on each container.
    #[must_use]
    pub fn in_small(&self) -> Self {
        const MEMORY_BYTES: u64 = 96 << 20;
        const PIDS: u32 = 64;
        const MILLI_CPUS: u32 = 500;
        const TMP_BYTES: u64 = 4 << 20;
        Self {
            user: self.user,
            limits: Limits {
                memory_bytes: self.limits.memory_bytes.map(|_| MEMORY_BYTES),
                pids: self.limits.pids.map(|_| PIDS),
                milli_cpus: self.limits.milli_cpus.map(|_| MILLI_CPUS),
            },
            tmp_bytes: TMP_BYTES,
        }
    }

    /// The same text for the same profile in every build of this version: 16 hexadecimal digits. Not a secret, and no defence
    /// against somebody who looks for two profiles with one fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let always: Vec<String> = Self::ALWAYS.iter().map(|(name, what)| format!("{name}={what}")).collect();
        let text = format!("{};{self}", always.join(";"));
        // FNV-1a, which is a line long and whose result is not one build's own as the standard library's hasher's is.
        let hash = text.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        format!("{hash:016x}")
    }
}

/// What varies, in one line.
impl fmt::Display for HardeningProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |bound: Option<u64>| bound.map_or_else(|| "no bound".to_owned(), |bound| bound.to_string());
        write!(
            f,
            "user {}:{}, memory {}, pids {}, milli cpus {}, tmp {}",
            self.user.uid,
            self.user.gid,
            bound(self.limits.memory_bytes),
            bound(self.limits.pids.map(u64::from)),
            bound(self.limits.milli_cpus.map(u64::from)),
            self.tmp_bytes,
        )
    }
}

impl ContainerSpec {
    /// What is to confine this container.
    #[must_use]
    pub fn profile(&self) -> HardeningProfile {
        HardeningProfile { user: self.user, limits: self.limits, tmp_bytes: self.tmp_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> HardeningProfile {
        HardeningProfile {
            user: RunAs { uid: 1000, gid: 1000 },
            limits: Limits { memory_bytes: Some(2 << 30), pids: Some(256), milli_cpus: Some(1500) },
            tmp_bytes: 256 << 20,
        }
    }

    #[test]
    fn a_fingerprint_is_of_everything_that_varies_and_the_same_everywhere() {
        let ours = profile();
        assert_eq!(ours.fingerprint(), profile().fingerprint());
        assert_eq!(ours.fingerprint().len(), 16);
        let others = [
            HardeningProfile { user: RunAs { uid: 1001, gid: 1000 }, ..ours },
            HardeningProfile { user: RunAs { uid: 1000, gid: 1001 }, ..ours },
            HardeningProfile { limits: Limits { memory_bytes: None, ..ours.limits }, ..ours },
            HardeningProfile { limits: Limits { pids: Some(255), ..ours.limits }, ..ours },
            HardeningProfile { limits: Limits { milli_cpus: None, ..ours.limits }, ..ours },
            HardeningProfile { tmp_bytes: 1, ..ours },
        ];
        for other in others {
            assert_ne!(other.fingerprint(), ours.fingerprint(), "{other}");
        }
    }

    #[test]
    fn in_small_a_profile_has_the_bounds_it_had_and_no_others() {
        let ours = profile();
        let small = ours.in_small();
        assert_eq!(small.user, ours.user);
        assert!(small.limits.memory_bytes < ours.limits.memory_bytes && small.limits.pids < ours.limits.pids);
        assert!(small.limits.milli_cpus.is_some());
        let unbounded = Limits { memory_bytes: None, pids: None, milli_cpus: None };
        assert_eq!(HardeningProfile { limits: unbounded, ..ours }.in_small().limits, unbounded);
        let larger = HardeningProfile { limits: Limits { pids: Some(9999), ..ours.limits }, ..ours };
        assert_eq!(larger.in_small(), small, "so one canary does for groups with other numbers");
    }
}
