//! A folder for tests of tools.

use serde_json::Value;

use super::{Tool, Workplace};
use crate::provider::native::conversation::Seen;

/// A folder, and tools that work in it.
pub(super) struct Place {
    pub(super) folder: tempfile::TempDir,
    pub(super) workplace: Workplace,
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workplace = Workplace::new(folder.path(), folder.path());
        Self { folder, workplace }
    }

    /// What a tool tells; a picture is its type and content.
    pub(super) async fn call<T: Tool>(&self, input: Value) -> Result<String, String> {
        let seen = super::call::<T>(&self.workplace, input).await?;
        Ok(match &seen[0] {
            Seen::Text { text } => text.clone(),
            Seen::Image { media_type, data } => format!("{media_type} {data}"),
        })
    }
}
