//! The control socket: how the other commands talk to a running service, and what they do when none runs.
//!
//! A command has one code path: it asks [`connect_or_open`] for an [`AdminHandler`] and calls it. Behind it is the service's
//! socket ([`Client`]) while a service runs, and the store itself ([`OnStore`]), under the home's lock, while none does.

mod client;
mod explain;
mod folder_name;
mod handler;
mod on_store;
mod open;
pub(crate) mod outbox;
mod protocol;
mod server;
pub(crate) mod sessions;
pub(crate) mod stats;
pub(crate) mod tasks;
#[cfg(test)]
mod tests;
mod turns;
pub mod types;

pub use client::Client;
pub use explain::{FromConfig, from_config};
pub use handler::{AdminHandler, Explain};
pub use on_store::OnStore;
pub(crate) use on_store::Resolver;
pub use open::{OpenError, OpenHome, connect_or_open};
pub use outbox::{DeliveryView, FileView, MAX_LISTED, OutboxQuery};
pub use protocol::{AdminRequest, AdminResponse, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
pub use server::serve;
pub use sessions::{SessionView, SessionWish};
pub use tasks::{AddTask, FiringView, TaskDetails, TaskView, TaskWish};
pub(crate) use turns::{Standing, Standings};
