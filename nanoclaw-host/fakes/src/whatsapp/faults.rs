//! How what a client says goes wrong on command.

use std::collections::{HashMap, VecDeque};

/// How a stanza of the client goes wrong, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with this code and nothing is done: a message by an acknowledgement with an error, a query by an error.
    Error(u16),
    /// The connection is dropped, and nothing was done.
    DropBefore,
    /// What was asked is done, and the connection is dropped before anything is said.
    DropAfter,
    /// What was asked is done, and the answer comes only after [`super::FakeWhatsApp::release`].
    Slow,
}

/// The faults that are to come.
#[derive(Debug, Default)]
pub(super) struct Faults(HashMap<String, VecDeque<Fault>>);

impl Faults {
    pub(super) fn add(&mut self, what: &str, fault: Fault) {
        self.0.entry(what.to_owned()).or_default().push_back(fault);
    }

    pub(super) fn take(&mut self, what: &str) -> Option<Fault> {
        self.0.get_mut(what)?.pop_front()
    }
}
