//! The words, rules, ports and orchestrator of NanoClaw.
//!
//! A tour, in the order in which a message meets the parts:
//!
//! * [`chat`], [`message`], [`attachment`], [`group`], [`delivery`], [`run`], [`session`], [`time`], [`secret`] are the
//!   nouns: what things are, each with an id type of its own.
//! * [`trigger`], [`senders`], [`prompt`] and [`mounts`] are pure rules: when a message wakes the agent, who may speak to it,
//!   how messages read to it, and what of the machine a group may be shown. [`command`] tells what is meant for the host, and
//!   [`pairing`] how a chat becomes a group by a code.
//! * [`channel`], [`runtime`], [`store`] and [`launch`] are the ports: what the outside world must be able to do.
//! * [`protocol`] is the container contract (wire types, marker blocks); [`mailbox`] the files shared with a container.
//! * [`orchestrator`] decides (a plain state machine) and acts (workers that own one run or one chat each).
//! * [`steps`] are lines of the log that tell where a message is; [`causes`] tells an error with what it came from.
//! * `testing`, behind the feature of that name, has fakes and the contract suites of the ports; the runtimes' suite alone is
//!   behind `conformance`.
//!
//! Core knows no chat service, no container engine and no SQL.

pub mod attachment;
pub mod causes;
pub mod channel;
pub mod chat;
pub mod clock;
pub mod command;
pub mod delivery;
pub mod group;
pub mod launch;
pub mod mailbox;
pub mod message;
pub mod mounts;
pub mod orchestrator;
mod pace;
pub mod pairing;
pub mod prompt;
pub mod protocol;
pub mod run;
pub mod runtime;
pub mod schedule;
pub mod secret;
pub mod senders;
pub mod session;
pub mod steps;
pub mod store;
pub mod tasks;
#[cfg(feature = "conformance")]
pub mod testing;
mod text_id;
pub mod time;
pub mod trigger;

pub use text_id::InvalidId;
