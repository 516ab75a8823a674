//! The program `nanoclaw-whatsapp` between a fake of WhatsApp and a host that a test plays.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod behind;
mod conversation;
mod deaths;
mod files;
mod groups;
mod house;
mod linking;
mod troubles;
