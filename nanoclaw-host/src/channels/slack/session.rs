//! One connection to Slack: made in the order in which each step can say best what is wrong, then served until it ends.

use std::collections::HashSet;

use async_trait::async_trait;
use nanoclaw_core::{
    causes::with_causes,
    chat::{ChatKind, ChatMetadata},
    secret::Secret,
    time::Timestamp,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    APP_TOKEN, BOT_TOKEN, NoTokens, PREFIX, Slack, Tokens, chat_of,
    client::{Client, Conversation, Identity},
    event::{Line, line},
    receive::Receiver,
    trouble::new_token,
};
use crate::channels::{
    clean_name,
    service::{Ending, Service},
    socket::{Link, Socket},
    status::{ChannelState, StatusKeeper},
};

/// How long Slack may take to say hello on a socket.
const HELLO_LIMIT: std::time::Duration = std::time::Duration::from_secs(20);
/// The most pages of conversations that are asked for when a session begins.
const MOST_PAGES: usize = 10;
/// Slack's messages have up to 40,000 characters, and an envelope little more.
const LINK: Link = Link { service: "Slack", longest_line: 4 << 20, pings: true };

#[async_trait]
impl Service for Slack {
    async fn session(&self, stop: &CancellationToken) -> Ending {
        let tokens = match self.tokens() {
            Ok(tokens) => tokens,
            Err(none) => return without_tokens(&none, self.settings.required),
        };
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return Ending::Lost { reason: with_causes(&error), after: None },
        };
        let connected = tokio::select! {
            connected = connect(client, &tokens) => connected,
            () = stop.cancelled() => return Ending::Stopped,
        };
        match connected {
            Ok((socket, me)) => self.serve(client, socket, &tokens, me, stop).await,
            Err(ending) => ending,
        }
    }

    fn status(&self) -> &StatusKeeper {
        &self.status
    }
}

async fn connect(client: &Client, tokens: &Tokens) -> Result<(Socket, Identity), Ending> {
    let lost = |reason| Ending::Lost { reason, after: None };
    // Asked first: a socket opens without the bot's token, and only the first reply would show that it is wrong.
    let me = client.identity(&tokens.bot).await.map_err(|trouble| trouble.for_connection(BOT_TOKEN))?;
    let url = client.open(&tokens.app).await.map_err(|trouble| trouble.for_connection(APP_TOKEN))?;
    let mut socket = Socket::connect(LINK, &url, client.tls()).await.map_err(|gone| lost(gone.reason))?;
    let hello = async {
        loop {
            match line(&socket.next().await.map_err(|gone| lost(gone.reason))?) {
                Line::Hello => return Ok(()),
                Line::Disconnect(reason) => return Err(disconnected(&reason)),
                // What comes before it is not acknowledged, and comes again.
                Line::Envelope { .. } | Line::Odd(_) => {}
            }
        }
    };
    match timeout(HELLO_LIMIT, hello).await {
        Ok(hello) => hello?,
        Err(_) => return Err(lost(format!("Slack did not say hello within {HELLO_LIMIT:?}"))),
    }
    Ok((socket, me))
}

