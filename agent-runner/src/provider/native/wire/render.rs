//! A conversation in the words of the crate that carries it.

use genai::chat::{
    Binary, CacheControl, ChatMessage, ChatRequest, ContentPart, CustomPart, MessageContent, Tool, ToolCall,
    ToolResponse,
};
use serde_json::{Value, json};

use super::{
    super::{
        conversation::{Message, Said, Seen, ToolResult},
        tools::ToolSpec,
    },
    Form, Request,
};

/// The request in the form of the API.
pub(super) fn request(request: &Request<'_>, form: Form) -> ChatRequest {
    let mut messages = Vec::new();
    if !request.system.is_empty() {
        messages.push(cached(ChatMessage::system(request.system), form));
    }
    let before = messages.len();
    for message in request.messages {
        match (message, form) {
            (Message::User(parts), _) => user(&mut messages, parts),
            (Message::Model(parts), Form::Messages) => model_in_order(&mut messages, parts),
            (Message::Model(parts), Form::ChatCompletions) => model(&mut messages, parts),
            (Message::Results(results), Form::Messages) => messages.push(results_as_blocks(results)),
            (Message::Results(results), Form::ChatCompletions) => results_as_messages(&mut messages, results),
        }
    }
    // What was said until now is the beginning of the next request: the API keeps it at hand.
    if messages.len() > before
        && let Some(last) = messages.pop()
    {
        messages.push(cached(last, form));
    }
    let tools: Vec<Tool> = request.tools.iter().map(tool).collect();
    let request = ChatRequest::new(messages);
    if tools.is_empty() { request } else { request.with_tools(tools) }
}

fn cached(message: ChatMessage, form: Form) -> ChatMessage {
    match form {
        Form::Messages => message.with_options(CacheControl::Ephemeral),
        Form::ChatCompletions => message,
    }
}

fn tool(spec: &ToolSpec) -> Tool {
    Tool::new(spec.name.clone()).with_description(spec.description.clone()).with_schema(spec.schema.clone())
}

/// Two prompts in a row become one: some local models insist on turns.
fn user(messages: &mut Vec<ChatMessage>, parts: &[Seen]) {
    let parts: Vec<ContentPart> = parts.iter().filter_map(seen).collect();
    match messages.last_mut() {
        Some(last) if last.role == genai::chat::ChatRole::User => {
            last.content.extend(MessageContent::from_parts(parts))
        }
        _ => messages.push(ChatMessage::user(MessageContent::from_parts(parts))),
    }
}

fn seen(part: &Seen) -> Option<ContentPart> {
    match part {
        // A text without words is refused.
        Seen::Text { text } => (!text.trim().is_empty()).then(|| ContentPart::from_text(text.clone())),
        Seen::Image { media_type, data } => {
            Some(ContentPart::Binary(Binary::from_base64(media_type.clone(), data.clone(), None)))
        }
    }
}

/// Thoughts are put first within a message by the crate; the API refuses them anywhere but where they were. So a message
/// whose thoughts come later is sent as several, which the API takes for one.
fn model_in_order(messages: &mut Vec<ChatMessage>, parts: &[Said]) {
    let mut rendered: Vec<ContentPart> = Vec::new();
    let mut spoken = false;
    for part in parts {
        let thought = matches!(part, Said::Kept { block } if is_thought(block));
        if thought && spoken {
            messages.push(ChatMessage::assistant(MessageContent::from_parts(std::mem::take(&mut rendered))));
            spoken = false;
        }
        if let Some(part) = said(part) {
            spoken |= !thought;
            rendered.push(part);
        }
    }
    if !rendered.is_empty() {
        messages.push(ChatMessage::assistant(MessageContent::from_parts(rendered)));
    }
}

fn is_thought(block: &Value) -> bool {
    matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"))
}

fn said(part: &Said) -> Option<ContentPart> {
    match part {
        Said::Text { text } => (!text.trim().is_empty()).then(|| ContentPart::from_text(text.clone())),
        Said::ToolUse(used) => Some(ContentPart::ToolCall(ToolCall {
            call_id: used.id.clone(),
            fn_name: used.name.clone(),
            fn_arguments: used.input.clone(),
            thought_signatures: None,
        })),
        Said::Kept { block } => Some(block_as_it_is(block.clone())),
        Said::Reasoning { .. } => None,
    }
}

fn block_as_it_is(data: Value) -> ContentPart {
    ContentPart::Custom(CustomPart { model_iden: None, data })
}

fn model(messages: &mut Vec<ChatMessage>, parts: &[Said]) {
    let rendered: Vec<ContentPart> = parts
        .iter()
        .filter_map(|part| match part {
            Said::Reasoning { text } => Some(ContentPart::ReasoningContent(text.clone())),
            Said::Kept { .. } => None,
            other => said(other),
        })
        .collect();
    if !rendered.is_empty() {
        messages.push(ChatMessage::assistant(MessageContent::from_parts(rendered)));
    }
}

/// The crate's own tool result knows text alone; the API's also says that a tool failed, and has pictures.
fn results_as_blocks(results: &[ToolResult]) -> ChatMessage {
    let block = |result: &ToolResult| {
        let content: Vec<Value> = result.content.iter().filter_map(seen_as_block).collect();
        let content =
            if content.is_empty() { json!([{"type": "text", "text": "(nothing)"}]) } else { Value::Array(content) };
        block_as_it_is(json!({
            "type": "tool_result", "tool_use_id": result.id, "content": content, "is_error": result.is_error,
        }))
    };
    ChatMessage::tool(MessageContent::from_parts(results.iter().map(block).collect::<Vec<_>>()))
}

fn seen_as_block(part: &Seen) -> Option<Value> {
    match part {
        Seen::Text { text } => (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text})),
        Seen::Image { media_type, data } => {
            Some(json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}))
        }
    }
}

/// This form has text alone in a tool's result; pictures follow as what the user shows.
fn results_as_messages(messages: &mut Vec<ChatMessage>, results: &[ToolResult]) {
    let mut pictures = Vec::new();
    for result in results {
        let mut text: Vec<&str> = if result.is_error { vec!["This failed:"] } else { Vec::new() };
        for part in &result.content {
            match part {
                Seen::Text { text: words } => text.push(words),
                Seen::Image { .. } => {
                    text.push("(a picture, which follows)");
                    pictures.push(part.clone());
                }
            }
        }
        messages.push(ChatMessage::tool(ToolResponse::new(result.id.clone(), text.join("\n"))));
    }
    if !pictures.is_empty() {
        user(messages, &pictures);
    }
}
