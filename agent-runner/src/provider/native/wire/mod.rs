//! Asks a model, by the crate `genai` (why that one: `docs/decisions/2026-11-native-wire.md`). Nobody else knows of it.
//!
//! An answer is whole or it is trouble: nothing of a stream that broke off is acted on, so asking again is harmless.

mod blocks;
mod render;
mod trouble;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};
use futures_util::StreamExt as _;
use genai::{
    Client, ModelIden, ServiceTarget,
    adapter::AdapterKind,
    chat::{CacheControl, ChatOptions, ChatStreamEvent, ContentPart, ReasoningEffort, StopReason, StreamEnd},
    resolver::{AuthData, Endpoint},
};
use nanoclaw_core::protocol::agent::Effort;

use self::blocks::Blocks;
pub(super) use self::trouble::{Kind, Trouble};
use super::{
    conversation::{Message, Said},
    settings::{Address, Settings},
    tools::ToolSpec,
};
use crate::log::say;

/// How long an API may take to begin an answer. A local model reads a long conversation for minutes first.
const FIRST_WORD: Duration = Duration::from_secs(15 * 60);
/// How long it may be silent in the middle of one; the Messages API sends signs of life meanwhile.
const SILENCE: Duration = Duration::from_secs(5 * 60);
/// The longest that is waited for a next try. The host waits for what takes longer, and tells people.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const WAIT_AT_MOST: Duration = Duration::from_secs(16);

/// The two forms of API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Anthropic's.
    Messages,
    /// OpenAI's, which many speak.
    ChatCompletions,
}

/// What a model is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// What it is told to be.
    pub(super) system: &'a str,
    /// The conversation; the last message is the user's or tools'.
    pub(super) messages: &'a [Message],
    /// The tools it has.
    pub(super) tools: &'a [ToolSpec],
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    /// What it said.
    pub(super) parts: Vec<Said>,
    /// Why it stopped.
    pub(super) stop: Stop,
    /// How many tokens the conversation has now, this answer included; `None` when the API does not say.
    pub(super) tokens: Option<u64>,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is done, or wants to use tools.
    Done,
    /// Its answer was as long as it may be.
    Length,
    /// It, or somebody for it, will not say that.
    Refused,
    /// It wants to be asked again to go on.
    Pause,
}

/// A model that can be asked.
pub(super) struct Model {
    client: Client,
    target: ServiceTarget,
    form: Form,
    options: ChatOptions,
    max_retries: u32,
}

impl Model {
    pub(super) fn new(settings: &Settings) -> Result<Self, Trouble> {
        let (form, kind, base_url, key) = match &settings.address {
            Address::Messages { base_url, key } => (Form::Messages, AdapterKind::Anthropic, base_url, key),
            Address::ChatCompletions { base_url, key } => (Form::ChatCompletions, AdapterKind::OpenAI, base_url, key),
        };
        let cannot = |error: &dyn std::error::Error| {
            Trouble::new(Kind::Other, format!("the client of the model's API cannot be made: {error}"))
        };
        // What we ask is inside the container and plain HTTP: no proxy, and no certificates to be read.
        super::install_tls();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| cannot(&error))?;
        let client = Client::builder().with_reqwest(http).build().map_err(|error| cannot(&error))?;
        let mut options = ChatOptions::default()
            .with_capture_usage(true)
            .with_capture_reasoning_content(true)
            .with_stream_header_timeout(FIRST_WORD)
            .with_stream_read_timeout(SILENCE);
        if form == Form::ChatCompletions {
            options = options.with_capture_content(true).with_capture_tool_calls(true);
        }
        if let Some(tokens) = settings.max_tokens {
            options = options.with_max_tokens(tokens);
        }
        if let Some(effort) = settings.effort {
            options = options.with_reasoning_effort(reasoning(effort));
        }
        options = options.with_extra_body(name_as_it_is(settings, form));
        Ok(Self {
            client,
            target: ServiceTarget {
                endpoint: Endpoint::from_owned(base_url.as_str()),
                auth: AuthData::from_single(key.as_str()),
                model: ModelIden::new(kind, settings.model.as_str()),
            },
            form,
            options,
            max_retries: settings.max_retries,
        })
    }

    /// Asks, and asks again where that may help.
    pub(super) async fn ask(&self, request: Request<'_>) -> Result<Reply, Trouble> {
        let mut waits: ExponentialBackoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST_WAIT)
            .with_multiplier(2.0)
            .with_randomization_factor(0.1)
            .with_max_interval(WAIT_AT_MOST)
            .with_max_elapsed_time(None)
            .build();
        for tries_left in (0..=self.max_retries).rev() {
            let trouble = match self.ask_once(&request).await {
                Ok(reply) => return Ok(reply),
                Err(trouble) => trouble,
            };
            let wait = trouble.wait.or_else(|| waits.next_backoff()).unwrap_or(WAIT_AT_MOST);
            if tries_left == 0 || !trouble.passes || wait > LONGEST_WAIT {
                return Err(trouble);
            }
            say!("{}; asking again in {wait:?}", trouble.reason);
            tokio::time::sleep(wait).await;
        }
        Err(Trouble::new(Kind::Other, "the model was not asked"))
    }

    async fn ask_once(&self, request: &Request<'_>) -> Result<Reply, Trouble> {
        let blocks = Arc::<Mutex<Blocks>>::default();
        let mut options = self.options.clone();
        if self.form == Form::Messages {
            let blocks = Arc::clone(&blocks);
            options = options.with_cache_control(CacheControl::Ephemeral).with_raw_frame_fn(move |_, frame| {
                if let Some(data) = frame.json() {
                    blocks.lock().unwrap_or_else(PoisonError::into_inner).event(&data);
                }
            });
        }
        let rendered = render::request(request, self.form);
        let asked = self.client.exec_chat_stream(self.target.clone(), rendered, Some(&options)).await;
        let mut stream = asked.map_err(|error| Trouble::of(&error))?.stream;
        let mut end = None;
        while let Some(event) = stream.next().await {
            if let ChatStreamEvent::End(told) = event.map_err(|error| Trouble::of(&error))? {
                end = Some(told);
            }
        }
        let Some(end) = end else {
            return Err(Trouble::new(Kind::Overload, "the model's API broke off in the middle of an answer"));
        };
        let stop = stop(end.captured_stop_reason.as_ref());
        let tokens = tokens(&end);
        let parts = match self.form {
            Form::Messages => std::mem::take(&mut *blocks.lock().unwrap_or_else(PoisonError::into_inner)).said(),
            Form::ChatCompletions => parts(end),
        };
        Ok(Reply { parts, stop, tokens })
    }
}

