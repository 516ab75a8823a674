//! A fake of the model's API, for an agent to ask.

use std::process::Command;

use nanoclaw_fakes::model_api::{FakeModelApi, RecordedRequest, Script};
use serde_json::Value;

/// The key that it takes.
pub(crate) const KEY: &str = "the-key-of-the-test";

/// It answers until it is dropped.
pub(crate) struct Api {
    pub(crate) fake: FakeModelApi,
    _runtime: tokio::runtime::Runtime,
}

impl Api {
    pub(crate) fn start(script: Script) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let fake = runtime.block_on(FakeModelApi::start(script)).unwrap();
        fake.expect_key(KEY);
        Self { fake, _runtime: runtime }
    }

    /// Tells `command` where it is, and the key.
    pub(crate) fn furnish(&self, command: &mut Command) {
        command.env("ANTHROPIC_BASE_URL", self.fake.base_url()).env("ANTHROPIC_API_KEY", KEY);
    }

    /// The bodies of the requests for an answer.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.fake.model_requests().iter().map(RecordedRequest::json).collect()
    }
}
