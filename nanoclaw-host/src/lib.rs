//! The NanoClaw host.

pub mod admin;
pub mod channels;
pub mod config;
pub mod gateway;
pub mod home;
mod json_lines;
pub mod runtimes;
pub mod stores;
pub mod unix_socket;
