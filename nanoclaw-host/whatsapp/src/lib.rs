//! The WhatsApp client of NanoClaw: a bridge, and a program of its own (`docs/channels/whatsapp.md`).

pub mod bridge;
pub mod cli;
pub mod client;
mod panics;
pub mod store;

/// The target of the log's lines that name the steps which a message takes (`RUST_LOG=info,nanoclaw::steps=debug`), as the host's do.
pub(crate) const STEPS: &str = "nanoclaw::steps";
