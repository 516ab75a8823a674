//! A session: the conversation, and the file in which it survives containers, one JSON object a line.
//!
//! Lines are only appended, each before what follows from it happens: what the model wants to do is in the file before it
//! is done, so that whoever resumes knows of it. A turn begins with its prompt and ends with a line of its own. A turn that
//! never ended (the container died) is closed when the session is resumed: one that used no tool is taken back, because its
//! messages come again; one that did is kept, with the results that are missing told as unknown.
//!
//! A turn that failed is taken back as well when its content may be why, since a session that has it in it would fail for
//! ever (fault F8).

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use nanoclaw_core::session::SessionId;
use serde::{Deserialize, Serialize};

use super::conversation::{Message, Said, Seen, ToolResult, mend};
use crate::random::random_hex;

/// The most that is read of a file; one that is larger is not resumed. Pictures are most of it.
const LARGEST_BYTES: u64 = 64 * 1024 * 1024;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    path: PathBuf,
    state: State,
    /// Whether the next line begins with a line end of its own: what a crash tore must not swallow it.
    torn: bool,
}

/// What the lines come to.
#[derive(Debug, Default, PartialEq)]
struct State {
    messages: Vec<Message>,
    /// Where the open turn's prompt is.
    turn: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    /// A turn begins.
    Prompt { parts: Vec<Seen> },
    /// The model said this.
    Said { parts: Vec<Said> },
    /// The tools gave this.
    Results { results: Vec<ToolResult> },
    /// The turn is answered.
    Answered,
    /// The turn failed, or was never answered.
    Failed { reason: String, forget: bool },
    /// Everything before this line was replaced by this.
    Compacted { messages: Vec<Message>, turn: Option<usize> },
    /// A word of a later version.
    #[serde(other)]
    Unknown,
}

/// Why a session is not there.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// There is none, or none that could be read.
    None(String),
    /// The file cannot be read.
    Io(io::Error),
}

impl Session {
    /// A session that begins; it has a file from its first line on.
    pub(super) fn new(folder: &Path) -> Self {
        let id = SessionId::new(format!("native-{}", random_hex::<8>()))
            .expect("it is short and has letters, digits and - only");
        let path = folder.join(format!("{id}.jsonl"));
        Self { id, path, state: State::default(), torn: false }
    }

