//! What the hostile self-test's two halves say to each other: the attacker inside a container (`agent-runner hostile`) and
//! the judge on the host (`nanoclaw selftest hostile`).
//!
//! The attacker is told where everything is that it must not reach: a wall that holds only against somebody who does not
//! know where to climb is none.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// The file in the group's folder in which the attacker finds its [`Orders`].
pub const ORDERS_FILE: &str = "orders.json";

/// The file, made anew for each attack, into which the attacker writes what it tries before it tries it, so that the next
/// container can tell what ended the one before.
#[must_use]
pub fn diary_name(attack: &str) -> String {
    format!("diary-{attack}.jsonl")
}

/// What answers where nobody may come.
pub const REACHED: &str = "REACHED";

/// What a host answers that the attacker may reach.
pub const ALLOWED: &str = "ALLOWED";

/// What a host answers to a request that was hidden in another one: `GET /smuggled`.
pub const SMUGGLED: &str = "SMUGGLED";

/// Everything that an attacker could wish to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orders {
    /// Where the host listens; [`REACHED`] is answered there.
    pub addresses: Vec<SocketAddr>,
    /// Abstract unix sockets of the host.
    pub abstract_sockets: Vec<String>,
    /// Unix sockets of the host, by their paths there.
    pub sockets: Vec<PathBuf>,
    /// Files of the host with a canary in them, by their paths there.
    pub files: Vec<PathBuf>,
    /// Folders of the host that are not mounted, by their paths there.
    pub folders: Vec<PathBuf>,
    /// The other groups.
    pub others: Vec<Other>,
    /// Where the group's own mailbox is on the host.
    pub mailbox: PathBuf,
    /// The process of the host.
    pub host_pid: u32,
    /// How far to go.
    pub bounds: Bounds,
    /// What the gateway lets this attacker reach; `None`: no host and no further upstream.
    pub reach: Option<Reach>,
    /// When the canaries were planted, in seconds since 1970.
    pub planted_at: i64,
}

/// What the gateway lets an attacker reach, as a way to everything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// A host that it may reach on the ports 443, 80 and [`Reach::PLAIN_PORT`]; [`ALLOWED`] is answered there.
    pub allowed: String,
    /// That host's address, which is public, and which is not allowed as such.
    pub address: IpAddr,
    /// A host that it may reach on the ports 443 and 80, whose name has a new address at each question: some that are
    /// public, and some that nobody may reach.
    pub changing: String,
    /// How many different answers there are for that name, which come one after the other and then again.
    pub answers: usize,
    /// A host with a public address that it may not reach; [`REACHED`] is answered there.
    pub other: String,
    /// A further upstream that it may ask, by GET, for what is below `/desk`.
    pub upstream: String,
    /// A further upstream of other groups.
    pub foreign_upstream: String,
    /// Where both upstreams are on the host.
    pub upstream_addresses: Vec<SocketAddr>,
    /// How many requests the gateway takes of a group in a minute.
    pub requests_a_minute: u32,
}

impl Reach {
    /// The port on which the allowed host may be spoken to in any way.
    pub const PLAIN_PORT: u16 = 8443;
}

/// Another group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// Its folder's name.
    pub folder: String,
    /// Its chat.
    pub chat: String,
}

/// How far the exhausting attacks go, and which limits they must meet on the way; `None`: the runtime says that it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// Bytes of memory that one container has.
    pub memory_bytes: Option<u64>,
    /// Processes and threads that one container has.
    pub pids: Option<u32>,
    /// Thousandths of a processor.
    pub milli_cpus: Option<u32>,
    /// Bytes of `/tmp`.
    pub tmp_bytes: u64,
    /// Bytes to write into the group's folder.
    pub disk_bytes: u64,
    /// Bytes to write to each output.
    pub flood_bytes: u64,
    /// Requests to leave in the mailbox.
    pub files: u32,
    /// How long what was taken is held, in milliseconds.
    pub hold_ms: u64,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What, in words; unique within its attack.
    pub name: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "snake_case")]
pub enum Outcome {
    /// The system said no; its words.
    Refused(String),
    /// It worked, and should not have.
    Succeeded(String),
    /// It worked, and concerns the container or its own group alone.
    Allowed(String),
    /// There is nothing to attack.
    Absent(String),
}

/// Begins each canary. Not a whole one, so that who looks for canaries does not find the program that looks.
const CANARY: &str = "cnry-";
/// The digits that end one.
const DIGITS: usize = 32;

/// A canary: a secret that stands for one of its `kind` (letters) and is recognised wherever it turns up.
#[must_use]
pub fn canary(kind: &str, random: u128) -> String {
    format!("{CANARY}{kind}-{random:032x}")
}

/// The kinds of the canaries in `bytes`, each once, in the order in which they turn up.
#[must_use]
pub fn canaries(bytes: &[u8]) -> Vec<String> {
    let mut kinds = Vec::new();
    let first = CANARY.as_bytes()[0];
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at..];
        if let Some(kind) = canary_kind(rest).filter(|kind| !kinds.contains(kind)) {
            kinds.push(kind);
        }
        rest = &rest[1..];
    }
    kinds
}

fn canary_kind(text: &[u8]) -> Option<String> {
    let text = text.strip_prefix(CANARY.as_bytes())?;
    let letters = text.iter().take(32).take_while(|byte| byte.is_ascii_lowercase()).count();
    let (kind, rest) = text.split_at(letters);
    let digits = rest.strip_prefix(b"-")?.get(..DIGITS)?;
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (letters > 0 && digits.iter().all(is_hex)).then(|| String::from_utf8_lossy(kind).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_are_found_in_the_middle_of_anything_and_parts_of_them_are_not() {
        let text = format!("ccn{}\0{}x{}", canary("env", 7), canary("file", 8), canary("env", 9));
        assert_eq!(canaries(text.as_bytes()), ["env", "file"]);
        let whole = canary("env", 7);
        assert_eq!(canaries(&whole.as_bytes()[..whole.len() - 1]), Vec::<String>::new());
        assert_eq!(canaries(b"cnry-env-zz cnry--0000"), Vec::<String>::new());
    }

    #[test]
    fn an_attempt_is_one_flat_object() {
        let attempt = Attempt { name: "a".to_owned(), outcome: Outcome::Refused("EPERM".to_owned()) };
        let json = serde_json::to_string(&attempt).unwrap();
        assert_eq!(json, r#"{"name":"a","outcome":"refused","detail":"EPERM"}"#);
        assert_eq!(serde_json::from_str::<Attempt>(&json).unwrap(), attempt);
    }
}
