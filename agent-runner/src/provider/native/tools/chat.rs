//! NanoClaw's own tools (`send_message`, `schedule_task` and the others), by the names that they have for every provider.
//!
//! They act by asking the host through the mailbox, so they are called here and not by way of a server.

use serde_json::Value;

use super::{super::super::Start, Outcome, Seen, ToolSpec};
use crate::chat_tools::ChatTools;

/// What stands before their names, as if they came from an MCP server `nanoclaw`: so rules about tools are the same for
/// the provider `claude`.
pub(super) const PREFIX: &str = "mcp__nanoclaw__";

/// The tools of one group's agent.
pub(super) struct Chat {
    tools: ChatTools,
    specs: Vec<ToolSpec>,
}

impl Chat {
    pub(super) fn new(start: &Start) -> Self {
        let tools = ChatTools::new(&start.places, &start.chat, start.role);
        let specs = tools.definitions().into_iter().map(|definition| ToolSpec {
            name: format!("{PREFIX}{}", definition.name),
            description: definition.description,
            schema: Value::Object(definition.schema),
        });
        Self { specs: specs.collect(), tools }
    }

    /// What the model is told, in a fixed order.
    pub(super) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Does it; `name` is without the prefix. A refusal of the host is a failure, in its words.
    pub(super) async fn call(&self, name: &str, input: Value) -> Outcome {
        let outcome = self.tools.call(name, input).await;
        if outcome.is_error() { Err(outcome.text()) } else { Ok(vec![Seen::text(outcome.text())]) }
    }
}
