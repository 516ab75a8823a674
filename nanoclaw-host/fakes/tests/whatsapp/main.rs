//! The client library that linked devices are made with, against the fake of WhatsApp.

mod bot;
mod conversation;
mod files;
mod groups;
mod linking;
mod outages;
mod refusals;
mod retries;
