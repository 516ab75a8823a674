//! How Discord's REST API is called: by requests that the crate `serenity` makes, with a limit to every call.
//!
//! The requests are sent by a client of ours, because serenity's own keeps to itself how long a limit lasts. Answers are read into
//! types of our own that have the few fields we need: a message of a kind that the crate does not know yet would make a whole
//! answer unreadable, and of a message that was posted nobody would know.

use std::{sync::Arc, time::Duration};

use nanoclaw_core::{causes::with_causes, secret::Secret};
use reqwest::Url;
use rustls::ClientConfig;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use serenity::{
    builder::{CreateAllowedMentions, CreateAttachment, CreateMessage},
    http::{LightMethod, Multipart, MultipartUpload, Request, Route},
    model::{
        channel::{MessageReference, Nonce},
        id::{ChannelId, MessageId},
    },
};

use super::trouble::Trouble;
use crate::channels::{
    download::downloads,
    tls::{TlsError, tls_for},
};

/// How long Discord may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How many bytes of a file Discord may take a second for, beside that.
const FILE_BYTES_A_SECOND: u64 = 256 * 1024;
/// The most messages that Discord gives at once.
pub(super) const PAGE: usize = 100;

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client of the API cannot be made.
    #[error("Discord cannot be called")]
    Api(#[source] serenity_reqwest::Error),
    /// The client for files cannot be made.
    #[error("files cannot be fetched")]
    Files(#[source] reqwest::Error),
}

/// A client of the REST API.
pub(super) struct Client {
    api: serenity_reqwest::Client,
    tls: Arc<ClientConfig>,
    /// Fetches files.
    files: reqwest::Client,
    api_url: Url,
}

/// Where the gateway is, and whether a session can begin.
#[derive(Debug, Deserialize)]
pub(super) struct Gateway {
    pub(super) url: String,
    #[serde(default)]
    pub(super) session_start_limit: Option<StartLimit>,
}

/// How often a session can begin.
#[derive(Debug, Deserialize)]
pub(super) struct StartLimit {
    #[serde(default)]
    pub(super) remaining: u64,
    /// After how many milliseconds it can again.
    #[serde(default)]
    pub(super) reset_after: u64,
}

/// From where a history is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// The messages that follow this one.
    After(u64),
    /// The messages before this one; before none: the latest.
    Before(Option<u64>),
}

/// What is posted.
pub(super) struct NewMessage<'a> {
    pub(super) text: Option<&'a str>,
    pub(super) file: Option<Upload>,
    pub(super) nonce: String,
    /// The message of the same channel that it is shown to reply to.
    pub(super) reply_to: Option<MessageId>,
}

/// A file to send.
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

impl Client {
    pub(super) fn new(api_url: &Url) -> Result<Self, ClientError> {
        let tls = tls_for(api_url)?;
        let api = serenity_reqwest::Client::builder()
            // The token goes along, and no answer of Discord's leads elsewhere.
            .redirect(serenity_reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .use_preconfigured_tls(tls.clone())
            .build()
            .map_err(ClientError::Api)?;
        let files = downloads(&tls).map_err(ClientError::Files)?;
        Ok(Self { api, tls: Arc::new(tls), files, api_url: api_url.clone() })
    }

    pub(super) fn tls(&self) -> Arc<ClientConfig> {
        self.tls.clone()
    }

    pub(super) fn files(&self) -> &reqwest::Client {
        &self.files
    }

    pub(super) fn api_url(&self) -> &Url {
        &self.api_url
    }

    /// Where the gateway is; tells besides whether the token is taken.
    pub(super) async fn gateway(&self, token: &Secret) -> Result<Gateway, Trouble> {
        self.ask(token, Request::new(Route::GatewayBot, LightMethod::Get)).await
    }

    /// Posts a message; returns its id.
    pub(super) async fn post(
        &self,
        token: &Secret,
        channel: ChannelId,
        NewMessage { text, file, nonce, reply_to }: NewMessage<'_>,
    ) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        struct Posted {
            id: String,
        }
        // Nobody is pinged by what an agent writes, whomever it names, and whom it answers neither.
        let mut message = CreateMessage::new()
            .nonce(Nonce::String(nonce))
            .enforce_nonce(true)
            .allowed_mentions(CreateAllowedMentions::new().replied_user(false));
        if let Some(text) = text {
            message = message.content(text);
        }
        if let Some(replied_to) = reply_to {
            // Should that message be gone, Discord posts this one as no reply.
            let reply = MessageReference::from((channel, replied_to)).fail_if_not_exists(false);
            message = message.reference_message(reply);
        }
        let more_time = file.as_ref().map_or(0, |file| file.content.len() as u64).div_ceil(FILE_BYTES_A_SECOND);
        let file = file.map(|file| CreateAttachment::bytes(file.content, file.name));
        if let Some(file) = &file {
            message = message.add_file(CreateAttachment::bytes(Vec::new(), file.filename.clone()));
        }
        let body = serde_json::to_string(&message).map_err(|error| Trouble::NotReached(error.to_string()))?;
        let request = Request::new(Route::ChannelMessages { channel_id: channel }, LightMethod::Post);
        let request = match file {
            Some(file) => request.multipart(Some(Multipart {
                upload: MultipartUpload::Attachments(vec![file]),
                fields: Vec::new(),
                payload_json: Some(body),
            })),
            None => request.body(Some(body.into_bytes())),
        };
        let limit = ANSWER_LIMIT + Duration::from_secs(more_time);
        let answer = self.call(token, request, limit).await?;
        read::<Posted>(&answer).map(|posted| posted.id)
    }

