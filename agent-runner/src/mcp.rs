//! `agent-runner mcp`: the [tools](crate::chat_tools) as an MCP server on standard input and output, for agents that take their
//! tools that way. Which group it is for is told by the environment, as NanoClaw v1's server is told.
//!
//! It ends when its standard input does. Calls are served side by side; what goes wrong with one is said in its result, never
//! by ending.

use std::sync::Arc;

use nanoclaw_core::{
    group::GroupRole,
    protocol::environment::{CHAT, IS_MAIN},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
        MetaObject, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::stdio,
};
use serde_json::Value;

use crate::{
    chat_tools::{ChatTools, Definition},
    log::say,
    places::{Places, set},
};

/// The exit code when nothing can be served.
const FAILED: u8 = 1;
/// By this a client that would have the model look for tools first gives it these at once.
const ALWAYS_LOAD: &str = "anthropic/alwaysLoad";

/// Serves until standard input ends, and returns the exit code.
pub(crate) fn main() -> u8 {
    let Some(chat) = set(CHAT).and_then(|chat| chat.into_string().ok()) else {
        say!("mcp: {CHAT} is not set; it names the chat whose agent is served");
        return FAILED;
    };
    let role = if set(IS_MAIN).is_some_and(|word| word == "1") { GroupRole::Main } else { GroupRole::Ordinary };
    serve(Server { tools: ChatTools::new(&Places::from_environment(), &chat, role) })
}

/// Serves `server` on standard input and output until standard input ends, and returns the exit code.
pub(crate) fn serve(server: impl ServerHandler) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say!("mcp: cannot start: {error}");
            return FAILED;
        }
    };
    let code = runtime.block_on(served(server));
    // Not waited for: a read of standard input would hold the process.
    runtime.shutdown_background();
    code
}

async fn served(server: impl ServerHandler) -> u8 {
    let served = match server.serve(stdio()).await {
        Ok(running) => running.waiting().await.map(|_| ()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match served {
        Ok(()) => 0,
        Err(error) => {
            say!("mcp: {error}");
            FAILED
        }
    }
}

/// The server of one group's agent.
struct Server {
    tools: ChatTools,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("nanoclaw", env!("CARGO_PKG_VERSION")))
            .with_instructions("Messages, files, scheduled tasks and groups of the chat that you work for.")
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.definitions().into_iter().map(tool).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.map_or(Value::Null, Value::Object);
        // A call that makes no sense is answered by a result as well: an error of the protocol is not shown to the model.
        let outcome = self.tools.call(&request.name, arguments).await;
        let content = vec![ContentBlock::text(outcome.text())];
        let result = if outcome.is_error() { CallToolResult::error(content) } else { CallToolResult::success(content) };
        Ok(result.into())
    }
}

fn tool(definition: Definition) -> Tool {
    let Definition { name, description, schema } = definition;
    let mut meta = MetaObject::default();
    meta.0.insert(ALWAYS_LOAD.to_owned(), Value::Bool(true));
    Tool::new(name, description, Arc::new(schema)).with_meta(meta)
}
