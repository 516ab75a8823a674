//! The client library that bots in Rust are made with, against the fake of Telegram.

mod answers;
mod bot;
mod conversation;
mod outages;