    /// The session `id`, with its last turn closed.
    pub(super) fn open(folder: &Path, id: &SessionId) -> Result<Self, NotOpened> {
        let gone = || NotOpened::None(format!("no conversation found with session id {id}"));
        // Any other text could name any path.
        if !id.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(gone());
        }
        let path = folder.join(format!("{id}.jsonl"));
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
            Err(error) => return Err(NotOpened::Io(error)),
        };
        if size > LARGEST_BYTES {
            let (has, most) = (size >> 20, LARGEST_BYTES >> 20);
            return Err(NotOpened::None(format!(
                "the session {id} is too large to be resumed: it has {has} MiB, and more than {most} are not read"
            )));
        }
        let text = String::from_utf8_lossy(&fs::read(&path).map_err(NotOpened::Io)?).into_owned();
        let mut state = State::default();
        for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            state.apply(line);
        }
        state.close(false);
        Ok(Self { id: id.clone(), path, state, torn: !text.ends_with('\n') })
    }

    pub(super) fn id(&self) -> &SessionId {
        &self.id
    }

    /// Everything that was said, in order; every use of a tool in it but the last one's has its result.
    pub(super) fn messages(&self) -> &[Message] {
        &self.state.messages
    }

    /// Where the open turn begins.
    pub(super) fn turn(&self) -> usize {
        self.state.turn.unwrap_or(self.state.messages.len())
    }

    /// Begins a turn.
    pub(super) fn prompt(&mut self, parts: Vec<Seen>) -> io::Result<()> {
        self.add(Line::Prompt { parts })
    }

    /// Adds what the model said.
    pub(super) fn said(&mut self, parts: Vec<Said>) -> io::Result<()> {
        self.add(Line::Said { parts })
    }

    /// Adds what the tools gave that it used.
    pub(super) fn results(&mut self, results: Vec<ToolResult>) -> io::Result<()> {
        self.add(Line::Results { results })
    }

    /// Ends the turn. What it comes to is on the disk afterwards, if the disk keeps its word.
    pub(super) fn answered(&mut self) -> io::Result<()> {
        self.add(Line::Answered)?;
        OpenOptions::new().append(true).open(&self.path)?.sync_data()
    }

    /// Ends the turn without an answer; `forget`: as if it had never been, even if tools were used.
    pub(super) fn failed(&mut self, reason: &str, forget: bool) -> io::Result<()> {
        self.add(Line::Failed { reason: reason.to_owned(), forget })
    }

    /// Replaces everything by `messages`, whose open turn begins at `turn`; the file holds no more than that.
    pub(super) fn compacted(&mut self, messages: Vec<Message>, turn: Option<usize>) -> io::Result<()> {
        let line = Line::Compacted { messages, turn };
        let new = self.path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
        file.sync_data()?;
        fs::rename(&new, &self.path)?;
        self.torn = false;
        self.state.apply(line);
        Ok(())
    }

    fn add(&mut self, line: Line) -> io::Result<()> {
        let mut bytes = Vec::new();
        if self.torn {
            bytes.push(b'\n');
        }
        serde_json::to_writer(&mut bytes, &line)?;
        bytes.push(b'\n');
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Until it is known to be written whole, it may be torn.
        self.torn = true;
        OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(&bytes)?;
        self.torn = false;
        self.state.apply(line);
        Ok(())
    }
}

impl State {
    fn apply(&mut self, line: Line) {
        match line {
            Line::Prompt { parts } => {
                self.close(false);
                self.turn = Some(self.messages.len());
                self.messages.push(Message::User(parts));
            }
            Line::Said { parts } => self.messages.push(Message::Model(parts)),
            Line::Results { results } => self.messages.push(Message::Results(results)),
            Line::Answered => {
                self.turn = None;
                mend(&mut self.messages);
            }
            Line::Failed { forget, .. } => self.close(forget),
            Line::Compacted { messages, turn } => {
                self.turn = turn.filter(|turn| *turn < messages.len());
                self.messages = messages;
            }
            Line::Unknown => {}
        }
    }