impl Slack {
    async fn serve(
        &self,
        client: &Client,
        mut socket: Socket,
        tokens: &Tokens,
        me: Identity,
        stop: &CancellationToken,
    ) -> Ending {
        let workspace = me.team.as_deref().unwrap_or("a workspace without a name");
        tracing::info!(workspace, user = me.user_id, "connected to Slack");
        self.status.set(ChannelState::Connected { since: Timestamp::now() });
        self.host.channel_connected(&self.name);
        let mut receiver = Receiver::new(self, client, tokens.bot.clone(), me);
        receiver.catch_up();
        let mut discovering = std::pin::pin!(self.discover(client, &tokens.bot));
        let mut discovered = false;
        let ending = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ending::Stopped,
                // Slack has redelivery; an acknowledgement that cannot be said ends the session all the same.
                done = receiver.done() => match done {
                    Ok(envelope) => {
                        let line = serde_json::json!({ "envelope_id": envelope }).to_string();
                        if let Err(gone) = socket.say(line).await {
                            break Ending::Lost { reason: gone.reason, after: None };
                        }
                    }
                    Err(reason) => break Ending::Lost { reason, after: None },
                },
                heard = socket.next() => match heard.map(|text| line(&text)) {
                    Err(gone) => break Ending::Lost { reason: gone.reason, after: None },
                    Ok(Line::Disconnect(reason)) => break disconnected(&reason),
                    Ok(Line::Hello) => {}
                    Ok(Line::Odd(why)) => tracing::debug!(why, "a line of Slack's is skipped"),
                    Ok(Line::Envelope { id, event }) => receiver.take(id, event),
                },
                () = self.doubted.notified() => {
                    if let Err(trouble) = client.identity(&tokens.bot).await
                        && trouble.is_about_token()
                    {
                        break trouble.for_connection(BOT_TOKEN);
                    }
                }
                () = &mut discovering, if !discovered => discovered = true,
            }
        };
        // What was begun is seen to its end; of what it comes to, Slack hears by saying the message again.
        receiver.end().await;
        socket.close().await;
        ending
    }

    /// Keeps the names of the conversations that we are in, so that people can register them. Best effort.
    async fn discover(&self, client: &Client, bot: &Secret) {
        let (mut from, mut seen) = (None, HashSet::new());
        for _ in 0..MOST_PAGES {
            let (page, next) = match client.conversations(bot, from).await {
                Ok(page) => page,
                Err(trouble) => return tracing::debug!(?trouble, "the conversations cannot be listed"),
            };
            for conversation in page {
                if seen.insert(conversation.id.clone()) {
                    let at = conversation.created.and_then(|seconds| seconds.checked_mul(1000));
                    self.note(client, bot, conversation, at.map_or_else(Timestamp::now, Timestamp::from_ms)).await;
                }
            }
            match next {
                Some(next) => from = Some(next),
                None => return,
            }
        }
    }

    /// Keeps what is known of a conversation, in which something last happened at `last_seen`.
    pub(super) async fn note(&self, client: &Client, bot: &Secret, conversation: Conversation, last_seen: Timestamp) {
        let Some(chat) = chat_of(&conversation.id) else { return };
        let name = match (&conversation.name, &conversation.user) {
            (Some(name), _) => clean_name(name),
            (None, Some(user)) => self.people.name(client, bot, user).await,
            (None, None) => None,
        };
        let kind = if conversation.is_im { ChatKind::Private } else { ChatKind::Group };
        let metadata = ChatMetadata { chat, channel: self.name.clone(), name, kind: Some(kind), last_seen };
        if let Err(error) = self.intake.note_chat(metadata).await {
            tracing::warn!(%error, "what is known of a conversation could not be stored");
        }
    }
}

/// What follows from a `disconnect` of Slack's.
fn disconnected(reason: &str) -> Ending {
    match reason {
        // Every few hours: the connection is moved to another of Slack's machines.
        "refresh_requested" | "warning" => Ending::Renew,
        "link_disabled" => Ending::Refused {
            reason: "Socket Mode is turned off for the app (link_disabled)".to_owned(),
            remedy: format!(
                "turn it on, on the app's page at api.slack.com/apps under \"Socket Mode\", then `nanoclaw auth set {APP_TOKEN}` \
                 or a restart"
            ),
        },
        other => Ending::Lost { reason: format!("Slack ended the connection: {other}"), after: None },
    }
}

/// What follows from missing tokens, if `required` says that Slack is to be used.
fn without_tokens(none: &NoTokens, required: bool) -> Ending {
    match none {
        // One of two says that somebody wants it.
        NoTokens::Missing(names) if required || names.len() == 1 => Ending::Refused {
            reason: format!("there is no {}", names.join(" and no ")),
            remedy: names.iter().map(|name| new_token(name)).collect::<Vec<_>>().join("; "),
        },
        NoTokens::Missing(names) => Ending::Unused { needs: format!("{}, for chats {PREFIX}…", names.join(" and ")) },
        NoTokens::WrongKind(name, begins) => Ending::Refused {
            reason: format!("{name} is not what it should be: it does not begin with {begins}"),
            remedy: new_token(name),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_is_no_trouble_and_a_disabled_app_is_not_tried_again() {
        assert_eq!(disconnected("refresh_requested"), Ending::Renew);
        assert_eq!(disconnected("warning"), Ending::Renew);
        assert!(matches!(disconnected("link_disabled"), Ending::Refused { .. }));
        assert!(matches!(disconnected("something"), Ending::Lost { .. }));
    }

    #[test]
    fn nobody_is_told_of_tokens_that_nobody_wants() {
        let both = NoTokens::Missing(vec![BOT_TOKEN, APP_TOKEN]);
        assert!(matches!(without_tokens(&both, false), Ending::Unused { .. }));
        let Ending::Refused { remedy, .. } = without_tokens(&both, true) else { panic!("it was asked for") };
        assert!(remedy.contains("auth set SLACK_BOT_TOKEN") && remedy.contains("auth set SLACK_APP_TOKEN"), "{remedy}");
        let one = NoTokens::Missing(vec![APP_TOKEN]);
        assert!(matches!(without_tokens(&one, false), Ending::Refused { .. }));
    }
}
