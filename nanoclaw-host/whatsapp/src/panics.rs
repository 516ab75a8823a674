//! A fault in one thing that is done does not end what does it.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

/// What `work` comes to, or the message with which it panicked. What `work` shares with others must be whole whenever it may panic.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_message() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        assert_eq!(caught(async { panic!("a fault") }).await, Err::<(), _>("a fault".to_owned()));
        let number = 3;
        assert_eq!(caught(async { panic!("fault {number}") }).await, Err::<(), _>("fault 3".to_owned()));
    }
}