/// The crate takes the end of a name such as `qwen-max` for how much is to be thought, and off the name; here a name is a
/// name.
fn name_as_it_is(settings: &Settings, form: Form) -> serde_json::Value {
    let mut body = serde_json::json!({"model": settings.model});
    let taken_for_effort = ReasoningEffort::from_model_name(&settings.model).0.is_some();
    if form == Form::ChatCompletions && settings.effort.is_none() && taken_for_effort {
        body["reasoning_effort"] = serde_json::Value::Null;
    }
    body
}

fn reasoning(effort: Effort) -> ReasoningEffort {
    match effort {
        Effort::None => ReasoningEffort::Zero,
        Effort::Low => ReasoningEffort::Low,
        Effort::Medium => ReasoningEffort::Medium,
        Effort::High => ReasoningEffort::High,
        Effort::Max => ReasoningEffort::Max,
    }
}

fn stop(reason: Option<&StopReason>) -> Stop {
    match reason {
        Some(StopReason::MaxTokens(_)) => Stop::Length,
        Some(StopReason::ContentFilter(_)) => Stop::Refused,
        Some(StopReason::Other(reason)) if reason == "pause_turn" => Stop::Pause,
        _ => Stop::Done,
    }
}

fn tokens(end: &StreamEnd) -> Option<u64> {
    let usage = end.captured_usage.as_ref()?;
    let count = |tokens: Option<i32>| tokens.and_then(|tokens| u64::try_from(tokens).ok());
    Some(count(usage.prompt_tokens)? + count(usage.completion_tokens).unwrap_or(0))
}

/// What an API of the other form said: first what it thought, then words, then tools.
fn parts(end: StreamEnd) -> Vec<Said> {
    let mut parts = Vec::new();
    if let Some(text) = end.captured_reasoning_content.filter(|text| !text.trim().is_empty()) {
        parts.push(Said::Reasoning { text });
    }
    for part in end.captured_content.map(genai::chat::MessageContent::into_parts).unwrap_or_default() {
        match part {
            ContentPart::Text(text) => parts.push(Said::Text { text }),
            ContentPart::ToolCall(call) => {
                // What is no JSON comes as the text that it is.
                let (whole, text) = match call.fn_arguments {
                    serde_json::Value::String(text) => (serde_json::Value::Null, text),
                    whole => (whole, String::new()),
                };
                parts.push(Said::ToolUse(blocks::tool_use(call.call_id, call.fn_name, whole, &text)));
            }
            _ => {}
        }
    }
    parts
}