    /// A page of what was said in a channel, newest first.
    pub(super) async fn history(&self, token: &Secret, channel: ChannelId, from: From) -> Result<Vec<Value>, Trouble> {
        let mut parameters = vec![("limit", PAGE.to_string())];
        match from {
            From::After(id) => parameters.push(("after", id.to_string())),
            From::Before(Some(id)) => parameters.push(("before", id.to_string())),
            From::Before(None) => {}
        }
        let route = Route::ChannelMessages { channel_id: channel };
        self.ask(token, Request::new(route, LightMethod::Get).params(Some(parameters))).await
    }

    /// Shows for ten seconds that the bot is typing.
    pub(super) async fn typing(&self, token: &Secret, channel: ChannelId) -> Result<(), Trouble> {
        let request = Request::new(Route::ChannelTyping { channel_id: channel }, LightMethod::Post);
        self.call(token, request, ANSWER_LIMIT).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(&self, token: &Secret, request: Request<'_>) -> Result<T, Trouble> {
        read(&self.call(token, request, ANSWER_LIMIT).await?)
    }

    async fn call(&self, token: &Secret, request: Request<'_>, limit: Duration) -> Result<Vec<u8>, Trouble> {
        let authorization = format!("Bot {}", token.reveal());
        // Unseen by the log: serenity would write the request into it, and a file as a list of numbers.
        let built = tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::new(), || {
            request.build(&self.api, &authorization, Some(self.api_url.as_str()))
        });
        let request = built.map_err(|error| Trouble::NotReached(format!("it cannot be called: {error}")))?;
        let calling = async {
            let answer = request.send().await.map_err(not_answered)?;
            let status = answer.status();
            let header = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let retry_after = header.map(str::to_owned);
            let body = answer.bytes().await;
            match (status.is_success(), body) {
                (true, Ok(body)) => Ok(body.to_vec()),
                (true, Err(error)) => Err(Trouble::Unclear(broke(error))),
                (false, body) => Err(Trouble::of(status.as_u16(), retry_after.as_deref(), &body.unwrap_or_default())),
            }
        };
        match tokio::time::timeout(limit, calling).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Unclear(format!("Discord did not answer within {limit:?}"))),
        }
    }
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Trouble> {
    // Without what was answered, which nobody wants in a log.
    serde_json::from_slice(answer)
        .map_err(|error| Trouble::Unclear(format!("Discord's answer cannot be read: {error}")))
}

fn not_answered(error: serenity_reqwest::Error) -> Trouble {
    match error.is_connect() {
        true => Trouble::NotReached(broke(error)),
        false => Trouble::Unclear(broke(error)),
    }
}

fn broke(error: serenity_reqwest::Error) -> String {
    with_causes(&error.without_url())
}
