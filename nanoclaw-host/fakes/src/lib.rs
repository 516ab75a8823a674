//! Fakes that behave: services on loopback that speak the real protocols, remember what they were asked, and fail on
//! request. For this project's tests and tours, and for anybody's.
//!
//! [`kill`] uses one of them to see what survives when the host, its containers, its engine or its disk die.

pub mod chat_service;
pub mod discord;
mod faults;
pub mod kill;
pub mod model_api;
pub mod slack;
pub mod telegram;
#[cfg(feature = "whatsapp")]
pub mod whatsapp;
