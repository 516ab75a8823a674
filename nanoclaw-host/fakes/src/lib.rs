//! Fakes that behave: services on loopback that speak the real protocols, remember what they were asked, and fail on
//! request. For this project's tests and tours, and for anybody's.

pub mod model_api;
