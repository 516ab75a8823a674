//! What is there already, for each step; nothing but plain values.

use super::decide::Trouble;

/// What was found for a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// For `machine`.
    Machine {
        /// The home is made.
        made: bool,
        /// What keeps anything from being set up here.
        troubles: Vec<Trouble>,
    },
    /// For `runtime`.
    Runtime {
        /// The word of the configuration; `None`: nobody said one.
        set: Option<String>,
        /// What was shown to work with that, in words; `Err`: nothing works.
        works: Result<String, Trouble>,
        /// All that this machine may have, in the order in which `auto` takes them: the word, and what it is or why not. Left empty
        /// when nothing has to be chosen.
        candidates: Vec<(&'static str, Result<String, String>)>,
    },
    /// For `image`.
    Image {
        /// The engine that wants one; `None`: what runs containers here needs none. `Err`: nothing runs any.
        engine: Result<Option<String>, Trouble>,
        /// Its name.
        image: String,
        /// Whether the engine has it.
        there: bool,
    },
    /// For `credential`.
    Credential {
        /// The one that is there.
        has: Option<Credential>,
        /// The name of one that is there, and that the model refuses.
        refused: Option<String>,
        /// What will give one, when nothing is there yet: a configured command.
        expected: Option<String>,
    },
    /// For `channel`.
    Channel {
        /// The chat services that have all they need, by their words.
        used: Vec<&'static str>,
        /// The secrets that are there, with their fingerprints.
        stored: Vec<(&'static str, String)>,
        /// The terminal's chat is registered.
        terminal: bool,
    },
    /// For `assistant`.
    Assistant {
        /// The name.
        name: String,
        /// Somebody gave it.
        set: bool,
    },
    /// For `main-group`.
    MainGroup {
        /// The main group: its folder and its chat.
        group: Option<(String, String)>,
        /// A chat service is linked, so a code can be written there.
        reachable: bool,
    },
    /// For `service`.
    Service {
        /// systemd runs this machine.
        systemd: bool,
        /// The unit that would be written.
        unit: UnitFound,
        /// What runs now, in words.
        running: Option<String>,
    },
    /// For `message`.
    Message {
        /// A run for the terminal's chat has ended or goes on: somebody was answered before.
        answered: bool,
    },
}

/// The credential for the model that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The name it is stored under.
    pub name: String,
    /// Where it came from, in words.
    pub source: String,
    /// By which it can be told from another.
    pub fingerprint: String,
    /// It is in the environment of this command, which the service does not have.
    pub only_here: bool,
}

/// A systemd unit of the name that would be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitFound {
    /// There is none.
    None,
    /// It is this home's.
    Ours,
    /// It is another home's, or somebody wrote it by hand.
    Another,
}
