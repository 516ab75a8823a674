//! Proofs by real containers that what is promised about isolation holds on this machine.

mod cache;
pub mod canary;
pub mod hostile;
mod proven;

pub use cache::Cache;
pub use proven::{Proof, ProvenRuntime};
