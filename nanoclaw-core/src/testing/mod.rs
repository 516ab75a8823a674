//! Fakes, contract suites and simulation, for tests of this project and of others.

#[cfg(feature = "testing")]
pub mod fake_runtime;
#[cfg(feature = "testing")]
pub mod memory_store;
pub mod runtime_suite;
#[cfg(feature = "testing")]
pub mod simulation;
#[cfg(feature = "testing")]
pub mod store_suite;
#[cfg(feature = "testing")]
pub mod task_suite;

#[cfg(feature = "testing")]
pub use fake_runtime::FakeRuntime;
#[cfg(feature = "testing")]
pub use memory_store::{Effect, MemoryStore};
