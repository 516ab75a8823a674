//! Lines for systemd's journal, by its [native protocol], so that each has its priority and its fields: `journalctl -u nanoclaw -p warning`,
//! `journalctl NANOCLAW_GROUP=family`.
//!
//! The crate tracing-journald does as much, but for those who read: what it shows of an event is its message without the fields, and here they
//! say what failed.
//!
//! [native protocol]: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/

use std::{
    fmt::Write as _,
    io,
    os::unix::{fs::MetadataExt as _, net::UnixDatagram},
    path::Path,
};

use tracing::{Event, Level, Subscriber, field::Field};
use tracing_subscriber::layer::{Context, Layer};

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// How each field of ours begins.
const PREFIX: &str = "NANOCLAW_";
/// The most of one value, in bytes: a datagram has a size. What is beyond is cut off.
const LONGEST_VALUE: usize = 32 << 10;

/// Whether standard error leads to the journal, as systemd says of the services that it starts.
pub(super) fn is_behind_stderr() -> bool {
    let told = std::env::var("JOURNAL_STREAM").ok();
    let stream = std::fs::metadata("/proc/self/fd/2").map(|stderr| format!("{}:{}", stderr.dev(), stderr.ino()));
    told.is_some_and(|told| stream.is_ok_and(|stream| stream == told))
}

/// Sends events to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// Connects to the journal at `path`.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self { socket })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // There is nowhere to tell that it failed.
        let _ = self.socket.send(&datagram(event));
    }
}

fn datagram(event: &Event<'_>) -> Vec<u8> {
    let metadata = event.metadata();
    let mut line = Line { target: metadata.target(), ..Line::default() };
    event.record(&mut line);
    let mut datagram = Vec::new();
    let mut add = |name: &str, value: &str| add(&mut datagram, name, value);
    add("PRIORITY", priority(*metadata.level()));
    add("SYSLOG_IDENTIFIER", "nanoclaw");
    add("MESSAGE", &format!("{}: {}{}", line.target, line.message, line.shown));
    add("NANOCLAW_TARGET", line.target);
    if let Some(file) = metadata.file() {
        add("CODE_FILE", file);
    }
    if let Some(number) = metadata.line() {
        add("CODE_LINE", &number.to_string());
    }
    let has_group = line.fields.iter().any(|(name, _)| name == "GROUP");
    for (name, value) in &line.fields {
        add(&format!("{PREFIX}{name}"), value);
        // A run is named `group#number`.
        if name == "RUN"
            && !has_group
            && let Some((group, _)) = value.rsplit_once('#')
        {
            add("NANOCLAW_GROUP", group);
        }
    }
    datagram
}

/// The words of syslog for levels; what is for people every day is `info` there as here.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// Adds a field, in the form for values of any bytes.
fn add(datagram: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..value.floor_char_boundary(LONGEST_VALUE)];
    datagram.extend_from_slice(name.as_bytes());
    datagram.push(b'\n');
    datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

/// What an event says.
#[derive(Default)]
struct Line {
    target: &'static str,
    message: String,
    /// The fields as they are shown after the message: ` name=value` each.
    shown: String,
    /// The fields with their names as the journal wants them.
    fields: Vec<(String, String)>,
}

impl tracing::field::Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.to_owned(), format!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        self.note(field, text.clone(), text);
    }
}

impl Line {
    fn note(&mut self, field: &Field, value: String, shown: String) {
        if field.name() == "message" {
            self.message = value;
            return;
        }
        // Writing to a string does not fail.
        let _ = write!(self.shown, " {}={shown}", field.name());
        let name = field.name().chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
        self.fields.push((name.collect(), value));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// The fields of one datagram.
    fn fields(mut datagram: &[u8]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        while !datagram.is_empty() {
            let name = datagram.iter().position(|&byte| byte == b'\n').unwrap();
            let (head, rest) = datagram.split_at(name);
            let (length, rest) = rest[1..].split_first_chunk().unwrap();
            let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
            found.push((head, value));
            datagram = rest.strip_prefix(b"\n").unwrap();
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        found.into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    fn logged(say: impl FnOnce()) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        journal.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let subscriber = tracing_subscriber::registry().with(Journal::connect(&path).unwrap());
        tracing::subscriber::with_default(subscriber, say);
        let mut datagram = vec![0; 1 << 18];
        let length = journal.recv(&mut datagram).unwrap();
        fields(&datagram[..length])
    }

    fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_line_has_its_priority_its_fields_and_all_of_them_in_its_text() {
        let error = io::Error::other("no\nroom");
        let fields = logged(|| tracing::warn!(run = %"family#12", word = "two words", %error, "cannot do it"));
        assert_eq!(value(&fields, "PRIORITY"), Some("4"));
        let target = module_path!();
        let message = format!("{target}: cannot do it run=family#12 word=\"two words\" error=no\nroom");
        assert_eq!(value(&fields, "MESSAGE"), Some(message.as_str()));
        assert_eq!(value(&fields, "NANOCLAW_RUN"), Some("family#12"));
        assert_eq!(value(&fields, "NANOCLAW_GROUP"), Some("family"));
        assert_eq!(value(&fields, "NANOCLAW_WORD"), Some("two words"));
        assert_eq!(value(&fields, "NANOCLAW_ERROR"), Some("no\nroom"), "no value begins another field");
    }

    #[test]
    fn a_line_names_its_group_once_and_one_that_is_very_long_is_cut() {
        let fields = logged(|| tracing::info!(group = "a", run = %"a#1", text = "ä".repeat(40_000), "long"));
        assert_eq!(fields.iter().filter(|(name, _)| name == "NANOCLAW_GROUP").count(), 1);
        assert_eq!(value(&fields, "NANOCLAW_TEXT").map(str::len), Some(LONGEST_VALUE));
        assert!(value(&fields, "MESSAGE").unwrap().len() <= LONGEST_VALUE);
    }
}
