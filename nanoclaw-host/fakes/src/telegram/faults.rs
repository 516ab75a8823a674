//! How calls go wrong on command, and how Telegram refuses.

use std::collections::{HashMap, VecDeque};

/// How a call goes wrong, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 420 `FLOOD_WAIT_n`: nothing is done.
    FloodWait {
        /// How long the client is to wait.
        seconds: u32,
    },
    /// An error of this code and name: nothing is done.
    Error(i32, String),
    /// The connection is dropped, and nothing was done.
    DropBefore,
    /// What was asked is done, and the connection is dropped before anything is said.
    DropAfter,
    /// What was asked is done, and half the answer's frame is said before the connection is dropped.
    Half,
    /// What was asked is done, and the answer comes only after [`super::FakeTelegram::release`].
    Slow,
    /// What was asked is done, and answered, only after [`super::FakeTelegram::release`]. Who sends a message of the same random id in the
    /// meantime is told 500 `RANDOM_ID_DUPLICATE`, as Telegram does while it still works on the first.
    Stuck,
}

impl Fault {
    /// An error of this code and name, as `Fault::error(400, "CHAT_ID_INVALID")`.
    #[must_use]
    pub fn error(code: i32, name: &str) -> Self {
        Self::Error(code, name.to_owned())
    }
}

/// What a call is refused with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i32,
    pub(super) name: String,
}

impl Refusal {
    pub(super) fn new(code: i32, name: impl Into<String>) -> Self {
        Self { code, name: name.into() }
    }

    /// The client asks for something that is wrong.
    pub(super) fn bad(name: impl Into<String>) -> Self {
        Self::new(400, name)
    }
}

/// The faults that are to come, by method, and by method and chat.
#[derive(Debug, Default)]
pub(super) struct Faults(HashMap<(String, Option<i64>), VecDeque<Fault>>);

impl Faults {
    pub(super) fn add(&mut self, method: &str, chat: Option<i64>, fault: Fault) {
        self.0.entry((method.to_owned(), chat)).or_default().push_back(fault);
    }

    /// The fault of a call in a chat: first one for the chat, then one for any.
    pub(super) fn take(&mut self, method: &str, chat: Option<i64>) -> Option<Fault> {
        let mut next = |chat| self.0.get_mut(&(method.to_owned(), chat)).and_then(VecDeque::pop_front);
        match chat {
            Some(chat) => next(Some(chat)).or_else(|| next(None)),
            None => next(None),
        }
    }
}
