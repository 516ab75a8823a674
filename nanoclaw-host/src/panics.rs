//! A panic is a fault of ours, and must not be the silent end of a worker that others rely on.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;

/// How long a worker waits before it begins anew after a panic, which may come again at once.
pub(crate) const FAULT_PAUSE: Duration = Duration::from_millis(500);

/// What somebody panicked with.
#[derive(Debug, thiserror::Error)]
#[error("it panicked: {0}")]
pub(crate) struct Panicked(String);

/// Runs `work`; a panic in it is an error. For work that leaves what it shares with others whole wherever it may panic:
/// atomics, and locks that are taken whether they are poisoned or not.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|payload| Panicked(words(&*payload)))
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_words_and_anything_else_is_itself() {
        let number = 7;
        assert_eq!(caught(async { number }).await.unwrap(), 7);
        let told = caught(async { panic!("plain") }).await.map(|()| unreachable!()).unwrap_err();
        assert_eq!(told.to_string(), "it panicked: plain");
        let told = caught(async { panic!("number {number}") }).await.map(|()| unreachable!()).unwrap_err();
        assert_eq!(told.to_string(), "it panicked: number 7");
    }
}
