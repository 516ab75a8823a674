//! Files of messages: what is known of one, where its bytes wait, by which path the agent finds one that came, and by which
//! name people see one that goes.
//!
//! The bytes of a file are the channel's until the message is accepted, the host's (in its *spool*) until the message is
//! answered, and the group's from the moment a prompt names them. A message is accepted only after its files are in the spool,
//! and whatever is told of a file is stored with the message: so neither is ever there without the other. It is the same with a file
//! that an agent sends: a copy of it is in the spool before the message is in the outbox, and until that is done with.

use serde::{Deserialize, Serialize};

use crate::{group::GroupFolder, message::Seq, text_id::text_id};

text_id! {
    /// The name of a file in the host's spool, given by the host: up to 64 lower-case letters and digits.
    SpoolName, "spool name", |text| match text.len() {
        1..=64 if text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) => Ok(()),
        _ => Err("is not 1 to 64 lower-case letters and digits"),
    }
}

/// The folder of a group's folder in which its agent finds what came with messages.
pub const ATTACHMENTS_DIR: &str = "attachments";

/// The longest name that a file gets from its sender, or is shown by, in bytes.
const LONGEST_NAME: usize = 80;

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What it is, in the service's words ("photo", "voice", "document").
    pub kind: String,
    /// The name the sender gave it.
    pub name: Option<String>,
    /// Whether its bytes are there. An attachment that was stored before there was this has none.
    #[serde(default)]
    pub fetched: Fetched,
}

/// Whether an attachment's bytes are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fetched {
    /// They are in the host's spool.
    Yes(SpooledFile),
    /// They are not.
    No {
        /// Why, as it follows "not fetched: "; `None` when nobody said.
        reason: Option<String>,
    },
}

impl Default for Fetched {
    fn default() -> Self {
        Self::No { reason: None }
    }
}

/// A file in the host's spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpooledFile {
    /// Its name there.
    pub spool: SpoolName,
    /// Its type by what is in it, never by its name or by what its sender says.
    pub media_type: String,
    /// How many bytes it has.
    pub bytes: u64,
}

/// A file on its way from the spool into a group's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// The message that it came with.
    pub seq: Seq,
    /// Its place among the message's attachments, from 1.
    pub number: usize,
    /// The file.
    pub file: SpooledFile,
    /// Where it goes: relative to the group's folder, one name in [`ATTACHMENTS_DIR`]. The same for the same message ever
    /// after, so that a turn which is tried again finds what the one before it was given.
    pub path: String,
}

/// A file that goes out with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingFile {
    /// What people see as its name: on one line, without anything that leads elsewhere or turns a line around; 1 to 80 bytes.
    pub name: String,
    /// The group whose agent sends it, and whose part of the spool it is in.
    pub group: GroupFolder,
    /// Where it was in the group's folder, relative to it, for people to look at. By now it may be something else, or gone.
    pub path: String,
    /// The copy of it that is sent.
    #[serde(flatten)]
    pub spooled: SpooledFile,
}

impl OutgoingFile {
    /// A file of `group` that was at `path` in its folder (names that a `/` parts, as an agent gave them), and is `spooled`.
    #[must_use]
    pub fn new(group: GroupFolder, path: &str, spooled: SpooledFile) -> Self {
        let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        let shown = |name: &str| -> String { name.chars().map(|c| if is_shown(c) { c } else { '_' }).collect() };
        let name = cut(shown(names.last().copied().unwrap_or_default()).trim().trim_start_matches('.'));
        let name = match name.chars().any(char::is_alphanumeric) {
            true => name,
            false => format!("file{}", extension(&spooled.media_type)),
        };
        let path = names.into_iter().map(shown).collect::<Vec<_>>().join("/");
        Self { name, group, path, spooled }
    }
}

/// Whether a character of a name is shown as it is. Controls are not, nor what has no width or turns a line around.
fn is_shown(c: char) -> bool {
    c.is_alphanumeric()
        || c == ' '
        || (c.is_ascii_graphic() && !matches!(c, '/' | '\\' | '"' | '<' | '>' | '|' | ':' | '*' | '?'))
}

impl Attachment {
    /// The file that is to be put into the group's folder when the message `seq` is handed over, of which this is the
    /// attachment `number` (from 1); `None` when there is none.
    #[must_use]
    pub fn new_file(&self, seq: Seq, number: usize) -> Option<NewFile> {
        let Fetched::Yes(file) = &self.fetched else { return None };
        let name = safe_name(self.name.as_deref().unwrap_or_default());
        let name = match name.is_empty() {
            false => name,
            true => safe_name(&format!("{}{}", self.kind, extension(&file.media_type))),
        };
        let path = format!("{ATTACHMENTS_DIR}/{seq}-{number}-{name}");
        Some(NewFile { seq, number, file: file.clone(), path })
    }
}

/// As much of a name as can neither lead elsewhere nor surprise a shell: letters, digits, `.`, `-` and `_`, without a dot at
/// its beginning, 80 bytes at most. Its extension is kept. Empty when nothing is left.
fn safe_name(name: &str) -> String {
    let clean: String =
        name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' }).collect();
    let clean = clean.trim_start_matches('.');
    if !clean.chars().any(char::is_alphanumeric) {
        return String::new();
    }
    cut(clean)
}

