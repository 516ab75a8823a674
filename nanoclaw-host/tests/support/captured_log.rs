//! What a test's own thread logs, in a program whose tests run side by side.

#![allow(dead_code, unreachable_pub, reason = "each program of tests uses a part of it")]

use std::{
    cell::RefCell,
    io::Write,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use serde_json::Value;

thread_local! {
    /// Where this thread's events go. One subscriber serves the whole process: the decision whether a place in the code
    /// is of interest is taken once, and a subscriber of one thread comes too late where another thread was there first.
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// What was logged, as JSON lines.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Has to be called before the first gateway is made.
    pub(crate) fn install() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let writer = || LOG.with_borrow(|log| log.clone().unwrap_or_default());
            tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE).with_writer(writer).init();
        });
    }

    /// Captures this thread's events from now on, which are all: a test has a thread, and its runtime no other.
    pub(crate) fn capture() -> Self {
        let log = Self::default();
        LOG.set(Some(log.clone()));
        log
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The gateway's events, once there are at least `count`.
    pub(crate) async fn events(&self, count: usize) -> Vec<Value> {
        let found = async {
            loop {
                let text = self.text();
                let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
                let events: Vec<Value> = lines.filter(|event| event["target"] == "nanoclaw::gateway").collect();
                if events.len() >= count {
                    return events;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("took longer than 20 s")
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
