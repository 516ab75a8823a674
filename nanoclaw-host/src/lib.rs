//! The NanoClaw host: channels, runtimes, stores, gateway, command line, and [`app`], the one place where they meet.

pub mod admin;
pub mod app;
pub mod backup;
pub mod channels;
pub mod cli;
pub mod config;
pub mod credentials;
#[cfg(feature = "failpoints")]
pub mod failpoints;
pub mod files;
pub mod gateway;
pub mod health;
mod held_folder;
pub mod home;
pub mod images;
pub mod import;
mod json_lines;
pub mod launcher;
pub mod metrics;
pub mod mounts;
mod operator_file;
mod panics;
pub mod programs;
mod random;
mod remove_tree;
pub mod retention;
pub mod runtimes;
pub mod selftest;
pub mod senders;
pub mod setup;
pub mod skills;
pub mod stores;
mod transcripts;
pub mod unix_socket;
pub mod wall_clock;