/// As much of a name as may be, its extension among it.
fn cut(clean: &str) -> String {
    if clean.len() <= LONGEST_NAME {
        return clean.to_owned();
    }
    let extension =
        clean.rfind('.').map(|at| &clean[at..]).filter(|extension| extension.len() <= 12).unwrap_or_default();
    let mut end = LONGEST_NAME - extension.len();
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{extension}", &clean[..end])
}

/// What a name without one ends with.
fn extension(media_type: &str) -> &'static str {
    match media_type {
        "image/jpeg" => ".jpg",
        "image/png" => ".png",
        "image/gif" => ".gif",
        "image/webp" => ".webp",
        "audio/ogg" => ".ogg",
        "audio/mpeg" => ".mp3",
        "video/mp4" => ".mp4",
        "application/pdf" => ".pdf",
        "text/plain" => ".txt",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spooled(media_type: &str) -> Fetched {
        let spool = SpoolName::new("00ff").unwrap();
        Fetched::Yes(SpooledFile { spool, media_type: media_type.to_owned(), bytes: 3 })
    }

    fn path(kind: &str, name: Option<&str>, media_type: &str) -> String {
        let attachment =
            Attachment { kind: kind.to_owned(), name: name.map(str::to_owned), fetched: spooled(media_type) };
        attachment.new_file(Seq(12), 1).unwrap().path
    }

    #[test]
    fn f54_a_senders_name_is_made_safe_and_stays_readable() {
        for (name, expected) in [
            ("beach.jpg", "attachments/12-1-beach.jpg"),
            ("Überweisung März.pdf", "attachments/12-1-Überweisung_März.pdf"),
            ("../../etc/passwd", "attachments/12-1-_.._etc_passwd"),
            ("/root/.ssh/id", "attachments/12-1-_root_.ssh_id"),
            (".bashrc", "attachments/12-1-bashrc"),
            ("a\nb\u{202e}gpj.exe", "attachments/12-1-a_b_gpj.exe"),
            ("$(reboot);`x`", "attachments/12-1-__reboot___x_"),
        ] {
            assert_eq!(path("photo", Some(name), "image/jpeg"), expected, "{name:?}");
        }
        for nameless in [None, Some(""), Some(".."), Some("///")] {
            assert_eq!(path("photo", nameless, "image/jpeg"), "attachments/12-1-photo.jpg");
        }
        assert_eq!(path("../x", None, "application/x-thing"), "attachments/12-1-_x");
        let long = path("photo", Some(&format!("{}.jpeg", "ä".repeat(300))), "image/jpeg");
        assert!(long.ends_with("ä.jpeg") && long.len() < 110, "{long}");
    }

    #[test]
    fn f54_a_file_that_is_sent_has_a_name_that_can_be_shown() {
        let sent = |path: &str| {
            let file = SpooledFile { spool: SpoolName::new("00ff").unwrap(), media_type: "image/png".into(), bytes: 3 };
            OutgoingFile::new("family".parse().unwrap(), path, file)
        };
        for (path, name) in [
            ("report.pdf", "report.pdf"),
            ("out/./Report 2026 (März).pdf", "Report 2026 (März).pdf"),
            ("out/.bashrc", "bashrc"),
            ("a\u{1b}[2J\n\u{202e}gpj.exe", "a_[2J__gpj.exe"),
            ("out/\u{7f}\u{200b}", "file.png"),
            ("a\\..\\b.txt", "a_.._b.txt"),
        ] {
            assert_eq!(sent(path).name, name, "{path:?}");
        }
        assert_eq!(sent("out//./a b.png").path, "out/a b.png");
        assert_eq!(sent("out\u{1b}[0m/a").path, "out_[0m/a");
        let long = sent(&format!("{}.jpeg", "ä".repeat(300))).name;
        assert!(long.ends_with("ä.jpeg") && long.len() <= LONGEST_NAME, "{long}");
        let json = serde_json::to_string(&sent("a.png")).unwrap();
        assert_eq!(
            json,
            r#"{"name":"a.png","group":"family","path":"a.png","spool":"00ff","media_type":"image/png","bytes":3}"#
        );
        assert_eq!(serde_json::from_str::<OutgoingFile>(&json).unwrap(), sent("a.png"));
    }

    #[test]
    fn an_attachment_of_before_there_was_a_spool_is_read_as_not_fetched() {
        let old: Attachment = serde_json::from_str(r#"{"kind":"photo","path":"a/b.jpg","name":"b.jpg"}"#).unwrap();
        assert_eq!((old.new_file(Seq(1), 1), old.fetched), (None, Fetched::No { reason: None }));
    }

    #[test]
    fn a_spool_name_leads_nowhere_else() {
        for bad in ["", "..", "a/b", "A", "a.b", &"a".repeat(65)] {
            assert!(SpoolName::new(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_folder(name in any::<String>(), kind in any::<String>()) {
            let path = path(&kind, Some(&name), "image/png");
            let name = path.strip_prefix("attachments/12-1-").unwrap();
            prop_assert!(!name.contains('/') && !name.chars().any(char::is_control) && name.len() <= LONGEST_NAME);
        }
    }
}
