//! The runtimes that are part of the host. Only these modules know Docker, Podman or the kernel.

pub mod engine_api;
pub mod sandbox;

use std::time::Duration;

/// The pauses in which to wait for the end of a container that was asked to end, in all `grace`; after each of them it is
/// asked again. The kernel drops a signal to the first process of a container that has no handler for it yet, as one that
/// has only just started.
fn pauses_between_asking(grace: Duration) -> impl Iterator<Item = Duration> + Send {
    let first = grace.min(Duration::from_millis(200));
    let second = (grace - first).min(Duration::from_secs(2));
    [first, second, grace - first - second].into_iter().filter(|pause| !pause.is_zero())
}