    /// Closes a turn that was not answered.
    fn close(&mut self, forget: bool) {
        if let Some(turn) = self.turn.take() {
            let acted = self.messages[turn..].iter().any(|message| message.tool_uses().next().is_some());
            if forget || !acted {
                self.messages.truncate(turn);
            } else {
                mend(&mut self.messages);
                self.messages.push(Message::Model(vec![Said::text("(This was interrupted before it was answered.)")]));
            }
        }
        mend(&mut self.messages);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::native::conversation::ToolUse;

    fn used(id: &str) -> Said {
        Said::ToolUse(ToolUse { id: id.into(), name: "Bash".into(), input: json!({}), malformed: None })
    }

    fn gave(id: &str) -> ToolResult {
        ToolResult { id: id.into(), content: vec![Seen::text("ok")], is_error: false }
    }

    fn again(session: &Session) -> Session {
        Session::open(session.path.parent().unwrap(), session.id()).unwrap()
    }

    #[test]
    fn what_was_answered_is_resumed_word_for_word() {
        let folder = tempfile::tempdir().unwrap();
        let mut session = Session::new(folder.path());
        session.prompt(vec![Seen::text("one")]).unwrap();
        let thought = Said::Kept { block: json!({"type": "thinking", "thinking": "t", "signature": "a+/=="}) };
        session.said(vec![thought, used("a")]).unwrap();
        session.results(vec![gave("a")]).unwrap();
        session.said(vec![Said::text("done")]).unwrap();
        session.answered().unwrap();
        assert_eq!(again(&session).state, session.state);
        assert_eq!(session.messages().len(), 4);
    }

    #[test]
    fn at_whatever_byte_it_died_what_is_resumed_can_be_sent() {
        let folder = tempfile::tempdir().unwrap();
        let mut session = Session::new(folder.path());
        session.prompt(vec![Seen::text("one")]).unwrap();
        session.said(vec![Said::text("first")]).unwrap();
        session.answered().unwrap();
        session.prompt(vec![Seen::text("two")]).unwrap();
        session.said(vec![used("a"), used("b")]).unwrap();
        session.results(vec![gave("a"), gave("b")]).unwrap();
        session.said(vec![used("c")]).unwrap();
        let whole = fs::read(&session.path).unwrap();
        for length in (0..=whole.len()).step_by(3) {
            fs::write(&session.path, &whole[..length]).unwrap();
            let mut resumed = again(&session);
            // The next turn is written behind what was torn, and read again.
            resumed.prompt(vec![Seen::text("three")]).unwrap();
            resumed.said(vec![Said::text("third")]).unwrap();
            resumed.answered().unwrap();
            let read = again(&resumed);
            assert_eq!(read.state, resumed.state, "cut after {length} bytes");
            let mut mended = read.messages().to_vec();
            mend(&mut mended);
            assert_eq!(mended, read.messages(), "cut after {length} bytes");
            let prompts = read.messages().iter().filter(|message| matches!(message, Message::User(_))).count();
            assert!((1..=3).contains(&prompts));
        }
    }

    #[test]
    fn a_turn_that_did_nothing_is_taken_back_and_one_that_acted_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut session = Session::new(folder.path());
        session.prompt(vec![Seen::text("one")]).unwrap();
        assert_eq!(again(&session).messages(), []);
        session.said(vec![used("a")]).unwrap();
        let resumed = again(&session);
        assert_eq!(resumed.messages().len(), 4, "{:?}", resumed.messages());
        assert!(matches!(&resumed.messages()[2], Message::Results(results) if results[0].is_error));
    }

    #[test]
    fn f08_a_turn_whose_content_was_refused_is_forgotten_even_if_it_acted() {
        let folder = tempfile::tempdir().unwrap();
        let mut session = Session::new(folder.path());
        session.prompt(vec![Seen::text("poison")]).unwrap();
        session.said(vec![used("a")]).unwrap();
        session.results(vec![gave("a")]).unwrap();
        session.failed("refused", true).unwrap();
        assert_eq!(session.messages(), []);
        assert_eq!(again(&session).messages(), []);
    }

    #[test]
    fn a_compacted_session_is_a_small_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut session = Session::new(folder.path());
        session.prompt(vec![Seen::text("x".repeat(100_000))]).unwrap();
        session.said(vec![Said::text("y")]).unwrap();
        session.answered().unwrap();
        session.prompt(vec![Seen::text("two")]).unwrap();
        let messages = vec![Message::User(vec![Seen::text("summary")]), Message::User(vec![Seen::text("two")])];
        session.compacted(messages, Some(1)).unwrap();
        session.said(vec![Said::text("answer")]).unwrap();
        session.answered().unwrap();
        assert!(fs::metadata(&session.path).unwrap().len() < 1000);
        assert_eq!(again(&session).state, session.state);
    }

    #[test]
    fn what_is_no_session_of_ours_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.jsonl"), "").unwrap();
        for id in ["native-00", "sub/../x", "../x"] {
            let id = SessionId::new(id).unwrap();
            assert!(matches!(Session::open(folder.path(), &id), Err(NotOpened::None(_))), "{id}");
        }
        let large = fs::File::create(folder.path().join("large.jsonl")).unwrap();
        large.set_len(LARGEST_BYTES + 1).unwrap();
        let Err(NotOpened::None(reason)) = Session::open(folder.path(), &SessionId::new("large").unwrap()) else {
            panic!("it was opened")
        };
        assert!(reason.contains("too large"), "{reason}");
    }
}
