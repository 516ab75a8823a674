//! The WhatsApp client of NanoClaw: a bridge, and a program of its own (`docs/channels/whatsapp.md`).

pub mod bridge;
pub mod cli;
pub mod client;
mod panics;
pub mod store;
