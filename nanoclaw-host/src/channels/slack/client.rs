//! How Slack is called: the Web API by the crate `slack-morphism`, with a limit to every call.
//!
//! Answers are read into types of our own that have the few fields we need. The crate's models of messages know every block and
//! attachment, and one that is new to them would make a whole answer unreadable: of a message that was posted, nobody would know.

use std::{collections::HashMap, sync::Arc, time::Duration};

use hyper_rustls::HttpsConnectorBuilder;
use nanoclaw_core::{secret::Secret, time::Timestamp};
use reqwest::Url;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use slack_morphism::prelude::{
    SlackApiToken, SlackClient, SlackClientHyperConnector, SlackHyperClient, SlackMessageMetadata,
};

use super::trouble::Trouble;
use crate::channels::{
    clean_name,
    download::downloads,
    tls::{TlsError, tls_for},
};

/// How long Slack may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The most messages that are asked for at once. Of some apps Slack makes fewer of it.
pub(super) const PAGE: usize = 200;
/// A moment after all that is said, in Slack's seconds.
const LATEST: &str = "9999999999";

/// The event type of the mark on messages of ours.
pub(super) const MARK: &str = "nanoclaw";

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client for files cannot be made.
    #[error("files cannot be fetched")]
    Files(#[source] reqwest::Error),
}

/// A client of the Web API.
pub(super) struct Client {
    slack: SlackHyperClient,
    tls: Arc<ClientConfig>,
    /// Fetches files, to which the Web API leads.
    files: reqwest::Client,
    api_url: Url,
}

/// Who we are, as Slack knows us.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Identity {
    pub(super) user_id: String,
    #[serde(default)]
    pub(super) bot_id: Option<String>,
    #[serde(default)]
    pub(super) team: Option<String>,
}

/// A conversation, as far as it is known.
#[derive(Debug, Deserialize)]
pub(super) struct Conversation {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) is_im: bool,
    /// With whom, of one that is private.
    #[serde(default)]
    pub(super) user: Option<String>,
    /// In seconds.
    #[serde(default)]
    pub(super) created: Option<i64>,
}

/// A message of a conversation's history.
#[derive(Debug, Deserialize)]
pub(super) struct Past {
    pub(super) ts: String,
    #[serde(default)]
    pub(super) metadata: Option<PastMark>,
    #[serde(default)]
    pub(super) files: Vec<PastFile>,
}

/// A mark, ours or another app's.
#[derive(Debug, Deserialize)]
pub(super) struct PastMark {
    #[serde(default)]
    pub(super) event_type: String,
    #[serde(default)]
    pub(super) event_payload: serde_json::Value,
}

/// A file that was shared.
#[derive(Debug, Deserialize)]
pub(super) struct PastFile {
    #[serde(default)]
    pub(super) name: Option<String>,
}

/// Where something is posted, and looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream<'a> {
    /// The conversation.
    pub(super) channel: &'a str,
    /// One of its threads, by its first message; `None`: what is said outside threads.
    pub(super) thread: Option<&'a str>,
}

#[derive(Debug, Default, Deserialize)]
struct Cursor {
    #[serde(default)]
    next_cursor: String,
}

#[derive(Debug, Serialize)]
struct Post<'a> {
    channel: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_ts: Option<&'a str>,
    metadata: SlackMessageMetadata,
}

#[derive(Debug, Deserialize)]
struct Posted {
    ts: String,
}

/// Nothing that we need.
#[derive(Debug, Deserialize)]
struct Done {}

type Parameters<'a> = Vec<(&'static str, Option<String>)>;

impl Client {
    pub(super) fn new(api_url: &Url) -> Result<Self, ClientError> {
        let tls = tls_for(api_url)?;
        let https = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1().build();
        let connector = SlackClientHyperConnector::with_connector(https);
        let connector = connector.with_slack_api_url(api_url.as_str().trim_end_matches('/'));
        let files = downloads(&tls).map_err(ClientError::Files)?;
        Ok(Self { slack: SlackClient::new(connector), tls: Arc::new(tls), files, api_url: api_url.clone() })
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

    /// Who the bot token is.
    pub(super) async fn identity(&self, bot: &Secret) -> Result<Identity, Trouble> {
        self.post("auth.test", bot, &HashMap::<String, String>::new()).await
    }

    /// The address of a new socket.
    pub(super) async fn open(&self, app: &Secret) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        struct Opened {
            url: String,
        }
        let opened: Opened = self.post("apps.connections.open", app, &HashMap::<String, String>::new()).await?;
        Ok(opened.url)
    }

    /// The name that people know `user` by.
    pub(super) async fn user_name(&self, bot: &Secret, user: &str) -> Result<Option<String>, Trouble> {
        #[derive(Deserialize)]
        struct Answer {
            user: User,
        }
        #[derive(Deserialize)]
        struct User {
            #[serde(default)]
            name: String,
            #[serde(default)]
            real_name: String,
            #[serde(default)]
            profile: Profile,
        }
        #[derive(Default, Deserialize)]
        struct Profile {
            #[serde(default)]
            display_name: String,
            #[serde(default)]
            real_name: String,
        }
        let Answer { user } = self.get("users.info", bot, vec![("user", Some(user.to_owned()))]).await?;
        let names = [user.profile.display_name, user.profile.real_name, user.real_name, user.name];
        Ok(names.iter().find_map(|name| clean_name(name)))
    }

    /// What is known of a conversation.
    pub(super) async fn conversation(&self, bot: &Secret, id: &str) -> Result<Conversation, Trouble> {
        #[derive(Deserialize)]
        struct Answer {
            channel: Conversation,
        }
        let parameters = vec![("channel", Some(id.to_owned()))];
        Ok(self.get::<Answer>("conversations.info", bot, parameters).await?.channel)
    }

