//! `agent-runner canary`: looks at the container that it is in, from inside, and says what it saw.
//!
//! Started by the host once per runtime and profile, before any agent is: what isolation promises is tried to be broken, and
//! what came of that goes to standard output, a line of JSON each ([`CanaryLine`]). It judges nothing, needs nothing of the
//! image, and leaves nothing behind.

mod bounds;
mod files;
mod network;
mod privileges;

use std::{collections::BTreeMap, fs, io::Write as _, path::Path};

use nanoclaw_core::runtime::witness::{CanaryLine, ProcessStatus, Testimony};

pub(crate) use bounds::{EAT_WORD, eat};
pub(crate) use privileges::{NAMESPACE_WORD, namespace};

/// Looks and reports; the exit code.
pub(crate) fn main() -> u8 {
    let testimony = look();
    let mut told = say(&CanaryLine::Saw(Box::new(testimony)));
    // From the harmless to the deadly: who uses up its memory may be ended for it.
    told &= say(&CanaryLine::Bound(bounds::pids()));
    told &= say(&CanaryLine::Bound(bounds::processor_time()));
    told &= say(&CanaryLine::ReachesForMemory);
    told &= say(&CanaryLine::Bound(bounds::memory()));
    told &= say(&CanaryLine::Done);
    u8::from(!told)
}

/// Whether anybody heard it.
fn say(line: &CanaryLine) -> bool {
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

fn look() -> Testimony {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let (tmp_options, tmp_bytes) = files::tmp();
    Testimony {
        status: privileges::own_status(ProcessStatus::parse(&status)),
        pid: std::process::id().cast_signed(),
        processes: processes(),
        namespaces: namespaces(),
        interfaces: network::interfaces(),
        routes: network::routes(),
        connections: network::connections(),
        resolved: network::resolved(),
        writable: files::writable(),
        tmp_executes: files::tmp_executes(),
        tmp_options,
        tmp_bytes,
        engine_sockets: network::engine_sockets(),
        devices: files::devices(),
        variables: std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect(),
        // Last: what is allowed here could change what is seen.
        allowed: privileges::allowed(),
    }
}

fn processes() -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())).count()
}

fn namespaces() -> BTreeMap<String, String> {
    ["ipc", "mnt", "net", "pid", "user", "uts"]
        .into_iter()
        .filter_map(|name| {
            let link = fs::read_link(Path::new("/proc/self/ns").join(name)).ok()?;
            Some((name.to_owned(), link.to_string_lossy().into_owned()))
        })
        .collect()
}
