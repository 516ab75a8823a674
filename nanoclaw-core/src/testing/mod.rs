//! Fakes, contract suites and simulation, for tests of this project and of others.

pub mod fake_runtime;
pub mod memory_store;
pub mod runtime_suite;
pub mod simulation;
pub mod store_suite;

pub use fake_runtime::FakeRuntime;
pub use memory_store::{Effect, MemoryStore};
