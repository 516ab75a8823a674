//! The program `nanoclaw` from end to end, as people and bridges meet it: the real binary, the real agent-runner, real
//! containers, in a home that nobody else has.
//!
//! A test on a runtime says so by its name (`…::in_the_sandbox`, `…::in_docker`) and skips where that runtime is missing,
//! unless `NANOCLAW_TEST_RUNTIMES` names it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "all of this program is tests, in which these are fine"
)]

#[path = "../lines/mod.rs"]
mod lines;
#[path = "../support/mod.rs"]
mod support;
#[path = "../telegram_state/mod.rs"]
mod telegram_state;
#[path = "../v1_home/mod.rs"]
mod v1_home;
#[cfg(feature = "telegram")]
#[path = "../whatsapp_account/mod.rs"]
mod whatsapp_account;

mod place;
mod process;
mod programs;

mod adoption;
mod auth;
mod bridge;
mod claude;
mod conversation;
mod doctor;
mod egress;
mod foreign;
mod gateway;
#[cfg(feature = "slack")]
mod health;
mod images;
mod import;
mod limits;
mod mounts;
mod overlay;
mod pairing;
mod patience;
mod podman;
mod providers;
mod scenario;
mod service;
mod setup;
mod skills;
mod standby;
#[cfg(all(feature = "slack", feature = "telegram"))]
mod tasks;
mod threads;
mod trouble;
mod whatsapp;
