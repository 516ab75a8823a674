//! The runtimes that are part of the host. Only these modules know Docker, Podman or the kernel.

pub mod engine_api;
pub mod sandbox;