    /// The conversations that we are in: a page of them, and where the next begins.
    pub(super) async fn conversations(
        &self,
        bot: &Secret,
        from: Option<String>,
    ) -> Result<(Vec<Conversation>, Option<String>), Trouble> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            channels: Vec<Conversation>,
            #[serde(default)]
            response_metadata: Cursor,
        }
        let parameters = vec![
            ("types", Some("public_channel,private_channel,mpim,im".to_owned())),
            ("exclude_archived", Some("true".to_owned())),
            ("limit", Some("200".to_owned())),
            ("cursor", from),
        ];
        let answer: Answer = self.get("users.conversations", bot, parameters).await?;
        Ok((answer.channels, answer.response_metadata.next()))
    }

    /// Posts a text with our mark on it; returns its timestamp, which is its id.
    pub(super) async fn post_text(
        &self,
        bot: &Secret,
        Stream { channel, thread: thread_ts }: Stream<'_>,
        text: &str,
        mark: HashMap<String, String>,
    ) -> Result<String, Trouble> {
        let metadata = SlackMessageMetadata::new(MARK.to_owned()).with_event_payload(mark);
        let posted: Posted = self.post("chat.postMessage", bot, &Post { channel, text, thread_ts, metadata }).await?;
        Ok(posted.ts)
    }

    /// A page of what was said since `oldest`, and where the next begins: newest first outside threads, and in a thread its first
    /// message and then oldest first.
    pub(super) async fn history<M: DeserializeOwned + Send>(
        &self,
        bot: &Secret,
        Stream { channel, thread }: Stream<'_>,
        oldest: Timestamp,
        from: Option<String>,
    ) -> Result<(Vec<M>, Option<String>), Trouble> {
        #[derive(Deserialize)]
        struct Page<M> {
            #[serde(default = "Vec::new")]
            messages: Vec<M>,
            #[serde(default)]
            response_metadata: Cursor,
        }
        // With an oldest moment and no latest one, Slack tells first what was said next to the oldest.
        let latest = thread.is_none().then(|| LATEST.to_owned());
        let parameters = vec![
            ("channel", Some(channel.to_owned())),
            ("ts", thread.map(str::to_owned)),
            ("limit", Some(PAGE.to_string())),
            ("include_all_metadata", Some("true".to_owned())),
            ("oldest", Some((oldest.as_ms() / 1000).to_string())),
            ("latest", latest),
            ("cursor", from),
        ];
        let method = if thread.is_some() { "conversations.replies" } else { "conversations.history" };
        let page: Page<M> = self.get(method, bot, parameters).await?;
        let next = page.response_metadata.next();
        Ok((page.messages, next))
    }

    /// Uploads a file that nobody sees yet; returns its id.
    pub(super) async fn upload(
        &self,
        bot: &Secret,
        name: &str,
        media_type: &str,
        content: &[u8],
    ) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        struct Place {
            upload_url: Url,
            file_id: String,
        }
        let parameters = vec![("filename", Some(name.to_owned())), ("length", Some(content.len().to_string()))];
        let place: Place = self.get("files.getUploadURLExternal", bot, parameters).await?;
        let token = token_of(bot);
        let session = self.slack.open_session(&token);
        let upload =
            session.http_session_api.http_post_uri_binary(place.upload_url, media_type.to_owned(), content, None);
        // The caller's own limit grows with the file.
        upload.await.map_err(Trouble::of).map(|Done {}| place.file_id)
    }

    /// Shares an uploaded file, with what is said to it.
    pub(super) async fn share(
        &self,
        bot: &Secret,
        file: &str,
        title: &str,
        Stream { channel, thread: thread_ts }: Stream<'_>,
        comment: Option<&str>,
    ) -> Result<(), Trouble> {
        #[derive(Serialize)]
        struct Share<'a> {
            files: [Shared<'a>; 1],
            channel_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            thread_ts: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            initial_comment: Option<&'a str>,
        }
        #[derive(Serialize)]
        struct Shared<'a> {
            id: &'a str,
            title: &'a str,
        }
        let files = [Shared { id: file, title }];
        let share = Share { files, channel_id: channel, thread_ts, initial_comment: comment };
        self.post("files.completeUploadExternal", bot, &share).await.map(|Done {}| ())
    }

    async fn get<T: DeserializeOwned + Send>(
        &self,
        method: &str,
        token: &Secret,
        parameters: Parameters<'_>,
    ) -> Result<T, Trouble> {
        let token = token_of(token);
        let session = self.slack.open_session(&token);
        in_time(method, session.http_session_api.http_get(method, &parameters, None)).await
    }

    async fn post<T: DeserializeOwned + Send>(
        &self,
        method: &str,
        token: &Secret,
        request: &(impl Serialize + Send + Sync),
    ) -> Result<T, Trouble> {
        let token = token_of(token);
        let session = self.slack.open_session(&token);
        in_time(method, session.http_session_api.http_post(method, request, None)).await
    }
}

impl Cursor {
    fn next(self) -> Option<String> {
        Some(self.next_cursor).filter(|cursor| !cursor.is_empty())
    }
}

async fn in_time<T>(
    method: &str,
    answer: impl Future<Output = Result<T, slack_morphism::errors::SlackClientError>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(ANSWER_LIMIT, answer).await {
        Ok(answer) => answer.map_err(Trouble::of),
        Err(_) => Err(Trouble::Unclear(format!("Slack did not answer {method} within {ANSWER_LIMIT:?}"))),
    }
}

fn token_of(secret: &Secret) -> SlackApiToken {
    SlackApiToken::new(secret.reveal().to_owned().into())
}
