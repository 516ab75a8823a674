//! `agent-runner overlay-tools`: the overlay's [tools] as an MCP server on standard input and output, so that every
//! provider has them in the same way. It ends when its standard input does.

use std::{path::PathBuf, sync::Arc};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::Value;

use super::tools;
use crate::{mcp, places::Places};

/// The word on the command line.
pub(crate) const WORD: &str = "overlay-tools";

/// Serves until standard input ends, and returns the exit code.
pub(crate) fn main() -> u8 {
    let (tools, _) = tools::find(&super::folder().join("tools"));
    mcp::serve(Server { tools, folder: Places::from_environment().group })
}

struct Server {
    tools: Vec<tools::Tool>,
    /// Where the tools work.
    folder: PathBuf,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(super::SERVER, env!("CARGO_PKG_VERSION")))
            .with_instructions("Tools that were made for this group; their programs are in /app/src/tools.")
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let told =
            |tool: &tools::Tool| Tool::new(tool.name.clone(), tool.description.clone(), Arc::new(tool.schema.clone()));
        Ok(ListToolsResult::with_all_items(self.tools.iter().map(told).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let input = request.arguments.map_or_else(|| Value::Object(serde_json::Map::new()), Value::Object);
        let result = match self.tools.iter().find(|tool| tool.name == request.name) {
            Some(tool) => tool.call(&input, &self.folder).await,
            None => Err(format!("there is no tool {:?}", request.name)),
        };
        let result = match result {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(text) => CallToolResult::error(vec![ContentBlock::text(text)]),
        };
        Ok(result.into())
    }
}
