//! What was said in groups while nobody was connected: asked for when a session begins anew, in order, and handed in before what is
//! said from then on.
//!
//! How far a group was heard is what the store knows of it; what is handed in twice is one message. What was heard and changed since
//! is among it, at the moment of its change. A session that is gone on with is told by Discord itself what it missed.

use std::time::Duration;

use nanoclaw_core::{chat::ChatId, secret::Secret, time::Timestamp};
use serde_json::Value;

use super::{
    Discord, channel_of,
    client::{Client, From, PAGE},
    event::{Meaning, Said, before, meaning},
    trouble::Trouble,
};

/// The most pages that are asked for of a chat; 100 messages each.
const MOST_PAGES: usize = 50;
/// How far back is asked.
const LOOK_BACK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often a page is asked for.
const TRIES: u32 = 5;
/// The longest delay that is waited for within a session.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Discord {
    /// Hands in what was said in a group since something of it was last taken in, and the changes of the 100 messages before that.
    ///
    /// # Errors
    /// Why it cannot be had or stored just now: the next session has to ask for it again.
    pub(super) async fn catch_up(
        &self,
        client: &Client,
        token: &Secret,
        me: &str,
        chat: &ChatId,
    ) -> Result<(), String> {
        let until = self.intake.heard_until(chat).await.map_err(|error| error.to_string())?;
        let (Some(until), Some(channel)) = (until, channel_of(chat)) else { return Ok(()) };
        let look_back = i64::try_from(LOOK_BACK.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp::from_ms(Timestamp::now().as_ms().saturating_sub(look_back));
        let since = until.max(oldest);
        // What was said in the same millisecond as the last is asked for with it, and known.
        let mut after = before(since);
        let mut changes = Vec::new();
        let mut from = From::Before(Some(after + 1));
        for _ in 0..=MOST_PAGES {
            let page = match patiently(|| client.history(token, channel, from)).await {
                Ok(page) => page,
                Err(Trouble::Told { status, code, words }) => {
                    tracing::warn!(%chat, status, code, words, "what was said in a group cannot be read");
                    return Ok(());
                }
                Err(trouble) => return Err(format!("what was said in {chat} cannot be read: {trouble}")),
            };
            let (is_first, full) = (matches!(from, From::Before(_)), page.len() >= PAGE);
            for (id, message) in oldest_first(page) {
                // What was said since reads as it was changed. Of the moment itself nobody knows whether it was heard.
                let was_heard = id <= before(since.plus(Duration::from_millis(1)));
                if was_heard
                    && let Some(change) = self.recalled(message.clone(), true, me, chat).filter(|it| it.at >= since)
                {
                    changes.push(change);
                    changes.sort_by_key(|change: &Said| change.at);
                }
                if is_first {
                    continue;
                }
                after = id;
                if let Some(said) = self.recalled(message, false, me, chat) {
                    // In the order of time: a host that dies in the middle has heard all that was before.
                    let earlier = changes.partition_point(|change| change.at < said.at);
                    for change in changes.drain(..earlier) {
                        self.take_in(client, me, change).await?;
                    }
                    self.take_in(client, me, said).await?;
                }
            }
            from = From::After(after);
            if !is_first && !full {
                return self.take_in_all(client, me, changes).await;
            }
        }
        tracing::warn!(%chat, messages = MOST_PAGES * PAGE, "more was said in a group than is asked for; what came last is left out");
        self.take_in_all(client, me, changes).await
    }

    async fn take_in_all(&self, client: &Client, me: &str, all: Vec<Said>) -> Result<(), String> {
        for said in all {
            self.take_in(client, me, said).await?;
        }
        Ok(())
    }

    /// What a message of a chat's history says to us, or its last `change`.
    fn recalled(&self, message: Value, change: bool, me: &str, chat: &ChatId) -> Option<Said> {
        match meaning(message, change, me, |role| self.known().places.is_our_role(role)) {
            // A history does not say in which guild it is; the chat has told its kind before.
            Meaning::Said(said) if super::chat_of(&said.channel).as_ref() == Some(chat) => {
                Some(Said { kind: None, ..*said })
            }
            _ => None,
        }
    }
}

/// Asks again while Discord is not to be had, as long as it asks to wait.
pub(super) async fn patiently<T, F: Future<Output = Result<T, Trouble>>>(ask: impl Fn() -> F) -> Result<T, Trouble> {
    let mut tried = 0;
    loop {
        tried += 1;
        let trouble = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(trouble) => trouble,
        };
        match trouble {
            _ if tried >= TRIES => return Err(trouble),
            Trouble::Limited(after) if after <= LONGEST_WAIT => tokio::time::sleep(after).await,
            Trouble::NotReached(_) | Trouble::Unclear(_) => {
                tokio::time::sleep(Duration::from_millis(250 << tried)).await
            }
            Trouble::Limited(_) | Trouble::Token | Trouble::Told { .. } => return Err(trouble),
        }
    }
}

/// The messages of a page by their ids, oldest first. Those without an id are none.
fn oldest_first(page: Vec<Value>) -> Vec<(u64, Value)> {
    let mut messages: Vec<_> =
        page.into_iter().filter_map(|message| Some((message["id"].as_str()?.parse().ok()?, message))).collect();
    messages.sort_by_key(|(id, _)| *id);
    messages
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_is_read_oldest_first_by_number() {
        let page = vec![json!({"id": "100"}), json!({"id": "99"}), json!({"id": 7}), json!({"id": "9"})];
        assert_eq!(oldest_first(page).into_iter().map(|(id, _)| id).collect::<Vec<_>>(), [9, 99, 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_asked_for_again_as_long_as_that_may_help() {
        let limited = Trouble::Limited(Duration::from_secs(3));
        let asked = async |troubles: Vec<Trouble>| {
            let tries = Cell::new(0);
            let answer = patiently(|| {
                let trouble = troubles.get(tries.get()).cloned();
                tries.set(tries.get() + 1);
                async { trouble.map_or(Ok(()), Err) }
            });
            (answer.await.is_ok(), tries.get())
        };
        assert_eq!(asked(vec![limited.clone(), Trouble::Unclear("x".into())]).await, (true, 3));
        assert_eq!(asked(vec![limited; 9]).await, (false, 5));
        assert_eq!(asked(vec![Trouble::Token]).await, (false, 1));
        assert_eq!(asked(vec![Trouble::Limited(Duration::from_secs(600))]).await, (false, 1));
    }
}
